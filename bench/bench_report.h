// What benchmarks measure and print alike: CPU time (a machine that does other things, too, must not change the figures) and the best of rounds.
#pragma once

#include <time.h>

#include <algorithm>
#include <cstddef>

namespace stella::bench {

// CPU time of the calling thread, in ns.
inline double thread_cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// CPU time of all threads of the process, user and system, in ns.
inline double process_cpu_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e9 + static_cast<double>(now.tv_nsec);
}

// CPU ns of one of the `items` that a call of f() works on: the best of `rounds`.
template <class F>
double best_ns(int rounds, std::size_t items, F&& f) {
  double best = 1e18;
  for (int i = 0; i < rounds; ++i) {
    const double start = thread_cpu_ns();
    f();
    best = std::min(best, (thread_cpu_ns() - start) / static_cast<double>(items));
  }
  return best;
}

// "pass" or "FAIL", for the end of a line.
inline const char* verdict(bool met) { return met ? "pass" : "FAIL"; }

}  // namespace stella::bench
