// CVSS scores against two independent public suites; severity words of advisories.
#include "stella/pipeline/policy/cvss.h"

#include <gtest/gtest.h>

#include <cmath>

#include "stella/testing/shared_data.h"

namespace stella::pipeline {
namespace {

// Rows of a TSV file without its heading.
std::vector<std::vector<std::string>> rows(const std::string& path) {
  std::vector<std::vector<std::string>> out;
  const std::string text = testing::slurp(path);
  bool heading = true;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find('\n', at), text.size());
    const std::string line = text.substr(at, end - at);
    at = end + 1;
    if (std::exchange(heading, false) || line.empty()) continue;
    auto& cells = out.emplace_back();
    for (std::size_t from = 0; from <= line.size();) {
      const std::size_t tab = std::min(line.find('\t', from), line.size());
      cells.push_back(line.substr(from, tab - from));
      from = tab + 1;
    }
  }
  return out;
}

void check_file(const std::string& path, std::size_t least) {
  std::size_t checked = 0;
  for (const auto& row : rows(path)) {
    if (row[1].empty()) continue;
    ++checked;
    const auto score = cvss_score(row[0]);
    ASSERT_TRUE(score) << row[0] << " " << score.error().describe();
    // "also accept 0.7 (rounding tie)": the published suites disagree there.
    const auto note = row.back().find("also accept ");
    const double other = note == std::string::npos ? -1 : std::stod(row.back().substr(note + 12));
    EXPECT_TRUE(std::fabs(score->score - std::stod(row[1])) < 0.001 || std::fabs(score->score - other) < 0.001)
        << path << " " << row[0] << " got " << score->score << " want " << row[1] << " " << row.back();
  }
  EXPECT_GE(checked, least) << path;
}

TEST(Cvss, V2Vectors) {
  check_file(STELLA_SHARED_OR_SKIP("vectors/cvss/v2-polycvss.tsv"), 500);
  check_file(STELLA_SHARED_OR_SKIP("vectors/cvss/v2-redhat.tsv"), 300);
}

TEST(Cvss, V3Vectors) {
  check_file(STELLA_SHARED_OR_SKIP("vectors/cvss/v3-polycvss.tsv"), 500);
  check_file(STELLA_SHARED_OR_SKIP("vectors/cvss/v3-redhat.tsv"), 2500);
}

TEST(Cvss, V4Vectors) {
  check_file(STELLA_SHARED_OR_SKIP("vectors/cvss/v4-polycvss.tsv"), 500);
  check_file(STELLA_SHARED_OR_SKIP("vectors/cvss/v4-redhat.tsv"), 800);
}

TEST(Cvss, InvalidVectors) {
  std::size_t checked = 0;
  for (const auto& row : rows(STELLA_SHARED_OR_SKIP("vectors/cvss/invalid.tsv"))) {
    ++checked;
    EXPECT_FALSE(cvss_score(row[0])) << row[0];
  }
  EXPECT_EQ(checked, 22u);
}

TEST(Cvss, KnownAdvisories) {
  const auto score = [](std::string_view v) { return cvss_score(v)->score; };
  EXPECT_EQ(score("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:C/C:H/I:H/A:H"), 10.0);   // CVE-2021-44228
  EXPECT_EQ(score("CVSS:3.1/AV:N/AC:L/PR:H/UI:N/S:U/C:H/I:H/A:H"), 7.2);    // CVE-2021-23337
  EXPECT_EQ(score("CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N"), 0.0);
  EXPECT_EQ(score("CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:H/VI:H/VA:H/SC:H/SI:H/SA:H"), 10.0);
  EXPECT_EQ(score("AV:N/AC:L/Au:N/C:C/I:C/A:C"), 10.0);
  for (const std::string_view bad : {"", "/", "CVSS:3.1/", "CVSS:3.2/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N", "AV:N/AC:L/Au:N/C:C/I:C/A:C/",
                                     "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:", "CVSS:3.1/AV/AC:L/PR:N/UI:N/S:U/C:N/I:N/A:N"})
    EXPECT_FALSE(cvss_score(bad)) << bad;
}

TEST(Severity, NewestVersionThenWords) {
  const contracts::SeverityVector v3{"CVSS_V3", "CVSS:3.1/AV:N/AC:L/PR:N/UI:N/S:U/C:H/I:H/A:H"};  // 9.8
  const contracts::SeverityVector v4{"CVSS_V4", "CVSS:4.0/AV:N/AC:L/AT:N/PR:N/UI:N/VC:L/VI:L/VA:L/SC:N/SI:N/SA:N"};  // 6.9
  const auto both = severity_of({v3, v4}, "LOW");
  EXPECT_EQ(both.word, "medium");
  EXPECT_EQ(both.score, 6.9);
  EXPECT_EQ(both.version, "4.0");
  EXPECT_EQ(severity_of({v3}, "").word, "critical");
  EXPECT_EQ(severity_of({{"CVSS_V3", "broken"}}, "MODERATE").word, "medium");
  EXPECT_EQ(severity_of({{"CVSS_V3", "broken"}}, "MODERATE").score, -1);
  EXPECT_EQ(severity_of({{"Ubuntu", "negligible"}}, "").word, "low");
  EXPECT_EQ(severity_of({}, "").word, "unknown");
  EXPECT_EQ(severity_of({}, "URGENT!").word, "unknown");
}

}  // namespace
}  // namespace stella::pipeline
