// Identifiers: generation from operating-system randomness, strict parsing, one spelling each.
#include "stella/base/ids.h"

#include <pthread.h>
#include <sys/random.h>

#include <atomic>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "stella/base/encoding.h"
#include "stella/base/sync.h"
#include "stella/base/time.h"

namespace stella {
namespace {

std::string_view raw(const std::uint8_t* p, std::size_t n) { return {reinterpret_cast<const char*>(p), n}; }

template <std::size_t N>
Result<std::array<std::uint8_t, N>> parse_hex(std::string_view hex, Literal message, Literal expected) {
  const auto bad = [&] { return Error(base_errors::kMalformed, message).with("expected", std::string(expected.view())); };
  if (hex.size() != N * 2) return bad();
  for (const char c : hex)
    if (c >= 'A' && c <= 'F') return bad();
  auto bytes = hex_decode(hex);
  if (!bytes) return bad();
  std::array<std::uint8_t, N> out;
  std::memcpy(out.data(), bytes->data(), N);
  return out;
}

// Counts the forks above this process: random bytes that a parent drew ahead must not make the ids of its child.
std::atomic<unsigned> forks{0};

// Randomness for ids, drawn ahead: a system call per id costs more than the rest of it. Never for secrets.
void fill_id_random(std::uint8_t* out, std::size_t size) {
  struct Ahead {
    std::array<std::uint8_t, 256> bytes;
    std::size_t used = sizeof bytes;
    unsigned fork = 0;
  };
  [[maybe_unused]] static const bool registered = (pthread_atfork(nullptr, nullptr, [] { forks.fetch_add(1, std::memory_order_relaxed); }), true);
  static thread_local Ahead ahead;
  const unsigned fork = forks.load(std::memory_order_relaxed);
  if (ahead.fork != fork || ahead.used + size > ahead.bytes.size()) {
    fill_random(ahead.bytes.data(), ahead.bytes.size());
    ahead.used = 0;
    ahead.fork = fork;
  }
  std::memcpy(out, ahead.bytes.data() + ahead.used, size);
  ahead.used += size;
}

template <class Id, std::size_t N>
Id random_nonzero() {
  std::array<std::uint8_t, N> bytes{};
  do fill_id_random(bytes.data(), bytes.size());
  while (bytes == std::array<std::uint8_t, N>{});
  return Id(bytes);
}

}  // namespace

void fill_random(void* out, std::size_t size) {
  auto* p = static_cast<std::uint8_t*>(out);
  while (size > 0) {
    const ssize_t n = getrandom(p, size, 0);
    if (n < 0) {
      if (errno == EINTR) continue;
      std::abort();
    }
    p += n;
    size -= static_cast<std::size_t>(n);
  }
}

Uuid Uuid::v7() {
  // Milliseconds in 48 bits, then a 12-bit counter that keeps ids of one process ordered within a millisecond, then randomness.
  static Mutex mutex;
  static std::int64_t last_ms = 0;
  static std::uint32_t counter = 0;
  std::array<std::uint8_t, 16> b{};
  fill_id_random(b.data(), b.size());
  std::int64_t ms = Timestamp::now().micros() / 1000;
  {
    const Lock lock(mutex);
    if (ms > last_ms) {
      counter = b[6] & 0x7fu;  // a random start leaves room to count up
    } else {
      ms = last_ms;
      if (++counter > 0xfff) {
        counter = 0;
        ++ms;
      }
    }
    last_ms = ms;
    b[6] = static_cast<std::uint8_t>(0x70 | counter >> 8);
    b[7] = static_cast<std::uint8_t>(counter & 0xff);
  }
  for (int i = 0; i < 6; ++i) b[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(ms >> (40 - 8 * i) & 0xff);
  b[8] = static_cast<std::uint8_t>((b[8] & 0x3f) | 0x80);
  return Uuid(b);
}

Result<Uuid> Uuid::parse(std::string_view text) {
  const auto bad = [] { return Error(base_errors::kMalformed, "not a UUID").with("expected", "xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx, lower case"); };
  if (text.size() != 36) return bad();
  std::string hex;
  for (std::size_t i = 0; i < 36; ++i) {
    const bool dash = i == 8 || i == 13 || i == 18 || i == 23;
    if (dash != (text[i] == '-')) return bad();
    if (!dash) hex += text[i];
  }
  auto bytes = parse_hex<16>(hex, "not a UUID", "lower-case hexadecimal");
  if (!bytes) return bad();
  return Uuid(*bytes);
}

std::string Uuid::str() const {
  std::string hex = hex_encode(raw(bytes_.data(), bytes_.size()));
  for (const std::size_t at : {20u, 16u, 12u, 8u}) hex.insert(at, 1, '-');
  return hex;
}

bool TenantIdTag::valid(std::string_view t) {
  if (t.empty() || t.size() > 63 || t.front() == '-') return false;
  for (const char c : t)
    if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-')) return false;
  return true;
}

bool CaseIdTag::valid(std::string_view t) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  if (t.empty() || t.size() > 64 || !alnum(t.front()) || t.find("..") != std::string_view::npos) return false;
  for (const char c : t)
    if (!alnum(c) && c != '.' && c != '_' && c != '-') return false;
  return true;
}

bool KeyIdTag::valid(std::string_view t) {
  constexpr std::string_view kPrefix = "SHA256:";
  if (t.size() != kPrefix.size() + 43 || t.substr(0, kPrefix.size()) != kPrefix) return false;
  for (const char c : t.substr(kPrefix.size()))
    if (!((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '+' || c == '/')) return false;
  return true;
}

TraceId TraceId::generate() { return random_nonzero<TraceId, 16>(); }
SpanId SpanId::generate() { return random_nonzero<SpanId, 8>(); }

Result<TraceId> TraceId::parse(std::string_view hex) {
  auto bytes = parse_hex<16>(hex, "not a trace id", "32 lower-case hex digits, not all zero");
  if (!bytes) return std::move(bytes.error());
  TraceId id(*bytes);
  if (id.empty()) return Error(base_errors::kMalformed, "a trace id must not be all zero");
  return id;
}

Result<SpanId> SpanId::parse(std::string_view hex) {
  auto bytes = parse_hex<8>(hex, "not a span id", "16 lower-case hex digits, not all zero");
  if (!bytes) return std::move(bytes.error());
  SpanId id(*bytes);
  if (id.empty()) return Error(base_errors::kMalformed, "a span id must not be all zero");
  return id;
}

std::string TraceId::hex() const { return hex_encode(raw(bytes_.data(), bytes_.size())); }
std::string SpanId::hex() const { return hex_encode(raw(bytes_.data(), bytes_.size())); }

Result<Sha256> Sha256::parse(std::string_view hex) {
  auto bytes = parse_hex<32>(hex, "not a SHA-256 digest", "64 lower-case hex digits");
  if (!bytes) return std::move(bytes.error());
  return Sha256(*bytes);
}

Result<Sha256> Sha256::from_bytes(std::string_view bytes) {
  if (bytes.size() != kSize) return Error(base_errors::kMalformed, "not a SHA-256 digest").with("expected", "32 bytes");
  Sha256 out;
  std::memcpy(out.bytes_.data(), bytes.data(), kSize);
  return out;
}

std::string Sha256::hex() const { return hex_encode(view()); }

}  // namespace stella
