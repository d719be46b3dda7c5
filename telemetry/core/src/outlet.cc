// Attaching threads to rings, and everything that is not the plain push.
#include "outlet.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <pthread.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <mutex>

#include "crash.h"

namespace stella::telemetry {

// The calling thread's ring. Plain data: reading it costs no guard.
struct ThreadSlot {
  RingOutlet* outlet = nullptr;
  Ring* ring = nullptr;
  std::size_t index = 0;
  bool internal = false;
  bool ended = false;  // the thread's destructors ran: it may still log, but nobody would give a ring back
};
namespace {
constinit thread_local ThreadSlot t_slot;
}

struct ThreadEnd {
  bool armed = false;
  ~ThreadEnd() {
    if (t_slot.outlet != nullptr && t_slot.ring != nullptr) t_slot.outlet->detach(t_slot.index);
    t_slot.outlet = nullptr;
    t_slot.ring = nullptr;
    t_slot.ended = true;
  }
};
namespace {
thread_local ThreadEnd t_end;

long futex(std::atomic<std::uint32_t>& word, int operation, std::uint32_t value, const timespec* timeout) noexcept {
  return syscall(SYS_futex, reinterpret_cast<std::uint32_t*>(&word), operation | FUTEX_PRIVATE_FLAG, value, timeout, nullptr, 0);
}
}  // namespace

void Wakeup::notify() noexcept {
  if (asleep_.load(std::memory_order_relaxed) != 0 && asleep_.exchange(0) != 0) futex(asleep_, FUTEX_WAKE, 1, nullptr);
}

void Wakeup::urge() noexcept {
  urged_.store(true);
  if (asleep_.exchange(0) != 0) futex(asleep_, FUTEX_WAKE, 1, nullptr);
}

void Wakeup::wait(std::chrono::milliseconds most) noexcept {
  asleep_.store(1);
  if (!urged_.exchange(false)) {
    const timespec timeout{most.count() / 1000, static_cast<long>(most.count() % 1000) * 1'000'000};
    futex(asleep_, FUTEX_WAIT, 1, &timeout);
    urged_.store(false);
  }
  asleep_.store(0);
}

std::array<std::atomic<RingOutlet*>, 256> RingOutlet::all_{};
std::atomic<RingOutlet*> RingOutlet::newest_{nullptr};

RingOutlet::RingOutlet(Instance instance, OutletOptions options)
    : instance_(std::move(instance)), options_(options), spill_(instance_.spill_path(), options.spill_bytes) {
  for (auto& slot : all_) {
    RingOutlet* none = nullptr;
    if (slot.compare_exchange_strong(none, this)) break;
  }
  static std::once_flag once;
  std::call_once(once, [] {
    syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_PRIVATE_EXPEDITED, 0, 0);
    pthread_atfork(nullptr, nullptr, [] { after_fork(); });
  });
}

// In the child: the mappings are the parent's, and its locks may be held by threads that do not exist here.
void RingOutlet::after_fork() noexcept {
  each([](RingOutlet& outlet) {
    outlet.state_.store(kForked, std::memory_order_relaxed);
    outlet.instance_.forget_lock();
  });
}

void RingOutlet::set_internal_thread() noexcept { t_slot.internal = true; }

std::size_t RingOutlet::own_ring() const noexcept { return t_slot.outlet == this && t_slot.ring != nullptr ? t_slot.index : kRings; }

void RingOutlet::push(std::string_view record) noexcept {
  if (state_.load(std::memory_order_relaxed) != kRunning) [[unlikely]] return write_(record);
  if (t_slot.outlet != this) [[unlikely]] {
    if (!attach()) return push_shared(record);
  }
  Ring& ring = *t_slot.ring;
  if (!may_push(ring) || !ring.push(record)) [[unlikely]] {
    full(ring, t_slot.index, record);
  } else if (ring.over_half()) [[unlikely]] {
    wakeup_.notify();
  }
  // Whoever stops the backend makes every CPU see its word first (membarrier), so that either its last drain has this record or we see it.
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (state_.load(std::memory_order_relaxed) == kStopped) [[unlikely]] drain_();
}

