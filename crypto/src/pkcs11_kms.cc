// Wrapping data keys with AES keys inside a PKCS#11 token.
#include <array>
#include <optional>
#include <utility>
#include <vector>

#include "aes_gcm.h"
#include "pkcs11_token.h"
#include "stella/base/ids.h"
#include "stella/crypto/pkcs11.h"
#include "wrapping.h"

namespace stella::crypto {
namespace {

constexpr std::chrono::seconds kAskAgain(10);
constexpr std::size_t kWrappedBytes = kGcmNonceBytes + kDataKeyBytes + kGcmTagBytes;

// Two processes may have made a key of one name at the same moment, and whoever found either wrapped with it. So neither goes: the first by id wraps,
// and each of them unwraps.
ObjectQuery wrapping_key(std::string_view key_id) { return {.object_class = CKO_SECRET_KEY, .key_type = CKK_AES, .label = std::string(key_id), .several = true}; }

// Says that a key was destroyed, for a token forgets: an id that came back would make what was destroyed by right look tampered with.
std::string tombstone_label(std::string_view key_id) { return std::string("destroyed:").append(key_id); }

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

// Closed when it goes.
struct Session {
  CK_FUNCTION_LIST* module;
  CK_SESSION_HANDLE handle;
  Session(CK_FUNCTION_LIST* of, CK_SESSION_HANDLE opened) : module(of), handle(opened) {}
  Session(Session&& other) noexcept : module(std::exchange(other.module, nullptr)), handle(other.handle) {}
  Session& operator=(Session&&) = delete;
  ~Session() {
    if (module != nullptr) module->C_CloseSession(handle);
  }
};

Result<Session> log_in(const KeyUri& uri, std::string_view pin, bool writable) {
  const auto opened = [&]() -> Result<Session> {
    CK_FUNCTION_LIST* const module = STELLA_TRY(pkcs11_module(uri.module_path));
    const CK_SESSION_HANDLE handle = STELLA_TRY(pkcs11_login(module, uri, pin, writable));
    return Session(module, handle);
  };
  auto session = opened();
  if (!session) return key_store_away(session.error());
  return session;
}

enum class Opened { kYes, kNo, kUnclear };

// What an answer of C_Decrypt says of the bytes; nullopt where it speaks of the token. Tokens name a tag that does not fit in many ways, two of
// which may as well mean that the token failed.
std::optional<Opened> verdict(CK_RV rv) {
  constexpr CK_RV kAeadDecryptFailed = 0x35;  // of PKCS#11 3.0
  switch (rv) {
    case CKR_OK: return Opened::kYes;
    case CKR_ENCRYPTED_DATA_INVALID:
    case CKR_ENCRYPTED_DATA_LEN_RANGE:
    case kAeadDecryptFailed: return Opened::kNo;
    case CKR_GENERAL_ERROR:
    case CKR_FUNCTION_FAILED: return Opened::kUnclear;
    default: return std::nullopt;
  }
}

// An error only where the token cannot say. A session that refused something is not used again: an operation may be left half done in it.
Result<Opened> decrypt(Pkcs11Object& object, std::string_view wrapped, std::string aad, SecretBytes& out) {
  std::string nonce(wrapped.substr(0, kGcmNonceBytes));
  std::string sealed(wrapped.substr(kGcmNonceBytes));
  std::string plain(sealed.size(), '\0');
  CK_ULONG size = 0;
  std::optional<Opened> opened;
  const auto ran = object.run("the token does not unwrap", [&](CK_FUNCTION_LIST& module, const Pkcs11Session& session) {
    GcmMechanism gcm(nonce, aad);
    opened.reset();
    CK_RV rv = CKR_OK;
    for (const CK_OBJECT_HANDLE key : session.objects) {
      size = plain.size();
      rv = module.C_DecryptInit(session.handle, &gcm.mechanism, key);
      if (rv != CKR_OK) {
        opened.reset();  // this one was not asked
        break;
      }
      rv = module.C_Decrypt(session.handle, bytes(sealed), sealed.size(), bytes(plain), &size);
      const auto said = verdict(rv);
      if (!said || rv == CKR_OK) {
        opened = said;
        break;
      }
      if (opened != Opened::kUnclear) opened = said;
    }
    return rv;
  });
  if (!opened) return Error(ran.error());
  if (opened == Opened::kYes && size != kDataKeyBytes) opened = Opened::kNo;
  if (opened == Opened::kYes) out = SecretBytes(std::string_view(plain).substr(0, size));
  erase_secret(plain);
  return *opened;
}

Result<std::vector<CK_OBJECT_HANDLE>> find(const Session& session, const ObjectQuery& query) {
  auto found = pkcs11_find(session.module, session.handle, query);
  if (!found) return key_store_away(found.error());
  return found;
}

Result<bool> has_tombstone(const Session& session, std::string_view key_id) {
  const auto found = STELLA_TRY(find(session, {.object_class = CKO_DATA, .label = tombstone_label(key_id)}));
  return !found.empty();
}

// Private, for otherwise it takes no PIN to make one or to remove it.
Result<void> make_tombstone(const KeyUri& uri, const Session& session, std::string_view key_id) {
  CK_OBJECT_CLASS object_class = CKO_DATA;
  CK_BBOOL yes = CK_TRUE;
  CK_BBOOL no = CK_FALSE;
  std::string label = tombstone_label(key_id);
  std::string application = "stella";
  std::array<CK_ATTRIBUTE, 6> wanted{{{CKA_CLASS, &object_class, sizeof object_class},
                                      {CKA_TOKEN, &yes, sizeof yes},
                                      {CKA_PRIVATE, &yes, sizeof yes},
                                      {CKA_MODIFIABLE, &no, sizeof no},
                                      {CKA_LABEL, label.data(), label.size()},
                                      {CKA_APPLICATION, application.data(), application.size()}}};
  CK_OBJECT_HANDLE made = 0;
  const CK_RV rv = session.module->C_CreateObject(session.handle, wanted.data(), wanted.size(), &made);
  if (rv != CKR_OK) return key_store_away(pkcs11_error("the token does not record that a key is destroyed, so it stays", uri, rv));
  return {};
}

Result<CK_OBJECT_HANDLE> generate(const KeyUri& uri, const Session& session, std::string_view key_id) {
  std::string label(key_id);
  std::string id(16, '\0');
  fill_random(id.data(), id.size());
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
                                      {CKA_ID, id.data(), id.size()}}};
  CK_MECHANISM mechanism{CKM_AES_KEY_GEN, nullptr, 0};
  CK_OBJECT_HANDLE key = 0;
  const CK_RV rv = session.module->C_GenerateKey(session.handle, &mechanism, wanted.data(), wanted.size(), &key);
  if (rv != CKR_OK) return key_store_away(pkcs11_error("the token makes no AES key", uri, rv));
  return key;
}

