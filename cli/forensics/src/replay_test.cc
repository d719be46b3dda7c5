// An evaluation computed, sealed as the locker does it, and computed again from the bundle alone.
#include "stella/cli/forensics/replay.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "stella/base/file.h"
#include "stella/base/tar.h"
#include "stella/cli/app.h"
#include "stella/cli/forensics/attestation_view.h"
#include "stella/cli/forensics/commands.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/job_kinds.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/statement.h"
#include "stella/pipeline/jobs/jobs.h"
#include "stella/pipeline/policy/policy_set.h"
#include "stella/testing/shared_data.h"

namespace stella::cli {
namespace {

constexpr std::string_view kAsOf = "2026-11-24T12:00:00.000000Z";

using Outputs = std::vector<pipeline::MemoryOutput>;

Outputs run(std::string_view kind, std::string_view params, const std::vector<pipeline::MemoryInput>& inputs) {
  auto outputs = pipeline::run_job(kind, params, inputs);
  EXPECT_TRUE(outputs) << kind << ": " << (outputs ? "" : outputs.error().describe());
  return outputs ? std::move(*outputs) : Outputs{};
}

const std::string& bytes_of(const Outputs& outputs, std::string_view name) {
  static const std::string kNone;
  for (const auto& o : outputs)
    if (o.name == name) return o.bytes;
  ADD_FAILURE() << "no output " << name;
  return kNone;
}

json::Value revisions() {
  json::Value out = json::Value::object();
  for (const auto kind : {contracts::job_kinds::kSbomCompute, contracts::job_kinds::kAdvisoryLink, contracts::job_kinds::kVexReconcile, contracts::job_kinds::kPolicyEvaluate})
    out.set(std::string(kind), std::int64_t{contracts::job_kinds::revision(kind)});
  return out;
}

// What the platform does with these documents: an index over all of them, a bundle with the candidates alone.
std::vector<evidence::LeafFile> evaluation(const std::string& sbom, const std::vector<std::string>& advisories, const std::vector<std::string>& vex, const std::string& policy_text, std::string_view reconcile_params = "{}") {
  const auto policy = pipeline::parse_policy_set(policy_text);
  EXPECT_TRUE(policy);
  const Outputs components = run("sbom.compute", "{}", {{"sbom", sbom}});
  std::string archive, active;
  std::map<Sha256, const std::string*> by_digest;
  std::set<Sha256> active_set;
  int n = 0;
  for (const std::string& a : advisories) {
    append_tar(archive, "a" + std::to_string(n++) + ".json", a);
    by_digest[crypto::sha256(a)] = &a;
    active_set.insert(crypto::sha256(a));
  }
  append_tar_end(archive);
  for (const Sha256& d : active_set) active.append(d.view());
  const Outputs ingested = run("advisory.ingest", R"({"source_id":"test"})", {{"batch.tar", archive}});
  std::vector<pipeline::MemoryInput> link_inputs{{"components.ndjson", bytes_of(components, "components.ndjson")}};
  for (const auto& o : ingested)
    if (o.name.starts_with("segment-")) link_inputs.push_back({o.name, o.bytes});
  link_inputs.push_back({"active.bin", active});
  const Outputs linked = run("advisory.link", "{}", link_inputs);
  std::map<Sha256, const std::string*> vex_by_digest;  // in the order of their digests, as the orchestrator gives them
  for (const std::string& v : vex) vex_by_digest[crypto::sha256(v)] = &v;
  std::vector<pipeline::MemoryInput> reconcile_inputs{{"components.ndjson", bytes_of(components, "components.ndjson")}, {"exposures.ndjson", bytes_of(linked, "exposures.ndjson")}};
  n = 1000;
  for (const auto& [digest, text] : vex_by_digest) reconcile_inputs.push_back({"vex-" + std::to_string(n++) + ".json", *text});
  const Outputs reconciled = run("vex.reconcile", reconcile_params, reconcile_inputs);
  const Outputs decided = run("policy.evaluate", json::dump(json::Value::object({{"as_of", kAsOf}})),
                              {{"components.ndjson", bytes_of(components, "components.ndjson")}, {"exposures.ndjson", bytes_of(linked, "exposures.ndjson")}, {"vex.ndjson", bytes_of(reconciled, "vex.ndjson")}, {"policy", policy->canonical}});

  std::vector<evidence::LeafFile> files;
  const auto leaf = [&](std::string path, std::string role, std::string bytes) { files.push_back({.path = std::move(path), .media_type = "application/json", .role = std::move(role), .source_path = {}, .source_fd = -1, .bytes = std::move(bytes)}); };
  leaf("data/inputs/sbom/sbom.json", "input", sbom);
  leaf("data/inputs/policy/policy.json", "input", policy->canonical);
  leaf("data/inputs/config/config.json", "input", json::dump(json::Value::object({{"as_of", kAsOf}, {"engine_version", STELLA_VERSION}, {"policy_version", policy->version}, {"revisions", revisions()}})));
  const auto exposures = contracts::decode_exposures(bytes_of(linked, "exposures.ndjson"));
  std::set<Sha256> candidates;
  for (const auto& e : exposures->exposures)
    if (!e.advisory.id.empty()) candidates.insert(e.advisory.sha256);
  for (const Sha256& d : candidates) leaf("data/inputs/advisories/" + d.hex() + ".json", "input", *by_digest.at(d));
  for (const auto& [digest, text] : vex_by_digest) leaf("data/inputs/vex/" + digest.hex() + ".json", "input", *text);
  for (const Outputs* outputs : {&components, &linked, &reconciled, &decided})
    for (const auto& o : *outputs) leaf("data/outputs/" + o.name, "output", o.bytes);
  return files;
}

class ReplayTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/stella-replay-XXXXXX";
    directory_ = ::mkdtemp(name);
  }
  void TearDown() override { EXPECT_EQ(std::system(("rm -rf " + directory_).c_str()), 0); }

