// Short texts that this thread has found clean before, and pairs of them that hold no secret between them. Programs say the same few texts
// again and again (kinds, states, operations, routes): looking one up costs less than reading it for secrets, and gives the same answer.
//
// The whole text is compared, never only a hash of it: a text that is like a known one to the hash is unknown. Fixed size; a new text takes the
// place of an old one. Not shared: each thread has its own.
#pragma once

#include <array>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace stella::telemetry::detail {

class KnownTexts {
 public:
  using Id = std::uint32_t;  // of a text as long as it is known; never given twice
  static constexpr Id kUnknown = 0, kNone = ~Id{0};  // kNone is for callers: no text has it
  static constexpr std::size_t kMost = 56;  // bytes of a text that can be known

  // kUnknown: it may be clean or not.
  Id find(std::string_view text) const {
    if (text.size() > kMost) return kUnknown;
    const Ends ends = ends_of(text);
    const Entry& e = entries_[slot(text, ends)];
    return e.id != kUnknown && same(e, text, ends) ? e.id : kUnknown;
  }
  // `text` is clean. kUnknown where it is too long to be kept.
  Id remember(std::string_view text) {
    if (text.size() > kMost) return kUnknown;
    if (next_ == kNone) forget();  // all numbers were given
    const Ends ends = ends_of(text);
    Entry& e = entries_[slot(text, ends)];
    e = {next_++, static_cast<std::uint32_t>(text.size()), ends, {}};
    for (std::size_t i = 8; i + 8 < text.size(); i += 8) e.middle[i / 8 - 1] = load<std::uint64_t>(text.data() + i);
    return e.id;
  }
  // Two texts in this order hold nothing together, neither as one word nor as name and value.
  bool harmless(Id a, Id b) const { return a != kUnknown && b != kUnknown && pairs_[pair_slot(a, b)] == pair(a, b); }
  void remember_harmless(Id a, Id b) {
    if (a != kUnknown && b != kUnknown) pairs_[pair_slot(a, b)] = pair(a, b);
  }

 private:
  static constexpr unsigned kTextBits = 8, kPairBits = 9;

  // The first and the last eight bytes; of fewer than eight, all of them.
  struct Ends {
    std::uint64_t first, last;
  };
  struct alignas(64) Entry {
    Id id = kUnknown;
    std::uint32_t size = 0;
    Ends ends{};
    std::array<std::uint64_t, 5> middle{};  // from the ninth byte on
  };
  static_assert(sizeof(Entry) == 64);

  template <class T>
  static T load(const char* p) {
    T value;
    std::memcpy(&value, p, sizeof value);
    return value;
  }
  static Ends ends_of(std::string_view text) {
    const char* const p = text.data();
    const std::size_t n = text.size();
    if (n >= 8) return {load<std::uint64_t>(p), load<std::uint64_t>(p + n - 8)};
    if (n >= 4) return {load<std::uint32_t>(p), load<std::uint32_t>(p + n - 4)};
    if (n == 0) return {0, 0};
    const auto byte = [p](std::size_t i) { return static_cast<std::uint64_t>(static_cast<unsigned char>(p[i])); };
    return {byte(0) | byte(n / 2) << 8 | byte(n - 1) << 16, 0};
  }
  static std::size_t slot(std::string_view text, const Ends& ends) {
    const std::size_t n = text.size();
    const std::uint64_t middle = n > 16 ? load<std::uint64_t>(text.data() + n / 2 - 4) : 0;
    const std::uint64_t mixed = (ends.first + n) * 0x9e3779b97f4a7c15u ^ (ends.last + middle * 0xd6e8feb86659fd93u) * 0xc2b2ae3d27d4eb4fu;
    return static_cast<std::size_t>((mixed ^ mixed >> 29) * 0x9e3779b97f4a7c15u >> (64 - kTextBits));
  }
  static bool same(const Entry& e, std::string_view text, const Ends& ends) {
    if (e.size != text.size() || e.ends.first != ends.first || e.ends.last != ends.last) return false;
    std::uint64_t differs = 0;
    for (std::size_t i = 8; i + 8 < text.size(); i += 8) differs |= e.middle[i / 8 - 1] ^ load<std::uint64_t>(text.data() + i);
    return differs == 0;
  }
  static std::uint64_t pair(Id a, Id b) { return std::uint64_t{a} << 32 | b; }
  static std::size_t pair_slot(Id a, Id b) { return static_cast<std::size_t>(pair(a, b) * 0x9e3779b97f4a7c15u >> (64 - kPairBits)); }
  void forget() {
    entries_.fill({});
    pairs_.fill(0);
    next_ = 1;
  }

  std::array<Entry, 1u << kTextBits> entries_{};
  std::array<std::uint64_t, 1u << kPairBits> pairs_{};
  Id next_ = 1;
};

}  // namespace stella::telemetry::detail
