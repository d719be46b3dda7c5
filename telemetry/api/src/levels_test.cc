// Which level holds for whom, and how long a tenant's deep debug does.
#include <gtest/gtest.h>

#include <thread>

#include "capture_outlet.h"
#include "levels.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry {
namespace {

constexpr Logger kWeb{"web"};
constexpr Logger kBus{"bus"};

class Levels : public ::testing::Test {
 protected:
  void SetUp() override { reset(); }
  void TearDown() override { reset(); }
  static void reset() {
    set_level(Level::kInfo);
    for (const char* module : {"web", "bus"}) clear_module_level(module);
    for (const char* tenant : {"acme", "globex", "platform"}) {
      clear_tenant_levels(tenant);
      set_deep_debug(tenant, {}, Timestamp());
    }
  }
  // Levels that `logger` lets through in the work of `tenant`, as first letters.
  std::string passed(const Logger& logger, std::string_view tenant) {
    Context context;
    if (!tenant.empty()) context.tenant_id = *TenantId::parse(tenant);
    ContextScope scope(std::move(context));
    out.clear();
    for (const Level level : {Level::kTrace, Level::kDebug, Level::kInfo, Level::kWarn, Level::kError}) logger.log(level, "line");
    std::string letters;
    for (std::size_t i = 0; i < out.size(); ++i) letters.push_back(to_string(out.at(i).head().level)[0]);
    for (char& c : letters) c = static_cast<char>(c | 0x20);
    return letters;
  }
  CaptureOutlet out;
};

TEST_F(Levels, TheMostExactRuleDecides) {
  EXPECT_EQ(passed(kWeb, "acme"), "iwe");
  set_level(Level::kError);
  EXPECT_EQ(passed(kWeb, "acme"), "e");
  set_module_level("web", Level::kWarn);
  EXPECT_EQ(passed(kWeb, "acme"), "we");
  EXPECT_EQ(passed(kBus, "acme"), "e");
  set_tenant_level("acme", Level::kDebug);  // before the module's
  EXPECT_EQ(passed(kWeb, "acme"), "diwe");
  EXPECT_EQ(passed(kBus, "acme"), "diwe");
  EXPECT_EQ(passed(kWeb, "globex"), "we");
  set_tenant_level("acme", "web", Level::kTrace);  // before the tenant's
  EXPECT_EQ(passed(kWeb, "acme"), "tdiwe");
  EXPECT_EQ(passed(kBus, "acme"), "diwe");
  EXPECT_EQ(level_of("web", "acme"), Level::kTrace);
  EXPECT_EQ(level_of("bus", "acme"), Level::kDebug);
  EXPECT_EQ(level_of("web", "globex"), Level::kWarn);
  EXPECT_EQ(level_of("bus", "globex"), Level::kError);
}

TEST_F(Levels, AMoreExactRuleMayAlsoSaySilence) {
  set_level(Level::kDebug);
  set_tenant_level("acme", "web", Level::kError);
  EXPECT_EQ(passed(kWeb, "acme"), "e");
  EXPECT_EQ(passed(kBus, "acme"), "diwe");
  EXPECT_EQ(passed(kWeb, "globex"), "diwe");
}

TEST_F(Levels, WithoutATenantItIsThePlatform) {
  set_tenant_level("platform", Level::kDebug);
  EXPECT_EQ(passed(kWeb, ""), "diwe");
  EXPECT_EQ(passed(kWeb, "acme"), "iwe");
  clear_tenant_levels("platform");
  EXPECT_EQ(passed(kWeb, ""), "iwe");
}

TEST_F(Levels, WhatIsTakenBackLeavesNothingBehind) {
  set_module_level("web", Level::kTrace);
  set_tenant_level("acme", Level::kTrace);
  EXPECT_EQ(detail::g_level.load(), Level::kTrace);
  clear_tenant_levels("acme");
  EXPECT_EQ(passed(kBus, "acme"), "iwe");
  EXPECT_EQ(passed(kWeb, "acme"), "tdiwe");
  clear_module_level("web");
  EXPECT_EQ(passed(kWeb, "acme"), "iwe");
  // The common case is one comparison again.
  EXPECT_EQ(detail::g_level.load(), Level::kInfo);
  EXPECT_FALSE(detail::g_level_rules.load());
}

TEST_F(Levels, AreReadByTheirNames) {
  for (const Level level : {Level::kTrace, Level::kDebug, Level::kInfo, Level::kWarn, Level::kError}) EXPECT_EQ(parse_level(to_string(level)), level);
  for (const char* text : {"", "verbose", "info ", "0"}) EXPECT_FALSE(parse_level(text)) << text;
}

TEST_F(Levels, ChangeWhileOthersLog) {
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([] {
      Context context;
      context.tenant_id = *TenantId::parse("acme");
      ContextScope scope(std::move(context));
      for (int i = 0; i < 500; ++i) {
        kWeb.debug("sometimes");
        kWeb.error("always");
      }
    });
  }
  for (int i = 0; i < 100; ++i) {
    set_tenant_level("acme", "web", i % 2 == 0 ? Level::kDebug : Level::kError);
    set_module_level("web", Level::kInfo);
    clear_tenant_levels("acme");
  }
  for (std::thread& t : threads) t.join();
  std::size_t errors = 0;
  for (std::size_t i = 0; i < out.size(); ++i) errors += out.at(i).head().level == Level::kError ? 1 : 0;
  EXPECT_EQ(errors, 1500u);
}

TEST_F(Levels, DeepDebugHoldsForItsTenantItsKindsAndItsTime) {
  const auto shown = [this](std::string_view tenant) {
    Context context;
    context.tenant_id = *TenantId::parse(tenant);
    ContextScope scope(std::move(context));
    kWeb.error("line", {f::reason("mail ann@example.org from 203.0.113.77")});
    std::string text;
    out.last().each_field([&](const FieldView& field) { text = field.value; });
    return text;
  };
  const auto has = [&](std::string_view tenant, std::string_view what) { return shown(tenant).find(what) != std::string::npos; };
  const Timestamp now = Timestamp::now();
  const auto after = [&](std::chrono::seconds s) { return Timestamp::from_micros(now.micros() + std::chrono::microseconds(s).count()); };

  EXPECT_FALSE(has("acme", "ann@example.org"));
  set_deep_debug("acme", {PiiKind::kEmail}, after(std::chrono::hours(1)));
  EXPECT_TRUE(has("acme", "ann@example.org"));
  EXPECT_FALSE(has("acme", "203.0.113.77"));
  EXPECT_FALSE(has("globex", "ann@example.org"));
  ASSERT_EQ(deep_debug().size(), 1u);
  EXPECT_EQ(deep_debug()[0].tenant, "acme");
  set_deep_debug("acme", {PiiKind::kEmail, PiiKind::kIp}, after(std::chrono::seconds(-1)));  // its time is over
  EXPECT_FALSE(has("acme", "ann@example.org"));
  EXPECT_TRUE(deep_debug().empty());
  set_deep_debug("acme", {PiiKind::kEmail}, after(std::chrono::hours(240)));  // nobody debugs longer than a day
  ASSERT_EQ(deep_debug().size(), 1u);
  EXPECT_LE(deep_debug()[0].until.micros() - Timestamp::now().micros(), std::chrono::microseconds(std::chrono::hours(24)).count());
  set_deep_debug("acme", {}, after(std::chrono::hours(1)));
  EXPECT_FALSE(has("acme", "ann@example.org"));
}

}  // namespace
}  // namespace stella::telemetry
