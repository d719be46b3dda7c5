// The rules against a second opinion: a model that keeps the whole history and answers every question from the beginning.
#include "retention_rules.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace stella::evidence {
namespace {

using std::chrono::hours;
using std::chrono::microseconds;
using std::chrono::minutes;

Timestamp at(std::int64_t seconds) { return Timestamp::from_micros(seconds * 1'000'000); }

TEST(RetentionRules, EveryReasonKeeps) {
  RetentionFacts facts;
  EXPECT_EQ(deletable(facts, at(100), false), Kept::kClockNotStarted);
  facts.base = at(50);
  EXPECT_EQ(deletable(facts, at(100), false), Kept::kDeletable);
  EXPECT_EQ(deletable(facts, at(50), false), Kept::kRetained) << "the instant itself is still kept";
  EXPECT_EQ(deletable(facts, at(100), true), Kept::kFrozen);
  for (Timestamp RetentionFacts::* until : {&RetentionFacts::of_case, &RetentionFacts::incident, &RetentionFacts::store}) {
    RetentionFacts longer = facts;
    longer.*until = at(100);
    EXPECT_EQ(deletable(longer, at(100), false), Kept::kRetained);
    EXPECT_EQ(deletable(longer, at(101), false), Kept::kDeletable);
    EXPECT_EQ(kept_until(longer), at(100));
  }
  RetentionFacts used = facts;
  used.in_use = true;
  EXPECT_EQ(deletable(used, at(100), false), Kept::kInUse);
  RetentionFacts held = used;
  held.holds = 1;
  EXPECT_EQ(deletable(held, at(0), true), Kept::kHeld) << "a hold is named first";
  held.holds = 0;
  held.store_held = true;
  EXPECT_EQ(deletable(held, at(100), false), Kept::kHeld);
}

TEST(RetentionRules, TheClock) {
  const Timestamp believed = at(1'000'000);
  for (const microseconds passed : {microseconds(0), microseconds(minutes(10)), microseconds(hours(24 * 365))}) {
    EXPECT_EQ(judge_clock(believed, passed, believed + passed), ClockJump::kNone);
    EXPECT_EQ(judge_clock(believed, passed, believed + passed + kClockSlack), ClockJump::kNone);
    EXPECT_EQ(judge_clock(believed, passed, believed + passed + kClockSlack + microseconds(1)), ClockJump::kForward);
    EXPECT_EQ(judge_clock(believed, passed, believed + passed - kClockSlack), ClockJump::kNone);
    EXPECT_EQ(judge_clock(believed, passed, believed + passed - kClockSlack - microseconds(1)), ClockJump::kBack);
  }
  // After a restart nothing has measured the time.
  EXPECT_EQ(judge_clock(believed, std::nullopt, believed + kLongestSilence), ClockJump::kNone);
  EXPECT_EQ(judge_clock(believed, std::nullopt, believed + kLongestSilence + microseconds(1)), ClockJump::kForward);
  EXPECT_EQ(judge_clock(believed, std::nullopt, believed - kClockSlack - microseconds(1)), ClockJump::kBack);
}

TEST(RetentionRules, TwoPeopleRelease) {
  EXPECT_EQ(request_step("", 2), ReleaseStep::kRequested);
  EXPECT_EQ(request_step("ann", 2), ReleaseStep::kAlreadyAsked);
  EXPECT_EQ(request_step("", 1), ReleaseStep::kReleased);
  EXPECT_EQ(confirm_step("", "bob", 2), ReleaseStep::kNobodyAsked);
  EXPECT_EQ(confirm_step("ann", "ann", 2), ReleaseStep::kSamePerson);
  EXPECT_EQ(confirm_step("ann", "bob", 2), ReleaseStep::kReleased);
  EXPECT_EQ(confirm_step("ann", "ann", 1), ReleaseStep::kReleased);
}

// ── Random histories ───────────────────────────────────────────────────────────────────────────────────────────────

struct Op {
  enum Kind { kPlace, kAsk, kConfirm, kBase, kCase, kIncident, kStore, kWait, kBack, kForward, kMend } kind;
  int authority, actor;
  std::int64_t seconds;
};

// What the rules make of it, step by step.
struct Stepwise {
  std::map<int, std::string> holds;  // authority → who asked for its release
  RetentionFacts facts;
  Timestamp believed = at(1'000'000), wall = believed;
  microseconds passed{0};

