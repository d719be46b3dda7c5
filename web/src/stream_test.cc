// GET /timeline/stream over real sockets: what enters the log arrives, once, in order, of one's own tenant only, as long as the token lasts.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <thread>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/contracts/events.h"
#include "stella/crypto/keys.h"
#include "stella/platform/http_client.h"
#include "stella/testing/postgres.h"
#include "stella/testing/temp_dir.h"
#include "stella/timeline/emit.h"
#include "stella/timeline/indexer.h"
#include "stella/web/server.h"

namespace stella::web {
namespace {

namespace events = contracts::events;
constexpr std::string_view kSecret = "correct horse battery";

struct Sse {
  std::string id, event, data;
};

// What came so far as messages; the rest of a message that is not whole stays in `text`.
std::vector<Sse> take_messages(std::string& text) {
  std::vector<Sse> out;
  for (std::size_t end; (end = text.find("\n\n")) != std::string::npos; text.erase(0, end + 2)) {
    Sse one;
    for (std::string_view rest(text.data(), end); !rest.empty();) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      if (line.starts_with("id: ")) one.id = line.substr(4);
      if (line.starts_with("event: ")) one.event = line.substr(7);
      if (line.starts_with("data: ")) one.data += line.substr(6);
    }
    out.push_back(std::move(one));
  }
  return out;
}

class Follow : public ::testing::Test {
 protected:
  void SetUp() override {
    store_ = objects::open_posix_store(dir_.path()).value();
    services_ = std::unique_ptr<Services>(new Services{web_, authority_, provisioner_, *store_, dir_.path(), [] { return std::vector<std::pair<std::string, std::string>>(); }});
    http::ServerOptions options;
    options.temp_dir = dir_.path();
    options.workers = 4;
    server_ = start(options, *services_).value();
    for (const char* tenant : {"acme", "rival"}) ASSERT_TRUE(provisioner_.create_tenant(TenantId::parse(tenant).value(), tenant, "system:test", TraceId::generate()).has_value());
    token_ = sign_in("acme");
    indexer_thread_ = std::jthread([this](std::stop_token stop) { indexer_.run(stop); });
  }
  void TearDown() override {
    indexer_thread_ = {};
    services_->streams.stop();
    EXPECT_EQ(services_->streams.open_now(), 0);
    server_.reset();
  }
  std::string sign_in(const std::string& tenant) {
    EXPECT_TRUE(provisioner_.create_principal(TenantId::parse(tenant).value(), {"user", "u-" + tenant, "", std::string(kSecret), authority::all_tenant_scopes(), {}}, "system:test", TraceId::generate()).has_value());
    http::ClientRequest request;
    request.method = "POST";
    request.url = url("/tokens");
    request.headers = {{"content-type", "application/x-www-form-urlencoded"}};
    request.body = "grant_type=password&username=u-" + tenant + "&password=" + percent_encode(kSecret);
    const auto answer = http::fetch(request);
    EXPECT_EQ(answer->status, 200) << answer->body;
    return std::string(json::parse(answer->body)->str("access_token"));
  }
  std::string url(const std::string& path) const { return "http://127.0.0.1:" + std::to_string(server_->port()) + path; }
  http::ClientRequest request(const std::string& path, const std::string& token, const std::string& last = "") const {
    http::ClientRequest r;
    r.url = url(path);
    r.timeout = std::chrono::minutes(2);
    r.headers = {{"authorization", "Bearer " + token}};
    if (!last.empty()) r.headers.emplace_back("last-event-id", last);
    return r;
  }
  // Reads until `enough` of the messages says so or the server ends it; `begun` runs once, when the stream is open.
  std::vector<Sse> read(http::ClientRequest r, const std::function<bool(const std::vector<Sse>&)>& enough, const std::function<void()>& begun = {}) {
    std::vector<Sse> out;
    std::string text;
    bool open = false;
    r.on_body = [&](std::string_view bytes) {
      text += bytes;
      for (Sse& one : take_messages(text))
        if (!one.event.empty()) out.push_back(std::move(one));
      if (!open && begun) begun();
      open = true;
      return !enough(out);
    };
    const auto answer = http::fetch(r);
    EXPECT_TRUE(answer.has_value()) << answer.error().describe();
    if (answer) {
      EXPECT_EQ(answer->status, 200) << answer->body;
      EXPECT_EQ(answer->header("content-type"), "text/event-stream");
    }
    return out;
  }
  void emit(const std::string& tenant, const std::string& service, bool restored = false, std::string_view reason = "why") {
    auto tx = pg::TenantTx::open(web_, testing::TestScope::make(tenant)).value();
    timeline::Event event{.kind = restored ? events::kServiceRestored : events::kServiceDegraded, .resource_type = "service"};
    event.resource_id = service;
    event.details = json::Value::object({{"service", service}, {"part", "queue"}});
    if (!restored) event.details.set("reason", std::string(reason));
    const auto id = timeline::emit(tx, event);
    ASSERT_TRUE(id.has_value()) << id.error().describe();
    ASSERT_TRUE(tx.commit().has_value());
  }
  std::int64_t settled(const std::string& tenant) {
    const Deadline deadline = Deadline::after(std::chrono::seconds(60));
    while (db_.sql("SELECT count(*) FROM timeline_outbox") != "0" && !deadline.passed()) std::this_thread::yield();
    EXPECT_FALSE(deadline.passed());
    return std::stoll("0" + db_.sql("SELECT coalesce(max(log_index) + 1, 0) FROM timeline_log WHERE tenant_id = '" + tenant + "'"));
  }

