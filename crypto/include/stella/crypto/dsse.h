// DSSE 1.0.2 envelopes (secure-systems-lab/dsse): pre-authentication encoding, building, parsing, (t, n) verification.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/crypto/keys.h"

namespace stella::crypto {

// "DSSEv1 LEN(type) type LEN(body) body": the bytes that are signed. Lengths count bytes.
std::string dsse_pae(std::string_view payload_type, std::string_view payload);

struct DsseSignature {
  std::string keyid;  // a hint, never trusted; empty = absent
  std::string sig;    // decoded
};

struct DsseEnvelope {
  std::string payload_type;
  std::string payload;  // decoded: use these bytes after verification, never parse the envelope again
  std::vector<DsseSignature> signatures;

  // Compact JSON, standard base64, members in the order payload, payloadType, signatures.
  std::string json() const;
};

inline constexpr std::size_t kDsseMaxSignatures = 64;

// One signature per signer, keyid = the signer's KeyId.
Result<DsseEnvelope> dsse_sign(std::string_view payload_type, std::string payload, std::span<const Signer* const> signers);
Result<DsseEnvelope> dsse_sign(std::string_view payload_type, std::string payload, const Signer& signer);

// payload, payloadType and sig are required even if empty; both base64 alphabets; unknown members ignored. kMalformed, kLimit.
Result<DsseEnvelope> dsse_parse(std::string_view json, std::size_t max_bytes = 64u << 20);

// The keys among `trusted` that signed, each once, however often it signed and whatever the key ids say.
std::vector<PublicKey> dsse_signers(const DsseEnvelope& envelope, std::span<const PublicKey> trusted);

// The signers where at least `threshold` (≥ 1) different trusted keys signed; else kInvalid with fields expected and actual.
Result<std::vector<PublicKey>> dsse_verify(const DsseEnvelope& envelope, std::span<const PublicKey> trusted, std::size_t threshold = 1);

}  // namespace stella::crypto
