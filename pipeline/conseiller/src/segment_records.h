// How records and affected entries stand in a segment's heap, and the bounds-checked reader for them.
#pragma once

#include <bit>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"
#include "stella/contracts/exposures.h"
#include "stella/pipeline/conseiller/osv.h"

namespace stella::pipeline {

static_assert(std::endian::native == std::endian::little, "segments are read where they lie, and they are little endian");

inline std::uint32_t load_u32(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

inline void append_u32(std::string& out, std::uint64_t value) {
  const auto narrow = static_cast<std::uint32_t>(value);
  out.append(reinterpret_cast<const char*>(&narrow), sizeof narrow);
}

// Unsigned LEB128.
void append_number(std::string& out, std::uint64_t value);
void append_text(std::string& out, std::string_view text);

// Reads numbers and texts; after the first one that does not fit everything is zero or empty and ok() is false.
class HeapReader {
 public:
  explicit HeapReader(std::string_view bytes) : rest_(bytes) {}
  std::uint64_t number();
  std::string_view text();
  // A count of things of at least one byte each: never more than there are bytes left, so that it may size a vector.
  std::size_t count();
  bool ok() const { return ok_; }
  void fail() {
    ok_ = false;
    rest_ = {};
  }

 private:
  std::string_view rest_;
  bool ok_ = true;
};

struct EventView {
  EventKind kind = EventKind::kIntroduced;
  std::string_view version;
};

struct RangeView {
  std::uint32_t index = 0;
  RangeType type = RangeType::kEcosystem;
  std::vector<EventView> events;
};

struct SeverityView {
  std::string_view type;
  std::string_view score;
};

// One affected entry, as views into the segment.
struct AffectedView {
  std::uint32_t index = 0;
  bool has_clauses = false;  // any `versions` or comparable `ranges`
  std::vector<SeverityView> severity;
  std::vector<std::string_view> versions;  // ascending
  std::vector<RangeView> ranges;
};

void append_affected(std::string& out, const AffectedPackage& package);
void append_record(std::string& out, const contracts::AdvisoryRef& ref);

// Reuses the vectors of `out`. kMalformed where the bytes are no such entry.
Result<void> decode_affected(std::string_view bytes, AffectedView& out);
// All of the reference but its digest.
Result<contracts::AdvisoryRef> decode_record(std::string_view bytes);

Error malformed_segment(std::string expected);

}  // namespace stella::pipeline
