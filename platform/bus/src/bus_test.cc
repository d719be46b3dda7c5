// The bus against a real server: what is acknowledged arrives, repeats are dropped, unacknowledged messages come again, restarts heal.
#include <gtest/gtest.h>

#include <atomic>
#include <set>
#include <thread>

#include "stella/contracts/errors.h"
#include "stella/platform/bus_topology.h"
#include "stella/testing/nats_server.h"

namespace stella::bus {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

Deadline soon() { return Deadline::after(seconds(10)); }

class Bus : public ::testing::Test {
 protected:
  void SetUp() override {
    owner_ = server_.connect(user::kOrchestrator);
    ASSERT_TRUE(owner_);
    create(jobs_topology(milliseconds(500)));
    create(results_topology());
  }
  void create(const Topology& topology) {
    const auto stream = owner_->ensure_stream(topology.stream);
    ASSERT_TRUE(stream) << stream.error().describe();
    for (const auto& spec : topology.consumers) {
      const auto consumer = owner_->ensure_consumer(spec);
      ASSERT_TRUE(consumer) << consumer.error().describe();
    }
  }
  std::unique_ptr<PullConsumer> jobs(Connection& connection) {
    auto consumer = PullConsumer::bind(connection, std::string(kJobsStream), std::string(kRunnerConsumer));
    EXPECT_TRUE(consumer) << (consumer ? "" : consumer.error().describe());
    return std::move(*consumer);
  }
  // Fetches until `count` came or ten seconds are over.
  static std::vector<Delivery> take(PullConsumer& consumer, std::size_t count) {
    std::vector<Delivery> out;
    const auto deadline = soon();
    while (out.size() < count && !deadline.passed()) {
      auto some = consumer.fetch(static_cast<int>(count - out.size()), milliseconds(200));
      if (!some) continue;
      for (auto& delivery : *some) out.push_back(std::move(delivery));
    }
    return out;
  }

  testing::NatsServer server_;
  std::unique_ptr<Connection> owner_;
};

TEST_F(Bus, MessagesArriveWholeWithHeaders) {
  const std::string payload("{\"a\":\"ü\0\"}", 11);
  ASSERT_TRUE(owner_->publish("stellajobs.sbom_compute.acme", payload, {{"X-Attempt", "3"}}, "j1.1", soon()));
  const auto runner = server_.connect(user::kRunner);
  const auto consumer = jobs(*runner);
  auto got = take(*consumer, 1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].message().subject, "stellajobs.sbom_compute.acme");
  EXPECT_EQ(got[0].message().payload, payload);
  EXPECT_EQ(got[0].message().deliveries, 1u);
  std::map<std::string, std::string> headers(got[0].message().headers.begin(), got[0].message().headers.end());
  EXPECT_EQ(headers["X-Attempt"], "3");
  EXPECT_EQ(headers["Nats-Msg-Id"], "j1.1");
  EXPECT_TRUE(got[0].ack());
  EXPECT_EQ(got[0].ack().error().code(), base_errors::kInvalid);
}

TEST_F(Bus, RepeatsWithinTheWindowAreDropped) {
  for (int i = 0; i < 3; ++i) ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "one", {}, "j1.1", soon()));
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "two", {}, "j1.2", soon()));
  const auto consumer = jobs(*owner_);
  auto got = take(*consumer, 2);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].message().payload, "one");
  EXPECT_EQ(got[1].message().payload, "two");
}

TEST_F(Bus, UnacknowledgedComesAgainAcknowledgedDoesNot) {
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "again", {}, "", soon()));
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "done", {}, "", soon()));
  const auto consumer = jobs(*owner_);
  auto first = take(*consumer, 2);
  ASSERT_EQ(first.size(), 2u);
  ASSERT_TRUE(first[1].ack());
  auto second = take(*consumer, 1);
  ASSERT_EQ(second.size(), 1u);
  EXPECT_EQ(second[0].message().payload, "again");
  EXPECT_EQ(second[0].message().deliveries, 2u);
  ASSERT_TRUE(second[0].nak(milliseconds(1)));
  auto third = take(*consumer, 1);
  ASSERT_EQ(third.size(), 1u);
  EXPECT_EQ(third[0].message().deliveries, 3u);
  EXPECT_TRUE(third[0].ack());
}

