// Rows of the jobs table: what makes two jobs the same, and who may bring one back.
#include "stella/services/jobs.h"

#include <gtest/gtest.h>

#include <atomic>

#include "stella/contracts/errors.h"
#include "stella/contracts/job_kinds.h"
#include "stella/crypto/digest.h"
#include "stella/testing/postgres.h"

namespace stella::jobs {
namespace {

namespace errors = contracts::errors;
std::atomic<int> g_woken{0};

class Jobs : public ::testing::Test {
 protected:
  void SetUp() override {
    g_woken = 0;
    set_wake_hook([] { ++g_woken; });
    set_max_attempts(7);
  }
  void TearDown() override { set_wake_hook(nullptr); }
  Spec spec() {
    Spec s;
    s.kind = std::string(contracts::job_kinds::kPolicyEvaluate);
    s.params = json::Value::object({{"as_of", "2026-11-25T00:00:00Z"}});
    s.inputs.push_back({"policy", crypto::sha256("policy"), acme_});
    s.resource_type = "evaluation";
    s.resource_id = EvaluationId::generate().str();
    s.requested_by = "user:test";
    s.trace = TraceId::generate();
    s.traceparent = "00-" + s.trace.hex() + "-b7ad6b7169203331-01";
    return s;
  }
  pg::TenantTx tx(std::string_view tenant = "acme") { return std::move(pg::TenantTx::open(web_, testing::TestScope::make(tenant)).value()); }
  Scheduled scheduled(const Spec& s, std::string_view tenant = "acme") {
    auto t = tx(tenant);
    auto out = schedule(t, s);
    EXPECT_TRUE(out.has_value()) << out.error().describe();
    EXPECT_TRUE(t.commit().has_value());
    return out.value_or(Scheduled());
  }
  void set(const JobId& job, std::string_view assignment) { db_.sql("UPDATE jobs SET " + std::string(assignment) + " WHERE job_id = '" + job.str() + "'"); }
  std::string field(const JobId& job, std::string_view column) { return db_.sql("SELECT " + std::string(column) + " FROM jobs WHERE job_id = '" + job.str() + "'"); }
  std::string events(std::string_view kind) { return db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"" + std::string(kind) + "\"%'"); }