Result<void> destroy(const KeyUri& uri, const Session& session, CK_OBJECT_HANDLE object) {
  const CK_RV rv = session.module->C_DestroyObject(session.handle, object);
  // Somebody else was faster.
  if (rv == CKR_OK || rv == CKR_OBJECT_HANDLE_INVALID) return {};
  return key_store_away(pkcs11_error("the token does not destroy its key", uri, rv));
}

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
  if (!opened) return failed(key_id, opened.error());
  keys_.emplace(std::string(key_id), *opened);
  return std::move(*opened);
}

// What Pkcs11Object says, as a Kms says it.
Error Pkcs11Kms::failed(std::string_view key_id, const Error& why) const {
  if (why.code() != base_errors::kNotFound || why.message() != kNoSuchKey.view()) return key_store_away(why);
  const auto destroyed = [&]() -> Result<bool> {
    const Session session = STELLA_TRY(log_in(uri_, pin_.view(), false));
    return has_tombstone(session, key_id);
  }();
  if (!destroyed) return destroyed.error();
  return *destroyed ? destroyed_wrapping_key(base_errors::kNotFound, key_id) : unknown_wrapping_key(key_id);
}

Result<void> Pkcs11Kms::add_key(std::string_view key_id) {
  if (!valid_wrapping_key_id(key_id))
    return Error(base_errors::kInvalid, "not a key id").with("field", "key_id").with("expected", "[A-Za-z0-9][A-Za-z0-9._/-]{0,127}");
  const Lock lock(mutex_);
  const Session session = STELLA_TRY(log_in(uri_, pin_.view(), true));
  if (STELLA_TRY(has_tombstone(session, key_id))) return destroyed_wrapping_key(base_errors::kInvalid, key_id);
  const auto found = STELLA_TRY(find(session, wrapping_key(key_id)));
  if (!found.empty()) return Error(base_errors::kInvalid, "the token has this key").with("field", "key_id").with("actual", std::string(key_id));
  const CK_OBJECT_HANDLE made = STELLA_TRY(generate(uri_, session, key_id));
  newest_.clear();
  // Whoever destroys a key writes the tombstone first and then looks for keys: this one is seen by him, or the tombstone here.
  if (!STELLA_TRY(has_tombstone(session, key_id))) return {};
  STELLA_TRY_VOID(destroy(uri_, session, made));
  return destroyed_wrapping_key(base_errors::kInvalid, key_id);
}

