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

std::size_t kind_of(char c) { return is(c, kUpper) ? 0 : is(c, kLower) ? 1 : is(c, kDigit) ? 2 : 3; }

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

void RandomWindow::add(char c) {
  std::uint16_t& n = counts_[static_cast<std::uint8_t>(c)];
  weight_ += kWeights[n + 1u] - kWeights[n];
  ++n;
  ++kinds_[kind_of(c)];
  hex_ += is(c, kHex) || c == '-';
}

void RandomWindow::drop(char c) {
  std::uint16_t& n = counts_[static_cast<std::uint8_t>(c)];
  weight_ -= kWeights[n] - kWeights[n - 1u];
  --n;
  --kinds_[kind_of(c)];
  hex_ -= is(c, kHex) || c == '-';
}

bool RandomWindow::verdict() const {
  const std::size_t size = end_ - begin_;
  const auto [upper, lower, digits, others] = kinds_;
  if (hex_ == size || digits == 0 || upper + lower == 0 || changes_ * 4u < size) return false;
  if ((upper == 0 || lower == 0) && (others != 0 || size < 24)) return false;
  return kWeights[size] + kRounding >= weight_ + size * 15'032'385'536u;  // 3.5 bits
}

bool RandomWindow::random(std::string_view text, std::size_t pos, std::size_t end) {
  const std::size_t to = std::min(end, pos + kMost);
  if (pos < begin_ || pos >= end_) start(pos);
  for (; begin_ < pos; ++begin_) {
    drop(text[begin_]);
    changes_ -= begin_ + 1 < end_ && kind_of(text[begin_]) != kind_of(text[begin_ + 1]);
  }
  for (; end_ < to; ++end_) {
    add(text[end_]);
    changes_ += end_ > begin_ && kind_of(text[end_]) != kind_of(text[end_ - 1]);
  }
  return !version(text.substr(pos, to - pos)) && verdict();
}

bool high_entropy(std::string_view value) {
  RandomWindow window;
  window.start(0);
  return window.random(value, 0, value.size());
}

}  // namespace stella::telemetry::scrubbing
