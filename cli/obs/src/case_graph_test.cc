// The graph is one JSON document, holds the bytes of entries, and is read back line by line.
#include "case_graph.h"

#include <gtest/gtest.h>

#include <string>
#include <vector>


namespace stella::cli::case_graph {
namespace {

constexpr std::string_view kOrigin = "stellaops.dev/log/7f3a91c2";
const std::string kEntry =
    R"({"actor":"runner","details":{"inputs":[{"name":"sbom","sha256":"aa00000000000000000000000000000000000000000000000000000000000000"}],"outputs":[{"name":"findings.ndjson","sha256":"bb00000000000000000000000000000000000000000000000000000000000000"}]},"event_id":"019aa000-0000-7000-8000-000000000001","kind":"policy.evaluated","project_id":"default","resource_id":"019aa000-0000-7000-8000-00000000000e","resource_type":"evaluation","tenant_id":"acme","trace_id":"","ts":"2026-11-30T08:00:00.000000Z"})";

std::vector<json::Value> nodes_of(const std::string& document) {
  const auto value = json::parse(document);
  EXPECT_TRUE(value) << document;
  return value ? value->items("@graph") : json::Array{};
}
const json::Value* of_type(const std::vector<json::Value>& nodes, std::string_view type) {
  for (const json::Value& node : nodes) {
    if (node.str("@type") == type) return &node;
  }
  return nullptr;
}

TEST(CaseGraph, IsOneJsonDocumentThatHoldsTheEntrysBytes) {
  const auto entry_nodes = entry(kOrigin, 7, kEntry);
  ASSERT_TRUE(entry_nodes);
  const auto nodes = nodes_of(head(kOrigin) + *entry_nodes + tail(kOrigin, "note\n"));
  const json::Value* record = of_type(nodes, "uco-observable:EventRecord");
  ASSERT_NE(record, nullptr);
  EXPECT_EQ(record->find("uco-core:hasFacet")->str("uco-observable:eventRecordRaw"), kEntry);
  EXPECT_EQ(record->find("uco-core:hasFacet")->str("uco-observable:eventRecordID"), "7");
  const json::Value* action = of_type(nodes, "case-investigation:InvestigativeAction");
  ASSERT_NE(action, nullptr);
  EXPECT_EQ(action->items("uco-action:object").size(), 1u);
  EXPECT_EQ(action->items("uco-action:result").size(), 3u) << "what it made, the record of custody, the record of the event";
}

TEST(CaseGraph, AnObjectHasOneNameInEveryExport) {
  const auto once = entry(kOrigin, 7, kEntry), again = entry(kOrigin, 7, kEntry);
  EXPECT_EQ(once.value(), again.value());
  EXPECT_NE(once->find("\"@id\":\"kb:ObservableObject-aa000000-0000-5000-8000-000000000000\""), std::string::npos) << *once;
}

TEST(CaseGraph, AVerifierReadsBackWhatWasWritten) {
  std::vector<Record> records;
  std::string note;
  const std::string document = head(kOrigin) + entry(kOrigin, 7, kEntry).value() + tail(kOrigin, "a\nnote\n");
  EXPECT_TRUE(begins(document.substr(0, document.find('\n'))));
  for (std::size_t at = 0; at < document.size();) {
    const std::size_t end = document.find('\n', at);
    const auto line = read(document.substr(at, end - at));
    ASSERT_TRUE(line) << document.substr(at, end - at);
    if (line->record) records.push_back(*line->record);
    if (!line->note.empty()) note = line->note;
    at = end + 1;
  }
  ASSERT_EQ(records.size(), 1u);
  EXPECT_EQ(records[0].index, 7u);
  EXPECT_EQ(records[0].entry, kEntry);
  EXPECT_EQ(note, "a\nnote\n");
}

TEST(CaseGraph, AnExpiredEntryIsARecordWithItsHashAlone) {
  const Sha256 leaf = Sha256::parse(std::string(64, 'a')).value();
  std::string node = expired(kOrigin, 7, leaf).value();
  EXPECT_EQ(nodes_of(head(kOrigin) + node + tail(kOrigin, "note\n")).size(), 4u);
  node.pop_back();  // the end of the line
  const auto line = read(node);
  ASSERT_TRUE(line && line->record);
  EXPECT_EQ(line->record->index, 7u);
  EXPECT_EQ(line->record->entry, "");
  EXPECT_EQ(line->record->expired, leaf);
  node.replace(node.find("aaaa"), 4, "zzzz");
  EXPECT_FALSE(read(node));
}

TEST(CaseGraph, RecordsWithoutBytesOrIndexAreRefused) {
  for (const char* line : {R"({"@type":"uco-observable:EventRecord","uco-core:hasFacet":{"uco-observable:eventRecordID":"1"}},)", R"({"@type":"uco-observable:EventRecord","uco-core:hasFacet":{"uco-observable:eventRecordID":"-1","uco-observable:eventRecordRaw":"{}"}},)",
                           R"({"@type":)"}) {
    EXPECT_FALSE(read(line)) << line;
  }
  EXPECT_FALSE(entry(kOrigin, 0, "no json"));
  EXPECT_FALSE(entry(kOrigin, 0, R"({"details":{"inputs":[{"name":"x","sha256":"short"}]}})"));
}

}  // namespace
}  // namespace stella::cli::case_graph
