// Containment by the document's relationships.
#include "product_scope.h"

#include <gtest/gtest.h>

namespace stella::pipeline::vex {
namespace {

using contracts::Component;
using contracts::EdgeKind;

constexpr auto kC = EdgeKind::kContains;
constexpr auto kD = EdgeKind::kDependsOn;

contracts::ComponentTable table(std::vector<std::string> types, std::vector<contracts::Edge> edges) {
  contracts::ComponentTable t;
  for (std::size_t i = 0; i < types.size(); ++i) {
    Component c;
    c.label = std::to_string(i);
    c.type = types[i];
    c.purl = types[i].empty() ? "" : "pkg:" + types[i] + "/" + c.label + "@1";
    c.refs = {"r" + c.label};
    t.components.push_back(c);
  }
  std::sort(edges.begin(), edges.end());
  t.edges = std::move(edges);
  return t;
}

Containment where(const contracts::ComponentTable& t, std::vector<std::uint32_t> products, std::uint32_t component, OutsideReach reach = OutsideReach::kPaths) {
  const EdgeIndex edges(t);
  std::uint32_t elsewhere = 0;
  return ProductScope(edges, std::move(products), reach).contains(component, &elsewhere);
}

TEST(ProductScope, FollowsContainsAndDependsOnTransitively) {
  const auto t = table({"oci", "rpm", "golang", "golang"}, {{0, 1, kC}, {1, 2, kC}, {2, 3, kD}});
  EXPECT_EQ(where(t, {0}, 3), Containment::kInside);
  EXPECT_EQ(where(t, {1}, 3), Containment::kInside);
  EXPECT_EQ(where(t, {3}, 1), Containment::kOutside);  // never upwards
}

TEST(ProductScope, TheSameLibraryInAnotherBinaryStaysOpen) {
  // An image with two rpm packages that each hold module 3.
  const auto t = table({"oci", "rpm", "rpm", "golang"}, {{0, 1, kC}, {0, 2, kC}, {1, 3, kC}, {2, 3, kC}});
  EXPECT_EQ(where(t, {1}, 3), Containment::kAlsoOutside);
  EXPECT_EQ(where(t, {1, 2}, 3), Containment::kInside);
  EXPECT_EQ(where(t, {0}, 3), Containment::kInside);
}

TEST(ProductScope, SomethingElseUsesItToo) {
  // 0 depends on 1 and 2; both depend on 3.
  const auto t = table({"npm", "npm", "npm", "npm"}, {{0, 1, kD}, {0, 2, kD}, {1, 3, kD}, {2, 3, kD}});
  EXPECT_EQ(where(t, {1}, 3), Containment::kAlsoOutside);
  EXPECT_EQ(where(t, {0}, 3), Containment::kInside);
}

TEST(ProductScope, WhatHoldsTheProductSaysNothingAboutItsParts) {
  // The subject 0 contains all; 1 depends on 2.
  auto t = table({"npm", "npm", "npm"}, {{0, 1, kC}, {0, 2, kC}, {1, 2, kD}});
  EXPECT_EQ(where(t, {1}, 2), Containment::kInside);
  // With two copies in the document one of them may be elsewhere.
  t.components[2].refs = {"a", "b"};
  EXPECT_EQ(where(t, {1}, 2), Containment::kAlsoOutside);
  EXPECT_EQ(where(t, {0}, 2), Containment::kInside);
  // A direct use by what holds the product is a use outside of it.
  EXPECT_EQ(where(table({"npm", "npm", "npm"}, {{0, 1, kC}, {0, 2, kD}, {1, 2, kD}}), {1}, 2), Containment::kAlsoOutside);
}

TEST(ProductScope, ModulesOfOneGoBinaryAreBuiltIntoItsProduct) {
  // Image 0 holds binaries 1 and 2 (no purl); product 3 lies in 1; 4 in 1; 5 in both; 6 in 2.
  const auto t = table({"oci", "", "", "golang", "golang", "golang", "golang"}, {{0, 1, kC}, {0, 2, kC}, {1, 3, kC}, {1, 4, kC}, {1, 5, kC}, {2, 5, kC}, {2, 6, kC}});
  EXPECT_EQ(where(t, {3}, 4), Containment::kInside);
  EXPECT_EQ(where(t, {3}, 5), Containment::kAlsoOutside);
  EXPECT_EQ(where(t, {3}, 6), Containment::kOutside);
}

TEST(ProductScope, PackagesOfOneSystemAreNotPartsOfEachOther) {
  const auto os = table({"oci", "", "rpm", "rpm"}, {{0, 1, kC}, {1, 2, kC}, {1, 3, kC}});
  EXPECT_EQ(where(os, {2}, 3), Containment::kOutside);
  const auto jars = table({"oci", "", "maven", "maven"}, {{0, 1, kC}, {1, 2, kC}, {1, 3, kC}});
  EXPECT_EQ(where(jars, {2}, 3), Containment::kOutside);
  const auto root = table({"", "golang", "golang"}, {{0, 1, kC}, {0, 2, kC}});  // the document's root is no binary
  EXPECT_EQ(where(root, {1}, 2), Containment::kOutside);
}

// 0 depends on the product 1 and on 2; both depend on 3, and that on 4: 2 -> 3 -> 4 passes the product by.
TEST(ProductScope, WhatIsSharedTakesItsPartsAlong) {
  const auto t = table({"npm", "npm", "npm", "npm", "npm", "npm"}, {{0, 1, kD}, {0, 2, kD}, {1, 3, kD}, {2, 3, kD}, {3, 4, kD}, {4, 5, kC}, {5, 3, kD}});
  EXPECT_EQ(where(t, {1}, 3), Containment::kAlsoOutside);
  EXPECT_EQ(where(t, {1}, 4), Containment::kAlsoOutside);
  EXPECT_EQ(where(t, {1}, 5), Containment::kAlsoOutside);
  EXPECT_EQ(where(t, {1}, 4, OutsideReach::kHolders), Containment::kInside);  // as version 1 of the rule had it
  const EdgeIndex edges(t);
  std::uint32_t elsewhere = 0;
  EXPECT_EQ(ProductScope(edges, {1}).contains(5, &elsewhere), Containment::kAlsoOutside);
  EXPECT_EQ(elsewhere, 2u);  // the user outside, not the shared part between
}

TEST(ProductScope, APathThroughTheProductDoesNotPassItBy) {
  // 2 uses the product 1 and what holds it contains all: 3 and 4 are only in the product.
  const auto t = table({"npm", "npm", "npm", "npm", "npm"}, {{0, 1, kC}, {0, 2, kC}, {0, 3, kC}, {0, 4, kC}, {2, 1, kD}, {1, 3, kD}, {3, 4, kD}});
  EXPECT_EQ(where(t, {1}, 3), Containment::kInside);
  EXPECT_EQ(where(t, {1}, 4), Containment::kInside);
  // 3 uses the product and is used by it; 2 uses 3: what else lies in the product stays in it.
  const auto cycle = table({"npm", "npm", "npm", "npm", "npm"}, {{0, 1, kD}, {0, 2, kD}, {1, 3, kD}, {2, 3, kD}, {3, 1, kD}, {1, 4, kD}});
  EXPECT_EQ(where(cycle, {1}, 3), Containment::kAlsoOutside);
  EXPECT_EQ(where(cycle, {1}, 4), Containment::kInside);
}

TEST(ProductScope, CyclesEnd) {
  const auto t = table({"npm", "npm", "npm"}, {{0, 1, kD}, {1, 0, kD}, {1, 2, kD}});
  EXPECT_EQ(where(t, {0}, 2), Containment::kInside);
}

}  // namespace
}  // namespace stella::pipeline::vex
