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

struct Read {
  std::vector<Record> records;
  std::string note;
  bool malformed = false;
};
Read read(const std::string& document) {
  Read out;
  Reader reader;
  for (std::size_t at = 0; at < document.size();) {
    const std::size_t end = document.find('\n', at);
    const auto record = reader.line(document.substr(at, end - at));
    if (!record) {
      out.malformed = true;
      return out;
    }
    if (*record) out.records.push_back(**record);
    at = end + 1;
  }
  out.note = reader.note();
  return out;
}

std::string document() { return head(kOrigin) + entry(kOrigin, 7, kEntry).value() + expired(kOrigin, 8, Sha256::parse(std::string(64, 'c')).value()).value() + tail(kOrigin, "a\nnote\n"); }
std::string with(const std::string& from, const std::string& to) {
  std::string text = document();
  const std::size_t at = text.find(from);
  EXPECT_NE(at, text.npos) << from;
  return text.replace(at, from.size(), to);
}

TEST(CaseGraph, AVerifierReadsBackWhatWasWritten) {
  EXPECT_TRUE(begins(document().substr(0, document().find('\n'))));
  const Read read_back = read(document());
  ASSERT_EQ(read_back.records.size(), 2u);
  EXPECT_EQ(read_back.records[0].index, 7u);
  EXPECT_EQ(read_back.records[0].entry, kEntry);
  EXPECT_TRUE(read_back.records[0].faithful);
  EXPECT_EQ(read_back.records[1].expired->hex(), std::string(64, 'c'));
  EXPECT_TRUE(read_back.records[1].faithful);
  EXPECT_EQ(read_back.note, "a\nnote\n");
  EXPECT_EQ(read(with("\"uco-tool:version\":\"", "\"uco-tool:version\":\"9")).note, "a\nnote\n") << "who wrote it may be of another version";
}

TEST(CaseGraph, WhatOtherToolsReadMustBeWhatTheBytesSay) {
  for (const auto& [from, to] : std::vector<std::pair<std::string, std::string>>{{"\"uco-observable:eventType\":\"policy.evaluated\"", "\"uco-observable:eventType\":\"policy.published\""},
                                                                                 {"\"uco-core:name\":\"runner\"", "\"uco-core:name\":\"somebody\""},
                                                                                 {"\"uco-action:object\"", "\"uco-action:participant\""},
                                                                                 {"\"@value\":\"2026", "\"@value\":\"1999"}}) {
    const Read changed = read(with(from, to));
    EXPECT_TRUE(changed.malformed || (!changed.records.empty() && !changed.records[0].faithful)) << from;
  }
  const std::string added = "{\"@id\":\"kb:InvestigativeAction-x\",\"@type\":\"case-investigation:InvestigativeAction\"},\n";
  std::string text = document();
  const Read invented = read(text.insert(text.find("{\"@id\":\"kb:Identity-"), added));
  EXPECT_TRUE(invented.malformed || !invented.records[0].faithful);
  EXPECT_TRUE(read(with("caseontology.org/case/investigation/", "example.org/")).malformed) << "another meaning of the names";
  EXPECT_TRUE(read(with("\n]}\n", ",\n" + added + "]}\n")).malformed) << "a node behind the checkpoint";
  EXPECT_TRUE(read(document() + added).malformed);
}

TEST(CaseGraph, RecordsWithoutBytesOrIndexAreRefused) {
  for (const char* record : {R"({"@type":"uco-observable:EventRecord","uco-core:hasFacet":{"uco-observable:eventRecordID":"1"}},)", R"({"@type":"uco-observable:EventRecord","uco-core:hasFacet":{"uco-observable:eventRecordID":"-1","uco-observable:eventRecordRaw":"{}"}},)",
                             R"({"@type":)"}) {
    EXPECT_TRUE(read(head(kOrigin) + record + "\n").malformed) << record;
  }
  EXPECT_FALSE(entry(kOrigin, 0, "no json"));
  EXPECT_FALSE(entry(kOrigin, 0, R"({"details":{"inputs":[{"name":"x","sha256":"short"}]}})"));
}

}  // namespace
}  // namespace stella::cli::case_graph
