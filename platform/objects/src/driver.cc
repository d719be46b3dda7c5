// Keys, locks and errors that both drivers have in common.
#include "driver.h"

#include <unistd.h>

#include <cerrno>

#include "stella/crypto/digest.h"

namespace stella::objects {
namespace {

constexpr std::size_t kKeyBytes = 512;
constexpr std::size_t kCopyBytes = 256 * 1024;
constexpr std::chrono::hours kLongest{24 * 365 * 100};  // what S3 itself accepts; beyond it somebody mistook a unit

bool plain(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'; }

bool may_begin_key(std::string_view text) {
  if (text.size() > kKeyBytes || text.find("..") != std::string_view::npos) return false;
  char before = '/';
  for (const char c : text) {
    if (!plain(c) && !(before != '/' && (c == '.' || c == '/'))) return false;
    before = c;
  }
  return true;
}

Error bad_key(Literal message, std::string field) {
  return Error(base_errors::kInvalid, message).with("field", std::move(field)).with("expected", std::string("segments of [A-Za-z0-9._-]"));
}

}  // namespace

Result<void> check_key(std::string_view key) {
  if (!key.empty() && key.back() != '/' && may_begin_key(key)) return {};
  return bad_key("not an object key", "key");
}

Result<void> check_prefix(std::string_view prefix) {
  if (may_begin_key(prefix)) return {};
  return bad_key("not the beginning of an object key", "prefix");
}

Error disk_full() {
  return Error(contracts::errors::kUnavailable, "the object store is full").with("part", std::string("objects")).with("reason", std::string("disk_full"));
}

Error not_found(const std::string& key) { return Error(base_errors::kNotFound, "no such object").with("path", key); }

Error locked(const std::string& key, const ObjectLock& lock) {
  Error error = Error(contracts::errors::kConflict, "the object is locked").with("reason", std::string("locked")).with("path", key);
  if (lock.mode != LockMode::kNone) error.add("retain_until", lock.retain_until.rfc3339_seconds());
  error.add("legal_hold", lock.legal_hold ? "on" : "off");
  return error;
}

Timestamp whole_seconds(Timestamp t) { return Timestamp::from_micros((t.micros() + 999'999) / 1'000'000 * 1'000'000); }

Result<void> check_until(Timestamp until, Timestamp now) {
  if (until > now && until <= now + kLongest) return {};
  return Error(base_errors::kInvalid, "an object cannot be locked until then").with("field", std::string("retain_until")).with("expected", std::string("an instant in the next 100 years"));
}

Result<ObjectLock> lock_of_new(const ObjectLock& asked, const LockDefault& fallback, Timestamp now) {
  ObjectLock lock = asked;
  if (lock.mode == LockMode::kNone) lock = {fallback.mode, now + fallback.keep, asked.legal_hold};
  if (lock.mode == LockMode::kNone) return ObjectLock{LockMode::kNone, {}, asked.legal_hold};
  STELLA_TRY_VOID(check_until(lock.retain_until, now));
  lock.retain_until = whole_seconds(lock.retain_until);
  return lock;
}

ObjectLock stronger(const ObjectLock& a, const ObjectLock& b) { return {std::max(a.mode, b.mode), std::max(a.retain_until, b.retain_until), a.legal_hold || b.legal_hold}; }

Result<Store::Copied> copy_hashed(int from, std::uint64_t max_bytes, const std::function<Result<void>(std::string_view)>& write) {
  crypto::Hasher hasher;
  Store::Copied copied;
  std::string buffer(kCopyBytes, '\0');
  for (;;) {
    const ssize_t n = ::read(from, buffer.data(), buffer.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot read", "");
    if (n == 0) break;
    copied.size += static_cast<std::uint64_t>(n);
    if (copied.size > max_bytes) return Error(base_errors::kLimit, "object is too large").with("limit", max_bytes);
    const std::string_view chunk(buffer.data(), static_cast<std::size_t>(n));
    hasher.update(chunk);
    STELLA_TRY_VOID(write(chunk));
  }
  copied.sha256 = hasher.finish();
  return copied;
}

Error unexpected_bytes(const Sha256& actual) {
  return Error(base_errors::kInvalid, "bytes are not what was expected").with("field", std::string("sha256")).with("actual", actual.hex());
}

std::string_view to_string(LockMode mode) {
  switch (mode) {
    case LockMode::kGovernance: return "governance";
    case LockMode::kCompliance: return "compliance";
    case LockMode::kNone: break;
  }
  return "none";
}

Result<LockMode> parse_lock_mode(std::string_view text) {
  for (const auto mode : {LockMode::kNone, LockMode::kGovernance, LockMode::kCompliance}) {
    if (text == to_string(mode)) return mode;
  }
  return Error(base_errors::kInvalid, "no such lock mode").with("field", std::string("lock_mode")).with("expected", std::string("none, governance or compliance"));
}

std::string_view to_string(WormLevel level) {
  constexpr std::string_view kNames[] = {"W0", "W1", "W2", "W3", "W4"};
  return kNames[static_cast<std::size_t>(level)];
}

void Transcript::line(std::string_view what, std::string_view answer) { text_.append(what).append(": ").append(answer).append("\n"); }

WormReport Transcript::finish(WormLevel level, bool create_only) && {
  line("level", to_string(level));
  const Sha256 digest = crypto::sha256(text_);
  return {level, create_only, std::move(text_), digest};
}

}  // namespace stella::objects
