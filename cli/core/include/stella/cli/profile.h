// What the CLI keeps in the user's configuration directory: where the server is, the token, trusted keys. Owner-only files.
//
//   config.json       {"url","username","tenant"}: written by `stella up` and by `stella login --url`
//   credentials.json  {"servers":{"<url>":{"access_token","token_id"?,"expires_at","tenant_id","actor","username"}}}, mode 0600
//   trust/<keyid8>.pub  public evidence keys, as seen at login
//   trust/keys.jsonl    the life of the evidence keys, likewise
//   trust/log.ed25519   the key that signs the logs
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/base/time.h"

namespace stella::cli {

struct Profile {
  std::string url;
  std::string username;
  std::string tenant;
};

struct Credentials {
  std::string access_token;
  Timestamp expires_at;
  std::string tenant_id;
  std::string actor;
  std::string username;
};

class ProfileStore {
 public:
  explicit ProfileStore(std::string directory) : directory_(std::move(directory)) {}
  // $STELLA_CONFIG_DIR, else $XDG_CONFIG_HOME/stella, else ~/.config/stella (home by the password database where HOME is unset).
  static Result<ProfileStore> of_user();

  const std::string& directory() const { return directory_; }
  std::string trust_directory() const { return directory_ + "/trust"; }

  // Members that are absent are empty; no file is an empty profile. kMalformed with path, line, column.
  Result<Profile> load() const;
  // Keeps members that it does not know.
  Result<void> save(const Profile& profile) const;

  // nullopt where nobody logged in at that URL. kInvalid where others can read the file.
  Result<std::optional<Credentials>> credentials(std::string_view url) const;
  Result<void> save_credentials(std::string_view url, const Credentials& credentials) const;
  // False where there were none.
  Result<bool> forget_credentials(std::string_view url) const;

  // Writes trust/<name>. True where it is new; kUntrusted where another key has that name.
  Result<bool> trust_key(std::string_view name, std::string_view pem) const;
  // Takes trust/<name> out of reach of tools that know no history of keys, into trust/compromised/. True where it was there.
  std::string compromised_directory() const { return trust_directory() + "/compromised"; }
  Result<bool> distrust_key(std::string_view name) const;
  // The life of those keys as the server tells it (crypto/key_log.h), trust/keys.jsonl: it only grows. kUntrusted where it is not the kept one and more.
  std::string key_history_path() const { return trust_directory() + "/keys.jsonl"; }
  Result<void> keep_key_history(std::string_view text) const;

 private:
  std::string directory_;
};

// Without trailing slashes; scheme and host lower case. kInvalid for anything but http:// and https:// with a host.
Result<std::string> normalized_url(std::string_view url);
// True where a password or token may travel: https, or http to this machine.
bool is_private_channel(std::string_view url);

}  // namespace stella::cli