  std::string seal(std::vector<evidence::LeafFile> files, std::vector<evidence::SealFacts::Parent> parents = {}) {
    const std::string payload = directory_ + "/payload.tar", bundle = directory_ + "/bundle.tgz";
    std::string items;
    {
      const Fd out(::open(payload.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600));
      evidence::FdSink sink(out.get());
      const auto built = evidence::build_payload(std::move(files), sink);
      EXPECT_TRUE(built) << built.error().describe();
      items = evidence::items_ndjson(*built);
    }
    const Fd in(::open(payload.c_str(), O_RDONLY));
    const Fd out(::open(bundle.c_str(), O_CREAT | O_TRUNC | O_WRONLY, 0600));
    evidence::FdSink sink(out.get());
    const crypto::Signer* signers[] = {&key_};
    evidence::SealInput input;
    input.payload_fd = in.get();
    input.items_ndjson = items;
    const std::string secret = evidence::bundle_key("secret", "{}");
    input.bundle_key = secret;
    input.signers = signers;
    input.facts.bundle_id = BundleId::generate();
    input.facts.tenant_id = *TenantId::parse("demo");
    input.facts.case_id = *CaseId::parse("CASE-1");
    input.facts.kind = "eval";
    input.facts.resource_id = EvaluationId::generate().str();
    input.facts.sealed_at = Timestamp::now();
    input.facts.parents = std::move(parents);
    const auto sealed = evidence::seal_bundle(input, sink);
    EXPECT_TRUE(sealed) << sealed.error().describe();
    return bundle;
  }

  static std::vector<evidence::LeafFile> samples(std::string_view reconcile_params = "{}") {
    std::vector<std::string> advisories;
    for (const auto& path : testing::files_below(testing::source_path("samples/advisories"), ".json")) advisories.push_back(testing::slurp(path));
    return evaluation(testing::slurp(testing::source_path("samples/sbom.cdx.json")), advisories, {testing::slurp(testing::source_path("samples/vex.openvex.json"))}, testing::slurp(testing::source_path("samples/policy.yaml")), reconcile_params);
  }
  static evidence::LeafFile& file(std::vector<evidence::LeafFile>& files, std::string_view path) {
    return *std::find_if(files.begin(), files.end(), [&](const auto& f) { return f.path == path; });
  }
  // The program's exit code and what it printed, with an empty configuration directory.
  std::pair<int, std::string> stella(std::vector<std::string> words) {
    ::setenv("STELLA_CONFIG_DIR", (directory_ + "/config").c_str(), 1);
    App app;
    register_forensics(app);
    words.insert(words.begin(), "stella");
    std::vector<const char*> argv;
    for (const std::string& w : words) argv.push_back(w.c_str());
    ::testing::internal::CaptureStdout();
    ::testing::internal::CaptureStderr();
    const int code = app.main(static_cast<int>(argv.size()), argv.data());
    std::string text = ::testing::internal::GetCapturedStdout();
    return {code, text + ::testing::internal::GetCapturedStderr()};
  }
  std::string directory_;
  const crypto::KeyPair key_ = crypto::KeyPair::generate().value();
};