// Behind a record that it spilled a thread pushes nothing until the reader has that one.
bool RingOutlet::may_push(Ring& ring) noexcept {
  if (ring.spill_mark() == 0) [[likely]] return true;
  if (spill_.taken() < ring.spill_mark()) return false;
  ring.set_spill_mark(0);
  return true;
}

bool RingOutlet::attach() noexcept {
  if (t_slot.ended) return false;
  t_end.armed = true;  // makes the destructor run at the end of this thread
  if (t_slot.outlet != nullptr) t_slot.outlet->detach(t_slot.index);
  t_slot.outlet = nullptr;
  arm_signal_stack();
  Lock lock(mutex_);
  std::size_t index = kRings;
  if (!free_.empty()) {
    index = free_.back();
    free_.pop_back();
  } else {
    index = count_.load(std::memory_order_relaxed);
    if (index >= kRings - 1) return false;  // the last one is shared
    auto ring = Ring::create(instance_.ring_path(index), options_.ring_bytes);
    if (!ring) return false;
    rings_[index].store(ring->release(), std::memory_order_release);
    count_.store(index + 1, std::memory_order_release);
  }
  Ring& ring = *rings_[index].load(std::memory_order_relaxed);
  ring.set_thread(static_cast<std::int32_t>(syscall(SYS_gettid)));
  internal_[index].store(t_slot.internal, std::memory_order_relaxed);
  t_slot.outlet = this;
  t_slot.ring = &ring;
  t_slot.index = index;
  return true;
}

void RingOutlet::detach(std::size_t index) noexcept {
  if (forked()) return;
  Lock lock(mutex_);
  free_.push_back(index);
}

// A thread whose destructors ran, or one too many.
void RingOutlet::push_shared(std::string_view record) noexcept {
  {
    Lock lock(shared_mutex_);
    if (shared_ == kRings) {
      Lock attach_lock(mutex_);
      const std::size_t index = count_.load(std::memory_order_relaxed);
      if (index < kRings) {
        if (auto ring = Ring::create(instance_.ring_path(index), options_.ring_bytes)) {
          rings_[index].store(ring->release(), std::memory_order_release);
          count_.store(index + 1, std::memory_order_release);
          shared_ = index;
        }
      }
    }
    if (shared_ != kRings) {
      Ring& ring = *rings_[shared_].load(std::memory_order_relaxed);
      if (!may_push(ring) || !ring.push(record)) full(ring, shared_, record);
      if (ring.over_half()) wakeup_.notify();
    } else {
      write_(record);
    }
  }
  std::atomic_signal_fence(std::memory_order_seq_cst);
  if (state_.load(std::memory_order_relaxed) == kStopped) drain_();
}

void RingOutlet::full(Ring& ring, std::size_t index, std::string_view record) noexcept {
  RecordHead head;
  std::memcpy(&head, record.data(), sizeof head);
  const bool log = head.kind == RecordKind::kLog;
  wakeup_.notify();
  if (!log || head.level < Level::kWarn) {
    ring.skip_dropped(log);
    return;
  }
  const std::uint64_t number = ring.skip_spilled();
  if (const std::uint64_t frame = spill_.append(record, number, static_cast<std::uint32_t>(index), head.level == Level::kError); frame != 0) {
    ring.set_spill_mark(frame);
    return;
  }
  if (head.level < Level::kError) {
    ring.spill_failed(true);
    return;
  }
  elsewhere_.fetch_add(1, std::memory_order_relaxed);
  write_(record);
}

void RingOutlet::stop() noexcept {
  state_.store(kStopped, std::memory_order_seq_cst);
  syscall(SYS_membarrier, MEMBARRIER_CMD_PRIVATE_EXPEDITED, 0, 0);
}

void RingOutlet::remove_files() {
  instance_.remove();
  for (auto& slot : all_) {
    RingOutlet* self = this;
    slot.compare_exchange_strong(self, nullptr);
  }
}

}  // namespace stella::telemetry
