// Reads a segment where it lies.
#include "stella/pipeline/conseiller/segment.h"

#include <algorithm>

#include "segment_layout.h"
#include "segment_records.h"

namespace stella::pipeline {

Result<Segment> Segment::open(std::string_view bytes) {
  using namespace segment_layout;
  const std::string_view magic = bytes.substr(0, kMagic.size());
  if (bytes.size() < kHeaderSize || (magic != kMagic && magic != kFirstMagic)) return malformed_segment("the header of a segment");
  if (load_u32(bytes, kSizeAt) != bytes.size()) return malformed_segment("all bytes of the segment");
  Segment out;
  out.name_count_ = load_u32(bytes, kNamesAt);
  out.posting_count_ = load_u32(bytes, kPostingsAt);
  out.record_count_ = load_u32(bytes, kRecordsAt);
  const std::uint64_t ecosystem = load_u32(bytes, kEcosystemAt);
  const std::uint64_t heap = load_u32(bytes, kHeapAt);
  // Each factor is below 2^32 and each width below 2^6: 64 bits hold every sum.
  const std::uint64_t names_from = kHeaderSize + padded(ecosystem);
  const std::uint64_t postings_from = names_from + std::uint64_t{out.name_count_} * kNameSize;
  const std::uint64_t records_from = postings_from + std::uint64_t{out.posting_count_} * kPostingSize;
  const std::uint64_t heap_from = records_from + std::uint64_t{out.record_count_} * kRecordSize;
  if (heap_from + heap != bytes.size()) return malformed_segment("tables that fill the segment");
  out.ecosystem_ = bytes.substr(kHeaderSize, ecosystem);
  out.name_table_ = bytes.substr(names_from, postings_from - names_from);
  out.posting_table_ = bytes.substr(postings_from, records_from - postings_from);
  out.record_table_ = bytes.substr(records_from, heap_from - records_from);
  out.heap_ = bytes.substr(heap_from);
  if (magic == kFirstMagic && (out.ecosystem_ == "Go" || out.ecosystem_ == "Maven")) STELLA_TRY_VOID(out.respell());
  return out;
}

// What layout 1 filed under another spelling than today's.
Result<void> Segment::respell() {
  constexpr std::size_t kLongest = 4096;  // names of garbage may overlap: what is read stays linear
  Respelled found;
  for (std::uint32_t i = 0; i < name_count_; ++i) {
    const Name name = STELLA_TRY(name_at(i));
    if (name.text.size() > kLongest) continue;
    const std::size_t end = std::min(name.text.find('\0'), name.text.size());
    std::string key = segment_layout::filed_key(name.text.substr(0, end), name.text.substr(std::min(end + 1, name.text.size())));
    if (key != name.text) found.emplace_back(std::move(key), i);
  }
  std::sort(found.begin(), found.end());
  if (!found.empty()) respelled_ = std::make_shared<const Respelled>(std::move(found));
  return {};
}

Result<Segment::Name> Segment::name_at(std::uint32_t index) const {
  using namespace segment_layout;
  const std::size_t at = std::size_t{index} * kNameSize;
  const std::uint64_t offset = load_u32(name_table_, at);
  const std::uint64_t size = load_u32(name_table_, at + 4);
  Name out{{}, load_u32(name_table_, at + 8), load_u32(name_table_, at + 12)};
  if (offset + size > heap_.size()) return malformed_segment("names inside the heap");
  if (std::uint64_t{out.first} + out.count > posting_count_) return malformed_segment("postings inside their table");
  out.text = heap_.substr(offset, size);
  return out;
}

Result<Candidate> Segment::candidate_at(std::uint32_t posting) const {
  using namespace segment_layout;
  const std::size_t at = std::size_t{posting} * kPostingSize;
  const std::uint32_t record = load_u32(posting_table_, at);
  const std::uint32_t entry = load_u32(posting_table_, at + 4);
  if (record >= record_count_ || entry > heap_.size()) return malformed_segment("postings that name a record and an entry");
  const std::size_t record_at = std::size_t{record} * kRecordSize;
  const std::uint64_t offset = load_u32(record_table_, record_at + 32);
  const std::uint64_t size = load_u32(record_table_, record_at + 36);
  if (offset + size > heap_.size()) return malformed_segment("records inside the heap");
  return Candidate{record_table_.substr(record_at, 32), heap_.substr(offset, size), heap_.substr(entry)};
}

Result<void> Segment::append(const Name& name, std::vector<Candidate>& out) const {
  for (std::uint32_t i = 0; i < name.count; ++i) {
    const Candidate candidate = STELLA_TRY(candidate_at(name.first + i));
    out.push_back(candidate);
  }
  return {};
}

Result<void> Segment::find(std::string_view ecosystem, std::string_view name, std::vector<Candidate>& out) const {
  const std::string key = segment_layout::key(ecosystem, name);
  std::uint32_t low = 0;
  std::uint32_t high = name_count_;
  const std::size_t before = out.size();
  while (low < high) {
    const std::uint32_t middle = low + (high - low) / 2;
    const Name found = STELLA_TRY(name_at(middle));
    const int order = found.text.compare(key);
    if (order == 0) {
      STELLA_TRY_VOID(append(found, out));
      break;
    }
    if (order < 0) {
      low = middle + 1;
    } else {
      high = middle;
    }
  }
  if (!respelled_) return {};
  for (auto it = std::lower_bound(respelled_->begin(), respelled_->end(), std::pair(key, std::uint32_t{0})); it != respelled_->end() && it->first == key; ++it) {
    const Name found = STELLA_TRY(name_at(it->second));
    STELLA_TRY_VOID(append(found, out));
  }
  // Entries of one record lie in the heap one after the other: as one name would have them.
  std::sort(out.begin() + static_cast<std::ptrdiff_t>(before), out.end(), [](const Candidate& a, const Candidate& b) { return a.affected.data() < b.affected.data(); });
  return {};
}

Result<std::vector<Sha256>> Segment::documents() const {
  std::vector<Sha256> out;
  out.reserve(record_count_);
  for (std::uint32_t i = 0; i < record_count_; ++i) {
    auto digest = STELLA_TRY(Sha256::from_bytes(record_table_.substr(std::size_t{i} * segment_layout::kRecordSize, 32)));
    out.push_back(digest);
  }
  return out;
}

Result<void> Segment::verify_record(std::uint32_t index) const {
  using namespace segment_layout;
  const std::size_t at = std::size_t{index} * kRecordSize;
  const std::uint64_t offset = load_u32(record_table_, at + 32);
  const std::uint64_t size = load_u32(record_table_, at + 36);
  if (offset + size > heap_.size()) return malformed_segment("records inside the heap");
  if (index > 0 && record_table_.substr(at - kRecordSize, 32) >= record_table_.substr(at, 32)) return malformed_segment("ascending records");
  const auto record = decode_record(heap_.substr(offset, size));
  return record ? Result<void>() : Result<void>(record.error());
}

Result<void> Segment::verify() const {
  std::string previous;
  std::uint64_t next_posting = 0;
  AffectedView entry;
  for (std::uint32_t i = 0; i < name_count_; ++i) {
    const Name name = STELLA_TRY(name_at(i));
    if (i > 0 && name.text <= previous) return malformed_segment("ascending names");
    if (name.first != next_posting) return malformed_segment("postings in the order of their names");
    next_posting += name.count;
    previous = name.text;
  }
  if (next_posting != posting_count_) return malformed_segment("a name for each posting");
  for (std::uint32_t i = 0; i < record_count_; ++i) STELLA_TRY_VOID(verify_record(i));
  for (std::uint32_t i = 0; i < posting_count_; ++i) {
    const Candidate candidate = STELLA_TRY(candidate_at(i));
    STELLA_TRY_VOID(decode_affected(candidate.affected, entry));
  }
  return {};
}

}  // namespace stella::pipeline
