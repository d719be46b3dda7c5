// Targets, query parameters and response heads without a socket.
#include "messages.h"

#include <gtest/gtest.h>

namespace stella::http {
namespace {

Result<Request> target(std::string text) {
  Request request;
  request.target = std::move(text);
  STELLA_TRY_VOID(parse_target(request));
  return request;
}

TEST(Target, SplitsAndDecodes) {
  const auto request = target("/sboms/pkg%3Anpm%2Fa%40b?x=1%202&y=a+b&x=z&flag").value();
  EXPECT_EQ(request.path, "/sboms/pkg:npm/a@b");
  EXPECT_EQ(request.query, "x=1%202&y=a+b&x=z&flag");
  EXPECT_EQ(request.query_param("x"), "1 2");
  EXPECT_EQ(request.query_param("y"), "a b");
  EXPECT_EQ(request.query_param("flag"), "");
  EXPECT_EQ(request.query_param("absent"), "");
  EXPECT_EQ(request.query_params("x"), (std::vector<std::string>{"1 2", "z"}));
}

TEST(Target, AbsoluteFormAndStar) {
  EXPECT_EQ(target("http://example.org/a?b=c").value().path, "/a");
  EXPECT_EQ(target("http://example.org").value().path, "/");
  EXPECT_EQ(target("*").value().path, "*");
  EXPECT_EQ(target("/a#fragment?x").value().path, "/a");
}

TEST(Target, RefusesWhatCouldEscapeOrConfuse) {
  for (const char* bad : {"/../etc/passwd", "/a/..", "/a/../b", "/%2e%2e/b", "/a%2f..%2fb", "/a/./b", "/%2E", "relative", "", "/a%00b", "/a%",
                          "/a%zz", "/a%ff", "/ok?x=%00", "/ok?x=%c3%28", "/ok?%", "?x"}) {
    EXPECT_FALSE(target(bad)) << bad;
  }
  for (const char* good : {"/..a", "/a..", "/...", "/a/.well-known", "/%E2%82%AC"}) EXPECT_TRUE(target(good)) << good;
}

TEST(ResponseHead, CannotBeSplitByValues) {
  Response response;
  response.status = 201;
  response.content_type = "text/plain\r\nevil: 1";
  response.header("Location", "/x\r\n\r\nbody").header("bad name", "x").header("X:y", "x").header("Content-Length", "9999");
  const auto head = response_head(response, 3, false, "today");
  EXPECT_EQ(head, "HTTP/1.1 201 Created\r\ndate: today\r\ncontent-type: text/plain\r\ncontent-length: 3\r\nconnection: close\r\nlocation: /x\r\n\r\n");
}

TEST(ResponseHead, NoContentHasNoLength) {
  Response response;
  response.status = 204;
  EXPECT_EQ(response_head(response, 0, true, "today"), "HTTP/1.1 204 No Content\r\ndate: today\r\nconnection: keep-alive\r\n\r\n");
}

}  // namespace
}  // namespace stella::http
