// From the binary record to what people and stores read: the NDJSON line of a log, and the row forms of sink.h.
//
// Texts of a record are scrubbed already (record.h); here they get their order, their limits and their escapes. Thread-safe; an
// ordinary line costs well under a microsecond and no allocation where `out` has room.
#pragma once

#include <string>

#include "stella/telemetry/record.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {

// Appends the line of a log record, without the newline: the members of contracts/fields.json in their order, at most kLineBytes, valid
// UTF-8 whatever the record holds. Of a field that is there twice the last counts; of a span record nothing is appended.
// What is cut or left out marks the line `truncated`: texts over 16 KiB, the fields that no longer fit, more than kLineFields of them.
// A text of several lines keeps its first line in its place and stands whole in details.stack, unless the record brings its own stack.
// Fields of other services (kForeignField) stand under their own key, after the catalogue's.
void append_line(std::string& out, const RecordView& record, const Resource& resource);

// The same line with its index columns.
LogRecord to_log_record(const RecordView& record, const Resource& resource);
// `line` is that line already.
LogRecord to_log_record(const RecordView& record, const Resource& resource, std::string line);
// Attributes: resource, common fields, fields in the order of the catalogue, `sampling.reason` once it is decided, `events` where there are any.
SpanRecord to_span_record(const RecordView& record, const Resource& resource);

namespace detail {
// For the crash handler: append_line into a buffer of kLineBytes + 64, async-signal-safe. `members` comes from resource_members().
std::string resource_members(const Resource& resource);
std::size_t put_line(char* buffer, const RecordView& record, std::string_view members) noexcept;
}  // namespace detail

}  // namespace stella::telemetry