TEST_F(Bus, TheBacklogIsWhatIsNotAcknowledged) {
  const auto left = [&] {
    const auto backlog = owner_->backlog(kJobsStream, kRunnerConsumer);
    EXPECT_TRUE(backlog) << backlog.error().describe();
    return std::pair(backlog->waiting, backlog->taken);
  };
  EXPECT_EQ(left(), std::pair(std::uint64_t{0}, std::uint64_t{0}));
  for (int i = 0; i < 2; ++i) ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "one", {}, "", soon()));
  EXPECT_EQ(left().first, 2u);
  const auto consumer = jobs(*owner_);
  auto got = take(*consumer, 1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(left(), std::pair(std::uint64_t{1}, std::uint64_t{1}));
  ASSERT_TRUE(got[0].ack());
  const auto until = soon();
  while (left().second != 0 && !until.passed()) std::this_thread::yield();
  EXPECT_EQ(left(), std::pair(std::uint64_t{1}, std::uint64_t{0}));
  EXPECT_FALSE(owner_->backlog(kJobsStream, "none"));
}

TEST_F(Bus, InProgressKeepsAMessageWithItsHolder) {
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "long", {}, "", soon()));
  const auto consumer = jobs(*owner_);
  auto held = take(*consumer, 1);
  ASSERT_EQ(held.size(), 1u);
  for (int i = 0; i < 8; ++i) {  // each fetch waits 200 ms, ack_wait is 500 ms
    ASSERT_TRUE(held[0].in_progress());
    EXPECT_TRUE(consumer->fetch(1, milliseconds(200)).value().empty());
  }
  EXPECT_TRUE(held[0].ack());
}

TEST_F(Bus, BatchesKeepTheirOrder) {
  std::vector<Message> batch;
  for (int i = 0; i < 2500; ++i) batch.push_back({"stellajobs.x.acme", std::to_string(i), {{"Nats-Msg-Id", std::to_string(i)}}, 1});
  for (int i = 0; i < 2; ++i) {  // the repeat is acknowledged as a duplicate
    const auto published = owner_->publish_batch(batch, soon());
    ASSERT_TRUE(published) << published.error().describe();
  }
  ASSERT_TRUE(owner_->publish_batch({}, soon()));
  const auto consumer = jobs(*owner_);
  int next = 0;
  const auto deadline = soon();
  while (next < 2500 && !deadline.passed()) {
    auto some = consumer->fetch(256, milliseconds(500)).value();
    for (auto& delivery : some) {
      EXPECT_EQ(delivery.message().payload, std::to_string(next++));
      ASSERT_TRUE(delivery.ack());
    }
  }
  EXPECT_EQ(next, 2500);
  EXPECT_TRUE(consumer->fetch(1, milliseconds(50)).value().empty());
}

TEST_F(Bus, ConsumersShareTheWork) {
  std::vector<Message> batch;
  for (int i = 0; i < 200; ++i) batch.push_back({"stellajobs.x.acme", std::to_string(i), {}, 1});
  ASSERT_TRUE(owner_->publish_batch(batch, soon()));
  std::mutex mutex;
  std::multiset<std::string> seen;
  std::vector<std::thread> threads;
  for (int t = 0; t < 3; ++t) {
    threads.emplace_back([&] {
      const auto connection = server_.connect(user::kRunner);
      const auto consumer = jobs(*connection);
      const auto deadline = soon();
      for (;;) {
        auto some = consumer->fetch(5, milliseconds(100)).value();
        const std::lock_guard lock(mutex);
        for (auto& delivery : some) {
          seen.insert(delivery.message().payload);
          EXPECT_TRUE(delivery.ack());
        }
        if (seen.size() >= 200 || deadline.passed()) return;
      }
    });
  }
  for (auto& thread : threads) thread.join();
  EXPECT_EQ(seen.size(), 200u);
  EXPECT_EQ(std::set<std::string>(seen.begin(), seen.end()).size(), 200u);
}

TEST_F(Bus, DroppingASubscriptionNeverDropsTheDurable) {
  { const auto consumer = jobs(*owner_); }
  const auto consumer = jobs(*owner_);
  ASSERT_TRUE(consumer->rebind());
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "x", {}, "", soon()));
  EXPECT_EQ(take(*consumer, 1).size(), 1u);
}

