// Where an open, recorded span collects its parts: already in record form, so that its end only puts the head in front of them.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

#include "field_writer.h"
#include "stella/telemetry/active_span.h"
#include "stella/telemetry/record.h"

namespace stella::telemetry::detail {

inline constexpr std::size_t kAttributes = 128, kLinks = 32, kEvents = 32;
inline constexpr std::size_t kNameBytes = 260;  // `api.` and a route
// In front of the fields: room for the head and its texts, which are known at the end.
inline constexpr std::size_t kHeadRoom = sizeof(RecordHead) + 64 + 128 + 256 + 16 + 512 + kNameBytes + 12;
static_assert(kHeadRoom % 8 == 0);

struct SpanBuffer {
  static constexpr std::size_t kFirstBytes = 4096, kSlack = 16;

  ActiveSpan active;        // of a Span: linked while it is open
  char* data = nullptr;     // kHeadRoom, then fields
  std::size_t capacity = 0;
  FieldArea area{};         // behind kHeadRoom; `cut` holds for all of the span
  std::int64_t start_ns = 0, start_mono = 0;
  std::uint64_t seen[4] = {};  // ids of the fields that are there
  std::uint64_t seen_foreign = 0;
  std::uint16_t links = 0, dropped_links = 0;
  std::uint16_t events = 0, dropped_events = 0;
  bool keep = false;
  char link_bytes[kLinks * 24];
  std::string event_bytes;

  SpanBuffer();
  ~SpanBuffer();
  SpanBuffer(const SpanBuffer&) = delete;
  SpanBuffer& operator=(const SpanBuffer&) = delete;
  void reset();
  char* fields() const { return data + kHeadRoom; }
  // Makes room for `more` bytes behind the fields, up to kRecordBytes in all; false where there is none.
  bool reserve(std::size_t more);
};

}  // namespace stella::telemetry::detail
