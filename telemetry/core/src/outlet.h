// Where threads push their records: a ring each, the spill beside them, and the ways out when the process forks, ends or is too many threads.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <functional>
#include <memory>
#include <string_view>
#include <vector>

#include "instance.h"
#include "ring.h"
#include "spill.h"
#include "stella/base/sync.h"
#include "stella/telemetry/record.h"

namespace stella::telemetry {

// Lets the backend thread sleep without a system call on the side of those who wake it, unless it does sleep.
class Wakeup {
 public:
  void notify() noexcept;  // does what can be done cheaply; a sleeper that it misses wakes by its own timeout
  void urge() noexcept;    // is never missed
  void wait(std::chrono::milliseconds most) noexcept;

 private:
  std::atomic<std::uint32_t> asleep_{0};
  std::atomic<bool> urged_{false};
};

struct OutletOptions {
  std::size_t ring_bytes = 256 * 1024;
  std::uint64_t spill_bytes = 64u << 20;
};

// Never freed. Threads: push() any; the rest as said.
class RingOutlet final : public Outlet {
 public:
  static constexpr std::size_t kRings = 2048;  // more threads than this share one ring

  RingOutlet(Instance instance, OutletOptions options);

  void push(std::string_view record) noexcept override;

  // What follows is the reader's.
  std::size_t rings() const noexcept { return count_.load(std::memory_order_acquire); }
  Ring& ring(std::size_t index) noexcept { return *rings_[index].load(std::memory_order_acquire); }
  // Its owner writes rows or drains: its records must not become rows.
  bool internal(std::size_t index) const noexcept { return internal_[index].load(std::memory_order_relaxed); }
  Spill& spill() noexcept { return spill_; }
  Wakeup& wakeup() noexcept { return wakeup_; }
  const Instance& instance() const noexcept { return instance_; }

  // Marks the calling thread as one whose records must not become rows.
  static void set_internal_thread() noexcept;

  // What to do with a record that no ring can take any more (after the end, in a forked child, an ERROR that the disk refused), and
  // what drains the rings after the end. Set once, before the first push.
  void set_late(std::function<void(std::string_view)> write, std::function<void()> drain) {
    write_ = std::move(write);
    drain_ = std::move(drain);
  }
  // From now on pushes go to `write`, or are followed by `drain`; when it returns, every earlier push is in its ring.
  void stop() noexcept;
  // Everything is written: the files go. Mappings stay while their threads do.
  void remove_files();
  bool forked() const noexcept { return state_.load(std::memory_order_relaxed) == kForked; }
  std::uint64_t errors_elsewhere() const noexcept { return elsewhere_.load(std::memory_order_relaxed); }

  // f(RingOutlet&) for all that live; for the crash handler: async-signal-safe.
  template <class F>
  static void each(F f) {
    for (auto& slot : all_) {
      if (RingOutlet* outlet = slot.load(std::memory_order_acquire)) f(*outlet);
    }
  }
  // Index of the calling thread's ring here; kRings where it has none. Async-signal-safe.
  std::size_t own_ring() const noexcept;

 private:
  friend struct ThreadEnd;
  enum State { kRunning, kStopped, kForked };

  bool attach() noexcept;
  bool may_push(Ring& ring) noexcept;
  void detach(std::size_t index) noexcept;
  void push_shared(std::string_view record) noexcept;
  void full(Ring& ring, std::size_t index, std::string_view record) noexcept;
  static void after_fork() noexcept;

  std::atomic<int> state_{kRunning};
  Instance instance_;
  const OutletOptions options_;
  Spill spill_;
  Wakeup wakeup_;
  std::function<void(std::string_view)> write_;
  std::function<void()> drain_;
  std::atomic<std::uint64_t> elsewhere_{0};

  std::array<std::atomic<Ring*>, kRings> rings_{};
  std::array<std::atomic<bool>, kRings> internal_{};
  std::atomic<std::size_t> count_{0};
  Mutex mutex_;
  std::vector<std::size_t> free_ STELLA_GUARDED_BY(mutex_);
  Mutex shared_mutex_;
  std::size_t shared_ STELLA_GUARDED_BY(shared_mutex_) = kRings;

  static std::array<std::atomic<RingOutlet*>, 256> all_;
  // None is ever freed, since a thread may be about to push; this keeps each (and the backend in `write_`) within reach, as no leak would be.
  static std::atomic<RingOutlet*> newest_;
  RingOutlet* const before_ = newest_.exchange(this);
};

}  // namespace stella::telemetry
