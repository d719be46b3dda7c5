// What keeps a snapshot from being sealed, and what does not: statements that verify no more, lost payloads, other tenants, bundles that somebody put there.
#include <gtest/gtest.h>

#include <filesystem>
#include <set>

#include "locking_fixture.h"
#include "sign_first.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/item.h"
#include "stella/evidence/format/predicates.h"
#include "stella/evidence/format/seal.h"
#include "stella/provenance/attest.h"
#include "stella/provenance/decision.h"
#include "stella/provenance/enclose.h"

namespace stella::evidence {
namespace {

namespace errors = contracts::errors;

class Sealing : public Locking {
 protected:
  // What is stated about the decision, signed by `signer`.
  void state_decision(const crypto::Signer& signer) {
    attest::JobProvenance p;
    p.tenant = acme_;
    p.job_id = JobId::generate();
    p.run_id = RunId::generate();
    p.kind = "policy.evaluate";
    p.engine_version = "1.2.3";
    p.params = json::Value::object({{"as_of", "2026-11-25T00:00:00Z"}});
    p.inputs = {{"policy", crypto::sha256("policy")}};
    p.outputs = {{"decision.json", crypto::sha256("decision")}};
    p.runner_image = crypto::sha256("image");
    p.subject_id = evaluation_.str();
    p.scheduled_by = "user:test";
    p.trace = TraceId::generate();
    p.finished_at = Timestamp::now();
    p.started_at = p.finished_at - std::chrono::seconds(1);
    attest::DecisionFacts facts;
    facts.sbom = {.name = "sbom", .sha256 = crypto::sha256("sbom")};
    facts.sbom_id = SbomId::generate().str();
    facts.policy_version = "default@0123456789ab";
    facts.advisories_as_of = facts.started_at = facts.finished_at = Timestamp::now();
    auto orchestrator = std::move(pg::SystemTx<pg::OrchestratorRole>::open(pool_).value());
    ASSERT_TRUE(attest::attest_job(orchestrator, *store_, signer, p, attest::decision_statements(facts, {}, {}).value()).has_value());
    ASSERT_TRUE(orchestrator.commit().has_value());
  }
  void add_key(const crypto::Signer& key, std::string_view state) {
    db_.sql("INSERT INTO signing_keys (key_id, purpose, algorithm, public_pem, state) VALUES ('" + key.public_key().id().str() + "', 'evidence', 'ecdsa-p256', '" + key.public_key().pem() + "', '" + std::string(state) + "')");
  }
  Verdict verdict_of(const BundleId& id) {
    VerifyOptions options;
    options.trust = trust_.keys;
    return verify_bundle_file(path(id), options).value();
  }
  std::string member(const BundleId& id, std::string_view name) {
    const std::string bytes = read_file(path(id), 1 << 28).value();
    StringSource source(bytes);
    auto text = read_bundle_member(source, name, 1 << 24);
    return text ? *text : std::string();
  }
  void overwrite(const std::string& file, std::string_view bytes) {
    std::filesystem::remove(file);
    ASSERT_TRUE(write_file_durable(file, bytes));
  }
  // A snapshot that is built, and not yet sealed.
  BundleId built(std::string_view case_id = "CASE-1", bool again = false) {
    runner_->drain();
    const BundleId id = request("eval", evaluation_.str(), case_id, again).value().bundle_id;
    runner_->drain();
    EXPECT_EQ(state(id), "built");
    return id;
  }
  void plant(const BundleId& id, std::string_view bytes, std::string_view case_id = "CASE-1") {
    ASSERT_TRUE(store_->put(object_key::evidence(acme_, CaseId::parse(case_id).value(), id, "bundle.tgz"), bytes).has_value());
  }
  std::string message(const BundleId& id) { return column(id, "error->>'code' || ' ' || (error->>'message')"); }
};

TEST_F(Sealing, StatementsOfACompromisedKeyAreLeftOutAndNamed) {
  runner_->drain();
  const crypto::KeyPair former = crypto::KeyPair::generate().value();
  state_decision(former);
  add_key(former, "compromised");
  const BundleId id = sealed();
  const Verdict verdict = verdict_of(id);
  EXPECT_EQ(exit_code(verdict), kExitPass) << verdict.of(Dimension::kAuthenticity).reason;
  EXPECT_EQ(member(id, "attest/vsa.sigstore.json"), "");
  const std::string said = member(id, attest::kLeftOutFile);
  const auto statement = verify_statement(said, {.trust = trust_.keys, .predicate_type = kLeftOutPredicate});
  ASSERT_TRUE(statement.has_value()) << statement.error().describe();
  EXPECT_EQ(attest::files_left_out(said).value(), (std::vector<std::string>{"attest/svr.sigstore.json", "attest/vulns.sigstore.json", "attest/provenance.sigstore.json", "attest/vsa.sigstore.json"}));
  EXPECT_NE(statement->bytes.find("does not verify with the evidence keys that are trusted now"), std::string::npos);
  const std::string told = "SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%evidence.sealed%' AND convert_from(entry, 'UTF8') LIKE '%\"left_out\":[%attest/vsa.sigstore.json%'";
  EXPECT_EQ(db_.sql(told), "1");
  // After a crash the bundle itself is asked.
  db_.sql("DELETE FROM evidence_bundles; DELETE FROM timeline_outbox; UPDATE evidence_snapshots SET state = 'built', seal_sha256 = NULL, bundle_sha256 = NULL, bundle_size = NULL, sealed_at = NULL");
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(db_.sql(told), "1");
}

// Who made what is inside can be asked offline, of a job and of an export as of an evaluation.
TEST_F(Sealing, BundlesOfJobsAndExportsEncloseTheirProvenance) {
  runner_->drain();
  auto t = tx();
  const std::string made = exports::request_export(t, {evaluation_, "json", "", TraceId::generate()}).value().str();
  ASSERT_TRUE(t.commit().has_value());
  runner_->drain();
  const std::string deciding = db_.sql("SELECT evaluate_job FROM evaluations"), exporting = db_.sql("SELECT job_id FROM exports");
  for (const auto& [kind, resource, job, subject] : {std::tuple("job", deciding, deciding, evaluation_.str()), std::tuple("export", made, exporting, made)}) {
    attest::JobProvenance p;
    p.tenant = acme_;
    p.job_id = JobId::parse(job).value();
    p.kind = db_.sql("SELECT kind FROM jobs WHERE job_id = '" + job + "'");
    p.engine_version = "1.2.3";
    p.params = json::Value::object();
    const auto outputs = jobs::outputs_from_json(db_.sql("SELECT outputs FROM jobs WHERE job_id = '" + job + "'")).value();
    for (const auto& out : outputs) p.outputs.push_back({out.name, out.sha256});
    p.subject_id = subject;
    p.trace = TraceId::generate();
    auto orchestrator = std::move(pg::SystemTx<pg::OrchestratorRole>::open(pool_).value());
    ASSERT_TRUE(attest::attest_job(orchestrator, *store_, *key_, p).has_value());
    ASSERT_TRUE(orchestrator.commit().has_value());
    const auto bundle = [&, kind = kind, resource = resource](bool again) {
      const BundleId id = request(kind, resource, "CASE-1", again).value().bundle_id;
      runner_->drain();
      EXPECT_EQ(locker_->round().value(), 1);
      return id;
    };
    const BundleId id = bundle(false);
    const auto provenance = verify_statement(member(id, "attest/provenance.sigstore.json"), {.trust = trust_.keys, .subject = &p.outputs[0].sha256, .predicate_type = kProvenancePredicate});
    ASSERT_TRUE(provenance.has_value()) << kind << provenance.error().describe();
    EXPECT_NE(provenance->bytes.find(job), std::string::npos);
    EXPECT_EQ(exit_code(verdict_of(id)), kExitPass) << kind << verdict_of(id).of(Dimension::kAuthenticity).reason;
    // Gone from the store: the bundle names what it lacks.
    std::filesystem::remove(root_ + "/objects/" + db_.sql("SELECT statement_path FROM attestations ORDER BY created_at DESC LIMIT 1"));
    const BundleId without = bundle(true);
    EXPECT_EQ(member(without, "attest/provenance.sigstore.json"), "");
    EXPECT_EQ(attest::files_left_out(member(without, attest::kLeftOutFile)).value(), std::vector<std::string>{"attest/provenance.sigstore.json"});
    EXPECT_EQ(exit_code(verdict_of(without)), kExitPass) << kind << verdict_of(without).of(Dimension::kAuthenticity).reason;
  }
}

// Of before a crash or a pause: what is written now is stamped now, and must not be of a key that ended before.
TEST_F(Sealing, AFirstSignatureCountsWhileItsKeyIsActive) {
  const BundleId id = sealed();
  db_.sql("UPDATE evidence_snapshots SET signed_event = gen_random_uuid(), seal_envelope = '" + member(id, "attest/seal.dsse.json") + "'");
  const auto found = [&] {
    auto t = std::move(pg::SystemTx<pg::LockerRole>::open(locker_pool_).value());
    const auto first = first_signature(t, acme_, id);
    EXPECT_TRUE(first.has_value()) << first.error().describe();
    return first && first->has_value();
  };
  EXPECT_TRUE(found());
  for (const char* state : {"retired", "compromised"}) {
    db_.sql("UPDATE signing_keys SET state = '" + std::string(state) + "' WHERE key_id = '" + key_id() + "'");
    EXPECT_FALSE(found()) << state;
  }
}

// However often a bundle is begun before it can be sealed.
TEST_F(Sealing, AStatementThatIsLeftOutIsToldOfOnce) {
  runner_->drain();
  const crypto::KeyPair former = crypto::KeyPair::generate().value();
  state_decision(former);
  add_key(former, "compromised");
  // A history of keys, and a log without any checkpoint yet: the signature waits.
  db_.sql("INSERT INTO key_events (key_id, kind, at, envelope) VALUES ('x', 'introduced', now(), '{}')");
  const BundleId id = built();
  const auto told = [&] {
    ::testing::internal::CaptureStderr();
    EXPECT_TRUE(locker_->round().has_value());
    const std::string said = ::testing::internal::GetCapturedStderr();
    std::size_t count = 0;
    for (std::size_t at = said.find("come into the bundle"); at != said.npos; at = said.find("come into the bundle", at + 1)) ++count;
    return count;
  };
  for (int i = 0; i < 3; ++i) EXPECT_EQ(told(), 0u);
  EXPECT_EQ(state(id), "built");
  db_.sql("TRUNCATE key_events");
  EXPECT_EQ(told(), 4u);  // one for each statement
  EXPECT_EQ(state(id), "sealed");
  EXPECT_EQ(told(), 0u);
}

TEST_F(Sealing, StatementsOfARetiredKeyAreEnclosed) {
  runner_->drain();
  const crypto::KeyPair former = crypto::KeyPair::generate().value();
  state_decision(former);
  add_key(former, "retired");
  const BundleId id = sealed();
  EXPECT_NE(member(id, "attest/vsa.sigstore.json"), "");
  EXPECT_EQ(member(id, attest::kLeftOutFile), "");
}

TEST_F(Sealing, OneTenantsTroubleIsNotThatOfTheOthers) {
  db_.tenant("beta");
  const BundleId mine = built();
  // Older ones of another tenant, more than a round takes, and none of them can be sealed.
  db_.sql("INSERT INTO evidence_snapshots (tenant_id, bundle_id, case_id, kind, resource_id, state, request, payload_sha256, items_sha256, requested_by, requested_at, traceparent, trace_id) SELECT 'beta', gen_random_uuid(), 'B', 'eval', 'x' || i, 'built', '{}', "
          "sha256(convert_to('lost ' || i, 'UTF8')), sha256('lost'), 'user:x', '2020-01-01', '', '00000000000000000000000000000001' FROM generate_series(1, 66) i");
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(mine), "sealed");
  const auto count = [&](std::string_view where) { return db_.sql("SELECT count(*) FROM evidence_snapshots WHERE tenant_id = 'beta' AND " + std::string(where)); };
  EXPECT_EQ(count("attempts = 1 AND not_before > now() AND not_before <= now() + interval '1 second'"), "63");
  EXPECT_FALSE(locker_->round().has_value());
  EXPECT_EQ(count("attempts = 1"), "66");
  EXPECT_EQ(locker_->round().value(), 0) << "all are put off";
  db_.sql("UPDATE evidence_snapshots SET attempts = 9, not_before = '-infinity' WHERE tenant_id = 'beta'");
  EXPECT_FALSE(locker_->round().has_value());
  EXPECT_EQ(count("attempts = 10 AND not_before > now() + interval '55 seconds' AND not_before <= now() + interval '1 minute'"), "64");
  // What is not there after minutes is lost: nothing waits for it any longer, the tenant's log may expire.
  db_.sql("UPDATE evidence_snapshots SET attempts = 11, not_before = '-infinity' WHERE tenant_id = 'beta'");
  EXPECT_EQ(locker_->round().value(), 64);
  EXPECT_EQ(locker_->round().value(), 2);
  EXPECT_EQ(count("state = 'failed' AND error->>'code' = 'integrity'"), "66");
}

TEST_F(Sealing, ALostPayloadIsMadeAgain) {
  const BundleId lost = built();
  const std::string file = root_ + "/objects/" + object_key::object(acme_, Sha256::parse(column(lost, "encode(payload_sha256, 'hex')")).value());
  std::filesystem::remove(file);
  db_.sql("UPDATE evidence_snapshots SET attempts = 11");
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(lost), "failed");
  sealed();  // by a job that runs again
}

