// Wrapping data keys with AES keys inside a PKCS#11 token.
#include <array>
#include <functional>

#include "aes_gcm.h"
#include "pkcs11_token.h"
#include "stella/base/ids.h"
#include "stella/crypto/pkcs11.h"
#include "wrapping.h"

namespace stella::crypto {
namespace {

constexpr std::chrono::seconds kAskAgain(10);
constexpr std::size_t kWrappedBytes = kGcmNonceBytes + kDataKeyBytes + kGcmTagBytes;

ObjectQuery wrapping_key(std::string_view key_id) { return {.object_class = CKO_SECRET_KEY, .key_type = CKK_AES, .label = std::string(key_id)}; }

CK_BYTE* bytes(std::string& text) { return reinterpret_cast<CK_BYTE*>(text.data()); }

// The parameters live as long as the mechanism that points to them.
struct GcmMechanism {
  CK_GCM_PARAMS params;
  CK_MECHANISM mechanism;
  GcmMechanism(std::string& nonce, std::string& aad)
      : params{bytes(nonce), nonce.size(), 8 * nonce.size(), bytes(aad), aad.size(), 8 * kGcmTagBytes}, mechanism{CKM_AES_GCM, &params, sizeof params} {}
  GcmMechanism(const GcmMechanism&) = delete;
  GcmMechanism& operator=(const GcmMechanism&) = delete;
};

}  // namespace

Pkcs11Kms::Pkcs11Kms(KeyUri uri, SecretBytes pin) : uri_(std::move(uri)), pin_(std::move(pin)) {}
Pkcs11Kms::~Pkcs11Kms() = default;

Result<std::unique_ptr<Pkcs11Kms>> Pkcs11Kms::open(const KeyUri& uri, SecretBytes given) {
  if (uri.scheme != KeyUri::Scheme::kPkcs11) return Error(base_errors::kInvalid, "not a key URI").with("field", "scheme").with("expected", "pkcs11");
  if (!uri.object.empty() || !uri.id.empty()) return Error(base_errors::kInvalid, "not a token URI").with("field", "object").with("expected", "none: the key id names the object");
  SecretBytes pin = STELLA_TRY(detail::pin_for(uri, std::move(given)));
  CK_FUNCTION_LIST* const module = STELLA_TRY(pkcs11_module(uri.module_path));
  const CK_SESSION_HANDLE session = STELLA_TRY(pkcs11_login(module, uri, pin.view(), false));
  module->C_CloseSession(session);
  return std::unique_ptr<Pkcs11Kms>(new Pkcs11Kms(uri, std::move(pin)));
}

Result<std::shared_ptr<Pkcs11Object>> Pkcs11Kms::key(std::string_view key_id) const {
  if (!valid_wrapping_key_id(key_id)) return unknown_wrapping_key(key_id);
  const Lock lock(mutex_);
  if (const auto at = keys_.find(key_id); at != keys_.end()) return at->second;
  auto opened = Pkcs11Object::open(uri_, SecretBytes(pin_.view()), wrapping_key(key_id));
  if (!opened && opened.error().code() == base_errors::kNotFound && opened.error().message() != "no such token") return unknown_wrapping_key(key_id);
  if (!opened) return std::move(opened.error());
  keys_.emplace(std::string(key_id), *opened);
  return std::move(*opened);
}

Result<void> Pkcs11Kms::add_key(std::string_view key_id) {
  if (!valid_wrapping_key_id(key_id))
    return Error(base_errors::kInvalid, "not a key id").with("field", "key_id").with("expected", "[A-Za-z0-9][A-Za-z0-9._/-]{0,127}");
  CK_FUNCTION_LIST* const module = STELLA_TRY(pkcs11_module(uri_.module_path));
  const Lock lock(mutex_);
  const CK_SESSION_HANDLE session = STELLA_TRY(pkcs11_login(module, uri_, pin_.view(), true));
  const std::unique_ptr<const CK_SESSION_HANDLE, std::function<void(const CK_SESSION_HANDLE*)>> closer(&session, [&](const CK_SESSION_HANDLE* s) { module->C_CloseSession(*s); });
  const auto found = STELLA_TRY(pkcs11_find(module, session, wrapping_key(key_id)));
  if (!found.empty()) return Error(base_errors::kInvalid, "the token has this key").with("field", "key_id").with("actual", std::string(key_id));
  std::string label(key_id);
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL no = CK_FALSE;
  CK_ULONG size = kGcmKeyBytes;
  std::array<CK_ATTRIBUTE, 9> wanted{{{CKA_TOKEN, &yes, sizeof yes},
                                      {CKA_PRIVATE, &yes, sizeof yes},
                                      {CKA_SENSITIVE, &yes, sizeof yes},
                                      {CKA_EXTRACTABLE, &no, sizeof no},
                                      {CKA_ENCRYPT, &yes, sizeof yes},
                                      {CKA_DECRYPT, &yes, sizeof yes},
                                      {CKA_VALUE_LEN, &size, sizeof size},
                                      {CKA_LABEL, label.data(), label.size()},
                                      {CKA_ID, label.data(), label.size()}}};
  CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
  CK_OBJECT_HANDLE key = 0;
  const CK_RV rv = module->C_GenerateKey(session, &mechanism, wanted.data(), wanted.size(), &key);
  if (rv != CKR_OK) return pkcs11_error("the token makes no AES key", uri_, rv);
  newest_.clear();
  return {};
}

Result<void> Pkcs11Kms::destroy_key(std::string_view key_id) {
  if (!valid_wrapping_key_id(key_id)) return unknown_wrapping_key(key_id);
  CK_FUNCTION_LIST* const module = STELLA_TRY(pkcs11_module(uri_.module_path));
  const Lock lock(mutex_);
  const CK_SESSION_HANDLE session = STELLA_TRY(pkcs11_login(module, uri_, pin_.view(), true));
  const std::unique_ptr<const CK_SESSION_HANDLE, std::function<void(const CK_SESSION_HANDLE*)>> closer(&session, [&](const CK_SESSION_HANDLE* s) { module->C_CloseSession(*s); });
  const auto found = STELLA_TRY(pkcs11_find(module, session, wrapping_key(key_id)));
  if (found.empty()) return unknown_wrapping_key(key_id);
  for (const CK_OBJECT_HANDLE object : found) {
    if (const CK_RV rv = module->C_DestroyObject(session, object); rv != CKR_OK) return pkcs11_error("the token does not destroy its key", uri_, rv);
  }
  // Sessions that found the key before hold a handle of nothing.
  if (const auto at = keys_.find(key_id); at != keys_.end()) keys_.erase(at);
  newest_.clear();
  return {};
}

// The token is asked, not the keys that this process has open: they may be gone, or others have come.
Result<std::string> Pkcs11Kms::newest(std::string_view base) const {
  const Lock lock(mutex_);
  if (const auto at = newest_.find(base); at != newest_.end() && !at->second.until.passed()) return wrapping_key_version(base, at->second.version);
  CK_FUNCTION_LIST* const module = STELLA_TRY(pkcs11_module(uri_.module_path));
  const CK_SESSION_HANDLE session = STELLA_TRY(pkcs11_login(module, uri_, pin_.view(), false));
  const std::unique_ptr<const CK_SESSION_HANDLE, std::function<void(const CK_SESSION_HANDLE*)>> closer(&session, [&](const CK_SESSION_HANDLE* s) { module->C_CloseSession(*s); });
  std::uint64_t version = 1;
  for (;; ++version) {
    const auto found = STELLA_TRY(pkcs11_find(module, session, wrapping_key(wrapping_key_version(base, version + 1))));
    if (found.empty()) break;
  }
  newest_.insert_or_assign(std::string(base), Newest{version, Deadline::after(kAskAgain)});
  return wrapping_key_version(base, version);
}

Result<std::string> Pkcs11Kms::wrap(std::string_view key_id, std::string_view data_key, std::string_view context) const {
  if (data_key.size() != kDataKeyBytes) return not_a_data_key();
  const auto object = STELLA_TRY(key(key_id));
  std::string nonce(kGcmNonceBytes, '\0');
  fill_random(nonce.data(), nonce.size());
  std::string aad = wrapping_aad(key_id, context);
  std::string sealed(kDataKeyBytes + kGcmTagBytes, '\0');
  CK_ULONG size = 0;
  STELLA_TRY_VOID(object->run("the token does not wrap", [&](CK_FUNCTION_LIST& module, const Pkcs11Session& session) {
    GcmMechanism gcm(nonce, aad);
    size = sealed.size();
    if (const CK_RV rv = module.C_EncryptInit(session.handle, &gcm.mechanism, session.object); rv != CKR_OK) return rv;
    auto* plain = reinterpret_cast<CK_BYTE*>(const_cast<char*>(data_key.data()));
    return module.C_Encrypt(session.handle, plain, data_key.size(), bytes(sealed), &size);
  }));
  if (size != sealed.size()) return Error(base_errors::kIo, "the token's AES-GCM gives another size").with("token", uri_.token).with("actual", size);
  return nonce + sealed;
}

Result<SecretBytes> Pkcs11Kms::unwrap(std::string_view key_id, std::string_view wrapped, std::string_view context) const {
  const auto object = STELLA_TRY(key(key_id));
  if (wrapped.size() != kWrappedBytes) return Error(base_errors::kInvalid, kDoesNotOpen).with("key", std::string(key_id));
  std::string nonce(wrapped.substr(0, kGcmNonceBytes));
  std::string sealed(wrapped.substr(kGcmNonceBytes));
  std::string aad = wrapping_aad(key_id, context);
  std::string plain(sealed.size(), '\0');
  CK_ULONG size = 0;
  bool authentic = true;
  STELLA_TRY_VOID(object->run("the token does not unwrap", [&](CK_FUNCTION_LIST& module, const Pkcs11Session& session) {
    GcmMechanism gcm(nonce, aad);
    size = plain.size();
    if (const CK_RV rv = module.C_DecryptInit(session.handle, &gcm.mechanism, session.object); rv != CKR_OK) return rv;
    const CK_RV rv = module.C_Decrypt(session.handle, bytes(sealed), sealed.size(), bytes(plain), &size);
    // Tokens name a tag that does not fit in many ways; none of them means that the token is away.
    authentic = rv == CKR_OK;
    return rv == CKR_ENCRYPTED_DATA_INVALID || rv == CKR_GENERAL_ERROR || rv == CKR_FUNCTION_FAILED || rv == CKR_ENCRYPTED_DATA_LEN_RANGE ? CK_RV{CKR_OK} : rv;
  }));
  if (!authentic || size != kDataKeyBytes) return Error(base_errors::kInvalid, kDoesNotOpen).with("key", std::string(key_id));
  SecretBytes out(std::string_view(plain).substr(0, size));
  erase_secret(plain);
  return out;
}

}  // namespace stella::crypto
