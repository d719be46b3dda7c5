// Observations: one line per document, the good and the bad.
#include "stella/pipeline/excitator/ingest.h"

#include <gtest/gtest.h>

#include "stella/base/json.h"

namespace stella::pipeline {
namespace {

TEST(IngestVex, OneLinePerDocumentInOrder) {
  const std::string good =
      R"({"@context":"https://openvex.dev/ns/v0.2.0","@id":"i","author":"a","timestamp":"2025-01-01T00:00:00Z","statements":[
        {"vulnerability":{"name":"CVE-1","aliases":["GHSA-1"]},"status":"fixed","products":[{"@id":"pkg:npm/b@1"},{"@id":"pkg:npm/a@1"}]},{"status":"x"}]})";
  const std::vector<VexFile> files = {{"dir/good.json", good}, {"b\xff.json", "{\n oops"}, {"csaf.json", R"({"document":{"csaf_version":"2.0"}})"}};
  const auto result = ingest_vex(files);
  EXPECT_EQ(result.parsed, 1u);
  EXPECT_EQ(result.rejected, 2u);
  std::vector<json::Value> lines;
  for (std::size_t at = 0; at < result.observations.size();) {
    const auto end = result.observations.find('\n', at);
    auto line = json::parse(std::string_view(result.observations).substr(at, end - at));
    ASSERT_TRUE(line) << line.error().describe();
    lines.push_back(std::move(*line));
    at = end + 1;
  }
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_EQ(lines[0].str("path"), "dir/good.json");
  EXPECT_EQ(lines[0].str("status"), "parsed");
  EXPECT_EQ(lines[0].str("id"), "i");
  EXPECT_EQ(lines[0].str("format"), "OpenVEX 0.2.0");
  EXPECT_EQ(lines[0].str("timestamp"), "2025-01-01T00:00:00Z");
  EXPECT_EQ(lines[0].integer("size"), static_cast<std::int64_t>(good.size()));
  EXPECT_EQ(lines[0].str("sha256").size(), 64u);
  EXPECT_TRUE(lines[0].find("error")->is_null());
  const auto& statements = lines[0].items("statements");
  ASSERT_EQ(statements.size(), 2u);
  EXPECT_EQ(json::dump(statements[0]), R"({"pointer":"/statements/0","vulnerabilities":["CVE-1","GHSA-1"],"status":"fixed","products":["pkg:npm/a@1","pkg:npm/b@1"]})");
  EXPECT_EQ(statements[1].str("status"), "none");
  EXPECT_EQ(json::dump(lines[0].items("deviations")[0]), R"({"code":"vulnerability_missing","pointer":"/statements/1/vulnerability"})");
  EXPECT_EQ(lines[1].str("path"), "b%FF.json");
  EXPECT_EQ(lines[1].str("status"), "rejected");
  EXPECT_EQ(lines[1].find("error")->integer("line"), 2);
  EXPECT_EQ(lines[1].find("error")->str("code"), "malformed");
  EXPECT_EQ(lines[2].find("error")->str("message"), "CSAF VEX is not supported yet");
}

}  // namespace
}  // namespace stella::pipeline
