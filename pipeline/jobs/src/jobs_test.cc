// The kinds as the runner and replay call them: by name, over named inputs, with the same bytes every time.
#include "stella/pipeline/jobs/jobs.h"

#include <stdlib.h>

#include <set>

#include "stella/contracts/components.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/job_kinds.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/conseiller/active_set.h"
#include "stella/testing/shared_data.h"

namespace stella::pipeline {
namespace {

constexpr std::string_view kSbom = R"({"bomFormat":"CycloneDX","specVersion":"1.5","version":1,
  "metadata":{"component":{"type":"application","name":"shop","version":"1.0","bom-ref":"root"}},
  "components":[{"type":"library","name":"minimist","version":"0.0.8","purl":"pkg:npm/minimist@0.0.8","bom-ref":"m"}]})";
constexpr std::string_view kAdvisory = R"({"id":"TEST-1","modified":"2024-01-01T00:00:00Z","affected":[{"package":{"ecosystem":"npm","name":"minimist"},
  "ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"0.2.4"}]}]}]})";

std::string tar_of(std::string_view document) {
  char name[] = "/tmp/stella-jobs-XXXXXX";
  const std::string dir = ::mkdtemp(name);
  FILE* file = std::fopen((dir + "/a.json").c_str(), "w");
  std::fwrite(document.data(), 1, document.size(), file);
  std::fclose(file);
  EXPECT_EQ(std::system(("cd " + dir + " && tar -cf out.tar a.json").c_str()), 0);
  auto tar = testing::slurp(dir + "/out.tar");
  EXPECT_EQ(std::system(("rm -r " + dir).c_str()), 0);
  return tar;
}

std::vector<MemoryOutput> run(std::string_view kind, std::string_view params, const std::vector<MemoryInput>& inputs) {
  auto outputs = run_job(kind, params, inputs);
  EXPECT_TRUE(outputs) << kind << ": " << (outputs ? "" : outputs.error().describe());
  return outputs ? std::move(*outputs) : std::vector<MemoryOutput>();
}

TEST(Jobs, EveryKindIsInTheCatalogue) {
  for (const auto& kind : job_kinds()) {
    EXPECT_NE(contracts::find_job_kind(kind.kind), nullptr) << kind.kind;
    EXPECT_EQ(find_job_kind(kind.kind), &kind);
  }
  EXPECT_EQ(find_job_kind("selftest.sleep"), nullptr);
}

TEST(Jobs, AFindingFromSbomAndAdvisory) {
  const auto components = run("sbom.compute", "{}", {{"sbom", kSbom}});
  ASSERT_EQ(components.size(), 1u);
  EXPECT_EQ(components[0].name, "components.ndjson");
  EXPECT_EQ(components[0].media_type, "application/x-ndjson");
  const auto ingested = run("advisory.ingest", R"({"source_id":"s"})", {{"batch.tar", tar_of(kAdvisory)}});
  ASSERT_EQ(ingested.size(), 2u);
  EXPECT_EQ(ingested[0].name, "observations.ndjson");
  EXPECT_EQ(ingested[1].name, "segment-npm.idx");
  const auto active = ActiveSet::encode({crypto::sha256(kAdvisory)});
  const auto linked = run("advisory.link", "{}", {{"components.ndjson", components[0].bytes}, {"segment-0000.idx", ingested[1].bytes}, {"active.bin", active}});
  ASSERT_EQ(linked.size(), 1u);
  const auto exposures = contracts::decode_exposures(linked[0].bytes).value().exposures;
  const auto found = std::find_if(exposures.begin(), exposures.end(), [](const auto& e) { return e.advisory.id == "TEST-1"; });
  ASSERT_NE(found, exposures.end());
  EXPECT_EQ(found->verdict, contracts::Verdict::kAffected);
  EXPECT_EQ(found->clause.fixed, "0.2.4");
}

TEST(Jobs, ErrorsNameWhatIsMissingOrWrong) {
  EXPECT_EQ(run_job("none", "{}", {}).error().code(), base_errors::kInvalid);
  EXPECT_EQ(run_job("sbom.compute", "{}", {}).error().field("expected"), "sbom");
  EXPECT_EQ(run_job("sbom.compute", "{", {}).error().code(), base_errors::kMalformed);
  const std::vector<MemoryInput> broken{{"sbom", "{\"bomFormat\":"}};
  EXPECT_EQ(run_job("sbom.compute", "{}", broken).error().code(), base_errors::kMalformed);
  const auto components = run("sbom.compute", "{}", {{"sbom", kSbom}});
  const std::vector<MemoryInput> bad{{"components.ndjson", components[0].bytes}, {"segment-0000.idx", "x"}, {"active.bin", ""}};
  EXPECT_EQ(run_job("advisory.link", "{}", bad).error().field("input"), "segment-0000.idx");
}

TEST(Jobs, RealDocumentsGiveTheSameBytesTwice) {
  const auto dir = STELLA_SHARED_OR_SKIP("data/sboms");
  std::size_t done = 0;
  for (const auto& path : testing::files_below(dir, ".json")) {
    if (path.find("spdx-3") != std::string::npos) continue;
    const auto sbom = testing::slurp(path);
    const std::vector<MemoryInput> inputs{{"sbom", sbom}};
    const auto once = run_job("sbom.compute", "{}", inputs);
    const auto twice = run_job("sbom.compute", "{}", inputs);
    ASSERT_TRUE(once) << path << once.error().describe();
    EXPECT_EQ(once->at(0).bytes, twice->at(0).bytes) << path;
    ++done;
  }
  EXPECT_GE(done, 15u);
}

TEST(JobIo, FileNames) {
  for (const std::string_view good : {"sbom", "segment-npm.idx", "A_1"}) EXPECT_TRUE(is_job_file_name(good));
  for (const std::string_view bad : {"", ".", "..", ".x", "a/b", "a b", "ü"}) EXPECT_FALSE(is_job_file_name(bad));
}

}  // namespace
}  // namespace stella::pipeline
