// OSV's evaluation on one affected entry: which clause decides, and when we do not know.
#include "clause.h"

#include <gtest/gtest.h>

#include <random>

namespace stella::pipeline {
namespace {

using contracts::Verdict;
using K = EventKind;

AffectedView entry_of(std::vector<EventView> events, RangeType type = RangeType::kEcosystem) {
  AffectedView entry;
  entry.has_clauses = true;
  entry.ranges.push_back({0, type, std::move(events)});
  return entry;
}

Verdict verdict(const AffectedView& entry, std::string_view version, VersionOrder order = VersionOrder::kSemver) {
  return evaluate(entry, order, version).verdict;
}

TEST(Clause, TwoPairsInOneRangeAreTwoIntervals) {
  const auto entry = entry_of({{K::kIntroduced, "2.2"}, {K::kFixed, "2.2.8"}, {K::kIntroduced, "2.0"}, {K::kFixed, "2.1.5"}});
  EXPECT_EQ(verdict(entry, "4.2.14"), Verdict::kNotAffected);
  EXPECT_EQ(verdict(entry, "2.2.1"), Verdict::kAffected);
  EXPECT_EQ(verdict(entry, "2.1.5"), Verdict::kNotAffected);
  EXPECT_EQ(verdict(entry, "2.0"), Verdict::kAffected);
  EXPECT_EQ(verdict(entry, "1.9"), Verdict::kNotAffected);
  const auto outcome = evaluate(entry, VersionOrder::kSemver, "2.1.0");
  EXPECT_EQ(outcome.clause.by, "range");
  EXPECT_EQ(outcome.clause.introduced, "2.0");
  EXPECT_EQ(outcome.clause.fixed, "2.1.5");
  EXPECT_EQ(fixed_versions(entry, VersionOrder::kSemver, "2.1.0"), (std::vector<std::string>{"2.1.5", "2.2.8"}));
}

TEST(Clause, LastAffectedIsInclusive) {
  const auto entry = entry_of({{K::kIntroduced, "0"}, {K::kLastAffected, "2.88.2"}});
  const auto outcome = evaluate(entry, VersionOrder::kSemver, "2.88.2");
  EXPECT_EQ(outcome.verdict, Verdict::kAffected);
  EXPECT_EQ(outcome.clause.last_affected, "2.88.2");
  EXPECT_EQ(outcome.clause.introduced, "0");
  EXPECT_EQ(verdict(entry, "2.88.3"), Verdict::kNotAffected);
}

TEST(Clause, ListedVersionsWithAndWithoutV) {
  AffectedView entry;
  entry.has_clauses = true;
  entry.versions = {"v1.2.3", "1.2.4"};
  for (const auto* version : {"1.2.3", "v1.2.3", "1.2.4", "v1.2.4"}) EXPECT_EQ(verdict(entry, version), Verdict::kAffected) << version;
  EXPECT_EQ(verdict(entry, "1.2.3", VersionOrder::kPep440), Verdict::kNotAffected);
}

TEST(Clause, LimitsBoundTheRange) {
  const auto entry = entry_of({{K::kIntroduced, "1.0"}, {K::kLimit, "2.0"}});
  EXPECT_EQ(verdict(entry, "1.5"), Verdict::kAffected);
  EXPECT_EQ(verdict(entry, "2.0"), Verdict::kNotAffected);
  EXPECT_EQ(verdict(entry_of({{K::kIntroduced, "1.0"}, {K::kLimit, "*"}}), "99.0"), Verdict::kAffected);
}

TEST(Clause, GapsAreExplained) {
  const auto entry = entry_of({{K::kIntroduced, "1.0"}, {K::kFixed, "1.2"}});
  const auto above = evaluate(entry, VersionOrder::kSemver, "1.3");
  EXPECT_EQ(above.clause.by, "none");
  EXPECT_EQ(above.clause.introduced, "1.0");
  EXPECT_EQ(above.clause.fixed, "1.2");
  const auto below = evaluate(entry, VersionOrder::kSemver, "0.9");
  EXPECT_EQ(below.clause.introduced, "1.0");
  EXPECT_EQ(below.clause.fixed, "");
}

TEST(Clause, ListedVersionsAreLiterals) {
  AffectedView entry;
  entry.has_clauses = true;
  entry.versions = {"1.0", "1.2.3"};
  EXPECT_EQ(evaluate(entry, VersionOrder::kPep440, "1.0").clause.by, "versions");
  EXPECT_EQ(verdict(entry, "1.0.0", VersionOrder::kPep440), Verdict::kNotAffected);
  EXPECT_EQ(verdict(entry, "v1.2.3"), Verdict::kAffected);
}

TEST(Clause, SaysWhenItDoesNotKnow) {
  const auto entry = entry_of({{K::kIntroduced, "0"}, {K::kFixed, "1.0"}});
  const auto strange = evaluate(entry, VersionOrder::kSemver, "master");
  EXPECT_EQ(strange.verdict, Verdict::kUnknown);
  EXPECT_EQ(strange.reason, "version not parsable");
  EXPECT_EQ(strange.clause.by, "reason");
  const auto bad = evaluate(entry_of({{K::kIntroduced, "0"}, {K::kFixed, "next"}}), VersionOrder::kSemver, "1.0");
  EXPECT_EQ(bad.reason, "advisory version not parsable");
  const std::string endless(100'000, '1');
  EXPECT_EQ(evaluate(entry, VersionOrder::kSemver, endless).reason, "version not parsable");
  EXPECT_EQ(evaluate(entry_of({{K::kIntroduced, "0"}, {K::kFixed, endless}}), VersionOrder::kSemver, "1.0").reason,
            "advisory version not parsable");
  const auto git = evaluate(AffectedView{}, VersionOrder::kSemver, "1.0");
  EXPECT_EQ(git.verdict, Verdict::kUnknown);
  EXPECT_EQ(git.reason, "only GIT ranges");
}

// The definition itself, slow and plain: sort the events, walk them.
bool sorted_walk(std::vector<EventView> events, std::string_view version) {
  const auto less = [](std::string_view a, std::string_view b) { return *compare_versions(VersionOrder::kSemver, a, b) < 0; };
  bool limited = false;
  bool below = false;
  for (const auto& e : events)
    if (e.kind == K::kLimit) {
      limited = true;
      below = below || less(version, e.version);
    }
  if (limited && !below) return false;
  std::stable_sort(events.begin(), events.end(), [&](const EventView& a, const EventView& b) {
    const bool a_zero = a.kind == K::kIntroduced && a.version == "0";
    const bool b_zero = b.kind == K::kIntroduced && b.version == "0";
    return a_zero || b_zero ? a_zero && !b_zero : less(a.version, b.version);
  });
  bool vulnerable = false;
  for (const auto& e : events) {
    if (e.kind == K::kIntroduced && (e.version == "0" || !less(version, e.version))) vulnerable = true;
    if (e.kind == K::kFixed && !less(version, e.version)) vulnerable = false;
    if (e.kind == K::kLastAffected && less(e.version, version)) vulnerable = false;
  }
  return vulnerable;
}

TEST(Clause, AgreesWithTheSortedWalkOnRandomRanges) {
  std::mt19937 random(11);
  const std::vector<std::string_view> versions{"0", "0.1", "1.0-rc.1", "1.0", "1.0.1", "1.2", "2.0", "2.0.0-0", "3", "10"};
  int affected = 0;
  for (int i = 0; i < 50'000; ++i) {
    std::vector<EventView> events{{K::kIntroduced, versions[random() % versions.size()]}};
    for (unsigned n = random() % 6; n > 0; --n) {
      const auto kind = random() % 12 == 0 ? K::kLimit : static_cast<K>(random() % 3);
      events.push_back({kind, versions[random() % versions.size()]});
    }
    std::shuffle(events.begin(), events.end(), random);
    const auto version = versions[random() % versions.size()];
    const bool expected = sorted_walk(events, version);
    affected += expected;
    ASSERT_EQ(verdict(entry_of(events), version) == Verdict::kAffected, expected) << i;
  }
  EXPECT_GT(affected, 5000);
}

}  // namespace
}  // namespace stella::pipeline
