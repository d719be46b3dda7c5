// Hash index from texts to small numbers for hostile keys: seeded per process, so that nobody can choose colliding keys.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"

namespace stella::pipeline::sbom {

inline std::uint64_t hash_text(std::string_view text) {
  static const std::uint64_t seed = [] {
    std::uint64_t s = 0;
    fill_random(&s, sizeof s);
    return s | 1;
  }();
  constexpr std::uint64_t kMultiplier = 0x9e3779b97f4a7c15u;
  const auto mix = [](std::uint64_t a, std::uint64_t b) {
    const auto product = static_cast<unsigned __int128>(a) * b;
    return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
  };
  std::uint64_t h = seed ^ text.size() * kMultiplier;
  const char* p = text.data();
  std::size_t n = text.size();
  for (; n >= 8; p += 8, n -= 8) {
    std::uint64_t word;
    std::memcpy(&word, p, 8);
    h = mix(h ^ word, seed ^ kMultiplier);
  }
  std::uint64_t tail = 0;
  if (n != 0) std::memcpy(&tail, p, n);
  return mix(h ^ tail, seed ^ 0xd1b54a32d192ed03u);
}

// Open addressing over numbers; the caller owns the texts and says whether number i has the wanted one.
class TextIndex {
 public:
  static constexpr std::uint32_t kNone = 0xffffffffu;

  explicit TextIndex(std::size_t expected) {
    std::size_t size = 16;
    while (size < expected * 2) size *= 2;
    slots_.resize(size);
  }
  template <class Equal>
  std::uint32_t find(std::uint64_t hash, Equal&& equal) const {
    const std::uint32_t wanted = tag(hash);
    for (std::size_t i = wanted & mask();; i = (i + 1) & mask()) {
      const Slot& slot = slots_[i];
      if (slot.number == kNone) return kNone;
      if (slot.tag == wanted && equal(slot.number)) return slot.number;
    }
  }
  // The text must not be present.
  void insert(std::uint64_t hash, std::uint32_t number) {
    if (++used_ * 2 > slots_.size()) grow();
    place({tag(hash), number});
  }

 private:
  struct Slot {
    std::uint32_t tag = 0;
    std::uint32_t number = kNone;
  };
  static std::uint32_t tag(std::uint64_t hash) { return static_cast<std::uint32_t>(hash >> 32); }
  std::size_t mask() const { return slots_.size() - 1; }
  void place(Slot slot) {
    std::size_t i = slot.tag & mask();
    while (slots_[i].number != kNone) i = (i + 1) & mask();
    slots_[i] = slot;
  }
  void grow() {
    std::vector<Slot> old(slots_.size() * 2);
    old.swap(slots_);
    for (const Slot& slot : old)
      if (slot.number != kNone) place(slot);
  }

  std::vector<Slot> slots_;
  std::size_t used_ = 0;
};

}  // namespace stella::pipeline::sbom
