// What both drivers share: keys, locks, counters and the words for a full disk.
#pragma once

#include <string>
#include <string_view>

#include "stella/contracts/errors.h"
#include "stella/platform/objects.h"
#include "stella/telemetry/metrics.h"

namespace stella::objects {

inline constexpr telemetry::Counter kBytes{contracts::metrics::kObjectsBytes};
inline constexpr telemetry::Counter kErrors{contracts::metrics::kObjectsErrors};
inline constexpr std::size_t kListLimit = 1000;

// What callers may have meant (no such object, a bad key, too large, locked) is no failure of the store.
template <class T>
Result<T> counted(std::string_view operation, Result<T> done) {
  if (done) return done;
  const ErrorCode code = done.error().code();
  if (code != base_errors::kNotFound && code != base_errors::kInvalid && code != base_errors::kLimit && code != contracts::errors::kConflict) kErrors.add(1, operation);
  return done;
}

// Segments of [A-Za-z0-9._-], none empty, none with a leading dot (that is our own space), no '..' anywhere.
Result<void> check_key(std::string_view key);
// The beginning of such a key, or "".
Result<void> check_prefix(std::string_view prefix);

Error disk_full();
Error not_found(const std::string& key);
Error locked(const std::string& key, const ObjectLock& lock);

// In whole seconds, rounded up: a lock never ends earlier than was asked for.
Timestamp whole_seconds(Timestamp t);
// kInvalid where it is not in the future or too far away.
Result<void> check_until(Timestamp until, Timestamp now);
// The lock of a new object: `asked`, checked and rounded, or the default where no mode was asked for.
Result<ObjectLock> lock_of_new(const ObjectLock& asked, const LockDefault& fallback, Timestamp now);
// The stronger in each part.
ObjectLock stronger(const ObjectLock& a, const ObjectLock& b);

// Reads `from` to its end, hashes it and hands it to `write` in pieces; kLimit over max_bytes.
Result<Store::Copied> copy_hashed(int from, std::uint64_t max_bytes, const std::function<Result<void>(std::string_view)>& write);
// The error of put_fd where key_of said "".
Error unexpected_bytes(const Sha256& actual);

// Lines of a WORM probe's transcript.
class Transcript {
 public:
  void line(std::string_view what, std::string_view answer);
  WormReport finish(WormLevel level, bool create_only) &&;

 private:
  std::string text_;
};

}  // namespace stella::objects
