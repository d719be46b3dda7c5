// What the command line of `obs settings set` asks the server for, and how the answer is shown.
#include "settings.h"

#include <gtest/gtest.h>

namespace stella::cli {
namespace {

std::string change(const SettingsArgs& args, const char* levels = "{}") {
  const auto out = settings_change(args, *json::parse(levels));
  return out ? json::dump(*out) : std::string(out.error().field("field"));
}

TEST(Settings, LevelsKeepWhatIsNotNamed) {
  EXPECT_EQ(change({.levels = {"web=debug", "*=warn"}}), R"({"levels":{"web":"debug","*":"warn"}})");
  EXPECT_EQ(change({.levels = {"web=info"}}, R"({"bus":"trace","web":"debug"})"), R"({"levels":{"bus":"trace","web":"info"}})");
  EXPECT_EQ(change({.levels = {"web=default"}}, R"({"bus":"trace","web":"debug"})"), R"({"levels":{"bus":"trace"}})");
  EXPECT_EQ(change({.levels = {"bus=default"}}), R"({"levels":{}})");
  for (const char* bad : {"web", "=debug", "web=", ""}) EXPECT_EQ(change({.levels = {bad}}), "--level") << bad;
}

TEST(Settings, LevelsForATimeStandBesideTheOthers) {
  EXPECT_EQ(change({.levels = {"web=debug", "*=info"}, .level_for = "15m"}, R"({"bus":"trace"})"), R"({"temporary_levels":{"levels":{"web":"debug","*":"info"},"ttl_seconds":900}})");
  EXPECT_EQ(change({.end_levels = true}), R"({"temporary_levels":null})");
  EXPECT_EQ(change({.level_for = "15m"}), "--level");
  EXPECT_EQ(change({.levels = {"web=default"}, .level_for = "15m"}), "--level");
  EXPECT_EQ(change({.levels = {"web=debug"}, .level_for = "2d"}), "--level-for");
  EXPECT_EQ(change({.levels = {"web=debug"}, .level_for = "1h", .end_levels = true}), "--end-levels");
}

TEST(Settings, SamplingIsAShareAPercentageOrTheDeployments) {
  EXPECT_EQ(change({.sampling = "0.25"}), R"({"sampling":0.25})");
  EXPECT_EQ(change({.sampling = "10%"}), R"({"sampling":0.1})");
  EXPECT_EQ(change({.sampling = "default"}), R"({"sampling":null})");
  EXPECT_TRUE(settings_change({.sampling = "0"}, {}));
  EXPECT_TRUE(settings_change({.sampling = "100%"}, {}));
  for (const char* bad : {"1.5", "101%", "-0.1", "nan", "inf", "ten", "0.1x", "%", " 0.1"}) EXPECT_EQ(change({.sampling = bad}), "--sampling") << bad;
}

TEST(Settings, DeepDebugHasKindsATimeAndAReason) {
  EXPECT_EQ(change({.debug = {"email", "ip"}, .debug_for = "15m", .reason = "ticket 7"}), R"({"deep_debug":{"classes":["email","ip"],"ttl_seconds":900,"reason":"ticket 7"}})");
  EXPECT_EQ(change({.debug = {"email"}, .reason = "r"}), R"({"deep_debug":{"classes":["email"],"ttl_seconds":3600,"reason":"r"}})");
  EXPECT_EQ(change({.debug = {"email"}, .debug_for = "1d", .reason = "r"}), R"({"deep_debug":{"classes":["email"],"ttl_seconds":86400,"reason":"r"}})");
  EXPECT_EQ(change({.end_debug = true}), R"({"deep_debug":null})");
  EXPECT_EQ(change({.debug = {"email"}}), "--reason");
  EXPECT_EQ(change({.debug = {"email"}, .reason = "r", .end_debug = true}), "--end-debug");
  EXPECT_EQ(change({.debug_for = "15m"}), "--debug");
  EXPECT_EQ(change({.reason = "r"}), "--debug");
  for (const char* bad : {"2d", "25h", "0s", "-1h", "15", "m", "1.5h", "15 m"}) EXPECT_EQ(change({.debug = {"email"}, .debug_for = bad, .reason = "r"}), "--for") << bad;
}

TEST(Settings, NothingIsNoChange) { EXPECT_EQ(change({}), "options"); }

TEST(Settings, AreShownForPeople) {
  const Timestamp now = *Timestamp::parse("2026-11-24T17:00:00Z");
  const Palette plain(false);
  const auto text = [&](const char* settings) { return settings_text(*json::parse(settings), now, plain); };
  EXPECT_EQ(text(R"({"levels":{},"sampling":null,"deep_debug":null,"updated_at":null,"updated_by":null})"),
            "levels      as the deployment says\nsampling    as the deployment says\ndeep debug  off\n");
  EXPECT_EQ(text(R"({"levels":{"bus":"info"},"temporary_levels":{"web":{"level":"debug","until":"2026-11-24T17:15:00Z"}},"sampling":null,"deep_debug":null,"updated_at":null,"updated_by":null})"),
            "levels      bus=info, web=debug until 17:15:00 UTC\nsampling    as the deployment says\ndeep debug  off\n");
  EXPECT_EQ(text(R"({"levels":{"*":"warn","web":"debug"},"sampling":0.125,"deep_debug":{"classes":["email","ip"],"until":"2026-11-24T18:30:00Z"},"updated_at":"2026-11-24T16:59:00Z","updated_by":"user:1"})"),
            "levels      *=warn, web=debug\nsampling    12.5 % of the traces\ndeep debug  email, ip pass until 18:30:00 UTC\nchanged     16:59:00 by user:1\n");
  EXPECT_EQ(text(R"({"levels":{"web\u001b[2J":"debug"},"sampling":0})").find('\x1b'), std::string::npos);
}

}  // namespace
}  // namespace stella::cli