// 0 whole and signed; 1 not so; 2 not checked; 3 no bundle; 64 wrong words.
TEST_F(ReplayTest, ExitCodesOfTheCommands) {
  const std::string bundle = seal(samples());
  const std::string key = directory_ + "/key.pub";
  ASSERT_TRUE(write_file_durable(key, key_.public_key().pem()));
  const auto pass = stella({"forensic", "verify", bundle, "--trust", key});
  EXPECT_EQ(pass.first, 0) << pass.second;
  EXPECT_NE(pass.second.find("NOT-CHECKED"), std::string::npos);  // never a bare green check
  const auto untrusted = stella({"forensic", "verify", bundle});
  EXPECT_EQ(untrusted.first, 2);
  EXPECT_NE(untrusted.second.find("--trust"), std::string::npos);
  ASSERT_TRUE(write_file_durable(directory_ + "/other.pub", crypto::KeyPair::generate().value().public_key().pem()));
  EXPECT_EQ(stella({"forensic", "verify", bundle, "--trust", directory_ + "/other.pub"}).first, 1);
  EXPECT_EQ(stella({"forensic", "verify", bundle, "--trust", key, "--require", "time,custody"}).first, 2);
  EXPECT_EQ(stella({"forensic", "verify", bundle, "--trust", key, "--require", "tim"}).first, 64);
  EXPECT_EQ(stella({"forensic", "verify", bundle, "--trust", directory_ + "/none"}).first, 2);
  EXPECT_EQ(stella({"forensic", "verify", directory_ + "/none"}).first, 2);
  EXPECT_EQ(stella({"forensic", "verify", key}).first, 3);
  EXPECT_EQ(stella({"forensic", "replay", bundle}).first, 0);
  EXPECT_EQ(stella({"forensic", "replay", key}).first, 3);
  // The keys that login kept are trusted without being named.
  ASSERT_TRUE(make_dirs(directory_ + "/config/trust", 0700));
  ASSERT_TRUE(write_file_durable(directory_ + "/config/trust/" + key_.public_key().keyid8() + ".pub", key_.public_key().pem()));
  EXPECT_EQ(stella({"forensic", "verify", bundle}).first, 0);
}

// A bundle names the precedence rule that decided; it is replayed under that one.
TEST_F(ReplayTest, UnderTheRuleThatWasSealed) {
  auto files = samples(R"({"rule":"stella.vex-precedence/1"})");
  const std::string sealed = file(files, "data/outputs/vex.ndjson").bytes;
  ASSERT_NE(sealed.find("stella.vex-precedence/1"), std::string::npos);
  const auto older = replay_bundle(seal(files));
  ASSERT_TRUE(older) << older.error().describe();
  EXPECT_TRUE(older->identical()) << older->text(Palette(false));
  // A rule that this engine does not know is no difference: it cannot be replayed.
  std::string& text = file(files, "data/outputs/vex.ndjson").bytes;
  text.replace(text.find("precedence/1"), 12, "precedence/9");
  EXPECT_FALSE(replay_bundle(seal(std::move(files))));
}

