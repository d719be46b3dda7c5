// Controls as values: what is written is read again, what is wrong is named.
#include "stella/telemetry/controls.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "stella/telemetry/level_times.h"
#include "stella/telemetry/sampler.h"

namespace stella::controls {
namespace {

using telemetry::PiiKind;

Change parsed(std::string_view text) {
  auto change = parse_change(*json::parse(text));
  EXPECT_TRUE(change.has_value()) << text << ": " << (change ? "" : change.error().describe());
  return change ? *change : Change();
}

TEST(Controls, WhatIsWrittenIsReadAgain) {
  Controls c;
  c.levels = {{"*", telemetry::Level::kWarn}, {"web", telemetry::Level::kDebug}};
  c.temporary_levels = {{"bus", {telemetry::Level::kTrace, Timestamp::now()}}};
  c.sampling = 0.25;
  c.deep_debug = DeepDebug{{PiiKind::kEmail, PiiKind::kIp}, Timestamp::now()};
  EXPECT_EQ(from_json(to_json(c)), c);
  EXPECT_EQ(from_json(to_json(Controls())), Controls());
  EXPECT_EQ(from_json(*json::parse(R"({"levels":{"we b":"debug","web":"loud"},"sampling":7,"deep_debug":{"classes":["secret"],"until":"x"}})")), Controls());
}

TEST(Controls, WhatIsAppliedHoldsForItsTenantUntilItIsTakenBack) {
  const TenantId acme = *TenantId::parse("acme");
  Controls c;
  c.levels = {{"*", telemetry::Level::kError}, {"web", telemetry::Level::kTrace}};
  c.sampling = 0.25;
  apply(acme, c);
  EXPECT_EQ(telemetry::level_of("web", "acme"), telemetry::Level::kTrace);
  EXPECT_EQ(telemetry::level_of("ledger", "acme"), telemetry::Level::kError);
  EXPECT_EQ(telemetry::level_of("web", "beta"), telemetry::Level::kInfo);
  EXPECT_EQ(telemetry::sampling().tenants.at("acme"), 0.25);
  apply(acme, Controls());
  EXPECT_EQ(telemetry::level_of("web", "acme"), telemetry::Level::kInfo);
  EXPECT_FALSE(telemetry::sampling().tenants.contains("acme"));
}

TEST(Controls, ALevelForATimeFallsBackByItself) {
  const TenantId acme = *TenantId::parse("acme");
  const Timestamp now = Timestamp::now(), later = now + std::chrono::hours(1);
  Controls c;
  c.levels = {{"web", telemetry::Level::kError}, {"*", telemetry::Level::kWarn}};
  c.temporary_levels = {{"web", {telemetry::Level::kTrace, later}}, {"bus", {telemetry::Level::kTrace, now}}};
  apply(acme, c);
  EXPECT_EQ(telemetry::level_of("web", "acme"), telemetry::Level::kTrace);
  EXPECT_EQ(telemetry::level_of("bus", "acme"), telemetry::Level::kWarn) << "its time is over";
  EXPECT_EQ(telemetry::level_of("web", "beta"), telemetry::Level::kInfo);
  c.temporary_levels = {{"*", {telemetry::Level::kDebug, later}}};
  apply(acme, c);
  EXPECT_EQ(telemetry::level_of("web", "acme"), telemetry::Level::kDebug) << "before every other rule";
  c.temporary_levels = {{"*", {telemetry::Level::kDebug, Timestamp::now() + std::chrono::milliseconds(20)}}};
  apply(acme, c);
  const Deadline deadline = Deadline::after(std::chrono::seconds(20));
  while (telemetry::level_of("web", "acme") == telemetry::Level::kDebug && !deadline.passed()) {
  }
  EXPECT_EQ(telemetry::level_of("web", "acme"), telemetry::Level::kError) << "without another call";
  apply(acme, Controls());
}

TEST(Controls, ToApplyThemAgainMakesNoTables) {
  const auto tables = [] { return telemetry::level_tables().made + telemetry::sampling_tables().made + telemetry::deep_debug_tables().made; };
  const TenantId acme = *TenantId::parse("acme"), globex = *TenantId::parse("globex");
  Controls c, other;
  c.levels = {{"*", telemetry::Level::kWarn}, {"web", telemetry::Level::kDebug}};
  c.temporary_levels = {{"bus", {telemetry::Level::kTrace, Timestamp::now() + std::chrono::hours(1)}}};
  c.sampling = 0.25;
  c.deep_debug = DeepDebug{{PiiKind::kEmail}, Timestamp::now() + std::chrono::hours(1)};
  other.deep_debug = DeepDebug{{PiiKind::kIp}, Timestamp::now() + std::chrono::hours(1)};
  apply(acme, c);
  apply(globex, other);
  const auto before = tables();
  for (int job = 0; job < 10; ++job) {
    apply(acme, c);
    apply(globex, other);
    apply(*TenantId::parse("initech"), Controls());
  }
  EXPECT_EQ(tables(), before);
  c.sampling = 0.5;
  apply(acme, c);
  EXPECT_EQ(tables(), before + 1);
  EXPECT_EQ(telemetry::level_of("bus", "acme"), telemetry::Level::kTrace);
  EXPECT_EQ(telemetry::deep_debug().size(), 2u);
  apply(acme, Controls());
  apply(globex, Controls());
}

// A tenant that turns its switches to and fro costs no memory, however many modules it names and however many tenants there are.
TEST(Controls, WhatWasReplacedIsFreed) {
  const TenantId acme = *TenantId::parse("acme");
  for (int i = 0; i < 50; ++i) telemetry::set_tenant_level("other" + std::to_string(i), telemetry::Level::kWarn);
  Controls c;
  for (int i = 0; i < 64; ++i) c.levels.emplace("m" + std::to_string(i) + std::string(60, 'x'), telemetry::Level::kWarn);
  const std::uint64_t made = telemetry::level_tables().made;
  std::size_t most = 0;
  for (int i = 0; i < 10'000; ++i) {
    c.sampling = i % 2 == 0 ? 0.25 : 0.5;
    c.levels.begin()->second = i % 2 == 0 ? telemetry::Level::kDebug : telemetry::Level::kWarn;
    c.deep_debug = DeepDebug{i % 2 == 0 ? telemetry::PiiSet{PiiKind::kEmail} : telemetry::PiiSet{PiiKind::kIp}, Timestamp::now() + std::chrono::hours(1)};
    apply(acme, c);
    EXPECT_EQ(telemetry::level_of("bus", "other7"), telemetry::Level::kWarn);
    most = std::max({most, telemetry::level_tables().retired, telemetry::sampling_tables().retired, telemetry::deep_debug_tables().retired});
  }
  EXPECT_GE(telemetry::level_tables().made, made + 10'000);
  EXPECT_LE(most, 10u) << "tables that nobody can read any more";
  apply(acme, Controls());
  for (int i = 0; i < 50; ++i) telemetry::clear_tenant_levels("other" + std::to_string(i));
}

TEST(Controls, ABodyNamesWhatIsWrongWithIt) {
  const std::pair<const char*, const char*> kBad[] = {
      {R"({})", "levels"},
      {R"({"levels":{"web":"loud"}})", "levels"},
      {R"({"levels":{"../x":"info"}})", "levels"},
      {R"({"levels":[]})", "levels"},
      {R"({"temporary_levels":{}})", "temporary_levels.levels"},
      {R"({"temporary_levels":[]})", "temporary_levels"},
      {R"({"temporary_levels":{"levels":{},"ttl_seconds":60}})", "temporary_levels.levels"},
      {R"({"temporary_levels":{"levels":{"web":"loud"},"ttl_seconds":60}})", "temporary_levels.levels"},
      {R"({"temporary_levels":{"levels":{"web":"debug"}}})", "temporary_levels.ttl_seconds"},
      {R"({"temporary_levels":{"levels":{"web":"debug"},"ttl_seconds":86401}})", "temporary_levels.ttl_seconds"},
      {R"({"temporary_levels":{"levels":{"web":"debug"},"ttl_seconds":60,"for":"x"}})", "temporary_levels"},
      {R"({"sampling":1.5})", "sampling"},
      {R"({"sampling":-1})", "sampling"},
      {R"({"sampling":"all"})", "sampling"},
      {R"({"deep_debug":{"classes":[],"ttl_seconds":60,"reason":"x"}})", "deep_debug.classes"},
      {R"({"deep_debug":{"classes":["secret"],"ttl_seconds":60,"reason":"x"}})", "deep_debug.classes"},
      {R"({"deep_debug":{"classes":["email"],"ttl_seconds":0,"reason":"x"}})", "deep_debug.ttl_seconds"},
      {R"({"deep_debug":{"classes":["email"],"ttl_seconds":86401,"reason":"x"}})", "deep_debug.ttl_seconds"},
      {R"({"deep_debug":{"classes":["email"],"ttl_seconds":60}})", "deep_debug.reason"},
      {R"({"deep_debug":{"classes":["email"],"ttl_seconds":60,"reason":"x","for":"y"}})", "deep_debug"},
  };
  for (const auto& [text, field] : kBad) {
    const auto change = parse_change(*json::parse(text));
    ASSERT_FALSE(change.has_value()) << text;
    EXPECT_EQ(change.error().field("field"), field) << text;
  }
  EXPECT_EQ(*parsed(R"({"sampling":null})").sampling, std::nullopt);
  EXPECT_TRUE(parsed(R"({"deep_debug":null})").deep_debug->kinds.empty());
  EXPECT_EQ(parsed(R"({"deep_debug":{"classes":["email"],"ttl_seconds":86400,"reason":"x"}})").deep_debug->ttl, kLongestDebug);
}

}  // namespace
}  // namespace stella::controls
