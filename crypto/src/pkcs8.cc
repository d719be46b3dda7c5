// Private keys as encrypted PKCS#8 text.
#include "pkcs8.h"

#include <openssl/pem.h>
#include <openssl/pkcs12.h>
#include <openssl/rand.h>

#include <cstring>

namespace stella::crypto {
namespace {

constexpr int kSaltBytes = 16;
// OpenSSL asks for a passphrase with a buffer of this size: a longer one seals and never opens.
constexpr std::size_t kPassphraseBytes = PEM_BUFSIZE;

int give_passphrase(char* out, int size, int, void* passphrase) {
  const auto& text = *static_cast<std::string_view*>(passphrase);
  if (text.size() > static_cast<std::size_t>(size)) return -1;
  std::memcpy(out, text.data(), text.size());
  return static_cast<int>(text.size());
}

Result<X509SigPtr> encrypt(PKCS8_PRIV_KEY_INFO* plain, std::string_view passphrase, int iterations) {
  unsigned char salt[kSaltBytes];
  if (RAND_bytes(salt, kSaltBytes) != 1) return Error(base_errors::kInternal, "no randomness from OpenSSL");
  AlgorPtr algorithm(PKCS5_pbe2_set_iv(EVP_aes_256_cbc(), iterations, salt, kSaltBytes, nullptr, NID_hmacWithSHA256));
  if (!algorithm) return Error(base_errors::kInternal, "cannot set up PBES2");
  X509SigPtr sealed(PKCS8_set0_pbe(passphrase.data(), static_cast<int>(passphrase.size()), plain, algorithm.get()));
  if (!sealed) return Error(base_errors::kInternal, "cannot encrypt a private key");
  (void)algorithm.release();  // set0: owned by `sealed` now
  return sealed;
}

}  // namespace

Result<std::string> seal_private_key(EVP_PKEY* key, std::string_view passphrase, int iterations) {
  const ErrorQueueGuard guard;
  if (passphrase.empty()) return Error(base_errors::kInvalid, "a private key needs a passphrase").with("field", "passphrase");
  if (passphrase.size() > kPassphraseBytes)
    return Error(base_errors::kInvalid, "the passphrase of a private key is too long").with("field", "passphrase").with("limit", kPassphraseBytes).with("actual", passphrase.size());
  const Pkcs8Ptr plain(EVP_PKEY2PKCS8(key));
  if (!plain) return Error(base_errors::kInternal, "cannot encode a private key");
  const X509SigPtr sealed = STELLA_TRY(encrypt(plain.get(), passphrase, iterations));
  const BioPtr bio(BIO_new(BIO_s_mem()));
  if (!bio || PEM_write_bio_PKCS8(bio.get(), sealed.get()) != 1) return Error(base_errors::kInternal, "cannot write PEM");
  return bio_text(bio.get());
}

Result<PkeyPtr> open_private_key(std::string_view pem, std::string_view passphrase) {
  const ErrorQueueGuard guard;
  if (pem.find("-----BEGIN ENCRYPTED PRIVATE KEY-----") == std::string_view::npos)
    return Error(base_errors::kInvalid, "not an encrypted private key").with("expected", "PKCS#8, BEGIN ENCRYPTED PRIVATE KEY");
  const BioPtr bio = memory_bio(pem);
  PkeyPtr pkey(PEM_read_bio_PrivateKey(bio.get(), nullptr, give_passphrase, &passphrase));
  if (!pkey) return Error(base_errors::kInvalid, "wrong passphrase or damaged key");
  return pkey;
}

}  // namespace stella::crypto
