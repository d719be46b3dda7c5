// Retention of a log on a real database and store, with the real indexer and checkpointer: what goes, what stays, and what stops it.
#include <gtest/gtest.h>

#include <thread>

#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/evidence/locker/holds.h"
#include "stella/evidence/locker/keeper.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/postgres.h"
#include "stella/testing/temp_dir.h"
#include "stella/testing/work_seen.h"
#include "stella/timeline/checkpointer.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/indexer.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log_reader.h"

namespace stella::evidence {
namespace {

namespace events = contracts::events;
using std::chrono::days;
using std::chrono::hours;

class Expiring : public ::testing::Test {
 protected:
  Expiring() {
    store_ = objects::open_posix_store(dir_.path() + "/objects").value();
    keeper_ = keeper();
  }
  std::unique_ptr<Keeper> keeper(days keep = days(180)) {
    KeeperOptions options;
    options.timeline_keep = keep;
    options.look_again = std::chrono::seconds(0);
    options.now = [this] { return now_; };
    options.elapsed = [this] { return elapsed_; };
    return std::make_unique<Keeper>(locker_, *store_, options);
  }
  void pass(std::chrono::microseconds time) {
    now_ = now_ + time;
    elapsed_ += time;
  }
  pg::TenantTx tx(std::string_view actor = "user:00000000-0000-7000-8000-00000000000a") { return std::move(pg::TenantTx::open(web_, testing::TestScope::make("acme", std::string(actor))).value()); }
  void emit(int count) {
    auto t = tx();
    std::vector<timeline::Event> batch;
    for (int i = 0; i < count; ++i)
      batch.push_back({.kind = events::kServiceDegraded, .resource_type = "service", .resource_id = "s", .details = json::Value::object({{"service", "s"}, {"part", "queue"}, {"reason", std::to_string(i)}}), .resources = {{"sbom", "x" + std::to_string(i % 3)}}});
    ASSERT_TRUE(timeline::emit_many(t, std::move(batch)).has_value());
    ASSERT_TRUE(t.commit().has_value());
  }
  void hold(Result<HoldOutcome> (*call)(pg::TenantTx&, const HoldRequest&), std::string_view actor = "user:00000000-0000-7000-8000-00000000000a") {
    auto t = tx(actor);
    const auto out = call(t, {CaseId::parse("C-1").value(), "court 7", "order", TraceId::generate(), "", 1});
    ASSERT_TRUE(out.has_value() && t.commit().has_value());
  }
  // The outbox becomes the log, and a checkpoint covers all of it.
  void sign() {
    timeline::Indexer indexer(indexer_, nullptr, {.poll = std::chrono::milliseconds(5)});
    std::jthread thread([&](std::stop_token stop) { indexer.run(stop); });
    const Deadline deadline = Deadline::after(std::chrono::seconds(60));
    while (db_.sql("SELECT count(*) FROM timeline_outbox") != "0") ASSERT_FALSE(deadline.passed());
    thread.request_stop();
    thread.join();
    if (confirming_) db_.sql("UPDATE timeline_heads SET published = size, confirmed = size");
    timeline::Checkpointer checkpointer(indexer_, *store_, log_key_, {.every = std::chrono::seconds(0), .events = 1, .poll = std::chrono::milliseconds(10)});
    const auto done = checkpointer.round();
    ASSERT_TRUE(done.has_value()) << done.error().describe();
  }
  Disposition plan(Keeper& k) {
    auto out = k.plan_timeline(acme_);
    EXPECT_TRUE(out.has_value()) << out.error().describe();
    return out.value_or(Disposition{});
  }
  Disposition execute(Keeper& k) {
    auto out = k.execute_timeline(acme_);
    EXPECT_TRUE(out.has_value()) << out.error().describe();
    return out.value_or(Disposition{});
  }
  // 300 events that will have expired in `later`, and a hold that came and went among them.
  void old_log(std::chrono::microseconds later = days(200)) {
    emit(150);
    hold(place_hold);
    hold(request_release);
    emit(150);
    sign();
    pass(later);
  }
  std::string count(const std::string& of) { return db_.sql("SELECT count(*) FROM " + of + " WHERE tenant_id = 'acme'"); }
  std::string kinds() {
    return db_.sql("SELECT string_agg(e.kind, ' ' ORDER BY l.log_index) FROM timeline_log l JOIN timeline_events e USING (tenant_id, event_id) WHERE tenant_id = 'acme' AND e.kind LIKE 'disposition.%'");
  }
  std::vector<Sha256> leaves(std::uint64_t size) {
    std::vector<std::uint64_t> indexes;
    for (std::uint64_t i = 0; i < size; ++i) indexes.push_back(i);
    auto t = tx();
    auto out = timeline::stored_leaves(t, *store_, indexes);
    EXPECT_TRUE(out.has_value()) << out.error().describe();
    return out.value_or(std::vector<Sha256>());
  }

