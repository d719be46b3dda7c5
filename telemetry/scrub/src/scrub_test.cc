// Secrets and e-mail addresses never pass; identifiers of ours always do.
#include "stella/telemetry/scrub.h"

#include <gtest/gtest.h>

#include <random>

#include "stella/base/encoding.h"

namespace stella::telemetry {
namespace {

struct Case {
  const char* text;
  const char* secret;  // must be gone
  const char* kept;    // must still be there
};

TEST(Scrub, MasksWhatIsSecret) {
  const Case cases[] = {
      {"login with password=hunter22 failed", "hunter22", "password=["},
      {"DB_PASSWORD: \"p4 ss\" x", "p4 ss", "DB_PASSWORD: \"["},
      {R"({"client_secret":"abc,def","a":1})", "abc,def", R"("a":1)"},
      {"host=db user=stella password='it''s' port=1", "'it''", "host=db user=stella"},
      {"postgresql://stella:s3cr3t@db.example.org/stella", "s3cr3t", "@db.example.org/stella"},
      {"https://token-only@example.org/x", "token-only", "@example.org/x"},
      {"Authorization: Bearer abcdef0123456789", "abcdef0123456789", "Authorization: Bearer ["},
      {"sent Basic dXNlcjpwYXNz", "dXNlcjpwYXNz", "Basic ["},
      {"token eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJl bad", "eyJzdWIi", " bad"},
      {"(eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJl)", "c2lnbmF0", ")"},
      {"key AKIAIOSFODNN7EXAMPLE used", "AKIAIOSFODNN7EXAMPLE", " used"},
      {"ghp_abcdefghijklmnopqrstuvwxyz0123456789", "ghp_abc", "[github_token:"},
      {"-----BEGIN EC PRIVATE KEY-----\nMHcCAQEE\n-----END EC PRIVATE KEY-----\nafter", "MHcC", "after"},
      {"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMHcCAQEE cut", "MHcC", "["},
      {"GET /x?X-Amz-Signature=deadbeef&a=1", "deadbeef", "&a=1"},
      {"mail ann.lee+x@mail.example.org now", "ann.lee", " now"},
      {"<bob@example.com>", "bob@", "<["},
  };
  for (const Case& c : cases) {
    const std::string clean = scrub(c.text);
    EXPECT_EQ(clean.find(c.secret), std::string::npos) << c.text << " -> " << clean;
    EXPECT_NE(clean.find(c.kept), std::string::npos) << c.text << " -> " << clean;
  }
}

TEST(Scrub, LeavesIdentifiersAlone) {
  const char* cases[] = {
      "0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012",
      "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
      "pkg:npm/%40angular/core@12.0.0-rc.beta",
      "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1?type=jar",
      "lodash@4.17.20",
      "2026-11-25T03:20:00.123456Z",
      "baseline@4f2a91c07d13",
      "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
      "GHSA-35jh-r3h4-6jhm CVE-2021-23337",
      "SHA256:4X1mYQ0u2Jv7pVfWc5oPqS9aT3bN8eK6rL1hG0dZxQw",
      "stella:sbom:read#tenant/acme",
      "no such token, no password given; keys are fine",
      "tenants/acme/objects/e3b0c442",
      "connection to server at \"127.0.0.1\", port 5432 failed: Connection refused",
      "token expired",
      "signature: valid, design=flat",
  };
  for (const char* text : cases) EXPECT_EQ(scrub(text), text);
}

TEST(Scrub, EqualValuesKeepEqualMasks) {
  EXPECT_EQ(scrub("ann@example.org"), scrub("ann@example.org"));
  EXPECT_NE(scrub("ann@example.org"), scrub("bob@example.org"));
  EXPECT_EQ(scrub(scrub("password=hunter22")), scrub("password=hunter22"));
}

TEST(Scrub, HostileTextStaysLinearAndValid) {
  std::string ats(200'000, '@');
  EXPECT_EQ(scrub(ats), ats);
  std::string colons;
  for (int i = 0; i < 20'000; ++i) colons += "a:";
  EXPECT_EQ(scrub(colons), colons);
  std::string heads;
  for (int i = 0; i < 300'000; ++i) heads += "eyJ";
  EXPECT_EQ(scrub(heads), heads);
  EXPECT_TRUE(is_utf8(scrub(std::string(1000, '\xff'))));
  EXPECT_EQ(scrub(""), "");
  // Each of these looks for something that comes nowhere, or over all that follows: with a look per occurrence they would take minutes.
  const auto repeated = [](std::string_view unit, std::size_t times) {
    std::string text;
    for (std::size_t i = 0; i < times; ++i) text += unit;
    return text;
  };
  const std::string calls = repeated("ab@tcp(", 300'000);
  EXPECT_EQ(scrub(calls), calls);  // no colon anywhere
  const std::string masks = repeated("[secret:7f3a91c2]", 100'000);
  EXPECT_EQ(scrub(masks), masks);  // "secret:" and all masks behind it
  const std::string numbers = repeated("YWFhYWFhYWFhYWFhYWFh/", 100'000);
  EXPECT_EQ(scrub(numbers), numbers);  // one run of base64 with many beginnings
  const std::string half = repeated("\\u0070assword=%70", 50'000);
  EXPECT_NE(scrub(half), half);
}

// Any junk around a secret: it is gone, the text stays valid, and scrubbing again changes nothing.
TEST(Scrub, SurvivesAnyNeighbourhood) {
  std::mt19937 random(20261125);  // NOLINT: repeatable on purpose
  const std::string alphabet = "abcdeyJ.:/@=\"' \n[]{}-_%0123&;,?\xc3\xa4\xff";
  const auto junk = [&](std::size_t most) {
    std::string text;
    for (std::size_t n = random() % (most + 1); n > 0; --n) text.push_back(alphabet[random() % alphabet.size()]);
    return text;
  };
  const std::string jwt = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiIxMjM0NSJ9.c2lnbmF0dXJl";
  const std::pair<std::string, std::string> planted[] = {{"password=hunter22", "hunter22"},
                                                         {"passwd: \"correct horse\"", "correct horse"},
                                                         {"Bearer abcdef0123456789", "abcdef0123456789"},
                                                         {jwt, "eyJzdWIiOiIxMjM0NSJ9"},
                                                         {"AKIAIOSFODNN7EXAMPLE", "AKIAIOSFODNN7EXAMPLE"},
                                                         {"ann.lee@mail.example.org", "ann.lee@mail"},
                                                         {"postgresql://stella:s3cr3tpw@db/x", "s3cr3tpw"}};
  for (int round = 0; round < 20'000; ++round) {
    const auto& [text, secret] = planted[random() % std::size(planted)];
    const std::string input = junk(30) + " " + text + " " + junk(30);
    const std::string clean = scrub(input);
    ASSERT_EQ(clean.find(secret), std::string::npos) << input << "\n" << clean;
    ASSERT_TRUE(is_utf8(clean)) << input;
    ASSERT_EQ(scrub(clean), clean) << input;
  }
}

TEST(TrimPath, OnlyTheBaseNameOfForeignPathsRemains) {
  EXPECT_EQ(trim_path("/home/ann/work/x.cc"), "<path>/x.cc");
  EXPECT_EQ(trim_path("db/migrations/0001_tables.sql"), "db/migrations/0001_tables.sql");
  EXPECT_EQ(trim_path("../x/y"), "<path>/y");
  EXPECT_EQ(trim_path("~/y"), "<path>/y");
  EXPECT_EQ(trim_path("/"), "<path>/");
}

}  // namespace
}  // namespace stella::telemetry
