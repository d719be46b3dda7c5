// What an Extractor needs of W3C Baggage.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>

namespace stella::telemetry::detail {

// Appends the well-formed members of one `baggage` value whose keys are allowed. `bytes` and `members`: of the message so far.
void append_allowed(std::string_view value, std::size_t& bytes, std::size_t& members, std::string& out);

}  // namespace stella::telemetry::detail
