// Ed25519 through OpenSSL's EVP, one-shot: the algorithm needs the whole message twice.
#include "stella/crypto/ed25519.h"

#include <openssl/pem.h>

#include "openssl.h"
#include "pkcs8.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/file_owner.h"
#include "stella/crypto/digest.h"

namespace stella::crypto {
namespace {

constexpr std::uint64_t kKeyFileBytes = 64u << 10;

Error not_a_key() { return Error(base_errors::kMalformed, "not an Ed25519 public key").with("expected", "32 bytes, or their SubjectPublicKeyInfo"); }

}  // namespace

Result<Ed25519PublicKey> Ed25519PublicKey::adopt(std::shared_ptr<void> pkey) {
  const ErrorQueueGuard guard;
  auto* evp = static_cast<EVP_PKEY*>(pkey.get());
  if (evp == nullptr || EVP_PKEY_get_id(evp) != EVP_PKEY_ED25519) return not_a_key();
  Ed25519PublicKey key;
  key.raw_.resize(kEd25519KeyBytes);
  std::size_t size = key.raw_.size();
  if (EVP_PKEY_get_raw_public_key(evp, reinterpret_cast<unsigned char*>(key.raw_.data()), &size) != 1 || size != kEd25519KeyBytes) return not_a_key();
  key.pkey_ = std::move(pkey);
  return key;
}

Result<Ed25519PublicKey> Ed25519PublicKey::from_raw(std::string_view bytes) {
  const ErrorQueueGuard guard;
  if (bytes.size() != kEd25519KeyBytes) return not_a_key();
  return adopt(share(PkeyPtr(EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, nullptr, bytes_of(bytes), bytes.size()))));
}

Result<Ed25519PublicKey> Ed25519PublicKey::from_pem(std::string_view pem) {
  const ErrorQueueGuard guard;
  const BioPtr bio = memory_bio(pem);
  PkeyPtr pkey(PEM_read_bio_PUBKEY(bio.get(), nullptr, nullptr, nullptr));
  if (!pkey) return not_a_key();
  Ed25519PublicKey key = STELLA_TRY(adopt(share(std::move(pkey))));
  // One key has one spelling: what does not come out again as it went in held more than the key.
  if (key.pem() != pem) return not_a_key();
  return key;
}

std::string Ed25519PublicKey::pem() const {
  const ErrorQueueGuard guard;
  const BioPtr bio(BIO_new(BIO_s_mem()));
  PEM_write_bio_PUBKEY(bio.get(), static_cast<EVP_PKEY*>(pkey_.get()));
  return bio_text(bio.get());
}

KeyId Ed25519PublicKey::id() const {
  // RFC 8709 §4: string "ssh-ed25519", string key.
  const std::string blob = std::string("\0\0\0\x0b", 4) + "ssh-ed25519" + std::string("\0\0\0\x20", 4) + raw_;
  std::string text = base64_encode(sha256(blob).view());
  while (text.ends_with('=')) text.pop_back();
  return KeyId::parse("SHA256:" + text).value();
}

bool Ed25519PublicKey::verify(std::string_view message, std::string_view signature) const {
  const ErrorQueueGuard guard;
  if (signature.size() != kEd25519SignatureBytes) return false;
  const MdCtxPtr context(EVP_MD_CTX_new());
  return context && EVP_DigestVerifyInit(context.get(), nullptr, nullptr, nullptr, static_cast<EVP_PKEY*>(pkey_.get())) == 1 &&
         EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(message), message.size()) == 1;
}

Result<Ed25519KeyPair> Ed25519KeyPair::generate() {
  const ErrorQueueGuard guard;
  PkeyPtr pkey(EVP_PKEY_Q_keygen(nullptr, nullptr, "ED25519"));
  if (!pkey) return Error(base_errors::kInternal, "cannot generate an Ed25519 key");
  Ed25519PublicKey key = STELLA_TRY(Ed25519PublicKey::adopt(share(std::move(pkey))));
  return Ed25519KeyPair(std::move(key));
}

Result<Ed25519KeyPair> Ed25519KeyPair::from_seed(std::string_view seed) {
  const ErrorQueueGuard guard;
  if (seed.size() != kEd25519KeyBytes) return Error(base_errors::kMalformed, "not an Ed25519 seed").with("expected", "32 bytes");
  PkeyPtr pkey(EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, nullptr, bytes_of(seed), seed.size()));
  if (!pkey) return Error(base_errors::kInternal, "cannot make an Ed25519 key");
  Ed25519PublicKey key = STELLA_TRY(Ed25519PublicKey::adopt(share(std::move(pkey))));
  return Ed25519KeyPair(std::move(key));
}

Result<Ed25519KeyPair> Ed25519KeyPair::from_pem(std::string_view pem, std::string_view passphrase) {
  PkeyPtr pkey = STELLA_TRY(open_private_key(pem, passphrase));
  if (EVP_PKEY_get_id(pkey.get()) != EVP_PKEY_ED25519)
    return Error(base_errors::kInvalid, "a private key of another algorithm").with("expected", "Ed25519");
  Ed25519PublicKey key = STELLA_TRY(Ed25519PublicKey::adopt(share(std::move(pkey))));
  return Ed25519KeyPair(std::move(key));
}

Result<Ed25519KeyPair> Ed25519KeyPair::load(const std::string& path, std::string_view passphrase) {
  const std::string pem = STELLA_TRY(read_file(path, kKeyFileBytes));
  auto key = from_pem(pem, passphrase);
  if (!key) key.error().add("path", path);
  return key;
}

Result<std::string> Ed25519KeyPair::to_pem(std::string_view passphrase, int iterations) const {
  return seal_private_key(static_cast<EVP_PKEY*>(public_.pkey_.get()), passphrase, iterations);
}

Result<void> Ed25519KeyPair::save(const std::string& path, std::string_view passphrase) const {
  const std::string pem = STELLA_TRY(to_pem(passphrase));
  return replace_file(path, pem, 0600);
}

Result<std::string> Ed25519KeyPair::sign(std::string_view message) const {
  const ErrorQueueGuard guard;
  const MdCtxPtr context(EVP_MD_CTX_new());
  std::string signature(kEd25519SignatureBytes, '\0');
  std::size_t size = signature.size();
  if (!context || EVP_DigestSignInit(context.get(), nullptr, nullptr, nullptr, static_cast<EVP_PKEY*>(public_.pkey_.get())) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, bytes_of(message), message.size()) != 1 ||
      size != kEd25519SignatureBytes)
    return Error(base_errors::kInternal, "cannot sign");
  return signature;
}

}  // namespace stella::crypto