// Replay by an engine whose functions make something else is to say so.
TEST_F(Sealing, TheRevisionsOfTheJobsAreSealed) {
  const json::Value config = json::parse(member(sealed(), "data/inputs/config/config.json")).value();
  const json::Value* revisions = config.find("revisions");
  ASSERT_NE(revisions, nullptr);
  for (const std::string_view kind : {"sbom.compute", "advisory.link", "vex.reconcile", "policy.evaluate"}) EXPECT_GE(revisions->integer(kind), 1) << kind;
}

// Logs, spans, transcripts and the list itself are written for the snapshot alone: its row says so, and of nothing else.
TEST_F(Sealing, ARowNamesWhatItsClosureWrote) {
  const BundleId id = sealed();
  const std::string made = column(id, "array_to_string(ARRAY(SELECT encode(m, 'hex') FROM unnest(made_objects) m), ' ')");
  for (const std::string_view file : {"data/trace.ndjson", "data/logs.ndjson", "data/transcript.ndjson", "data/inputs/config/config.json"}) {
    const std::string bytes = member(id, file);
    EXPECT_EQ(made.find(crypto::sha256(bytes).hex()) != std::string::npos, !bytes.empty()) << file;
  }
  const std::string list = db_.sql("SELECT i->>'sha256' FROM jobs, jsonb_array_elements(inputs) i WHERE kind = 'evidence.snapshot' AND i->>'name' = 'snapshot.json'");
  EXPECT_NE(made.find(list), std::string::npos);
  for (const std::string_view file : {"data/outputs/decision.json", "data/outputs/findings.ndjson", "data/inputs/sbom/sbom.json"}) EXPECT_EQ(made.find(crypto::sha256(member(id, file)).hex()), std::string::npos) << file;
}

