// Segments: what goes in comes out, sorted, grouped by ecosystem, the same bytes every time.
#include "stella/pipeline/conseiller/segment.h"

#include <gtest/gtest.h>

#include <tuple>

#include "segment_layout.h"
#include "segment_records.h"
#include "stella/crypto/digest.h"

namespace stella::pipeline {
namespace {

AdvisoryRecord record_of(std::string id, std::vector<std::pair<std::string, std::string>> packages) {
  AdvisoryRecord record;
  record.ref.id = std::move(id);
  record.ref.modified = "2024-01-02T03:04:05Z";
  record.ref.aliases = {"CVE-1"};
  std::uint32_t index = 0;
  for (auto& [ecosystem, name] : packages) {
    AffectedPackage package;
    package.index = index++;
    package.ecosystem = ecosystem;
    package.name = name;
    package.versions = {"2", "1", "2"};
    package.ranges.push_back({3, RangeType::kEcosystem, {{EventKind::kIntroduced, "0"}, {EventKind::kFixed, "9"}}});
    record.affected.push_back(std::move(package));
  }
  return record;
}

std::vector<BuiltSegment> build(std::vector<AdvisoryRecord> records) {
  SegmentBuilder builder;
  for (auto& record : records) {
    const auto digest = crypto::sha256(record.ref.id);
    builder.add(std::move(record), digest);
  }
  auto built = builder.finish();
  EXPECT_TRUE(built.has_value());
  return std::move(*built);
}

// The bytes with layout 1's magic and one key as it was spelled then, put at the end of the heap.
std::string first_layout(std::string bytes, const std::string& today, const std::string& then) {
  using namespace segment_layout;
  bytes.replace(0, kFirstMagic.size(), kFirstMagic);
  const auto put = [&](std::size_t at, std::uint64_t number) {
    std::string raw;
    append_u32(raw, number);
    bytes.replace(at, 4, raw);
  };
  const std::size_t names_from = kHeaderSize + padded(load_u32(bytes, kEcosystemAt));
  const std::size_t heap = load_u32(bytes, kHeapAt), heap_from = bytes.size() - heap;
  for (std::uint32_t i = 0; i < load_u32(bytes, kNamesAt); ++i) {
    const std::size_t at = names_from + i * kNameSize;
    if (std::string_view(bytes).substr(heap_from + load_u32(bytes, at), load_u32(bytes, at + 4)) != today) continue;
    put(at, heap);
    put(at + 4, then.size());
    bytes += then;
    put(kHeapAt, heap + then.size());
    put(kSizeAt, bytes.size());
    break;
  }
  return bytes;
}

TEST(Segment, GivesBackWhatWasFiled) {
  const auto built = build({record_of("A", {{"PyPI", "Zope.Interface"}, {"PyPI", "zope_interface"}, {"npm", "x"}}), record_of("B", {{"PyPI", "flask"}})});
  ASSERT_EQ(built.size(), 2u);
  EXPECT_EQ(built[0].slug, "pypi");
  EXPECT_EQ(built[1].slug, "npm");
  const auto segment = Segment::open(built[0].bytes);
  ASSERT_TRUE(segment.has_value());
  EXPECT_EQ(segment->ecosystem(), "PyPI");
  EXPECT_EQ(segment->records(), 2u);
  EXPECT_EQ(segment->names(), 2u);
  ASSERT_TRUE(segment->verify().has_value());
  std::vector<Candidate> found;
  ASSERT_TRUE(segment->find("PyPI", "zope-interface", found).has_value());
  ASSERT_EQ(found.size(), 2u);
  EXPECT_EQ(found[0].sha256, crypto::sha256("A").view());
  const auto ref = decode_record(found[0].record);
  ASSERT_TRUE(ref.has_value());
  EXPECT_EQ(ref->id, "A");
  EXPECT_EQ(ref->aliases, std::vector<std::string>{"CVE-1"});
  AffectedView entry;
  ASSERT_TRUE(decode_affected(found[1].affected, entry).has_value());
  EXPECT_EQ(entry.index, 1u);
  EXPECT_EQ(entry.versions, (std::vector<std::string_view>{"1", "2"}));
  EXPECT_EQ(entry.ranges.at(0).index, 3u);
  EXPECT_EQ(entry.ranges[0].events.at(1).version, "9");
  found.clear();
  ASSERT_TRUE(segment->find("PyPI", "missing", found).has_value());
  EXPECT_TRUE(found.empty());
  const auto documents = segment->documents();
  ASSERT_TRUE(documents.has_value());
  EXPECT_TRUE(std::is_sorted(documents->begin(), documents->end()));
}

TEST(Segment, FilesReleasesOfADistributionTogether) {
  const auto built = build({record_of("U", {{"Ubuntu:22.04:LTS", "tar"}, {"Ubuntu:20.04:LTS", "tar"}}), record_of("S", {{"crates.io", "a"}})});
  ASSERT_EQ(built.size(), 2u);
  EXPECT_EQ(built[0].slug, "ubuntu");
  EXPECT_EQ(built[1].slug, "crates-io");
  const auto segment = Segment::open(built[0].bytes);
  std::vector<Candidate> found;
  ASSERT_TRUE(segment->find("Ubuntu:22.04:LTS", "tar", found).has_value());
  EXPECT_EQ(found.size(), 1u);
  ASSERT_TRUE(segment->find("Ubuntu", "tar", found).has_value());
  EXPECT_EQ(found.size(), 1u);
}

TEST(Segment, PutsUnknownEcosystemsIntoOne) {
  const auto built = build({record_of("A", {{"../../etc", "a"}, {"Npm", "b"}, {"crates-io", "c"}, {":", "d"}})});
  ASSERT_EQ(built.size(), 1u);
  EXPECT_EQ(built[0].slug, kOtherEcosystems);
  std::vector<Candidate> found;
  ASSERT_TRUE(Segment::open(built[0].bytes)->find("Npm", "b", found).has_value());
  EXPECT_EQ(found.size(), 1u);
}

TEST(Segment, IsIndependentOfOrderAndRepetition) {
  const auto one = build({record_of("A", {{"npm", "x"}}), record_of("B", {{"npm", "y"}, {"npm", "x"}})});
  const auto two = build({record_of("B", {{"npm", "y"}, {"npm", "x"}}), record_of("A", {{"npm", "x"}}), record_of("A", {{"npm", "x"}})});
  EXPECT_EQ(one.at(0).bytes, two.at(0).bytes);
}

// What layout 1 filed as it was spelled is found as today's files are: nobody ingests anew to see it.
TEST(Segment, NamesOfTheFirstLayoutAreFoundAsTodays) {
  for (const auto& [ecosystem, name, asked] : {std::tuple("Go", "github.com/DataDog/dd-trace-go", "github.com/datadog/dd-trace-go"), std::tuple("Maven:https://maven.google.com", "a.b:C", "a.b:C")}) {
    const std::string base = std::string(ecosystem).substr(0, std::string_view(ecosystem).find(':'));
    const auto built = build({record_of("A", {{ecosystem, name}, {base, "other"}})});
    std::vector<Candidate> today, first;
    ASSERT_TRUE(Segment::open(built.at(0).bytes)->find(base, asked, today).has_value());
    EXPECT_EQ(today.size(), 1u) << name;
    // The same segment as layout 1 wrote it: the key has another spelling, of another length for Maven, in the heap's names.
    const std::string older = first_layout(built[0].bytes, std::string(base) + std::string(1, '\0') + asked, std::string(ecosystem) + std::string(1, '\0') + name);
    const auto segment = Segment::open(older);
    ASSERT_TRUE(segment.has_value()) << name;
    ASSERT_TRUE(segment->find(base, asked, first).has_value());
    EXPECT_EQ(first.size(), 1u) << name;
    EXPECT_EQ(first.at(0).record, today.at(0).record);
  }
}

TEST(Segment, EntriesOfTwoSpellingsStayInTheirOrder) {
  std::string bytes = build({record_of("A", {{"Go", "x/Y"}, {"Go", "x/y"}, {"Go", "x/Y"}})}).at(0).bytes;
  std::vector<Candidate> found;
  ASSERT_TRUE(Segment::open(bytes)->find("Go", "x/y", found).has_value());
  ASSERT_EQ(found.size(), 3u);
  for (std::uint32_t i = 0; i < 3; ++i) {
    AffectedView entry;
    ASSERT_TRUE(decode_affected(found[i].affected, entry).has_value());
    EXPECT_EQ(entry.index, i);
  }
}

TEST(Segment, RefusesOtherBytes) {
  EXPECT_FALSE(Segment::open("").has_value());
  EXPECT_FALSE(Segment::open(std::string(64, '\0')).has_value());
  const auto built = build({record_of("A", {{"npm", "x"}})});
  std::string bytes = built.at(0).bytes;
  EXPECT_FALSE(Segment::open(std::string_view(bytes).substr(0, bytes.size() - 1)).has_value());
  EXPECT_FALSE(Segment::open(bytes + "x").has_value());
  bytes[12] = '\x7f';
  const auto refused = Segment::open(bytes);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), base_errors::kMalformed);
}

}  // namespace
}  // namespace stella::pipeline
