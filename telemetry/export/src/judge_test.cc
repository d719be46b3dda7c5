// Which answers mean taken, later and never.
#include <gtest/gtest.h>

#include "client.h"
#include "stella/telemetry/otlp_response.h"

namespace stella::telemetry {
namespace {

using Kind = Answer::Kind;
using std::chrono::milliseconds;
constexpr std::string_view kProto = "application/x-protobuf";
constexpr std::int64_t kNow = 1'764'054'000;  // Tue, 25 Nov 2025 07:00:00 GMT

TEST(Judge, OnlyFourHttpCodesAreRetried) {
  for (int status = 201; status < 600; ++status) {
    const bool later = status == 429 || status == 502 || status == 503 || status == 504;
    EXPECT_EQ(judge_http(status, "", kProto, "", false, kNow).kind, later ? Kind::kRetry : Kind::kRefused) << status;
  }
  EXPECT_EQ(judge_http(401, "", kProto, "", true, kNow).kind, Kind::kRetry);
  EXPECT_EQ(judge_http(403, "", kProto, "", true, kNow).kind, Kind::kRetry);
  EXPECT_EQ(judge_http(400, "", kProto, "", true, kNow).kind, Kind::kRefused);
}

TEST(Judge, RetryAfterIsSecondsOrADate) {
  EXPECT_EQ(judge_http(503, "7", kProto, "", false, kNow).retry_after, milliseconds(7'000));
  EXPECT_EQ(judge_http(429, "Tue, 25 Nov 2025 07:01:30 GMT", kProto, "", false, kNow).retry_after, milliseconds(90'000));
  EXPECT_EQ(judge_http(429, "Tue, 25 Nov 2025 06:00:00 GMT", kProto, "", false, kNow).retry_after, milliseconds(0));
  EXPECT_EQ(judge_http(503, "-5", kProto, "", false, kNow).retry_after, milliseconds(0));
  EXPECT_EQ(judge_http(503, "soon", kProto, "", false, kNow).retry_after, std::nullopt);
  EXPECT_EQ(judge_http(400, "7", kProto, "", false, kNow).retry_after, std::nullopt);
}

TEST(Judge, APartialSuccessIsTakenAndNeverAskedAgain) {
  const Answer answer = judge_http(200, "", kProto, encode_response({3, "three were odd"}), false, kNow);
  EXPECT_EQ(answer.kind, Kind::kTaken);
  EXPECT_EQ(answer.rejected, 3u);
  EXPECT_EQ(judge_grpc(0, encode_response({2, ""}), "", false).rejected, 2u);
  EXPECT_EQ(judge_http(200, "", kProto, "", false, kNow).kind, Kind::kTaken);
}

TEST(Judge, WhatIsNoOtlpAnswerIsNotBelieved) {
  EXPECT_EQ(judge_http(200, "", "text/html", "<html>", false, kNow).kind, Kind::kRetry);
  EXPECT_EQ(judge_http(200, "", kProto, "\xff\xff garbage", false, kNow).kind, Kind::kRetry);
  EXPECT_EQ(judge_grpc(0, "\xff\xff garbage", "", false).kind, Kind::kRetry);
}

TEST(Judge, GrpcCodes) {
  const std::string delay = encode_status({8, "slow down", std::chrono::milliseconds(1'500)});
  for (int code = 1; code <= 16; ++code) {
    const bool later = code == 1 || code == 4 || code == 10 || code == 11 || code == 14 || code == 15;
    EXPECT_EQ(judge_grpc(code, "", "", false).kind, later ? Kind::kRetry : Kind::kRefused) << code;
  }
  EXPECT_EQ(judge_grpc(8, "", delay, false).kind, Kind::kRetry);
  EXPECT_EQ(judge_grpc(8, "", delay, false).retry_after, milliseconds(1'500));
  EXPECT_EQ(judge_grpc(16, "", "", true).kind, Kind::kRetry);
}

}  // namespace
}  // namespace stella::telemetry
