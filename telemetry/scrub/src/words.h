// Eight characters at once in a 64-bit word: comparing with words in any case, and classes of characters.
#pragma once

#include <array>
#include <bit>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string_view>

namespace stella::telemetry::scrubbing {

constexpr std::uint64_t kOnes = 0x0101010101010101ull, kTops = 0x8080808080808080ull;

// The eight bytes at `p`, the first lowest.
inline std::uint64_t load8(const char* p) {
  std::uint64_t x;
  std::memcpy(&x, p, 8);
  if constexpr (std::endian::native == std::endian::big) x = __builtin_bswap64(x);
  return x;
}
// The same of a text, with 0 behind its end.
inline std::uint64_t load8(std::string_view text, std::size_t pos) {
  if (pos + 8 <= text.size()) [[likely]] return load8(text.data() + pos);
  std::uint64_t x = 0;
  for (std::size_t i = pos; i < text.size(); ++i) x |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(text[i])) << 8 * (i - pos);
  return x;
}

// The top bit of each byte that lies in [from, to]; both are ASCII, and bytes beyond ASCII lie in none.
constexpr std::uint64_t in_range(std::uint64_t x, unsigned from, unsigned to) {
  const std::uint64_t low = x & ~kTops;
  return (low + (0x80 - from) * kOnes) & ~(low + (0x7f - to) * kOnes) & ~x & kTops;
}
constexpr std::uint64_t equal_to(std::uint64_t x, unsigned c) { return in_range(x, c, c); }
// Where a run that ends at `pos` begins, not before `least`. marks(x): the top bits of the bytes that belong to it; `one` says it of a character.
template <class Marks, class One>
inline std::size_t run_begin(std::string_view text, std::size_t pos, std::size_t least, Marks&& marks, One&& one) {
  while (pos >= least + 8) {
    const std::uint64_t others = ~marks(load8(text.data() + pos - 8)) & kTops;
    if (others != 0) return pos - static_cast<std::size_t>(std::countl_zero(others)) / 8;
    pos -= 8;
  }
  while (pos > least && one(text[pos - 1])) --pos;
  return pos;
}
// Where a run that begins at `pos` ends.
template <class Marks, class One>
inline std::size_t run_end(std::string_view text, std::size_t pos, Marks&& marks, One&& one) {
  for (; pos + 8 <= text.size(); pos += 8) {
    const std::uint64_t others = ~marks(load8(text.data() + pos)) & kTops;
    if (others != 0) return pos + static_cast<std::size_t>(std::countr_zero(others)) / 8;
  }
  while (pos < text.size() && one(text[pos])) ++pos;
  return pos;
}
// How many bytes come before the first marked one.
constexpr std::size_t first_marked(std::uint64_t marks) { return static_cast<std::size_t>(std::countr_zero(marks)) / 8; }

// A word of lower-case letters and digits, to be found in any case: its first eight characters are compared at once.
class Word {
 public:
  constexpr Word() = default;
  constexpr Word(const char* text) : Word(std::string_view(text)) {}  // NOLINT(google-explicit-constructor): lists of them are written as literals
  constexpr Word(std::string_view text) : text_(text) {               // NOLINT(google-explicit-constructor)
    for (std::size_t i = 0; i < text.size() && i < 8; ++i) {
      const bool letter = text[i] >= 'a' && text[i] <= 'z';
      value_ |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(text[i])) << 8 * i;
      mask_ |= std::uint64_t{0xff} << 8 * i;
      fold_ |= std::uint64_t{letter ? 0x20u : 0u} << 8 * i;
    }
  }
  constexpr std::size_t size() const { return text_.size(); }
  constexpr std::string_view text() const { return text_; }
  // `text` goes on with this word at `pos`, where its characters `here` stand (load8).
  bool is_at(std::string_view text, std::size_t pos, std::uint64_t here) const {
    if (((here | fold_) & mask_) != value_) return false;
    return text_.size() <= 8 || rest_is_at(text, pos);
  }
  bool is_at(std::string_view text, std::size_t pos) const { return pos <= text.size() && is_at(text, pos, load8(text, pos)); }

 private:
  bool rest_is_at(std::string_view text, std::size_t pos) const {
    if (text.size() - pos < text_.size()) return false;
    for (std::size_t i = 8; i < text_.size(); ++i) {
      const char c = text[pos + i];
      if ((c >= 'A' && c <= 'Z' ? c + 32 : c) != text_[i]) return false;
    }
    return true;
  }
  std::string_view text_;
  std::uint64_t value_ = 0, mask_ = 0, fold_ = 0;
};

// Some words, of which only those are compared that begin with the letter that stands there.
template <std::size_t N>
class Words {
 public:
  constexpr Words(const Word (&words)[N]) {  // NOLINT(google-explicit-constructor)
    for (std::size_t letter = 0, used = 0; letter < kLetters; ++letter) {  // by their initials; those of one stay in order
      first_[letter] = static_cast<std::uint8_t>(used);
      for (const Word& word : words) {
        if (static_cast<std::size_t>(word.text()[0] - 'a') == letter) words_[used++] = word;
      }
      first_[letter + 1] = static_cast<std::uint8_t>(used);
    }
  }
  // The size of the first in the list that is at `pos`, or 0.
  std::size_t at(std::string_view text, std::size_t pos) const {
    return pos >= text.size() ? 0 : find(text, pos, [](const Word&) { return true; });
  }
  // `text` is one of them.
  bool has(std::string_view text) const {
    return !text.empty() && find(text, 0, [&](const Word& word) { return word.size() == text.size(); }) != 0;
  }

 private:
  static constexpr std::size_t kLetters = 26;
  template <class F>
  std::size_t find(std::string_view text, std::size_t pos, F&& fits) const {
    const std::size_t letter = (static_cast<std::uint8_t>(text[pos]) | 0x20u) - 'a';
    if (letter >= kLetters || first_[letter] == first_[letter + 1]) return 0;
    const std::uint64_t here = load8(text, pos);
    for (std::size_t i = first_[letter]; i != first_[letter + 1]; ++i) {
      if (fits(words_[i]) && words_[i].is_at(text, pos, here)) return words_[i].size();
    }
    return 0;
  }
  std::array<Word, N> words_{};
  std::array<std::uint8_t, kLetters + 1> first_{};
};

}  // namespace stella::telemetry::scrubbing
