// Which threads read, and since when.
#include "stella/telemetry/reclaim.h"

#include <algorithm>

namespace stella::telemetry {
namespace detail {

constinit std::atomic<std::uint64_t> g_changes{1};
constinit thread_local ReaderSlot* t_reader_slot = nullptr;

namespace {

std::atomic<ReaderSlot*> g_slots{nullptr};  // all there are; those of threads that ended are taken again

// Gives the slot back with its thread. One that reads later still (in the destructor of another thread_local) takes a slot and keeps it for good.
struct GiveBack {
  ReaderSlot* slot = nullptr;
  ~GiveBack() {
    if (slot == nullptr) return;
    t_reader_slot = nullptr;
    slot->taken.store(false, std::memory_order_release);
  }
};

ReaderSlot* free_slot() {
  for (ReaderSlot* slot = g_slots.load(std::memory_order_acquire); slot != nullptr; slot = slot->next) {
    bool taken = false;
    if (!slot->taken.load(std::memory_order_relaxed) && slot->taken.compare_exchange_strong(taken, true, std::memory_order_acquire)) return slot;
  }
  auto* slot = new ReaderSlot;
  slot->next = g_slots.load(std::memory_order_relaxed);
  while (!g_slots.compare_exchange_weak(slot->next, slot)) {
  }
  return slot;
}

}  // namespace

ReaderSlot* take_reader_slot() {
  static thread_local GiveBack give_back;
  t_reader_slot = free_slot();
  give_back.slot = t_reader_slot;
  return t_reader_slot;
}

}  // namespace detail

// A reader that found `old` said before that it reads, with a number of changes that had not counted this one.
void Retired::add(std::shared_ptr<const void> old) {
  old_.emplace_back(detail::g_changes.fetch_add(1), std::move(old));
  std::uint64_t oldest = ~std::uint64_t{0};
  for (const detail::ReaderSlot* slot = detail::g_slots.load(); slot != nullptr; slot = slot->next)
    if (const std::uint64_t since = slot->since.load(); since != 0) oldest = std::min(oldest, since);
  const auto held = std::find_if(old_.begin(), old_.end(), [oldest](const auto& one) { return one.first >= oldest; });
  old_.erase(old_.begin(), held);
}

}  // namespace stella::telemetry
