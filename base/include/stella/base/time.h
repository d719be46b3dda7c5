// Wall-clock instants in microseconds since the Unix epoch (UTC) and their RFC 3339 text.
#pragma once

#include <chrono>
#include <compare>
#include <cstdint>
#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella {

class Timestamp {
 public:
  constexpr Timestamp() = default;
  static constexpr Timestamp from_micros(std::int64_t micros) { return Timestamp(micros); }
  // Now by the system clock.
  static Timestamp now();
  // RFC 3339 with offset, also with fractions of 1–9 digits (cut to microseconds). kMalformed otherwise.
  static Result<Timestamp> parse(std::string_view text);

  constexpr std::int64_t micros() const { return micros_; }
  constexpr std::int64_t seconds() const { return micros_ / 1'000'000; }
  // "2026-11-24T17:07:00.123456Z"
  std::string rfc3339() const;
  // "2026-11-24T17:07:00Z": whole seconds, for statements (in-toto wants no fraction).
  std::string rfc3339_seconds() const;

  friend constexpr auto operator<=>(Timestamp, Timestamp) = default;
  friend constexpr Timestamp operator+(Timestamp t, std::chrono::microseconds d) { return Timestamp(t.micros_ + d.count()); }
  friend constexpr Timestamp operator-(Timestamp t, std::chrono::microseconds d) { return Timestamp(t.micros_ - d.count()); }
  friend constexpr std::chrono::microseconds operator-(Timestamp a, Timestamp b) { return std::chrono::microseconds(a.micros_ - b.micros_); }

 private:
  constexpr explicit Timestamp(std::int64_t micros) : micros_(micros) {}
  std::int64_t micros_ = 0;
};

// An absolute point on the monotonic clock by which a wait must end. Every blocking call of the platform takes one.
class Deadline {
 public:
  using Clock = std::chrono::steady_clock;
  static Deadline after(Clock::duration d) { return Deadline(Clock::now() + d); }
  bool passed() const { return Clock::now() >= at_; }
  // Never negative.
  std::chrono::milliseconds left() const;
  Clock::time_point at() const { return at_; }

 private:
  explicit Deadline(Clock::time_point at) : at_(at) {}
  Clock::time_point at_;
};

}  // namespace stella
