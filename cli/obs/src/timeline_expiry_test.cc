// Which expired entries the dispositions of a log cover.
#include "timeline_expiry.h"

#include <gtest/gtest.h>

namespace stella::cli {
namespace {

using Runs = std::vector<Expiry::Run>;

constexpr const char* kUntil = "2026-03-01T00:00:00.000000Z";

json::Value record(const char* kind, std::int64_t from, std::int64_t below, std::initializer_list<const char*> kept = {}, const char* until = kUntil, const char* what = "timeline_entries") {
  json::Array list;
  for (const char* run : kept) list.emplace_back(std::string(run));
  return json::Value::object({{"kind", kind}, {"ts", "2026-09-01T12:00:00.000000Z"},
                              {"details", json::Value::object({{"what", what}, {"until", until}, {"disposition_id", "d" + std::to_string(from)}, {"from_index", from}, {"below_index", below}, {"kept", std::move(list)}})}});
}
json::Value planned(std::int64_t from, std::int64_t below) { return record("disposition.planned", from, below); }
json::Value executed(std::int64_t from, std::int64_t below, std::initializer_list<const char*> kept = {}, const char* until = kUntil) { return record("disposition.executed", from, below, kept, until); }
json::Value at(const char* ts) { return json::Value::object({{"kind", "case.closed"}, {"ts", ts}}); }

// The plan, and the deletion after it.
void both(Expiry& e, std::int64_t index, std::int64_t from, std::int64_t below, std::initializer_list<const char*> kept = {}) {
  e.entry(index, planned(from, below));
  e.entry(index + 1, executed(from, below, kept));
}

Expiry seen(std::int64_t from, std::int64_t below) {
  Expiry out;
  for (std::int64_t index = from; index < below; ++index) out.expired(index);
  return out;
}

TEST(Expiry, NothingCoversWithoutADisposition) {
  EXPECT_TRUE(Expiry().uncovered().empty());
  EXPECT_EQ(seen(3, 6).uncovered(), (Runs{{3, 6}}));
  EXPECT_EQ(seen(3, 6).count(), 3);
}

TEST(Expiry, ADispositionCoversItsRangeWithoutWhatItKept) {
  Expiry e = seen(0, 10);
  both(e, 20, 0, 10);
  EXPECT_TRUE(e.uncovered().empty());
  EXPECT_EQ(e.until()->rfc3339(), kUntil);
  Expiry kept = seen(0, 10);
  both(kept, 20, 0, 10, {"0", "4-5"});
  EXPECT_EQ(kept.uncovered(), (Runs{{0, 1}, {4, 6}}));
  Expiry more = seen(0, 12);
  both(more, 20, 0, 10);
  EXPECT_EQ(more.uncovered(), (Runs{{10, 12}}));
  EXPECT_EQ(more.why({10, 12}), "no disposition in the log says that it was deleted");
  both(more, 30, 10, 25, {"13-24"});
  EXPECT_TRUE(more.uncovered().empty());
}

TEST(Expiry, EntriesInBetweenThatAreThereAreNoMatter) {
  Expiry e;
  for (const std::int64_t index : {1, 2, 3, 7, 8, 20}) e.expired(index);
  both(e, 40, 0, 8, {"0-1"});
  both(e, 42, 8, 9);
  EXPECT_EQ(e.uncovered(), (Runs{{1, 2}, {20, 21}}));
}

TEST(Expiry, WhatIsNoRecordOfThisDeletionCoversNothing) {
  for (const json::Value& entry : {planned(0, 10), record("disposition.executed", 0, 10, {}, kUntil, "bundle"), executed(-1, 10), executed(0, 10, {"5-4"}), executed(0, 10, {"5", "2"}), executed(0, 10, {"x"}),
                                   executed(0, 10, {"1-2-3"}), executed(0, 10, {"9-10"}), json::Value::object({{"kind", "disposition.executed"}})}) {
    Expiry e = seen(0, 10);
    e.entry(19, planned(0, 10));
    e.entry(20, entry);
    EXPECT_EQ(e.uncovered(), (Runs{{0, 10}})) << json::dump(entry);
    EXPECT_FALSE(e.until().has_value());
  }
  Expiry early = seen(0, 10);
  both(early, 8, 0, 10);
  EXPECT_EQ(early.uncovered(), (Runs{{0, 10}})) << "a record cannot be older than what it deletes";
}

// Each is in the log, signed like all others, and contradicts it.
TEST(Expiry, ARecordThatTheLogContradictsCoversNothing) {
  const auto refused = [](Expiry& e, const char* why) {
    ASSERT_EQ(e.uncovered().size(), 1u) << why;
    EXPECT_EQ(e.why(e.uncovered().front()), std::string("the disposition that entry 20 states does not count: ") + why);
    EXPECT_FALSE(e.until().has_value());
  };
  Expiry alone = seen(0, 10);
  alone.entry(20, executed(0, 10));
  alone.entry(21, planned(0, 10));
  refused(alone, "no plan of it stands before it");
  alone.entry(22, executed(0, 10, {}, "soon"));
  EXPECT_EQ(alone.why({0, 10}), "the disposition that entry 22 states does not count: it does not say until when") << "the newest is what counts";
  Expiry wider = seen(0, 10);
  wider.entry(19, planned(0, 9));
  wider.entry(20, executed(0, 10));
  refused(wider, "it was planned for other entries");
  Expiry middle = seen(5, 10);
  both(middle, 19, 5, 10);
  refused(middle, "it begins at entry 5, but a log is deleted from its beginning on, and the next one was 0");
  Expiry future = seen(0, 10);
  future.entry(19, planned(0, 10));
  future.entry(20, executed(0, 10, {}, "2026-09-01T12:00:00.000001Z"));
  refused(future, "it says that what was deleted is older than 2026-09-01T12:00:00.000001Z, which is later than the record itself");
  Expiry never = seen(0, 10);
  never.entry(19, planned(0, 10));
  never.entry(20, executed(0, 10, {}, "soon"));
  refused(never, "it does not say until when");
}

TEST(Expiry, WhatIsStillThereTellsHowOldTheRestWas) {
  const auto log = [](const char* kept) {
    Expiry e;
    e.expired(0);
    e.entry(1, at("2026-01-01T00:00:00.000000Z"));
    e.entry(2, at(kept));
    e.expired(3);
    e.entry(4, at("2026-08-01T00:00:00.000000Z"));
    both(e, 19, 0, 5, {"1-2", "4"});
    return e;
  };
  EXPECT_TRUE(log("2026-02-28T23:59:59.000000Z").uncovered().empty()) << "what comes after all that was deleted may be young";
  EXPECT_TRUE(log("2026-03-01T00:10:00.000000Z").uncovered().empty()) << "entries come a little out of order";
  const Expiry young = log("2026-03-01T01:00:00.000000Z");
  EXPECT_EQ(young.uncovered(), (Runs{{0, 1}, {3, 4}}));
  EXPECT_EQ(young.why({3, 4}), "the disposition that entry 20 states does not count: it says that what was deleted is older than 2026-03-01T00:00:00.000000Z, but an entry before it, which is still there, is of "
                               "2026-03-01T01:00:00.000000Z");
}

}  // namespace
}  // namespace stella::cli
