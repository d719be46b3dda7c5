// The statement of a filtered page and its parameters. Texts differ only by which filters are there, so they stay a bounded set.
#pragma once

#include <string>
#include <vector>

#include "stella/timeline/query.h"

namespace stella::timeline {

// Where a page goes on: behind this event (time order) or from this index (log order).
struct Position {
  std::optional<std::pair<Timestamp, EventId>> after;
  std::optional<std::int64_t> index;
};

// Columns: event_id, ts, kind, digest, log_index, entry.
pg::Query page_statement(const Filter& filter, const Position& position, const std::optional<Timestamp>& from);

// Cursors: "t<micros>.<uuid>" or "l<index>" in base64url; strictly parsed.
std::string encode_cursor(const Position& position);
Result<Position> decode_cursor(std::string_view cursor, Order order);

}  // namespace stella::timeline
