// When evidence may be deleted, and who may release a hold. Pure: no clock, no database, no store.
#pragma once

#include <algorithm>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/time.h"

namespace stella::evidence {

// ── Deletion ───────────────────────────────────────────────────────────────────────────────────────────────────────

// What is known about one bundle. A zero time: that rule does not keep it.
struct RetentionFacts {
  std::optional<Timestamp> base;  // nullopt: the event that starts the clock has not happened
  Timestamp of_case;
  Timestamp incident;
  Timestamp store;                // until when the store itself refuses
  std::size_t holds = 0;          // holds of its case that are not released
  bool store_held = false;        // a legal hold that the store shows, whoever put it there
  bool in_use = false;            // an export or a verification is under way
};

enum class Kept : std::uint8_t { kDeletable, kFrozen, kHeld, kClockNotStarted, kRetained, kInUse };
// For events and answers; "" for kDeletable.
std::string_view reason_of(Kept kept);

// The latest of base, case, incident and store; nullopt while the base clock has not started.
std::optional<Timestamp> kept_until(const RetentionFacts& facts);
// deletable(v, t) = t > kept_until and no holds and nothing under way; nothing is while the clock cannot be believed. The strongest reason
// first: a hold is named although the retention has not ended either.
Kept deletable(const RetentionFacts& facts, Timestamp now, bool frozen);

// Retention only grows.
inline Timestamp grown(Timestamp before, Timestamp asked) { return std::max(before, asked); }

// ── The clock ──────────────────────────────────────────────────────────────────────────────────────────────────────

// A clock may differ by this much from the time that has passed since a reading that was believed.
inline constexpr std::chrono::microseconds kClockSlack = std::chrono::minutes(5);
// Over a restart nothing measures the time; a longer silence has to be confirmed by a person (`evidence.clock_checked`).
inline constexpr std::chrono::microseconds kLongestSilence = std::chrono::hours(24 * 7);

enum class ClockJump : std::uint8_t { kNone, kBack, kForward };
// `believed`: a reading; `elapsed`: how long ago it was by a clock that nobody can set, nullopt after a restart.
ClockJump judge_clock(Timestamp believed, std::optional<std::chrono::microseconds> elapsed, Timestamp now);

// ── Release of a hold ──────────────────────────────────────────────────────────────────────────────────────────────

enum class ReleaseStep : std::uint8_t {
  kRequested,     // a first person has asked
  kReleased,      // enough people have spoken
  kAlreadyAsked,  // somebody has asked before: confirm it
  kNobodyAsked,   // nothing to confirm
  kSamePerson,    // whoever asked cannot confirm
};
// `requested_by`: who asked for the release, "" where nobody has. `people`: how many different ones it takes, 1 or 2.
ReleaseStep request_step(std::string_view requested_by, int people);
ReleaseStep confirm_step(std::string_view requested_by, std::string_view actor, int people);

}  // namespace stella::evidence
