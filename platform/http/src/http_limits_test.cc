// What hostile and broken clients get: limits at N and N+1, slow senders, garbage, smuggling, compression bombs.
#include <gtest/gtest.h>

#include <latch>
#include <random>

#include "test_support.h"

namespace stella::http::testing {
namespace {

std::string post(std::string_view body, std::string_view extra = "") {
  return "POST /x HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(body.size()) + "\r\n" + std::string(extra) + "\r\n" + std::string(body);
}

std::string chunked(std::string_view body) {
  char size[32];
  std::snprintf(size, sizeof size, "%zx\r\n", body.size());
  return "POST /x HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n" + std::string(size) + std::string(body) + "\r\n0\r\n\r\n";
}

int answer(const Server& server, std::string_view bytes) {
  RawClient client(server.port());
  client.send(bytes);
  client.half_close();
  return status_of(client.read_response());
}

TEST(Limits, HeadersAtNAndNPlusOne) {
  Limits limits;
  limits.header_bytes = 1000;
  const auto server = serve(echo, limits);
  const std::string head = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
  const auto with_size = [&](std::size_t size) { return head + std::string(size - head.size() - 4, 'v') + "\r\n\r\n"; };
  EXPECT_EQ(answer(*server, with_size(1000)), 200);
  EXPECT_EQ(answer(*server, with_size(1001)), 431);
  EXPECT_EQ(answer(*server, with_size(500'000)), 431);
}

TEST(Limits, BodyAtNAndNPlusOneInEverySpelling) {
  Limits limits;
  limits.body_bytes = 100'000;
  const auto server = serve(echo, limits);
  std::string body(100'000, '\0');
  std::mt19937 random(1);
  for (auto& c : body) c = static_cast<char>(random());  // incompressible: the compressed form is larger than the limit
  const auto more = body + "x";
  EXPECT_EQ(answer(*server, post(body)), 200);
  EXPECT_EQ(answer(*server, post(more)), 413);
  EXPECT_EQ(answer(*server, chunked(body)), 200);
  EXPECT_EQ(answer(*server, chunked(more)), 413);
  EXPECT_EQ(answer(*server, post(gzip(body), "Content-Encoding: gzip\r\n")), 200);
  EXPECT_EQ(answer(*server, post(gzip(more), "Content-Encoding: gzip\r\n")), 413);
}

TEST(Limits, TheApplicationDecidesPerRequest) {
  const auto server = serve(echo, {}, [](const Request& head) -> std::uint64_t { return head.path == "/big" ? 50 : 0; });
  EXPECT_EQ(answer(*server, "POST /big HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"), 200);
  EXPECT_EQ(answer(*server, "POST /none HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc"), 413);
  EXPECT_EQ(answer(*server, "GET /none HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
}

TEST(Limits, OneGigabyteOfZerosCostsLittleMemory) {
  const auto bomb = gzip_zeros(1ull << 30);
  ASSERT_LT(bomb.size(), 8u << 20);
  Limits limits;
  limits.body_bytes = 64 << 20;
  const auto server = serve(echo, limits);
  const auto before = peak_rss_kib();
  RawClient client(server->port());
  client.send(post(bomb, "Content-Encoding: gzip\r\n"));
  const auto response = client.read_response();
  EXPECT_EQ(status_of(response), 413);
  EXPECT_NE(response.find("problem+json"), std::string::npos);
  EXPECT_LT(peak_rss_kib() - before, 40u << 10) << "KiB";
}

TEST(Limits, CompressedBodiesArriveDecoded) {
  const auto server = serve(echo);
  const auto body = [&](std::string_view bytes, std::string_view coding) {
    RawClient client(server->port());
    client.send(post(bytes, "Content-Encoding: " + std::string(coding) + "\r\n"));
    return body_of(client.read_response());
  };
  EXPECT_EQ(body(gzip("hello"), "gzip"), "POST /x 5 hello");
  EXPECT_EQ(body(gzip("hello"), "X-GZIP"), "POST /x 5 hello");
  EXPECT_EQ(body(gzip("hel") + gzip("lo"), "gzip"), "POST /x 5 hello") << "several members are one body";
  EXPECT_EQ(body("hello", "identity"), "POST /x 5 hello");
  const std::string large(700'000, 'z');
  EXPECT_EQ(body(gzip(large), "gzip"), "POST /x 700000 " + large) << "more output than one step";
}

TEST(Limits, BrokenCompressionIs400) {
  const auto server = serve(echo);
  const auto whole = gzip(std::string(10'000, 'q'));
  EXPECT_EQ(answer(*server, post(whole.substr(0, whole.size() - 1), "Content-Encoding: gzip\r\n")), 400) << "truncated";
  EXPECT_EQ(answer(*server, post("not gzip at all", "Content-Encoding: gzip\r\n")), 400);
  EXPECT_EQ(answer(*server, post(whole + "trailing", "Content-Encoding: gzip\r\n")), 400);
  auto flipped = whole;
  flipped[flipped.size() - 6] ^= 1;
  EXPECT_EQ(answer(*server, post(flipped, "Content-Encoding: gzip\r\n")), 400) << "checksum";
  EXPECT_EQ(answer(*server, post("x", "Content-Encoding: br\r\n")), 415);
  EXPECT_EQ(answer(*server, post("x", "Content-Encoding: gzip, gzip\r\n")), 415);
}

TEST(Limits, SlowHeadersAndBodiesEndWith408) {
  Limits limits;
  limits.header_timeout = std::chrono::seconds(1);
  limits.body_idle_timeout = std::chrono::seconds(1);
  const auto server = serve(echo, limits);
  RawClient silent(server->port());
  RawClient headers(server->port());
  RawClient body(server->port());
  headers.send("GET / HTTP/1.1\r\nHost: ");
  body.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
  const auto late = headers.read_response();
  EXPECT_EQ(status_of(late), 408);
  EXPECT_NE(late.find("problem+json"), std::string::npos);
  EXPECT_TRUE(headers.closed_by_server());
  EXPECT_EQ(status_of(body.read_response()), 408);
  EXPECT_TRUE(silent.closed_by_server()) << "who never says anything is closed without a word";
}

TEST(Limits, DrippingHeadersDoNotMoveTheDeadline) {
  Limits limits;
  limits.header_timeout = std::chrono::seconds(1);
  const auto server = serve(echo, limits);
  RawClient client(server->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n");
  std::atomic<bool> answered{false};
  std::thread drip([&] {
    while (!answered && client.send("X: y\r\n")) ::poll(nullptr, 0, 50);
  });
  EXPECT_EQ(status_of(client.read_response()), 408);
  answered = true;
  drip.join();
}

TEST(Limits, DrippingBodiesDoNotHoldAConnectionForEver) {
  Limits limits;
  limits.body_idle_timeout = std::chrono::seconds(1);
  const auto server = serve(echo, limits);
  RawClient client(server->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000\r\n\r\n");
  std::atomic<bool> answered{false};
  std::thread drip([&] {
    while (!answered && client.send("x")) ::poll(nullptr, 0, 50);
  });
  EXPECT_EQ(status_of(client.read_response()), 408);
  answered = true;
  drip.join();
}

TEST(Limits, SteadyBodiesHaveAnEnd) {
  Limits limits;
  limits.body_min_bytes_per_second = 1;
  limits.body_timeout = std::chrono::milliseconds(500);
  const auto server = serve(echo, limits);
  RawClient client(server->port());
  client.send("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n");
  std::atomic<bool> answered{false};
  std::thread drip([&] {
    while (!answered && client.send(std::string(1000, 'x'))) ::poll(nullptr, 0, 20);
  });
  EXPECT_EQ(status_of(client.read_response()), 408);
  answered = true;
  drip.join();
}

TEST(Limits, BodiesShareMemoryAndDisk) {
  Limits limits;
  limits.body_bytes = 32 << 20;
  limits.memory_bytes = 128 << 10;
  limits.temp_bytes = 16 << 20;
  std::atomic<int> in_files{0};
  std::latch both(2), go(1);
  const auto server = serve([&](Request& request) {
    if (request.body_file) ++in_files;
    if (request.path == "/hold") {
      both.count_down();
      go.wait();
    }
    return Response::json(200, "{}");
  }, limits);
  const auto sent = [&](std::string_view path, std::size_t bytes) {
    RawClient client(server->port());
    client.send("POST " + std::string(path) + " HTTP/1.1\r\nHost: x\r\nContent-Length: " + std::to_string(bytes) + "\r\n\r\n" + std::string(bytes, 'x'));
    return status_of(client.read_response());
  };
  EXPECT_EQ(sent("/", 20 << 20), 503) << "more than all may have";
  EXPECT_EQ(in_files, 0);
  EXPECT_EQ(sent("/", 100 << 10), 200);
  EXPECT_EQ(in_files, 0);
  std::jthread first([&] { EXPECT_EQ(sent("/hold", 100 << 10), 200); });
  std::jthread second([&] { EXPECT_EQ(sent("/hold", 9 << 20), 200); });
  both.wait();
  EXPECT_EQ(in_files, 1);
  EXPECT_EQ(sent("/", 9 << 20), 503) << "the disk is the other one's";
  EXPECT_EQ(sent("/", 60 << 10), 200) << "small ones are not counted";
  go.count_down();
  first.join();
  second.join();
  EXPECT_EQ(sent("/", 9 << 20), 200) << "what was held is free again";
}

TEST(Limits, TheDiskIsNeverFilled) {
  Limits limits;
  limits.body_bytes = 8 << 20;
  limits.temp_free_bytes = 1ull << 62;
  const auto server = serve(echo, limits);
  EXPECT_EQ(answer(*server, post(std::string(2 << 20, 'x'))), 503);
  EXPECT_EQ(answer(*server, post(std::string(1 << 20, 'x'))), 200) << "which stays in memory";
}

TEST(Limits, OneAddressHasItsShareOfTheConnections) {
  Limits limits;
  limits.connections_per_peer = 2;
  const auto server = serve(echo, limits);
  {
    RawClient first(server->port()), second(server->port());
    for (RawClient* one : {&first, &second}) {
      one->send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
      EXPECT_EQ(status_of(one->read_response()), 200);
    }
    RawClient third(server->port());
    const auto refused = third.read_response();
    EXPECT_EQ(status_of(refused), 503);
    EXPECT_NE(refused.find("one address"), std::string::npos) << refused;
  }
  int status = 0;
  for (const Deadline patience = Deadline::after(std::chrono::seconds(20)); status != 200 && !patience.passed();) status = answer(*server, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status, 200) << "who left is not counted";
}

TEST(Limits, SlowReadersAreClosed) {
  Limits limits;
  limits.body_idle_timeout = std::chrono::milliseconds(1000);
  limits.body_min_bytes_per_second = 64 << 20;
  const Fd file(::open("/tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600));
  ASSERT_EQ(::ftruncate(file.get(), 32 << 20), 0);
  const auto server = serve([&](Request& request) {
    Response response;
    if (request.path == "/memory") response.body.assign(32 << 20, 'x');
    if (request.path == "/file") {
      response.body_file = Fd(::dup(file.get()));
      response.body_file_size = 32 << 20;
    }
    return response;
  }, limits);
  for (const char* path : {"/memory", "/file"}) {
    RawClient client(server->port());
    client.send("GET " + std::string(path) + " HTTP/1.1\r\nHost: x\r\n\r\n");
    std::size_t got = 0;
    const Deadline deadline = Deadline::after(std::chrono::seconds(20));
    for (std::string some; !deadline.passed(); got += some.size()) {
      some = client.read_some(256 << 10);
      if (some.size() < 256 << 10) break;
      ::poll(nullptr, 0, 25);
    }
    EXPECT_FALSE(deadline.passed()) << path;
    EXPECT_LT(got, 31u << 20) << path;
  }
}

TEST(Limits, AnswersThatWaitForReadersShareMemory) {
  Limits limits;
  limits.answer_bytes = 20 << 20;
  const auto server = serve([](Request& request) {
    Response response;
    response.body.assign(request.path == "/large" ? 16 << 20 : 60 << 10, 'x');
    return response;
  }, limits);
  const std::string large = "GET /large HTTP/1.1\r\nHost: x\r\n\r\n";
  RawClient lazy(server->port());
  lazy.send(large);
  EXPECT_EQ(status_of(lazy.read_some(100)), 200);
  EXPECT_EQ(answer(*server, large), 503);
  EXPECT_EQ(answer(*server, "GET /small HTTP/1.1\r\nHost: x\r\n\r\n"), 200);
  lazy.read_some(16 << 20);
  EXPECT_EQ(answer(*server, large), 200);
}

TEST(Limits, IdleKeepAliveIsClosedQuietly) {
  Limits limits;
  limits.keep_alive = std::chrono::seconds(1);
  const auto server = serve(echo, limits);
  RawClient client(server->port());
  client.send("GET / HTTP/1.1\r\nHost: x\r\n\r\n");
  EXPECT_EQ(status_of(client.read_response()), 200);
  EXPECT_TRUE(client.closed_by_server());
}

TEST(Hostile, MalformedRequestsAre400) {
  const auto server = serve(echo);
  const char* bad[] = {
      "GET\r\n\r\n",
      "GET / HTTP/9.9\r\nHost: x\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: x\r\nBad Header: x\r\n\r\n",
      "GET / HTTP/1.1\r\n\r\n",
      "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
      "GET /../../etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /%2e%2e/%2e%2e/etc/passwd HTTP/1.1\r\nHost: x\r\n\r\n",
      "GET /a%00b HTTP/1.1\r\nHost: x\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nabc",
      "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\nabc\r\n0\r\n\r\n",
      "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc",
      "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello",
  };
  for (const char* request : bad) EXPECT_EQ(answer(*server, request), 400) << request;
  EXPECT_EQ(answer(*server, "GET / HTTP/1.1\r\nHost: x\r\nExpect: a-miracle\r\n\r\n"), 417);
  EXPECT_EQ(answer(*server, "GET / HTTP/1.1\r\nHost: x\r\n\r\n"), 200) << "and it still serves";
}

TEST(Hostile, RandomBytesAndMutationsNeverStopTheServer) {
  const auto server = serve(echo);
  std::mt19937 random(20260101);
  const std::string seeds[] = {post("hello"), chunked("hello"), "GET /a?b=c HTTP/1.1\r\nHost: x\r\n\r\n", post(gzip("hello"), "Content-Encoding: gzip\r\n")};
  for (int i = 0; i < 600; ++i) {
    std::string bytes = seeds[random() % 4];
    if (i % 5 == 0) {
      bytes.resize(random() % 2000);
      for (auto& c : bytes) c = static_cast<char>(random());
    } else {
      for (unsigned n = 1 + random() % 4; n > 0; --n) bytes[random() % bytes.size()] = static_cast<char>(random());
    }
    RawClient client(server->port());
    client.send(bytes);
    client.half_close();
    const auto response = client.read_all();
    EXPECT_NE(status_of(response), 500) << i;
  }
  EXPECT_EQ(answer(*server, post("hello")), 200);
}

TEST(Hostile, ARefusedUploadStillSeesTheAnswer) {
  const auto server = serve(echo);
  for (int i = 0; i < 10; ++i) {
    ClientRequest request;
    request.method = "POST";
    request.url = url(*server, "/");
    request.headers = {{"Expect", ""}};
    request.body.assign(3 << 20, 'x');
    const auto response = fetch(request);
    ASSERT_TRUE(response) << response.error().describe();
    EXPECT_EQ(response->status, 413);
  }
}

}  // namespace
}  // namespace stella::http::testing
