// Mutex, Lock and CondVar that clang's thread-safety analysis understands (libstdc++'s own are invisible to it).
#pragma once

#include <condition_variable>
#include <memory>
#include <utility>
#include <mutex>

#include "stella/base/time.h"

#if defined(__clang__)
#define STELLA_TS(x) __attribute__((x))
#else
#define STELLA_TS(x)
#endif
#define STELLA_GUARDED_BY(m) STELLA_TS(guarded_by(m))
#define STELLA_REQUIRES(...) STELLA_TS(requires_capability(__VA_ARGS__))

namespace stella {

class STELLA_TS(capability("mutex")) Mutex {
 public:
  void lock() STELLA_TS(acquire_capability()) { m_.lock(); }
  void unlock() STELLA_TS(release_capability()) { m_.unlock(); }

 private:
  friend class CondVar;
  std::mutex m_;
};

class STELLA_TS(scoped_lockable) Lock {
 public:
  explicit Lock(Mutex& m) STELLA_TS(acquire_capability(m)) : m_(m) { m_.lock(); }
  ~Lock() STELLA_TS(release_capability()) { m_.unlock(); }
  Lock(const Lock&) = delete;
  Lock& operator=(const Lock&) = delete;

 private:
  Mutex& m_;
};

// Waits always have a deadline; spurious wake-ups happen, so callers loop over their condition.
class CondVar {
 public:
  // `m` must be held. False where the deadline passed first.
  bool wait_until(Mutex& m, Deadline deadline) STELLA_REQUIRES(m) {
    std::unique_lock<std::mutex> lock(m.m_, std::adopt_lock);
    const bool woken = cv_.wait_until(lock, deadline.at()) == std::cv_status::no_timeout;
    lock.release();
    return woken;
  }
  void notify_one() { cv_.notify_one(); }
  void notify_all() { cv_.notify_all(); }

 private:
  std::condition_variable cv_;
};

// A value that is replaced while others read it. Not std::atomic<std::shared_ptr>: GCC 12's ends a read without releasing it, so that the
// next write races with it (ThreadSanitizer sees it).
template <class T>
class SharedSlot {
 public:
  SharedSlot() = default;
  SharedSlot(std::shared_ptr<const T> value) : value_(std::move(value)) {}  // NOLINT(google-explicit-constructor): as the pointer itself
  SharedSlot& operator=(std::shared_ptr<const T> value) {
    const Lock lock(mutex_);
    value_.swap(value);
    return *this;
  }
  std::shared_ptr<const T> load() const {
    const Lock lock(mutex_);
    return value_;
  }

 private:
  mutable Mutex mutex_;
  std::shared_ptr<const T> value_ STELLA_GUARDED_BY(mutex_);
};

}  // namespace stella
