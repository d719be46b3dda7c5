// Ed25519 keys (RFC 8032): what signs notes and cosignatures of transparency logs, and what verifies them. No pre-hashing, no context.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/crypto/keys.h"

namespace stella::crypto {

inline constexpr std::size_t kEd25519KeyBytes = 32;
inline constexpr std::size_t kEd25519SignatureBytes = 64;

// A public key. A cheap, immutable value; every member is thread-safe.
class Ed25519PublicKey {
 public:
  // RFC 8032 §5.1.5, 32 bytes. Bytes that are no point of the curve make a key that verifies nothing. kMalformed for another length.
  static Result<Ed25519PublicKey> from_raw(std::string_view bytes);
  // "-----BEGIN PUBLIC KEY-----" of RFC 8410; other algorithms and trailing text are refused (kMalformed).
  static Result<Ed25519PublicKey> from_pem(std::string_view pem);

  const std::string& raw() const { return raw_; }
  // OpenSSH fingerprint ("SHA256:…", as ssh-keygen -l prints it).
  KeyId id() const;
  std::string pem() const;

  // RFC 8032 §5.1.7: exactly 64 bytes, S below the group order.
  bool verify(std::string_view message, std::string_view signature) const;

  friend bool operator==(const Ed25519PublicKey& a, const Ed25519PublicKey& b) { return a.raw_ == b.raw_; }

 private:
  friend class Ed25519KeyPair;
  Ed25519PublicKey() = default;
  static Result<Ed25519PublicKey> adopt(std::shared_ptr<void> pkey);
  std::shared_ptr<void> pkey_;  // EVP_PKEY
  std::string raw_;
};

// The seam for key providers, as crypto::Signer is for P-256. Implementations are thread-safe; callers never see a private key.
class Ed25519Signer {
 public:
  virtual ~Ed25519Signer() = default;
  virtual const Ed25519PublicKey& public_key() const = 0;
  // 64 bytes. Deterministic: the same message always gives the same signature.
  virtual Result<std::string> sign(std::string_view message) const = 0;
};

// A private key in this process's memory.
class Ed25519KeyPair final : public Ed25519Signer {
 public:
  static Result<Ed25519KeyPair> generate();
  // The 32-byte seed of RFC 8032 §5.1.5: for keys that another system derives. kMalformed for another length.
  static Result<Ed25519KeyPair> from_seed(std::string_view seed);
  // Encrypted PKCS#8 only: a plain private key on disk is refused (kInvalid), as are a wrong passphrase and a key of another algorithm.
  static Result<Ed25519KeyPair> from_pem(std::string_view pem, std::string_view passphrase);
  static Result<Ed25519KeyPair> load(const std::string& path, std::string_view passphrase);

  // "-----BEGIN ENCRYPTED PRIVATE KEY-----": PBES2, AES-256-CBC. An empty passphrase is refused.
  Result<std::string> to_pem(std::string_view passphrase, int iterations = kKeyFileIterations) const;
  // Durable, mode 0600.
  Result<void> save(const std::string& path, std::string_view passphrase) const;

  const Ed25519PublicKey& public_key() const override { return public_; }
  Result<std::string> sign(std::string_view message) const override;

 private:
  explicit Ed25519KeyPair(Ed25519PublicKey key) : public_(std::move(key)) {}
  Ed25519PublicKey public_;  // its EVP_PKEY holds the private half too
};

}  // namespace stella::crypto
