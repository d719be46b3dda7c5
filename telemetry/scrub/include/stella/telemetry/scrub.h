// Masks secrets and personal data in text, before it is kept anywhere. The library does it with every text value by itself; call it for
// telemetry that others made (children, OTLP senders).
//
// Secrets never pass. Personal data (e-mail, IP, phone, card, IBAN) is masked unless the tenant's deep debug lets that kind through.
// A masked value is `[kind:7f3a91c2]`: its kind and a keyed fingerprint, equal for equal values within one tenant and UTC day. An IP address
// keeps its network: `[ipv4:203.0.113.0/24:7f3a91c2]`, `[ipv6:2001:db8:1::/48:7f3a91c2]`. Masks are left alone when scrubbed again.
//
// Everything here is thread-safe; the functions that take text are linear in it.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/time.h"
#include "stella/telemetry/reclaim.h"

namespace stella::telemetry {

// Kinds of personal data that can be let through. Secrets are no kind of it.
enum class PiiKind : std::uint8_t { kEmail, kIp, kPhone, kCard, kIban };
constexpr std::size_t kPiiKinds = 5;
// `email`, `ip`, `phone`, `card`, `iban`.
std::string_view pii_name(PiiKind kind);

class PiiSet {
 public:
  constexpr PiiSet() = default;
  constexpr PiiSet(std::initializer_list<PiiKind> kinds) {
    for (const PiiKind kind : kinds) add(kind);
  }
  constexpr void add(PiiKind kind) { bits_ = static_cast<std::uint8_t>(bits_ | 1u << static_cast<unsigned>(kind)); }
  constexpr bool has(PiiKind kind) const { return (bits_ >> static_cast<unsigned>(kind) & 1) != 0; }
  constexpr bool empty() const { return bits_ == 0; }
  constexpr std::uint8_t bits() const { return bits_; }
  static constexpr PiiSet from_bits(std::uint8_t bits) {
    PiiSet set;
    set.bits_ = bits & ((1u << kPiiKinds) - 1);
    return set;
  }
  friend constexpr bool operator==(PiiSet, PiiSet) = default;

 private:
  std::uint8_t bits_ = 0;
};

// What one text is scrubbed for. `tenant` keys the fingerprints; empty: the platform's own.
struct ScrubPolicy {
  PiiSet let_through;
  std::string_view tenant;
  // The policy of a tenant now: its deep debug, if any. Lock-free; a few ns while no tenant debugs. `tenant` must outlive the policy.
  static ScrubPolicy for_tenant(std::string_view tenant);
};

// True where `text` is valid UTF-8 and holds nothing that any rule masks: it may be copied as it is. A few ns for short texts.
bool certainly_clean(std::string_view text);

// Appends a redacted copy: valid UTF-8 always (broken bytes become U+FFFD); secrets in JSON escapes, percent-encoding and one layer of base64
// are found too. Absolute file paths become <path>/basename.
void scrub_append(std::string& out, std::string_view text, const ScrubPolicy& policy = {});
std::string scrub(std::string_view text);

// Every string inside `value`; member names stay. A member whose name is that of a secret is masked whole, whatever it holds, but for what no rule
// calls a secret (true, null, a count); so are neighbours in a list or an object that make up a secret together.
void scrub_json(json::Value& value);

// Secrets that show only over the boundary of adjacent texts of one record: a token cut in two, or a name ("password") and its value in the
// next text. Sets mask_these[i] (resized to texts.size()) for the texts that must be masked whole; true where any is.
bool split_secret(std::span<const std::string_view> texts, std::vector<bool>& mask_these);

// `[kind:fingerprint]` of a value that is known to be confidential, e.g. a field of PII class `pii`.
std::string mask(std::string_view kind, std::string_view value, std::string_view tenant = {});

// A path as it may be shown: relative ones as they are, all others as <path>/basename.
std::string trim_path(std::string_view path);

// Deep debug: until `until` (at most 24 hours from now, later is cut), `kinds` of the tenant pass. An empty set ends it. It expires by
// itself and is per process. The caller has authorised and audited it.
void set_deep_debug(std::string_view tenant, PiiSet kinds, Timestamp until);
struct DeepDebug {
  std::string tenant;
  PiiSet kinds;
  Timestamp until;
  friend bool operator==(const DeepDebug&, const DeepDebug&) = default;
};
// Who debugs now.
std::vector<DeepDebug> deep_debug();
// Tables of it: setting what holds already makes none.
Tables deep_debug_tables();

// The secret behind the fingerprints of this process (16 bytes or more); random until set. Processes with equal secrets make equal marks.
void set_fingerprint_secret(std::string_view bytes);

// Values masked since the start of the process.
struct ScrubTotals {
  std::uint64_t secrets = 0;
  std::uint64_t pii = 0;
};
ScrubTotals scrub_totals();

}  // namespace stella::telemetry
