// Who may run: shares of tenants and of what takes long, the order of those who wait, and that nobody is forgotten.
#include "stella/web/turns.h"

#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

namespace stella::web {
namespace {

TenantId tenant(std::string_view id) { return TenantId::parse(id).value(); }

TurnLimits limits() {
  TurnLimits out;
  out.running = {100, 3};
  out.may_take_long = out.awaiting = {2, 1};
  out.queued_per_tenant = 2;
  return out;
}

TEST(Turns, EachTenantAndWhatTakesLongHaveTheirShare) {
  Turns turns(limits());
  std::vector<Turns::Turn> held;
  for (int i = 0; i < 3; ++i) EXPECT_TRUE(held.emplace_back(turns.try_take(tenant("acme"), TurnKind::kRunning)));
  EXPECT_FALSE(turns.try_take(tenant("acme"), TurnKind::kRunning));
  EXPECT_FALSE(turns.try_take(tenant("acme"), TurnKind::kLong)) << "which runs as well";
  EXPECT_TRUE(turns.try_take(tenant("acme"), TurnKind::kAwaiting)) << "who runs already may wait";
  EXPECT_TRUE(turns.try_take(tenant("beta"), TurnKind::kRunning));
  held.pop_back();
  EXPECT_TRUE(held.emplace_back(turns.try_take(tenant("acme"), TurnKind::kLong)));
  held.erase(held.begin());
  EXPECT_FALSE(turns.try_take(tenant("acme"), TurnKind::kLong)) << "one of a tenant";
  EXPECT_TRUE(held.emplace_back(turns.try_take(tenant("beta"), TurnKind::kLong)));
  EXPECT_FALSE(turns.try_take(tenant("gamma"), TurnKind::kLong)) << "two in all";
  held.clear();
  EXPECT_EQ(turns.now(TurnKind::kRunning), 0);
  EXPECT_EQ(turns.now(TurnKind::kLong), 0);
}

TEST(Turns, WhoWaitsIsCalledInOrderAndNobodyHoldsUpAnother) {
  Turns turns(limits());
  auto first = turns.try_take(tenant("acme"), TurnKind::kLong);
  auto other = turns.try_take(tenant("beta"), TurnKind::kLong);
  std::string called;
  const auto queue = [&](const char* id, TurnKind kind, std::shared_ptr<Turns::Turn> place, char name) {
    return turns.take_or_queue(tenant(id), kind, place, [&called, name] { return std::function<void()>([&called, name] { called += name; }); });
  };
  const auto a = std::make_shared<Turns::Turn>(), b = std::make_shared<Turns::Turn>(), c = std::make_shared<Turns::Turn>();
  auto gone = std::make_shared<Turns::Turn>();
  EXPECT_EQ(queue("acme", TurnKind::kLong, gone, 'g'), Turns::Outcome::kQueued);
  EXPECT_EQ(queue("acme", TurnKind::kLong, a, 'a'), Turns::Outcome::kQueued);
  EXPECT_EQ(queue("acme", TurnKind::kLong, c, 'x'), Turns::Outcome::kFull);
  EXPECT_EQ(queue("gamma", TurnKind::kLong, c, 'c'), Turns::Outcome::kQueued);
  EXPECT_EQ(queue("acme", TurnKind::kRunning, b, 'b'), Turns::Outcome::kGranted) << "what is short passes by";
  EXPECT_EQ(called, "");
  gone.reset();
  other.end();
  EXPECT_EQ(called, "gc") << "acme has its share";
  EXPECT_TRUE(*c);
  EXPECT_FALSE(*a);
  first.end();
  EXPECT_EQ(called, "gca");
  EXPECT_TRUE(*a);
  EXPECT_EQ(turns.queued(), 0);
}

TEST(Turns, ManyThreadsLeaveNothingBehind) {
  Turns turns(limits());
  std::atomic<int> running{0}, most{0}, done{0};
  std::vector<std::jthread> threads;
  for (int t = 0; t < 8; ++t)
    threads.emplace_back([&, t] {
      for (int i = 0; i < 500; ++i) {
        const auto place = std::make_shared<Turns::Turn>();
        std::atomic<bool> called{false};
        const auto outcome = turns.take_or_queue(tenant(t % 2 == 0 ? "acme" : "beta"), i % 3 == 0 ? TurnKind::kLong : TurnKind::kRunning, place, [&called] { return std::function<void()>([&called] { called = true; }); });
        if (outcome == Turns::Outcome::kFull) continue;
        while (outcome == Turns::Outcome::kQueued && !called) std::this_thread::yield();
        const int now = ++running;
        for (int before = most; now > before && !most.compare_exchange_weak(before, now);) {
        }
        --running;
        ++done;
        place->end();
      }
    });
  threads.clear();
  EXPECT_LE(most, 6);
  EXPECT_GT(done, 100);
  EXPECT_EQ(turns.now(TurnKind::kRunning), 0);
  EXPECT_EQ(turns.now(TurnKind::kLong), 0);
  EXPECT_EQ(turns.queued(), 0);
}

TEST(Turns, SomeWorkersAreLeftWhateverTakesLong) {
  for (int workers = 3; workers <= 64; ++workers) {
    const TurnLimits l = TurnLimits::of_workers(workers);
    EXPECT_LT(l.running.per_tenant, workers) << workers;
    EXPECT_LT(l.may_take_long.in_all + l.awaiting.in_all, workers) << workers;
    EXPECT_TRUE(workers < 6 || l.may_take_long.per_tenant < l.may_take_long.in_all) << workers;
  }
}

}  // namespace
}  // namespace stella::web
