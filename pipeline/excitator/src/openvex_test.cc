// OpenVEX documents, the specification's and real ones: what is read, what is recorded as a deviation, what is refused.
#include "stella/pipeline/excitator/openvex.h"

#include <gtest/gtest.h>

#include "stella/testing/shared_data.h"

namespace stella::pipeline {
namespace {

using contracts::VexStatus;

VexDocument parse_ok(std::string_view text) {
  auto document = parse_vex(text);
  EXPECT_TRUE(document) << (document ? "" : document.error().describe());
  return document ? std::move(*document) : VexDocument{};
}

std::vector<std::string> deviations(const VexDocument& d) {
  std::vector<std::string> out;
  for (const auto& v : d.deviations) out.push_back(v.code + " " + v.pointer);
  return out;
}

std::string document(std::string_view statements) {
  return R"({"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://e.org/1","author":"a","timestamp":"2025-01-01T00:00:00Z","version":1,"statements":[)" +
         std::string(statements) + "]}";
}

TEST(OpenVex, AStatementAsTheSpecificationHasIt) {
  const auto d = parse_ok(document(R"({"vulnerability":{"@id":"https://nvd/CVE-1","name":"CVE-1","aliases":["GHSA-1","CVE-1"]},
    "products":[{"@id":"pkg:oci/app@sha256%3Aaa","identifiers":{"purl":"pkg:oci/app@sha256%3Aaa","cpe23":"cpe:2.3:a:b"},
                 "subcomponents":[{"@id":"pkg:npm/a@1"},{"@id":"pkg:npm/b@2"}]}],
    "status":"not_affected","justification":"component_not_present","timestamp":"2025-02-01T00:00:00+01:00"})"));
  EXPECT_EQ(d.format, "OpenVEX 0.2.0");
  EXPECT_EQ(d.id, "https://e.org/1");
  ASSERT_EQ(d.statements.size(), 1u);
  const auto& s = d.statements[0];
  EXPECT_EQ(s.pointer, "/statements/0");
  EXPECT_EQ(s.vulnerabilities, (std::vector<std::string>{"CVE-1", "https://nvd/CVE-1", "GHSA-1"}));
  EXPECT_EQ(s.status, VexStatus::kNotAffected);
  EXPECT_EQ(s.timestamp, "2025-02-01T00:00:00+01:00");
  EXPECT_EQ(s.time->rfc3339_seconds(), "2025-01-31T23:00:00Z");
  ASSERT_EQ(s.products.size(), 1u);
  EXPECT_EQ(s.products[0].ids, (std::vector<std::string>{"pkg:oci/app@sha256%3Aaa", "cpe:2.3:a:b"}));
  ASSERT_EQ(s.products[0].subcomponents.size(), 2u);
  EXPECT_TRUE(d.deviations.empty());
}

TEST(OpenVex, StatementsInheritTimeAndProducts) {
  const auto d = parse_ok(R"({"@context":"https://openvex.dev/ns/v0.2.0","@id":"i","author":"a","timestamp":"2025-01-01T00:00:00Z","version":1,
    "products":[{"@id":"pkg:npm/a@1"}],"statements":[{"vulnerability":{"name":"CVE-1"},"status":"fixed"},
    {"vulnerability":{"name":"CVE-2"},"status":"fixed","products":[{"@id":"pkg:npm/b@1"}]}]})");
  EXPECT_EQ(d.statements[0].timestamp, "2025-01-01T00:00:00Z");
  EXPECT_EQ(d.statements[0].products[0].ids[0], "pkg:npm/a@1");
  EXPECT_EQ(d.statements[1].products[0].ids[0], "pkg:npm/b@1");
  EXPECT_TRUE(d.deviations.empty());
}

// The shape of Canonical's documents: header in "metadata", another time format, URLs as aliases.
TEST(OpenVex, CanonicalsDocumentsAreReadAndRecorded) {
  const auto d = parse_ok(R"({"metadata":{"@context":"https://openvex.dev/ns/v0.2.0","@id":"https://ubuntu/CVE-2022-3715","author":"Canonical Ltd.",
    "timestamp":"2023-01-05 15:15:00 UTC","version":1},"statements":[{"vulnerability":{"@id":"https://ubuntu.com/security/CVE-2022-3715","name":"CVE-2022-3715",
    "aliases":["https://www.cve.org/CVERecord?id=CVE-2022-3715"]},"timestamp":"2023-01-05 15:15:00 UTC",
    "products":[{"@id":"pkg:deb/ubuntu/bash@5.1-6ubuntu1.1?arch=amd64"},{"@id":"pkg:deb/ubuntu/bash?arch=src?distro=jammy"}],"status":"fixed"}]})");
  EXPECT_EQ(d.author, "Canonical Ltd.");
  EXPECT_EQ(d.timestamp, "2023-01-05T15:15:00Z");
  EXPECT_EQ(d.statements[0].timestamp, "2023-01-05T15:15:00Z");
  EXPECT_EQ(d.statements[0].vulnerabilities.size(), 3u);
  EXPECT_EQ(deviations(d), (std::vector<std::string>{"timestamp_format /metadata/timestamp", "metadata_wrapper /metadata",
                                                     "alias_is_url /statements/0/vulnerability/aliases/0", "timestamp_format /statements/0/timestamp"}));
}

