// AES-256-GCM over OpenSSL's EVP.
#include "aes_gcm.h"

#include "stella/base/ids.h"

namespace stella::crypto {
namespace {

int size_of(std::string_view text) { return static_cast<int>(text.size()); }
unsigned char* at(std::string& text, std::size_t offset) { return reinterpret_cast<unsigned char*>(text.data()) + offset; }

}  // namespace

Result<AesGcm> AesGcm::create(std::string_view key) {
  const ErrorQueueGuard guard;
  if (key.size() != kGcmKeyBytes) return Error(base_errors::kInvalid, "not an AES-256 key").with("expected", "32 bytes").with("actual", key.size());
  AesGcm out;
  out.seal_.reset(EVP_CIPHER_CTX_new());
  out.open_.reset(EVP_CIPHER_CTX_new());
  if (!out.seal_ || !out.open_ || EVP_EncryptInit_ex(out.seal_.get(), EVP_aes_256_gcm(), nullptr, bytes_of(key), nullptr) != 1 ||
      EVP_DecryptInit_ex(out.open_.get(), EVP_aes_256_gcm(), nullptr, bytes_of(key), nullptr) != 1)
    return Error(base_errors::kInternal, "OpenSSL has no AES-256-GCM");
  return out;
}

Result<void> AesGcm::seal(std::string_view nonce, std::string_view aad, std::string_view plain, std::string& out) {
  const ErrorQueueGuard guard;
  EVP_CIPHER_CTX* context = seal_.get();
  const std::size_t begin = out.size();
  out.resize(begin + plain.size() + kGcmTagBytes);
  int n = 0;
  int last = 0;
  const bool ok = nonce.size() == kGcmNonceBytes && EVP_EncryptInit_ex(context, nullptr, nullptr, nullptr, bytes_of(nonce)) == 1 &&
                  (aad.empty() || EVP_EncryptUpdate(context, nullptr, &n, bytes_of(aad), size_of(aad)) == 1) &&
                  (plain.empty() || EVP_EncryptUpdate(context, at(out, begin), &n, bytes_of(plain), size_of(plain)) == 1) &&
                  EVP_EncryptFinal_ex(context, at(out, begin + plain.size()), &last) == 1 &&
                  EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, kGcmTagBytes, at(out, begin + plain.size())) == 1;
  if (ok) return {};
  out.resize(begin);
  return Error(base_errors::kInternal, "cannot encrypt");
}

bool AesGcm::open(std::string_view nonce, std::string_view aad, std::string_view sealed, std::string& out) {
  const ErrorQueueGuard guard;
  if (nonce.size() != kGcmNonceBytes || sealed.size() < kGcmTagBytes) return false;
  EVP_CIPHER_CTX* context = open_.get();
  const std::size_t begin = out.size();
  const std::string_view cipher = sealed.substr(0, sealed.size() - kGcmTagBytes);
  std::string tag(sealed.substr(cipher.size()));
  out.resize(begin + cipher.size() + kGcmTagBytes);  // room for a block that GCM never writes
  int n = 0;
  int last = 0;
  const bool ok = EVP_DecryptInit_ex(context, nullptr, nullptr, nullptr, bytes_of(nonce)) == 1 &&
                  (aad.empty() || EVP_DecryptUpdate(context, nullptr, &n, bytes_of(aad), size_of(aad)) == 1) &&
                  (cipher.empty() || EVP_DecryptUpdate(context, at(out, begin), &n, bytes_of(cipher), size_of(cipher)) == 1) &&
                  EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, kGcmTagBytes, tag.data()) == 1 &&
                  EVP_DecryptFinal_ex(context, at(out, begin + cipher.size()), &last) == 1;
  if (!ok) OPENSSL_cleanse(at(out, begin), cipher.size());  // what is not authentic is not shown to anybody
  out.resize(ok ? begin + cipher.size() : begin);
  return ok;
}

Result<std::string> gcm_wrap(std::string_view key, std::string_view aad, std::string_view plain) {
  AesGcm cipher = STELLA_TRY(AesGcm::create(key));
  std::string out(kGcmNonceBytes, '\0');
  fill_random(out.data(), out.size());
  const std::string nonce = out;
  STELLA_TRY_VOID(cipher.seal(nonce, aad, plain, out));
  return out;
}

Result<std::string> gcm_unwrap(std::string_view key, std::string_view aad, std::string_view wrapped, Literal message) {
  AesGcm cipher = STELLA_TRY(AesGcm::create(key));
  std::string out;
  if (wrapped.size() < kGcmNonceBytes || !cipher.open(wrapped.substr(0, kGcmNonceBytes), aad, wrapped.substr(kGcmNonceBytes), out))
    return Error(base_errors::kInvalid, message);
  return out;
}

}  // namespace stella::crypto
