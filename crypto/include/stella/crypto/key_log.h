// A key history as text, for files and the API: one JSON line {"at": RFC 3339, "event": DSSE envelope} per event, in the order of the log.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/crypto/dsse.h"
#include "stella/crypto/key_history.h"

namespace stella::crypto {

inline constexpr std::string_view kKeyLogType = "application/x-ndjson";

struct KeyLogEntry {
  Timestamp at;
  DsseEnvelope event;
};

// With its newline.
std::string key_log_line(Timestamp at, const DsseEnvelope& event);
// kMalformed with `line` for a line that is none, kLimit over 4 MiB.
Result<std::vector<KeyLogEntry>> parse_key_log(std::string_view text);

// Every signature verified, every event applied (KeyHistory). The key of the first event is a root beside `roots`: whoever brings the text
// vouches for where it begins, and all that follows has to be signed from there. Passed over are activations that neither a root nor an active key
// of this history signed, and rotations away from such a key: what was begun anew after a compromise counts for whoever trusts the new key.
// kInvalid with `line` for any other event that may not stand where it stands, kNotFound for an empty log.
Result<KeyHistory> key_history_of(const std::vector<KeyLogEntry>& entries, std::set<KeyId> roots);

}  // namespace stella::crypto