  testing::TestDatabase db_;
  TenantId acme_ = db_.tenant("acme");
  TenantId beta_ = db_.tenant("beta");
  pg::Pool web_{db_.options("stella_web")};
};

TEST_F(Jobs, TheDigestIsOverWhatDecidesTheOutputs) {
  const Spec base = spec();
  const Sha256 digest = idempotency_digest(base).value();
  Spec same = spec();  // another evaluation, trace and actor
  same.requested_by = "user:other";
  same.priority = 9;
  same.params = json::parse(" { \"as_of\" : \"2026-11-25T00:00:00Z\" } ").value();
  EXPECT_EQ(idempotency_digest(same).value(), digest);
  const auto differs = [&](const std::function<void(Spec&)>& change) {
    Spec other = spec();
    change(other);
    return idempotency_digest(other).value() != digest;
  };
  EXPECT_TRUE(differs([](Spec& s) { s.params.set("as_of", "2026-11-25T00:00:01Z"); }));
  EXPECT_TRUE(differs([](Spec& s) { s.kind = std::string(contracts::job_kinds::kVexReconcile); }));
  EXPECT_TRUE(differs([](Spec& s) { s.inputs[0].sha256 = crypto::sha256("another policy"); }));
  EXPECT_TRUE(differs([](Spec& s) { s.inputs[0].name = "vex.ndjson"; }));
  EXPECT_TRUE(differs([](Spec& s) { s.inputs.push_back(s.inputs[0]); }));
}

// What an older function made of the same inputs is no answer: its digest had no revision, and ours has one.
TEST_F(Jobs, AnOlderRevisionOfTheFunctionIsNoAnswer) {
  Spec s = spec();
  s.kind = std::string(contracts::job_kinds::kAdvisoryLink);
  ASSERT_GT(contracts::job_kinds::revision(s.kind), 1u);
  json::Array inputs;
  for (const auto& i : s.inputs) inputs.push_back(json::Value::object({{"name", i.name}, {"sha256", i.sha256.hex()}}));
  const auto older = json::canonical(json::Value::object({{"kind", s.kind}, {"engine_version", STELLA_VERSION}, {"params", s.params}, {"inputs", std::move(inputs)}}));
  EXPECT_NE(idempotency_digest(s).value(), crypto::sha256(older.value()));
}

TEST_F(Jobs, ARowTellsOfWhichRevisionItsFunctionWas) {
  Spec s = spec();
  s.kind = std::string(contracts::job_kinds::kAdvisoryLink);
  const JobId id = scheduled(s).job_id;
  auto t = tx();
  EXPECT_EQ(revision_of(t, id).value(), contracts::job_kinds::revision(s.kind));
  // As a row of before there were revisions.
  json::Array inputs;
  for (const auto& i : s.inputs) inputs.push_back(json::Value::object({{"name", i.name}, {"sha256", i.sha256.hex()}}));
  const auto older = json::canonical(json::Value::object({{"kind", s.kind}, {"engine_version", STELLA_VERSION}, {"params", s.params}, {"inputs", std::move(inputs)}}));
  set(id, "idempotency_sha256 = decode('" + crypto::sha256(older.value()).hex() + "', 'hex')");
  auto again = tx();
  EXPECT_EQ(revision_of(again, id).value(), 1u);
}

TEST_F(Jobs, OnlyAFinishedJobOfTheSameTenantIsReused) {
  const Scheduled first = scheduled(spec());
  EXPECT_FALSE(first.cached);
  EXPECT_FALSE(scheduled(spec()).cached);  // the first is not finished
  set(first.job_id, "state = 'failed'");
  EXPECT_FALSE(scheduled(spec()).cached);
  set(first.job_id, "state = 'finished', outputs = '[]'");
  const Scheduled cached = scheduled(spec());
  EXPECT_TRUE(cached.cached);
  EXPECT_EQ(field(cached.job_id, "cached_from"), first.job_id.str());
  EXPECT_FALSE(scheduled(spec(), "beta").cached);
  EXPECT_EQ(field(first.job_id, "max_attempts"), "7");
  EXPECT_EQ(events("job.scheduled"), "5");
  EXPECT_EQ(g_woken, 5);
}

TEST_F(Jobs, NothingHappensWithoutACommit) {
  {
    auto t = tx();
    ASSERT_TRUE(schedule(t, spec()).has_value());
  }
  EXPECT_EQ(db_.sql("SELECT count(*) FROM jobs"), "0");
  EXPECT_EQ(events("job.scheduled"), "0");
  EXPECT_EQ(g_woken, 0);
  auto t = tx();
  Spec unknown = spec();
  unknown.kind = "coffee.make";
  EXPECT_EQ(schedule(t, unknown).error().code(), base_errors::kInternal);
}

TEST_F(Jobs, CancellingAsksOnce) {
  const JobId job = scheduled(spec()).job_id;
  for (int i = 0; i < 2; ++i) {
    auto t = tx();
    EXPECT_TRUE(cancel(t, job, TraceId::generate()).has_value());
    EXPECT_TRUE(t.commit().has_value());
  }
  EXPECT_EQ(field(job, "cancel_requested"), "t");
  EXPECT_EQ(events("job.cancelled"), "1");
  set(job, "state = 'cancelled'");
  auto t = tx();
  EXPECT_EQ(cancel(t, job, TraceId()).error().code(), errors::kConflict);
  auto other = tx("beta");
  EXPECT_EQ(cancel(other, job, TraceId()).error().code(), base_errors::kNotFound);
  EXPECT_EQ(retry(other, job, TraceId()).error().code(), base_errors::kNotFound);
}

TEST_F(Jobs, WhatEndedBadlyMayBeTriedAgain) {
  const JobId job = scheduled(spec()).job_id;
  for (const char* state : {"queued", "running", "finished"}) {
    set(job, "state = '" + std::string(state) + "'");
    auto t = tx();
    EXPECT_EQ(retry(t, job, TraceId()).error().code(), errors::kConflict) << state;
  }
  int count = 0;
  for (const char* state : {"failed", "dead", "cancelled"}) {
    set(job, "cancel_requested = true, error_code = 'x', root_cause = 'x', attempt = 4, state = '" + std::string(state) + "'");
    auto t = tx();
    ASSERT_TRUE(retry(t, job, TraceId::generate()).has_value()) << state;
    ASSERT_TRUE(t.commit().has_value());
    EXPECT_EQ(field(job, "state || coalesce(error_code, '-') || cancel_requested || attempt || max_attempts"), "queued-false47") << state;
    EXPECT_EQ(events("job.retried"), std::to_string(++count));
  }
}

TEST_F(Jobs, LongListsTravelAsOneDigest) {
  std::vector<InputRef> inputs(kDigestsPerEvent, {"f", crypto::sha256("x"), acme_});
  EXPECT_EQ(digest_list(inputs).as_array().size(), kDigestsPerEvent);
  inputs.push_back(inputs.front());
  EXPECT_EQ(digest_list(inputs).as_array().size(), 1u);
  Spec many = spec();
  many.inputs.assign(10'000, {"f", crypto::sha256("x"), acme_});
  const JobId job = scheduled(many).job_id;
  EXPECT_EQ(inputs_from_json(field(job, "inputs")).value().size(), 10'000u);
  EXPECT_FALSE(inputs_from_json("{}").has_value());
  EXPECT_FALSE(inputs_from_json(R"([{"name":"a","sha256":"zz","tenant":"acme"}])").has_value());
}

TEST_F(Jobs, WhatWasMadeForAJobIsAnOutputOfItsEventOnly) {
  Spec s = spec();
  s.inputs = {{"there.bin", crypto::sha256("there"), acme_}, {"made.bin", crypto::sha256("made"), acme_}};
  s.made = {s.inputs.back()};
  const JobId job = scheduled(s).job_id;
  const std::string details = db_.sql("SELECT (convert_from(entry, 'UTF8')::jsonb->'details')::text FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%job.scheduled%" + job.str() + "%'");
  const json::Value event = json::parse(details).value();
  ASSERT_EQ(event.items("inputs").size(), 1u) << details;
  EXPECT_EQ(event.items("inputs")[0].str("name"), "there.bin");
  ASSERT_EQ(event.items("outputs").size(), 1u) << details;
  EXPECT_EQ(event.items("outputs")[0].str("name"), "made.bin");
}

}  // namespace
}  // namespace stella::jobs
