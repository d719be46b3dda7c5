// Validators of the rules for addresses, cards and IBAN, and the networks that masks show.
#pragma once

#include <array>
#include <string_view>

namespace stella::telemetry::scrubbing {

// [begin, end) is a maximal run of digits and dots, and in no purl. True where it is an address of somebody and no version, network or loopback.
bool is_ipv4_in_context(std::string_view text, std::size_t begin, std::size_t end);
// [begin, end) is a run of hex digits and colons, apart from words.
bool is_ipv6_to_mask(std::string_view text, std::size_t begin, std::size_t end);
// [begin, end) is a maximal run of digits and single blanks or dashes.
bool has_card(std::string_view text, std::size_t begin, std::size_t end);
// Of a country ("DE", "de"), or 0.
std::size_t iban_length(std::string_view country);
// "203.0.113.0/24", "2001:db8:1::/48" in `out`; empty where it is no address.
std::string_view network(std::string_view address, std::array<char, 64>& out);

}  // namespace stella::telemetry::scrubbing
