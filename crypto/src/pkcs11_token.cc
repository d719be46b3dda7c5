// PKCS#11 modules, tokens and sessions.
#include "pkcs11_token.h"

#include <dlfcn.h>

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <set>
#include <tuple>

#include "stella/crypto/digest.h"

namespace stella::crypto {
namespace {

constexpr std::size_t kIdleSessions = 16;

struct RvName {
  CK_RV rv;
  const char* name;
};
constexpr std::array<RvName, 34> kRvNames{{{CKR_OK, "CKR_OK"},
                                           {CKR_HOST_MEMORY, "CKR_HOST_MEMORY"},
                                           {CKR_SLOT_ID_INVALID, "CKR_SLOT_ID_INVALID"},
                                           {CKR_GENERAL_ERROR, "CKR_GENERAL_ERROR"},
                                           {CKR_FUNCTION_FAILED, "CKR_FUNCTION_FAILED"},
                                           {CKR_ARGUMENTS_BAD, "CKR_ARGUMENTS_BAD"},
                                           {CKR_CANT_LOCK, "CKR_CANT_LOCK"},
                                           {CKR_ATTRIBUTE_SENSITIVE, "CKR_ATTRIBUTE_SENSITIVE"},
                                           {CKR_ATTRIBUTE_TYPE_INVALID, "CKR_ATTRIBUTE_TYPE_INVALID"},
                                           {CKR_DATA_LEN_RANGE, "CKR_DATA_LEN_RANGE"},
                                           {CKR_DEVICE_ERROR, "CKR_DEVICE_ERROR"},
                                           {CKR_DEVICE_MEMORY, "CKR_DEVICE_MEMORY"},
                                           {CKR_DEVICE_REMOVED, "CKR_DEVICE_REMOVED"},
                                           {CKR_ENCRYPTED_DATA_INVALID, "CKR_ENCRYPTED_DATA_INVALID"},
                                           {CKR_FUNCTION_NOT_SUPPORTED, "CKR_FUNCTION_NOT_SUPPORTED"},
                                           {CKR_KEY_HANDLE_INVALID, "CKR_KEY_HANDLE_INVALID"},
                                           {CKR_KEY_TYPE_INCONSISTENT, "CKR_KEY_TYPE_INCONSISTENT"},
                                           {CKR_KEY_FUNCTION_NOT_PERMITTED, "CKR_KEY_FUNCTION_NOT_PERMITTED"},
                                           {CKR_MECHANISM_INVALID, "CKR_MECHANISM_INVALID"},
                                           {CKR_MECHANISM_PARAM_INVALID, "CKR_MECHANISM_PARAM_INVALID"},
                                           {CKR_OBJECT_HANDLE_INVALID, "CKR_OBJECT_HANDLE_INVALID"},
                                           {CKR_PIN_INCORRECT, "CKR_PIN_INCORRECT"},
                                           {CKR_PIN_INVALID, "CKR_PIN_INVALID"},
                                           {CKR_PIN_LEN_RANGE, "CKR_PIN_LEN_RANGE"},
                                           {CKR_PIN_EXPIRED, "CKR_PIN_EXPIRED"},
                                           {CKR_PIN_LOCKED, "CKR_PIN_LOCKED"},
                                           {CKR_SESSION_CLOSED, "CKR_SESSION_CLOSED"},
                                           {CKR_SESSION_COUNT, "CKR_SESSION_COUNT"},
                                           {CKR_SESSION_HANDLE_INVALID, "CKR_SESSION_HANDLE_INVALID"},
                                           {CKR_TOKEN_NOT_PRESENT, "CKR_TOKEN_NOT_PRESENT"},
                                           {CKR_TOKEN_NOT_RECOGNIZED, "CKR_TOKEN_NOT_RECOGNIZED"},
                                           {CKR_TOKEN_WRITE_PROTECTED, "CKR_TOKEN_WRITE_PROTECTED"},
                                           {CKR_USER_NOT_LOGGED_IN, "CKR_USER_NOT_LOGGED_IN"},
                                           {CKR_USER_PIN_NOT_INITIALIZED, "CKR_USER_PIN_NOT_INITIALIZED"}}};

bool pin_is_refused(CK_RV rv) {
  return rv == CKR_PIN_INCORRECT || rv == CKR_PIN_INVALID || rv == CKR_PIN_LEN_RANGE || rv == CKR_PIN_EXPIRED || rv == CKR_PIN_LOCKED;
}

// The session or what it found is no longer good: the token was taken out, the application was logged out, the object was replaced.
bool is_stale(CK_RV rv) {
  return rv == CKR_SESSION_HANDLE_INVALID || rv == CKR_SESSION_CLOSED || rv == CKR_DEVICE_REMOVED || rv == CKR_TOKEN_NOT_PRESENT || rv == CKR_USER_NOT_LOGGED_IN ||
         rv == CKR_KEY_HANDLE_INVALID || rv == CKR_OBJECT_HANDLE_INVALID || rv == CKR_DEVICE_ERROR;
}

Error module_error(Literal message, const std::string& path, std::string reason) {
  return Error(base_errors::kIo, message).with("path", path).with("reason", std::move(reason));
}

Result<CK_FUNCTION_LIST*> load_module(const std::string& path) {
  void* library = ::dlopen(path.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (library == nullptr) {
    const char* reason = ::dlerror();
    return module_error("cannot load the PKCS#11 module", path, reason == nullptr ? "" : reason);
  }
  const auto get = reinterpret_cast<CK_C_GetFunctionList>(::dlsym(library, "C_GetFunctionList"));
  CK_FUNCTION_LIST* functions = nullptr;
  if (get == nullptr || get(&functions) != CKR_OK || functions == nullptr) {
    ::dlclose(library);
    return module_error("not a PKCS#11 module", path, "C_GetFunctionList");
  }
  CK_C_INITIALIZE_ARGS arguments{};
  arguments.flags = CKF_OS_LOCKING_OK;
  // Never finalised and never unloaded: modules that share libcrypto with us crash in either while the process ends.
  const CK_RV rv = functions->C_Initialize(&arguments);
  if (rv != CKR_OK && rv != CKR_CRYPTOKI_ALREADY_INITIALIZED) return module_error("the PKCS#11 module does not start", path, ckr_name(rv));
  return functions;
}

// Token texts are padded with blanks.
template <std::size_t N>
bool matches(const CK_UTF8CHAR (&field)[N], const std::string& wanted) {
  if (wanted.empty()) return true;
  std::string_view text(reinterpret_cast<const char*>(field), N);
  text = text.substr(0, text.find_last_not_of(' ') + 1);
  return text == wanted;
}

template <std::size_t N>
void append(std::string& out, const CK_UTF8CHAR (&field)[N]) {
  out.append(reinterpret_cast<const char*>(field), N);
}

struct Token {
  CK_SLOT_ID slot;
  std::string name;  // all that it calls itself: one token has many URIs
};

Result<Token> find_token(CK_FUNCTION_LIST* module, const KeyUri& uri) {
  CK_ULONG count = 0;
  std::vector<CK_SLOT_ID> slots;
  CK_RV rv = CKR_BUFFER_TOO_SMALL;
  for (int tries = 0; tries < 4 && rv == CKR_BUFFER_TOO_SMALL; ++tries) {
    // The first call with no buffer is also what makes a module look at its readers again.
    rv = module->C_GetSlotList(CK_TRUE, nullptr, &count);
    if (rv != CKR_OK) break;
    slots.resize(count);
    if (count != 0) rv = module->C_GetSlotList(CK_TRUE, slots.data(), &count);
  }
  if (rv != CKR_OK) return pkcs11_error("the PKCS#11 module lists no slots", uri, rv);
  slots.resize(count);
  std::vector<Token> found;
  for (const CK_SLOT_ID slot : slots) {
    CK_TOKEN_INFO info{};
    if (module->C_GetTokenInfo(slot, &info) != CKR_OK || (info.flags & CKF_TOKEN_INITIALIZED) == 0) continue;
    if (!matches(info.label, uri.token) || !matches(info.serialNumber, uri.serial) || !matches(info.manufacturerID, uri.manufacturer) || !matches(info.model, uri.model)) continue;
    Token& token = found.emplace_back(Token{slot, {}});
    append(token.name, info.label);
    append(token.name, info.manufacturerID);
    append(token.name, info.model);
    append(token.name, info.serialNumber);
  }
  if (found.empty()) return Error(base_errors::kNotFound, "no such token").with("token", uri.token).with("module", uri.module_path);
  if (found.size() > 1)
    return Error(base_errors::kInvalid, "several tokens match").with("token", uri.token).with("expected", "serial= in the URI");
  return std::move(found.front());
}

// Where one PIN is offered to one token, by one caller at a time: a token counts the tries of all of them, and locks after few. Once it was
// refused, nobody in this process offers it again.
class LoginGate {
 public:
  CK_RV refused() const {
    const Lock lock(mutex_);
    return refused_;
  }
  CK_RV log_in(CK_FUNCTION_LIST* module, CK_SESSION_HANDLE session, std::string_view pin) {
    const Lock lock(mutex_);
    if (refused_ != CKR_OK) return refused_;
    auto* text = reinterpret_cast<CK_UTF8CHAR*>(const_cast<char*>(pin.data()));
    const CK_RV rv = module->C_Login(session, CKU_USER, text, pin.size());
    if (pin_is_refused(rv)) refused_ = rv;
    return rv;
  }

 private:
  mutable Mutex mutex_;
  CK_RV refused_ STELLA_GUARDED_BY(mutex_) = CKR_OK;
};

// They stay: there are as many as PINs were offered. A PIN is told from another by a digest that means nothing in another process.
LoginGate& gate_of(const CK_FUNCTION_LIST* module, const Token& token, std::string_view pin) {
  using Name = std::tuple<const CK_FUNCTION_LIST*, std::string, std::string>;
  static Mutex mutex;
  static auto& gates = *new std::map<Name, std::unique_ptr<LoginGate>>;
  static const SecretBytes& salt = *new SecretBytes(SecretBytes::random(32));
  std::string salted = std::string(salt.view()).append(pin);
  std::string digest = sha256(salted).hex();
  erase_secret(salted);
  const Lock lock(mutex);
  auto& gate = gates[Name(module, token.name, std::move(digest))];
  if (!gate) gate = std::make_unique<LoginGate>();
  return *gate;
}

Error refused_before(const KeyUri& uri, CK_RV rv) {
  return Error(base_errors::kInvalid, "the token refused the PIN before; it is not offered again").with("token", uri.token).with("reason", ckr_name(rv)).with("remedy", "put the right PIN in its place and restart");
}

}  // namespace

std::string ckr_name(CK_RV rv) {
  const auto at = std::find_if(kRvNames.begin(), kRvNames.end(), [rv](const RvName& n) { return n.rv == rv; });
  if (at != kRvNames.end()) return at->name;
  char text[32];
  std::snprintf(text, sizeof text, "CKR 0x%lx", rv);
  return text;
}

Error pkcs11_error(Literal message, const KeyUri& uri, CK_RV rv) {
  return Error(pin_is_refused(rv) ? base_errors::kInvalid : base_errors::kIo, message).with("token", uri.token).with("reason", ckr_name(rv));
}

Result<CK_FUNCTION_LIST*> pkcs11_module(const std::string& path) {
  static Mutex mutex;
  static auto& loaded = *new std::map<std::string, CK_FUNCTION_LIST*>;
  const Lock lock(mutex);
  if (const auto at = loaded.find(path); at != loaded.end()) return at->second;
  CK_FUNCTION_LIST* const functions = STELLA_TRY(load_module(path));
  loaded.emplace(path, functions);
  return functions;
}

Result<CK_SESSION_HANDLE> pkcs11_login(CK_FUNCTION_LIST* module, const KeyUri& uri, std::string_view pin, bool writable) {
  const Token token = STELLA_TRY(find_token(module, uri));
  LoginGate& gate = gate_of(module, token, pin);
  if (const CK_RV before = gate.refused(); before != CKR_OK) return refused_before(uri, before);
  CK_SESSION_HANDLE session = 0;
  const CK_FLAGS flags = CKF_SERIAL_SESSION | (writable ? CKF_RW_SESSION : 0);
  CK_RV rv = module->C_OpenSession(token.slot, flags, nullptr, nullptr, &session);
  if (rv == CKR_SESSION_COUNT) {
    // The token has no more of them: those that wait here for work are not worth a refusal.
    Pkcs11Object::drop_all_idle(module);
    rv = module->C_OpenSession(token.slot, flags, nullptr, nullptr, &session);
  }
  if (rv != CKR_OK) return pkcs11_error("the token opens no session", uri, rv);
  // The login belongs to the token and the process, not to the session: whoever comes second finds it done.
  rv = gate.log_in(module, session, pin);
  if (rv == CKR_OK || rv == CKR_USER_ALREADY_LOGGED_IN) return session;
  module->C_CloseSession(session);
  if (pin_is_refused(rv)) return pkcs11_error("the token refuses the PIN", uri, rv);
  return pkcs11_error("the token lets nobody in", uri, rv);
}

Result<std::vector<CK_OBJECT_HANDLE>> pkcs11_find(CK_FUNCTION_LIST* module, CK_SESSION_HANDLE session, const ObjectQuery& query) {
  CK_OBJECT_CLASS object_class = query.object_class;
  CK_KEY_TYPE key_type = query.key_type.value_or(0);
  std::vector<CK_ATTRIBUTE> wanted{{CKA_CLASS, &object_class, sizeof object_class}};
  if (query.key_type) wanted.push_back({CKA_KEY_TYPE, &key_type, sizeof key_type});
  if (!query.label.empty()) wanted.push_back({CKA_LABEL, const_cast<char*>(query.label.data()), query.label.size()});
  if (!query.id.empty()) wanted.push_back({CKA_ID, const_cast<char*>(query.id.data()), query.id.size()});
  constexpr std::size_t kAtOnce = 16;
  std::vector<CK_OBJECT_HANDLE> found;
  CK_RV rv = module->C_FindObjectsInit(session, wanted.data(), wanted.size());
  if (rv == CKR_OK) {
    CK_ULONG count = 1;
    while (rv == CKR_OK && count != 0 && (query.several || found.size() < 2)) {
      const std::size_t before = found.size(), more = query.several ? kAtOnce : 2 - before;
      found.resize(before + more);
      count = 0;
      rv = module->C_FindObjects(session, found.data() + before, more, &count);
      found.resize(before + (rv == CKR_OK ? count : 0));
    }
    module->C_FindObjectsFinal(session);
  }
  if (rv != CKR_OK) return Error(base_errors::kIo, "the token finds nothing").with("reason", ckr_name(rv));
  return found;
}

namespace {

// In the order of their ids, which is the same for everybody; handles are not.
void sort_by_id(CK_FUNCTION_LIST* module, CK_SESSION_HANDLE session, std::vector<CK_OBJECT_HANDLE>& objects) {
  if (objects.size() < 2) return;
  std::vector<std::pair<std::string, CK_OBJECT_HANDLE>> named;
  for (const CK_OBJECT_HANDLE object : objects) {
    std::array<char, 256> id{};
    CK_ATTRIBUTE wanted{CKA_ID, id.data(), id.size()};
    const bool read = module->C_GetAttributeValue(session, object, &wanted, 1) == CKR_OK && wanted.ulValueLen <= id.size();
    named.emplace_back(std::string(id.data(), read ? wanted.ulValueLen : 0), object);
  }
  std::sort(named.begin(), named.end());
  std::transform(named.begin(), named.end(), objects.begin(), [](const auto& one) { return one.second; });
}

}  // namespace

// Those of this process, for one of them may keep the sessions that another needs. Locked before an object is, never after.
struct Pkcs11Objects {
  Mutex mutex;
  std::set<Pkcs11Object*> all STELLA_GUARDED_BY(mutex);
  static Pkcs11Objects& instance() {
    static auto& objects = *new Pkcs11Objects;
    return objects;
  }
};

Pkcs11Object::Pkcs11Object(KeyUri uri, SecretBytes pin, ObjectQuery query, CK_FUNCTION_LIST* module)
    : uri_(std::move(uri)), pin_(std::move(pin)), query_(std::move(query)), module_(module) {
  Pkcs11Objects& objects = Pkcs11Objects::instance();
  const Lock lock(objects.mutex);
  objects.all.insert(this);
}

Pkcs11Object::~Pkcs11Object() {
  {
    Pkcs11Objects& objects = Pkcs11Objects::instance();
    const Lock lock(objects.mutex);
    objects.all.erase(this);
  }
  drop_idle();
}

void Pkcs11Object::drop_all_idle(const CK_FUNCTION_LIST* module) {
  Pkcs11Objects& objects = Pkcs11Objects::instance();
  const Lock lock(objects.mutex);
  for (Pkcs11Object* object : objects.all)
    if (object->module_ == module) object->drop_idle();
}

Result<std::shared_ptr<Pkcs11Object>> Pkcs11Object::open(const KeyUri& uri, SecretBytes pin, ObjectQuery query) {
  CK_FUNCTION_LIST* const module = STELLA_TRY(pkcs11_module(uri.module_path));
  std::shared_ptr<Pkcs11Object> out(new Pkcs11Object(uri, std::move(pin), std::move(query), module));
  Pkcs11Session session = STELLA_TRY(out->fresh_session());
  out->give_back(std::move(session));
  return out;
}

Result<Pkcs11Session> Pkcs11Object::fresh_session() {
  const CK_SESSION_HANDLE session = STELLA_TRY(pkcs11_login(module_, uri_, pin_.view(), false));
  auto found = pkcs11_find(module_, session, query_);
  if (found && !found->empty() && (found->size() == 1 || query_.several)) {
    sort_by_id(module_, session, *found);
    const CK_OBJECT_HANDLE first = found->front();
    return Pkcs11Session{session, first, std::move(*found)};
  }
  module_->C_CloseSession(session);
  if (!found) return std::move(found.error()).with("token", uri_.token);
  if (found->empty()) return Error(base_errors::kNotFound, kNoSuchKey).with("token", uri_.token).with("object", query_.label);
  return Error(base_errors::kInvalid, "several keys of the token match").with("token", uri_.token).with("expected", "object= and id= in the URI");
}

Result<Pkcs11Session> Pkcs11Object::take() {
  {
    const Lock lock(mutex_);
    if (!idle_.empty()) {
      Pkcs11Session session = std::move(idle_.back());
      idle_.pop_back();
      return session;
    }
  }
  return fresh_session();
}

void Pkcs11Object::give_back(Pkcs11Session session) {
  {
    const Lock lock(mutex_);
    if (idle_.size() < kIdleSessions) {
      idle_.push_back(std::move(session));
      return;
    }
  }
  module_->C_CloseSession(session.handle);
}

void Pkcs11Object::drop_idle() {
  std::vector<Pkcs11Session> dropped;
  {
    const Lock lock(mutex_);
    dropped.swap(idle_);
  }
  for (const auto& session : dropped) module_->C_CloseSession(session.handle);
}

Result<void> Pkcs11Object::run(Literal message, const std::function<CK_RV(CK_FUNCTION_LIST&, const Pkcs11Session&)>& work) {
  Pkcs11Session session = STELLA_TRY(take());
  CK_RV rv = work(*module_, session);
  if (is_stale(rv)) {
    module_->C_CloseSession(session.handle);
    drop_idle();
    session = STELLA_TRY(fresh_session());
    rv = work(*module_, session);
  }
  if (rv == CKR_OK) {
    give_back(std::move(session));
    return {};
  }
  module_->C_CloseSession(session.handle);  // an operation may be left half done in it
  return pkcs11_error(message, uri_, rv);
}

Result<std::string> Pkcs11Object::attribute(CK_ATTRIBUTE_TYPE type) {
  std::string value;
  STELLA_TRY_VOID(run("the token does not show an attribute of its key", [&](CK_FUNCTION_LIST& module, const Pkcs11Session& session) {
    CK_ATTRIBUTE wanted{type, nullptr, 0};
    CK_RV rv = module.C_GetAttributeValue(session.handle, session.object, &wanted, 1);
    if (rv == CKR_ATTRIBUTE_TYPE_INVALID || (rv == CKR_OK && wanted.ulValueLen == 0)) return CK_RV{CKR_OK};
    if (rv != CKR_OK) return rv;
    value.resize(wanted.ulValueLen);
    wanted.pValue = value.data();
    rv = module.C_GetAttributeValue(session.handle, session.object, &wanted, 1);
    value.resize(rv == CKR_OK ? wanted.ulValueLen : 0);
    return rv;
  }));
  return value;
}

Result<std::string> pkcs11_public_point(const KeyUri& uri, std::string_view pin, Pkcs11Object& private_key, CK_KEY_TYPE type) {
  std::string id = STELLA_TRY(private_key.attribute(CKA_ID));
  auto object = Pkcs11Object::open(uri, SecretBytes(pin), {.object_class = CKO_PUBLIC_KEY, .key_type = type, .label = id.empty() ? uri.object : std::string(), .id = id});
  std::string point;
  if (object) point = STELLA_TRY((*object)->attribute(CKA_EC_POINT));
  if (!object && object.error().code() != base_errors::kNotFound) return std::move(object.error());
  if (point.empty()) point = STELLA_TRY(private_key.attribute(CKA_EC_POINT));
  if (point.empty())
    return Error(base_errors::kNotFound, "the token holds no public key beside the private one").with("token", uri.token).with("object", uri.object).with("expected", "a public key object with the same id");
  return point;
}

}  // namespace stella::crypto
