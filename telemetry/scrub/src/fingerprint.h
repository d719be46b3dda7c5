// Keyed fingerprints: SipHash-2-4 under a key of the tenant and the UTC day.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace stella::telemetry::scrubbing {

struct Key {
  std::uint64_t k0 = 0, k1 = 0;
};
// The key of a tenant today: one look at the clock, and derived once a thread, tenant and day.
Key key_of(std::string_view tenant);
// Writes `7f3a91c2]`, the end of a mask, and returns what comes behind it.
char* put_print(char* to, std::string_view value, Key key);
// The function itself, for its published vectors.
std::uint64_t siphash(std::string_view data, std::uint64_t k0, std::uint64_t k1);
// Seconds since the epoch by a coarse clock (a few ns).
std::int64_t coarse_seconds();
// Another "now" for tests of days and expiry; 0: the clock's.
void set_test_seconds(std::int64_t seconds);

}  // namespace stella::telemetry::scrubbing
