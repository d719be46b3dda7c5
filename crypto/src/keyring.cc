// The keyring file.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>

#include "aes_gcm.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/file_owner.h"
#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/crypto/kms.h"
#include "wrapping.h"

namespace stella::crypto {
namespace {

constexpr std::string_view kFormat = "stella-keyring/1";
constexpr std::uint64_t kKeyringBytes = 16u << 20;
constexpr std::size_t kSaltBytes = 16;

// The id is authenticated: an entry under another id does not open.
std::string entry_aad(std::string_view id) { return std::string("stella/keyring/v1\0", 18).append(id); }
constexpr std::string_view kCheckId = "";  // no key has it

Error damaged(std::string_view expected) { return Error(base_errors::kMalformed, "not a keyring").with("expected", std::string(expected)); }

Result<ScryptCost> read_cost(const json::Value& scrypt) {
  ScryptCost cost;
  cost.log_n = static_cast<int>(std::clamp<std::int64_t>(STELLA_TRY(scrypt.require_int("log_n")), 0, 99));
  cost.r = static_cast<int>(std::clamp<std::int64_t>(STELLA_TRY(scrypt.require_int("r")), 0, 99));
  cost.p = static_cast<int>(std::clamp<std::int64_t>(STELLA_TRY(scrypt.require_int("p")), 0, 99));
  return cost;
}

}  // namespace

bool valid_wrapping_key_id(std::string_view id) {
  const auto alphanumeric = [](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); };
  return !id.empty() && id.size() <= 128 && alphanumeric(id.front()) &&
         std::all_of(id.begin(), id.end(), [&](char c) { return alphanumeric(c) || c == '.' || c == '_' || c == '/' || c == '-'; });
}

std::string wrapping_key_version(std::string_view base, std::uint64_t version) { return version == 1 ? std::string(base) : std::string(base) + "/" + std::to_string(version); }

std::optional<std::uint64_t> version_of_wrapping_key(std::string_view base, std::string_view key_id) {
  if (key_id == base) return 1;
  if (!key_id.starts_with(base) || key_id.size() <= base.size() + 1 || key_id[base.size()] != '/') return std::nullopt;
  std::uint64_t version = 0;
  const std::string_view digits = key_id.substr(base.size() + 1);
  const auto read = std::from_chars(digits.data(), digits.data() + digits.size(), version);
  if (read.ec != std::errc() || version < 2 || wrapping_key_version(base, version) != key_id) return std::nullopt;
  return version;
}

Result<std::vector<std::string>> wrapping_key_versions(const Kms& kms, std::string_view base) {
  const std::string newest = STELLA_TRY(kms.newest(base));
  const std::uint64_t last = version_of_wrapping_key(base, newest).value_or(1);
  std::vector<std::string> out;
  for (std::uint64_t n = 1; n <= last; ++n) {
    std::string id = wrapping_key_version(base, n);
    const auto wrapped = kms.wrap(id, std::string(kDataKeyBytes, '\0'), "probe");
    if (wrapped) out.push_back(std::move(id));
    else if (wrapped.error().code() != base_errors::kNotFound) return Error(wrapped.error());
  }
  return out;
}

FileKeyring::FileKeyring(std::string path, ScryptCost cost, std::string salt, SecretBytes master)
    : path_(std::move(path)), cost_(cost), salt_(std::move(salt)), master_(std::move(master)) {}

Result<std::unique_ptr<FileKeyring>> FileKeyring::create(const std::string& path, std::string_view passphrase, const ScryptCost& cost) {
  if (passphrase.empty()) return Error(base_errors::kInvalid, "a keyring needs a passphrase").with("field", "passphrase");
  if (::access(path.c_str(), F_OK) == 0) return Error(base_errors::kInvalid, "there is a keyring already").with("path", path);
  std::string salt(kSaltBytes, '\0');
  fill_random(salt.data(), salt.size());
  std::string master = STELLA_TRY(scrypt(passphrase, salt, cost, kGcmKeyBytes));
  std::unique_ptr<FileKeyring> out(new FileKeyring(path, cost, std::move(salt), SecretBytes(master)));
  erase_secret(master);
  const Lock lock(out->mutex_);
  STELLA_TRY_VOID(out->save());
  return out;
}