TEST(OpenVex, EveryDeviationHasItsPlace) {
  const auto d = parse_ok(R"({"@context":"https://openvex.dev/ns","statements":[
    {"vulnerability":"CVE-1","products":["pkg:npm/a@1"],"status":"not_affected"},
    {"products":[{"identifiers":{"cpe23":"cpe:x"}}],"status":"exploitable"},
    {"vulnerability":{"name":"CVE-3"},"status":"affected","timestamp":"yesterday"},
    {"vulnerability":{"name":"CVE-4"},"status":"not_affected","justification":"code_not_reachable","products":[{"@id":"pkg:npm/a"}]},
    {"vulnerability":{"name":"CVE-5"},"status":"not_affected","impact_statement":"not used","products":[{"@id":"pkg:npm/a"}]}]})");
  EXPECT_EQ(d.format, "OpenVEX");
  EXPECT_EQ(deviations(d),
            (std::vector<std::string>{"timestamp_missing /timestamp", "id_missing /@id", "author_missing /author", "justification_missing /statements/0",
                                      "product_is_text /statements/0/products/0", "vulnerability_missing /statements/1/vulnerability",
                                      "status_unknown /statements/1/status", "product_without_purl /statements/1/products/0", "action_missing /statements/2",
                                      "timestamp_format /statements/2/timestamp", "products_missing /statements/2/products",
                                      "justification_unknown /statements/3/justification"}));
  EXPECT_FALSE(d.statements[0].complete);
  EXPECT_EQ(d.statements[1].status, VexStatus::kNone);
  EXPECT_EQ(d.statements[1].source_label, "exploitable");
  EXPECT_EQ(d.statements[2].timestamp, "");
  EXPECT_TRUE(d.statements[3].complete);
  EXPECT_TRUE(d.statements[4].complete);
}

TEST(OpenVex, DeviationsAreBounded) {
  std::string statements;
  for (int i = 0; i < 3000; ++i) statements += std::string(i == 0 ? "" : ",") + R"({"vulnerability":{"name":"CVE-1"},"status":"fixed"})";
  const auto d = parse_ok(document(statements));
  EXPECT_EQ(d.deviations.size(), 1001u);
  EXPECT_EQ(d.deviations.back().code, "more_deviations");
}

TEST(OpenVex, WhatIsNoneIsRefusedWithThePlace) {
  const auto error = [](std::string_view text) {
    auto d = parse_vex(text);
    EXPECT_FALSE(d) << text;
    return d ? std::string() : d.error().describe();
  };
  EXPECT_EQ(error("{\n\"a\":}"), "malformed JSON (line=2, column=5, expected=a value)");
  EXPECT_EQ(error("{\"statements\":[],\n\"statements\":[]}"), "duplicate member name (line=2, column=1, expected=a name once per object)");
  EXPECT_EQ(error("[]"), "not a VEX document (pointer=, expected=an object)");
  EXPECT_EQ(error("{}"), "not a VEX document that we know (field=@context, expected=OpenVEX 0.2.0 JSON)");
  EXPECT_EQ(error(R"({"document":{"csaf_version":"2.0"}})"), "CSAF VEX is not supported yet (expected=OpenVEX 0.2.0 JSON)");
  EXPECT_EQ(error(R"({"bomFormat":"CycloneDX"})"), "CycloneDX VEX is not supported yet (expected=OpenVEX 0.2.0 JSON)");
  EXPECT_EQ(error(R"({"@context":"https://openvex.dev/ns/v0.2.0"})"), "not an OpenVEX document (pointer=/statements, expected=an array of statements)");
  EXPECT_EQ(error(document("7")), "not an OpenVEX document (pointer=/statements/0, expected=an object)");
  EXPECT_EQ(error(document(R"({"products":[7]})")), "not an OpenVEX document (pointer=/statements/0/products/0, expected=a product object)");
  EXPECT_EQ(error(document(R"({"products":[{"@id":"x","subcomponents":{}}]})")),
            "not an OpenVEX document (pointer=/statements/0/products/0/subcomponents, expected=an array)");
  EXPECT_NE(error(std::string(200, '[')).find("nested too deeply"), std::string::npos);
  EXPECT_NE(error("{\"a\":\"\xff\"}").find("UTF-8"), std::string::npos);
}

TEST(OpenVex, TruncationsAreRefused) {
  const std::string good = document(R"({"vulnerability":{"name":"CVE-1"},"status":"fixed","products":[{"@id":"pkg:npm/a@1"}]})");
  for (std::size_t n = 0; n < good.size(); ++n) EXPECT_FALSE(parse_vex(std::string_view(good).substr(0, n))) << n;
}

TEST(OpenVex, TheHubsDocuments) {
  std::size_t statements = 0;
  for (const auto& file : testing::files_below(STELLA_SHARED_OR_SKIP("data/vex/openvex"), ".json")) {
    const auto d = parse_ok(testing::slurp(file));
    statements += d.statements.size();
    for (const auto& s : d.statements) {
      EXPECT_EQ(s.status, VexStatus::kNotAffected);
      EXPECT_TRUE(s.time.has_value());
    }
    for (const auto& v : d.deviations) EXPECT_EQ(v.code, "timestamp_missing") << v.pointer;
  }
  EXPECT_EQ(statements, 326u + 1080u + 1173u);
}

}  // namespace
}  // namespace stella::pipeline
