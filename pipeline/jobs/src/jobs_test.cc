// The kinds as the runner and replay call them: by name, over named inputs, with the same bytes every time.
#include "stella/pipeline/jobs/jobs.h"

#include <set>

#include "stella/base/tar.h"
#include "stella/contracts/components.h"
#include "stella/contracts/decision.h"
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

std::string tar_of(const std::vector<std::pair<std::string, std::string>>& files) {
  std::string tar;
  for (const auto& [path, bytes] : files) append_tar(tar, path, bytes);
  append_tar_end(tar);
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
  namespace k = contracts::job_kinds;
  for (const auto kind : {k::kSbomCompute, k::kAdvisoryIngest, k::kVexIngest, k::kAdvisoryLink, k::kVexReconcile, k::kPolicyEvaluate, k::kExportBundle, k::kEvidenceSnapshot}) {
    EXPECT_NE(find_job_kind(kind), nullptr) << kind;
  }
  EXPECT_EQ(find_job_kind("selftest.sleep"), nullptr);
}

TEST(Jobs, AFindingFromSbomAndAdvisory) {
  const auto components = run("sbom.compute", "{}", {{"sbom", kSbom}});
  ASSERT_EQ(components.size(), 1u);
  EXPECT_EQ(components[0].name, "components.ndjson");
  EXPECT_EQ(components[0].media_type, "application/x-ndjson");
  const auto batch = tar_of({{"a.json", std::string(kAdvisory)}});
  const auto ingested = run("advisory.ingest", R"({"source_id":"s"})", {{"batch.tar", batch}});
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

const std::string& bytes_of(const std::vector<MemoryOutput>& outputs, std::string_view name) {
  const auto found = std::find_if(outputs.begin(), outputs.end(), [&](const auto& o) { return o.name == name; });
  EXPECT_NE(found, outputs.end()) << name;
  static const std::string kNone;
  return found == outputs.end() ? kNone : found->bytes;
}

// The whole chain over the project's own sample, every stage by its name alone.
TEST(Jobs, TheWholeChainOverTheSample) {
  std::vector<std::pair<std::string, std::string>> advisories;
  std::vector<Sha256> digests;
  for (const auto& path : testing::files_below(testing::source_path("samples/advisories"), ".json")) {
    advisories.emplace_back(path.substr(path.rfind('/') + 1), testing::slurp(path));
    digests.push_back(crypto::sha256(advisories.back().second));
  }
  ASSERT_GE(advisories.size(), 5u);
  const auto sbom = testing::slurp(testing::source_path("samples/sbom.cdx.json"));
  const auto vex = testing::slurp(testing::source_path("samples/vex.openvex.json"));
  const auto policy = testing::slurp(testing::source_path("samples/policy.yaml"));
  const auto batch = tar_of(advisories);
  const auto vex_batch = tar_of({{"vex.json", vex}});
  const auto active = ActiveSet::encode(digests);

  const auto computed = run("sbom.compute", "{}", {{"sbom", sbom}});
  const auto& components = bytes_of(computed, "components.ndjson");
  const auto ingested = run("advisory.ingest", "{}", {{"batch.tar", batch}});
  const auto vex_ingested = run("vex.ingest", "{}", {{"batch.tar", vex_batch}});
  EXPECT_NE(bytes_of(vex_ingested, "observations.ndjson").find("\"parsed\""), std::string::npos);
  std::vector<MemoryInput> link_inputs{{"components.ndjson", components}, {"active.bin", active}};
  int number = 0;
  for (const auto& output : ingested) {
    if (output.name.ends_with(".idx")) link_inputs.push_back({"segment-000" + std::to_string(number++) + ".idx", output.bytes});
  }
  const auto linked = run("advisory.link", "{}", link_inputs);
  const auto& exposures = bytes_of(linked, "exposures.ndjson");
  const auto reconciled = run("vex.reconcile", "{}", {{"components.ndjson", components}, {"exposures.ndjson", exposures}, {"vex-0000.json", vex}});
  const auto& statements = bytes_of(reconciled, "vex.ndjson");
  const std::vector<MemoryInput> evaluate_inputs{{"components.ndjson", components}, {"exposures.ndjson", exposures}, {"vex.ndjson", statements}, {"policy", policy}};
  EXPECT_FALSE(run_job("policy.evaluate", "{}", evaluate_inputs)) << "as_of is the only clock";
  const auto evaluated = run("policy.evaluate", R"({"as_of":"2026-06-01T00:00:00Z"})", evaluate_inputs);
  const auto& decision_text = bytes_of(evaluated, "decision.json");
  const auto& findings_text = bytes_of(evaluated, "findings.ndjson");
  EXPECT_FALSE(bytes_of(evaluated, "trace.ndjson").empty());
  const auto decision = contracts::decode_decision(decision_text).value();
  const auto findings = contracts::decode_findings(findings_text).value();
  EXPECT_GT(findings.size(), 0u);
  const std::vector<MemoryInput> export_inputs{
      {"components.ndjson", components}, {"exposures.ndjson", exposures}, {"vex.ndjson", statements}, {"decision.json", decision_text}, {"findings.ndjson", findings_text}};
  EXPECT_EQ(run_job("export.bundle", R"({"format":"xml"})", export_inputs).error().field("expected"), "json");
  const auto exported = run("export.bundle", R"({"format":"json"})", export_inputs);
  const auto& report_text = bytes_of(exported, "exposure-report.json");
  const auto report = json::parse(report_text).value();
  EXPECT_EQ(report.items("findings").size(), findings.size());
  EXPECT_EQ(report.find("decision")->str("effect"), contracts::to_string(decision.effect));
  for (const auto& finding : report.items("findings")) {
    if (!finding.find("advisory")->is_object()) continue;
    EXPECT_NE(finding.find("advisory")->find("summary"), nullptr) << json::dump(finding);
  }
  const auto manifest = json::parse(bytes_of(exported, "manifest.json")).value();
  EXPECT_EQ(manifest.items("files")[0].str("sha256"), crypto::sha256(report_text).hex());
  EXPECT_EQ(manifest.items("made_from").size(), 5u);
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