TEST_F(Sealing, AnEditedManifestFailsIntegrity) {
  const BundleId id = sealed();
  const auto look = [&] {
    auto t = tx();
    return read_bundle(t, *store_, trust_, id, TraceId::generate()).value();
  };
  const std::string seal = member(id, "evidence/seal.json");
  EXPECT_EQ(json::dump(*look().find("manifest")), json::dump(json::parse(seal).value()));
  EXPECT_EQ(look().find("verdict")->str("result"), "pass");
  const std::string file = root_ + "/objects/" + object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, "manifest.json");
  std::string edited = seal;
  const auto at = edited.find("CASE-1");
  ASSERT_NE(at, std::string::npos);
  edited.replace(at, 6, "CASE-2");
  overwrite(file, edited);
  const auto expect_fail = [&](std::string_view reason) {
    const json::Value body = look();
    EXPECT_EQ(json::dump(*body.find("manifest")), json::dump(json::parse(seal).value())) << "the seal of the verified bundle";
    EXPECT_EQ(body.find("verdict")->str("result"), "fail");
    const json::Value& integrity = body.find("verdict")->items("dimensions").front();
    EXPECT_EQ(integrity.str("name"), "INTEGRITY");
    EXPECT_NE(integrity.str("reason").find(reason), std::string_view::npos) << integrity.str("reason");
    auto t = tx();
    EXPECT_EQ(verify_stored(t, *store_, trust_, id, TraceId::generate()).value().str("result"), "fail");
    // The bundle itself is what it was.
    EXPECT_TRUE(export_bundle(t, *store_, trust_, id, "auditor", TraceId::generate()).has_value());
  };
  expect_fail("manifest.json in the store is not the seal of this bundle");
  std::filesystem::remove(file);
  expect_fail("cannot be read from the store");
  // The bundle is gone and the seal beside it is not: that one is shown, and never another.
  overwrite(file, seal);
  overwrite(path(id), "no bundle");
  EXPECT_EQ(json::dump(*look().find("manifest")), json::dump(json::parse(seal).value()));
  overwrite(file, edited);
  EXPECT_TRUE(look().find("manifest")->is_null());
  EXPECT_EQ(look().find("verdict")->str("result"), "fail");
}