// What an older function made otherwise is no sign of tampering; what ours made of it still is one.
TEST_F(ReplayTest, AnotherRevisionIsNoDifference) {
  auto files = samples();
  std::string& config = file(files, "data/inputs/config/config.json").bytes;
  json::Value older = *json::parse(config);
  json::Value sealed_revisions = revisions();
  sealed_revisions.set("policy.evaluate", 1);
  older.set("revisions", sealed_revisions);
  config = json::dump(older);
  EXPECT_EQ(stella({"forensic", "replay", seal(files)}).first, 0) << "the same came out";
  std::string& decision = file(files, "data/outputs/decision.json").bytes;
  const std::size_t at = decision.find("deny");
  ASSERT_NE(at, std::string::npos);
  decision.replace(at, 4, "warn");
  const auto told = stella({"forensic", "replay", seal(files)});
  EXPECT_EQ(told.first, 2) << told.second;
  EXPECT_NE(told.second.find("made by revision 1 of policy.evaluate; this engine has 2"), std::string::npos) << told.second;
  EXPECT_EQ(told.second.find("different"), std::string::npos) << told.second;
  // A bundle of before there were revisions is of the first ones.
  config = json::dump(json::Value::object({{"as_of", older.str("as_of")}, {"engine_version", older.str("engine_version")}}));
  EXPECT_EQ(stella({"forensic", "replay", seal(files)}).first, 2);
  // The policy's own output is excused, the components are not.
  config = json::dump(older);
  file(files, "data/outputs/components.ndjson").bytes += "{}\n";
  EXPECT_EQ(stella({"forensic", "replay", seal(files)}).first, 1);
}

// How far it is: only where somebody asked for it, as there is no terminal here.
TEST_F(ReplayTest, VerifyShowsItsProgress) {
  const std::string bundle = seal(samples()), key = directory_ + "/key.pub";
  ASSERT_TRUE(write_file_durable(key, key_.public_key().pem()));
  EXPECT_EQ(stella({"forensic", "verify", bundle, "--trust", key}).second.find("MB/s"), std::string::npos);
  const auto shown = stella({"forensic", "verify", bundle, "--trust", key, "--progress"});
  EXPECT_EQ(shown.first, 0);
  EXPECT_NE(shown.second.find("verify  100%"), std::string::npos) << shown.second;
  EXPECT_NE(shown.second.find("MB/s"), std::string::npos) << shown.second;
}

// A bundle inside of a bundle, as an export's may have its evaluation's.
TEST_F(ReplayTest, VerifyLooksIntoBundlesInside) {
  const std::string key = directory_ + "/key.pub";
  ASSERT_TRUE(write_file_durable(key, key_.public_key().pem()));
  const std::string inner = directory_ + "/inner.tgz";
  std::vector<evidence::SealFacts::Parent> named;
  const auto outer = [&] {
    evidence::LeafFile leaf;
    leaf.path = "data/bundles/inner.tgz";
    leaf.media_type = "application/gzip";
    leaf.role = std::string(evidence::kBundleRole);
    leaf.source_path = inner;
    std::vector<evidence::LeafFile> files;
    files.push_back(std::move(leaf));
    return seal(std::move(files), named);
  };
  std::filesystem::rename(seal(samples()), inner);
  // The seal around it must say which bundle it is.
  EXPECT_EQ(stella({"forensic", "verify", outer(), "--trust", key}).first, 0);
  const auto foreign = stella({"forensic", "verify", outer(), "--trust", key, "--nested"});
  EXPECT_EQ(foreign.first, 1);
  EXPECT_NE(foreign.second.find("does not name"), std::string::npos) << foreign.second;
  const auto sealed = evidence::verify_bundle_file(inner, {}).value().seal;
  named.push_back({sealed->facts.bundle_id, sealed->head.root});
  const auto shallow = stella({"forensic", "verify", outer(), "--trust", key});
  EXPECT_EQ(shallow.first, 0);
  EXPECT_NE(shallow.second.find("--nested"), std::string::npos) << shallow.second;
  const auto deep = stella({"forensic", "verify", outer(), "--trust", key, "--nested", "-o", "json"});
  EXPECT_EQ(deep.first, 0);
  const auto document = json::parse(deep.second);
  ASSERT_TRUE(document.has_value()) << deep.second;
  ASSERT_EQ(document->items("nested").size(), 1u);
  EXPECT_EQ(document->items("nested")[0].str("path"), "data/bundles/inner.tgz");
  EXPECT_EQ(document->items("nested")[0].str("result"), "pass");
  // The outer one is as sound as before, whatever lies in it: only the look inside tells.
  std::string bytes = testing::slurp(inner);
  ASSERT_TRUE(write_file_durable(inner, bytes.substr(0, bytes.size() / 2)));
  EXPECT_EQ(stella({"forensic", "verify", outer(), "--trust", key}).first, 0);
  EXPECT_EQ(stella({"forensic", "verify", outer(), "--trust", key, "--nested"}).first, 3);
}

