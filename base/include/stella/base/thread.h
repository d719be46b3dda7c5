// Threads that have a name, so that `top -H`, a debugger and a core file say which one works; and one that does rounds until it is stopped.
#pragma once

#include <pthread.h>

#include <atomic>
#include <chrono>
#include <cstddef>
#include <functional>
#include <stop_token>
#include <thread>
#include <type_traits>
#include <utility>

#include "stella/base/sync.h"

namespace stella {

// A literal of 1 to 15 bytes: the kernel keeps no more. Every name stands in contracts/workers.json, with the work that its thread does.
class ThreadName {
 public:
  template <std::size_t N>
    requires(N >= 2 && N <= 16)
  consteval ThreadName(const char (&text)[N]) : text_(text) {}  // NOLINT(google-explicit-constructor)
  const char* c_str() const { return text_; }

 private:
  const char* text_;
};

// Of the calling thread. Threads that it starts otherwise than below inherit it.
inline void name_thread(ThreadName name) { ::pthread_setname_np(::pthread_self(), name.c_str()); }

// As std::thread(f) and std::jthread(f): f() or, for the latter, f(std::stop_token). A bare std::thread fails the linter.
template <class F>
std::thread start_thread(ThreadName name, F&& f) {
  return std::thread([name, work = std::forward<F>(f)]() mutable {
    name_thread(name);
    work();
  });
}
template <class F>
std::jthread start_jthread(ThreadName name, F&& f) {
  return std::jthread([name, work = std::forward<F>(f)](std::stop_token stop) mutable {
    name_thread(name);
    if constexpr (std::is_invocable_v<F&, std::stop_token>) work(std::move(stop));
    else work();
  });
}

// A thread that does a round, waits, and does the next one. Thread-safe but for start().
class Rounds {
 public:
  Rounds() = default;
  ~Rounds() { stop(); }
  Rounds(const Rounds&) = delete;
  Rounds& operator=(const Rounds&) = delete;

  // `round` says how long to wait for the next one; 0: not at all. Once per object.
  void start(ThreadName name, std::function<std::chrono::milliseconds()> round);
  // Waits for the round that runs; no further one begins. Any number of times, also without start().
  void stop();
  // Ends the wait, or leaves out the next one.
  void wake();
  // For rounds that take long: leave the rest.
  bool stopping() const { return stopping_; }

 private:
  std::atomic<bool> stopping_{false};
  Mutex mutex_;
  CondVar changed_;
  bool woken_ STELLA_GUARDED_BY(mutex_) = false;
  std::thread thread_;
};

}  // namespace stella