Result<std::unique_ptr<FileKeyring>> FileKeyring::open(const std::string& path, std::string_view passphrase) {
  const std::string text = STELLA_TRY(read_file(path, kKeyringBytes));
  const json::Value doc = STELLA_TRY(json::parse(text));
  const json::Value* kdf = doc.find("scrypt");
  if (doc.str("format") != kFormat || kdf == nullptr) return damaged(kFormat);
  const ScryptCost cost = STELLA_TRY(read_cost(*kdf));
  std::string salt = STELLA_TRY(base64_decode(kdf->str("salt")));
  std::string master = STELLA_TRY(scrypt(passphrase, salt, cost, kGcmKeyBytes));
  std::unique_ptr<FileKeyring> out(new FileKeyring(path, cost, std::move(salt), SecretBytes(master)));
  erase_secret(master);
  const std::string check = STELLA_TRY(base64_decode(doc.str("check")));
  if (auto opened = gcm_unwrap(out->master_.view(), entry_aad(kCheckId), check, "wrong passphrase for this keyring"); !opened)
    return std::move(opened.error()).with("path", path);
  const Lock lock(out->mutex_);
  STELLA_TRY_VOID(out->reread());
  return out;
}

Result<void> FileKeyring::read_keys(const json::Value& doc) const {
  std::map<std::string, SecretBytes, std::less<>> keys;
  for (const auto& entry : doc.items("keys")) {
    const std::string id(entry.str("id"));
    if (!valid_wrapping_key_id(id)) return damaged("key ids");
    const std::string sealed = STELLA_TRY(base64_decode(entry.str("sealed")));
    auto key = gcm_unwrap(master_.view(), entry_aad(id), sealed, "a key of this keyring is damaged");
    if (!key) return std::move(key.error()).with("path", path_).with("key", id);
    const bool is_new = key->size() == kGcmKeyBytes && keys.emplace(id, SecretBytes(*key)).second;
    erase_secret(*key);
    if (!is_new) return damaged("each key once, 32 bytes");
  }
  std::set<std::string, std::less<>> destroyed;
  for (const auto& id : doc.items("destroyed")) {
    if (!id.is_string() || !valid_wrapping_key_id(id.as_string()) || keys.contains(id.as_string())) return damaged("ids of destroyed keys");
    destroyed.emplace(id.as_string());
  }
  keys_ = std::move(keys);
  destroyed_ = std::move(destroyed);
  return {};
}

// The keys as the file has them now: another process may have added or destroyed one.
Result<void> FileKeyring::reread() const {
  struct stat st {};
  if (::stat(path_.c_str(), &st) != 0) return io_error("the keyring cannot be read", path_);
  const Stamp now{st.st_ino, st.st_mtim.tv_sec, st.st_mtim.tv_nsec, st.st_size};
  if (now == stamp_) return {};
  const std::string text = STELLA_TRY(read_file(path_, kKeyringBytes));
  const json::Value doc = STELLA_TRY(json::parse(text));
  const json::Value* kdf = doc.find("scrypt");
  if (doc.str("format") != kFormat || kdf == nullptr) return damaged(kFormat);
  if (kdf->str("salt") != base64_encode(salt_)) return Error(base_errors::kInvalid, "another keyring took the place of this one: restart").with("path", path_);
  STELLA_TRY_VOID(read_keys(doc));
  stamp_ = now;
  return {};
}

Result<void> FileKeyring::refresh() const {
  if (auto read = reread(); !read) return key_store_away(read.error());
  return {};
}

