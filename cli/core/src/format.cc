// Words and numbers for people.
#include "stella/cli/format.h"

#include <algorithm>
#include <cmath>
#include <cstdio>
#include <ctime>

namespace stella::cli {
namespace {

struct Rune {
  char32_t code = 0;
  std::size_t bytes = 1;
  bool ok = false;
};

// The first character of UTF-8 text; !ok for a malformed byte.
Rune first_rune(std::string_view text) {
  const auto at = [&](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = at(0);
  if (lead < 0x80) return {lead, 1, true};
  const std::size_t bytes = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : lead >= 0xc2 ? 2 : 0;
  if (bytes == 0 || bytes > text.size() || lead > 0xf4) return {};
  char32_t code = lead & (0x7f >> bytes);
  for (std::size_t i = 1; i < bytes; ++i) {
    if ((at(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (at(i) & 0x3f);
  }
  const bool overlong = (bytes == 3 && code < 0x800) || (bytes == 4 && code < 0x10000);
  if (overlong || (code >= 0xd800 && code < 0xe000) || code > 0x10ffff) return {};
  return {code, bytes, true};
}

std::size_t rune_width(char32_t c) {
  if ((c >= 0x300 && c <= 0x36f) || (c >= 0x200b && c <= 0x200f) || (c >= 0xfe00 && c <= 0xfe0f)) return 0;
  const bool wide = (c >= 0x1100 && c <= 0x115f) || (c >= 0x2e80 && c <= 0xa4cf) || (c >= 0xac00 && c <= 0xd7a3) || (c >= 0xf900 && c <= 0xfaff) ||
                    (c >= 0xfe30 && c <= 0xfe6f) || (c >= 0xff00 && c <= 0xff60) || (c >= 0x1f300 && c <= 0x1faff) || (c >= 0x20000 && c <= 0x3fffd);
  return wide ? 2 : 1;
}

// What terminals or readers obey instead of showing: C0, C1, bidirectional overrides, line separators.
bool is_control(char32_t c) {
  return c < 0x20 || (c >= 0x7f && c < 0xa0) || (c >= 0x202a && c <= 0x202e) || (c >= 0x2066 && c <= 0x2069) || c == 0x2028 || c == 0x2029 || c == 0xfeff;
}

std::string printf_text(const char* format, double number, const char* unit) {
  char text[64];
  std::snprintf(text, sizeof text, format, number, unit);
  return text;
}

std::tm utc(Timestamp time) {
  const std::time_t seconds = time.seconds();
  std::tm out{};
  ::gmtime_r(&seconds, &out);
  return out;
}

std::string time_text(const std::tm& tm, const char* format) {
  char text[64];
  const std::size_t n = std::strftime(text, sizeof text, format, &tm);
  return std::string(text, n);
}

}  // namespace

std::string with_commas(std::int64_t number) {
  std::string digits = std::to_string(number);
  const std::size_t first = digits.front() == '-' ? 1 : 0;
  for (std::size_t at = digits.size(); at > first + 3;) digits.insert(at -= 3, ",");
  return digits;
}

std::string counted(std::int64_t number, std::string_view noun) {
  std::string out = with_commas(number) + " " + std::string(noun);
  if (number == 1) return out;
  if (noun.ends_with("ch") || noun.ends_with("sh") || noun.ends_with("s")) return out + "es";
  if (noun.ends_with("y")) return out.substr(0, out.size() - 1) + "ies";
  return out + "s";
}

std::string human_bytes(std::uint64_t bytes) {
  if (bytes < 1024) return std::to_string(bytes) + " B";
  static constexpr const char* kUnits[] = {"KiB", "MiB", "GiB", "TiB"};
  double number = static_cast<double>(bytes) / 1024;
  std::size_t unit = 0;
  for (; number >= 1023.95 && unit + 1 < std::size(kUnits); ++unit) number /= 1024;
  return printf_text(number < 99.95 ? "%.1f %s" : "%.0f %s", number, kUnits[unit]);
}

std::string human_duration(std::int64_t micros) {
  if (micros < 0) return "-" + human_duration(-micros);
  if (micros < 1000) return std::to_string(micros) + " µs";
  if (micros < 10'000) return printf_text("%.1f %s", static_cast<double>(micros) / 1e3, "ms");
  if (micros < 999'500) return printf_text("%.0f %s", static_cast<double>(micros) / 1e3, "ms");
  if (micros < 10'000'000) return printf_text("%.2f %s", static_cast<double>(micros) / 1e6, "s");
  if (micros < 59'950'000) return printf_text("%.1f %s", static_cast<double>(micros) / 1e6, "s");
  const std::int64_t seconds = (micros + 500'000) / 1'000'000;
  const auto two = [](std::int64_t big, const char* big_unit, std::int64_t small, const char* small_unit) {
    char text[64];
    std::snprintf(text, sizeof text, "%lld %s %02lld %s", static_cast<long long>(big), big_unit, static_cast<long long>(small), small_unit);
    return std::string(text);
  };
  if (seconds < 3600) return two(seconds / 60, "min", seconds % 60, "s");
  return two(seconds / 3600, "h", seconds % 3600 / 60, "min");
}

std::string short_time(Timestamp time, Timestamp now) {
  const std::tm tm = utc(time);
  const std::tm today = utc(now);
  if (tm.tm_year != today.tm_year) return time_text(tm, "%Y-%m-%d");
  if (tm.tm_yday != today.tm_yday) return time_text(tm, "%d %b %H:%M");
  return time_text(tm, "%H:%M:%S");
}

std::string short_time(std::string_view rfc3339, Timestamp now) {
  if (rfc3339.empty()) return "-";
  const auto time = Timestamp::parse(rfc3339);
  return time ? short_time(*time, now) : std::string(rfc3339);
}

std::string long_time(std::string_view rfc3339) {
  if (rfc3339.empty()) return "";
  const auto time = Timestamp::parse(rfc3339);
  return time ? time_text(utc(*time), "%Y-%m-%d %H:%M:%S UTC") : std::string(rfc3339);
}

std::size_t display_width(std::string_view text) {
  std::size_t width = 0;
  while (!text.empty()) {
    const Rune rune = first_rune(text);
    width += rune.ok ? rune_width(rune.code) : 1;
    text.remove_prefix(rune.bytes);
  }
  return width;
}

std::string ellipsized(std::string_view text, std::size_t width) {
  if (display_width(text) <= width) return std::string(text);
  if (width == 0) return "";
  std::size_t used = 0;
  std::size_t bytes = 0;
  while (bytes < text.size()) {
    const Rune rune = first_rune(text.substr(bytes));
    const std::size_t w = rune.ok ? rune_width(rune.code) : 1;
    if (used + w > width - 1) break;
    used += w;
    bytes += rune.bytes;
  }
  return std::string(text.substr(0, bytes)) + "…";
}

std::string printable(std::string_view text) {
  std::string out;
  out.reserve(text.size());
  while (!text.empty()) {
    const Rune rune = first_rune(text);
    if (!rune.ok) out += '?';
    else if (rune.code == '\t') out += ' ';
    else if (is_control(rune.code)) out += "·";
    else out.append(text.substr(0, rune.bytes));
    text.remove_prefix(rune.bytes);
  }
  return out;
}

std::vector<std::string> wrapped(std::string_view text, std::size_t width) {
  std::vector<std::string> lines;
  std::string line;
  const auto flush = [&] {
    lines.push_back(std::move(line));
    line.clear();
  };
  while (!text.empty()) {
    if (text.front() == '\n') {
      flush();
      text.remove_prefix(1);
      continue;
    }
    const std::size_t end = std::min(text.find_first_of(" \n"), text.size());
    const std::string_view word = text.substr(0, end);
    if (!line.empty() && display_width(line) + 1 + display_width(word) > width) flush();
    if (!word.empty()) line += (line.empty() ? "" : " ") + std::string(word);
    text.remove_prefix(end);
    if (!text.empty() && text.front() == ' ') text.remove_prefix(1);
  }
  if (!line.empty() || lines.empty()) flush();
  return lines;
}

std::string nearest(std::string_view name, const std::vector<std::string>& known) {
  const auto edits = [](std::string_view a, std::string_view b) {
    std::vector<std::size_t> row(b.size() + 1);
    for (std::size_t j = 0; j <= b.size(); ++j) row[j] = j;
    for (std::size_t i = 1; i <= a.size(); ++i) {
      std::size_t diagonal = row[0]++;
      for (std::size_t j = 1; j <= b.size(); ++j) {
        const std::size_t substituted = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
        diagonal = row[j];
        row[j] = std::min({row[j] + 1, row[j - 1] + 1, substituted});
      }
    }
    return row[b.size()];
  };
  std::string best;
  std::size_t least = name.size() < 4 ? 2 : 3;  // more edits than that are another word
  for (const std::string& candidate : known) {
    const std::size_t n = candidate.starts_with(name) && name.size() >= 2 ? 1 : edits(name, candidate);
    if (n < least) {
      least = n;
      best = candidate;
    }
  }
  return best;
}

}  // namespace stella::cli
