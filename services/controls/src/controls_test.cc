// Rows, events and end of the controls on a real database.
#include "stella/services/controls.h"

#include <gtest/gtest.h>

#include "stella/testing/postgres.h"

namespace stella::controls {
namespace {

Change parsed(std::string_view text) {
  auto change = parse_change(*json::parse(text));
  EXPECT_TRUE(change.has_value()) << text << ": " << (change ? "" : change.error().describe());
  return change ? *change : Change();
}

class Rows : public ::testing::Test {
 protected:
  testing::TestDatabase db;
  pg::Pool web{db.options("stella_web")};
  pg::SystemPool<pg::TelemetryRole> telemetry{db.options("stella_telemetry")};

  void SetUp() override {
    db.tenant("acme");
    db.tenant("beta");
  }
  Stored make(std::string_view tenant, std::string_view text) {
    auto tx = pg::TenantTx::open(web, testing::TestScope::make(tenant));
    EXPECT_TRUE(tx.has_value());
    auto stored = change(*tx, parsed(text), TraceId::generate());
    EXPECT_TRUE(stored.has_value()) << stored.error().describe();
    EXPECT_TRUE(tx->commit().has_value());
    return *stored;
  }
  std::string events(std::string_view tenant) {
    return db.sql("SELECT coalesce(string_agg(convert_from(entry, 'UTF8')::json->>'kind' || ':' || (convert_from(entry, 'UTF8')::json->>'resource_id'), ' ' ORDER BY seq), '') FROM timeline_outbox WHERE tenant_id = '" + std::string(tenant) + "'");
  }
  // Whether an address of this tenant would be masked in this process.
  static bool masks(std::string_view tenant, std::string_view text) {
    std::string out;
    telemetry::scrub_append(out, text, telemetry::ScrubPolicy::for_tenant(tenant));
    return out != text;
  }
};

TEST_F(Rows, EachChangeIsAnEventAndNoChangeIsNone) {
  Stored s = make("acme", R"({"levels":{"web":"debug"},"sampling":0.5})");
  EXPECT_EQ(s.controls.levels.at("web"), telemetry::Level::kDebug);
  EXPECT_EQ(s.controls.sampling, 0.5);
  EXPECT_EQ(events("acme"), "config.changed:telemetry.levels config.changed:telemetry.sampling");
  s = make("acme", R"({"levels":{"web":"debug"}})");
  EXPECT_EQ(s.controls.sampling, 0.5) << "what a change does not name stays";
  EXPECT_EQ(events("acme"), "config.changed:telemetry.levels config.changed:telemetry.sampling");
  s = make("acme", R"({"sampling":null,"deep_debug":{"classes":["ip","email"],"ttl_seconds":3600,"reason":"support case 7"}})");
  EXPECT_EQ(s.controls.sampling, std::nullopt);
  ASSERT_TRUE(s.controls.deep_debug.has_value());
  s = make("acme", R"({"deep_debug":null})");
  EXPECT_FALSE(s.controls.deep_debug.has_value());
  EXPECT_EQ(events("acme"), "config.changed:telemetry.levels config.changed:telemetry.sampling config.changed:telemetry.sampling deep_debug.enabled:acme deep_debug.expired:acme");
  EXPECT_EQ(events("beta"), "");
}

TEST_F(Rows, AWatcherPutsThemIntoForceForTheirTenantAlone) {
  make("acme", R"({"deep_debug":{"classes":["email"],"ttl_seconds":3600,"reason":"support"}})");
  const std::string mail = "from somebody@example.org to all";
  EXPECT_TRUE(masks("acme", mail));
  Watcher watcher(telemetry, std::chrono::hours(1), true);
  ASSERT_TRUE(watcher.look().has_value());
  EXPECT_FALSE(masks("acme", mail));
  EXPECT_TRUE(masks("beta", mail));
  EXPECT_TRUE(masks("acme", "password=hunter2-hunter2 of it")) << "secrets never pass";
  EXPECT_TRUE(masks("acme", "card 4111 1111 1111 1111")) << "only what was asked for";
  make("acme", R"({"deep_debug":null})");
  ASSERT_TRUE(watcher.look().has_value());
  EXPECT_TRUE(masks("acme", mail));
}

TEST_F(Rows, WhatIsOverEndsWithItsEvent) {
  make("acme", R"({"deep_debug":{"classes":["email"],"ttl_seconds":3600,"reason":"support"}})");
  db.sql("UPDATE telemetry_settings SET deep_debug_until = now() - interval '1 second'");
  Watcher watcher(telemetry, std::chrono::hours(1), true);
  ASSERT_TRUE(watcher.look().has_value());
  EXPECT_TRUE(masks("acme", "from somebody@example.org to all"));
  EXPECT_EQ(db.sql("SELECT cardinality(deep_debug) FROM telemetry_settings"), "0");
  EXPECT_EQ(events("acme"), "deep_debug.enabled:acme deep_debug.expired:acme");
  ASSERT_TRUE(watcher.look().has_value());
  EXPECT_EQ(events("acme"), "deep_debug.enabled:acme deep_debug.expired:acme") << "once";
}

// A change between the end of deep debug and the watcher's next round writes the row anew: the end is told by the change.
TEST_F(Rows, WhatIsOverEndsWithItsEventWhereAChangeComesFirst) {
  const std::string debug = R"({"deep_debug":{"classes":["email"],"ttl_seconds":3600,"reason":"support"}})", over = "UPDATE telemetry_settings SET deep_debug_until = now() - interval '1 second'";
  make("acme", debug);
  db.sql(over);
  make("acme", R"({"sampling":0.5})");
  Watcher watcher(telemetry, std::chrono::hours(1), true);
  ASSERT_TRUE(watcher.look().has_value());
  std::string expected = "deep_debug.enabled:acme deep_debug.expired:acme config.changed:telemetry.sampling";
  EXPECT_EQ(events("acme"), expected);
  EXPECT_EQ(db.sql("SELECT (convert_from(entry, 'UTF8')::json->>'actor') || (convert_from(entry, 'UTF8')::json->'details'->>'classes') FROM timeline_outbox ORDER BY seq LIMIT 1 OFFSET 1"), R"(system:telemetry["email"])");
  for (const std::string& next : {debug, std::string(R"({"deep_debug":null})")}) {  // enabled again, and ended again
    make("acme", debug);
    db.sql(over);
    make("acme", next);
    expected += " deep_debug.enabled:acme deep_debug.expired:acme";
    if (next == debug) expected += " deep_debug.enabled:acme";
    EXPECT_EQ(events("acme"), expected);
  }
}

TEST_F(Rows, EveryModuleThatDiffersIsOnTheTimeline) {
  const auto all = [](std::string_view level) {
    json::Value levels = json::Value::object();
    for (int i = 0; i < 64; ++i) levels.set("m" + std::to_string(100 + i) + std::string(60, 'x'), level);
    return levels;
  };
  const auto to_values = [&](std::string_view name) {
    json::Value seen = json::Value::object();
    const json::Value rows = *json::parse(db.sql("SELECT json_agg(convert_from(entry, 'UTF8')::json->'details' ORDER BY seq) FROM timeline_outbox WHERE convert_from(entry, 'UTF8')::json->>'resource_id' = '" + std::string(name) + "'"));
    for (const json::Value& details : rows.as_array()) {
      const auto was = json::parse(details.str("from_value")), is = json::parse(details.str("to_value"));
      EXPECT_TRUE(was && is) << "no value is cut";
      if (is)
        for (const auto& [module, level] : is->as_object()) seen.set(module, level);
    }
    return seen;
  };
  make("acme", json::dump(json::Value::object({{"levels", all("debug")}})));
  EXPECT_EQ(to_values("telemetry.levels"), all("debug"));
  json::Value but_one = all("debug");
  but_one.set("m150" + std::string(60, 'x'), "warn");
  db.sql("DELETE FROM timeline_outbox");
  make("acme", json::dump(json::Value::object({{"levels", but_one}})));
  EXPECT_EQ(to_values("telemetry.levels"), json::Value::object({{"m150" + std::string(60, 'x'), "warn"}})) << "and no other";
  make("acme", json::dump(json::Value::object({{"temporary_levels", json::Value::object({{"levels", all("trace")}, {"ttl_seconds", 60}})}})));
  EXPECT_EQ(to_values("telemetry.temporary_levels").as_object().size(), 64u);
  db.sql("DELETE FROM timeline_outbox; UPDATE telemetry_settings SET temporary_levels = (SELECT jsonb_object_agg(key, jsonb_set(value, '{until}', '\"2026-01-01T00:00:00Z\"')) FROM jsonb_each(temporary_levels))");
  Watcher watcher(telemetry, std::chrono::hours(1), true);
  ASSERT_TRUE(watcher.look().has_value());
  EXPECT_EQ(db.sql("SELECT count(DISTINCT k) FROM timeline_outbox, json_object_keys((convert_from(entry, 'UTF8')::json->'details'->>'from_value')::json) k"), "64");
}

TEST_F(Rows, LevelsForATimeEndWithTheirEvent) {
  Stored s = make("acme", R"({"levels":{"web":"warn"},"temporary_levels":{"levels":{"web":"trace","bus":"debug"},"ttl_seconds":3600}})");
  ASSERT_EQ(s.controls.temporary_levels.size(), 2u);
  s = make("acme", R"({"temporary_levels":{"levels":{"ledger":"debug"},"ttl_seconds":60}})");
  ASSERT_EQ(s.controls.temporary_levels.size(), 3u) << "beside those that hold";
  Watcher watcher(telemetry, std::chrono::hours(1), true);
  ASSERT_TRUE(watcher.look().has_value());
  EXPECT_EQ(telemetry::level_of("web", "acme"), telemetry::Level::kTrace);
  const std::string before = "config.changed:telemetry.levels config.changed:telemetry.temporary_levels config.changed:telemetry.temporary_levels";
  EXPECT_EQ(events("acme"), before);
  db.sql("UPDATE telemetry_settings SET temporary_levels = jsonb_set(temporary_levels, '{web,until}', '\"2026-01-01T00:00:00Z\"')");
  {
    auto tx = pg::TenantTx::open(web, testing::TestScope::make("acme"));
    EXPECT_FALSE(read(*tx)->controls.temporary_levels.contains("web")) << "what is over is not shown";
  }
  ASSERT_TRUE(watcher.look().has_value());  // the process's own level, and the row
  EXPECT_EQ(telemetry::level_of("web", "acme"), telemetry::Level::kWarn);
  EXPECT_EQ(telemetry::level_of("bus", "acme"), telemetry::Level::kDebug) << "its time is not over";
  EXPECT_EQ(events("acme"), before + " config.changed:telemetry.temporary_levels");
  EXPECT_EQ(db.sql("SELECT string_agg(k, ',' ORDER BY k) FROM telemetry_settings, jsonb_object_keys(temporary_levels) k"), "bus,ledger");
  EXPECT_EQ(db.sql("SELECT convert_from(entry, 'UTF8')::json->>'actor' FROM timeline_outbox WHERE tenant_id = 'acme' ORDER BY seq DESC LIMIT 1"), "system:telemetry");
  ASSERT_TRUE(watcher.look().has_value());
  EXPECT_EQ(events("acme"), before + " config.changed:telemetry.temporary_levels") << "once";
  s = make("acme", R"({"temporary_levels":null})");
  EXPECT_TRUE(s.controls.temporary_levels.empty());
  ASSERT_TRUE(watcher.look().has_value());
  EXPECT_EQ(telemetry::level_of("bus", "acme"), telemetry::Level::kInfo);
}

TEST_F(Rows, ATenantReadsItsOwn) {
  make("acme", R"({"levels":{"*":"trace"}})");
  auto tx = pg::TenantTx::open(web, testing::TestScope::make("beta"));
  const auto theirs = read(*tx);
  ASSERT_TRUE(theirs.has_value());
  EXPECT_TRUE(theirs->controls.levels.empty());
  EXPECT_FALSE(theirs->updated_at.has_value());
}

}  // namespace
}  // namespace stella::controls
