// Alias sets against a closure that is computed the slow way.
#include "alias_sets.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

namespace stella::ledger {
namespace {

AliasEdge edge(std::string from, std::string to, std::string source = "s", char doc = 'a') {
  return {std::move(from), std::move(to), std::move(source), Sha256::parse(std::string(64, doc)).value()};
}

using Graph = std::map<std::string, std::set<std::string>>;

// Every id's set by walking until nothing is new; no idea of disjoint sets.
std::map<std::string, std::set<std::string>> closure(const std::vector<AliasEdge>& edges) {
  Graph near;
  for (const AliasEdge& e : edges) {
    near[e.from].insert(e.to);
    near[e.to].insert(e.from);
  }
  std::map<std::string, std::set<std::string>> sets;
  for (const auto& [start, unused] : near) {
    std::set<std::string> reached{start};
    for (std::size_t size = 0; size != reached.size();) {
      size = reached.size();
      for (const std::string& id : std::set<std::string>(reached)) reached.insert(near[id].begin(), near[id].end());
    }
    std::string name = *reached.begin();
    for (const std::string& id : reached)
      if (id.substr(0, 4) == "CVE-") {
        name = id;
        break;
      }
    sets[name] = std::move(reached);
  }
  return sets;
}

TEST(AliasSets, AnAliasHoldsBothWaysAndFromOneToTheNext) {
  const auto sets = alias_sets({edge("GHSA-1", "CVE-2"), edge("PYSEC-1", "GHSA-1"), edge("X-1", "X-2")});
  ASSERT_EQ(sets.size(), 2u);
  EXPECT_EQ(sets[0].name, "CVE-2");
  EXPECT_EQ(sets[0].members, (std::vector<std::string>{"CVE-2", "GHSA-1", "PYSEC-1"}));
  EXPECT_EQ(sets[0].edges, (std::vector<AliasEdge>{edge("GHSA-1", "CVE-2"), edge("PYSEC-1", "GHSA-1")}));
  EXPECT_EQ(sets[1].name, "X-1");
  EXPECT_TRUE(alias_sets({}).empty());
}

TEST(AliasSets, TheNameIsTheSmallestCveElseTheSmallestId) {
  EXPECT_EQ(alias_sets({edge("A-1", "CVE-2024-2"), edge("A-1", "CVE-2023-9")})[0].name, "CVE-2023-9");
  EXPECT_EQ(alias_sets({edge("GHSA-1", "A-1")})[0].name, "A-1");
  EXPECT_EQ(alias_sets({edge("A-CVE-1", "B-1")})[0].name, "A-CVE-1");
}

TEST(AliasSets, EveryGraphHasTheSetsOfItsClosure) {
  std::mt19937 random(20261130);
  const auto pick = [&](int n) { return static_cast<int>(random() % static_cast<unsigned>(n)); };
  for (int round = 0; round < 3000; ++round) {
    const int ids = 2 + pick(30);
    const auto id = [&] {
      const int n = pick(ids);
      return (n % 3 == 0 ? "CVE-" : n % 3 == 1 ? "GHSA-" : "BIT-") + std::to_string(n);
    };
    std::vector<AliasEdge> edges;
    for (int n = pick(40); n > 0; --n) {
      AliasEdge e = edge(id(), id(), pick(2) == 0 ? "a" : "b", "0123"[pick(4)]);
      if (e.from != e.to) edges.push_back(std::move(e));
    }
    if (!edges.empty() && pick(4) == 0) edges.push_back(edges.front());
    const auto expected = closure(edges);
    std::set<AliasEdge> distinct(edges.begin(), edges.end());
    std::shuffle(edges.begin(), edges.end(), random);
    const auto sets = alias_sets(edges);
    ASSERT_EQ(sets.size(), expected.size());
    auto it = expected.begin();
    for (const AliasSet& set : sets) {
      ASSERT_EQ(set.name, it->first);
      ASSERT_EQ(set.members, std::vector<std::string>(it->second.begin(), it->second.end()));
      ASSERT_TRUE(std::is_sorted(set.edges.begin(), set.edges.end()));
      for (const AliasEdge& e : set.edges) {
        ASSERT_TRUE(it->second.contains(e.from) && it->second.contains(e.to));
        ASSERT_EQ(distinct.erase(e), 1u);
      }
      ++it;
    }
    ASSERT_TRUE(distinct.empty());
  }
}

TEST(AliasSets, WhatChangedIsToldUnderBothNames) {
  const auto before = alias_sets({edge("G-1", "CVE-1"), edge("G-2", "CVE-2"), edge("G-9", "CVE-9")});
  const auto merged = alias_sets({edge("G-1", "CVE-1"), edge("G-2", "CVE-2"), edge("G-2", "G-1"), edge("G-9", "CVE-9")});
  auto changes = changed_sets(before, merged);
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].now.name, "CVE-1");
  EXPECT_EQ(changes[0].added, (std::vector<std::string>{"CVE-2", "G-2"}));
  EXPECT_TRUE(changes[0].removed.empty());
  EXPECT_EQ(changes[1].now, (AliasSet{"CVE-2", {}, {}}));
  EXPECT_EQ(changes[1].removed, (std::vector<std::string>{"CVE-2", "G-2"}));

  changes = changed_sets(merged, before);
  ASSERT_EQ(changes.size(), 2u);
  EXPECT_EQ(changes[0].removed, (std::vector<std::string>{"CVE-2", "G-2"}));
  EXPECT_EQ(changes[1].added, (std::vector<std::string>{"CVE-2", "G-2"}));
  EXPECT_EQ(changes[1].now.members, changes[1].added);

  EXPECT_TRUE(changed_sets(before, before).empty());
  const auto resourced = alias_sets({edge("G-1", "CVE-1", "s", 'b'), edge("G-2", "CVE-2"), edge("G-9", "CVE-9")});
  changes = changed_sets(before, resourced);
  ASSERT_EQ(changes.size(), 1u);
  EXPECT_TRUE(changes[0].added.empty() && changes[0].removed.empty());
  EXPECT_EQ(changes[0].now.edges[0].source_doc.hex(), std::string(64, 'b'));
}

TEST(AliasSets, OnlyWhatMakesAnEdgeIsFollowed) {
  const std::vector<std::string> one{"CVE-1"};
  EXPECT_EQ(followed_aliases("GHSA-1", one, {"npm"}), one);
  EXPECT_EQ(followed_aliases("GHSA-1", one, {}), one);
  EXPECT_EQ(followed_aliases("X-1", one, {"Unheard of"}), one);
  for (const char* distribution : {"Debian:7", "Debian", "Ubuntu:22.04:LTS", "AlmaLinux:8", "Alpine:v3.16", "Red Hat:rhel_e4s:8.8"})
    EXPECT_TRUE(followed_aliases("DSA-1", one, {distribution}).empty()) << distribution;
  EXPECT_TRUE(followed_aliases("CVE-1", one, {"npm"}).empty());
  EXPECT_EQ(followed_aliases("G-1", {"", std::string("a\0b", 3), std::string(501, 'x'), std::string(500, 'y')}, {}), std::vector<std::string>{std::string(500, 'y')});
  EXPECT_EQ(followed_aliases("G-1", std::vector<std::string>(100, "CVE-1"), {}).size(), kAliasesFollowed);
}

}  // namespace
}  // namespace stella::ledger
