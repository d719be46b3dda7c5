// The component table's wire form: round trip, one spelling, positions in errors.
#include "stella/contracts/components.h"

#include <gtest/gtest.h>

namespace stella::contracts {
namespace {

ComponentTable sample() {
  ComponentTable t;
  t.source_format = "CycloneDX 1.5";
  t.document_name = "shop \"öre\"";
  t.document_version = "1.0";
  t.document_id = "urn:uuid:1#1";
  t.components.push_back({.purl = "pkg:npm/a@1", .raw_purl = "", .type = "npm", .ecosystem = "npm", .name = "a", .version = "1", .label = "a", .refs = {"r1", "r\\2"}});
  t.components.push_back({.raw_purl = "pkg:deb/x?a=b?c=d", .label = "x\n\x01", .refs = {}, .problem = "malformed purl"});
  t.edges = {{0, 1, EdgeKind::kContains}, {0, 1, EdgeKind::kDependsOn}};
  t.problems = {{"malformed_purl", "/components/1/purl", "no '?' in a value"}};
  return t;
}

TEST(Components, RoundTripIsIdentical) {
  const std::string text = encode(sample());
  auto back = decode_components(text);
  ASSERT_TRUE(back) << back.error().describe();
  EXPECT_EQ(back->components, sample().components);
  EXPECT_EQ(back->edges, sample().edges);
  EXPECT_EQ(back->document_name, sample().document_name);
  EXPECT_EQ(encode(*back), text);
}

TEST(Components, HeaderIsAsDocumented) {
  const std::string text = encode(sample());
  EXPECT_EQ(text.substr(0, text.find('\n')),
            R"({"format":"stella.components/v1","source_format":"CycloneDX 1.5","document":{"name":"shop \"öre\"","version":"1.0","id":"urn:uuid:1#1"},"components":2,"edges":2,"problems":1})");
}

TEST(Components, EveryOtherSpellingIsRefusedWithItsLine) {
  const std::string good = encode(sample());
  const auto refuse = [&](std::string_view from, std::string_view to, std::string_view line) {
    std::string bad = good;
    const auto at = bad.find(from);
    ASSERT_NE(at, std::string::npos) << from;
    bad.replace(at, from.size(), to);
    auto r = decode_components(bad);
    ASSERT_FALSE(r) << from << " -> " << to;
    EXPECT_EQ(r.error().code(), base_errors::kMalformed);
    EXPECT_EQ(r.error().field("line"), line) << r.error().describe();
  };
  refuse("stella.components/v1", "stella.components/v2", "1");
  refuse("\"label\":\"a\"", "\"label\":\"\\u0061\"", "2");  // not a minimal escape
  refuse("\\u0001", "\\u000a", "3");                        // \n has a short form
  refuse("\"type\":\"npm\"", "\"type\":\"\"", "2");         // empty members are absent
  refuse("\"refs\":[]", "\"refs\": []", "3");
  refuse("[0,1,\"contains\"]", "[0,2,\"contains\"]", "4");  // no such component
  refuse("[0,1,\"contains\"]", "[00,1,\"contains\"]", "4");
  refuse("[0,1,\"depends_on\"]", "[0,1,\"contains\"]", "6");  // not ascending
  refuse("\"components\":2", "\"components\":1", "3");
  refuse("\"problems\":1", "\"problems\":0", "6");
  refuse("öre", "\xf6re", "1");
}

TEST(Components, EveryTruncationIsRefused) {
  const std::string good = encode(sample());
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(decode_components(std::string_view(good).substr(0, n))) << n;
}

}  // namespace
}  // namespace stella::contracts
