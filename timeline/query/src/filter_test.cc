// Filters and cursors are strict: what is not understood is refused with its field.
#include <gtest/gtest.h>

#include "statement.h"
#include "stella/base/encoding.h"

namespace stella::timeline {
namespace {

using Parameters = std::vector<std::pair<std::string, std::string>>;

TEST(Filter, TakesEverythingTogether) {
  auto f = parse_filter({{"from", "2026-11-24T00:00:00Z"}, {"to", "2026-11-25T00:00:00+01:00"}, {"kind", "policy.*,job.failed"},
                         {"kind", "sbom.received"}, {"resource", "sbom/0190"}, {"resource", "component/pkg:npm/*"}, {"resource", "case/"}, {"resource", "component/"}, {"resource", "component/pk*"}, {"resource", "batch/x"},
                         {"project", "01900000-0000-7000-8000-000000000000"}, {"actor", "user:x"},
                         {"trace", "0af7651916cd43dd8448eb211c80319c"}, {"q", "red"}, {"order", "log"}, {"from_index", "7"}, {"limit", "500"}});
  ASSERT_TRUE(f.has_value()) << f.error().describe();
  EXPECT_EQ(f->kinds, (std::vector<std::string>{"job.failed", "policy.activated", "policy.evaluated", "policy.published", "sbom.received"}));
  ASSERT_EQ(f->resources.size(), 6u);
  EXPECT_FALSE(f->resources[0].prefix);
  EXPECT_TRUE(f->resources[1].prefix);
  EXPECT_EQ(f->resources[1].id, "pkg:npm/");
  EXPECT_TRUE(f->resources[2].prefix);
  EXPECT_TRUE(f->filtered());
  EXPECT_FALSE(parse_filter({{"order", "log"}})->filtered());
}

TEST(Filter, RefusesTheRestByField) {
  const Parameters bad = {{"from", "yesterday"}, {"from", "1969-12-31T23:59:59Z"}, {"kind", "*"}, {"kind", "policy.burned"}, {"kind", "polic.*"},
                          {"kind", ""}, {"resource", "sbom"}, {"resource", "foo/1"}, {"resource", "sbmo/0190"}, {"resource", "component/foo"}, {"resource", "component/npm/*"}, {"resource", "/x"}, {"resource", "SBOM/x"}, {"resource", "sbom/" + std::string(513, 'x')},
                          {"resource", "sbom/\xff"}, {"project", "x"}, {"actor", ""}, {"trace", "0AF7651916CD43DD8448EB211C80319C"},
                          {"trace", std::string(32, '0')}, {"q", ""}, {"q", std::string(257, 'x')}, {"q", std::string("a\0b", 3)},
                          {"order", "up"}, {"limit", "0"}, {"limit", "501"}, {"limit", "5x"}, {"cursor", ""}, {"cursor", std::string(129, 'x')}};
  for (const auto& [name, value] : bad) {
    auto f = parse_filter({{name, value}});
    ASSERT_FALSE(f.has_value()) << name << "=" << value;
    EXPECT_EQ(f.error().field("field"), name) << value;
    EXPECT_NE(f.error().field("expected"), "");
  }
  EXPECT_EQ(parse_filter({{"from_index", "1"}}).error().field("field"), "from_index");
  EXPECT_EQ(parse_filter({{"surprise", "1"}}).error().field("field"), "surprise");
  EXPECT_EQ(parse_filter({{"limit", "1"}, {"limit", "2"}}).error().field("field"), "limit");
  EXPECT_EQ(parse_filter({{"from", "2026-01-02T00:00:00Z"}, {"to", "2026-01-02T00:00:00Z"}}).error().field("field"), "to");
  Parameters many;
  for (int i = 0; i < 9; ++i) many.emplace_back("resource", "sbom/b");
  EXPECT_EQ(parse_filter(many).error().field("field"), "resource");
}

TEST(Cursor, RoundTripsAndHasOneSpelling) {
  const auto id = EventId::generate();
  Position p;
  p.after = {Timestamp::from_micros(1'764'000'000'123'456), id};
  auto back = decode_cursor(encode_cursor(p), Order::kTime);
  ASSERT_TRUE(back.has_value());
  EXPECT_EQ(back->after, p.after);
  EXPECT_FALSE(decode_cursor(encode_cursor(p), Order::kLog).has_value());
  Position l;
  l.index = 42;
  EXPECT_EQ(decode_cursor(encode_cursor(l), Order::kLog)->index, 42);
  EXPECT_FALSE(decode_cursor(encode_cursor(l), Order::kTime).has_value());
  for (const std::string& text : std::vector<std::string>{"", "l", "l-1", "l01", "l+1", "l99999999999999999999", "t5", "t.x", "t-1." + id.str(), "t1." + id.str() + "x", "t1.x",
                                 "t253402300800000000." + id.str(), "x1", "l1\n"})
    for (const auto order : {Order::kTime, Order::kLog}) EXPECT_FALSE(decode_cursor(base64url_encode(text), order).has_value()) << text;
  EXPECT_FALSE(decode_cursor("====", Order::kLog).has_value());
  EXPECT_FALSE(decode_cursor(encode_cursor(l) + "=", Order::kLog).has_value());
}

}  // namespace
}  // namespace stella::timeline
