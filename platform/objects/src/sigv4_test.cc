// The signer against every published vector of AWS Signature Version 4: canonical request, string to sign, signature and signed request.
#include "sigv4.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/crypto/digest.h"
#include "stella/testing/shared_data.h"

namespace stella::objects::sigv4 {
namespace {

std::string text_of(const std::string& path) {
  std::string text = testing::slurp(path);
  while (!text.empty() && text.back() == '\n') text.pop_back();
  return text;
}

// One vector: its request, and how the signed one must be written.
struct Vector {
  Request request;
  std::string target;  // as it stands in the request line
  std::string head;    // the header lines of the request, as they stand there
  std::string body;
  Credentials credentials;
  Scope scope;
  Timestamp now;
  std::chrono::seconds life{0};
  bool sign_body = false;
};

void parse_target(Vector& v) {
  const auto mark = v.target.find('?');
  v.request.path = percent_decode(v.target.substr(0, mark)).value();
  if (mark == std::string::npos) return;
  std::string rest = v.target.substr(mark + 1);
  while (!rest.empty()) {
    const auto end = std::min(rest.find('&'), rest.size());
    const std::string pair = rest.substr(0, end);
    rest.erase(0, end + 1);
    const auto equals = std::min(pair.find('='), pair.size());
    v.request.query.emplace_back(percent_decode(pair.substr(0, equals)).value(), percent_decode(pair.substr(std::min(equals + 1, pair.size()))).value());
  }
}

void parse_request(Vector& v, const std::string& text) {
  const auto line_end = text.find('\n');
  const auto first = text.find(' ');
  const auto last = text.rfind(' ', line_end);
  v.request.method = text.substr(0, first);
  v.target = text.substr(first + 1, last - first - 1);
  parse_target(v);
  const auto blank = text.find("\n\n");
  v.head = text.substr(line_end + 1, blank == std::string::npos ? std::string::npos : blank - line_end - 1);
  if (blank != std::string::npos) v.body = text.substr(blank + 2);
  std::string rest = v.head;
  while (!rest.empty()) {
    const auto end = std::min(rest.find('\n'), rest.size());
    const std::string line = rest.substr(0, end);
    rest.erase(0, end + 1);
    if (line[0] == ' ') {
      v.request.headers.back().second += "\n" + line;
      continue;
    }
    const auto colon = line.find(':');
    v.request.headers.emplace_back(line.substr(0, colon), line.substr(colon + 1));
  }
}

Vector read_vector(const std::string& dir) {
  Vector v;
  const auto context = json::parse(testing::slurp(dir + "/context.json")).value();
  const auto& credentials = *context.find("credentials");
  v.credentials.access_key_id = credentials.str("access_key_id");
  v.credentials.secret_access_key = Secret<std::string>(std::string(credentials.str("secret_access_key")));
  v.credentials.session_token = Secret<std::string>(std::string(credentials.str("token")));
  v.scope.region = context.str("region");
  v.scope.service = context.str("service");
  v.now = Timestamp::parse(context.str("timestamp")).value();
  v.life = std::chrono::seconds(context.find("expiration_in_seconds")->as_int());
  v.request.normalize_path = context.find("normalize")->as_bool();
  v.sign_body = context.find("sign_body")->as_bool();
  parse_request(v, text_of(dir + "/request.txt"));
  v.request.payload_hash = crypto::sha256(v.body).hex();
  return v;
}

TEST(SigV4, EveryPublishedVectorByHeader) {
  const auto root = STELLA_SHARED_OR_SKIP("vectors/aws-sigv4");
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    const std::string dir = entry.path();
    SCOPED_TRACE(dir);
    ++count;
    Vector v = read_vector(dir);
    if (v.sign_body) v.request.headers.emplace_back("x-amz-content-sha256", v.request.payload_hash);
    const auto signature = sign(v.request, v.credentials, v.scope, v.now);
    ASSERT_TRUE(signature) << signature.error().describe();
    EXPECT_EQ(signature->canonical_request, text_of(dir + "/header-canonical-request.txt"));
    EXPECT_EQ(signature->string_to_sign, text_of(dir + "/header-string-to-sign.txt"));
    EXPECT_EQ(signature->signature, text_of(dir + "/header-signature.txt"));
    std::string sent = v.request.method + " " + v.target + " HTTP/1.1\n" + v.head;
    for (const auto& [name, value] : signature->added) {
      if (name == "Authorization" && v.sign_body) sent += "\nx-amz-content-sha256:" + v.request.payload_hash;
      sent += "\n" + name + ":" + value;
    }
    if (!v.body.empty()) sent += "\n\n" + v.body;
    EXPECT_EQ(sent, text_of(dir + "/header-signed-request.txt"));
  }
  EXPECT_GE(count, 19);
}

TEST(SigV4, EveryPublishedVectorAsUrl) {
  const auto root = STELLA_SHARED_OR_SKIP("vectors/aws-sigv4");
  int count = 0;
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    const std::string dir = entry.path();
    SCOPED_TRACE(dir);
    ++count;
    const Vector v = read_vector(dir);
    const auto signature = presign(v.request, v.credentials, v.scope, v.now, v.life);
    ASSERT_TRUE(signature) << signature.error().describe();
    EXPECT_EQ(signature->canonical_request, text_of(dir + "/query-canonical-request.txt"));
    EXPECT_EQ(signature->string_to_sign, text_of(dir + "/query-string-to-sign.txt"));
    EXPECT_EQ(signature->signature, text_of(dir + "/query-signature.txt"));
    std::string target = v.target;
    for (const auto& [name, value] : signature->added) target += (target.find('?') == std::string::npos ? "?" : "&") + name + "=" + percent_encode(value);
    std::string sent = v.request.method + " " + target + " HTTP/1.1\n" + v.head;
    if (!v.body.empty()) sent += "\n\n" + v.body;
    EXPECT_EQ(sent, text_of(dir + "/query-signed-request.txt"));
  }
  EXPECT_GE(count, 19);
}