TEST_F(Sealing, ABundleThatWasPutThereIsNotPublished) {
  const BundleId first = sealed();
  const std::string other = read_file(path(first), 1 << 28).value();
  const auto refused = [&](const BundleId& id) {
    const std::string verified = events("evidence.verified"), sealed_before = events("evidence.sealed");
    EXPECT_EQ(locker_->round().value(), 1);
    EXPECT_EQ(state(id), "failed");
    EXPECT_TRUE(message(id).starts_with("integrity something else than this bundle lies in its place")) << message(id);
    EXPECT_EQ(events("evidence.sealed"), sealed_before);
    EXPECT_EQ(std::stoi(events("evidence.verified")), std::stoi(verified) + 1);
    EXPECT_EQ(db_.sql("SELECT count(*) FROM evidence_bundles WHERE id = '" + id.str() + "'"), "0");
    EXPECT_FALSE(store_->stat(object_key::evidence(acme_, CaseId::parse("CASE-1").value(), id, "manifest.json")).has_value());
  };
  // A bundle of ours that is another one; no bundle at all; its own, changed.
  const BundleId second = built("CASE-1", true);
  plant(second, other);
  refused(second);
  const BundleId third = built("CASE-1", true);
  plant(third, "no bundle");
  refused(third);
  // The same id, tenant and case by a key that is not ours.
  const BundleId fourth = built("CASE-1", true);
  const auto stranger = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  add_key(*stranger, "active");
  Locker theirs(locker_pool_, *store_, stranger, LockerOptions{root_ + "/tmp", "secret", std::chrono::milliseconds(250)});
  ASSERT_EQ(theirs.round().value(), 1);
  ASSERT_EQ(state(fourth), "sealed");
  db_.sql("UPDATE evidence_snapshots SET state = 'built' WHERE bundle_id = '" + fourth.str() + "'; DELETE FROM evidence_bundles WHERE id = '" + fourth.str() + "'; DELETE FROM signing_keys WHERE key_id = '" + stranger->public_key().id().str() + "'");
  std::filesystem::remove(root_ + "/objects/" + object_key::evidence(acme_, CaseId::parse("CASE-1").value(), fourth, "manifest.json"));
  refused(fourth);
  // Its own, with a signature that was made first: another signature over the same seal is not it.
  const BundleId fifth = sealed("CASE-1", true);
  const auto envelope = crypto::dsse_parse(member(fifth, "attest/seal.dsse.json")).value();
  const auto again = [&](const std::string& recorded) {
    db_.sql("UPDATE evidence_snapshots SET state = 'built', seal_envelope = $$" + recorded + "$$ WHERE bundle_id = '" + fifth.str() + "'; DELETE FROM evidence_bundles WHERE id = '" + fifth.str() + "'");
  };
  again(envelope.json());
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(fifth), "sealed");
  again(crypto::dsse_sign(envelope.payload_type, envelope.payload, *key_).value().json());
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(fifth), "failed");
}

