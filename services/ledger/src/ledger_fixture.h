// The ledger on a real database and store, its jobs run by the real pipeline functions. For tests.
#pragma once

#include <gtest/gtest.h>

#include "stella/base/file.h"
#include "stella/services/ledger.h"
#include "stella/testing/job_runner.h"
#include "stella/testing/postgres.h"
#include "stella/testing/temp_dir.h"

namespace stella::ledger {

inline std::string sample(std::string_view name) { return read_file(std::string(STELLA_SOURCE_DIR) + "/samples/" + std::string(name), 1 << 24).value(); }

class LedgerFixture : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = std::move(objects::open_posix_store(root_.path()).value());
    runner_ = std::make_unique<testing::JobRunner>(pool_, *store_, handlers(*store_));
    db_.sql("INSERT INTO projects (tenant_id, project_id, slug, name) VALUES ('acme', '00000000-0000-7000-8000-0000000000aa', 'default', 'Default')");
  }
  static Trace trace() {
    const TraceId id = TraceId::generate();
    return {id, "00-" + id.hex() + "-b7ad6b7169203331-01"};
  }
  pg::TenantTx tx(std::string_view tenant = "acme") { return std::move(pg::TenantTx::open(web_, testing::TestScope::make(tenant)).value()); }

  SbomId sbom(std::string_view bytes, bool existed = false) {
    auto t = tx();
    auto received = receive_sbom(t, *store_, find_project(t, "").value(), bytes, trace());
    EXPECT_TRUE(received.has_value()) << received.error().describe();
    EXPECT_EQ(received->existed, existed);
    EXPECT_TRUE(t.commit().has_value());
    runner_->drain();
    return received->id;
  }
  static std::string advisory(std::string_view id, std::string_view modified, std::string_view fixed, std::string_view more = "") {
    return std::string(R"({"schema_version":"1.6.0","id":")").append(id).append(R"(","modified":")").append(modified).append("\"").append(more).append(
        R"(,"affected":[{"package":{"ecosystem":"npm","name":"lodash"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":")").append(fixed).append("\"}]}]}]}");
  }
  std::string batch(DocumentKind kind, std::string_view bytes, bool is_tar, std::string_view tenant = "acme", bool drain = true, bool complete = false) {
    auto t = tx(tenant);
    auto received = receive_batch(t, *store_, kind, "test", bytes, is_tar, trace(), complete);
    EXPECT_TRUE(received.has_value()) << received.error().describe();
    EXPECT_TRUE(t.commit().has_value());
    if (drain) runner_->drain();
    return received->id.str();
  }
  std::string counts(const std::string& batch) { return db_.sql("SELECT (counts->>'new') || (counts->>'revised') || (counts->>'unchanged') || (counts->>'withdrawn') || (counts->>'rejected') FROM ingest_batches WHERE batch_id = '" + batch + "'"); }
  std::string policy() {
    auto t = tx();
    auto published = publish_policy(t, *store_, sample("policy.yaml"), trace());
    EXPECT_TRUE(published.has_value()) << published.error().describe();
    EXPECT_TRUE(activate_policy(t, published->version, trace()).has_value());
    EXPECT_TRUE(t.commit().has_value());
    return published->version;
  }
  EvaluationId evaluate(const SbomId& id, std::optional<Timestamp> as_of = Timestamp::parse("2026-11-25T00:00:00Z").value()) {
    auto t = tx();
    auto started = start_evaluation(t, *store_, {id, "", as_of}, trace());
    EXPECT_TRUE(started.has_value()) << started.error().describe();
    EXPECT_TRUE(t.commit().has_value());
    return started.value_or(EvaluationId());
  }
  std::string events(std::string_view kind) { return db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"" + std::string(kind) + "\"%'"); }

  testing::TestDatabase db_;
  TenantId acme_ = db_.tenant("acme");
  pg::Pool web_{db_.options("stella_web")};
  pg::SystemPool<pg::OrchestratorRole> pool_{db_.options("stella_orchestrator")};
  testing::TempDir root_;
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<testing::JobRunner> runner_;
};

}  // namespace stella::ledger
