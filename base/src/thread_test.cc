// Names as the kernel has them, and rounds that wait, are woken and end.
#include "stella/base/thread.h"

#include <gtest/gtest.h>

#include <string>

namespace stella {
namespace {

std::string own_name() {
  char text[16] = {};
  ::pthread_getname_np(::pthread_self(), text, sizeof text);
  return text;
}

TEST(Thread, HasItsName) {
  std::string plain, stopped, mine = own_name();
  start_thread("fifteen-letters", [&] { plain = own_name(); }).join();
  { const auto thread = start_jthread("stoppable", [&](const std::stop_token&) { stopped = own_name(); }); }
  EXPECT_EQ(plain, "fifteen-letters");
  EXPECT_EQ(stopped, "stoppable");
  EXPECT_EQ(own_name(), mine) << "the caller keeps its own";
}

TEST(Rounds, GoOnAtOnceWhereThereIsMore) {
  std::atomic<int> done{0};
  std::atomic<bool> rested{false};
  std::string name;
  Rounds rounds;
  rounds.start("rounds", [&] {
    name = own_name();
    if (++done < 3) return std::chrono::milliseconds(0);
    rested = true;
    rested.notify_all();
    return std::chrono::milliseconds(600'000);
  });
  rested.wait(false);
  rounds.stop();
  EXPECT_EQ(done, 3);
  EXPECT_EQ(name, "rounds");
}

TEST(Rounds, AWakeEndsTheWait) {
  std::atomic<int> done{0};
  Rounds rounds;
  rounds.start("rounds", [&] {
    ++done;
    done.notify_all();
    return std::chrono::milliseconds(600'000);
  });
  done.wait(0);
  rounds.wake();  // also where the wait has not begun yet
  done.wait(1);
  EXPECT_EQ(done, 2);
  rounds.stop();
  rounds.stop();
  EXPECT_TRUE(rounds.stopping());
  EXPECT_EQ(done, 2);
}

TEST(Rounds, AStopIsSeenWithinARound) {
  std::atomic<bool> began{false};
  Rounds rounds;
  rounds.start("rounds", [&] {
    began = true;
    began.notify_all();
    while (!rounds.stopping()) std::this_thread::yield();
    return std::chrono::milliseconds(0);
  });
  began.wait(false);
  rounds.stop();
}

}  // namespace
}  // namespace stella