  testing::TestDatabase db_;
  testing::TempDir dir_;
  pg::Pool web_{db_.options("stella_web")};
  pg::SystemPool<pg::AuthorityRole> authority_pool_{db_.options("stella_authority")};
  pg::SystemPool<pg::IndexerRole> indexer_pool_{db_.options("stella_indexer")};
  timeline::Indexer indexer_{indexer_pool_, nullptr, {.poll = std::chrono::milliseconds(5)}};
  authority::Authority authority_{authority_pool_, std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value()), {"http://stella.test", std::chrono::seconds(3600)}};
  authority::Provisioner provisioner_{authority_pool_};
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<Services> services_;
  std::unique_ptr<http::Server> server_;
  std::jthread indexer_thread_;
  std::string token_;
};

TEST_F(Follow, EventsArriveOnceInOrderAndOnlyOnesOwn) {
  const std::int64_t from = settled("acme");
  const auto got = read(request("/timeline/stream?from_index=" + std::to_string(from) + "&kind=service.*", token_), [](const auto& all) { return all.size() == 20; }, [&] {
    for (int i = 0; i < 20; ++i) {
      emit("rival", "secret" + std::to_string(i));
      emit("acme", "mine" + std::to_string(i));
    }
  });
  ASSERT_EQ(got.size(), 20u);
  for (std::size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i].event, "service.degraded");
    const auto item = json::parse(got[i].data).value();
    EXPECT_EQ(item.str("tenant_id"), "acme");
    EXPECT_EQ(item.str("resource_id"), "mine" + std::to_string(i));
    EXPECT_EQ(std::to_string(item.find("log_index")->as_int()), got[i].id);
    if (i > 0) {
      EXPECT_GT(std::stoll(got[i].id), std::stoll(got[i - 1].id));
    }
  }
  // Who comes back with the id of the last event gets what followed it, and nothing else.
  const auto rest = read(request("/timeline/stream?kind=service.*", token_, got[11].id), [](const auto& all) { return all.size() == 8; });
  ASSERT_EQ(rest.size(), 8u);
  for (std::size_t i = 0; i < rest.size(); ++i) EXPECT_EQ(rest[i].data, got[12 + i].data);
}

TEST_F(Follow, FiltersAreThoseOfTheList) {
  const auto got = read(request("/timeline/stream?kind=service.restored&resource=service/b", token_), [](const auto& all) { return all.size() == 2; }, [&] {
    for (const char* service : {"a", "b", "c", "b"}) {
      emit("acme", service);
      emit("acme", service, true);
    }
  });
  ASSERT_EQ(got.size(), 2u);
  for (const Sse& one : got) EXPECT_EQ(json::parse(one.data)->str("resource_id"), "b");
  for (const char* bad : {"from=2026-01-01T00:00:00Z", "limit=5", "order=time", "cursor=x", "kind=policy.burned", "q=x", "colour=red"}) {
    const auto answer = http::fetch(request(std::string("/timeline/stream?") + bad, token_));
    EXPECT_EQ(answer->status, 422) << bad << answer->body;
  }
  for (const char* bad : {"x", "-1", "1x", "99999999999999999999"}) EXPECT_EQ(http::fetch(request("/timeline/stream", token_, bad))->status, 422) << bad;
}