TEST_F(ReplayTest, ThePublishedScriptAgrees) {
  const std::string bundle = seal(samples());
  ASSERT_TRUE(write_file_durable(directory_ + "/key.pub", key_.public_key().pem()));
  const auto script = stella({"-q", "forensic", "verify-script"});
  ASSERT_TRUE(write_file_durable(directory_ + "/verify.sh", script.second));
  EXPECT_EQ(std::system(("sh " + directory_ + "/verify.sh " + directory_ + "/key.pub " + bundle + " > /dev/null").c_str()), 0);
  EXPECT_EQ(stella({"forensic", "verify-script", "--digest"}).second, crypto::sha256(script.second).hex() + "  verify.sh\n");
}

TEST_F(ReplayTest, AttestVerifyIsAboutThisVeryFile) {
  ASSERT_TRUE(write_file_durable(directory_ + "/artifact", "the report"));
  ASSERT_TRUE(write_file_durable(directory_ + "/key.pub", key_.public_key().pem()));
  const evidence::Subject subject{"report", crypto::sha256("the report")};
  const auto statement = evidence::make_statement(std::span(&subject, 1), "https://example.org/p", json::Value::object({}));
  ASSERT_TRUE(statement);
  const auto signed_text = evidence::sign_statement(key_, *statement);
  ASSERT_TRUE(signed_text);
  const std::string file = directory_ + "/statement.json";
  ASSERT_TRUE(write_file_durable(file, *signed_text));
  const std::vector<std::string> base{"forensic", "attest", "verify", file, "--trust", directory_ + "/key.pub", "--subject"};
  const auto with = [&](std::string subject_file, std::vector<std::string> more = {}) {
    std::vector<std::string> words = base;
    words.push_back(std::move(subject_file));
    words.insert(words.end(), more.begin(), more.end());
    return stella(words).first;
  };
  EXPECT_EQ(with(directory_ + "/artifact"), 0);
  EXPECT_EQ(with(directory_ + "/artifact", {"--type", "https://example.org/other"}), 1);
  EXPECT_EQ(with(directory_ + "/key.pub"), 1);
  EXPECT_EQ(with(directory_ + "/none"), 2);
  EXPECT_EQ(stella({"forensic", "attest", "verify", file, "--subject", directory_ + "/artifact"}).first, 2);
  EXPECT_EQ(stella({"forensic", "attest", "verify", directory_ + "/artifact", "--trust", directory_ + "/key.pub", "--subject", directory_ + "/artifact"}).first, 3);
}

TEST_F(ReplayTest, TheSampleIsMadeAgain) {
  const auto replay = replay_bundle(seal(samples()));
  ASSERT_TRUE(replay) << replay.error().describe();
  std::set<std::string> names;
  for (const auto& o : replay->outputs) {
    EXPECT_TRUE(o.identical()) << o.name;
    names.insert(o.name);
  }
  EXPECT_EQ(names, (std::set<std::string>{"components.ndjson", "exposures.ndjson", "vex.ndjson", "decision.json", "findings.ndjson", "trace.ndjson"}));
  EXPECT_TRUE(replay->identical());
  EXPECT_GT(replay->advisories, 3u);
  EXPECT_NE(replay->text(Palette(false)).find("identical: every output was made again"), std::string::npos);
}

// A copy without some of the inputs says nothing about the outputs: not that they differ.
TEST_F(ReplayTest, ACopyWithoutItsInputsCannotBeReplayed) {
  const std::string bundle = seal(samples());
  const auto copy = [&](const std::string& withhold) {
    const std::string out = directory_ + "/copy.tgz";
    std::filesystem::remove(out);
    EXPECT_EQ(stella({"forensic", "redact", bundle, "--withhold", withhold, "--reason", "r", "--out", out}).first, 0);
    return stella({"forensic", "replay", out});
  };
  for (const std::string withheld : {"data/inputs/vex/*", "data/inputs/advisories/*"}) {
    const auto lacking = copy(withheld);
    EXPECT_EQ(lacking.first, 2) << lacking.second;
    EXPECT_NE(lacking.second.find("cannot be replayed: inputs are withheld"), std::string::npos) << lacking.second;
    EXPECT_NE(lacking.second.find("withheld, at index "), std::string::npos) << lacking.second;
    EXPECT_EQ(lacking.second.find("different"), std::string::npos) << lacking.second;
  }
  EXPECT_EQ(copy("data/outputs/decision.json").first, 2) << "an output is missing";
}

