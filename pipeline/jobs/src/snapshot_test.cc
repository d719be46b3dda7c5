// evidence.snapshot: the payload holds exactly what snapshot.json names, and the items say what it is.
#include <gtest/gtest.h>

#include "stella/crypto/digest.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/tar.h"
#include "stella/pipeline/jobs/jobs.h"

namespace stella::pipeline {
namespace {

constexpr std::string_view kSnapshot = R"({"format":"stella.snapshot/v1","files":[
  {"input":"f0002","path":"data/outputs/decision.json","media_type":"application/json","role":"output"},
  {"input":"f0001","path":"data/inputs/sbom/sbom.json","media_type":"application/json","role":"input"},
  {"input":"f0001","path":"data/inputs/sbom/again.json","media_type":"application/json","role":"input"}],
  "report":{"title":"Evaluation of <shop>","outcome":"deny","tone":"bad","summary":"One finding.","facts":[["policy","p@1"]],
  "tables":[{"title":"Findings","note":"","columns":["purl","effect"],"rows":[["pkg:npm/a@1","deny"]]}],
  "chain":[{"title":"policy.evaluate","detail":"d","inputs":[["sbom","00"]],"outputs":[]}]}})";

std::string replaced(std::string_view from, std::string_view to) {
  std::string text(kSnapshot);
  return text.replace(text.find(from), from.size(), to);
}

TEST(Snapshot, PayloadAndItemsAgree) {
  const std::string big(700'000, 'b');
  const std::vector<MemoryInput> inputs{{"snapshot.json", kSnapshot}, {"f0001", "the sbom"}, {"f0002", big}};
  const auto outputs = run_job("evidence.snapshot", R"({"kind":"eval"})", inputs);
  ASSERT_TRUE(outputs) << outputs.error().describe();
  ASSERT_EQ(outputs->size(), 2u);
  EXPECT_EQ(outputs->at(0).name, "payload.tar");
  const auto items = evidence::parse_items_ndjson(outputs->at(1).bytes).value();
  evidence::StringSource source(outputs->at(0).bytes);
  evidence::TarReader reader(source);
  std::map<std::string, std::uint64_t> packed;
  while (true) {
    const auto entry = reader.next();
    ASSERT_TRUE(entry) << entry.error().describe();
    if (!entry->has_value()) break;
    packed[(*entry)->path] = (*entry)->size;
  }
  ASSERT_EQ(packed.size(), items.size());
  std::map<std::string, evidence::Item> by_path;
  for (const auto& item : items) by_path[item.path] = item;
  EXPECT_EQ(by_path["data/inputs/sbom/sbom.json"].sha256, crypto::sha256("the sbom"));
  EXPECT_EQ(by_path["data/inputs/sbom/again.json"].sha256, crypto::sha256("the sbom"));
  EXPECT_EQ(by_path["data/outputs/decision.json"].sha256, crypto::sha256(big));
  EXPECT_EQ(by_path["data/outputs/decision.json"].role, "output");
  EXPECT_TRUE(by_path.contains("report.html"));
  EXPECT_TRUE(by_path.contains("verify.sh"));
  const auto again = run_job("evidence.snapshot", "{}", inputs);
  EXPECT_EQ(again->at(0).bytes, outputs->at(0).bytes);
  EXPECT_EQ(again->at(1).bytes, outputs->at(1).bytes);
}

TEST(Snapshot, TheReportClaimsWhatSuchABundleCanShow) {
  const auto page = [](const std::string& snapshot) {
    const std::vector<MemoryInput> inputs{{"snapshot.json", snapshot}, {"f0001", "a"}, {"f0002", "b"}};
    return run_job("evidence.snapshot", "{}", inputs)->at(0).bytes;
  };
  EXPECT_EQ(page(std::string(kSnapshot)).find("<code>stella forensic replay bundle.tgz<"), std::string::npos);
  EXPECT_NE(page(replaced(R"("report":{)", R"("report":{"replayable":true,)")).find("<code>stella forensic replay bundle.tgz<"), std::string::npos);
  EXPECT_NE(page(replaced(R"("role":"output")", R"("role":"bundle")")).find("forensic replay evaluation.tgz"), std::string::npos);
}

TEST(Snapshot, RefusesWhatItCannotPack) {
  const auto run = [](const std::string& snapshot) {
    const std::vector<MemoryInput> inputs{{"snapshot.json", snapshot}, {"f0001", "a"}, {"f0002", "b"}};
    return run_job("evidence.snapshot", "{}", inputs);
  };
  EXPECT_TRUE(run(std::string(kSnapshot)));
  EXPECT_FALSE(run(replaced("snapshot/v1", "snapshot/v2")));
  EXPECT_FALSE(run(replaced("f0002", "f0003"))) << "an input that is not there";
  EXPECT_FALSE(run(replaced("data/outputs/decision.json", "../decision.json")));
  EXPECT_FALSE(run(replaced("data/outputs/decision.json", "data/inputs/sbom/sbom.json"))) << "a doubled path";
  EXPECT_FALSE(run(replaced("\"tone\":\"bad\"", "\"tone\":\"loud\"")));
  EXPECT_FALSE(run(replaced("[\"policy\",\"p@1\"]", "[\"policy\"]")));
}

}  // namespace
}  // namespace stella::pipeline
