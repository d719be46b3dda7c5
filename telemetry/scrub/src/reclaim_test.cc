// What was replaced is freed, and never under a reader.
#include "stella/telemetry/reclaim.h"

#include <gtest/gtest.h>

#include <latch>
#include <mutex>
#include <thread>

namespace stella::telemetry {
namespace {

std::atomic<int> g_alive{0};
struct Table {
  explicit Table(int v) : value(v), again(v) { ++g_alive; }
  ~Table() {
    again = -1;
    --g_alive;
  }
  int value;
  mutable int again;
};

struct Tables {
  std::atomic<const Table*> now{nullptr};
  Retired retired;
  void replace(int value) {
    std::unique_ptr<const Table> old(now.load());
    now.store(new Table(value));
    retired.add(std::move(old));
  }
  ~Tables() { delete now.load(); }
};

TEST(Reclaim, WithoutReadersNothingIsKept) {
  {
    Tables tables;
    for (int i = 0; i < 1000; ++i) tables.replace(i);
    EXPECT_EQ(g_alive.load(), 1);
    EXPECT_EQ(tables.retired.size(), 0u);
  }
  EXPECT_EQ(g_alive.load(), 0);
}

TEST(Reclaim, WhatAReaderMayHoldStaysUntilItHasRead) {
  Tables tables;
  tables.replace(1);
  {
    const Reading outer;
    const Table* held = tables.now.load();
    { const Reading nested; }
    std::thread([&] {
      const Reading unrelated;  // begun later, ended sooner
      tables.replace(2);
    }).join();
    tables.replace(3);
    EXPECT_EQ(held->value, 1);
    EXPECT_EQ(held->again, 1);
    EXPECT_EQ(tables.retired.size(), 2u);
  }
  tables.replace(4);
  EXPECT_EQ(g_alive.load(), 1);
}

// A thread that reads for long holds what was there while it read, not all that comes after it.
TEST(Reclaim, AReaderHoldsNothingThatIsOlderThanItself) {
  Tables tables;
  tables.replace(0);
  std::latch begun{1}, end{1};
  for (int i = 0; i < 100; ++i) tables.replace(i);
  std::thread reader([&] {
    const Reading reading;
    begun.count_down();
    end.wait();
  });
  begun.wait();
  for (int i = 0; i < 10; ++i) tables.replace(i);
  EXPECT_EQ(tables.retired.size(), 10u);
  end.count_down();
  reader.join();
  tables.replace(1);
  EXPECT_EQ(tables.retired.size(), 0u);
}

TEST(Reclaim, ReadersSeeWholeTablesWhileTheyAreReplaced) {
  Tables tables;
  tables.replace(0);
  std::atomic<bool> stop{false};
  std::atomic<int> torn{0};
  std::vector<std::thread> readers;
  for (int t = 0; t < 3; ++t)
    readers.emplace_back([&] {
      while (!stop.load(std::memory_order_relaxed)) {
        const Reading reading;
        const Table* table = tables.now.load();
        if (table->value != table->again) ++torn;
      }
    });
  for (int i = 0; i < 20'000; ++i) tables.replace(i);
  stop = true;
  for (std::thread& t : readers) t.join();
  EXPECT_EQ(torn.load(), 0);
  tables.replace(1);
  EXPECT_EQ(tables.retired.size(), 0u);
}

}  // namespace
}  // namespace stella::telemetry
