// Tables that many threads read without waiting and few replace: what was replaced is freed as soon as no reader can hold it.
//
// A reader: { const Reading reading; const Table* t = g_table.load(); … } and nothing of *t outlives `reading`. A writer, under the writers' own lock:
// g_table.store(next); retired.add(old). Both use the sequentially consistent order (the default of std::atomic), for that is what makes it right.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <utility>
#include <vector>

namespace stella::telemetry {
namespace detail {

// One per thread that ever read: since which change it reads, 0 where it does not.
struct alignas(64) ReaderSlot {
  std::atomic<std::uint64_t> since{0};
  std::atomic<bool> taken{true};
  ReaderSlot* next = nullptr;
};
extern constinit std::atomic<std::uint64_t> g_changes;
extern constinit thread_local ReaderSlot* t_reader_slot;
ReaderSlot* take_reader_slot();

}  // namespace detail

// This thread reads tables: one store and one load, never waiting. May be nested.
class Reading {
 public:
  Reading() : slot_(detail::t_reader_slot != nullptr ? detail::t_reader_slot : detail::take_reader_slot()), outer_(slot_->since.load(std::memory_order_relaxed) != 0) {
    if (!outer_) slot_->since.store(detail::g_changes.load());
  }
  ~Reading() {
    if (!outer_) slot_->since.store(0, std::memory_order_release);
  }
  Reading(const Reading&) = delete;
  Reading& operator=(const Reading&) = delete;

 private:
  detail::ReaderSlot* slot_;
  bool outer_;
};

// What was replaced and may still be read. Not thread-safe: under the writers' lock.
class Retired {
 public:
  // `old` (may be null) is not to be found any more by whoever begins to read now. Frees all that nobody can hold.
  template <class T>
  void add(std::unique_ptr<const T> old) {
    if (old != nullptr) add(std::shared_ptr<const void>(std::move(old)));
  }
  // How many are not freed yet.
  std::size_t size() const { return old_.size(); }

 private:
  void add(std::shared_ptr<const void> old);
  std::vector<std::pair<std::uint64_t, std::shared_ptr<const void>>> old_;  // with the change that replaced it; ascending
};

// Of one kind, in this process: how many were ever made, and how many were replaced and are not freed yet.
struct Tables {
  std::uint64_t made = 0;
  std::size_t retired = 0;
};

}  // namespace stella::telemetry
