// Encodings: round trips, RFC 4648 vectors and refusals.
#include "stella/base/encoding.h"

#include <gtest/gtest.h>

namespace stella {
namespace {

TEST(Encoding, HexRoundTripsAndRefuses) {
  EXPECT_EQ(hex_encode(std::string_view("\x00\xff\x1a", 3)), "00ff1a");
  EXPECT_EQ(hex_decode("00FF1a").value(), std::string("\x00\xff\x1a", 3));
  EXPECT_FALSE(hex_decode("0"));
  EXPECT_FALSE(hex_decode("0g"));
}

TEST(Encoding, Base64Vectors) {
  const std::pair<const char*, const char*> cases[] = {{"", ""}, {"f", "Zg=="}, {"fo", "Zm8="}, {"foo", "Zm9v"}, {"foob", "Zm9vYg=="}, {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
  for (const auto& [plain, text] : cases) {
    EXPECT_EQ(base64_encode(plain), text);
    EXPECT_EQ(base64_decode(text).value(), plain);
    EXPECT_EQ(base64_decode(base64url_encode(plain)).value(), plain);
  }
  EXPECT_EQ(base64_decode("-_8=").value(), "\xfb\xff");
  for (const char* bad : {"Z", "Zg=", "Zh==", "Zg==\n", "Zm9v=", "!!!!", "===="}) EXPECT_FALSE(base64_decode(bad)) << bad;
}

TEST(Encoding, Percent) {
  EXPECT_EQ(percent_encode("a b/ü~"), "a%20b%2F%C3%BC~");
  EXPECT_EQ(percent_decode("a%20b+c", true).value(), "a b c");
  EXPECT_EQ(percent_decode("%41").value(), "A");
  EXPECT_FALSE(percent_decode("%4"));
  EXPECT_FALSE(percent_decode("%zz"));
}

TEST(Encoding, Utf8) {
  EXPECT_TRUE(is_utf8("grüße 漢字 \xf0\x9f\x98\x80"));
  for (const char* bad : {"\xc0\x80", "\xed\xa0\x80", "\xf5\x80\x80\x80", "\x80", "\xe2\x82", "\xf0\x80\x80\x80", "\xff"}) EXPECT_FALSE(is_utf8(bad));
}

TEST(Utf8, ClippingKeepsWholeCharacters) {
  EXPECT_EQ(clip_utf8("ab漢", 5), "ab漢");
  EXPECT_EQ(clip_utf8("ab漢", 4), "ab");
  EXPECT_EQ(clip_utf8("ab漢", 2), "ab");
  EXPECT_EQ(clip_utf8("\xf0\x9f\x98\x80", 3), "");
  EXPECT_EQ(clip_utf8("abc", 0), "");
}

}  // namespace
}  // namespace stella
