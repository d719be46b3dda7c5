// An entry of a transparency log inside a Sigstore bundle: that it is in the log, when it came there, and that it is about this signature.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "stella/base/json.h"
#include "stella/evidence/format/sigstore.h"

namespace stella::evidence {

// What the entry must be about.
struct SigstoreSigned {
  Sha256 digest;                                   // of the message, or of the DSSE pre-authentication encoding
  Sha256 payload;                                  // of the DSSE payload; zero for a message
  bool dsse = false;
  std::string signature;                           // decoded
  std::optional<crypto::Certificate> certificate;  // whose, or …
  std::optional<crypto::PublicKey> key;
};

// The integrated time where the log promised one (Rekor v1). kMalformed, kInvalid. `times` are those that timestamps prove already: they decide
// whether a log without promises (v2) was to be believed.
Result<std::optional<Timestamp>> verify_log_entry(const json::Value& entry, const SigstoreSigned& what, const SigstoreTrust& trust, std::span<const Timestamp> times);

}  // namespace stella::evidence
