// The rules of expiry by name.
#include "expiry_rules.h"

#include <gtest/gtest.h>

namespace stella::evidence {
namespace {

Timestamp at(const char* text) { return Timestamp::parse(text).value(); }

TEST(ExpiryRules, WhatProofsRestOnStays) {
  for (const char* kind : {"hold.placed", "disposition.executed", "key.rotated", "evidence.sealed", "case.closed", "retention.extended", "advisory.ingested", "sbom.received", "policy.published"}) EXPECT_TRUE(stays_for_good(kind)) << kind;
  for (const char* kind : {"job.finished", "policy.activated", "policy.evaluated", "sbom.rejected", "advisory.linked", "annotation.added", "holding.placed", ""}) EXPECT_FALSE(stays_for_good(kind)) << kind;
}

TEST(ExpiryRules, ExpiryGoesByWholeDays) {
  EXPECT_EQ(expiry_cutoff(at("2026-07-10T13:00:00Z"), std::chrono::days(9)), at("2026-07-01T00:00:00Z"));
  EXPECT_EQ(expiry_cutoff(at("2026-07-10T00:00:00Z"), std::chrono::days(9)), at("2026-07-01T00:00:00Z"));
  EXPECT_EQ(expiry_cutoff(at("1970-01-10T01:00:00Z"), std::chrono::days(30)).micros() % 86'400'000'000, 0);
}

TEST(ExpiryRules, RunsAreNamedForPeopleAndForTheDatabase) {
  Runs runs;
  EXPECT_EQ(runs.multirange(), "{}");
  for (const std::int64_t index : {3, 4, 5, 9}) runs.add(index);
  EXPECT_EQ(runs.size(), 2u);
  EXPECT_EQ(runs.names(), (std::vector<std::string>{"3-5", "9"}));
  EXPECT_EQ(runs.multirange(), "{[3,6),[9,10)}");
}

}  // namespace
}  // namespace stella::evidence
