// The exposure set's wire form: round trip, one spelling, order, and no crash on anything else.
#include "stella/contracts/exposures.h"

#include <gtest/gtest.h>

#include <array>

namespace stella::contracts {
namespace {

Sha256 digest(std::uint8_t first) {
  std::array<std::uint8_t, 32> bytes{};
  bytes[0] = first;
  return Sha256(bytes);
}

ExposureSet sample() {
  Exposure unknown{.component = 0, .purl = "pkg:deb/debian/curl@7.88", .ecosystem = "Debian:12", .name = "curl", .version = "7.88", .verdict = Verdict::kUnknown,
                   .clause = {.by = "reason"}, .reason = "ecosystem not supported yet"};
  Exposure hit{.component = 3, .purl = "pkg:npm/lodash@4.17.20", .ecosystem = "npm", .name = "lodash", .version = "4.17.20", .verdict = Verdict::kAffected};
  hit.advisory = {.id = "GHSA-35jh-r3h4-6jhm", .sha256 = digest(0xab), .aliases = {"CVE-2021-23337"}, .summary = "text with \"quotes\"\nand <script>", .published = "2021-05-06T16:05:51Z",
                  .modified = "2024-01-01T00:00:00Z", .severity = {{"CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:H/UI:N/S:U/C:H/I:H/A:H"}}, .database_severity = "HIGH"};
  hit.clause = {.by = "range", .affected_index = 0, .range_index = 1, .range_type = "SEMVER", .introduced = "0", .fixed = "4.17.21"};
  hit.fixed_versions = {"4.17.21"};
  Exposure gone = hit;
  gone.verdict = Verdict::kWithdrawn;
  gone.advisory.sha256 = digest(0xac);
  gone.advisory.withdrawn = "2024-01-01T00:00:00Z";
  return {.exposures = {unknown, hit, gone}};
}

TEST(Exposures, RoundTripIsIdentical) {
  const std::string text = encode(sample());
  auto back = decode_exposures(text);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(encode(*back), text);
  EXPECT_EQ(back->exposures[1].advisory.severity[0].score, "CVSS:3.1/AV:N/AC:L/PR:H/UI:N/S:U/C:H/I:H/A:H");
  EXPECT_EQ(back->exposures[1].clause.range_index, 1);
  EXPECT_EQ(back->exposures[0].reason, "ecosystem not supported yet");
  EXPECT_EQ(text.substr(0, text.find('\n')),
            R"({"format":"stella.exposures/v1","counts":{"affected":1,"not_affected":0,"withdrawn":1,"unknown":1}})");
  auto none = decode_exposures(encode(ExposureSet{}));
  ASSERT_TRUE(none);
  EXPECT_TRUE(none->exposures.empty());
}

TEST(Exposures, RefusesWhatItWouldNotWrite) {
  const std::string good = encode(sample());
  const auto error_of = [&](std::string_view from, std::string_view to) {
    std::string bad = good;
    bad.replace(bad.find(from), from.size(), to);
    auto back = decode_exposures(bad);
    return back ? std::string() : back.error().describe();
  };
  EXPECT_NE(error_of("\"affected\":1", "\"affected\":2"), "");
  EXPECT_NE(error_of("\"component\":3", "\"component\":4"), "");  // order
  EXPECT_NE(error_of("\"verdict\":\"affected\"", "\"verdict\":\"maybe\"").find("line=3"), std::string::npos);
  EXPECT_NE(error_of("\"range\":1", "\"range\":-1"), "");
  EXPECT_NE(error_of("\"fixed_versions\":[\"4.17.21\"]", "\"fixed_versions\":[]"), "");
  EXPECT_NE(error_of("\"sha256\":\"ab", "\"sha256\":\"AB"), "");
  EXPECT_NE(error_of("lodash@", "lodash\xff"), "");
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(decode_exposures(std::string_view(good).substr(0, n)));
}

TEST(Exposures, FlippedBytesNeverCrash) {
  const std::string good = encode(sample());
  for (std::size_t i = 0; i < good.size(); ++i)
    for (const char c : {'\0', '"', '\\', '{', '9', '\n', '\xff'}) {
      std::string bad = good;
      bad[i] = c;
      auto back = decode_exposures(bad);
      if (back) { EXPECT_EQ(encode(*back), bad); }
    }
}

}  // namespace
}  // namespace stella::contracts
