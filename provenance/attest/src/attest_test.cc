// Provenance of a job as a stored, signed statement with a row and a fact per output, all or nothing.
#include "stella/provenance/attest.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <set>

#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/batch.h"
#include "stella/evidence/format/predicates.h"
#include "stella/provenance/decision.h"
#include "stella/provenance/enclose.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/postgres.h"

namespace stella::attest {
namespace {

class Attesting : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/stella-attest-XXXXXX";
    root_ = ::mkdtemp(name);
    store_ = std::move(objects::open_posix_store(root_).value());
  }
  void TearDown() override {
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  JobProvenance job() {
    JobProvenance p;
    p.tenant = acme_;
    p.job_id = JobId::generate();
    p.run_id = RunId::generate();
    p.kind = "policy.evaluate";
    p.engine_version = "1.2.3";
    p.params = json::Value::object({{"as_of", "2026-11-25T00:00:00Z"}});
    p.inputs = {{"policy", crypto::sha256("policy")}};
    p.outputs = {{"decision.json", crypto::sha256("decision")}, {"findings.ndjson", crypto::sha256("findings")}};
    p.runner_image = crypto::sha256("image");
    p.transcript = crypto::sha256("transcript");
    p.subject_id = EvaluationId::generate().str();
    p.scheduled_by = "user:test";
    p.trace = TraceId::generate();
    p.finished_at = Timestamp::now();
    p.started_at = p.finished_at - std::chrono::seconds(1);
    return p;
  }
  testing::TestDatabase db_;
  TenantId acme_ = db_.tenant("acme");
  pg::SystemPool<pg::OrchestratorRole> pool_{db_.options("stella_orchestrator")};
  crypto::KeyPair key_ = crypto::KeyPair::generate().value();
  std::unique_ptr<objects::Store> store_;
  std::string root_;
};

TEST_F(Attesting, EveryOutputIsASubjectOfOneSignedStatement) {
  const JobProvenance p = job();
  auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
  const auto made = attest_job(*tx, *store_, key_, p);
  ASSERT_TRUE(made.has_value()) << made.error().describe();
  ASSERT_TRUE(made->has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM attestations"), "0");  // not before the commit
  ASSERT_TRUE(tx->commit().has_value());
  EXPECT_EQ(db_.sql("SELECT string_agg(f.subject_name || '=' || encode(a.subject_digest, 'hex'), ',' ORDER BY f.subject_name) FROM attestations a JOIN attestation_facts f ON f.attestation_id = a.id"),
            "decision.json=" + p.outputs[0].sha256.hex() + ",findings.ndjson=" + p.outputs[1].sha256.hex());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox"), "1");
  const std::string text = store_->get(db_.sql("SELECT DISTINCT statement_path FROM attestations"), 1 << 20).value();
  EXPECT_EQ(crypto::sha256(text), (*made)->statement);
  const std::vector<crypto::PublicKey> trust{key_.public_key()};
  for (const auto& output : p.outputs) {
    evidence::StatementExpectation expected;
    expected.trust = trust;
    expected.subject = &output.sha256;
    const auto verified = evidence::verify_statement(text, expected);
    ASSERT_TRUE(verified.has_value()) << verified.error().describe();
    EXPECT_EQ(verified->statement.predicate_type, evidence::kProvenancePredicate);
    EXPECT_TRUE(evidence::check_provenance(verified->statement.predicate).has_value());
    const std::string predicate = json::dump(verified->statement.predicate);
    for (const std::string& said : {p.inputs[0].sha256.hex(), p.run_id->str(), p.runner_image.hex(), p.transcript->hex(), p.trace.hex()}) EXPECT_NE(predicate.find(said), std::string::npos) << said;
    EXPECT_EQ(predicate.find("user:test"), std::string::npos);  // who asked is on the timeline, not in what leaves the house
  }
  // Another object, another key.
  const Sha256 other = crypto::sha256("other");
  evidence::StatementExpectation expected;
  expected.trust = trust;
  expected.subject = &other;
  EXPECT_FALSE(evidence::verify_statement(text, expected).has_value());
  const std::vector<crypto::PublicKey> strangers{crypto::KeyPair::generate()->public_key()};
  expected.trust = strangers;
  expected.subject = &p.outputs[0].sha256;
  EXPECT_FALSE(evidence::verify_statement(text, expected).has_value());
}

// The statements of one job are signed once, and each stands alone: its document verifies, names its own subject, and cannot be swapped.
TEST_F(Attesting, SeveralStatementsAreOneSignature) {
  const JobProvenance p = job();
  DecisionFacts facts;
  facts.sbom = {.name = "sbom", .sha256 = crypto::sha256("sbom")};
  facts.sbom_id = SbomId::generate().str();
  facts.policy = crypto::sha256("policy");
  facts.policy_version = "default@0123456789ab";
  facts.advisory_set = crypto::sha256("advisories");
  facts.advisories_as_of = facts.started_at = facts.finished_at = Timestamp::now();
  contracts::Decision decision;
  decision.effect = contracts::Effect::kDeny;
  auto others = decision_statements(facts, decision, {});
  ASSERT_TRUE(others.has_value()) << others.error().describe();
  auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
  const auto made = attest_job(*tx, *store_, key_, p, *others);
  ASSERT_TRUE(made.has_value()) << made.error().describe();
  ASSERT_TRUE(tx->commit().has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox"), "4");
  EXPECT_EQ(db_.sql("SELECT string_agg(DISTINCT f.predicate_type, ',') FROM attestations a JOIN attestation_facts f ON f.attestation_id = a.id WHERE a.subject_digest = decode('" + facts.sbom.sha256.hex() + "', 'hex')"),
            std::string(evidence::kSvrPredicate) + "," + std::string(evidence::kVulnsPredicate) + "," + std::string(evidence::kVsaPredicate));
  const std::vector<crypto::PublicKey> trust{key_.public_key()};
  std::set<std::string> batches;
  for (const std::string_view type : {evidence::kProvenancePredicate, evidence::kVsaPredicate, evidence::kSvrPredicate, evidence::kVulnsPredicate}) {
    const std::string text = store_->get(db_.sql("SELECT DISTINCT a.statement_path FROM attestations a JOIN attestation_facts f ON f.attestation_id = a.id WHERE f.predicate_type = '" + std::string(type) + "'"), 1 << 20).value();
    const Sha256& subject = type == evidence::kProvenancePredicate ? p.outputs[1].sha256 : facts.sbom.sha256;
    const auto verified = evidence::verify_statement(text, {.trust = trust, .subject = &subject, .predicate_type = type});
    ASSERT_TRUE(verified.has_value()) << type << verified.error().describe();
    EXPECT_TRUE(evidence::check_predicate(type, verified->statement.predicate).has_value());
    EXPECT_TRUE(std::any_of(others->begin(), others->end(), [&](const auto& s) { return s.bytes == verified->bytes; }) || type == evidence::kProvenancePredicate);
    batches.insert(evidence::parse_batch_member(text)->envelope.json());
    // One bit of the statement: the proof fails.
    json::Value doc = json::parse(text).value();
    std::string other(doc.str("statement"));
    other[10] = other[10] == 'A' ? 'B' : 'A';
    doc.set("statement", other);
    EXPECT_FALSE(evidence::verify_statement(json::dump(doc), {.trust = trust}).has_value());
  }
  EXPECT_EQ(batches.size(), 1u);
}

// The bundle of an evaluation gets what was stated about it, each alone; what cannot be enclosed is named in a statement of its own.
TEST_F(Attesting, StatementsAreEnclosedAsSigstoreBundles) {
  JobProvenance p = job();
  DecisionFacts facts;
  facts.sbom = {.name = "sbom", .sha256 = crypto::sha256("sbom")};
  facts.sbom_id = SbomId::generate().str();
  facts.policy_version = "default@0123456789ab";
  facts.advisories_as_of = facts.started_at = facts.finished_at = Timestamp::now();
  auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
  ASSERT_TRUE(attest_job(*tx, *store_, key_, p, decision_statements(facts, {}, {}).value()).has_value());
  JobProvenance link = p;
  link.job_id = JobId::generate();
  link.kind = "advisory.link";
  ASSERT_TRUE(attest_job(*tx, *store_, key_, link).has_value());
  ASSERT_TRUE(tx->commit().has_value());
  pg::SystemPool<pg::LockerRole> lockers(db_.options("stella_locker"));
  const crypto::KeyPair sealing = crypto::KeyPair::generate().value();  // another evidence key by then
  const std::vector<crypto::PublicKey> trust{key_.public_key()};
  const auto enclosed = [&] {
    auto reading = pg::SystemTx<pg::LockerRole>::open(lockers);
    return evaluation_statements(*reading, *store_, sealing, trust, acme_, p.subject_id);
  };
  const auto files = enclosed();
  ASSERT_TRUE(files.has_value()) << files.error().describe();
  std::string names;
  for (const auto& [name, bytes] : files->files) {
    names += name.substr(7, name.find('.') - 7) + " ";
    const std::vector<crypto::PublicKey> sealer{sealing.public_key()};
    const auto verified = evidence::verify_statement(bytes, {.trust = sealer});
    ASSERT_TRUE(verified.has_value()) << name << verified.error().describe();
    EXPECT_TRUE(evidence::parse_attestation(bytes).has_value()) << name;
    EXPECT_TRUE(name.find("provenance") == std::string::npos || verified->bytes.find(p.job_id.str()) != std::string::npos) << "that of the job which decided";
  }
  EXPECT_EQ(names, "svr vulns provenance vsa ");
  EXPECT_TRUE(files->left_out.empty());
  const std::string path = db_.sql("SELECT DISTINCT a.statement_path FROM attestations a JOIN attestation_facts f ON f.attestation_id = a.id WHERE f.predicate_type = '" + std::string(evidence::kSvrPredicate) + "'");
  ASSERT_TRUE(write_file_durable(root_ + "/" + path, "{}").has_value());
  const auto without = enclosed();
  ASSERT_TRUE(without.has_value()) << without.error().describe();
  ASSERT_EQ(without->left_out.size(), 1u);
  EXPECT_EQ(without->left_out[0].file, "attest/svr.sigstore.json");
  EXPECT_NE(without->left_out[0].reason.find("changed"), std::string::npos) << without->left_out[0].reason;
  ASSERT_EQ(without->files.size(), 4u);
  EXPECT_EQ(without->files.back().first, kLeftOutFile);
  const std::vector<crypto::PublicKey> sealer{sealing.public_key()};
  EXPECT_TRUE(evidence::verify_statement(without->files.back().second, {.trust = sealer, .subject = &without->left_out[0].sha256, .predicate_type = evidence::kLeftOutPredicate}).has_value());
  EXPECT_EQ(files_left_out(without->files.back().second).value(), std::vector<std::string>{"attest/svr.sigstore.json"});
  // Gone from the store; and signed by a key that is not trusted any more.
  std::filesystem::remove(root_ + "/" + path);
  EXPECT_EQ(enclosed()->left_out.size(), 1u);
  auto reading = pg::SystemTx<pg::LockerRole>::open(lockers);
  const auto untrusted = evaluation_statements(*reading, *store_, sealing, sealer, acme_, p.subject_id);
  ASSERT_TRUE(untrusted.has_value()) << untrusted.error().describe();
  EXPECT_EQ(untrusted->left_out.size(), 4u);
  EXPECT_EQ(untrusted->files.size(), 1u);
}

TEST_F(Attesting, NothingIsStatedAboutAJobThatMadeNothing) {
  JobProvenance p = job();
  p.outputs.clear();
  auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
  evidence::Stated stray;
  stray.subjects = {{.name = "x", .sha256 = crypto::sha256("x")}};
  EXPECT_FALSE(attest_job(*tx, *store_, key_, p, {stray}).has_value());
}

TEST_F(Attesting, WithoutOutputsThereIsNothingToSay) {
  JobProvenance p = job();
  p.outputs.clear();
  auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
  EXPECT_FALSE(attest_job(*tx, *store_, key_, p)->has_value());
  ASSERT_TRUE(tx->commit().has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox"), "0");
}

TEST_F(Attesting, ARollbackLeavesNoRow) {
  {
    auto tx = pg::SystemTx<pg::OrchestratorRole>::open(pool_);
    ASSERT_TRUE(attest_job(*tx, *store_, key_, job())->has_value());
  }
  EXPECT_EQ(db_.sql("SELECT (SELECT count(*) FROM attestations) + (SELECT count(*) FROM attestation_facts) + (SELECT count(*) FROM timeline_outbox)"), "0");
}

}  // namespace
}  // namespace stella::attest
