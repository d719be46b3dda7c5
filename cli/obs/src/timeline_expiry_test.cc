// Which expired entries the dispositions of a log cover.
#include "timeline_expiry.h"

#include <gtest/gtest.h>

namespace stella::cli {
namespace {

using Runs = std::vector<Expiry::Run>;

json::Value executed(std::int64_t from, std::int64_t below, std::initializer_list<const char*> kept, const char* kind = "disposition.executed", const char* what = "timeline_entries") {
  json::Array list;
  for (const char* run : kept) list.emplace_back(std::string(run));
  return json::Value::object({{"kind", kind}, {"details", json::Value::object({{"what", what}, {"from_index", from}, {"below_index", below}, {"kept", std::move(list)}})}});
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
  e.entry(20, executed(0, 10, {}));
  EXPECT_TRUE(e.uncovered().empty());
  Expiry kept = seen(0, 10);
  kept.entry(20, executed(0, 10, {"0", "4-5"}));
  EXPECT_EQ(kept.uncovered(), (Runs{{0, 1}, {4, 6}}));
  Expiry more = seen(0, 12);
  more.entry(20, executed(0, 10, {}));
  EXPECT_EQ(more.uncovered(), (Runs{{10, 12}}));
  more.entry(30, executed(10, 25, {"13-24"}));
  EXPECT_TRUE(more.uncovered().empty());
}

TEST(Expiry, OverlapsAndGapsAreNoMatter) {
  Expiry e;
  for (const std::int64_t index : {1, 2, 3, 7, 8, 20}) e.expired(index);
  e.entry(40, executed(6, 9, {}));
  e.entry(41, executed(2, 8, {}));
  EXPECT_EQ(e.uncovered(), (Runs{{1, 2}, {20, 21}}));
}

TEST(Expiry, WhatIsNoRecordOfThisDeletionCoversNothing) {
  for (const json::Value& entry : {executed(0, 10, {}, "disposition.planned"), executed(0, 10, {}, "disposition.executed", "bundle"), executed(-1, 10, {}), executed(0, 10, {"5-4"}), executed(0, 10, {"5", "2"}),
                                   executed(0, 10, {"x"}), executed(0, 10, {"1-2-3"}), executed(0, 10, {"9-10"}), json::Value::object({{"kind", "disposition.executed"}})}) {
    Expiry e = seen(0, 10);
    e.entry(20, entry);
    EXPECT_EQ(e.uncovered(), (Runs{{0, 10}})) << json::dump(entry);
  }
  Expiry early = seen(0, 10);
  early.entry(9, executed(0, 10, {}));
  EXPECT_EQ(early.uncovered(), (Runs{{0, 10}})) << "a record cannot be older than what it deletes";
}

}  // namespace
}  // namespace stella::cli
