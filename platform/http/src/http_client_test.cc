// The client against the real server: bodies, files, limits, redirects, failures.
#include "stella/platform/http_client.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include "stella/contracts/errors.h"
#include "test_support.h"

namespace stella::http::testing {
namespace {

std::string temp_dir() {
  char name[] = "/tmp/stella-http-test-XXXXXX";
  return ::mkdtemp(name);
}

ClientRequest request_for(const Server& server, std::string method, std::string_view path) {
  ClientRequest request;
  request.method = std::move(method);
  request.url = url(server, path);
  return request;
}

TEST(Client, MethodsHeadersAndBodiesArriveAsGiven) {
  const auto server = serve([](Request& request) {
    auto response = echo(request);
    response.body += "|" + std::string(request.header("x-a")) + "|" + std::string(request.header("content-type"));
    response.header("X-Answer", "  yes ");
    return response;
  });
  for (const char* method : {"GET", "DELETE", "POST", "PUT", "PATCH"}) {
    auto request = request_for(*server, method, "/p?q=1");
    request.headers = {{"X-A", "b"}};
    const auto response = fetch(request);
    ASSERT_TRUE(response) << response.error().describe();
    EXPECT_EQ(response->status, 200);
    EXPECT_EQ(response->body, std::string(method) + " /p?q=1 0 |b|");
    EXPECT_EQ(response->header("x-answer"), "yes");
  }
  auto request = request_for(*server, "POST", "/p");
  request.body = std::string("a\0b", 3);
  request.headers = {{"Content-Type", "application/octet-stream"}};
  EXPECT_EQ(fetch(request)->body, "POST /p 3 " + request.body + "||application/octet-stream");
  EXPECT_EQ(fetch(request_for(*server, "HEAD", "/p"))->body, "");
}

TEST(Client, UsesItsConnectionAgain) {
  const auto server = serve(echo);
  for (int i = 0; i < 10; ++i) ASSERT_TRUE(fetch(request_for(*server, "GET", "/")));
  EXPECT_EQ(server->stats().requests, 10u);
  EXPECT_EQ(server->stats().open_connections, 1u);
}

TEST(Client, UploadsAndDownloadsFiles) {
  Limits limits;
  limits.body_bytes = 16 << 20;
  const auto server = serve(
      [](Request& request) {
        Response response;
        response.body_file = std::move(request.body_file);
        response.body_file_size = request.body_size;
        return response;
      },
      limits);
  const std::string dir = temp_dir();
  std::string content;
  for (int i = 0; content.size() < (9 << 20); ++i) content += std::to_string(i);
  ASSERT_TRUE(write_file_durable(dir + "/up", content));
  auto request = request_for(*server, "PUT", "/");
  request.body_path = dir + "/up";
  request.save_to = dir + "/down";
  std::uint64_t seen = 0;
  request.on_upload = [&](std::uint64_t sent, std::uint64_t total) {
    EXPECT_LE(sent, total);
    seen = std::max(seen, sent);
  };
  const auto response = fetch(request);
  ASSERT_TRUE(response) << response.error().describe();
  EXPECT_EQ(response->body, "");
  EXPECT_EQ(seen, content.size());
  EXPECT_TRUE(read_file(dir + "/down", 16 << 20).value() == content);
}

TEST(Client, ErrorAnswersLeaveTheFileAloneAndGoToMemory) {
  const auto server = serve([](Request&) { return Response::json(404, "{\"code\":\"not_found\"}"); });
  const std::string dir = temp_dir();
  ASSERT_TRUE(write_file_durable(dir + "/f", "old"));
  auto request = request_for(*server, "GET", "/");
  request.save_to = dir + "/f";
  const auto response = fetch(request);
  ASSERT_TRUE(response);
  EXPECT_EQ(response->status, 404);
  EXPECT_EQ(response->body, "{\"code\":\"not_found\"}");
  EXPECT_EQ(read_file(dir + "/f", 100).value(), "old");
}

TEST(Client, AnswersOverTheLimitAreRefusedAtNPlusOne) {
  const auto server = serve([](Request&) {
    Response response;
    response.body.assign(1000, 'x');
    return response;
  });
  const std::string dir = temp_dir();
  auto request = request_for(*server, "GET", "/");
  request.max_response_bytes = 1000;
  EXPECT_TRUE(fetch(request));
  request.max_response_bytes = 999;
  EXPECT_EQ(fetch(request).error().code(), base_errors::kLimit);
  request.save_to = dir + "/f";
  EXPECT_EQ(fetch(request).error().code(), base_errors::kLimit);
  EXPECT_EQ(read_file(dir + "/f", 10).error().code(), base_errors::kNotFound) << "not even a part of it";
}

TEST(Client, NobodyThereIsUnavailableWithThePart) {
  std::uint16_t port = 0;
  {
    const auto server = serve(echo);
    port = server->port();
  }
  ClientRequest request;
  request.url = "http://127.0.0.1:" + std::to_string(port) + "/secret-path?token=abc";
  const auto response = fetch(request);
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), contracts::errors::kUnavailable);
  EXPECT_EQ(response.error().field("part"), "127.0.0.1:" + std::to_string(port));
  EXPECT_EQ(response.error().describe().find("secret"), std::string::npos);
  EXPECT_EQ(response.error().describe().find("abc"), std::string::npos);
}

