// X.509 certificates of code signers, as Sigstore's authority issues them: chain, names, and Signed Certificate Timestamps (RFC 6962).
// Pure: no network, no revocation (such certificates live for minutes; their time is proved by a log or a timestamp).
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/crypto/keys.h"

namespace stella::crypto {

// A certificate. A cheap, immutable value; thread-safe.
class Certificate {
 public:
  // kMalformed for anything but one certificate; nothing may follow it.
  static Result<Certificate> from_der(std::string_view der);
  static Result<Certificate> from_pem(std::string_view pem);

  const std::string& der() const { return der_; }
  std::string spki_der() const;
  std::string pem() const;
  // kMalformed for other keys than P-256.
  Result<PublicKey> public_key() const { return PublicKey::from_spki_der(spki_der()); }
  Timestamp not_before() const;
  Timestamp not_after() const;
  // Subject and issuer are one name: a root.
  bool self_issued() const;
  // URIs and e-mail addresses of the subject alternative name.
  std::vector<std::string> alternative_names() const;
  // The value (DER) of an extension by its dotted object identifier; absent where the certificate has none.
  std::optional<std::string> extension(const std::string& oid) const;

 private:
  friend struct CertificateAccess;
  Certificate() = default;
  std::shared_ptr<void> x509_;  // X509
  std::string der_;
};

// The chain from `leaf` to one of `anchors` (leaf first), at a moment, over `others`. The leaf must be for code signing (extended key usage) and
// digital signatures. kInvalid with the reason.
Result<std::vector<Certificate>> verify_code_signing_chain(const Certificate& leaf, std::span<const Certificate> anchors, std::span<const Certificate> others, Timestamp at);

// A Signed Certificate Timestamp that is embedded in a certificate (RFC 6962 §3.3).
struct CertificateTimestamp {
  std::string log_id;      // 32 bytes: SHA-256 of the log's SubjectPublicKeyInfo
  Timestamp time;
  std::string signed_bytes;  // what the log signed: the precertificate (§3.2)
  std::string signature;     // ECDSA with SHA-256, DER
};
// Those of `leaf`, version 1 and ECDSA; others are left out. `issuer` signed the leaf. kMalformed where the list cannot be read.
Result<std::vector<CertificateTimestamp>> certificate_timestamps(const Certificate& leaf, const Certificate& issuer);

// A DER signature over a message of which only the digest is known.
bool verify_digest(const PublicKey& key, const Sha256& digest, std::string_view der_signature);

}  // namespace stella::crypto
