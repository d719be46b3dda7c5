// Bytes that were changed on the way: documents and segments are read without a crash, whatever they hold.
#include <gtest/gtest.h>

#include <random>

#include "stella/pipeline/conseiller/osv.h"
#include "test_data.h"

namespace stella::pipeline {
namespace {

constexpr std::string_view kDocument =
    R"({"id":"GHSA-1","modified":"2024-01-02T03:04:05Z","aliases":["CVE-2"],"severity":[{"type":"CVSS_V3","score":"x"}],"summary":"s",
"affected":[{"package":{"ecosystem":"npm","name":"a"},"ranges":[{"type":"SEMVER","events":[{"introduced":"0"},{"fixed":"2.0.0"}]}],
"versions":["1.0.0","1.0.1"]},{"package":{"ecosystem":"npm","name":"b"},"versions":["1"]},
{"package":{"ecosystem":"npm","name":"a"},"ranges":[{"type":"ECOSYSTEM","events":[{"introduced":"3.0.0"},{"last_affected":"3.1.0"}]}]}]})";

// A few random edits: set, insert, erase, copy a piece elsewhere.
std::string mutated(std::string text, std::mt19937& random, int edits) {
  while (edits-- > 0 && !text.empty()) {
    const std::size_t at = random() % text.size();
    switch (random() % 5) {
      case 0: text[at] = static_cast<char>(random()); break;
      case 1: text[at] = static_cast<char>(text[at] ^ (1u << (random() % 8))); break;
      case 2: text.insert(at, 1, "{}[]\",:0\\x"[random() % 10]); break;
      case 3: text.erase(at, 1 + random() % 8); break;
      default: text.insert(at, text.substr(random() % text.size(), random() % 32)); break;
    }
  }
  return text;
}

TEST(Hostile, MutatedDocumentsAreReadOrRefusedWithAPlace) {
  std::mt19937 random(3);
  int read = 0;
  for (int i = 0; i < 40'000; ++i) {
    const std::string text = mutated(std::string(kDocument), random, 1 + static_cast<int>(random() % 4));
    const auto record = parse_osv(text);
    if (record) {
      ++read;
    } else {
      ASSERT_FALSE(record.error().field("line").empty()) << record.error().describe() << "\n" << text;
      ASSERT_FALSE(record.error().field("expected").empty()) << record.error().describe() << "\n" << text;
    }
  }
  EXPECT_GT(read, 1000);
}

// Reads everything that a caller could ask of a segment.
void exercise(std::string_view bytes, const contracts::ComponentTable& table, const ActiveSet& active) {
  const auto segment = Segment::open(bytes);
  if (!segment) return;
  (void)segment->verify();
  (void)segment->documents();
  const Segment one[] = {*segment};
  (void)link(table, one, active);
}

TEST(Hostile, MutatedSegmentsNeverLeaveTheirBytes) {
  test_data::Batch batch;
  batch.texts = {std::string(kDocument), R"({"id":"GHSA-3","modified":"2024-01-02T03:04:05Z","affected":[{"package":{"ecosystem":"npm","name":"b"}}]})"};
  const test_data::Index index(batch);
  const std::string original = index.ingested.segments.at(0).bytes;
  const auto table = test_data::table_of({"pkg:npm/a@1.0.0", "pkg:npm/a@3.1.0", "pkg:npm/b@1", "pkg:npm/c@1"});
  std::mt19937 random(5);
  for (int i = 0; i < 60'000; ++i) {
    std::string bytes = original;
    for (unsigned n = 1 + random() % 4; n > 0; --n) {
      const std::size_t at = 8 + random() % (bytes.size() - 8);
      bytes[at] = random() % 3 == 0 ? '\xff' : static_cast<char>(random());
    }
    // On the heap and exactly as long as it is, so that a sanitizer sees the first byte beyond.
    const std::vector<char> exact(bytes.begin(), bytes.end());
    exercise({exact.data(), exact.size()}, table, index.active);
  }
  for (std::size_t size = 0; size < original.size(); ++size) exercise(std::string_view(original).substr(0, size), table, index.active);
}

TEST(Hostile, RealSegmentsWithChangedBytes) {
  const auto dir = STELLA_SHARED_OR_SKIP("data/advisories");
  const test_data::Index index(test_data::all_records(dir));
  const auto table = test_data::table_of({"pkg:npm/minimist@0.2.3", "pkg:pypi/django@4.2.14", "pkg:golang/golang.org/x/net@v0.1.0",
                                          "pkg:maven/io.netty/netty-codec-http@4.1.86.Final"});
  std::mt19937 random(6);
  for (const auto& built : index.ingested.segments) {
    for (int i = 0; i < 60; ++i) {
      std::string bytes = built.bytes;
      for (unsigned n = 1 + random() % 64; n > 0; --n) bytes[random() % bytes.size()] = static_cast<char>(random());
      exercise(bytes, table, index.active);
    }
  }
}

}  // namespace
}  // namespace stella::pipeline
