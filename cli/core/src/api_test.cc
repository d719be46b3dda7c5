// Calls against a real HTTP server of the test's own: retries, idempotency, pages, polling.
#include "stella/cli/api.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <mutex>

#include "stella/base/file.h"
#include "stella/cli/download.h"
#include "stella/cli/errors.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/platform/http_server.h"

namespace stella::cli {
namespace {

namespace errors = contracts::errors;
using std::chrono::milliseconds;

http::Response problem(int status, std::string code) {
  http::Response r = http::Response::json(status, R"({"code":")" + code + R"(","detail":"not now","part":"postgresql","trace_id":"x"})");
  r.content_type = "application/problem+json";
  return r;
}

class ApiTest : public ::testing::Test {
 protected:
  void start(std::function<http::Response(http::Request&, int)> answer) {
    auto server = http::Server::start({.workers = 2}, [this, answer](http::Request& request) {
      const std::lock_guard lock(mutex_);
      seen_.push_back({request.method, request.target, request.headers, request.body});
      return answer(request, static_cast<int>(seen_.size()));
    }, nullptr, [](int status, Literal, const http::Request*) { return http::Response::json(status, "{}"); });
    ASSERT_TRUE(server) << server.error().describe();
    server_ = std::move(*server);
  }
  ApiOptions options() {
    ApiOptions o;
    o.url = "http://127.0.0.1:" + std::to_string(server_->port());
    o.token = "the-token";
    o.tenant = "demo";
    o.trace = TraceId::generate();
    o.sleep = [this](milliseconds time) { slept_.push_back(time); };
    return o;
  }
  struct Seen {
    std::string method, target;
    http::Headers headers;
    std::string body;
    std::string header(std::string_view name) const {
      for (const auto& [n, v] : headers)
        if (n == name) return v;
      return "";
    }
  };
  std::mutex mutex_;
  std::vector<Seen> seen_;
  std::vector<milliseconds> slept_;
  std::unique_ptr<http::Server> server_;
};

TEST_F(ApiTest, CarriesTokenTenantAndOneTrace) {
  start([](http::Request&, int) { return http::Response::json(200, "{\"ok\":true}"); });
  Api api(options());
  ASSERT_TRUE(api.get("/sboms", {{"q", "a b&c"}}));
  ASSERT_TRUE(api.get("/me"));
  EXPECT_EQ(seen_[0].target, "/sboms?q=a%20b%26c");
  EXPECT_EQ(seen_[0].header("authorization"), "Bearer the-token");
  EXPECT_EQ(seen_[0].header("x-stella-tenant"), "demo");
  const std::string first = seen_[0].header("traceparent");
  const std::string second = seen_[1].header("traceparent");
  EXPECT_EQ(first.substr(0, 36), "00-" + api.options().trace.hex() + "-");
  EXPECT_EQ(first.substr(0, 36), second.substr(0, 36));
  EXPECT_NE(first, second);  // each request is a span of its own
}

TEST_F(ApiTest, AFileIsKeptOnlyWithItsDigest) {
  const std::string good = crypto::sha256("bytes").hex(), bad = crypto::sha256("others").hex();
  start([&](http::Request& request, int) {
    http::Response r = http::Response::json(200, "bytes");
    if (request.path == "/named") r.header("ETag", "\"" + good + "\"");
    if (request.path == "/misnamed") r.header("ETag", "\"" + bad + "\"");
    return r;
  });
  char name[] = "/tmp/stella-download-XXXXXX";
  const std::string dir = ::mkdtemp(name), path = dir + "/file";
  Api api(options());
  for (const auto& [from, digest] : std::vector<std::pair<std::string, std::string>>{{"/misnamed", ""}, {"/unnamed", ""}, {"/named", bad}}) {
    const auto refused = download(api, {.path = from}, path, digest);
    ASSERT_FALSE(refused) << from;
    EXPECT_EQ(refused.error().code(), errors::kIntegrity) << from;
    EXPECT_TRUE(std::filesystem::is_empty(dir)) << from;
  }
  for (const auto& [from, digest] : std::vector<std::pair<std::string, std::string>>{{"/named", ""}, {"/unnamed", good}, {"/misnamed", good}}) {
    const auto kept = download(api, {.path = from}, path, digest);
    ASSERT_TRUE(kept) << from << ": " << kept.error().describe();
    EXPECT_EQ(kept->sha256.hex(), good);
    EXPECT_EQ(read_file(path, 100).value(), "bytes");
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(dir), {}), 1) << from;
    std::filesystem::remove(path);
  }
  std::filesystem::remove_all(dir);
}

TEST_F(ApiTest, TriesAgainWithTheSameKeyAndHonoursRetryAfter) {
  start([](http::Request&, int n) {
    if (n < 3) {
      http::Response r = problem(503, "unavailable");
      r.header("Retry-After", "3");
      return r;
    }
    return http::Response::json(201, "{\"id\":1}");
  });
  Api api(options());
  const auto made = api.post("/evaluations", json::Value::object({{"sbom_id", "x"}}));
  ASSERT_TRUE(made) << made.error().describe();
  ASSERT_EQ(seen_.size(), 3u);
  EXPECT_FALSE(seen_[0].header("idempotency-key").empty());
  EXPECT_EQ(seen_[0].header("idempotency-key"), seen_[1].header("idempotency-key"));
  EXPECT_EQ(seen_[0].header("idempotency-key"), seen_[2].header("idempotency-key"));
  EXPECT_EQ(seen_[0].body, seen_[2].body);
  EXPECT_EQ(slept_, (std::vector<milliseconds>{milliseconds(3000), milliseconds(3000)}));
  ASSERT_TRUE(api.post("/evaluations", json::Value::object({})));
  EXPECT_NE(seen_[0].header("idempotency-key"), seen_[3].header("idempotency-key"));  // another call is another wish
}

