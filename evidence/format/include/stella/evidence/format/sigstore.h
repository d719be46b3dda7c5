// Verification of Sigstore bundles 0.1 to 0.3 as others make them: managed keys and short-lived certificates, Rekor entries (v1 and v2), Signed
// Certificate Timestamps, RFC 3161 timestamps, DSSE and message signatures, against a trusted root document. Offline and pure.
// What this product signs needs none of it but the managed key: verify_statement() (statement.h).
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/crypto/certificate.h"
#include "stella/crypto/ed25519.h"
#include "stella/crypto/keys.h"
#include "stella/crypto/timestamp.h"

namespace stella::evidence {

// From when to when an authority of a trusted root is believed; both ends belong to it.
struct SigstoreWindow {
  Timestamp start;
  std::optional<Timestamp> end;
  bool contains(Timestamp t) const { return t >= start && (!end || t <= *end); }
};

// A transparency log: of signatures (Rekor) or of certificates (CT). Exactly one of the keys is there.
struct SigstoreLog {
  std::string host;  // of its address: the name under which it signs checkpoints
  std::string id;    // 32 bytes
  std::optional<crypto::PublicKey> ecdsa;
  std::optional<crypto::Ed25519PublicKey> ed25519;
  SigstoreWindow valid;
};
struct SigstoreAuthority {
  std::vector<crypto::Certificate> chain;  // the root last
  SigstoreWindow valid;
};
struct SigstoreTimestamper {
  crypto::TimestampTrust trust;
  SigstoreWindow valid;
};

// "application/vnd.dev.sigstore.trustedroot+json". Logs with keys that we cannot verify with (RSA) are left out: they vouch for nothing.
struct SigstoreTrust {
  std::vector<SigstoreLog> logs, certificate_logs;
  std::vector<SigstoreAuthority> authorities;
  std::vector<SigstoreTimestamper> timestampers;

  // kMalformed.
  static Result<SigstoreTrust> from_json(std::string_view text);
};

struct SigstoreExpectation {
  // Either a key, and then the bundle must name one (its hint is not trusted), …
  const crypto::PublicKey* key = nullptr;
  // … or whose certificate: subject alternative name and OIDC issuer, both required, both exact.
  std::string identity;
  std::string issuer;
  // Required with a certificate. With a key: where it is given, entries and timestamps in the bundle are verified, and one must hold.
  const SigstoreTrust* trust = nullptr;
};

struct VerifiedSigstore {
  std::string payload_type, payload;      // of a DSSE envelope; "" for a message signature
  std::vector<Timestamp> times;           // when it is proved to have been signed: by log and timestamp authority
  std::vector<std::string> not_checked;   // what stands in the bundle, or should, and was not looked at
};

// All of this must hold: the form of the bundle; the signature; the artifact (the signed message, or a subject of the in-toto statement, by
// digest); each log entry is in the log (signed checkpoint or promise) and is about this signature; each timestamp; a certificate chains to an
// authority at every proved time, is in a certificate log, and names identity and issuer. kMalformed or kInvalid with `field`.
Result<VerifiedSigstore> verify_sigstore_blob(std::string_view bundle, const Sha256& artifact, const SigstoreExpectation& expected);

}  // namespace stella::evidence
