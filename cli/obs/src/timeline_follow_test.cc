// The event stream: any cut of the bytes gives the same events, repeats give none, the end is seen, and a broken connection goes on where it was.
#include "timeline_follow.h"

#include <gtest/gtest.h>

#include <mutex>

#include "stella/contracts/errors.h"
#include "stella/platform/http_server.h"

namespace stella::cli {
namespace {

std::string message(int index) { return "id: " + std::to_string(index) + "\nevent: sbom.received\ndata: {\"log_index\":" + std::to_string(index) + "}\n\n"; }

std::vector<std::int64_t> read(EventReader& reader, std::string_view text, std::size_t piece, bool* open = nullptr) {
  std::vector<std::int64_t> out;
  while (!text.empty()) {
    const bool more = reader.take(text.substr(0, piece), [&](const json::Value& e) { out.push_back(e.find("log_index")->as_int()); });
    if (open != nullptr) *open = more;
    text.remove_prefix(std::min(piece, text.size()));
  }
  return out;
}

TEST(EventReader, AnyCutGivesTheSameEvents) {
  const std::string text = ": following from 2\nid: 1\n\n" + message(4) + ": alive\n\n" + message(5) + "id: 8\n: alive\n\n" + message(9);
  for (std::size_t piece = 1; piece <= text.size(); ++piece) {
    EventReader reader;
    EXPECT_EQ(read(reader, text, piece), (std::vector<std::int64_t>{4, 5, 9})) << piece;
    EXPECT_EQ(reader.next(), 10);
  }
}

TEST(EventReader, ABrokenConnectionRepeatsAndLosesNothing) {
  const std::string first = ": following from 0\n\n" + message(0) + message(1);
  for (std::size_t cut = 0; cut <= first.size(); ++cut) {
    EventReader reader;
    auto got = read(reader, first.substr(0, cut), 7);
    reader.begin();
    for (const auto index : read(reader, ": following from 0\n\n" + message(0) + message(1) + message(2), 7)) got.push_back(index);
    EXPECT_EQ(got, (std::vector<std::int64_t>{0, 1, 2})) << cut;
  }
}

TEST(EventReader, TheEndIsSeen) {
  EventReader reader;
  bool open = true;
  EXPECT_EQ(read(reader, ": following from 0\n\n" + message(0), 500, &open).size(), 1u);
  EXPECT_TRUE(open);
  EXPECT_TRUE(read(reader, "event: end\ndata: {\"reason\":\"x\"}\n\n", 500, &open).empty());
  EXPECT_FALSE(open);
}

TEST(EventReader, KnowsWhereToGoOn) {
  EventReader reader;
  const auto none = [](const json::Value&) { FAIL(); };
  EXPECT_FALSE(reader.next().has_value());
  // Before the first event: an event that comes while nobody listens must not be lost, also in a log that is empty.
  EXPECT_TRUE(reader.take(": following from 0\n\n", none));
  EXPECT_EQ(reader.next(), 0);
  // What the filter left out is not asked for again.
  EXPECT_TRUE(reader.take("id: 41\n: alive\n\n", none));
  EXPECT_EQ(reader.next(), 42);
  EXPECT_TRUE(reader.take("id: 7\n: alive\n\n", none));
  EXPECT_EQ(reader.next(), 42);
}

class Following : public ::testing::Test {
 protected:
  struct Answer {
    int status = 200;
    std::string text;  // of a stream, or the problem's code
  };
  // Answers one after the other; the last one says that the token is over.
  void serve(std::vector<Answer> answers) {
    auto server = http::Server::start({.workers = 2}, [this, answers](http::Request& request) {
      const std::lock_guard lock(mutex_);
      asked_.push_back(request.target);
      return made(asked_.size() <= answers.size() ? answers[asked_.size() - 1] : Answer{200, "event: end\ndata: {}\n\n"});
    }, nullptr, [](int status, Literal, const http::Request*) { return http::Response::json(status, "{}"); });
    ASSERT_TRUE(server) << server.error().describe();
    server_ = std::move(*server);
  }
  static http::Response made(const Answer& answer) {
    http::Response r = http::Response::json(answer.status, answer.status == 200 ? answer.text : R"({"code":")" + answer.text + R"(","detail":"not now","trace_id":"x"})");
    r.content_type = answer.status == 200 ? "text/event-stream" : "application/problem+json";
    return r;
  }
  static Answer stream(std::string text) { return {200, std::move(text)}; }
  static Answer problem(int status, std::string code) { return {status, std::move(code)}; }
  Error run() {
    ApiOptions options;
    options.url = "http://127.0.0.1:" + std::to_string(server_->port());
    options.trace = TraceId::generate();
    options.sleep = [this](std::chrono::milliseconds time) { slept_ += time; };
    Api api(std::move(options));
    return follow(api, {{"kind", "sbom.*"}}, [this](const json::Value& e) { got_.push_back(e.find("log_index")->as_int()); });
  }
  std::mutex mutex_;
  std::vector<std::string> asked_;
  std::vector<std::int64_t> got_;
  std::chrono::milliseconds slept_{0};
  std::unique_ptr<http::Server> server_;
};

TEST_F(Following, GoesOnWhereItWasHoweverLongTheServerIsAway) {
  std::vector<Answer> answers = {stream(": following from 3\nid: 2\n\n"), problem(503, "unavailable"), stream(": following from 3\nid: 2\n\n" + message(3) + "id: 4\nevent: sbom.rec")};
  for (int i = 0; i < 20; ++i) answers.push_back(problem(i % 2 == 0 ? 503 : 429, "unavailable"));
  answers.push_back(stream(": following from 4\nid: 3\n\n" + message(4) + "id: 9\n: alive\n\n"));
  serve(answers);
  EXPECT_EQ(run().code(), contracts::errors::kUnauthenticated);
  EXPECT_EQ(got_, (std::vector<std::int64_t>{3, 4}));
  ASSERT_EQ(asked_.size(), answers.size() + 1);
  for (std::size_t i = 0; i < asked_.size(); ++i) {
    const std::string from = i == 0 ? "" : i <= 2 ? "&from_index=3" : i < answers.size() ? "&from_index=4" : "&from_index=10";
    EXPECT_EQ(asked_[i], "/timeline/stream?kind=sbom.%2A" + from) << i;
  }
  EXPECT_GT(slept_, ApiOptions().retry_budget);
}

TEST_F(Following, WhatIsRefusedIsSaid) {
  serve({stream(": following from 9\n\n"), problem(422, "invalid")});
  EXPECT_EQ(run().code(), base_errors::kInvalid);
  EXPECT_EQ(asked_.size(), 2u);
}

TEST_F(Following, AServerThatWasNeverThereIsNotWaitedForForever) {
  serve(std::vector<Answer>(1000, problem(503, "unavailable")));
  EXPECT_EQ(run().code(), contracts::errors::kUnavailable);
  EXPECT_LE(slept_, ApiOptions().retry_budget);
  EXPECT_TRUE(got_.empty());
}

}  // namespace
}  // namespace stella::cli
