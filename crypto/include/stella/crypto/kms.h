// Keys that encrypt keys: the interface, and the keyring file. The PKCS#11 implementation stands in pkcs11.h.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/crypto/kdf.h"
#include "stella/crypto/secret.h"

namespace stella::crypto {

inline constexpr std::size_t kDataKeyBytes = 32;
inline constexpr std::size_t kWrappedKeyBytes = 1024;  // no implementation may return more

// [A-Za-z0-9][A-Za-z0-9._/-]{0,127}: stands in envelopes and in logs, so it names no secret.
bool valid_wrapping_key_id(std::string_view key_id);

inline constexpr Literal kDoesNotOpen{"the wrapped key does not open: another key, another context, or damage"};

// Wraps and unwraps data keys under keys it never shows. `context` says what the data key is for (a store key, a tenant): a wrapped key opens
// under the same context only. Implementations are thread-safe.
// Errors: kNotFound for an unknown key id (with reason=destroyed where it is known to have been), kIo where the key store is away, damaged, replaced
// or lets nobody in. kInvalid is a verdict about what the caller gave, never about the store: from unwrap it says kDoesNotOpen, and nothing else.
class Kms {
 public:
  virtual ~Kms() = default;
  // A new random key, durable before it is used. kInvalid where the id is taken (also by a destroyed key) or no id.
  virtual Result<void> add_key(std::string_view key_id) = 0;
  // The key is gone for good, and with it everything that is wrapped under it, in every process from its next call on. Durable. Again: kNotFound.
  virtual Result<void> destroy_key(std::string_view key_id) = 0;
  virtual Result<std::string> wrap(std::string_view key_id, std::string_view data_key, std::string_view context) const = 0;
  virtual Result<SecretBytes> unwrap(std::string_view key_id, std::string_view wrapped, std::string_view context) const = 0;
  // What new data keys of `base` are wrapped under: its newest version (below), destroyed or not; `base` where there is none yet. Another process may
  // have added one: known within seconds.
  virtual Result<std::string> newest(std::string_view base) const { return std::string(base); }
  // "file", "pkcs11": for people.
  virtual std::string_view provider() const { return "none"; }
};

// Versions of one key: its id, then "<id>/2", "<id>/3", …. What an older one wrapped stays readable as long as that is there.
std::string wrapping_key_version(std::string_view base, std::uint64_t version);
// 1 for the id itself; nullopt for an id that is no version of it.
std::optional<std::uint64_t> version_of_wrapping_key(std::string_view base, std::string_view key_id);
// The versions that are there and not destroyed, oldest first; each is tried.
Result<std::vector<std::string>> wrapping_key_versions(const Kms& kms, std::string_view base);

// AES-256 keys in one file, each sealed under a key derived from the passphrase (scrypt, AES-256-GCM):
//   {"format":"stella-keyring/1","scrypt":{"log_n","r","p","salt"},"check":…,"keys":[{"id","sealed"},…],"destroyed":[id,…]}
// A rotation adds a key; old ones stay as long as objects are wrapped under them. Back the file up: without it every object is lost. (A copy
// also keeps what was destroyed: keep few, and let them go.)
// Several processes may use one file: each call looks whether it was replaced, and changes are made under a lock of <path>.lock.
class FileKeyring final : public Kms {
 public:
  // A new, empty keyring, mode 0600. kInvalid where the file exists or the passphrase is empty.
  static Result<std::unique_ptr<FileKeyring>> create(const std::string& path, std::string_view passphrase, const ScryptCost& cost = {});
  // kInvalid for a wrong passphrase, kMalformed for a damaged file.
  static Result<std::unique_ptr<FileKeyring>> open(const std::string& path, std::string_view passphrase);

  Result<void> add_key(std::string_view key_id) override;
  Result<void> destroy_key(std::string_view key_id) override;
  Result<std::string> newest(std::string_view base) const override;
  std::string_view provider() const override { return "file"; }
  std::vector<std::string> key_ids() const;  // those that are not destroyed, as this process knows them

  Result<std::string> wrap(std::string_view key_id, std::string_view data_key, std::string_view context) const override;
  Result<SecretBytes> unwrap(std::string_view key_id, std::string_view wrapped, std::string_view context) const override;

 private:
  FileKeyring(std::string path, ScryptCost cost, std::string salt, SecretBytes master);
  struct Stamp {  // of the file's content: files are replaced, never changed
    std::uint64_t inode = 0;
    std::int64_t seconds = 0, nanos = 0, size = 0;
    friend bool operator==(const Stamp&, const Stamp&) = default;
  };
  Result<void> save() const STELLA_REQUIRES(mutex_);
  Result<void> read_keys(const json::Value& doc) const STELLA_REQUIRES(mutex_);
  Result<void> reread() const STELLA_REQUIRES(mutex_);
  Result<void> refresh() const STELLA_REQUIRES(mutex_);
  Result<const SecretBytes*> find(std::string_view key_id) const STELLA_REQUIRES(mutex_);

  const std::string path_;
  const ScryptCost cost_;
  const std::string salt_;
  const SecretBytes master_;
  mutable Mutex mutex_;
  mutable std::map<std::string, SecretBytes, std::less<>> keys_ STELLA_GUARDED_BY(mutex_);
  mutable std::set<std::string, std::less<>> destroyed_ STELLA_GUARDED_BY(mutex_);
  mutable Stamp stamp_ STELLA_GUARDED_BY(mutex_){};
};

}  // namespace stella::crypto