  testing::TestDatabase db_;
  testing::TempDir dir_;
  TenantId acme_ = db_.tenant("acme");
  pg::Pool web_{db_.options("stella_web")};
  pg::SystemPool<pg::LockerRole> locker_{db_.options("stella_locker")};
  pg::SystemPool<pg::IndexerRole> indexer_{db_.options("stella_indexer")};
  std::shared_ptr<crypto::Ed25519KeyPair> log_key_ = std::make_shared<crypto::Ed25519KeyPair>(crypto::Ed25519KeyPair::generate().value());
  std::unique_ptr<objects::Store> store_;
  Timestamp now_ = Timestamp::now();
  std::chrono::microseconds elapsed_ = hours(1);
  bool confirming_ = true;
  std::unique_ptr<Keeper> keeper_;
};

TEST_F(Expiring, EntriesGoInThreeStepsAndTheirHashesStay) {
  old_log(hours(24));
  EXPECT_EQ(plan(*keeper_).state, Disposition::kWaiting) << "nothing is old";
  pass(days(200));
  ASSERT_EQ(plan(*keeper_).state, Disposition::kPlanned);
  EXPECT_EQ(execute(*keeper_).state, Disposition::kWaiting) << "no checkpoint covers the plan";
  EXPECT_EQ(count("timeline_log"), "302");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_event_resources WHERE resource_type = 'sbom'"), "300");
  const auto before = leaves(302);
  sign();
  ASSERT_EQ(execute(*keeper_).state, Disposition::kExecuted);
  sign();

  EXPECT_EQ(count("timeline_log"), "4");
  EXPECT_EQ(count("timeline_events"), "4");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_event_resources WHERE resource_type = 'sbom'"), "0");
  EXPECT_EQ(kinds(), "disposition.planned disposition.executed");
  EXPECT_EQ(db_.sql("SELECT gone::text FROM timeline_dispositions"), "{[0,150),[152,302)}");
  const json::Value details = json::parse(db_.sql("SELECT details_jsonb FROM timeline_events WHERE kind = 'disposition.executed'")).value();
  EXPECT_EQ(details.str("what"), "timeline_entries");
  EXPECT_EQ(details.find("from_index")->as_int(), 0);
  EXPECT_EQ(details.find("below_index")->as_int(), 302);
  ASSERT_EQ(details.items("kept").size(), 1u);
  EXPECT_EQ(details.items("kept").front().as_string(), "150-151");
  EXPECT_EQ(details.find("counts")->find("deleted")->as_int(), 300);

  const auto after = leaves(304);
  EXPECT_TRUE(std::equal(before.begin(), before.end(), after.begin()));
  timeline::CompactTree tree;
  for (const Sha256& leaf : after) tree.append(leaf);
  auto t = tx();
  const auto head = timeline::signed_head(t).value();
  EXPECT_EQ(tree.root(), head.root);
  for (const std::uint64_t index : {0u, 149u, 150u, 301u, 303u}) EXPECT_TRUE(timeline::inclusion_file(t, *store_, head, index).has_value()) << index;
  EXPECT_TRUE(timeline::consistency(t, *store_, 302, head.size).has_value());
}

TEST_F(Expiring, RoundsDoItByThemselvesAndComeToAnEnd) {
  const testing::WorkSeen seen;
  const auto counted = [](const char* step) { return testing::WorkSeen::counted("stella_dispositions", {"timeline", step}); };
  const double planned = counted("planned"), executed = counted("executed");
  ASSERT_TRUE(keeper_->round().has_value());
  old_log();
  for (int i = 0; i < 4; ++i) {
    const auto done = keeper_->round();
    ASSERT_TRUE(done.has_value()) << done.error().describe();
    sign();
  }
  EXPECT_EQ(kinds(), "disposition.planned disposition.executed");
  EXPECT_EQ(counted("planned") - planned, 1);
  EXPECT_EQ(counted("executed") - executed, 1);
  ASSERT_EQ(seen.spans("timeline.expire").size(), 2u);
  for (const auto& span : seen.spans("timeline.expire")) EXPECT_EQ(span.status + " " + span.tenant_id, "ok acme");
  // The records of the deletion get old themselves: nothing is said about them, ever again.
  for (int year = 0; year < 3; ++year) {
    pass(days(200));
    ASSERT_TRUE(keeper_->round().has_value());
    sign();
  }
  EXPECT_EQ(kinds(), "disposition.planned disposition.executed");
  emit(3);
  sign();
  pass(days(400));
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(keeper_->round().has_value());
    sign();
  }
  EXPECT_EQ(kinds(), "disposition.planned disposition.executed disposition.planned disposition.executed");
  EXPECT_EQ(db_.sql("SELECT string_agg(from_index || '-' || below_index || ' ' || gone::text, ' ' ORDER BY below_index) FROM timeline_dispositions"), "0-302 {[0,150),[152,302)} 302-307 {[304,307)}");
}

TEST_F(Expiring, AHoldThatComesBetweenStopsIt) {
  old_log();
  ASSERT_EQ(plan(*keeper_).state, Disposition::kPlanned);
  sign();
  hold(place_hold);
  EXPECT_EQ(execute(*keeper_).state, Disposition::kRefused);
  sign();
  EXPECT_EQ(kinds(), "disposition.planned disposition.refused");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_events WHERE kind = 'service.degraded'"), "300");
  pass(days(2));
  ASSERT_TRUE(keeper_->round().has_value());
  EXPECT_EQ(count("timeline_dispositions"), "1") << "a held tenant is left alone, without a word each time";
  hold(request_release);
  ASSERT_TRUE(keeper_->round().has_value());
  EXPECT_EQ(db_.sql("SELECT state FROM timeline_dispositions ORDER BY planned_at DESC LIMIT 1"), "planned");
}

TEST_F(Expiring, AnotherProcessFinishesWhatOneHasPlanned) {
  old_log();
  ASSERT_EQ(plan(*keeper_).state, Disposition::kPlanned);
  EXPECT_EQ(keeper_->plan_timeline(acme_).error().code(), contracts::errors::kConflict);
  sign();
  // Stopped in the middle of the transaction: all of it is undone.
  db_.sql("CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stopped'; END $$; CREATE TRIGGER stop BEFORE UPDATE ON timeline_dispositions FOR EACH ROW EXECUTE FUNCTION stop()");
  EXPECT_FALSE(keeper_->execute_timeline(acme_).has_value());
  EXPECT_EQ(count("timeline_log"), "303");
  db_.sql("DROP TRIGGER stop ON timeline_dispositions");
  const auto other = keeper();
  EXPECT_EQ(execute(*other).state, Disposition::kExecuted);
  EXPECT_EQ(keeper_->execute_timeline(acme_).error().code(), base_errors::kNotFound);
  sign();
  EXPECT_EQ(kinds(), "disposition.planned disposition.executed");
  EXPECT_EQ(count("timeline_log"), "4");
}

TEST_F(Expiring, NothingGoesThatIsNotWhatTheTilesSay) {
  old_log();
  const auto refused = [&](const std::string& change, const std::string& reason) {
    db_.sql("CREATE TABLE sound AS SELECT * FROM timeline_log; CREATE TABLE sound_events AS SELECT * FROM timeline_events");
    db_.sql(change);
    const Disposition out = plan(*keeper_);
    EXPECT_EQ(out.state, Disposition::kRefused) << change;
    EXPECT_EQ(out.reason, reason);
    db_.sql("DELETE FROM timeline_log; INSERT INTO timeline_log SELECT * FROM sound; DELETE FROM timeline_events; INSERT INTO timeline_events SELECT * FROM sound_events; DROP TABLE sound, sound_events");
  };
  refused("UPDATE timeline_log SET entry = convert_to(replace(convert_from(entry, 'UTF8'), 'queue', 'quite'), 'UTF8') WHERE log_index = 20", "entry 20 is not what the tiles say");
  refused("DELETE FROM timeline_log WHERE log_index = 70", "entry 70 is missing");
  refused("DELETE FROM timeline_log WHERE log_index < 80", "entry 0 is missing");
  // Planned while all was well, and changed before the second step.
  ASSERT_EQ(plan(*keeper_).state, Disposition::kPlanned);
  sign();
  db_.sql("CREATE TABLE sound_events AS SELECT * FROM timeline_events; DELETE FROM timeline_events WHERE event_id = (SELECT event_id FROM timeline_log WHERE log_index = 5)");
  const Disposition unsearchable = execute(*keeper_);
  EXPECT_EQ(unsearchable.state, Disposition::kRefused);
  EXPECT_EQ(unsearchable.reason, "the search tables do not have entry 5 as the log has it");
  EXPECT_EQ(keeper_->execute_timeline(acme_).error().code(), base_errors::kNotFound) << "it is not tried every second";
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_events WHERE kind = 'service.degraded'"), "299") << "all but the one that was missing";
  sign();
  EXPECT_TRUE(kinds().ends_with("disposition.planned disposition.refused")) << kinds();
  EXPECT_EQ(db_.sql("SELECT details_jsonb->>'reason' FROM timeline_events WHERE kind = 'disposition.refused' ORDER BY ts DESC LIMIT 1"), unsearchable.reason);
  const std::string tried = count("timeline_dispositions");
  ASSERT_TRUE(keeper_->round().has_value());
  EXPECT_EQ(count("timeline_dispositions"), tried) << "not before a day has passed";
  db_.sql("INSERT INTO timeline_events SELECT * FROM sound_events ON CONFLICT DO NOTHING");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_log WHERE log_index < 302"), "302");
  pass(hours(25));
  ASSERT_TRUE(keeper_->round().has_value());
  sign();
  ASSERT_TRUE(store_->remove(object_key::log_tile(acme_, "tile/0/000")).has_value());
  const Disposition lost = execute(*keeper_);
  EXPECT_EQ(lost.state, Disposition::kRefused);
  EXPECT_EQ(lost.reason, "a tile of the log is lost, entries from 0 on would leave no hash");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_log WHERE log_index < 302"), "302");
}

TEST_F(Expiring, TenantsWithoutAnythingToDeleteKeepNobodyWaiting) {
  for (int i = 0; i < 70; ++i) {
    const std::string name = "a" + std::to_string(100 + i);
    db_.tenant(name);
    auto t = std::move(pg::TenantTx::open(web_, testing::TestScope::make(name, "user:00000000-0000-7000-8000-00000000000a")).value());
    ASSERT_TRUE(timeline::emit(t, {.kind = events::kCaseClosed, .resource_type = "case", .resource_id = "C-1", .details = json::Value::object({{"case_id", "C-1"}})}).has_value());
    ASSERT_TRUE(t.commit().has_value());
  }
  old_log();
  for (int i = 0; i < 4; ++i) {
    const auto done = keeper_->round();
    ASSERT_TRUE(done.has_value()) << done.error().describe();
    sign();
  }
  EXPECT_EQ(kinds(), "disposition.planned disposition.executed");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_dispositions WHERE tenant_id <> 'acme'"), "0");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_log WHERE tenant_id <> 'acme'"), "70");
}