TEST_F(Bus, EnsureIsIdempotentAndUpdates) {
  auto topology = jobs_topology(seconds(7));
  create(topology);
  topology.stream.dedupe_window = seconds(60);
  topology.consumers[0].max_ack_pending = 5;
  create(topology);
  topology.consumers[0].filter_subject = "stellajobs.y.*";
  create(topology);
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "other", {}, "", soon()));
  ASSERT_TRUE(owner_->publish("stellajobs.y.acme", "mine", {}, "", soon()));
  const auto consumer = jobs(*owner_);
  auto got = take(*consumer, 1);
  ASSERT_EQ(got.size(), 1u);
  EXPECT_EQ(got[0].message().payload, "mine");
}

TEST_F(Bus, ProbeSeesItsOwnMessageAndDisturbsNobody) {
  for (int i = 0; i < 3; ++i) {
    const auto probed = owner_->probe(jobs_topology().stream, "", soon());
    ASSERT_TRUE(probed) << probed.error().describe();
  }
  EXPECT_TRUE(jobs(*owner_)->fetch(1, milliseconds(50)).value().empty());
  const auto indexer = server_.connect(user::kIndexer);
  ASSERT_TRUE(indexer->ensure_stream(timeline_topology().stream));
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(indexer->probe(timeline_topology().stream, "", soon()));
}

TEST_F(Bus, HintsReachListeners) {
  const auto web = server_.connect(user::kWeb);
  std::mutex mutex;
  std::condition_variable wake;
  int heard = 0;
  auto handle = owner_->listen("stellawake.*", [&] {
    const std::lock_guard lock(mutex);
    ++heard;
    wake.notify_all();
  });
  ASSERT_TRUE(handle);
  web->tell("stellawake.0", "");
  {
    std::unique_lock lock(mutex);
    EXPECT_TRUE(wake.wait_for(lock, seconds(10), [&] { return heard == 1; }));
  }
  handle->reset();
  web->tell("stellawake.0", "");
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "x", {}, "", soon()));
  const std::lock_guard lock(mutex);
  EXPECT_EQ(heard, 1);
}

TEST_F(Bus, ErrorsSayWhatIsWrong) {
  auto options = server_.login(user::kWeb);
  options.password = "wrong";
  EXPECT_EQ(Connection::connect(options).error().field("reason"), "auth");
  options.url = "nats://127.0.0.1:1";
  const auto nobody = Connection::connect(options);
  EXPECT_EQ(nobody.error().code(), contracts::errors::kUnavailable);
  EXPECT_EQ(nobody.error().field("part"), "nats");
  EXPECT_EQ(nobody.error().field("reason"), "disconnected");
  EXPECT_EQ(owner_->publish("stellajobs.x.acme", std::string(1 << 21, 'x'), {}, "", soon()).error().code(), base_errors::kLimit);
  EXPECT_FALSE(PullConsumer::bind(*owner_, std::string(kJobsStream), "none"));
  EXPECT_TRUE(owner_->publish("stellajobs.x.acme", "still good", {}, "", soon()));
}

TEST_F(Bus, ARestartedServerHealsByItself) {
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "before", {}, "", soon()));
  const auto consumer = jobs(*owner_);
  server_.kill();
  const auto down = Deadline::after(seconds(10));
  while (owner_->connected() && !down.passed()) std::this_thread::yield();
  const auto refused = owner_->publish("stellajobs.x.acme", "while down", {}, "", Deadline::after(milliseconds(200)));
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().code(), contracts::errors::kUnavailable);
  server_.start();
  const auto up = Deadline::after(seconds(20));
  while (!owner_->connected() && !up.passed()) std::this_thread::yield();
  ASSERT_TRUE(owner_->connected());
  ASSERT_TRUE(owner_->publish("stellajobs.x.acme", "after", {}, "", soon()));
  ASSERT_TRUE(consumer->rebind());
  auto got = take(*consumer, 2);
  ASSERT_EQ(got.size(), 2u);
  EXPECT_EQ(got[0].message().payload, "before");
  EXPECT_EQ(got[1].message().payload, "after");
}

}  // namespace
}  // namespace stella::bus
