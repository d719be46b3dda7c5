// Immutable index segments: all records of one ecosystem in one batch, found by package name. The same records give the same bytes.
//
// Layout, little endian, read where it lies (nothing is unpacked when a segment is opened):
//   header   64 bytes: magic, total size, counts, length of the ecosystem's name
//   ecosystem name, padded with zeros to 4 bytes
//   names    16 bytes each: offset and length in the heap, first posting, number of postings; ascending by name
//   postings 8 bytes each: record, offset of its affected entry in the heap; per name ascending by (record, entry)
//   records  40 bytes each: SHA-256 of the document, offset and length in the heap; ascending by digest
//   heap     names, entries and records: unsigned LEB128 numbers, length-prefixed texts
// A name is "<ecosystem as index_ecosystem() files it>\0<name as index_name() spells it>". Layout 1 spelled names of Go with their case and
// names of Maven with the repository's address; such segments are still read, and asked for names as they are spelled today.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/pipeline/conseiller/osv.h"

namespace stella::pipeline {

// Segment of all ecosystems that the table of pipeline/versions does not know.
inline constexpr std::string_view kOtherEcosystems = "other";

// One (record, affected entry) that names the package asked for: views into the segment.
struct Candidate {
  std::string_view sha256;    // 32 bytes, of the document
  std::string_view record;    // encoded; decode_record()
  std::string_view affected;  // encoded; decode_affected()
};

// A view over the bytes of a segment, which must outlive it. Thread-safe. Segments come back from the runner, which reads hostile
// input: no byte of one is trusted.
class Segment {
 public:
  // kMalformed where header or sizes are wrong. Costs nothing per record (layout 1 of Go and Maven: once over the names).
  static Result<Segment> open(std::string_view bytes);

  std::string_view ecosystem() const { return ecosystem_; }  // without release, or kOtherEcosystems
  std::uint32_t names() const { return name_count_; }
  std::uint32_t records() const { return record_count_; }
  // Appends the candidates for the package; `ecosystem` with its release, `name` as index_name() spells it.
  Result<void> find(std::string_view ecosystem, std::string_view name, std::vector<Candidate>& out) const;
  // Digest of each record's document, ascending.
  Result<std::vector<Sha256>> documents() const;
  // Decodes everything and checks the order of all tables: for whoever takes a segment in.
  Result<void> verify() const;

 private:
  struct Name {
    std::string_view text;
    std::uint32_t first = 0;
    std::uint32_t count = 0;
  };
  using Respelled = std::vector<std::pair<std::string, std::uint32_t>>;  // (today's key, name), sorted
  Result<void> respell();
  Result<Name> name_at(std::uint32_t index) const;
  Result<void> append(const Name& name, std::vector<Candidate>& out) const;
  Result<Candidate> candidate_at(std::uint32_t posting) const;
  Result<void> verify_record(std::uint32_t index) const;

  std::string_view ecosystem_;
  std::string_view name_table_;
  std::string_view posting_table_;
  std::string_view record_table_;
  std::string_view heap_;
  std::uint32_t name_count_ = 0;
  std::uint32_t posting_count_ = 0;
  std::uint32_t record_count_ = 0;
  std::shared_ptr<const Respelled> respelled_;  // names that layout 1 spelled otherwise; nullptr where none
};

struct BuiltSegment {
  std::string ecosystem;  // without release
  std::string slug;       // for file names: lower case, everything but letters and digits is '-'
  std::string bytes;
};

// Collects records and writes one segment per ecosystem (without release). Not thread-safe.
class SegmentBuilder {
 public:
  // A document that was added before is added once.
  void add(AdvisoryRecord record, const Sha256& document);
  // Ascending by ecosystem; independent of the order of add(). kLimit where a segment would pass 4 GiB. Leaves the builder empty.
  Result<std::vector<BuiltSegment>> finish();

 private:
  std::vector<AdvisoryRecord> records_;  // ref.sha256 is set
};

}  // namespace stella::pipeline