TEST_F(Expiring, WhatIsNotSignedOrNotConfirmedStays) {
  confirming_ = false;
  old_log();
  EXPECT_EQ(plan(*keeper_).state, Disposition::kWaiting);
  db_.sql("UPDATE timeline_heads SET published = 100, confirmed = 100");
  ASSERT_EQ(plan(*keeper_).state, Disposition::kPlanned);
  EXPECT_EQ(db_.sql("SELECT below_index FROM timeline_dispositions"), "100");
}

TEST_F(Expiring, ALongerRetentionStopsWhatWasPlanned) {
  old_log();
  ASSERT_EQ(plan(*keeper_).state, Disposition::kPlanned);
  sign();
  EXPECT_EQ(execute(*keeper(days(365))).state, Disposition::kRefused);
  EXPECT_EQ(keeper_->execute_timeline(acme_).error().code(), base_errors::kNotFound);
  EXPECT_EQ(plan(*keeper(days(0))).state, Disposition::kWaiting) << "0: for good";
}

TEST_F(Expiring, ABundleThatIsBeingBuiltKeepsTheRows) {
  old_log();
  ASSERT_EQ(plan(*keeper_).state, Disposition::kPlanned);
  sign();
  db_.sql("INSERT INTO evidence_snapshots (tenant_id, bundle_id, case_id, kind, resource_id, state, requested_by, traceparent, trace_id) VALUES ('acme', gen_random_uuid(), 'C-2', 'job', 'x', 'building', 'user:x', '', '')");
  EXPECT_EQ(execute(*keeper_).state, Disposition::kWaiting);
  db_.sql("UPDATE evidence_snapshots SET state = 'failed'");
  EXPECT_EQ(execute(*keeper_).state, Disposition::kExecuted);
}