// After a restore from a backup the log is shorter than what its readers saw: they are told, instead of waiting for the same index to come again.
TEST_F(Follow, BeyondTheLogIsRefused) {
  const std::int64_t size = settled("acme");
  ASSERT_GT(size, 0);
  EXPECT_EQ(http::fetch(request("/timeline/stream?from_index=" + std::to_string(size + 1), token_))->status, 422);
  const auto refused = http::fetch(request("/timeline/stream", token_, std::to_string(size)));
  EXPECT_EQ(refused->status, 422);
  EXPECT_EQ(json::parse(refused->body)->items("errors")[0].str("field"), "Last-Event-ID") << refused->body;
  // The last one, and where the next will be, are within.
  EXPECT_EQ(read(request("/timeline/stream", token_, std::to_string(size - 1)), [](const auto& all) { return all.size() == 1; }, [&] { emit("acme", "a"); }).size(), 1u);
  EXPECT_EQ(read(request("/timeline/stream?from_index=" + std::to_string(settled("acme")), token_), [](const auto& all) { return all.size() == 1; }, [&] { emit("acme", "b"); }).size(), 1u);
}

TEST_F(Follow, SaysWhereItBegins) {
  const std::int64_t size = settled("acme");
  std::string text;
  http::ClientRequest r = request("/timeline/stream", token_);
  r.on_body = [&](std::string_view bytes) {
    text += bytes;
    return text.find("\n\n") == std::string::npos;
  };
  ASSERT_TRUE(http::fetch(r).has_value());
  EXPECT_EQ(text.substr(0, text.find("\n\n")), ": following from " + std::to_string(size) + "\nid: " + std::to_string(size - 1));
}

// More than the connection may hold back at once: the writer waits for its reader instead of losing it.
TEST_F(Follow, ALongBacklogArrivesWhole) {
  const std::int64_t from = settled("acme");
  const std::string much(30'000, 'x');
  for (int i = 0; i < 150; ++i) emit("acme", "s" + std::to_string(i), false, much);
  settled("acme");
  const auto got = read(request("/timeline/stream?kind=service.*&from_index=" + std::to_string(from), token_), [](const auto& all) { return all.size() == 150; });
  ASSERT_EQ(got.size(), 150u);
  for (std::size_t i = 0; i < got.size(); ++i) EXPECT_EQ(json::parse(got[i].data)->str("resource_id"), "s" + std::to_string(i));
}

TEST_F(Follow, EndsWithItsToken) {
  bool revoked = false;
  const auto got = read(request("/timeline/stream?kind=service.*", token_), [&](const auto& all) {
    if (all.size() == 1 && !revoked) {
      revoked = true;
      db_.sql("UPDATE tokens SET revoked_at = now() WHERE tenant_id = 'acme'");
      std::thread([&] {
        const Deadline deadline = Deadline::after(std::chrono::seconds(60));
        while (http::fetch(request("/me", token_))->status != 401 && !deadline.passed()) std::this_thread::yield();
        EXPECT_FALSE(deadline.passed());
        emit("acme", "after");
      }).join();
    }
    return false;
  }, [&] { emit("acme", "before"); });
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(json::parse(got[0].data)->str("resource_id"), "before");
  EXPECT_EQ(got[1].event, "end");
  EXPECT_EQ(got[1].data.find("after"), std::string::npos);
}

TEST_F(Follow, StreamsAreBoundedPerTenant) {
  const std::string other = sign_in("rival");
  std::vector<std::thread> followers;
  const int most = services_->streams.limits().per_tenant;
  for (int i = 0; i < most; ++i) followers.emplace_back([this] { read(request("/timeline/stream", token_), [](const auto&) { return false; }); });
  const Deadline deadline = Deadline::after(std::chrono::seconds(60));
  while (services_->streams.open_now() < most) ASSERT_FALSE(deadline.passed());
  const auto refused = http::fetch(request("/timeline/stream", token_));
  EXPECT_EQ(refused->status, 429);
  EXPECT_EQ(json::parse(refused->body)->str("code"), "rate_limited") << refused->body;
  // Neither other tenants nor other requests are in the way.
  EXPECT_EQ(http::fetch(request("/timeline", token_))->status, 200);
  EXPECT_EQ(read(request("/timeline/stream", other), [](const auto& all) { return !all.empty(); }, [&] { emit("rival", "x"); }).size(), 1u);
  services_->streams.stop();
  for (auto& one : followers) one.join();
  EXPECT_EQ(http::fetch(request("/timeline/stream", token_))->status, 429);
}

}  // namespace
}  // namespace stella::web