TEST_F(ReplayTest, AnInventedOutputIsFound) {
  auto files = samples();
  evidence::LeafFile& decision = file(files, "data/outputs/decision.json");
  const std::size_t at = decision.bytes.find("deny");
  ASSERT_NE(at, std::string::npos);
  decision.bytes.replace(at, 4, "warn");
  const auto replay = replay_bundle(seal(std::move(files)));
  ASSERT_TRUE(replay) << replay.error().describe();
  EXPECT_FALSE(replay->identical());
  for (const auto& o : replay->outputs) EXPECT_EQ(o.identical(), o.name != "decision.json") << o.name;
  EXPECT_NE(replay->text(Palette(false)).find("decision.json"), std::string::npos);
  EXPECT_FALSE(replay->json().boolean("identical", true));
}

// What differs is printed where it is, by the command and in its JSON.
TEST_F(ReplayTest, ADifferenceIsShownWhereItIs) {
  auto files = samples();
  std::string& decision = file(files, "data/outputs/decision.json").bytes;
  const json::Value before = *json::parse(decision);
  ASSERT_EQ(before.str("effect"), "deny");
  json::Value changed = before;
  changed.set("effect", "warn");
  decision = json::dump(changed);
  std::string& findings = file(files, "data/outputs/findings.ndjson").bytes;
  const std::size_t end = findings.find('\n');
  const json::Value gone = *json::parse(findings.substr(0, end));
  findings.erase(0, end + 1);
  const std::string bundle = seal(std::move(files));
  const auto text = stella({"forensic", "replay", bundle});
  EXPECT_EQ(text.first, 1);
  for (const std::string& part : {std::string("/effect"), std::string("\"warn\""), std::string("\"deny\""), std::string(gone.str("purl")) + " " + std::string(gone.str("advisory_id")), std::string("(not there)")})
    EXPECT_NE(text.second.find(part), std::string::npos) << part << "\n" << text.second;
  const auto shown = stella({"-o", "json", "forensic", "replay", bundle});
  EXPECT_EQ(shown.first, 1);
  const auto doc = json::parse(shown.second);
  ASSERT_TRUE(doc) << shown.second;
  for (const json::Value& output : doc->items("outputs")) {
    const json::Value* diff = output.find("diff");
    ASSERT_EQ(diff == nullptr, output.boolean("identical")) << output.str("name");
    if (output.str("name") == "decision.json") {
      EXPECT_EQ(json::dump(*diff), R"({"total":1,"differences":[{"path":"/effect","sealed":"\"warn\"","replayed":"\"deny\""}]})");
    }
    if (output.str("name") != "findings.ndjson") continue;
    ASSERT_EQ(diff->integer("total"), 1);
    const json::Value& one = diff->items("differences")[0];
    EXPECT_EQ(one.str("record"), std::string(gone.str("purl")) + " " + std::string(gone.str("advisory_id")));
    EXPECT_EQ(one.find("sealed"), nullptr);
    EXPECT_EQ(one.str("path"), "");
  }
}

// However much differs, the list stays short and says how much it leaves out.
TEST_F(ReplayTest, ManyDifferencesAreCounted) {
  auto files = samples();
  std::string& decision = file(files, "data/outputs/decision.json").bytes;
  json::Value changed = *json::parse(decision);
  for (int i = 0; i < 75; ++i) changed.set("extra" + std::to_string(i), i);
  decision = json::dump(changed);
  const auto replay = replay_bundle(seal(std::move(files)));
  ASSERT_TRUE(replay) << replay.error().describe();
  const std::string text = replay->text(Palette(false));
  EXPECT_NE(text.find("/extra49"), std::string::npos) << text;
  EXPECT_EQ(text.find("/extra50"), std::string::npos);
  EXPECT_NE(text.find("\nand 25 more\n"), std::string::npos) << text;
}

TEST_F(ReplayTest, AnAdvisoryThatIsKeptBackIsFound) {
  auto files = samples();
  const auto advisory = std::find_if(files.begin(), files.end(), [](const auto& f) { return f.path.starts_with("data/inputs/advisories/"); });
  ASSERT_NE(advisory, files.end());
  files.erase(advisory);
  const auto replay = replay_bundle(seal(std::move(files)));
  ASSERT_TRUE(replay) << replay.error().describe();
  EXPECT_FALSE(replay->identical());
}

