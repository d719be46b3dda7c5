// Words and numbers for people: short times, durations, sizes, widths, safe text. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/time.h"

namespace stella::cli {

// 5356 → "5,356".
std::string with_commas(std::int64_t number);
// "1 file", "3 files", "2 batches".
std::string counted(std::int64_t number, std::string_view noun);
// "812 B", "4.5 MiB", "1.2 GiB".
std::string human_bytes(std::uint64_t bytes);
// "85 µs", "412 ms", "1.24 s", "2 min 03 s", "1 h 05 min".
std::string human_duration(std::int64_t micros);
// In UTC: today "17:07:03", this year "24 Nov 17:07", else "2025-11-24".
std::string short_time(Timestamp time, Timestamp now);
// The same for RFC 3339 text; "-" for empty text, the text itself where it is no time.
std::string short_time(std::string_view rfc3339, Timestamp now);
// "2026-11-24 17:07:03 UTC".
std::string long_time(std::string_view rfc3339);

// Columns that UTF-8 text takes; East Asian wide characters count two, combining marks none.
std::size_t display_width(std::string_view text);
// At most `width` columns, the last one "…" where something was cut.
std::string ellipsized(std::string_view text, std::size_t width);
// Text of others without what a terminal would obey: control characters become "·", malformed UTF-8 becomes "?".
std::string printable(std::string_view text);
// Words over lines of at most `width` columns.
std::vector<std::string> wrapped(std::string_view text, std::size_t width);

// The known name with the fewest edits, or "" where none is near.
std::string nearest(std::string_view name, const std::vector<std::string>& known);

}  // namespace stella::cli
