// ECDSA P-256 keys: what signs (Signer, KeyPair) and what verifies (PublicKey). Signatures are over SHA-256 of the message.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::crypto {

// A P-256 public key. A cheap, immutable value; every member is thread-safe.
class PublicKey {
 public:
  // "-----BEGIN PUBLIC KEY-----"; other curves, compressed points and trailing text are refused (kMalformed).
  static Result<PublicKey> from_pem(std::string_view pem);
  // SubjectPublicKeyInfo with a named curve and an uncompressed point, 91 bytes: one key has one spelling.
  static Result<PublicKey> from_spki_der(std::string_view der);
  // Affine coordinates, 32 bytes each, big-endian (JWK). kMalformed where the point is not on the curve.
  static Result<PublicKey> from_coordinates(std::string_view x, std::string_view y);

  std::string pem() const;
  const std::string& spki_der() const { return spki_; }
  std::string_view x() const;
  std::string_view y() const;
  // OpenSSH fingerprint, "SHA256:…": what DSSE key ids and Sigstore hints carry (cosign accepts no other).
  const KeyId& id() const { return id_; }
  // First 8 hex digits of SHA-256 of the SPKI DER: for file names. Not unique; never trust it.
  std::string keyid8() const;

  // Strict DER signature (no BER variants, no trailing bytes).
  bool verify_der(std::string_view message, std::string_view signature) const;
  // r || s, 32 bytes each (JOSE, P1363).
  bool verify_raw(std::string_view message, std::string_view signature) const;
  // Either form (DSSE says nothing about it): DER first, then raw where the length is 64.
  bool verify(std::string_view message, std::string_view signature) const;

  friend bool operator==(const PublicKey& a, const PublicKey& b) { return a.spki_ == b.spki_; }

 private:
  friend class KeyPair;
  PublicKey() = default;
  static Result<PublicKey> adopt(std::shared_ptr<void> pkey);
  std::shared_ptr<void> pkey_;  // EVP_PKEY
  std::string spki_;
  KeyId id_;
};

// The seam for key providers (PEM file today, PKCS#11 later). Implementations are thread-safe; callers never see a private key.
class Signer {
 public:
  virtual ~Signer() = default;
  virtual const PublicKey& public_key() const = 0;
  // DER signature. Randomised: two signatures over the same bytes differ.
  virtual Result<std::string> sign(std::string_view message) const = 0;
};

// PBKDF2-HMAC-SHA256 rounds for stored private keys (OpenSSL's default of 2048 is far too low); a tenth of a second to open.
inline constexpr int kKeyFileIterations = 600'000;

// A private key in this process's memory.
class KeyPair final : public Signer {
 public:
  static Result<KeyPair> generate();
  // Encrypted PKCS#8 only: a plain private key on disk is refused (kInvalid), as is a wrong passphrase.
  static Result<KeyPair> from_pem(std::string_view pem, std::string_view passphrase);
  static Result<KeyPair> load(const std::string& path, std::string_view passphrase);

  // "-----BEGIN ENCRYPTED PRIVATE KEY-----": PBES2, AES-256-CBC. An empty passphrase is refused.
  Result<std::string> to_pem(std::string_view passphrase, int iterations = kKeyFileIterations) const;
  // Durable, mode 0600.
  Result<void> save(const std::string& path, std::string_view passphrase) const;

  const PublicKey& public_key() const override { return public_; }
  Result<std::string> sign(std::string_view message) const override;

 private:
  explicit KeyPair(PublicKey key) : public_(std::move(key)) {}
  PublicKey public_;
};

// DER to r || s and back; kMalformed for anything but two positive integers of at most 32 bytes, minimally encoded.
Result<std::string> ecdsa_der_to_raw(std::string_view der);
Result<std::string> ecdsa_raw_to_der(std::string_view raw);

// The public keys of a PEM file (one or more), or of every *.pub and *.pem of a directory; each key once, in the order of file names.
// kNotFound where there is none.
Result<std::vector<PublicKey>> load_public_keys(const std::string& path);

}  // namespace stella::crypto
