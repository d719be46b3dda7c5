// A batch of documents: one observation line each, rejected ones with place and reason, segments of the others.
#include "stella/pipeline/conseiller/ingest.h"

#include <gtest/gtest.h>

#include <sstream>

#include "stella/base/json.h"
#include "stella/crypto/digest.h"

namespace stella::pipeline {
namespace {

std::vector<json::Value> lines_of(const IngestedAdvisories& result) {
  std::vector<json::Value> out;
  std::istringstream lines(result.observations);
  for (std::string line; std::getline(lines, line);) {
    auto value = json::parse(line);
    EXPECT_TRUE(value.has_value()) << line;
    if (value) out.push_back(std::move(*value));
  }
  return out;
}

constexpr std::string_view kGood =
    R"({"id":"GHSA-1","modified":"2024-01-02T03:04:05Z","withdrawn":"2024-02-01T00:00:00Z","aliases":["CVE-2","CVE-1"],
"affected":[{"package":{"ecosystem":"npm","name":"a"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"}]},
{"type":"GIT","repo":"r","events":[{"introduced":"0"}]}]},{"package":{"ecosystem":"Debian:11","name":"node-a"},"versions":["1"]}]})";

TEST(Ingest, ObservesEachDocument) {
  const std::vector<AdvisoryDocument> documents{{"a/good.json", kGood},
                                                {"b/array.json", "[{\"id\":\"x\"}]"},
                                                {"c/broken.json", "{\"id\":\"GHSA-2\",\n\"modified\" 1}"},
                                                {"d/again.json", kGood},
                                                {"e/\xff.json", "{\"@context\":\"https://openvex.dev/ns/v0.2.0\"}"}};
  const auto result = ingest_advisories(documents);
  ASSERT_TRUE(result.has_value());
  EXPECT_EQ(result->parsed, 2u);
  EXPECT_EQ(result->rejected, 3u);
  const auto lines = lines_of(*result);
  ASSERT_EQ(lines.size(), 5u);
  EXPECT_EQ(lines[0].str("path"), "a/good.json");
  EXPECT_EQ(lines[0].str("sha256"), crypto::sha256(kGood).hex());
  EXPECT_EQ(lines[0].integer("size"), static_cast<std::int64_t>(kGood.size()));
  EXPECT_EQ(lines[0].str("status"), "parsed");
  EXPECT_EQ(lines[0].str("id"), "GHSA-1");
  EXPECT_EQ(lines[0].str("withdrawn"), "2024-02-01T00:00:00Z");
  EXPECT_EQ(json::dump(*lines[0].find("aliases")), R"(["CVE-1","CVE-2"])");
  EXPECT_EQ(json::dump(*lines[0].find("ecosystems")), R"(["Debian:11","npm"])");
  EXPECT_EQ(lines[0].integer("git_ranges"), 1);
  EXPECT_EQ(lines[1].str("status"), "rejected");
  EXPECT_EQ(lines[1].find("error")->str("code"), "malformed");
  EXPECT_NE(lines[1].find("error")->str("expected").find("not an array"), std::string::npos);
  EXPECT_EQ(lines[2].find("error")->integer("line"), 2);
  EXPECT_GT(lines[2].find("error")->integer("column"), 1);
  EXPECT_NE(lines[4].find("error")->str("expected").find("member 'id'"), std::string::npos);
  ASSERT_EQ(result->segments.size(), 2u);
  EXPECT_EQ(result->segments[0].slug, "debian");
  EXPECT_EQ(result->segments[1].slug, "npm");
  EXPECT_EQ(Segment::open(result->segments[1].bytes)->records(), 1u);
}

TEST(Ingest, TakesAnEmptyBatch) {
  const auto result = ingest_advisories({});
  ASSERT_TRUE(result.has_value());
  EXPECT_TRUE(result->observations.empty());
  EXPECT_TRUE(result->segments.empty());
}

}  // namespace
}  // namespace stella::pipeline