TEST_F(Expiring, AClockThatJumpsFreezesIt) {
  ASSERT_TRUE(keeper_->round().has_value());
  old_log(hours(1));
  now_ = now_ + days(200);  // and nothing that measures time agrees
  for (int i = 0; i < 3; ++i) {
    ASSERT_TRUE(keeper_->round().has_value());
    sign();
  }
  EXPECT_EQ(keeper_->frozen(), "the clock went far forward");
  EXPECT_EQ(count("timeline_dispositions"), "0");
  EXPECT_EQ(plan(*keeper_).state, Disposition::kWaiting);
  EXPECT_EQ(execute(*keeper_).state, Disposition::kWaiting);
}

TEST_F(Expiring, EmptyMonthsAreDroppedAndNoOthers) {
  db_.sql("SELECT stella_make_timeline_partition('2025-03-01'), stella_make_timeline_partition('2025-04-01')");
  db_.sql("INSERT INTO timeline_events (event_id, ts, tenant_id, kind, actor, resource_type, resource_id, trace_id, digest, details_jsonb) VALUES (gen_random_uuid(), '2025-04-30T23:59:59Z', 'acme', 'annotation.added', 'user:x', 'a', 'b', '', '', '{}')");
  const std::string months = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'timeline_events'::regclass";
  const int before = std::stoi(db_.sql(months));
  pass(days(10'000));  // this month and those made ahead stay whatever the keeper's clock says
  const auto drop = [&] {
    const auto done = keeper()->round();
    ASSERT_TRUE(done.has_value()) << done.error().describe();
  };
  const testing::WorkSeen seen;
  drop();
  EXPECT_EQ(seen.spans("timeline.drop").size(), 1u);
  EXPECT_EQ(db_.sql("SELECT to_regclass('timeline_events_2025_03') IS NULL AND to_regclass('timeline_events_2025_04') IS NOT NULL"), "t");
  EXPECT_EQ(std::stoi(db_.sql(months)), before - 1);
  db_.sql("DELETE FROM timeline_events");
  drop();
  EXPECT_EQ(db_.sql("SELECT to_regclass('timeline_events_2025_04') IS NULL"), "t");
  EXPECT_EQ(std::stoi(db_.sql(months)), before - 2);
}

TEST_F(Expiring, MonthsAreDroppedOneByOneAndThoughATenantIsInTrouble) {
  const std::string make = "SELECT stella_make_timeline_partition('2025-03-01'), stella_make_timeline_partition('2025-04-01'), stella_make_timeline_partition('2025-05-01')";
  const std::string left = "SELECT count(*) FROM pg_inherits JOIN pg_class c ON c.oid = inhrelid WHERE c.relname ~ '^timeline_events_2025_0[345]$'";
  db_.sql(make);
  EXPECT_EQ(db_.sql("SELECT stella_drop_timeline_partitions(now())"), "1");
  EXPECT_EQ(db_.sql(left), "2") << "one a call: the lock is held no longer";
  old_log();
  ASSERT_EQ(plan(*keeper_).state, Disposition::kPlanned);
  sign();
  db_.sql("CREATE FUNCTION stop() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'stopped'; END $$; CREATE TRIGGER stop BEFORE UPDATE ON timeline_dispositions FOR EACH ROW EXECUTE FUNCTION stop()");
  EXPECT_FALSE(keeper_->round().has_value());
  EXPECT_EQ(db_.sql(left), "0");
}

}  // namespace
}  // namespace stella::evidence
