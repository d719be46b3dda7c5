// Tallies of a sliding window.
#include "entropy.h"

#include <algorithm>

#include "chars.h"
#include "find.h"

namespace stella::telemetry::scrubbing {
namespace {

// n log2 n in units of 2^-32.
constexpr auto kWeights = [] {
  std::array<std::uint64_t, 257> out{};
  for (std::size_t n = 1; n < out.size(); ++n) out[n] = static_cast<std::uint64_t>(static_cast<double>(n) * __builtin_log2(static_cast<double>(n)) * 4294967296.0 + 0.5);
  return out;
}();
constexpr std::uint64_t kRounding = 1024;  // more than all of a window's together: exactly 3.5 bits are enough

// One of each kind that a character is of: upper case, lower case, digit, other; and hex digit or '-'.
constexpr unsigned kCountBits = 12, kUpperAt = 0, kLowerAt = kCountBits, kDigitAt = 2 * kCountBits, kOtherAt = 3 * kCountBits, kHexAt = 4 * kCountBits;
constexpr std::uint64_t kKindBits = (std::uint64_t{1} << kHexAt) - 1;
constexpr auto kKinds = [] {
  std::array<std::uint64_t, 256> out{};
  for (std::size_t c = 0; c < out.size(); ++c) {
    const unsigned bits = kChars[c];
    out[c] = std::uint64_t{1} << ((bits & kUpper) != 0 ? kUpperAt : (bits & kLower) != 0 ? kLowerAt : (bits & kDigit) != 0 ? kDigitAt : kOtherAt);
    if ((bits & kHex) != 0 || c == '-') out[c] |= std::uint64_t{1} << kHexAt;
  }
  return out;
}();
std::uint64_t kinds_of(char c) { return kKinds[static_cast<std::uint8_t>(c)]; }
bool differ(std::uint64_t a, std::uint64_t b) { return ((a ^ b) & kKindBits) != 0; }

// Numbers and dots: 3.15.8.Final_redhat_00001-1.SP1_redhat_00002.1.el8eap, behind name-jwt-0 (an epoch).
bool version(std::string_view value) {
  std::size_t i = 0;
  for (int part = 0; part < 2; ++part) {
    const std::size_t begin = i;
    while (i < value.size() && is(value[i], kDigit)) ++i;
    if (i == begin || i - begin > 4 || i >= value.size() || value[i++] != '.') return false;
  }
  return i < value.size() && is(value[i], kDigit);
}

}  // namespace

bool RandomWindow::alternates() const {
  const auto count = [this](unsigned at) { return kinds_ >> at & ((1u << kCountBits) - 1); };
  const std::size_t size = end_ - begin_;
  const std::uint64_t upper = count(kUpperAt), lower = count(kLowerAt);
  if (count(kHexAt) == size || count(kDigitAt) == 0 || upper + lower == 0 || changes_ * 4 < size) return false;
  return (upper != 0 && lower != 0) || (count(kOtherAt) == 0 && size >= 24);
}

// Brings the tally up to [begin_, end_).
void RandomWindow::tally(std::string_view text) {
  if (!tallied_ || begin_ >= tallied_end_) {
    tallied_ = true;
    tallied_begin_ = tallied_end_ = begin_;
    counts_.fill(0);
    weight_ = 0;
  }
  for (; tallied_begin_ < begin_; ++tallied_begin_) {
    std::uint16_t& n = counts_[static_cast<std::uint8_t>(text[tallied_begin_])];
    weight_ -= kWeights[n] - kWeights[n - 1u];
    --n;
  }
  for (; tallied_end_ < end_; ++tallied_end_) {
    std::uint16_t& n = counts_[static_cast<std::uint8_t>(text[tallied_end_])];
    weight_ += kWeights[n + 1u] - kWeights[n];
    ++n;
  }
}

bool RandomWindow::random(std::string_view text, std::size_t pos, std::size_t end) {
  const std::size_t to = std::min(end, pos + kMost);
  if (pos < begin_ || pos >= end_) start(pos);
  // Sums in registers: as far as the compiler knows, the text may lie in this object.
  std::uint64_t kinds = kinds_;
  std::size_t changes = changes_;
  const char* const first = text.data();
  if (begin_ < pos) {  // the window reaches beyond pos
    std::uint64_t here = kinds_of(first[begin_]);
    for (std::size_t i = begin_; i < pos; ++i) {
      const std::uint64_t next = kinds_of(first[i + 1]);
      kinds -= here;
      changes -= differ(here, next);
      here = next;
    }
  }
  if (end_ < to) {
    if (end_ == pos) kinds += kinds_of(first[end_++]);
    std::uint64_t last = kinds_of(first[end_ - 1]);
    for (std::size_t i = end_; i < to; ++i) {
      const std::uint64_t here = kinds_of(first[i]);
      kinds += here;
      changes += differ(here, last);
      last = here;
    }
  }
  begin_ = pos;
  end_ = std::max(end_, to);
  kinds_ = kinds;
  changes_ = changes;
  if (!alternates() || version(text.substr(pos, to - pos))) return false;
  tally(text);
  const std::size_t size = end_ - begin_;
  return kWeights[size] + kRounding >= weight_ + size * 15'032'385'536u;  // 3.5 bits
}

bool high_entropy(std::string_view value) {
  RandomWindow window;
  window.start(0);
  return window.random(value, 0, value.size());
}

}  // namespace stella::telemetry::scrubbing
