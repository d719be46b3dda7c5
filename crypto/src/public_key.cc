// Public keys: parsing, printing, fingerprints and verification.
#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "openssl.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/keys.h"

namespace stella::crypto {
namespace {

// SEQUENCE { SEQUENCE { id-ecPublicKey, prime256v1 }, BIT STRING { 04 … } }: the one spelling of a P-256 key that we accept.
constexpr std::string_view kSpkiPrefix("\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04", 27);
constexpr std::size_t kCoordinate = 32;
constexpr std::size_t kSpkiSize = 27 + 2 * kCoordinate;
constexpr std::uint64_t kKeyFileBytes = 64u << 10;

void append_ssh_string(std::string& out, std::string_view text) {
  const auto n = static_cast<std::uint32_t>(text.size());
  for (const int shift : {24, 16, 8, 0}) out += static_cast<char>((n >> shift) & 0xff);
  out += text;
}

// RFC 5656 §3.1 key blob, then the fingerprint as ssh-keygen prints it.
Result<KeyId> openssh_fingerprint(std::string_view spki) {
  std::string blob;
  append_ssh_string(blob, "ecdsa-sha2-nistp256");
  append_ssh_string(blob, "nistp256");
  append_ssh_string(blob, spki.substr(kSpkiPrefix.size() - 1));
  std::string text = base64_encode(sha256(blob).view());
  while (text.ends_with('=')) text.pop_back();
  return KeyId::parse("SHA256:" + text);
}

Error not_a_key() {
  return Error(base_errors::kMalformed, "not a P-256 public key").with("expected", "SubjectPublicKeyInfo, prime256v1, uncompressed point");
}

}  // namespace

Result<PublicKey> PublicKey::adopt(std::shared_ptr<void> pkey) {
  const ErrorQueueGuard guard;
  unsigned char* der = nullptr;
  const int size = i2d_PUBKEY(static_cast<EVP_PKEY*>(pkey.get()), &der);
  if (size <= 0) return not_a_key();
  PublicKey key;
  key.spki_.assign(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  if (key.spki_.size() != kSpkiSize || !key.spki_.starts_with(kSpkiPrefix)) return not_a_key();
  key.id_ = STELLA_TRY(openssh_fingerprint(key.spki_));
  key.pkey_ = std::move(pkey);
  return key;
}

Result<PublicKey> PublicKey::from_spki_der(std::string_view der) {
  const ErrorQueueGuard guard;
  if (der.size() != kSpkiSize || !der.starts_with(kSpkiPrefix)) return not_a_key();
  const unsigned char* p = bytes_of(der);
  PkeyPtr pkey(d2i_PUBKEY(nullptr, &p, static_cast<long>(der.size())));  // refuses points off the curve
  if (!pkey) return not_a_key();
  return adopt(share(std::move(pkey)));
}

Result<PublicKey> PublicKey::from_pem(std::string_view pem) {
  constexpr std::string_view kBegin = "-----BEGIN PUBLIC KEY-----";
  constexpr std::string_view kEnd = "-----END PUBLIC KEY-----";
  const auto begin = pem.find_first_not_of(" \t\r\n");
  if (begin == std::string_view::npos || !pem.substr(begin).starts_with(kBegin)) return not_a_key();
  pem.remove_prefix(begin + kBegin.size());
  const auto end = pem.find(kEnd);
  if (end == std::string_view::npos || pem.find_first_not_of(" \t\r\n", end + kEnd.size()) != std::string_view::npos) return not_a_key();
  std::string text;
  for (const char c : pem.substr(0, end))
    if (c != '\n' && c != '\r' && c != ' ' && c != '\t') text += c;
  auto der = base64_decode(text);
  if (!der) return not_a_key();
  return from_spki_der(*der);
}

Result<PublicKey> PublicKey::from_coordinates(std::string_view x, std::string_view y) {
  if (x.size() != kCoordinate || y.size() != kCoordinate) return not_a_key();
  std::string der(kSpkiPrefix);
  der.append(x).append(y);
  return from_spki_der(der);
}

std::string PublicKey::pem() const {
  const std::string text = base64_encode(spki_);
  std::string out = "-----BEGIN PUBLIC KEY-----\n";
  for (std::size_t i = 0; i < text.size(); i += 64) out.append(text, i, 64) += '\n';
  return out + "-----END PUBLIC KEY-----\n";
}

std::string_view PublicKey::x() const { return std::string_view(spki_).substr(kSpkiPrefix.size(), kCoordinate); }
std::string_view PublicKey::y() const { return std::string_view(spki_).substr(kSpkiPrefix.size() + kCoordinate, kCoordinate); }
std::string PublicKey::keyid8() const { return sha256(spki_).hex().substr(0, 8); }

bool PublicKey::verify_der(std::string_view message, std::string_view signature) const {
  const ErrorQueueGuard guard;
  const MdCtxPtr context(EVP_MD_CTX_new());
  if (!context || EVP_DigestVerifyInit_ex(context.get(), nullptr, "SHA256", nullptr, nullptr, static_cast<EVP_PKEY*>(pkey_.get()), nullptr) != 1)
    return false;
  return EVP_DigestVerify(context.get(), bytes_of(signature), signature.size(), bytes_of(message), message.size()) == 1;
}

bool PublicKey::verify_raw(std::string_view message, std::string_view signature) const {
  const auto der = ecdsa_raw_to_der(signature);
  return der && verify_der(message, *der);
}

bool PublicKey::verify(std::string_view message, std::string_view signature) const {
  return verify_der(message, signature) || (signature.size() == 2 * kCoordinate && verify_raw(message, signature));
}

Result<std::string> ecdsa_der_to_raw(std::string_view der) {
  const ErrorQueueGuard guard;
  const unsigned char* p = bytes_of(der);
  const EcdsaSigPtr sig(d2i_ECDSA_SIG(nullptr, &p, static_cast<long>(der.size())));
  std::string raw(2 * kCoordinate, '\0');
  auto* out = reinterpret_cast<unsigned char*>(raw.data());
  if (!sig || BN_is_negative(ECDSA_SIG_get0_r(sig.get())) || BN_is_negative(ECDSA_SIG_get0_s(sig.get())) ||
      BN_bn2binpad(ECDSA_SIG_get0_r(sig.get()), out, kCoordinate) < 0 || BN_bn2binpad(ECDSA_SIG_get0_s(sig.get()), out + kCoordinate, kCoordinate) < 0)
    return Error(base_errors::kMalformed, "not an ECDSA signature").with("expected", "DER SEQUENCE of r and s");
  // OpenSSL reads BER; what does not come out again as it went in was no DER.
  const auto again = STELLA_TRY(ecdsa_raw_to_der(raw));
  if (again != der) return Error(base_errors::kMalformed, "not an ECDSA signature").with("expected", "DER SEQUENCE of r and s");
  return raw;
}

Result<std::string> ecdsa_raw_to_der(std::string_view raw) {
  const ErrorQueueGuard guard;
  if (raw.size() != 2 * kCoordinate) return Error(base_errors::kMalformed, "not an ECDSA signature").with("expected", "64 bytes, r then s");
  const EcdsaSigPtr sig(ECDSA_SIG_new());
  BIGNUM* r = BN_bin2bn(bytes_of(raw), kCoordinate, nullptr);
  BIGNUM* s = BN_bin2bn(bytes_of(raw) + kCoordinate, kCoordinate, nullptr);
  if (!sig || r == nullptr || s == nullptr || ECDSA_SIG_set0(sig.get(), r, s) != 1) return Error(base_errors::kInternal, "out of memory");
  unsigned char* der = nullptr;
  const int size = i2d_ECDSA_SIG(sig.get(), &der);
  if (size <= 0) return Error(base_errors::kInternal, "cannot encode a signature");
  std::string out(reinterpret_cast<char*>(der), static_cast<std::size_t>(size));
  OPENSSL_free(der);
  return out;
}

namespace {

// Appends each PEM block of `text` once.
Result<void> append_keys(std::string_view text, std::vector<PublicKey>& out) {
  constexpr std::string_view kEnd = "-----END PUBLIC KEY-----";
  for (;;) {
    const auto end = text.find(kEnd);
    if (end == std::string_view::npos) break;
    auto key = STELLA_TRY(PublicKey::from_pem(text.substr(0, end + kEnd.size())));
    if (std::find(out.begin(), out.end(), key) == out.end()) out.push_back(std::move(key));
    text.remove_prefix(end + kEnd.size());
  }
  if (text.find_first_not_of(" \t\r\n") != std::string_view::npos) return not_a_key();
  return {};
}

}  // namespace

Result<std::vector<PublicKey>> load_public_keys(const std::string& path) {
  std::vector<std::string> files;
  if (DIR* dir = ::opendir(path.c_str())) {
    while (const dirent* entry = ::readdir(dir)) {
      const std::string_view name = entry->d_name;
      if (name.ends_with(".pub") || name.ends_with(".pem")) files.push_back(path + "/" + std::string(name));
    }
    ::closedir(dir);
    std::sort(files.begin(), files.end());
  } else if (errno == ENOTDIR) {
    files.push_back(path);
  } else if (errno == ENOENT) {
    return Error(base_errors::kNotFound, "no such key file or directory").with("path", path);
  } else {
    return io_error("cannot open", path);
  }
  std::vector<PublicKey> keys;
  for (const auto& file : files) {
    const std::string text = STELLA_TRY(read_file(file, kKeyFileBytes));
    if (auto added = append_keys(text, keys); !added) return std::move(added.error()).with("path", file);
  }
  if (keys.empty()) return Error(base_errors::kNotFound, "no public key here").with("path", path);
  return keys;
}

}  // namespace stella::crypto
