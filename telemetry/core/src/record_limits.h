// The OTEL_* limits of attributes, events, links and texts, applied to records on their way to the exporter. The backend thread's.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/telemetry/otel_settings.h"
#include "stella/telemetry/record.h"

namespace stella::telemetry {

// The first `chars` characters of UTF-8 text, never part of one.
std::string_view clip_chars(std::string_view text, std::size_t chars);

// Counts are of what call sites said: the attributes of the ambient context and those that the exporter adds (sampling.reason, http.*) are
// beside them, since receivers find records by them; an error is one, however many attributes it becomes. Texts of code, message and
// catalogue stay whole for the same reason.
class RecordLimits {
 public:
  explicit RecordLimits(const OtelLimits& limits);

  // False where no limit is below what records hold anyway: apply() would change nothing.
  bool on() const { return on_; }
  // The record itself, or one with what the limits leave of it and what they cost counted; valid until the next call.
  RecordView apply(const RecordView& record);
  // How many attributes each event of the last record lost; empty where none did.
  std::span<const std::uint32_t> event_drops() const { return event_drops_; }

 private:
  void rewrite(const RecordView& record);
  bool within(const RecordView& record) const;
  bool text_within(const FieldView& field, std::uint32_t chars) const;
  void put(const FieldView& field, std::uint32_t chars);
  void put_error(const FieldView& field, std::uint32_t chars);
  void put_fields(const RecordView& record, std::uint32_t most, std::uint32_t chars, RecordHead& head);
  void put_links(const RecordView& record, RecordHead& head);
  void put_events(const RecordView& record, RecordHead& head);

  const OtelLimits limits_;
  const bool on_;
  bool cut_ids_ = true;
  std::string out_, value_;
  std::vector<std::uint32_t> event_drops_;
};

}  // namespace stella::telemetry