  void apply(const Op& op, int people) {
    const std::string actor = std::string(1, static_cast<char>('a' + op.actor));
    const auto hold = holds.find(op.authority);
    const auto released = [&](ReleaseStep step) {
      if (step == ReleaseStep::kReleased) holds.erase(hold);
      else if (step == ReleaseStep::kRequested) hold->second = actor;
    };
    const Timestamp until = wall + std::chrono::seconds(op.seconds);
    switch (op.kind) {
      case Op::kPlace: holds[op.authority] = ""; break;
      case Op::kAsk: if (hold != holds.end()) released(request_step(hold->second, people)); break;
      case Op::kConfirm: if (hold != holds.end()) released(confirm_step(hold->second, actor, people)); break;
      case Op::kBase: facts.base = grown(facts.base.value_or(Timestamp{}), until); break;
      case Op::kCase: facts.of_case = grown(facts.of_case, until); break;
      case Op::kIncident: facts.incident = grown(facts.incident, until); break;
      case Op::kStore: facts.store = grown(facts.store, until); break;
      case Op::kWait: passed += std::chrono::seconds(op.seconds); wall = wall + std::chrono::seconds(op.seconds); break;
      case Op::kBack: wall = wall - std::chrono::seconds(op.seconds); break;
      case Op::kForward: wall = wall + std::chrono::seconds(op.seconds); break;
      case Op::kMend: wall = believed + passed; break;
    }
    facts.holds = holds.size();
  }
  bool may_delete() const { return deletable(facts, wall, judge_clock(believed, passed, wall) != ClockJump::kNone) == Kept::kDeletable; }
};

// The second opinion. Knows nothing but the list of what happened.
bool allowed_by_history(const std::vector<Op>& history, int people) {
  std::int64_t wall = 0, truth = 0;
  std::vector<std::int64_t> wall_at;  // the clock when each thing happened
  for (const Op& op : history) {
    wall_at.push_back(wall);
    if (op.kind == Op::kWait) truth += op.seconds;
    if (op.kind == Op::kWait || op.kind == Op::kForward) wall += op.seconds;
    if (op.kind == Op::kBack) wall -= op.seconds;
    if (op.kind == Op::kMend) wall = truth;
  }
  if (wall - truth > 300 || truth - wall > 300) return false;
  bool started = false;
  for (std::size_t i = 0; i < history.size(); ++i) {
    const Op::Kind kind = history[i].kind;
    if (kind != Op::kBase && kind != Op::kCase && kind != Op::kIncident && kind != Op::kStore) continue;
    started = started || kind == Op::kBase;
    if (wall <= wall_at[i] + history[i].seconds) return false;  // one promise that has not ended is enough
  }
  if (!started) return false;
  for (int authority = 0; authority < 3; ++authority) {
    // Backwards to the last time that it was placed; from there on it needs an asker and another one who confirms.
    std::size_t from = history.size();
    for (std::size_t i = history.size(); i-- > 0;)
      if (history[i].kind == Op::kPlace && history[i].authority == authority) {
        from = i;
        break;
      }
    if (from == history.size()) continue;
    bool released = false;
    int asker = -1;
    for (std::size_t i = from + 1; i < history.size() && !released; ++i) {
      const Op& op = history[i];
      if (op.authority != authority) continue;
      if (op.kind == Op::kAsk) {
        if (people == 1) released = true;
        else if (asker < 0) asker = op.actor;
      }
      if (op.kind == Op::kConfirm && asker >= 0 && (people == 1 || op.actor != asker)) released = true;
    }
    if (!released) return false;
  }
  return true;
}

TEST(RetentionRules, AgreeWithTheWholeHistory) {
  int allowed = 0, kept = 0;
  for (unsigned seed = 0; seed < 6000; ++seed) {
    std::mt19937 random(seed);
    const auto draw = [&](int below) { return static_cast<int>(random() % static_cast<unsigned>(below)); };
    const int people = seed % 5 == 0 ? 1 : 2;
    Stepwise rules;
    std::vector<Op> history;
    Timestamp before;
    for (int step = 0; step < 60; ++step) {
      // Mostly about releases and waiting, or hardly anything would ever be deletable.
      constexpr Op::Kind kKinds[] = {Op::kPlace, Op::kAsk, Op::kAsk, Op::kConfirm, Op::kConfirm, Op::kConfirm, Op::kBase, Op::kCase, Op::kIncident, Op::kStore, Op::kWait, Op::kWait, Op::kWait, Op::kBack, Op::kForward, Op::kMend, Op::kMend};
      Op op{kKinds[draw(std::size(kKinds))], draw(3), draw(3), 0};
      op.seconds = op.kind == Op::kWait ? draw(2000) : op.kind == Op::kBack || op.kind == Op::kForward ? draw(500) : draw(1500);
      history.push_back(op);
      rules.apply(op, people);
      const bool ours = rules.may_delete();
      ASSERT_EQ(ours, allowed_by_history(history, people)) << "seed " << seed << " step " << step;
      (ours ? allowed : kept)++;
      const Timestamp until = kept_until(rules.facts).value_or(Timestamp{});
      ASSERT_GE(until, before) << "retention only grows";
      before = until;
    }
  }
  // Both answers have to come up often, or the comparison says nothing.
  EXPECT_GT(allowed, 10'000);
  EXPECT_GT(kept, 10'000);
}

}  // namespace
}  // namespace stella::evidence
