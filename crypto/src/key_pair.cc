// Private keys in memory and as encrypted PKCS#8 files.
#include "openssl.h"
#include "pkcs8.h"
#include "stella/base/file.h"
#include "stella/base/file_owner.h"
#include "stella/crypto/keys.h"

namespace stella::crypto {
namespace {

constexpr std::uint64_t kKeyFileBytes = 64u << 10;

}  // namespace

Result<KeyPair> KeyPair::generate() {
  const ErrorQueueGuard guard;
  PkeyPtr pkey(EVP_EC_gen("P-256"));
  if (!pkey) return Error(base_errors::kInternal, "cannot generate a P-256 key");
  PublicKey key = STELLA_TRY(PublicKey::adopt(share(std::move(pkey))));
  return KeyPair(std::move(key));
}

Result<KeyPair> KeyPair::from_pem(std::string_view pem, std::string_view passphrase) {
  PkeyPtr pkey = STELLA_TRY(open_private_key(pem, passphrase));
  PublicKey key = STELLA_TRY(PublicKey::adopt(share(std::move(pkey))));
  return KeyPair(std::move(key));
}

Result<KeyPair> KeyPair::load(const std::string& path, std::string_view passphrase) {
  const std::string pem = STELLA_TRY(read_file(path, kKeyFileBytes));
  auto key = from_pem(pem, passphrase);
  if (!key) key.error().add("path", path);
  return key;
}

Result<std::string> KeyPair::to_pem(std::string_view passphrase, int iterations) const {
  return seal_private_key(static_cast<EVP_PKEY*>(public_.pkey_.get()), passphrase, iterations);
}

Result<void> KeyPair::save(const std::string& path, std::string_view passphrase) const {
  const std::string pem = STELLA_TRY(to_pem(passphrase));
  return replace_file(path, pem, 0600);
}

Result<std::string> KeyPair::sign(std::string_view message) const {
  const ErrorQueueGuard guard;
  const MdCtxPtr context(EVP_MD_CTX_new());
  auto* pkey = static_cast<EVP_PKEY*>(public_.pkey_.get());
  std::string signature(static_cast<std::size_t>(EVP_PKEY_get_size(pkey)), '\0');
  std::size_t size = signature.size();
  if (!context || EVP_DigestSignInit_ex(context.get(), nullptr, "SHA256", nullptr, nullptr, pkey, nullptr) != 1 ||
      EVP_DigestSign(context.get(), reinterpret_cast<unsigned char*>(signature.data()), &size, bytes_of(message), message.size()) != 1)
    return Error(base_errors::kInternal, "cannot sign");
  signature.resize(size);
  return signature;
}

}  // namespace stella::crypto
