// The keys of fingerprints, and masks.
#include "fingerprint.h"

#include <algorithm>
#include <array>
#include <atomic>
#include <bit>
#include <cstring>
#include <ctime>
#include <memory>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/sync.h"
#include "stella/telemetry/scrub.h"
#include "words.h"

namespace stella::telemetry::scrubbing {
namespace {

// The process's secret, condensed; `version` changes with it, so that threads drop derived keys. A thread takes the lock only to derive a key:
// once a tenant and day.
std::atomic<std::uint32_t> g_version{0};  // 0: nobody has set a secret yet
Mutex g_mutex;
Key g_master;  // guarded by g_mutex
std::atomic<std::int64_t> g_test_seconds{0};

// The caller holds g_mutex.
void store_master(Key key) {
  g_master = key;
  g_version.store(g_version.load(std::memory_order_relaxed) + 1, std::memory_order_release);
}

Key master(std::uint32_t& version) {
  Lock lock(g_mutex);
  if (g_version.load(std::memory_order_relaxed) == 0) {  // nobody set one: random
    Key key;
    fill_random(&key, sizeof key);
    store_master(key);
  }
  version = g_version.load(std::memory_order_relaxed);
  return g_master;
}

// Two halves of a key out of one message: the counter mode of a pseudo-random function, as in HMAC-based derivations.
Key derive(Key from, std::string_view message) {
  std::string text("\x01stella fingerprint ");
  text += message;
  const std::uint64_t k0 = siphash(text, from.k0, from.k1);
  text[0] = '\x02';
  return {k0, siphash(text, from.k0, from.k1)};
}

// Keys that this thread derived, each at the place that its tenant's name gives it.
struct Cached {
  std::uint32_t version = 0;
  std::int64_t day = -1;
  std::array<char, 64> tenant{};
  std::size_t tenant_size = 0;
  Key key;
};
constexpr std::size_t kCached = 16;

std::size_t place(std::string_view tenant) {
  std::uint64_t ends[2] = {};
  const std::size_t n = std::min<std::size_t>(tenant.size(), 8);
  std::memcpy(&ends[0], tenant.data(), n);
  std::memcpy(&ends[1], tenant.data() + tenant.size() - n, n);
  return static_cast<std::size_t>((ends[0] ^ ends[1] * 31 ^ tenant.size()) * 0x9e3779b97f4a7c15ull >> 60);
}
static_assert(kCached == 16, "place() gives four bits");

}  // namespace

Key key_of(std::string_view tenant) {
  const std::int64_t day = coarse_seconds() / 86'400;
  thread_local std::array<Cached, kCached> cache;
  std::uint32_t version = g_version.load(std::memory_order_acquire);
  const bool fits = !tenant.empty() && tenant.size() <= cache[0].tenant.size();
  Cached& cached = cache[fits ? place(tenant) : 0];
  if (version != 0 && cached.version == version && cached.day == day && std::string_view(cached.tenant.data(), cached.tenant_size) == tenant) return cached.key;
  const Key key = derive(master(version), std::to_string(day) + " " + std::string(tenant));
  if (fits || tenant.empty()) {  // an odd name: derived every time
    cached.version = version;
    cached.day = day;
    cached.tenant_size = tenant.copy(cached.tenant.data(), tenant.size());
    cached.key = key;
  }
  return key;
}

std::uint64_t siphash(std::string_view data, std::uint64_t k0, std::uint64_t k1) {
  std::uint64_t v0 = 0x736f6d6570736575ull ^ k0, v1 = 0x646f72616e646f6dull ^ k1;
  std::uint64_t v2 = 0x6c7967656e657261ull ^ k0, v3 = 0x7465646279746573ull ^ k1;
  const auto rotl = [](std::uint64_t x, int b) { return (x << b) | (x >> (64 - b)); };
  const auto round = [&] {
    v0 += v1; v1 = rotl(v1, 13) ^ v0; v0 = rotl(v0, 32); v2 += v3; v3 = rotl(v3, 16) ^ v2;
    v0 += v3; v3 = rotl(v3, 21) ^ v0; v2 += v1; v1 = rotl(v1, 17) ^ v2; v2 = rotl(v2, 32);
  };
  const auto absorb = [&](std::uint64_t m) { v3 ^= m; round(); round(); v0 ^= m; };
  std::size_t i = 0;
  for (; i + 8 <= data.size(); i += 8) absorb(load8(data.data() + i));
  std::uint64_t last = static_cast<std::uint64_t>(data.size()) << 56;
  const std::size_t left = data.size() - i;
  if (left != 0 && data.size() >= 8) {  // the last eight bytes, without those that were absorbed
    last |= load8(data.data() + data.size() - 8) >> 8 * (8 - left);
  } else {
    for (std::size_t j = 0; j < left; ++j) last |= static_cast<std::uint64_t>(static_cast<std::uint8_t>(data[i + j])) << (8 * j);
  }
  absorb(last);
  v2 ^= 0xff;
  for (int r = 0; r < 4; ++r) round();
  return v0 ^ v1 ^ v2 ^ v3;
}

std::int64_t coarse_seconds() {
  if (const std::int64_t test = g_test_seconds.load(std::memory_order_relaxed); test != 0) return test;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME_COARSE, &now);
  return now.tv_sec;
}
void set_test_seconds(std::int64_t seconds) { g_test_seconds.store(seconds, std::memory_order_relaxed); }

char* put_print(char* to, std::string_view value, Key key) {
  // Its hex digits, eight at once: the digits apart, then each 0-9 or a-f.
  std::uint64_t digits = static_cast<std::uint32_t>(siphash(value, key.k0, key.k1));
  digits = (digits | digits << 16) & 0x0000ffff0000ffffull;
  digits = (digits | digits << 8) & 0x00ff00ff00ff00ffull;
  digits = (digits | digits << 4) & 0x0f0f0f0f0f0f0f0full;
  const std::uint64_t letters = (digits + 0x0606060606060606ull) >> 4 & 0x0101010101010101ull;
  digits += 0x3030303030303030ull + letters * ('a' - '0' - 10);
  if constexpr (std::endian::native == std::endian::little) digits = __builtin_bswap64(digits);
  std::memcpy(to, &digits, 8);
  to[8] = ']';
  return to + 9;
}

}  // namespace stella::telemetry::scrubbing

namespace stella::telemetry {

void set_fingerprint_secret(std::string_view bytes) {
  using namespace scrubbing;
  Lock lock(g_mutex);
  // Condensed twice under fixed, different keys; the result is as secret as the bytes are.
  store_master({siphash(bytes, 0x7374656c6c612d31ull, 0x66696e6765722d31ull), siphash(bytes, 0x7374656c6c612d32ull, 0x66696e6765722d32ull)});
}

std::string mask(std::string_view kind, std::string_view value, std::string_view tenant) {
  char print[9];
  scrubbing::put_print(print, value, scrubbing::key_of(tenant));
  std::string out("[");
  out += kind;
  out += ':';
  out.append(print, sizeof print);
  return out;
}

}  // namespace stella::telemetry
