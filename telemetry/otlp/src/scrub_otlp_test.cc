// Foreign telemetry: what is secret goes, wherever it stands; what is not stays as it was.
#include <gtest/gtest.h>

#include <random>

#include "sample_request.h"
#include "stella/telemetry/otlp_rows.h"
#include "stella/telemetry/otlp_scrub.h"

namespace stella::telemetry {
namespace {

constexpr Signal kSignals[] = {Signal::kTraces, Signal::kMetrics, Signal::kLogs};

std::string sample(Signal signal, std::uint64_t seed, std::function<std::string()> text, std::function<std::string()> key) {
  std::mt19937_64 random(seed);
  return sample_message(otlp_schema::request_of(signal), {.number = [&](std::uint64_t n) { return random() % n; }, .text = std::move(text), .key = std::move(key)});
}

TEST(ScrubOtlp, CleanRequestsKeepTheirMeaningByteByByte) {
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    for (const Signal signal : kSignals) {
      int i = 0;
      const std::string request = sample(
          signal, seed, [&] { return "text number " + std::to_string(++i); }, [&] { return "app.key" + std::to_string(++i); });
      const auto scrubbed = scrub_otlp(signal, request);
      ASSERT_TRUE(scrubbed) << scrubbed.error().describe();
      EXPECT_EQ(*scrubbed, request) << to_string(signal) << " seed " << seed;
    }
  }
}

TEST(ScrubOtlp, SecretsGoFromEveryField) {
  constexpr std::string_view kSecret = "ghp_0123456789abcdefghijABCDEFGHIJ012345";
  for (std::uint64_t seed = 1; seed <= 30; ++seed) {
    for (const Signal signal : kSignals) {
      const auto text = [&] { return "see " + std::string(kSecret) + " here"; };
      const std::string request = sample(signal, seed, text, text);
      ASSERT_NE(request.find(kSecret), std::string::npos);
      const auto scrubbed = scrub_otlp(signal, request);
      ASSERT_TRUE(scrubbed) << scrubbed.error().describe();
      EXPECT_EQ(scrubbed->find(kSecret), std::string::npos) << to_string(signal) << " seed " << seed;
      EXPECT_NE(scrubbed->find(" here"), std::string::npos);
      // As many rows of everything as before.
      if (signal == Signal::kTraces) {
        EXPECT_EQ(decode_traces(*scrubbed)->attributes.size(), decode_traces(request)->attributes.size());
        EXPECT_EQ(decode_traces(*scrubbed)->links.size(), decode_traces(request)->links.size());
      } else if (signal == Signal::kMetrics) {
        EXPECT_EQ(decode_metrics(*scrubbed)->exemplars.size(), decode_metrics(request)->exemplars.size());
        EXPECT_EQ(decode_metrics(*scrubbed)->counts, decode_metrics(request)->counts);
        EXPECT_EQ(decode_metrics(*scrubbed)->bounds, decode_metrics(request)->bounds);
      } else {
        EXPECT_EQ(decode_logs(*scrubbed)->nested.size(), decode_logs(request)->nested.size());
      }
    }
  }
}

TEST(ScrubOtlp, SecretLikeKeysMaskWhateverTheyHold) {
  for (std::uint64_t seed = 1; seed <= 60; ++seed) {
    const std::string request = sample(Signal::kTraces, seed, [] { return std::string("plain words"); }, [] { return std::string("http.request.header.authorization"); });
    const auto scrubbed = scrub_otlp(Signal::kTraces, request);
    ASSERT_TRUE(scrubbed);
    const auto rows = decode_traces(*scrubbed);
    ASSERT_TRUE(rows);
    for (const Attribute& a : rows->attributes) {
      EXPECT_EQ(a.key, "http.request.header.authorization");
      if (a.value.kind() == AnyValue::Kind::kBool) continue;
      ASSERT_EQ(a.value.kind(), AnyValue::Kind::kString);
      EXPECT_TRUE(a.value.text().starts_with("[secret:")) << a.value.text();
    }
    EXPECT_TRUE(rows->nested.empty());
    EXPECT_EQ(*scrub_otlp(Signal::kTraces, *scrubbed), *scrubbed);  // twice is once
  }
}

TEST(ScrubOtlp, KeysThatAreSecret) {
  for (const char* key : {"password", "db.password", "DB_PASSWORD", "dbPassword", "http.request.header.authorization", "http.request.header.set-cookie", "cookie", "x-api-key", "apiKey", "api_key",
                          "aws.secret_access_key", "session_token", "accessToken", "client_secret", "http.request.header.x-auth-token", "cookies.0", "private_key", "password.old", "PWD", "db.Pass", "passphrase", "user.jwt", "bearer", "aws.Credentials", "signing-keys", "masterKey", "pwd.1"})
    EXPECT_TRUE(is_secret_key(key)) << key;
  for (const char* key : {"token.type", "tokens.total", "gen_ai.usage.input_tokens", "secret_name", "http.route", "key", "primary_key", "cache.key", "session.id", "author", "authenticated", "monkey", "",
                          "...", "passport", "service.name", "compass"})
    EXPECT_FALSE(is_secret_key(key)) << key;
}

TEST(ScrubOtlp, SigningParametersOfUrls) {
  EXPECT_EQ(redact_query("https://h/x?sig=abc&a=b"), "https://h/x?sig=REDACTED&a=b");
  EXPECT_EQ(redact_query("a=b&X-Amz-Signature=abc#f"), "a=b&X-Amz-Signature=REDACTED#f");
  EXPECT_EQ(redact_query("Signature=1&AWSAccessKeyId=2&X-Goog-Signature=3&x-amz-security-token=4&X-Amz-Credential=5"),
            "Signature=REDACTED&AWSAccessKeyId=REDACTED&X-Goog-Signature=REDACTED&x-amz-security-token=REDACTED&X-Amz-Credential=REDACTED");
  EXPECT_EQ(redact_query("design=1&sig_count=2&q=sig"), "design=1&sig_count=2&q=sig");
  EXPECT_EQ(redact_query("sig="), "sig=REDACTED");
  EXPECT_EQ(redact_query("sig=sig=1&sig=2"), "sig=REDACTED&sig=REDACTED");
}

// Attributes of the first resource.
std::vector<std::pair<std::string, std::string>> resource_of(const std::string& request) {
  std::vector<std::pair<std::string, std::string>> out;
  const auto rows = decode_logs(request);
  if (!rows) return out;
  for (const Attribute& a : slice(rows->attributes, rows->resources.at(0).attributes)) out.emplace_back(a.key, a.value.text());
  return out;
}

TEST(ScrubOtlp, TheTenantIsTheOneOfTheToken) {
  const auto json = [](std::string_view resource) { return *otlp_from_json(Signal::kLogs, R"({"resourceLogs":[{)" + std::string(resource) + R"("scopeLogs":[{"logRecords":[{}]}]}]})"); };
  const std::string lies = json(R"("resource":{"attributes":[{"key":"tenant_id","value":{"stringValue":"other"}},{"key":"service.name","value":{"stringValue":"s"}},{"key":"tenant_id","value":{"intValue":1}}]},)");
  const std::vector<std::pair<std::string, std::string>> forced{{"service.name", "s"}, {"tenant_id", "acme"}};
  EXPECT_EQ(resource_of(*scrub_otlp(Signal::kLogs, lies, {.tenant = "acme"})), forced);
  EXPECT_EQ(resource_of(*scrub_otlp(Signal::kLogs, lies)).size(), 3u);
  // None at all, and two that are one.
  const std::vector<std::pair<std::string, std::string>> only{{"tenant_id", "acme"}};
  EXPECT_EQ(resource_of(*scrub_otlp(Signal::kLogs, json(""), {.tenant = "acme"})), only);
  std::string twice = json(R"("resource":{"attributes":[{"key":"tenant_id","value":{"stringValue":"other"}}]},)");
  const std::string inner = twice.substr(2);
  const std::string resource = inner.substr(0, 2 + static_cast<unsigned char>(inner[1]));
  twice = std::string("\x0a") + static_cast<char>(inner.size() + resource.size()) + inner + resource;
  ASSERT_EQ(resource_of(twice).size(), 2u);
  EXPECT_EQ(resource_of(*scrub_otlp(Signal::kLogs, twice, {.tenant = "acme"})), only);
}

std::string attribute(std::string_view key, std::string_view value) { return R"({"key":")" + std::string(key) + R"(","value":{"stringValue":")" + std::string(value) + R"("}})"; }

// A secret over two values of one list, as the specification of the scrubber has it: in no kind of list does it pass.
TEST(ScrubOtlp, SecretsOverTwoValuesGo) {
  const std::string lists[] = {
      R"({"key":"process.command_args","value":{"arrayValue":{"values":[{"stringValue":"mysql"},{"stringValue":"--password"},{"stringValue":"hunter22xyz"}]}}})",
      attribute("argv.0", "--password") + "," + attribute("argv.1", "hunter22xyz"),
      attribute("argv.0", "--password") + R"(,{"key":"n","value":{"intValue":1}},)" + attribute("argv.1", "hunter22xyz"),
      attribute("a", "hunter22xyz ghp_abcdefghijklmn") + "," + attribute("b", "opqrstuvwxyz0123456789"),
      R"({"key":"m","value":{"kvlistValue":{"values":[)" + attribute("name", "password") + "," + attribute("value", "hunter22xyz") + "]}}}",
  };
  const auto in = [](std::string_view place, const std::string& list) {
    return R"({"resourceLogs":[{"resource":{"attributes":[)" + (place == "resource" ? list : "") + R"(]},"scopeLogs":[{"scope":{"attributes":[)" + (place == "scope" ? list : "") + R"(]},"logRecords":[{"attributes":[)" + (place == "record" ? list : "") + "]}]}]}]}";
  };
  for (const std::string& list : lists) {
    for (const char* place : {"resource", "scope", "record"}) {
      for (const char* tenant : {"", "acme"}) {
        const auto request = otlp_from_json(Signal::kLogs, in(place, list));
        ASSERT_TRUE(request) << list;
        ASSERT_NE(request->find("hunter22xyz"), std::string::npos);
        const auto scrubbed = scrub_otlp(Signal::kLogs, *request, {.tenant = tenant});
        ASSERT_TRUE(scrubbed);
        EXPECT_EQ(scrubbed->find("hunter22xyz"), std::string::npos) << place << ": " << list;
        EXPECT_EQ(scrubbed->find("opqrstuvwxyz0123456789"), std::string::npos) << place << ": " << list;
        EXPECT_NE(scrubbed->find("[secret:"), std::string::npos) << place << ": " << list;
        EXPECT_EQ(*scrub_otlp(Signal::kLogs, *scrubbed, {.tenant = tenant}), *scrubbed) << "twice is once";
        EXPECT_TRUE(decode_logs(*scrubbed));
      }
    }
  }
}

TEST(ScrubOtlp, NumberBehindAnOptionGoes) {
  const auto of = [](const std::string& values) {
    return scrub_otlp(Signal::kLogs, *otlp_from_json(Signal::kLogs, R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[{"key":"process.command_args","value":{"arrayValue":{"values":[)" + values + "]}}}]}]}]}]}")).value();
  };
  const std::string kept = R"({"stringValue":"--max-tokens"},{"intValue":"4096"},{"stringValue":"--port"},{"intValue":"8443"},{"stringValue":"password"},{"intValue":"1234567"})";
  EXPECT_EQ(of(kept), otlp_from_json(Signal::kLogs, R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[{"key":"process.command_args","value":{"arrayValue":{"values":[)" + kept + "]}}}]}]}]}]}").value());
  const std::string masked = of(R"({"stringValue":"mysql"},{"stringValue":"--password"},{"intValue":"4711471147"},{"intValue":"8443"})");
  EXPECT_NE(masked.find("[secret:"), std::string::npos);
  EXPECT_EQ(masked.find("[secret:"), masked.rfind("[secret:"));
  EXPECT_EQ(*scrub_otlp(Signal::kLogs, masked), masked);
}