Result<void> Pkcs11Kms::destroy_key(std::string_view key_id) {
  if (!valid_wrapping_key_id(key_id)) return unknown_wrapping_key(key_id);
  const Lock lock(mutex_);
  const Session session = STELLA_TRY(log_in(uri_, pin_.view(), true));
  const bool begun = STELLA_TRY(has_tombstone(session, key_id));
  const auto there = STELLA_TRY(find(session, wrapping_key(key_id)));
  if (there.empty()) return begun ? destroyed_wrapping_key(base_errors::kNotFound, key_id) : unknown_wrapping_key(key_id);
  if (!begun) STELLA_TRY_VOID(make_tombstone(uri_, session, key_id));
  // Anew: between the look and the tombstone another may have been made.
  for (const CK_OBJECT_HANDLE object : STELLA_TRY(find(session, wrapping_key(key_id)))) STELLA_TRY_VOID(destroy(uri_, session, object));
  // Sessions that found the key before hold a handle of nothing.
  if (const auto at = keys_.find(key_id); at != keys_.end()) keys_.erase(at);
  newest_.clear();
  return {};
}

// The token is asked, not the keys that this process has open: they may be gone, or others have come.
Result<std::string> Pkcs11Kms::newest(std::string_view base) const {
  const Lock lock(mutex_);
  if (const auto at = newest_.find(base); at != newest_.end() && !at->second.until.passed()) return wrapping_key_version(base, at->second.version);
  const Session session = STELLA_TRY(log_in(uri_, pin_.view(), false));
  std::uint64_t version = 1;
  for (;; ++version) {
    const std::string next = wrapping_key_version(base, version + 1);
    const auto found = STELLA_TRY(find(session, wrapping_key(next)));
    if (found.empty() && !STELLA_TRY(has_tombstone(session, next))) break;
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
  const auto ran = object->run("the token does not wrap", [&](CK_FUNCTION_LIST& module, const Pkcs11Session& session) {
    GcmMechanism gcm(nonce, aad);
    size = sealed.size();
    if (const CK_RV rv = module.C_EncryptInit(session.handle, &gcm.mechanism, session.object); rv != CKR_OK) return rv;
    auto* plain = reinterpret_cast<CK_BYTE*>(const_cast<char*>(data_key.data()));
    return module.C_Encrypt(session.handle, plain, data_key.size(), bytes(sealed), &size);
  });
  if (!ran) return failed(key_id, ran.error());
  if (size != sealed.size()) return Error(base_errors::kIo, "the token's AES-GCM gives another size").with("token", uri_.token).with("actual", size);
  return nonce + sealed;
}

Result<SecretBytes> Pkcs11Kms::unwrap(std::string_view key_id, std::string_view wrapped, std::string_view context) const {
  const auto object = STELLA_TRY(key(key_id));
  if (wrapped.size() != kWrappedBytes) return Error(base_errors::kInvalid, kDoesNotOpen).with("key", std::string(key_id));
  const std::string aad = wrapping_aad(key_id, context);
  SecretBytes out;
  auto opened = decrypt(*object, wrapped, aad, out);
  if (!opened) return failed(key_id, opened.error());
  if (*opened != Opened::kYes) {
    // Wrapped under a key of the same name, perhaps, that came after this session looked.
    object->drop_idle();
    opened = decrypt(*object, wrapped, aad, out);
    if (!opened) return failed(key_id, opened.error());
  }
  if (*opened == Opened::kUnclear) {
    // The bytes or the token: a token that is well opens what it has just sealed.
    SecretBytes same;
    const std::string trial = STELLA_TRY(wrap(key_id, std::string(kDataKeyBytes, '\0'), context));
    const auto tried = decrypt(*object, trial, aad, same);
    if (!tried) return failed(key_id, tried.error());
    if (*tried != Opened::kYes) return Error(base_errors::kIo, "the token does not unwrap what it has just wrapped").with("token", uri_.token).with("key", std::string(key_id));
  }
  if (*opened != Opened::kYes) return Error(base_errors::kInvalid, kDoesNotOpen).with("key", std::string(key_id));
  return out;
}

}  // namespace stella::crypto
