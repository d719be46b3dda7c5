// PKCS#11: modules, tokens, and one object of a token with its pool of logged-in sessions.
#pragma once

#include <p11-kit/pkcs11.h>

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/crypto/key_provider.h"
#include "stella/crypto/secret.h"

namespace stella::crypto {

// "CKR_PIN_LOCKED", or "CKR 0x…" for what has no name here.
std::string ckr_name(CK_RV rv);

// The module at `path`, loaded and initialised; the same one for every caller. kIo.
Result<CK_FUNCTION_LIST*> pkcs11_module(const std::string& path);

// What to look for. Empty label or id, no key type = any.
struct ObjectQuery {
  CK_OBJECT_CLASS object_class;
  std::optional<CK_KEY_TYPE> key_type{};
  std::string label{};
  std::string id{};
  bool several = false;  // whether more than one may match
};

struct Pkcs11Session {
  CK_SESSION_HANDLE handle = 0;
  CK_OBJECT_HANDLE object = 0;
  std::vector<CK_OBJECT_HANDLE> objects{};  // all that matched, by their ids; `object` is the first
};

// A session of the token that `uri` names, logged in. The caller closes it. `writable` for making objects. A PIN that this token refused is never
// offered to it again by this process, whoever asks: kInvalid.
Result<CK_SESSION_HANDLE> pkcs11_login(CK_FUNCTION_LIST* module, const KeyUri& uri, std::string_view pin, bool writable);
// The handles that match: all where the query takes several, else at most two.
Result<std::vector<CK_OBJECT_HANDLE>> pkcs11_find(CK_FUNCTION_LIST* module, CK_SESSION_HANDLE session, const ObjectQuery& query);
// kIo or kInvalid with token and reason.
Error pkcs11_error(Literal message, const KeyUri& uri, CK_RV rv);

// What a Pkcs11Object says (kNotFound) where the token is there and its key is not.
inline constexpr Literal kNoSuchKey{"no such key in the token"};

class Pkcs11Object {
 public:
  // Finds the object once, so that a wrong URI or PIN is known at the start.
  static Result<std::shared_ptr<Pkcs11Object>> open(const KeyUri& uri, SecretBytes pin, ObjectQuery query);
  ~Pkcs11Object();

  // Runs `work` with a session of its own; once more with a fresh one where the first was stale. `message` describes a failure. Thread-safe.
  Result<void> run(Literal message, const std::function<CK_RV(CK_FUNCTION_LIST&, const Pkcs11Session&)>& work);
  // Sessions from here on look for the object anew.
  void drop_idle();
  // Of every object of a module in this process.
  static void drop_all_idle(const CK_FUNCTION_LIST* module);
  // The value of an attribute; "" where the object has none.
  Result<std::string> attribute(CK_ATTRIBUTE_TYPE type);
  const KeyUri& uri() const { return uri_; }

 private:
  Pkcs11Object(KeyUri uri, SecretBytes pin, ObjectQuery query, CK_FUNCTION_LIST* module);
  Result<Pkcs11Session> fresh_session();
  Result<Pkcs11Session> take();
  void give_back(Pkcs11Session session);

  const KeyUri uri_;
  const SecretBytes pin_;
  const ObjectQuery query_;
  CK_FUNCTION_LIST* const module_;
  Mutex mutex_;
  std::vector<Pkcs11Session> idle_ STELLA_GUARDED_BY(mutex_);
};

// The CKA_EC_POINT that belongs to a private key: from the public key object of the same label and id, else from the private key, where some tokens
// keep it too. kNotFound where neither has it.
Result<std::string> pkcs11_public_point(const KeyUri& uri, std::string_view pin, Pkcs11Object& private_key, CK_KEY_TYPE type);
// A token can hold a public key that belongs to another private one: kInvalid where what the signer signs does not verify under its own.
template <class Signer, class Verify>
Result<void> pkcs11_prove_pair(const KeyUri& uri, const Signer& signer, Verify&& verify) {
  constexpr std::string_view kTrial = "stella: does this key sign?";
  const std::string signature = STELLA_TRY(signer.sign(kTrial));
  if (!verify(signer.public_key(), kTrial, signature)) return Error(base_errors::kInvalid, "the token's public key does not belong to its private key").with("token", uri.token).with("object", uri.object);
  return {};
}

}  // namespace stella::crypto
