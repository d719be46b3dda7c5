// The VEX result's wire form: round trip, one spelling, order.
#include "stella/contracts/vex_result.h"

#include <gtest/gtest.h>

#include <array>

namespace stella::contracts {
namespace {

VexResultSet sample() {
  std::array<std::uint8_t, 32> bytes{};
  bytes[0] = 0xab;
  VexOutcome a{.component = 3, .purl = "pkg:npm/a@1", .advisory_id = "GHSA-1", .status = VexStatus::kNotAffected, .justification = "component_not_present", .conflict = true};
  a.considered.push_back({.document = Sha256(bytes), .pointer = "/statements/0", .status = VexStatus::kNotAffected, .source_label = "not_affected",
                          .justification = "component_not_present", .timestamp = "2025-01-02T03:04:05Z", .rank = 3, .applies = true, .why = "names this version"});
  a.considered.push_back({.document = Sha256(bytes), .pointer = "/statements/1", .status = VexStatus::kAffected, .why = "another version"});
  VexOutcome b{.component = 3, .purl = "pkg:npm/a@1", .advisory_id = "GHSA-2"};
  return {.rule = "stella.vex-precedence/1", .outcomes = {a, b}};
}

TEST(VexResult, RoundTripIsIdentical) {
  const std::string text = encode(sample());
  auto back = decode_vex_result(text);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(encode(*back), text);
  EXPECT_EQ(back->outcomes[0].considered[0].timestamp, "2025-01-02T03:04:05Z");
  EXPECT_TRUE(back->outcomes[0].conflict);
  EXPECT_EQ(text.substr(0, text.find('\n')),
            R"({"format":"stella.vex-result/v1","rule":"stella.vex-precedence/1","counts":{"outcomes":2,"considered":2,"conflicts":1}})");
}

TEST(VexResult, EmptySetRoundTrips) {
  auto back = decode_vex_result(encode(VexResultSet{.rule = "r"}));
  ASSERT_TRUE(back);
  EXPECT_TRUE(back->outcomes.empty());
}

TEST(VexResult, RefusesWhatItWouldNotWrite) {
  const std::string good = encode(sample());
  const auto refused = [&](std::string_view from, std::string_view to) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    return !decode_vex_result(bad).has_value();
  };
  EXPECT_TRUE(refused("\"conflicts\":1", "\"conflicts\":0"));
  EXPECT_TRUE(refused("GHSA-2", "GHSA-0"));  // order
  EXPECT_TRUE(refused("\"status\":\"not_affected\"", "\"status\":\"resolved\""));
  EXPECT_TRUE(refused("\"rank\":3", "\"rank\":+3"));
  EXPECT_TRUE(refused("ab00", "AB00"));  // digests have one spelling
  EXPECT_TRUE(refused("\"applies\":true", "\"applies\":1"));
  for (std::size_t n = 0; n + 1 < good.size(); ++n) EXPECT_FALSE(decode_vex_result(std::string_view(good).substr(0, n)));
}

TEST(VexResult, StatusWords) {
  for (const auto s : {VexStatus::kNone, VexStatus::kNotAffected, VexStatus::kAffected, VexStatus::kFixed, VexStatus::kUnderInvestigation}) {
    auto back = parse_vex_status(to_string(s));
    ASSERT_TRUE(back);
    EXPECT_EQ(*back, s);
  }
  EXPECT_FALSE(parse_vex_status("exploitable"));
}

}  // namespace
}  // namespace stella::contracts
