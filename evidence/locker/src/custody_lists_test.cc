// Custody over more documents than an event has room for: ingested, evaluated, logged, signed and sealed by the real parts, and its verdict.
#include <gtest/gtest.h>

#include <thread>

#include "stella/base/file.h"
#include "stella/base/tar.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/custody.h"
#include "stella/evidence/locker/keeper.h"
#include "stella/evidence/locker/locker.h"
#include "stella/services/export.h"
#include "stella/services/ledger.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/job_runner.h"
#include "stella/testing/postgres.h"
#include "stella/testing/temp_dir.h"
#include "stella/timeline/checkpointer.h"
#include "stella/timeline/indexer.h"

namespace stella::evidence {
namespace {

constexpr int kDocuments = 250;

std::string sample(std::string_view name) { return read_file(std::string(STELLA_SOURCE_DIR) + "/samples/" + std::string(name), 1 << 24).value(); }

ledger::Trace trace() {
  const TraceId id = TraceId::generate();
  return {id, "00-" + id.hex() + "-b7ad6b7169203331-01"};
}

// So many documents about the one finding of the evaluation.
std::string vex_batch(std::string_view from, int count) {
  std::string tar;
  for (int i = 0; i < count; ++i)
    append_tar(tar, "vex-" + std::to_string(i) + ".json",
               R"({"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://acme.example/)" + std::string(from) + "/" + std::to_string(i) +
                   R"(","author":"Acme","timestamp":"2026-11-21T09:30:00Z","version":1,"statements":[{"vulnerability":{"name":"GHSA-35jh-r3h4-6jhm"},)"
                   R"("products":[{"@id":"pkg:npm/lodash@4.17.20"}],"status":"under_investigation"}]})");
  append_tar_end(tar);
  return tar;
}

class CustodyLists : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(make_dirs(dir_.path() + "/tmp"));
    store_ = std::move(objects::open_posix_store(dir_.path() + "/objects").value());
    auto all = ledger::handlers(*store_);
    for (auto& h : exports::handlers()) all.push_back(h);
    for (auto& h : handlers([] {})) all.push_back(h);
    runner_ = std::make_unique<testing::JobRunner>(pool_, *store_, all);
    runner_->tells_of_jobs = true;
    db_.sql("INSERT INTO projects (tenant_id, project_id, slug, name) VALUES ('acme', '00000000-0000-7000-8000-0000000000aa', 'default', 'Default')");
  }
  pg::TenantTx tx(std::string_view tenant = "acme") { return std::move(pg::TenantTx::open(web_, testing::TestScope::make(tenant)).value()); }
  void ingest(std::string_view tenant, ledger::DocumentKind kind, std::string_view bytes, bool is_tar) {
    auto t = tx(tenant);
    const auto received = ledger::receive_batch(t, *store_, kind, "test", bytes, is_tar, trace());
    ASSERT_TRUE(received.has_value()) << received.error().describe();
    ASSERT_TRUE(t.commit().has_value());
    drain();
  }
  void drain() {
    runner_->drain();
    ASSERT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
  }
  bool publish() {
    auto t = tx();
    const auto policy = ledger::publish_policy(t, *store_, sample("policy.yaml"), trace()).value();
    EXPECT_TRUE(ledger::activate_policy(t, policy.version, trace()).has_value());
    EXPECT_TRUE(t.commit().has_value());
    return !policy.existed;
  }
  SbomId received() {
    EXPECT_TRUE(publish());
    auto t = tx();
    const auto sbom = ledger::receive_sbom(t, *store_, ledger::find_project(t, "").value(), sample("sbom.cdx.json"), trace()).value();
    EXPECT_TRUE(t.commit().has_value());
    drain();
    return sbom.id;
  }
  EvaluationId evaluated(const SbomId& sbom, std::string_view as_of = "2026-11-25T00:00:00Z") {
    auto t = tx();
    const EvaluationId id = ledger::start_evaluation(t, *store_, {sbom, "", Timestamp::parse(as_of).value()}, trace()).value();
    EXPECT_TRUE(t.commit().has_value());
    drain();
    return id;
  }
  EvaluationId evaluated() { return evaluated(received()); }
  void log() {
    {
      timeline::Indexer indexer(indexer_, nullptr, {.poll = std::chrono::milliseconds(5)});
      std::jthread thread([&](std::stop_token stop) { indexer.run(stop); });
      const Deadline deadline = Deadline::after(std::chrono::seconds(60));
      while (db_.sql("SELECT count(*) FROM timeline_outbox") != "0") ASSERT_FALSE(deadline.passed());
    }
    timeline::Checkpointer checkpointer(indexer_, *store_, log_key_, {.every = std::chrono::seconds(0), .events = 1, .poll = std::chrono::milliseconds(10)});
    const auto signed_logs = checkpointer.round();
    ASSERT_TRUE(signed_logs.has_value()) << signed_logs.error().describe();
  }
  // All entries of the log are older than their retention.
  void expire() {
    db_.sql("UPDATE timeline_heads SET published = size, confirmed = size");
    KeeperOptions options;
    options.timeline_keep = std::chrono::days(180);
    options.now = [] { return Timestamp::now() + std::chrono::days(200); };
    Keeper keeper(locker_pool_, *store_, options);
    ASSERT_EQ(keeper.plan_timeline(acme_).value().state, Disposition::kPlanned);
    log();
    ASSERT_EQ(keeper.execute_timeline(acme_).value().state, Disposition::kExecuted);
    log();
  }
  Result<Verdict> sealed(std::string_view kind, const std::string& resource) {
    auto t = tx();
    const auto tr = trace();
    const auto made = STELLA_TRY(request_snapshot(t, *store_, {std::string(kind), resource, CaseId::parse("CASE-1").value(), false, false, tr.id, tr.traceparent}));
    STELLA_TRY_VOID(t.commit());
    drain();
    log();
    Locker locker(locker_pool_, *store_, key_, LockerOptions{dir_.path() + "/tmp", "secret", std::chrono::milliseconds(250)});
    EXPECT_EQ(STELLA_TRY(locker.round()), 1);
    bundle_ = dir_.path() + "/objects/" + object_key::evidence(acme_, CaseId::parse("CASE-1").value(), made.bundle_id, "bundle.tgz");
    const crypto::PublicKey keys[] = {key_->public_key()};
    const crypto::Ed25519PublicKey logs[] = {log_key_->public_key()};
    VerifyOptions options;
    options.trust = keys;
    options.log_signers = logs;
    return verify_bundle_file(bundle_, options);
  }