// The same request over other files has other salts: what one copy discloses must not help to guess what another withholds in the same place.
TEST_F(Sealing, SaltsOfTwoSnapshotsAreTheSameOnlyWhereTheFilesAre) {
  const auto salts = [&](const BundleId& id) {
    std::set<std::string> out;
    const std::string items = member(id, "evidence/items.jsonl");
    for (std::string_view text = items; !text.empty(); text.remove_prefix(text.find('\n') + 1)) out.insert(parse_item_line(text.substr(0, text.find('\n'))).value().salt.hex());
    return out;
  };
  const BundleId first = sealed(), same = sealed("CASE-1", true);
  EXPECT_EQ(salts(first), salts(same));
  db_.sql("UPDATE evaluations SET decision_reason = decision_reason || ' (told again)' WHERE evaluation_id = '" + evaluation_.str() + "'");
  const BundleId other = sealed("CASE-1", true);
  ASSERT_NE(member(first, "report.html"), member(other, "report.html"));
  const auto before = salts(first);
  for (const std::string& salt : salts(other)) EXPECT_FALSE(before.contains(salt));
}

TEST_F(Sealing, ACopyOfAnotherBundleIsNotACopyOfThisOne) {
  const BundleId first = sealed(), second = sealed("CASE-2");
  const auto redact = [&](const BundleId& id, std::string withhold = "data/trace.ndjson") {
    auto t = tx();
    const auto tr = trace();
    const BundleId copy = request_redaction(t, {id, {std::move(withhold)}, "a reason", tr.id, tr.traceparent}).value().bundle_id;
    EXPECT_TRUE(t.commit().has_value());
    return copy;
  };
  const BundleId theirs = redact(second);
  ASSERT_EQ(locker_->round().value(), 1);
  const BundleId copy = redact(first);
  plant(copy, read_file(path(theirs, "CASE-2"), 1 << 28).value());
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(copy), "failed");
  EXPECT_TRUE(message(copy).starts_with("integrity something else than this bundle")) << message(copy);
  EXPECT_EQ(events("evidence.redacted"), "1");
  // Nor is a copy of this very bundle that withholds something else: the file that nobody may see is in it.
  const BundleId other = redact(first, "data/logs.ndjson");
  ASSERT_EQ(locker_->round().value(), 1);
  ASSERT_EQ(state(other), "sealed");
  const BundleId again = redact(first);
  plant(again, read_file(path(other), 1 << 28).value());
  EXPECT_EQ(locker_->round().value(), 1);
  EXPECT_EQ(state(again), "failed");
  EXPECT_TRUE(message(again).starts_with("integrity")) << message(again);
  EXPECT_EQ(events("evidence.redacted"), "2");
}

}  // namespace
}  // namespace stella::evidence