TEST_F(ReplayTest, WhatCannotBeReplayedSaysWhy) {
  auto files = samples();
  std::erase_if(files, [](const auto& f) { return f.path == "data/inputs/sbom/sbom.json"; });
  const auto without = replay_bundle(seal(std::move(files)));
  ASSERT_FALSE(without);
  EXPECT_EQ(without.error().code(), base_errors::kNotFound);
  EXPECT_EQ(without.error().field("path"), "data/inputs/sbom/sbom.json");
  const auto capsule = replay_bundle(seal({{.path = "data/inputs/job.json", .media_type = "application/json", .role = "input", .source_path = {}, .source_fd = -1, .bytes = "{}"}}));
  ASSERT_FALSE(capsule);
  EXPECT_EQ(capsule.error().code(), contracts::errors::kUnsupported);
  ASSERT_TRUE(write_file_durable(directory_ + "/x", "no bundle"));
  EXPECT_EQ(replay_bundle(directory_ + "/x").error().code(), base_errors::kMalformed);
}

// The whole feed as the index, the candidates alone in the bundle: linking gives the same exposures.
TEST_F(ReplayTest, RealDocumentsAreMadeAgainFromTheirCandidates) {
  const auto feed = STELLA_SHARED_OR_SKIP("data/advisories/osv");
  const auto statements = STELLA_SHARED_OR_SKIP("data/vex/openvex");
  const auto sboms = STELLA_SHARED_OR_SKIP("data/sboms");
  std::vector<std::string> advisories, vex;
  for (const auto& path : testing::files_below(feed, ".json")) advisories.push_back(testing::slurp(path));
  for (const auto& path : testing::files_below(statements, ".json")) vex.push_back(testing::slurp(path));
  const std::string policy = testing::slurp(testing::source_path("samples/policy.yaml"));
  std::size_t done = 0, candidates = 0;
  for (const auto& path : testing::files_below(sboms, ".json")) {
    const std::string sbom = testing::slurp(path);
    if (path.find("spdx-3") != std::string::npos || sbom.size() > (4u << 20)) continue;
    const auto replay = replay_bundle(seal(evaluation(sbom, advisories, vex, policy)));
    ASSERT_TRUE(replay) << path << " " << replay.error().describe();
    EXPECT_TRUE(replay->identical()) << path << "\n" << replay->text(Palette(false));
    candidates += replay->advisories;
    ++done;
  }
  EXPECT_GE(done, 5u);
  EXPECT_GT(candidates, 0u);
}

TEST(AttestationView, SaysWhoMadeWhatFromWhat) {
  evidence::Provenance p;
  p.external_parameters = json::Value::object({{"kind", "policy.evaluate"}});
  p.resolved_dependencies.push_back({.name = "policy", .sha256 = crypto::sha256("policy")});
  p.invocation_id = "0193-run";
  p.started_on = *Timestamp::parse("2026-11-24T17:07:00Z");
  p.finished_on = *Timestamp::parse("2026-11-24T17:07:01Z");
  const evidence::Subject subject{"decision.json", crypto::sha256("decision")};
  const auto statement = evidence::make_provenance(std::span(&subject, 1), p);
  ASSERT_TRUE(statement) << statement.error().describe();
  const json::Value verdict = json::Value::object({{"result", "pass"}, {"signers", json::Value::array({"SHA256:abc"})}, {"not_checked", json::Value::array({"TIME: local clock only"})}});
  const std::string text = attestation_text(*json::parse(*statement), verdict, Palette(false), 0);
  for (const std::string& part : {std::string("decision.json  sha256:") + crypto::sha256("decision").hex(), std::string("https://slsa.dev/provenance/v1"), std::string("SHA256:abc"), std::string("TIME: local clock only"), std::string("policy.evaluate"),
                                  std::string("0193-run"), std::string("2026-11-24 17:07:00 UTC"), crypto::sha256("policy").hex()})
    EXPECT_NE(text.find(part), std::string::npos) << part << "\n" << text;
  EXPECT_FALSE(attestation_text(json::Value(), json::Value(), Palette(false), 80).find("pass") != std::string::npos);
}

}  // namespace
}  // namespace stella::cli
