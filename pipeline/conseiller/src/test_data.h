// What the tests share: the advisories of the data set as one ingested batch, and component tables from purls.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

#include "stella/contracts/components.h"
#include "stella/contracts/exposures.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/conseiller/ingest.h"
#include "stella/pipeline/conseiller/link.h"
#include "stella/pipeline/versions/purl.h"
#include "stella/testing/shared_data.h"

namespace stella::pipeline::test_data {

struct Batch {
  std::vector<std::string> paths;
  std::vector<std::string> texts;
  std::vector<AdvisoryDocument> documents() const {
    std::vector<AdvisoryDocument> out;
    for (std::size_t i = 0; i < texts.size(); ++i) out.push_back({i < paths.size() ? paths[i] : "doc-" + std::to_string(i), texts[i]});
    return out;
  }
};

// Every OSV record of the data set (`dir` is its advisories/).
inline Batch all_records(const std::string& dir) {
  Batch batch;
  for (const char* below : {"/osv", "/ghsa", "/ubuntu"})
    for (auto& path : testing::files_below(dir + below, ".json")) {
      batch.texts.push_back(testing::slurp(path));
      batch.paths.push_back(path.substr(dir.size() + 1));
    }
  return batch;
}

// A batch in force: ingested, its segments open.
class Index {
 public:
  explicit Index(const Batch& batch) {
    const auto documents = batch.documents();
    auto result = ingest_advisories(documents);
    EXPECT_TRUE(result.has_value());
    ingested = std::move(*result);
    std::vector<Sha256> digests;
    for (const auto& text : batch.texts) digests.push_back(crypto::sha256(text));
    active_bytes_ = ActiveSet::encode(std::move(digests));
    active = *ActiveSet::parse(active_bytes_);
    for (const auto& built : ingested.segments) {
      auto segment = Segment::open(built.bytes);
      EXPECT_TRUE(segment.has_value());
      segments.push_back(*segment);
    }
  }
  Index(const Index&) = delete;
  Index& operator=(const Index&) = delete;

  contracts::ExposureSet link(const contracts::ComponentTable& table) const {
    auto result = pipeline::link(table, segments, active);
    EXPECT_TRUE(result.has_value()) << result.error().describe();
    return result ? std::move(*result) : contracts::ExposureSet{};
  }

  IngestedAdvisories ingested;
  std::vector<Segment> segments;
  ActiveSet active;

 private:
  std::string active_bytes_;
};

inline contracts::Component component(std::string_view text, std::string_view document_name = {}) {
  contracts::Component out;
  const auto purl = parse_purl(text);
  if (!purl) {
    out.raw_purl = text;
    out.problem = "malformed purl";
    return out;
  }
  auto package = osv_package(*purl, document_name);
  out.purl = purl->str();
  out.type = purl->type;
  out.ecosystem = std::move(package.ecosystem);
  out.name = std::move(package.name);
  out.version = std::move(package.version);
  if (out.version.empty()) out.problem = "no version";
  return out;
}

inline contracts::ComponentTable table_of(std::initializer_list<std::string_view> purls) {
  contracts::ComponentTable table;
  for (const auto purl : purls) table.components.push_back(component(purl));
  return table;
}

}  // namespace stella::pipeline::test_data