TEST(ScrubOtlp, NeighboursOfASecretStay) {
  // Whole tokens are masked alone; so are values of secret keys; what follows them is nobody's part.
  const std::string list = attribute("a", "ghp_abcdefghijklmnopqrstuvwxyz0123456789") + "," + attribute("b", "production") + "," + attribute("password", "ghp_abcdefghijklmnopqrstuvwxyz0123456789") + "," + attribute("c", "frankfurt") + "," +
                           attribute("d", "password") + "," + attribute("e", "expired") + "," + attribute("f", "GET");
  const auto scrubbed = scrub_otlp(Signal::kLogs, *otlp_from_json(Signal::kLogs, R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"attributes":[)" + list + "]}]}]}]}"));
  ASSERT_TRUE(scrubbed);
  for (const char* kept : {"production", "frankfurt", "expired", "GET"}) EXPECT_NE(scrubbed->find(kept), std::string::npos) << kept;
  EXPECT_EQ(scrubbed->find("ghp_"), std::string::npos);
}

TEST(ScrubOtlp, WhatCouldHoldTextAndIsNotKnownGoes) {
  std::string request;
  {
    protozero::pbf_writer out(request);
    out.add_string(1000, "an unknown field");
    out.add_uint64(1001, 7);
    protozero::pbf_writer layer(out, 1);
    protozero::pbf_writer scope(layer, 2);
    protozero::pbf_writer span(scope, 2);
    span.add_bytes(1, "an id that is a text");
    span.add_bytes(2, "12345678");
    span.add_string(7, "a text where a time should be");
    span.add_string(5, "name \xff");
  }
  const auto scrubbed = scrub_otlp(Signal::kTraces, request);
  ASSERT_TRUE(scrubbed);
  for (const char* gone : {"unknown", "id that", "should be", "\xff"}) EXPECT_EQ(scrubbed->find(gone), std::string::npos) << gone;
  const auto rows = decode_traces(*scrubbed);
  ASSERT_TRUE(rows);
  EXPECT_EQ(rows->spans[0].trace_id, "");
  EXPECT_EQ(rows->spans[0].span_id, "12345678");
  EXPECT_EQ(rows->spans[0].name, "name \xef\xbf\xbd");
}

TEST(ScrubOtlp, GarbageAndDepth) {
  EXPECT_EQ(scrub_otlp(Signal::kLogs, "<html>").error().code(), base_errors::kMalformed);
  EXPECT_EQ(*scrub_otlp(Signal::kLogs, ""), "");
  std::string body = R"({"stringValue":"x"})";
  for (int i = 0; i < 5; ++i) body = R"({"arrayValue":{"values":[)" + body + "]}}";
  const std::string request = *otlp_from_json(Signal::kLogs, R"({"resourceLogs":[{"scopeLogs":[{"logRecords":[{"body":)" + body + "}]}]}]}");
  EXPECT_TRUE(scrub_otlp(Signal::kLogs, request, {.limits = {.depth = 5}}));
  const auto deep = scrub_otlp(Signal::kLogs, request, {.limits = {.depth = 4}});
  ASSERT_FALSE(deep);
  EXPECT_EQ(deep.error().code(), base_errors::kLimit);
}

}  // namespace
}  // namespace stella::telemetry