TEST(Client, ABrokenAnswerIsUnavailable) {
  Limits limits;
  limits.memory_body_bytes = 0;
  const auto server = serve(
      [](Request& request) {
        Response response;
        response.body_file = std::move(request.body_file);
        response.body_file_size = 5000;  // promises more than there is
        return response;
      },
      limits);
  const std::string dir = temp_dir();
  auto request = request_for(*server, "POST", "/");
  request.body = "abc";
  request.save_to = dir + "/f";
  EXPECT_EQ(fetch(request).error().code(), contracts::errors::kUnavailable);
  EXPECT_EQ(read_file(dir + "/f", 10).error().code(), base_errors::kNotFound);
}

TEST(Client, ATimeoutIsUnavailable) {
  std::atomic<bool> leave{false};
  const auto server = serve([&](Request& request) {
    while (!leave) std::this_thread::yield();
    return echo(request);
  });
  auto request = request_for(*server, "GET", "/");
  request.timeout = std::chrono::milliseconds(50);
  const auto response = fetch(request);
  leave = true;
  ASSERT_FALSE(response);
  EXPECT_EQ(response.error().code(), contracts::errors::kUnavailable);
}

TEST(Client, FollowsRedirectsOnlyWhenAsked) {
  const auto server = serve([](Request& request) {
    if (request.path == "/end") return echo(request);
    Response response;
    response.status = 302;
    response.header("location", request.path == "/file" ? "file:///etc/passwd" : "/end");
    return response;
  });
  auto request = request_for(*server, "GET", "/start");
  EXPECT_EQ(fetch(request)->status, 302);
  request.max_redirects = 3;
  EXPECT_EQ(fetch(request)->body, "GET /end 0 ");
  request.url = url(*server, "/file");
  EXPECT_FALSE(fetch(request)) << "never to a file";
}

TEST(Client, WhatCannotBeSentIsInvalid) {
  const auto server = serve(echo);
  const auto code = [](const ClientRequest& request) { return fetch(request).error().code(); };
  ClientRequest request;
  request.url = "ftp://127.0.0.1/x";
  EXPECT_EQ(code(request), base_errors::kInvalid);
  request.url = "not a url";
  EXPECT_EQ(code(request), base_errors::kInvalid);
  request = request_for(*server, "GET", "/");
  request.headers = {{"X", "a\r\nY: b"}};
  EXPECT_EQ(code(request), base_errors::kInvalid);
  request = request_for(*server, "GE T", "/");
  EXPECT_EQ(code(request), base_errors::kInvalid);
  request = request_for(*server, "PUT", "/");
  request.body_path = "/nonexistent/file";
  EXPECT_EQ(code(request), base_errors::kIo);
}

}  // namespace
}  // namespace stella::http::testing