namespace {

// Changes of one file from several processes, one after the other. The lock goes with the descriptor. Where root makes the file, the server (another
// user) must be able to open it, too; a link that somebody put into its place is not followed.
Result<Fd> lock_for_change(const std::string& path) {
  Fd fd(::open((path + ".lock").c_str(), O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return io_error("cannot lock the keyring", path + ".lock");
  struct stat info {};
  if (::fstat(fd.get(), &info) == 0 && S_ISREG(info.st_mode) && info.st_nlink == 1) STELLA_TRY_VOID(keep_owner(fd.get(), path));
  while (::flock(fd.get(), LOCK_EX) != 0) {
    if (errno != EINTR) return io_error("cannot lock the keyring", path + ".lock");
  }
  return fd;
}

}  // namespace

Result<void> FileKeyring::save() const {
  json::Value doc;
  doc.set("format", kFormat);
  doc.set("scrypt", json::Value::object({{"log_n", cost_.log_n}, {"r", cost_.r}, {"p", cost_.p}, {"salt", base64_encode(salt_)}}));
  const std::string check = STELLA_TRY(gcm_wrap(master_.view(), entry_aad(kCheckId), ""));
  doc.set("check", base64_encode(check));
  json::Value keys = json::Value::array();
  for (const auto& [id, key] : keys_) {
    const std::string sealed = STELLA_TRY(gcm_wrap(master_.view(), entry_aad(id), key.view()));
    keys.push(json::Value::object({{"id", id}, {"sealed", base64_encode(sealed)}}));
  }
  doc.set("keys", std::move(keys));
  if (!destroyed_.empty()) doc.set("destroyed", json::Array(destroyed_.begin(), destroyed_.end()));
  return replace_file(path_, json::pretty(doc), 0600);
}

Result<void> FileKeyring::add_key(std::string_view key_id) {
  if (!valid_wrapping_key_id(key_id))
    return Error(base_errors::kInvalid, "not a key id").with("field", "key_id").with("expected", "[A-Za-z0-9][A-Za-z0-9._/-]{0,127}");
  const Lock lock(mutex_);
  const Fd alone = STELLA_TRY(lock_for_change(path_));
  STELLA_TRY_VOID(refresh());
  if (destroyed_.contains(key_id)) return destroyed_wrapping_key(base_errors::kInvalid, key_id);
  const auto [at, is_new] = keys_.emplace(std::string(key_id), SecretBytes());
  if (!is_new) return Error(base_errors::kInvalid, "the keyring has this key").with("field", "key_id").with("actual", std::string(key_id));
  at->second = SecretBytes::random(kGcmKeyBytes);
  auto saved = save();
  if (!saved) keys_.erase(at);
  return saved;
}

Result<void> FileKeyring::destroy_key(std::string_view key_id) {
  const Lock lock(mutex_);
  const Fd alone = STELLA_TRY(lock_for_change(path_));
  STELLA_TRY_VOID(find(key_id));
  auto taken = keys_.extract(keys_.find(key_id));
  destroyed_.emplace(key_id);
  auto saved = save();
  if (saved) return saved;
  destroyed_.erase(destroyed_.find(key_id));
  keys_.insert(std::move(taken));
  return saved;
}

Result<const SecretBytes*> FileKeyring::find(std::string_view key_id) const {
  STELLA_TRY_VOID(refresh());
  if (const auto at = keys_.find(key_id); at != keys_.end()) return &at->second;
  if (destroyed_.contains(key_id)) return destroyed_wrapping_key(base_errors::kNotFound, key_id);
  return unknown_wrapping_key(key_id);
}

Result<std::string> FileKeyring::newest(std::string_view base) const {
  const Lock lock(mutex_);
  STELLA_TRY_VOID(refresh());
  std::uint64_t version = 1;
  const auto there = [&](std::uint64_t n) {
    const std::string id = wrapping_key_version(base, n);
    return keys_.contains(id) || destroyed_.contains(id);
  };
  while (there(version + 1)) ++version;
  return wrapping_key_version(base, version);
}

std::vector<std::string> FileKeyring::key_ids() const {
  const Lock lock(mutex_);
  std::vector<std::string> out;
  for (const auto& [id, key] : keys_) out.push_back(id);
  return out;
}

Result<std::string> FileKeyring::wrap(std::string_view key_id, std::string_view data_key, std::string_view context) const {
  if (data_key.size() != kDataKeyBytes) return not_a_data_key();
  const Lock lock(mutex_);
  const SecretBytes* const with = STELLA_TRY(find(key_id));
  return gcm_wrap(with->view(), wrapping_aad(key_id, context), data_key);
}

Result<SecretBytes> FileKeyring::unwrap(std::string_view key_id, std::string_view wrapped, std::string_view context) const {
  const Lock lock(mutex_);
  const SecretBytes* const with = STELLA_TRY(find(key_id));
  auto key = gcm_unwrap(with->view(), wrapping_aad(key_id, context), wrapped, kDoesNotOpen);
  if (!key) return std::move(key.error()).with("key", std::string(key_id));
  SecretBytes out(*key);
  erase_secret(*key);
  return out;
}

}  // namespace stella::crypto
