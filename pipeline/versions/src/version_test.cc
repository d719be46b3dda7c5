// The version orders against the fixtures of the data set, the cases that go wrong elsewhere, and hostile texts.
#include "stella/pipeline/versions/version.h"

#include <gtest/gtest.h>

#include <random>
#include <set>
#include <sstream>

#include "stella/testing/shared_data.h"

namespace stella::pipeline {
namespace {

struct Fixture {
  std::string left;
  char relation;
  std::string right;
};

// "A < B"; nullopt for comments and empty lines.
std::optional<Fixture> parse_line(const std::string& line) {
  if (line.empty() || line.starts_with("# ") || line.starts_with("// ") || line == "#" || line == "//") return std::nullopt;
  for (char relation : {'<', '=', '>'}) {
    const std::string separator = std::string(" ") + relation + " ";
    if (const auto at = line.find(separator); at != std::string::npos) return Fixture{line.substr(0, at), relation, line.substr(at + 3)};
  }
  ADD_FAILURE() << "no fixture: " << line;
  return std::nullopt;
}

bool holds(VersionOrder order, const Fixture& f) {
  const auto forward = compare_versions(order, f.left, f.right);
  const auto backward = compare_versions(order, f.right, f.left);
  if (!forward || !backward) return false;
  if ((0 <=> *backward) != *forward) return false;
  return f.relation == '<' ? *forward < 0 : f.relation == '>' ? *forward > 0 : *forward == 0;
}

// "file\tline" of the lines on which the ecosystem's own implementation disagrees with the fixture.
std::set<std::string> exceptions() {
  std::set<std::string> out;
  const auto path = testing::shared_path("data/expected/version-exceptions.tsv");
  if (!path) return out;
  std::istringstream lines(testing::slurp(*path));
  for (std::string line; std::getline(lines, line);) out.insert(line.substr(0, line.rfind('\t')));
  return out;
}

int check_file(VersionOrder order, const std::string& below) {
  const auto path = testing::shared_path("data/versions/osv-scalibr/" + below);
  if (!path) return 0;
  const auto excepted = exceptions();
  std::istringstream lines(testing::slurp(*path));
  int checked = 0;
  int number = 0;
  for (std::string line; std::getline(lines, line);) {
    ++number;
    const auto fixture = parse_line(line);
    if (!fixture) continue;
    // An exception must earn its place: on these lines Maven itself (3.8.8 and later) answers otherwise, and so do we.
    if (excepted.contains("versions/osv-scalibr/" + below + "\t" + std::to_string(number))) {
      EXPECT_FALSE(holds(order, *fixture)) << below << ":" << number << ": " << line;
      continue;
    }
    EXPECT_TRUE(holds(order, *fixture)) << below << ":" << number << ": " << line;
    ++checked;
  }
  return checked;
}

TEST(Versions, SemverFixtures) {
  (void)STELLA_SHARED_OR_SKIP("data/versions");
  EXPECT_GE(check_file(VersionOrder::kSemver, "semver-versions.txt"), 80);
}

TEST(Versions, ACommitIsNoVersion) {
  for (const auto* commit : {"6babd3aa3c6a", "v6babd3aa3c6a", "1234567890abcdef1234567890abcdef12345678", "6BABD3A"}) EXPECT_FALSE(parsable(VersionOrder::kSemver, commit)) << commit;
  for (const auto* version : {"1.2.3rc1", "20200713", "20200713102358", "1e5", "1.0.0-6babd3aa3c6a", "0.0.0-20220722155237-a158d28d115b", "2023a+1"})
    EXPECT_TRUE(parsable(VersionOrder::kSemver, version)) << version;
}

TEST(Versions, Pep440Fixtures) {
  (void)STELLA_SHARED_OR_SKIP("data/versions");
  EXPECT_GE(check_file(VersionOrder::kPep440, "pypi-versions.txt"), 30);
  EXPECT_GE(check_file(VersionOrder::kPep440, "pypi-versions-generated.even-lines.txt"), 6000);
}

TEST(Versions, MavenFixtures) {
  (void)STELLA_SHARED_OR_SKIP("data/versions");
  EXPECT_GE(check_file(VersionOrder::kMaven, "maven-versions.txt"), 80);
  EXPECT_GE(check_file(VersionOrder::kMaven, "maven-versions-generated.even-lines.txt"), 7300);
}

TEST(Versions, KnownPitfalls) {
  const auto less = [](VersionOrder order, std::string_view a, std::string_view b) {
    const auto result = compare_versions(order, a, b);
    return result.has_value() && *result < 0;
  };
  EXPECT_TRUE(less(VersionOrder::kSemver, "0.0.0-20211216030914-fe4d6282115f", "0.0.0-20220722155237-a158d28d115b"));
  EXPECT_TRUE(less(VersionOrder::kSemver, "1.21.0-0", "1.21.0-rc.1"));
  EXPECT_TRUE(less(VersionOrder::kSemver, "1.2.3", "1.2.3.4"));
  EXPECT_TRUE(less(VersionOrder::kSemver, "1.2.3.4", "1.2.3.10"));
  EXPECT_TRUE(less(VersionOrder::kSemver, "2.0.0-rc1", "2.0.0+incompatible"));
  EXPECT_TRUE(less(VersionOrder::kMaven, "4.1.86.Final", "4.1.86.Final-redhat-00002"));
  EXPECT_TRUE(less(VersionOrder::kMaven, "4.1.86.Final-redhat-00002", "4.1.87.Final"));
  EXPECT_TRUE(less(VersionOrder::kPep440, "4.2", "4.2.14"));
  EXPECT_TRUE(less(VersionOrder::kPep440, "not-a-version", "0.0.dev0"));
}

TEST(Versions, RefusesWhatIsNone) {
  for (const char* text : {"", "latest", "master", "1.x", ">=1.0", "1.0 || 2.0", "v", "-1", "a1b2c3", "1.0\n"})
    EXPECT_FALSE(parsable(VersionOrder::kSemver, text)) << text;
  for (const char* text : {"", "[1.0,2.0)", "${project.version}", "1 0"}) EXPECT_FALSE(parsable(VersionOrder::kMaven, text)) << text;
  EXPECT_FALSE(parsable(VersionOrder::kPep440, " "));
  EXPECT_FALSE(parsable(VersionOrder::kNone, "1.0"));
  const auto refused = compare_versions(VersionOrder::kSemver, "1.0", "master");
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base_errors::kMalformed);
}

// Every kind of megabyte: digits, dots, nested changes of kind, hyphens, zeros.
TEST(Versions, TakesAMegabyteOfAnything) {
  for (const char* unit : {"1", "1.", "a1", "-", "1-", "0.", "final-", "1+a"}) {
    std::string a = "1";
    a.reserve(2u << 20);
    while (a.size() < (1u << 20)) a += unit;
    std::string b = a + "1";
    for (auto order : {VersionOrder::kSemver, VersionOrder::kPep440, VersionOrder::kMaven}) {
      const auto order_of_both = compare_versions(order, a, b);
      EXPECT_EQ(order_of_both.has_value(), parsable(order, a) && parsable(order, b)) << unit;
    }
  }
}

// An order is antisymmetric and transitive, whatever it is fed. (Maven's own is not transitive on qualifiers that mean a release
// amid other items, so those are left out.)
TEST(Versions, AreOrders) {
  std::mt19937 random(7);
  const std::vector<std::string> parts{"1", "2", "10", "0", "a", "b", "rc", "alpha", "dev", "post", "x", "01"};
  const std::vector<std::string> joins{".", "-", "", "+"};
  const auto version = [&] {
    std::string text = std::to_string(random() % 3);
    for (unsigned n = random() % 5; n > 0; --n) text += joins[random() % joins.size()] + parts[random() % parts.size()];
    return text;
  };
  for (auto order : {VersionOrder::kSemver, VersionOrder::kPep440}) {
    for (int i = 0; i < 60'000; ++i) {
      const std::string a = version(), b = version(), c = version();
      if (!parsable(order, a) || !parsable(order, b) || !parsable(order, c)) continue;
      const auto ab = *compare_versions(order, a, b), bc = *compare_versions(order, b, c), ac = *compare_versions(order, a, c);
      ASSERT_EQ(0 <=> ab, *compare_versions(order, b, a)) << a << " " << b;
      if (ab <= 0 && bc <= 0) {
        ASSERT_TRUE(ac <= 0) << a << " " << b << " " << c;
      }
    }
  }
}

}  // namespace
}  // namespace stella::pipeline
