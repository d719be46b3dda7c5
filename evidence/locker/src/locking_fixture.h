// What the tests of the locker share: a real database and store, and an evaluation of real jobs to be sealed.
#pragma once

#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <memory>
#include <string>

#include "stella/base/file.h"
#include "stella/evidence/locker/locker.h"
#include "stella/services/export.h"
#include "stella/services/jobs.h"
#include "stella/services/ledger.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/job_runner.h"
#include "stella/testing/postgres.h"

namespace stella::evidence {

class Locking : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/stella-locker-XXXXXX";
    root_ = ::mkdtemp(name);
    ASSERT_TRUE(make_dirs(root_ + "/tmp"));
    store_ = std::move(objects::open_posix_store(root_ + "/objects").value());
    auto all = ledger::handlers(*store_);
    for (auto& h : exports::handlers()) all.push_back(h);
    for (auto& h : handlers([] {})) all.push_back(h);
    runner_ = std::make_unique<testing::JobRunner>(pool_, *store_, all);
    locker_ = std::make_unique<Locker>(locker_pool_, *store_, key_, LockerOptions{root_ + "/tmp", "secret", std::chrono::milliseconds(250)});
    trust_.keys.push_back(key_->public_key());
    db_.sql("INSERT INTO signing_keys (key_id, purpose, algorithm, public_pem) VALUES ('" + key_id() + "', 'evidence', 'ecdsa-p256', '" + key_->public_key().pem() + "')");
    db_.sql("INSERT INTO projects (tenant_id, project_id, slug, name) VALUES ('acme', '00000000-0000-7000-8000-0000000000aa', 'default', 'Default')");
    auto t = tx();
    const auto policy = ledger::publish_policy(t, *store_, sample("policy.yaml"), trace()).value();
    ASSERT_TRUE(ledger::activate_policy(t, policy.version, trace()).has_value());
    const auto sbom = ledger::receive_sbom(t, *store_, ledger::find_project(t, "").value(), sample("sbom.cdx.json"), trace()).value();
    ASSERT_TRUE(ledger::receive_batch(t, *store_, ledger::DocumentKind::kAdvisory, "test", sample("advisories/GHSA-35jh-r3h4-6jhm.json"), false, trace()).has_value());
    ASSERT_TRUE(t.commit().has_value());
    runner_->drain();
    auto u = tx();
    evaluation_ = ledger::start_evaluation(u, *store_, {sbom.id, "", Timestamp::parse("2026-11-25T00:00:00Z").value()}, trace()).value();
    ASSERT_TRUE(u.commit().has_value());
  }
  void TearDown() override {
    locker_.reset();
    (void)!std::system(("rm -rf '" + root_ + "'").c_str());
  }
  static std::string sample(std::string_view name) { return read_file(std::string(STELLA_SOURCE_DIR) + "/samples/" + std::string(name), 1 << 24).value(); }
  static ledger::Trace trace() {
    const TraceId id = TraceId::generate();
    return {id, "00-" + id.hex() + "-b7ad6b7169203331-01"};
  }
  pg::TenantTx tx(std::string_view tenant = "acme") { return std::move(pg::TenantTx::open(web_, testing::TestScope::make(tenant)).value()); }
  Result<Snapshot> request(std::string_view kind, std::string id, std::string_view case_id = "CASE-1", bool again = false) {
    auto t = tx();
    const auto tr = trace();
    auto made = request_snapshot(t, *store_, {std::string(kind), std::move(id), CaseId::parse(case_id).value(), again, false, tr.id, tr.traceparent});
    EXPECT_TRUE(!made || t.commit().has_value());
    return made;
  }
  // A sealed bundle of the evaluation.
  BundleId sealed(std::string_view case_id = "CASE-1", bool again = false) {
    runner_->drain();
    const auto made = request("eval", evaluation_.str(), case_id, again);
    EXPECT_TRUE(made.has_value()) << made.error().describe();
    runner_->drain();
    EXPECT_TRUE(runner_->last.has_value()) << runner_->last.error().describe();
    const auto count = locker_->round();
    EXPECT_TRUE(count.has_value()) << count.error().describe();
    EXPECT_EQ(state(made->bundle_id), "sealed");
    return made->bundle_id;
  }
  std::string column(const BundleId& id, std::string_view what) { return db_.sql("SELECT " + std::string(what) + " FROM evidence_snapshots WHERE bundle_id = '" + id.str() + "'"); }
  std::string state(const BundleId& id) { return column(id, "state"); }
  std::string path(const BundleId& id, std::string_view case_id = "CASE-1") {
    return root_ + "/objects/" + object_key::evidence(acme_, CaseId::parse(case_id).value(), id, "bundle.tgz");
  }
  // What was put off is tried again.
  void due() { db_.sql("UPDATE evidence_snapshots SET not_before = '-infinity'"); }
  std::string key_id() const { return key_->public_key().id().str(); }
  std::string events(std::string_view kind) { return db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"" + std::string(kind) + "\"%'"); }

  testing::TestDatabase db_;
  TenantId acme_ = db_.tenant("acme");
  pg::Pool web_{db_.options("stella_web")};
  pg::SystemPool<pg::OrchestratorRole> pool_{db_.options("stella_orchestrator")};
  pg::SystemPool<pg::LockerRole> locker_pool_{db_.options("stella_locker")};
  std::shared_ptr<const crypto::Signer> key_ = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  Trust trust_;
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<testing::JobRunner> runner_;
  std::unique_ptr<Locker> locker_;
  EvaluationId evaluation_;
  std::string root_;
};

}  // namespace stella::evidence
