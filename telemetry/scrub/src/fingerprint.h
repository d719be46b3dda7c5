// Keyed fingerprints: SipHash-2-4 under a key of the tenant and the UTC day.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace stella::telemetry::scrubbing {

// 32 bits of it, as masks show.
std::uint32_t fingerprint(std::string_view value, std::string_view tenant);
// Appends `[kind:7f3a91c2]`, or `[kind:detail:7f3a91c2]`.
void append_mask(std::string& out, std::string_view kind, std::string_view detail, std::string_view value, std::string_view tenant);
// The function itself, for its published vectors.
std::uint64_t siphash(std::string_view data, std::uint64_t k0, std::uint64_t k1);
// Seconds since the epoch by a coarse clock (a few ns).
std::int64_t coarse_seconds();
// Another "now" for tests of days and expiry; 0: the clock's.
void set_test_seconds(std::int64_t seconds);

}  // namespace stella::telemetry::scrubbing
