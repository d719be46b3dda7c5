// The rancher image and the two hubs' OpenVEX documents against expected/vex-matches.tsv. Its CSAF and CycloneDX rows come with
// those formats.
#include <gtest/gtest.h>

#include <fstream>
#include <set>

#include "product_scope.h"
#include "stella/base/json.h"
#include "stella/pipeline/excitator/reconcile.h"
#include "stella/pipeline/sbom/parse.h"
#include "stella/testing/shared_data.h"

namespace stella::pipeline {
namespace {

constexpr std::string_view kSbom = "sboms/spdx-2.2/rancher.trivy.spdx.json";

std::vector<std::vector<std::string>> rows_of(const std::string& path) {
  std::vector<std::vector<std::string>> out;
  std::ifstream in(path);
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    auto& row = out.emplace_back(1);
    for (const char c : line) {
      if (c == '\t') row.emplace_back();
      else row.back() += c;
    }
  }
  return out;
}

// id -> the ids of the same flaw, from the advisories themselves.
std::map<std::string, std::vector<std::string>> aliases(const std::string& data) {
  std::map<std::string, std::vector<std::string>> out;
  for (const auto* dir : {"/advisories/osv", "/advisories/ghsa"})
    for (const auto& file : testing::files_below(data + dir, ".json")) {
      auto record = json::parse(testing::slurp(file));
      if (!record) continue;
      auto& list = out[std::string(record->str("id"))];
      for (const auto& alias : record->items("aliases")) list.push_back(alias.as_string());
    }
  return out;
}

struct Rancher {
  contracts::ComponentTable table;
  contracts::ExposureSet exposures;
  std::map<std::string, VexDocument> documents;  // by path below data
};

Rancher load(const std::string& data) {
  Rancher r;
  auto table = parse_sbom(testing::slurp(data + "/" + std::string(kSbom)));
  EXPECT_TRUE(table);
  r.table = std::move(*table);
  std::map<std::string, std::uint32_t> by_purl;
  for (std::uint32_t i = 0; i < r.table.components.size(); ++i) {
    by_purl[r.table.components[i].purl] = i;
    by_purl[r.table.components[i].raw_purl] = i;
  }
  const auto names = aliases(data);
  for (const auto& row : rows_of(data + "/expected/osv-matches.tsv")) {
    if (row[0] != kSbom || row[3] != "affected") continue;
    EXPECT_TRUE(by_purl.contains(row[1]) && names.contains(row[2])) << row[1] << " " << row[2];
    if (!by_purl.contains(row[1]) || !names.contains(row[2])) continue;
    contracts::Exposure e;
    e.component = by_purl.at(row[1]);
    e.verdict = contracts::Verdict::kAffected;
    e.advisory.id = row[2];
    e.advisory.aliases = names.at(row[2]);
    r.exposures.exposures.push_back(std::move(e));
  }
  for (const auto& file : testing::files_below(data + "/vex/openvex", ".json")) {
    auto document = parse_vex(testing::slurp(file));
    EXPECT_TRUE(document) << file;
    r.documents.emplace(file.substr(data.size() + 1), std::move(*document));
  }
  return r;
}

using Key = std::tuple<std::string, std::string, std::string>;  // purl, advisory, document

TEST(RealVex, TheHubsStatementsApplyExactlyWhereTheyMay) {
  const auto data = STELLA_SHARED_OR_SKIP("data");
  const Rancher r = load(data);
  EXPECT_GT(r.exposures.exposures.size(), 200u);
  std::vector<VexSource> sources;
  std::map<std::string, std::string> path_of;
  for (const auto& [path, document] : r.documents) {
    sources.push_back({&document, 0});
    path_of[document.sha256.hex()] = path;
  }
  const auto result = reconcile(r.table, r.exposures, sources).value();

  std::map<Key, std::string> status;
  std::map<Key, std::set<std::string>> why_not;
  std::set<Key> applied;
  std::size_t suppressed = 0;
  for (const auto& o : result.outcomes) {
    suppressed += o.status == contracts::VexStatus::kNotAffected ? 1 : 0;
    EXPECT_FALSE(o.conflict);
    for (const auto& s : o.considered) {
      const Key key{o.purl, o.advisory_id, path_of.at(s.document.hex())};
      if (s.applies) applied.insert(key), status[key] = s.source_label + " " + s.justification;
      else why_not[key].insert(s.why);
    }
  }
  std::set<Key> expected_applied;
  std::size_t rows = 0;
  for (const auto& row : rows_of(data + "/expected/vex-matches.tsv")) {
    if (!row[3].starts_with("vex/openvex/")) continue;
    ++rows;
    const Key key{row[1], row[2], row[3]};
    if (row[7] == "yes") {
      expected_applied.insert(key);
      EXPECT_EQ(status[key], row[4] + " " + row[5]);
    } else {
      const auto& reasons = why_not[key];
      EXPECT_TRUE(std::any_of(reasons.begin(), reasons.end(), [](const auto& why) { return why.starts_with("component is not inside the product"); }))
          << row[1] << " " << row[2] << " " << row[3];
    }
  }
  EXPECT_EQ(rows, 23u);
  EXPECT_EQ(applied, expected_applied);
  EXPECT_EQ(suppressed, 1u);  // one pair, said by two hubs
  const std::string text = contracts::encode(result);
  EXPECT_TRUE(contracts::decode_vex_result(text));
  std::printf("%zu pairs with considered statements, %zu bytes\n", result.outcomes.size(), text.size());
}

// With every component that has parts as the product: what counts as inside is reached on no path from the document's subject that goes
// around the product. (These two documents say depends_on alone, so a path is a use.)
TEST(RealVex, NothingThatCountsAsInsideIsUsedPastTheProduct) {
  const auto data = STELLA_SHARED_OR_SKIP("data");
  for (const std::string name : {"juice-shop", "keycloak-10.0.2"}) {
    const auto table = parse_sbom(testing::slurp(data + "/sboms/cyclonedx-1.4/" + name + ".cdx.json"));
    ASSERT_TRUE(table);
    const vex::EdgeIndex edges(*table);
    const auto below = [&](std::vector<std::uint32_t> todo, std::uint32_t but_not) {
      std::vector<bool> seen(table->components.size(), false);
      while (!todo.empty()) {
        const std::uint32_t at = todo.back();
        todo.pop_back();
        if (at == but_not || seen[at]) continue;
        seen[at] = true;
        for (const auto& link : edges.parts(at)) todo.push_back(link.other);
      }
      return seen;
    };
    std::size_t pairs = 0, shared = 0, only_by_path = 0;
    for (std::uint32_t product = 0; product < table->components.size(); ++product) {
      const auto inside = below({product}, table->components.size());
      if (std::count(inside.begin(), inside.end(), true) < 3) continue;
      std::vector<std::uint32_t> outside;
      for (std::uint32_t i = 0; i < inside.size(); ++i)
        if (!inside[i]) outside.push_back(i);
      // A holder that only contains, as the subject does all, says nothing about uses.
      std::vector<bool> passed(inside.size(), false);
      std::vector<std::uint32_t> used;
      for (const std::uint32_t o : outside)
        for (const auto& link : edges.parts(o))
          if (link.kind == contracts::EdgeKind::kDependsOn) used.push_back(link.other);
      passed = below(used, product);
      const vex::ProductScope scope(edges, {product}), holders(edges, {product}, vex::OutsideReach::kHolders);
      for (std::uint32_t c = 0; c < inside.size(); ++c) {
        if (!inside[c] || c == product) continue;
        std::uint32_t elsewhere = 0;
        const auto where = scope.contains(c, &elsewhere);
        ++pairs;
        shared += passed[c];
        only_by_path += where == vex::Containment::kAlsoOutside && holders.contains(c, &elsewhere) == vex::Containment::kInside;
        if (passed[c]) {
          EXPECT_EQ(where, vex::Containment::kAlsoOutside) << name << " " << product << " " << c;
        }
      }
    }
    EXPECT_GT(only_by_path, 500u) << name;
    std::printf("%s: %zu pairs, %zu used past the product, %zu of them seen only along a path\n", name.c_str(), pairs, shared, only_by_path);
  }
}

// A hub that says nothing about the findings must leave no trace in the result.
TEST(RealVex, DocumentsWithoutAConsideredStatementDoNotMatter) {
  const Rancher r = load(STELLA_SHARED_OR_SKIP("data"));
  contracts::ExposureSet only_jwt;
  for (const auto& e : r.exposures.exposures)
    if (e.advisory.id == "GO-2024-3250") only_jwt.exposures.push_back(e);
  ASSERT_FALSE(only_jwt.exposures.empty());
  std::vector<VexSource> all;
  std::vector<VexSource> speaking;
  for (const auto& [path, document] : r.documents) {
    all.push_back({&document, 0});
    if (path.find("rancher-machine") != std::string::npos) speaking.push_back({&document, 0});
  }
  EXPECT_EQ(contracts::encode(reconcile(r.table, only_jwt, all).value()), contracts::encode(reconcile(r.table, only_jwt, speaking).value()));
}

}  // namespace
}  // namespace stella::pipeline
