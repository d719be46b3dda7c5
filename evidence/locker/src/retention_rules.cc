// The rules, in the order in which they are named to people.
#include "retention_rules.h"

namespace stella::evidence {

std::string_view reason_of(Kept kept) {
  switch (kept) {
    case Kept::kFrozen: return "the clock cannot be believed";
    case Kept::kHeld: return "a legal hold is in force";
    case Kept::kClockNotStarted: return "the event that starts its retention has not happened";
    case Kept::kRetained: return "its retention has not ended";
    case Kept::kInUse: return "an export or a verification is under way";
    case Kept::kDeletable: break;
  }
  return "";
}

std::optional<Timestamp> kept_until(const RetentionFacts& facts) {
  if (!facts.base) return std::nullopt;
  return std::max({*facts.base, facts.of_case, facts.incident, facts.store});
}

Kept deletable(const RetentionFacts& facts, Timestamp now, bool frozen) {
  if (facts.holds > 0 || facts.store_held) return Kept::kHeld;
  if (frozen) return Kept::kFrozen;
  const auto until = kept_until(facts);
  if (!until) return Kept::kClockNotStarted;
  if (now <= *until) return Kept::kRetained;
  return facts.in_use ? Kept::kInUse : Kept::kDeletable;
}

ClockJump judge_clock(Timestamp believed, std::optional<std::chrono::microseconds> elapsed, Timestamp now) {
  const Timestamp expected = believed + elapsed.value_or(std::chrono::microseconds(0));
  if (now < expected - kClockSlack) return ClockJump::kBack;
  if (now > expected + (elapsed ? kClockSlack : kLongestSilence)) return ClockJump::kForward;
  return ClockJump::kNone;
}

ReleaseStep request_step(std::string_view requested_by, int people) {
  if (people <= 1) return ReleaseStep::kReleased;
  return requested_by.empty() ? ReleaseStep::kRequested : ReleaseStep::kAlreadyAsked;
}

ReleaseStep confirm_step(std::string_view requested_by, std::string_view actor, int people) {
  if (requested_by.empty()) return ReleaseStep::kNobodyAsked;
  return requested_by == actor && people > 1 ? ReleaseStep::kSamePerson : ReleaseStep::kReleased;
}

}  // namespace stella::evidence
