// What goes and comes back becomes an event once; what could not be written is written later.
#include "stella/services/parts_watch.h"

#include <gtest/gtest.h>

#include <chrono>
#include <future>

#include "stella/testing/postgres.h"
#include "stella/testing/work_seen.h"

namespace stella::controls {
namespace {

class Watch : public ::testing::Test {
 protected:
  testing::TestDatabase db_;
  pg::SystemPool<pg::TelemetryRole> pool_{db_.options("stella_telemetry")};
  PartsWatch watch_;
  Timestamp now_ = Timestamp::parse("2026-01-02T03:04:05Z").value();

  void look(std::string_view nats, std::string_view objects = "") {
    watch_.note({{"nats", std::string(nats)}, {"objects", std::string(objects)}}, now_);
    now_ = now_ + std::chrono::milliseconds(1500);
  }
  std::string events() {
    return db_.sql("SELECT coalesce(string_agg(concat_ws(' ', e->>'tenant_id', e->>'kind', e->>'resource_id', e->'details'->>'part', e->'details'->>'reason', e->'details'->>'duration_ms'), '; ' ORDER BY seq), '') "
                   "FROM (SELECT seq, convert_from(entry, 'UTF8')::json AS e FROM timeline_outbox) x");
  }
};

TEST_F(Watch, TellsWhatWentAndWhatCameBack) {
  const testing::WorkSeen seen;
  look("not connected");  // not there yet: the start of a process is no event
  look("");
  look("");
  ASSERT_TRUE(watch_.tell(pool_).has_value());
  EXPECT_EQ(events(), "");
  look("not connected");
  look("not connected");
  ASSERT_TRUE(watch_.tell(pool_).has_value());
  EXPECT_EQ(events(), "platform service.degraded stellad nats not connected");
  ASSERT_EQ(seen.spans("platform.parts").size(), 1u);
  EXPECT_EQ(seen.spans("platform.parts")[0].status, "ok");
  look("", "no space");
  look("", "");
  ASSERT_TRUE(watch_.tell(pool_).has_value());
  ASSERT_TRUE(watch_.tell(pool_).has_value());
  EXPECT_EQ(events(), "platform service.degraded stellad nats not connected; platform service.restored stellad nats 3000; platform service.degraded stellad objects no space; platform service.restored stellad objects 1500");
}

TEST_F(Watch, KeepsWhatCannotBeWrittenNow) {
  pg::PoolOptions nowhere = db_.options("stella_telemetry");
  nowhere.conninfo = "host='/nonexistent' port=1 dbname='x' user='stella_telemetry'";
  pg::SystemPool<pg::TelemetryRole> gone(nowhere);
  look("");
  look("not connected");
  EXPECT_FALSE(watch_.tell(gone).has_value());
  look("");
  EXPECT_FALSE(watch_.tell(gone).has_value());
  EXPECT_EQ(watch_.waiting(), 2u);
  ASSERT_TRUE(watch_.tell(pool_).has_value());
  EXPECT_EQ(watch_.waiting(), 0u);
  EXPECT_EQ(events(), "platform service.degraded stellad nats not connected; platform service.restored stellad nats 1500");
  for (std::size_t i = 0; i < 2 * PartsWatch::kKept; ++i) look(i % 2 == 0 ? "gone" : "");
  EXPECT_EQ(watch_.waiting(), PartsWatch::kKept);
}

// PostgreSQL hangs on the events while other parts go and come: what is given up meanwhile is not what was told.
TEST_F(Watch, WhatIsNotedDuringTheTellingIsNotTakenForTold) {
  look("");
  for (std::size_t i = 0; i < PartsWatch::kKept; ++i) look(i % 2 == 0 ? "gone" : "");
  pg::SystemPool<pg::AuthorityRole> other(db_.options("stella_authority"));
  auto held = pg::SystemTx<pg::AuthorityRole>::open(other);
  db_.sql("CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_advisory_xact_lock_shared(4711); RETURN NULL; END'; "
          "CREATE TRIGGER wait BEFORE INSERT ON timeline_outbox FOR EACH STATEMENT EXECUTE FUNCTION wait()");
  ASSERT_TRUE(held->query("SELECT pg_advisory_xact_lock(4711)").has_value());
  auto telling = std::async(std::launch::async, [&] { return watch_.tell(pool_).has_value(); });
  while (db_.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'stella_telemetry' AND wait_event_type = 'Lock'") == "0" &&
         telling.wait_for(std::chrono::milliseconds(5)) != std::future_status::ready) {
  }
  look("gone", "no space");
  EXPECT_EQ(watch_.waiting(), PartsWatch::kKept);
  ASSERT_TRUE(held->commit().has_value());
  ASSERT_TRUE(telling.get());
  EXPECT_EQ(watch_.waiting(), 2u);
  ASSERT_TRUE(watch_.tell(pool_).has_value());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox"), std::to_string(PartsWatch::kKept + 2));
}

}  // namespace
}  // namespace stella::controls
