// Answers of a receiver: what is written is read; what others write is understood; garbage is refused.
#include "stella/telemetry/otlp_response.h"

#include <gtest/gtest.h>

namespace stella::telemetry {
namespace {

using namespace std::chrono_literals;

TEST(OtlpResponse, FullSuccessIsEmpty) {
  EXPECT_EQ(encode_response({}), "");
  EXPECT_EQ(encode_response_json(Signal::kLogs, {}), "{}");
  const auto decoded = decode_response("");
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->rejected, 0);
  EXPECT_EQ(decoded->error_message, "");
}

TEST(OtlpResponse, PartialSuccessInBothEncodings) {
  const ExportResponse partial{.rejected = 300, .error_message = "tenant differs"};
  const std::string wire = encode_response(partial);
  EXPECT_EQ(wire, std::string("\x0a\x13\x08\xac\x02\x12\x0etenant differs", 21));
  auto decoded = decode_response(wire);
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->rejected, 300);
  EXPECT_EQ(decoded->error_message, "tenant differs");
  EXPECT_EQ(encode_response_json(Signal::kTraces, partial), R"({"partialSuccess":{"rejectedSpans":"300","errorMessage":"tenant differs"}})");
  decoded = decode_response_json(Signal::kMetrics, R"({"partialSuccess":{"rejectedDataPoints":7,"errorMessage":"x","new":{}}})");
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->rejected, 7);
}

TEST(OtlpResponse, WhatIsNoMessageIsRefused) {
  for (const std::string_view bytes : {"\x0a\x7f", "<html>502</html>", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", "\x0a"}) {
    const auto decoded = decode_response(bytes);
    ASSERT_FALSE(decoded) << bytes;
    EXPECT_EQ(decoded.error().code(), base_errors::kMalformed);
  }
  EXPECT_FALSE(decode_response_json(Signal::kLogs, "[]"));
  EXPECT_FALSE(decode_status("{\"code\":3}"));
  EXPECT_FALSE(decode_status_json("nonsense"));
}

TEST(RpcStatus, CarriesRetryInfo) {
  const RpcStatus status{.code = 14, .message = "overloaded", .retry_delay = 2500ms};
  auto decoded = decode_status(encode_status(status));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(decoded->code, 14);
  EXPECT_EQ(decoded->message, "overloaded");
  ASSERT_TRUE(decoded->retry_delay);
  EXPECT_EQ(*decoded->retry_delay, 2500ms);
  EXPECT_EQ(encode_status_json(status),
            R"({"code":14,"message":"overloaded","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","retryDelay":"2.500000000s"}]})");
  decoded = decode_status_json(encode_status_json(status));
  ASSERT_TRUE(decoded);
  EXPECT_EQ(*decoded->retry_delay, 2500ms);
  decoded = decode_status_json(R"({"code":8,"details":[{"@type":"type.googleapis.com/google.rpc.ErrorInfo"},{"@type":"x/google.rpc.RetryInfo","retryDelay":"-1s"}]})");
  ASSERT_TRUE(decoded);
  EXPECT_FALSE(decoded->retry_delay);
}

TEST(RpcStatus, HostileDelaysAreBounded) {
  const auto decoded = decode_status(encode_status({.code = 14, .message = "", .retry_delay = std::chrono::hours(24 * 365)}));
  ASSERT_TRUE(decoded);
  EXPECT_LE(*decoded->retry_delay, std::chrono::hours(24) + 1s);
}

}  // namespace
}  // namespace stella::telemetry