Request plain() {
  Request request;
  request.headers = {{"Host", "s3.example.org"}};
  request.payload_hash = crypto::sha256("").hex();
  return request;
}
const Credentials kKey{"AKIDEXAMPLE", Secret<std::string>("secret"), {}};
const Timestamp kNow = Timestamp::from_micros(1'440'938'160'000'000);

TEST(SigV4, AnUnsignedPayloadNeedsTls) {
  auto request = plain();
  request.payload_hash = kUnsignedPayload;
  EXPECT_TRUE(sign(request, kKey, {"r"}, kNow));
  request.https = false;
  EXPECT_EQ(sign(request, kKey, {"r"}, kNow).error().code(), base_errors::kInvalid);
  EXPECT_EQ(presign(request, kKey, {"r"}, kNow, std::chrono::hours(1)).error().code(), base_errors::kInvalid);
}

TEST(SigV4, WhatCannotBeSignedIsRefused) {
  auto request = plain();
  EXPECT_EQ(sign(request, {}, {"r"}, kNow).error().field("field"), "credentials");
  request.payload_hash.clear();
  EXPECT_EQ(sign(request, kKey, {"r"}, kNow).error().field("field"), "payload_hash");
  request = plain();
  request.headers.clear();
  EXPECT_EQ(sign(request, kKey, {"r"}, kNow).error().field("field"), "headers");
  EXPECT_EQ(presign(plain(), kKey, {"r"}, kNow, std::chrono::hours(24 * 7 + 1)).error().field("field"), "life");
  EXPECT_EQ(presign(plain(), kKey, {"r"}, kNow, std::chrono::seconds(0)).error().field("field"), "life");
}

TEST(SigV4, ARepeatedHeaderIsOneLine) {
  auto request = plain();
  request.headers.emplace_back("My-Header", "b  ");
  request.headers.emplace_back("my-header", " a   c");
  EXPECT_NE(sign(request, kKey, {"r"}, kNow)->canonical_request.find("\nmy-header:b,a c\n"), std::string::npos);
}

TEST(SigV4, S3PathsAreEncodedOnceAndNeverNormalized) {
  EXPECT_EQ(encode_path("/bucket/a/../b c/%41/ü"), "/bucket/a/../b%20c/%2541/%C3%BC");
  EXPECT_EQ(encode_path(""), "/");
  EXPECT_EQ(encode_path("//a//"), "//a//");
  EXPECT_EQ(encode_query({{"b", ""}, {"a", "x/y"}, {"a", "x"}, {"a-", "z"}}), "a=x&a=x%2Fy&a-=z&b=");
}

}  // namespace
}  // namespace stella::objects::sigv4