TEST_F(ApiTest, WaitsForTheAnswerOfATryThatIsStillMade) {
  start([](http::Request&, int n) {
    if (n < 2) {
      http::Response r = problem(409, "conflict");
      r.header("Retry-After", "2");
      return r;
    }
    return n == 2 ? http::Response::json(201, "{\"id\":1}") : problem(409, "conflict");
  });
  Api api(options());
  ASSERT_TRUE(api.post("/principals", json::Value::object({})));
  ASSERT_EQ(seen_.size(), 2u);
  EXPECT_EQ(seen_[0].header("idempotency-key"), seen_[1].header("idempotency-key"));
  EXPECT_EQ(slept_, std::vector<milliseconds>{milliseconds(2000)});
  ASSERT_FALSE(api.post("/principals", json::Value::object({})));  // a conflict with what is stored stays one
  EXPECT_EQ(seen_.size(), 3u);
}

TEST_F(ApiTest, RefusalsAreNotTriedAgain) {
  start([](http::Request&, int) { return problem(403, "forbidden"); });
  Api api(options());
  const auto refused = api.get("/sboms");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), errors::kForbidden);
  EXPECT_EQ(seen_.size(), 1u);
}

TEST_F(ApiTest, SaysWhichPartIsDownWhenPatienceEnds) {
  start([](http::Request&, int) {
    http::Response r = problem(503, "unavailable");
    r.header("Retry-After", "100");
    return r;
  });
  Api api(options());
  const auto away = api.get("/sboms");
  ASSERT_FALSE(away);
  EXPECT_EQ(away.error().field("part"), "postgresql");
  EXPECT_EQ(exit_code(away.error()), kExitUnavailable);
  EXPECT_TRUE(slept_.empty());  // the server asks for more than we have
}

TEST_F(ApiTest, NobodyThere) {
  start([](http::Request&, int) { return http::Response::json(200, "{}"); });
  ApiOptions o = options();
  server_.reset();
  o.retry_budget = milliseconds(1000);
  Api api(std::move(o));
  const auto away = api.get("/sboms");
  ASSERT_FALSE(away);
  EXPECT_EQ(exit_code(away.error()), kExitUnavailable);
  EXPECT_NE(render_error(away.error(), Palette(false)).find("stella status"), std::string::npos);
  EXPECT_FALSE(slept_.empty());
}

TEST_F(ApiTest, ListsFollowTheCursor) {
  start([](http::Request& r, int) {
    const std::string cursor = r.query_param("cursor");
    if (cursor.empty()) return http::Response::json(200, R"({"items":[{"n":1},{"n":2}],"next_cursor":"abc"})");
    EXPECT_EQ(cursor, "abc");
    return http::Response::json(200, R"({"items":[{"n":3}],"next_cursor":null})");
  });
  Api api(options());
  const auto all = api.list("/sboms", {}, 0);
  ASSERT_TRUE(all);
  EXPECT_EQ(all->items("items").size(), 3u);
  EXPECT_TRUE(all->find("next_cursor")->is_null());
  const auto two = api.list("/sboms", {}, 2);
  EXPECT_EQ(two->items("items").size(), 2u);
  EXPECT_EQ(two->str("next_cursor"), "abc");
  EXPECT_EQ(seen_.back().target, "/sboms?limit=2");
}

TEST_F(ApiTest, PollsUntilItHasEnded) {
  start([](http::Request&, int n) { return n == 1 ? problem(409, "not_ready") : http::Response::json(200, n < 4 ? R"({"state":"linking"})" : R"({"state":"finished"})"); });
  Api api(options());
  const auto row = api.poll("/evaluations/1", {}, std::chrono::minutes(1), [](const json::Value& v) { return v.str("state") == "finished"; },
                            [](const Error& e) { return e.code() == errors::kNotReady; });
  ASSERT_TRUE(row) << row.error().describe();
  EXPECT_EQ(seen_.size(), 4u);
}

TEST_F(ApiTest, AnAnswerThatIsNoJsonIsSaid) {
  start([](http::Request&, int) { return http::Response::json(200, "<html>"); });
  Api api(options());
  EXPECT_EQ(api.get("/me").error().code(), base_errors::kInternal);
}

TEST(RetryPause, GrowsAndEnds) {
  const milliseconds budget(30'000);
  EXPECT_EQ(*retry_pause(0, "", milliseconds(0), budget), milliseconds(200));
  EXPECT_EQ(*retry_pause(1, "", milliseconds(0), budget), milliseconds(400));
  EXPECT_EQ(*retry_pause(40, "", milliseconds(0), budget), milliseconds(4000));
  EXPECT_EQ(*retry_pause(0, "2", milliseconds(0), budget), milliseconds(2000));
  EXPECT_EQ(*retry_pause(0, "Wed, 21 Oct 2026 07:28:00 GMT", milliseconds(0), budget), milliseconds(200));
  EXPECT_EQ(*retry_pause(0, "2", milliseconds(28'000), budget), milliseconds(2000));
  EXPECT_FALSE(retry_pause(0, "2", milliseconds(28'001), budget));
}

TEST(PathSegment, NothingLeavesTheSegment) {
  EXPECT_EQ(path_segment("default@50f1eff875b6"), "default@50f1eff875b6");
  EXPECT_EQ(path_segment("../a b?c#d"), "..%2Fa%20b%3Fc%23d");
}

}  // namespace
}  // namespace stella::cli