  testing::TestDatabase db_;
  testing::TempDir dir_;
  TenantId acme_ = db_.tenant("acme");
  pg::Pool web_{db_.options("stella_web")};
  pg::SystemPool<pg::OrchestratorRole> pool_{db_.options("stella_orchestrator")};
  pg::SystemPool<pg::LockerRole> locker_pool_{db_.options("stella_locker")};
  pg::SystemPool<pg::IndexerRole> indexer_{db_.options("stella_indexer")};
  std::shared_ptr<const crypto::Signer> key_ = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  std::shared_ptr<crypto::Ed25519KeyPair> log_key_ = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<testing::JobRunner> runner_;
  std::string bundle_;
};

TEST_F(CustodyLists, MoreDocumentsThanAnEventNames) {
  ingest("acme", ledger::DocumentKind::kAdvisory, sample("advisories/GHSA-35jh-r3h4-6jhm.json"), false);
  ingest("acme", ledger::DocumentKind::kVex, vex_batch("own", kDocuments), true);
  ingest("global", ledger::DocumentKind::kVex, vex_batch("public", kDocuments + 1), true);
  // Most of it again, with a few that are new: each batch names what it changed.
  ingest("acme", ledger::DocumentKind::kVex, vex_batch("own", kDocuments + 3), true);
  const auto verdict = sealed("eval", evaluated().str());
  ASSERT_TRUE(verdict.has_value()) << verdict.error().describe();
  EXPECT_EQ(verdict->of(Dimension::kInclusion).outcome, Outcome::kPass) << verdict->of(Dimension::kInclusion).reason;
  EXPECT_EQ(verdict->of(Dimension::kCustody).outcome, Outcome::kPass) << verdict->of(Dimension::kCustody).reason;
  const std::string taken = db_.sql("SELECT jsonb_array_length(inputs) FROM jobs WHERE kind = 'vex.reconcile'");
  EXPECT_GT(std::stoi(taken), 2 * kDocuments) << "the documents are inputs one by one";
  EXPECT_EQ(db_.sql("SELECT string_agg(o->>'name', ' ' ORDER BY o->>'name') FROM timeline_events e, jsonb_array_elements(e.details_jsonb->'outputs') o WHERE kind = 'vex.ingested' AND o->>'name' LIKE 'list:%'"),
            "list:250 list:251");
}

// Its jobs are gone, and what came in is not: custody of a new evaluation goes back to it.
TEST_F(CustodyLists, WhatIsEvaluatedLongAfterItsPolicyWasPublishedHasCustody) {
  ingest("acme", ledger::DocumentKind::kAdvisory, sample("advisories/GHSA-35jh-r3h4-6jhm.json"), false);
  const SbomId sbom = received();
  log();
  expire();
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_events WHERE kind LIKE 'job.%' OR kind = 'policy.activated'"), "0");
  const auto verdict = sealed("eval", evaluated(sbom).str());
  ASSERT_TRUE(verdict.has_value()) << verdict.error().describe();
  EXPECT_EQ(verdict->of(Dimension::kCustody).outcome, Outcome::kPass) << verdict->of(Dimension::kCustody).reason;

  // As releases of before left it: the publication expired as well. Publishing again says where the set came from, once.
  db_.sql("DELETE FROM timeline_log USING timeline_events e WHERE timeline_log.event_id = e.event_id AND e.kind = 'policy.published'; DELETE FROM timeline_events WHERE kind = 'policy.published'");
  const auto broken = sealed("eval", evaluated(sbom, "2026-11-26T00:00:00Z").str());
  ASSERT_TRUE(broken.has_value()) << broken.error().describe();
  EXPECT_EQ(broken->of(Dimension::kCustody).outcome, Outcome::kFail);
  EXPECT_FALSE(publish());
  log();
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_events WHERE kind = 'policy.published'"), "0") << "a set of today is not in the log yet";
  db_.sql("UPDATE policies SET published_at = now() - interval '200 days'");
  for (int i = 0; i < 2; ++i) {
    EXPECT_FALSE(publish());
    log();
  }
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_events WHERE kind = 'policy.published'"), "1");
  const auto mended = sealed("eval", evaluated(sbom, "2026-11-27T00:00:00Z").str());
  ASSERT_TRUE(mended.has_value()) << mended.error().describe();
  EXPECT_EQ(mended->of(Dimension::kCustody).outcome, Outcome::kPass) << mended->of(Dimension::kCustody).reason;
}

// What its evaluation was made from came in by other traces: that of the SBOM, that of the policy.
TEST_F(CustodyLists, AnExportFollowsItsEvaluationToTheSources) {
  ingest("acme", ledger::DocumentKind::kAdvisory, sample("advisories/GHSA-35jh-r3h4-6jhm.json"), false);
  auto t = tx();
  const auto made = exports::request_export(t, {evaluated(), "json", "", trace().id});
  ASSERT_TRUE(made.has_value()) << made.error().describe();
  ASSERT_TRUE(t.commit().has_value());
  drain();
  const auto verdict = sealed("export", made->str());
  ASSERT_TRUE(verdict.has_value()) << verdict.error().describe();
  EXPECT_EQ(verdict->of(Dimension::kCustody).outcome, Outcome::kPass) << verdict->of(Dimension::kCustody).reason;
}

}  // namespace
}  // namespace stella::evidence
