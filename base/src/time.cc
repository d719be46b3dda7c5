// Timestamps: civil-date arithmetic after H. Hinnant's public-domain algorithms, RFC 3339 in and out.
#include "stella/base/time.h"

#include <cstdio>
#include <ctime>

namespace stella {
namespace {

constexpr std::int64_t days_from_civil(std::int64_t y, unsigned m, unsigned d) {
  y -= m <= 2;
  const std::int64_t era = (y >= 0 ? y : y - 399) / 400;
  const auto yoe = static_cast<unsigned>(y - era * 400);
  const unsigned doy = (153 * (m > 2 ? m - 3 : m + 9) + 2) / 5 + d - 1;
  const unsigned doe = yoe * 365 + yoe / 4 - yoe / 100 + doy;
  return era * 146097 + static_cast<std::int64_t>(doe) - 719468;
}

struct Civil {
  int year;
  unsigned month, day, hour, minute, second, micros;
};

Civil civil_from_micros(std::int64_t micros) {
  std::int64_t secs = micros / 1'000'000;
  std::int64_t frac = micros % 1'000'000;
  if (frac < 0) {
    frac += 1'000'000;
    --secs;
  }
  std::int64_t days = secs / 86400;
  std::int64_t rest = secs % 86400;
  if (rest < 0) {
    rest += 86400;
    --days;
  }
  days += 719468;
  const std::int64_t era = (days >= 0 ? days : days - 146096) / 146097;
  const auto doe = static_cast<unsigned>(days - era * 146097);
  const unsigned yoe = (doe - doe / 1460 + doe / 36524 - doe / 146096) / 365;
  const unsigned doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
  const unsigned mp = (5 * doy + 2) / 153;
  const unsigned month = mp < 10 ? mp + 3 : mp - 9;
  const int year = static_cast<int>(static_cast<std::int64_t>(yoe) + era * 400 + (month <= 2));
  return {year, month, doy - (153 * mp + 2) / 5 + 1, static_cast<unsigned>(rest / 3600), static_cast<unsigned>(rest / 60 % 60),
          static_cast<unsigned>(rest % 60), static_cast<unsigned>(frac)};
}

bool leap(int y) { return (y % 4 == 0 && y % 100 != 0) || y % 400 == 0; }

unsigned days_in_month(int y, unsigned m) {
  constexpr unsigned kDays[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  return m == 2 && leap(y) ? 29 : kDays[m - 1];
}

// Consumes exactly `n` digits; -1 where they are not there.
int digits(std::string_view& s, std::size_t n) {
  if (s.size() < n) return -1;
  int v = 0;
  for (std::size_t i = 0; i < n; ++i) {
    if (s[i] < '0' || s[i] > '9') return -1;
    v = v * 10 + (s[i] - '0');
  }
  s.remove_prefix(n);
  return v;
}

bool eat(std::string_view& s, std::string_view any) {
  if (s.empty() || any.find(s.front()) == std::string_view::npos) return false;
  s.remove_prefix(1);
  return true;
}

}  // namespace

Timestamp Timestamp::now() {
  timespec ts{};
  clock_gettime(CLOCK_REALTIME, &ts);
  return Timestamp(static_cast<std::int64_t>(ts.tv_sec) * 1'000'000 + ts.tv_nsec / 1000);
}

Result<Timestamp> Timestamp::parse(std::string_view text) {
  const auto bad = [] { return Error(base_errors::kMalformed, "not an RFC 3339 time").with("expected", "2026-11-24T17:07:00Z"); };
  std::string_view s = text;
  const int year = digits(s, 4);
  if (year < 0 || !eat(s, "-")) return bad();
  const int month = digits(s, 2);
  if (month < 1 || month > 12 || !eat(s, "-")) return bad();
  const int day = digits(s, 2);
  if (day < 1 || day > static_cast<int>(days_in_month(year, static_cast<unsigned>(month))) || !eat(s, "Tt ")) return bad();
  const int hour = digits(s, 2);
  if (hour < 0 || hour > 23 || !eat(s, ":")) return bad();
  const int minute = digits(s, 2);
  if (minute < 0 || minute > 59 || !eat(s, ":")) return bad();
  const int second = digits(s, 2);
  if (second < 0 || second > 60) return bad();
  std::int64_t micros = 0;
  if (eat(s, ".")) {
    std::size_t n = 0;
    std::int64_t scale = 100'000;
    for (; n < s.size() && s[n] >= '0' && s[n] <= '9'; ++n, scale /= 10) micros += (s[n] - '0') * scale;
    if (n == 0 || n > 9) return bad();
    s.remove_prefix(n);
  }
  std::int64_t offset = 0;
  if (!s.empty() && (s.front() == '+' || s.front() == '-')) {
    const int sign = s.front() == '-' ? -1 : 1;
    s.remove_prefix(1);
    const int oh = digits(s, 2);
    if (oh < 0 || oh > 23 || !eat(s, ":")) return bad();
    const int om = digits(s, 2);
    if (om < 0 || om > 59) return bad();
    offset = sign * (oh * 3600 + om * 60);
  } else if (!eat(s, "Zz")) {
    return bad();
  }
  if (!s.empty()) return bad();
  const std::int64_t days = days_from_civil(year, static_cast<unsigned>(month), static_cast<unsigned>(day));
  return Timestamp((days * 86400 + hour * 3600 + minute * 60 + second - offset) * 1'000'000 + micros);
}

std::string Timestamp::rfc3339() const {
  const Civil c = civil_from_micros(micros_);
  if (c.year < 0 || c.year > 9999) {
    char buf[48];
    std::snprintf(buf, sizeof buf, "%04d-%02u-%02uT%02u:%02u:%02u.%06uZ", c.year, c.month, c.day, c.hour, c.minute, c.second, c.micros);
    return buf;
  }
  std::string out = "0000-00-00T00:00:00.000000Z";
  const auto put = [&out](std::size_t last, unsigned value) {
    for (; value > 0; value /= 10) out[last--] = static_cast<char>('0' + value % 10);
  };
  put(3, static_cast<unsigned>(c.year));
  put(6, c.month);
  put(9, c.day);
  put(12, c.hour);
  put(15, c.minute);
  put(18, c.second);
  put(25, c.micros);
  return out;
}

std::string Timestamp::rfc3339_seconds() const {
  std::string s = rfc3339();
  s.replace(19, 7, "");
  return s;
}

std::chrono::milliseconds Deadline::left() const {
  const auto d = std::chrono::duration_cast<std::chrono::milliseconds>(at_ - Clock::now());
  return d.count() < 0 ? std::chrono::milliseconds(0) : d;
}

}  // namespace stella
