// Durations and sizes as people write them.
#include <array>
#include <charconv>
#include <limits>

#include "stella/platform/config.h"

namespace stella::config {
namespace {

struct Unit {
  std::string_view name;
  std::int64_t factor;
};
constexpr std::array<Unit, 5> kTimes{{{"ms", 1}, {"s", 1000}, {"m", 60'000}, {"h", 3'600'000}, {"d", 86'400'000}}};
constexpr std::array<Unit, 11> kSizes{{{"", 1}, {"B", 1}, {"kB", 1000}, {"KB", 1000}, {"MB", 1'000'000}, {"GB", 1'000'000'000},
                                       {"TB", 1'000'000'000'000}, {"KiB", 1ll << 10}, {"MiB", 1ll << 20}, {"GiB", 1ll << 30}, {"TiB", 1ll << 40}}};

Error bad(Literal message, std::string expected) { return Error(base_errors::kInvalid, message).with("expected", std::move(expected)); }

// One "<number><unit>" from the front of `text`; false where there is none or it does not fit into 63 bits.
template <std::size_t N>
bool take(std::string_view& text, const std::array<Unit, N>& units, std::int64_t& total) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc() || number < 0) return false;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  const auto unit = text.substr(0, text.find_first_of("0123456789"));
  for (const auto& known : units) {
    if (known.name != unit) continue;
    std::int64_t product = 0;
    if (__builtin_mul_overflow(number, known.factor, &product) || __builtin_add_overflow(total, product, &total)) return false;
    text.remove_prefix(unit.size());
    return true;
  }
  return false;
}

}  // namespace

Result<std::int64_t> parse_duration_ms(std::string_view text) {
  if (text == "0") return 0;
  std::int64_t total = 0;
  bool good = !text.empty();
  while (good && !text.empty()) good = take(text, kTimes, total);
  if (!good) return bad("not a duration", "a duration with its unit: 250ms, 30s, 5m, 1h30m, 7d");
  return total;
}

Result<std::int64_t> parse_bytes(std::string_view text) {
  std::int64_t total = 0;
  if (text.empty() || !take(text, kSizes, total) || !text.empty()) return bad("not a size", "bytes: 4096, 64KiB, 64MiB, 1GiB, 1GB");
  return total;
}

}  // namespace stella::config
