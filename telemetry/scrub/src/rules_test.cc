// The examples of rules.json, and what the interface promises beyond single rules: encodings, split secrets, deep debug, fingerprints.
#include <random>

#include "find.h"
#include "fingerprint.h"
#include "stella/base/encoding.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry {
namespace {

using namespace scrubbing;

TEST(Rules, ExamplesAreMaskedOrLeftAlone) {
  for (const ExampleRow& example : kExamples) {
    const std::string clean = scrub(example.text);
    const std::string_view rule = kRules[static_cast<std::size_t>(example.rule)].name;
    if (example.gone.empty()) {
      EXPECT_EQ(clean, example.text) << rule;
      EXPECT_TRUE(certainly_clean(example.text)) << rule << ": " << example.text;
    } else {
      EXPECT_EQ(clean.find(example.gone), std::string::npos) << rule << ": " << clean;
      EXPECT_FALSE(certainly_clean(example.text)) << rule << ": " << example.text;
      EXPECT_TRUE(certainly_clean(clean)) << rule << ": " << clean;
      EXPECT_EQ(scrub(clean), clean) << rule;
    }
  }
}

TEST(Rules, EveryRuleHasExamplesOfBothKinds) {
  std::map<Rule, std::pair<int, int>> counts;
  for (const ExampleRow& example : kExamples) ++(example.gone.empty() ? counts[example.rule].second : counts[example.rule].first);
  EXPECT_EQ(counts.size(), std::size(kRules));
  for (const auto& [rule, count] : counts) EXPECT_TRUE(count.first > 0 && count.second > 0) << kRules[static_cast<std::size_t>(rule)].name;
}

// The scan's masks end at 64-byte blocks: every example at every offset around them, alone and in a long text.
TEST(Rules, ExamplesAreFoundAtEveryOffset) {
  for (const ExampleRow& example : kExamples) {
    if (example.gone.empty()) continue;
    for (std::size_t before = 0; before < 140; ++before) {
      const std::string text = std::string(before, '.') + " " + std::string(example.text) + std::string(before % 7 * 20, '\n');
      const std::string clean = scrub(text);
      ASSERT_EQ(clean.find(example.gone), std::string::npos) << kRules[static_cast<std::size_t>(example.rule)].name << " at " << before << ": " << clean;
    }
  }
}

TEST(Rules, KeyThatBeginsInsideAnotherIsMaskedToItsEnd) {
  EXPECT_TRUE(scrub("ghp_AIzakN3sEbmderx9JUgMZ5Bzpy99Yvsl3t5-Z2a_").starts_with("[")) << scrub("ghp_AIzakN3sEbmderx9JUgMZ5Bzpy99Yvsl3t5-Z2a_");
  EXPECT_TRUE(scrub("ghp_AIzakN3sEbmderx9JUgMZ5Bzpy99Yvsl3t5-Z2a_").ends_with("]")) << scrub("ghp_AIzakN3sEbmderx9JUgMZ5Bzpy99Yvsl3t5-Z2a_");
}

TEST(Masks, AddressesKeepTheirNetwork) {
  EXPECT_TRUE(scrub("from 203.0.113.77 x").starts_with("from [ipv4:203.0.113.0/24:")) << scrub("from 203.0.113.77 x");
  EXPECT_TRUE(scrub("2001:db8:1:2::7").starts_with("[ipv6:2001:db8:1::/48:")) << scrub("2001:db8:1:2::7");
  const std::string once = scrub("203.0.113.77 and 2001:db8:1:2::7");
  EXPECT_EQ(scrub(once), once);
}

// "::" is looked for before chains of colons: what it finds behind an address must not hide the address.
TEST(Rules, AddressIsFoundBeforeADoubleColon) {
  for (const std::string_view behind : {" std::string", " 2001:db8::7", "-::", " a::b c::d", " fe80::1 b:ced:ef:01:23:45:67:8"}) {
    for (std::size_t before = 0; before < 70; ++before) {
      for (const std::size_t between : {0, 1, 20, 60}) {
        const std::string text = std::string(before, '.') + " 2001:db8:1:2:3:4:5:6" + std::string(between, '.') + std::string(behind);
        for (const Engine engine : {Engine::kScalar, Engine::kAvx2, Engine::kAvx512}) {
          if (!available(engine)) continue;
          Hits hits;
          find(text, hits, {}, engine);
          settle(text, hits);
          ASSERT_GE(hits.size(), 1u) << text;
          ASSERT_EQ(hits.begin()->begin, before + 1) << text;
          ASSERT_EQ(hits.begin()->end, before + 21) << text;
        }
        const std::string clean = scrub(text);
        ASSERT_EQ(clean.find("3:4:5:6"), std::string::npos) << clean;
        ASSERT_EQ(scrub(clean), clean);
      }
    }
  }
}

TEST(Masks, FingerprintsFollowSecretTenantAndDay) {
  set_fingerprint_secret("0123456789abcdef");
  set_test_seconds(1'764'040'800);
  const std::string acme = mask("email", "ann@example.org", "acme");
  EXPECT_EQ(acme, mask("email", "ann@example.org", "acme"));
  EXPECT_NE(acme, mask("email", "bob@example.org", "acme"));
  EXPECT_NE(acme, mask("email", "ann@example.org", "globex"));
  EXPECT_NE(acme, mask("email", "ann@example.org"));
  std::string text;
  scrub_append(text, "mail ann@example.org", {{}, "acme"});
  EXPECT_EQ(text, "mail " + acme);
  set_test_seconds(1'764'040'800 + 86'400);
  EXPECT_NE(acme, mask("email", "ann@example.org", "acme"));
  set_test_seconds(1'764'040'800);
  EXPECT_EQ(acme, mask("email", "ann@example.org", "acme"));
  set_fingerprint_secret("another secret!!");
  EXPECT_NE(acme, mask("email", "ann@example.org", "acme"));
  set_fingerprint_secret("0123456789abcdef");
  EXPECT_EQ(acme, mask("email", "ann@example.org", "acme"));
  set_test_seconds(0);
}

// Vectors of the SipHash paper's reference implementation: key 00..0f, input 00..n-1.
TEST(Masks, SipHashIsTheOneOfThePaper) {
  std::string input;
  const std::uint64_t expected[] = {0x726fdb47dd0e0e31ull, 0x74f839c593dc67fdull, 0x0d6c8009d9a94f5aull, 0x85676696d7fb7e2dull};
  for (const std::uint64_t hash : expected) {
    EXPECT_EQ(siphash(input, 0x0706050403020100ull, 0x0f0e0d0c0b0a0908ull), hash);
    input.push_back(static_cast<char>(input.size()));
  }
}

TEST(Encodings, JsonEscapesPercentAndBase64AreSeenThrough) {
  const std::string secrets[] = {"password=hunter22xyz", "ghp_abcdefghijklmnopqrstuvwxyz0123456789", "postgres://stella:s3cr3tpw@db/x", "{\"api_key\":\"q7Rk2ZpV\"}",
                                 "Bearer abcdef0123456789", "ann.lee@mail.example.org"};
  const std::string inner[] = {"hunter22xyz", "abcdefghijklmnopqrstuvwxyz0123456789", "s3cr3tpw", "q7Rk2ZpV", "abcdef0123456789", "ann.lee@mail"};
  for (std::size_t i = 0; i < std::size(secrets); ++i) {
    std::string unicode, quoted, percent;
    for (const char c : secrets[i]) {
      constexpr char kHexDigits[] = "0123456789abcdef";
      unicode += std::string("\\u00") + kHexDigits[c >> 4] + kHexDigits[c & 15];
      percent += std::string("%") + kHexDigits[c >> 4] + kHexDigits[c & 15];
    }
    json::append_quoted(quoted, secrets[i]);
    for (const std::string& text : {"x " + unicode + " y", "{\"body\":" + quoted + "}", "q=" + percent + "&r", "q=" + percent_encode(secrets[i]) + "&r",
                                    "blob " + base64_encode(secrets[i]) + " end", "blob/" + base64url_encode(secrets[i]), "data:text/plain;base64," + base64_encode(secrets[i])}) {
      const std::string clean = scrub(text);
      EXPECT_NE(clean, text);
      EXPECT_EQ(clean.find(inner[i]), std::string::npos) << clean;
      for (const std::string& encoded : {unicode, percent, base64_encode(secrets[i]), base64url_encode(secrets[i])}) EXPECT_EQ(clean.find(encoded), std::string::npos) << clean;
      EXPECT_EQ(scrub(clean), clean);
    }
  }
  EXPECT_EQ(scrub("a\\nb %20 c"), "a\\nb %20 c");
  EXPECT_TRUE(scrub("user%3Aann%40example.org&x=1").ends_with("&x=1"));
}

TEST(Encodings, StacksAreCovered) {
  const std::string clean = scrub("Error: login\\n    at connect (/home/ann/app/db.js:10:5)\\n  password: \\\"hunter22\\\"\\n");
  EXPECT_EQ(clean.find("hunter22"), std::string::npos) << clean;
  EXPECT_EQ(clean.find("/home/ann"), std::string::npos) << clean;
  EXPECT_NE(clean.find("<path>/db.js:10:5"), std::string::npos) << clean;
}

// Secrets, what of each must not remain, and how a record may carry it other than in one plain text.
struct Carried {
  const char* text;
  const char* secret;
};
constexpr Carried kCarried[] = {{"password=hunter22xyz", "hunter22xyz"},
                                {"DB_PASSWORD: hunter22xyz", "hunter22xyz"},
                                {"\"api_key\": \"q7Rk2ZpVw8\"", "q7Rk2ZpVw8"},
                                {"ghp_abcdefghijklmnopqrstuvwxyz0123456789", "abcdefghijklmnopqrstuvwxyz0123456789"},
                                {"AKIAIOSFODNN7EXAMPLE", "IOSFODNN7EXAMPLE"},
                                {"glpat-abcdefghij0123456789", "abcdefghij0123456789"},
                                {"Authorization: Bearer abcdef0123456789", "abcdef0123456789"},
                                {"postgres://stella:s3cr3tpw9@db/x", "s3cr3tpw9"}};

// Cut anywhere into two fields: neither shows four characters of its half of the secret.
TEST(Carriers, TwoFields) {
  for (const Carried& c : kCarried) {
    const std::string text = std::string("sign in: ") + c.text, secret = c.secret;
    const std::size_t begin = text.find(secret), end = begin + secret.size();
    for (std::size_t cut = 1; cut < text.size(); ++cut) {
      const std::string first = text.substr(0, cut), second = text.substr(cut);
      std::vector<bool> whole;
      const std::string_view fields[] = {first, second};
      split_secret(fields, whole);
      const std::string shown[] = {whole[0] ? "" : scrub(first), whole[1] ? "" : scrub(second)};
      const std::string halves[] = {cut > begin ? secret.substr(0, std::min(cut, end) - begin) : "", cut < end ? secret.substr(std::max(cut, begin) - begin) : ""};
      for (int i = 0; i < 2; ++i) {
        if (halves[i].size() < 4) continue;
        EXPECT_EQ(shown[i].find(halves[i]), std::string::npos) << first << " | " << second << " -> " << shown[0] << " | " << shown[1];
      }
    }
  }
}

// The value of details.stack: an error of many lines that is folded into one JSON string, whose quotes and line ends are escapes; and the same
// twice, when a program logs the answer of another.
TEST(Carriers, FoldedStacks) {
  for (const Carried& c : kCarried) {
    const std::string error = std::string("std::runtime_error: refused\n    at connect (/home/ann/app/db.cc:10)\n  with ") + c.text + "\n    at main (main.cc:3)";
    std::string once, twice;
    json::append_quoted(once, error);
    json::append_quoted(twice, once);
    for (const std::string& stack : {error, once, "{\"details\":{\"stack\":" + once + "}}"}) {
      const std::string clean = scrub(stack);
      EXPECT_EQ(clean.find(c.secret), std::string::npos) << clean;
      EXPECT_EQ(clean.find("/home/ann"), std::string::npos) << clean;
      EXPECT_NE(clean.find("main.cc:3"), std::string::npos) << clean;
    }
    EXPECT_EQ(scrub(twice).find(c.secret), std::string::npos) << scrub(twice);
  }
}

// Percent-encoded where a URL needs it or everywhere, and base64 at each of its three alignments.
TEST(Carriers, PercentAndBase64) {
  for (const Carried& c : kCarried) {
    std::string all;
    for (const char ch : std::string_view(c.text)) {
      char buffer[4];
      std::snprintf(buffer, sizeof buffer, "%%%02X", static_cast<unsigned>(static_cast<std::uint8_t>(ch)));
      all += buffer;
    }
    const std::string some = percent_encode(c.text);
    for (const std::string& text : {"GET /x?q=" + all + "&page=2", "GET /x?q=" + some + "&page=2", "100 % of " + some}) {
      const std::string clean = scrub(text);
      EXPECT_EQ(clean.find(c.secret), std::string::npos) << clean;
      EXPECT_EQ(clean.find(all), std::string::npos) << clean;
    }
    for (const char* before : {"", "a ", "ab "}) {
      const std::string encoded = base64_encode(std::string(before) + c.text);
      EXPECT_EQ(scrub("payload " + encoded + " end").find(encoded), std::string::npos) << before << c.text;
    }
  }
}

std::vector<bool> split(std::vector<std::string_view> texts) {
  std::vector<bool> out;
  const bool any = split_secret(texts, out);
  EXPECT_EQ(any, std::find(out.begin(), out.end(), true) != out.end());
  return out;
}

TEST(Split, SecretsOverTwoTexts) {
  const auto none = std::vector<bool>{false, false};
  EXPECT_EQ(split({"password", "hunter2x"}), (std::vector<bool>{false, true}));
  EXPECT_EQ(split({"\"DB_PASSWORD\": ", "hunter2x"}), (std::vector<bool>{false, true}));
  EXPECT_EQ(split({"login with password=", "hunter2x"}), (std::vector<bool>{false, true}));
  EXPECT_EQ(split({"ghp_abcdefghijklmn", "opqrstuvwxyz0123456789"}), (std::vector<bool>{true, true}));
  EXPECT_EQ(split({"gh", "p_abcdefghijklmnopqrstuvwxyz0123456789"}), (std::vector<bool>{true, true}));
  EXPECT_EQ(split({"db pass", "word=hunter22"}), (std::vector<bool>{false, true}));
  EXPECT_EQ(split({"pass", "hunter22"}), (std::vector<bool>{false, true}));
  EXPECT_EQ(split({"x", "key AKIAIOSF", "ODNN7EXAMPLE"}), (std::vector<bool>{false, true, true}));
  EXPECT_EQ(split({"web", "ghp_abcdefghijklmn", "opqrstuvwxyz0123456789"}), (std::vector<bool>{false, true, true}));  // no letter before it in its own text
  EXPECT_EQ(split({"a", "web", "AKIAIOSF", "ODNN7EXAMPLE", "b"}), (std::vector<bool>{false, false, true, true, false}));
  EXPECT_EQ(split({"password", "expired"}), none);
  EXPECT_EQ(split({"--max-tokens", "4096"}), none);
  EXPECT_EQ(split({"--token", "4096"}), (std::vector<bool>{false, true}));
  EXPECT_EQ(split({"password", "[secret:7f3a91c2]"}), none);
  EXPECT_EQ(split({"token expired", "/sboms/:id"}), none);
  EXPECT_EQ(split({"evaluate", "policy.evaluate"}), none);
  EXPECT_EQ(split({"acme", "baseline@4f2a91c07d13"}), none);
  EXPECT_EQ(split({"", "x"}), none);
  EXPECT_TRUE(split({}).empty());
}

TEST(DeepDebug, LetsChosenKindsOfOneTenantThroughForAWhile) {
  set_test_seconds(1'764'040'800);
  const auto at = [](std::int64_t seconds) { return Timestamp::from_micros((1'764'040'800 + seconds) * 1'000'000); };
  const std::string text = "ann@example.org from 203.0.113.7 password=hunter22";
  const auto scrubbed = [&](std::string_view tenant) {
    std::string out;
    scrub_append(out, text, ScrubPolicy::for_tenant(tenant));
    return out;
  };
  EXPECT_TRUE(deep_debug().empty());
  set_deep_debug("acme", {PiiKind::kEmail}, at(3600));
  EXPECT_NE(scrubbed("acme").find("ann@example.org"), std::string::npos);
  EXPECT_EQ(scrubbed("acme").find("203.0.113.7"), std::string::npos);
  EXPECT_EQ(scrubbed("acme").find("hunter22"), std::string::npos);
  EXPECT_EQ(scrubbed("globex").find("ann@example.org"), std::string::npos);
  EXPECT_EQ(scrubbed("").find("ann@example.org"), std::string::npos);
  set_deep_debug("globex", {PiiKind::kIp}, at(3600 * 48));  // cut to a day
  ASSERT_EQ(deep_debug().size(), 2u);
  EXPECT_EQ(deep_debug()[1].until, at(86'400));
  set_test_seconds(1'764'040'800 + 3600);
  EXPECT_EQ(scrubbed("acme").find("ann@example.org"), std::string::npos);
  EXPECT_EQ(deep_debug().size(), 1u);
  set_deep_debug("globex", {}, at(9999));
  EXPECT_TRUE(deep_debug().empty());
  EXPECT_EQ(scrubbed("globex").find("203.0.113.7"), std::string::npos);
  set_test_seconds(0);
}

TEST(ScrubJson, MembersWithASecretsNameAreMaskedWhole) {
  json::Value value = json::Value::object({{"password", "abc def"}, {"note", "mail ann@example.org"}, {"count", 3}, {"deep", json::Value::object({{"api_key", "12345678"}})}});
  scrub_json(value);
  const std::string text = json::dump(value);
  for (const char* gone : {"abc def", "ann@", "12345678"}) EXPECT_EQ(text.find(gone), std::string::npos) << text;
  EXPECT_NE(text.find("\"count\":3"), std::string::npos);
}

std::string scrubbed_json(std::string_view text) {
  auto value = json::parse(text);
  EXPECT_TRUE(value) << text;
  scrub_json(*value);
  const std::string once = json::dump(*value);
  scrub_json(*value);
  EXPECT_EQ(json::dump(*value), once) << "twice is once";
  return once;
}

// Whatever a secret's name holds: lists, objects, numbers; and what stands beside it in a list, as in the arguments of a program.
TEST(ScrubJson, NothingBelowASecretsNameIsShown) {
  for (const char* text : {R"({"password":["hunter22xyz"]})", R"({"password":{"value":"hunter22xyz"}})", R"({"password":[["x",{"y":"hunter22xyz"}]]})", R"({"db.password":{"old":"hunter22xyz","length":3}})",
                           R"(["mysql","--password","hunter22xyz"])", R"({"args":["mysql","--password","hunter22xyz","-h","db"]})", R"([{"name":"password","value":"hunter22xyz"}])", R"({"login password":"hunter22xyz"})",
                           R"(["sign in: password=","hunter22xyz"])", R"({"a":["x","hunter22xyz ghp_abcdefghijklmn","opqrstuvwxyz0123456789"]})", R"({"part1":"hunter22xyz ghp_abcdefghijklmn","part2":"opqrstuvwxyz0123456789"})"}) {
    EXPECT_EQ(scrubbed_json(text).find("hunter22xyz"), std::string::npos) << text << " -> " << scrubbed_json(text);
  }
  for (const char* text : {R"({"client_secret":12345678901})", R"({"client_secret":[12345678901]})", R"(["--token",12345678901])", R"({"secret":12345678901.5})"}) {
    EXPECT_EQ(scrubbed_json(text).find("12345678901"), std::string::npos) << text << " -> " << scrubbed_json(text);
  }
  for (const char* text : {R"({"authorization":"0123456789abcdef0"})", R"({"session_id":"q7Rk2ZpV9tLwX4mB8sYc"})", R"({"key":["q7Rk2ZpV9tLwX4mB8sYc"]})"}) {
    EXPECT_TRUE(scrubbed_json(text).find("q7Rk2ZpV") == std::string::npos && scrubbed_json(text).find("89abcdef") == std::string::npos) << text << " -> " << scrubbed_json(text);
  }
  const std::string kept = scrubbed_json(R"(["mysql","--password","hunter22xyz","-h","db"])");
  for (const char* word : {"mysql", "--password", "[secret:", "\"-h\"", "\"db\""}) EXPECT_NE(kept.find(word), std::string::npos) << kept;
}

TEST(ScrubJson, InnocentValuesOfASecretsNameStay) {
  for (const char* text : {R"({"tokens":12})", R"({"max_tokens":4096})", R"({"token":null,"password":true,"secret":false})", R"({"pass":3,"fail":0})", R"({"tokens":{"input":12,"output":40}})", R"({"password":[],"secret":{}})",
                           R"({"password":"expired"})", R"({"password":["true",null]})", R"({"password":{"set":true}})", R"({"token_type":["opaque"],"tokens_total":123456})", R"(["token","expired"])", R"(["a","b",1,true,null])",
                           R"({"secret":"[secret:7f3a91c2]"})", R"({"key":"services/authority/handlers","session":"0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012"})", R"({"status":"ok","service":"stella-web","duration_ms":12345678})"}) {
    EXPECT_EQ(scrubbed_json(text), text);
  }
}

TEST(Totals, CountWhatWasMasked) {
  const ScrubTotals before = scrub_totals();
  scrub("password=hunter22 ann@example.org bob@example.org");
  EXPECT_EQ(scrub_totals().secrets, before.secrets + 1);
  EXPECT_EQ(scrub_totals().pii, before.pii + 2);
}

}  // namespace
}  // namespace stella::telemetry
