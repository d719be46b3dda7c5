// stellad --rotate-key: the keys that are files of this machine alone and have no successor signed in: tokens and checkpoints.
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/file_owner.h"
#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/services/authority.h"
#include "stellad.h"

namespace stella::stellad {
namespace {

struct Changed {
  KeyId old, next;
};

// The key before keeps its private half under its own name, for what only it can still open or prove; then the next takes its place in one step. The
// public half of before is written first: a log goes on from its checkpoints.
template <class Key>
Result<Changed> change_files(const std::string& dir, const std::string& purpose, const Key& old, const std::string& old8, const std::string& passphrase) {
  const std::string path = dir + "/" + purpose;
  STELLA_TRY_VOID(replace_file(path + "-" + old8 + ".pub", old.public_key().pem(), 0644));
  if (::link((path + ".pem").c_str(), (path + "-" + old8 + ".pem").c_str()) != 0 && errno != EEXIST) return io_error("cannot keep the key before under its own name", path + "-" + old8 + ".pem");
  const Key next = STELLA_TRY(Key::generate());
  STELLA_TRY_VOID(next.save(path + ".next.pem", passphrase));
  if (::rename((path + ".next.pem").c_str(), (path + ".pem").c_str()) != 0) return io_error("cannot put the new key in its place", path + ".pem");
  STELLA_TRY_VOID(replace_file(path + ".pub", next.public_key().pem(), 0644));
  return Changed{old.public_key().id(), next.public_key().id()};
}

}  // namespace

Result<void> rotate_key(const config::Settings& settings, const Arguments& arguments) {
  const std::string& purpose = arguments.rotate_key;
  const std::string dir = settings.text("data_dir") + "/keys", passphrase = STELLA_TRY(key_passphrase(settings));
  const pg::PoolOptions login = STELLA_TRY(pool_options(settings, "stella_authority"));
  pg::SystemPool<pg::AuthorityRole> pool(login);
  authority::Provisioner provisioner(pool);
  Changed changed;
  // Where this ends before the record is written, --init writes it.
  if (purpose == "token") {
    const auto old = STELLA_TRY(load_key(settings, purpose));
    changed = STELLA_TRY(change_files(dir, purpose, *old, old->public_key().keyid8(), passphrase));
    const auto next = STELLA_TRY(load_key(settings, purpose));
    STELLA_TRY_VOID(provisioner.introduce_key(next->public_key(), purpose, TraceId::generate()));
  } else if (purpose == "log") {
    if (!settings.text("keys.log").empty())
      return Error(contracts::errors::kConflict, "the log key is kept elsewhere: make a new one there, name it in keys.log, run stellad --init and restart").with("setting", std::string("keys.log"));
    const auto old = STELLA_TRY(load_log_key(settings));
    changed = STELLA_TRY(change_files(dir, purpose, *old, hex_encode(old->public_key().raw().substr(0, 4)), passphrase));
    const auto next = STELLA_TRY(load_log_key(settings));
    STELLA_TRY_VOID(provisioner.introduce_key(next->public_key(), purpose, TraceId::generate()));
  } else {
    return Error(base_errors::kInvalid, "no key that is rotated here").with("field", std::string("--rotate-key")).with("expected", std::string("token or log; the evidence key: stella keys rotate"));
  }
  std::printf("%s\n", json::dump(json::Value::object({{"purpose", purpose}, {"key_id", changed.next.str()}, {"previous_key_id", changed.old.str()}, {"used", "from the next start on"}})).c_str());
  return {};
}

}  // namespace stella::stellad
