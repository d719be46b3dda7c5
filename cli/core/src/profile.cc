// The user's configuration directory.
#include "stella/cli/profile.h"

#include <pwd.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>

#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/contracts/errors.h"

namespace stella::cli {
namespace {

constexpr std::uint64_t kFileBytes = 1u << 20;
constexpr std::uint64_t kHistoryBytes = 4u << 20;

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

// The file as an object; an empty one where it does not exist.
Result<json::Value> load_object(const std::string& path) {
  auto text = read_file(path, kFileBytes);
  if (!text && text.error().code() == base_errors::kNotFound) return json::Value::object();
  if (!text) return std::move(text.error());
  auto value = json::parse(*text);
  if (!value) {
    value.error().add("document", path);
    return std::move(value.error());
  }
  if (!value->is_object()) return Error(base_errors::kMalformed, "the file is no JSON object").with("document", path).with("line", 1).with("column", 1).with("expected", "{");
  return value;
}

}  // namespace

Result<ProfileStore> ProfileStore::of_user() {
  if (std::string own = environment("STELLA_CONFIG_DIR"); !own.empty()) return ProfileStore(std::move(own));
  if (const std::string xdg = environment("XDG_CONFIG_HOME"); xdg.starts_with("/")) return ProfileStore(xdg + "/stella");
  std::string home = environment("HOME");
  if (home.empty()) {
    const passwd* user = ::getpwuid(::getuid());
    if (user != nullptr && user->pw_dir != nullptr) home = user->pw_dir;
  }
  if (home.empty()) return Error(base_errors::kInvalid, "no home directory is known").with("remedy", "Set HOME, or STELLA_CONFIG_DIR to a directory of your own.");
  return ProfileStore(home + "/.config/stella");
}

Result<Profile> ProfileStore::load() const {
  const json::Value value = STELLA_TRY(load_object(directory_ + "/config.json"));
  return Profile{std::string(value.str("url")), std::string(value.str("username")), std::string(value.str("tenant"))};
}

Result<void> ProfileStore::save(const Profile& profile) const {
  const std::string path = directory_ + "/config.json";
  json::Value value = STELLA_TRY(load_object(path));
  value.set("url", profile.url);
  value.set("username", profile.username);
  value.set("tenant", profile.tenant);
  STELLA_TRY_VOID(make_dirs(directory_, 0700));
  return write_file_durable(path, json::pretty(value), 0600);
}

Result<std::optional<Credentials>> ProfileStore::credentials(std::string_view url) const {
  const std::string path = directory_ + "/credentials.json";
  struct stat info {};
  if (::stat(path.c_str(), &info) == 0 && (info.st_mode & 077) != 0)
    return Error(base_errors::kInvalid, "others can read the file with your token").with("path", path).with("remedy", "chmod 600 " + path + ", then log in again: the token may be known.");
  const json::Value all = STELLA_TRY(load_object(path));
  const json::Value* servers = all.find("servers");
  const json::Value* own = servers == nullptr ? nullptr : servers->find(url);
  if (own == nullptr || own->str("access_token").empty()) return std::optional<Credentials>();
  Credentials out;
  out.access_token = std::string(own->str("access_token"));
  if (const auto expires = Timestamp::parse(own->str("expires_at")); expires) out.expires_at = *expires;
  out.tenant_id = std::string(own->str("tenant_id"));
  out.actor = std::string(own->str("actor"));
  out.username = std::string(own->str("username"));
  return std::optional<Credentials>(std::move(out));
}

Result<void> ProfileStore::save_credentials(std::string_view url, const Credentials& c) const {
  const std::string path = directory_ + "/credentials.json";
  json::Value all = STELLA_TRY(load_object(path));
  json::Value servers = all.find("servers") == nullptr ? json::Value::object() : *all.find("servers");
  servers.set(std::string(url), json::Value::object({{"access_token", c.access_token}, {"expires_at", c.expires_at.rfc3339()}, {"tenant_id", c.tenant_id}, {"actor", c.actor}, {"username", c.username}}));
  all.set("servers", std::move(servers));
  STELLA_TRY_VOID(make_dirs(directory_, 0700));
  return write_file_durable(path, json::pretty(all), 0600);
}

Result<bool> ProfileStore::forget_credentials(std::string_view url) const {
  const std::string path = directory_ + "/credentials.json";
  json::Value all = STELLA_TRY(load_object(path));
  json::Value servers = all.find("servers") == nullptr ? json::Value::object() : *all.find("servers");
  if (servers.find(url) == nullptr) return false;
  servers.as_object().erase(url);
  all.set("servers", std::move(servers));
  STELLA_TRY_VOID(write_file_durable(path, json::pretty(all), 0600));
  return true;
}

Result<bool> ProfileStore::trust_key(std::string_view name, std::string_view pem) const {
  const std::string path = trust_directory() + "/" + std::string(name);
  auto before = read_file(path, kFileBytes);
  if (before && *before == pem) return false;
  if (before) return Error(contracts::errors::kUntrusted, "another key is already trusted under this name").with("path", path).with("remedy", "Compare both keys with the operator of the server before you replace the file.");
  if (before.error().code() != base_errors::kNotFound) return std::move(before.error());
  STELLA_TRY_VOID(make_dirs(trust_directory(), 0700));
  STELLA_TRY_VOID(write_file_durable(path, pem, 0644));
  return true;
}

Result<bool> ProfileStore::distrust_key(std::string_view name) const {
  const std::string path = trust_directory() + "/" + std::string(name);
  if (::access(path.c_str(), F_OK) != 0) return false;
  STELLA_TRY_VOID(make_dirs(compromised_directory(), 0700));
  if (::rename(path.c_str(), (compromised_directory() + "/" + std::string(name)).c_str()) != 0) return io_error("cannot move the key of which the server says that it is compromised", path);
  return true;
}

Result<void> ProfileStore::keep_key_history(std::string_view text) const {
  const std::string path = key_history_path();
  const auto before = read_file(path, kHistoryBytes);
  if (!before && before.error().code() != base_errors::kNotFound) return Error(before.error());
  if (before && *before == text) return {};
  if (before && !text.starts_with(*before))
    return Error(contracts::errors::kUntrusted, "the server tells the life of its keys differently than before").with("path", path).with("remedy", std::string("Ask its operator what happened. To begin anew, remove the file."));
  STELLA_TRY_VOID(make_dirs(trust_directory(), 0700));
  return write_file_durable(path, text, 0644);
}

Result<std::string> normalized_url(std::string_view url) {
  std::string out(url);
  while (out.ends_with('/')) out.pop_back();
  const std::size_t colon = out.find("://");
  const std::size_t host = colon == std::string::npos ? out.size() : colon + 3;
  const std::size_t host_end = std::min(out.find('/', host), out.size());
  std::transform(out.begin(), out.begin() + static_cast<std::ptrdiff_t>(host_end), out.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? char(c + 32) : c; });
  const bool scheme = out.starts_with("http://") || out.starts_with("https://");
  const bool plain = std::all_of(out.begin(), out.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f && c != '?' && c != '#' && c != '@'; });
  if (!scheme || host >= host_end || !plain)
    return Error(base_errors::kInvalid, "not a URL of a server").with("field", "url").with("expected", "for example http://127.0.0.1:18080 or https://stella.example.org");
  return out;
}

bool is_private_channel(std::string_view url) {
  if (url.starts_with("https://")) return true;
  url.remove_prefix(std::min(url.size(), std::string_view("http://").size()));
  const std::string_view authority = url.substr(0, url.find('/'));
  const std::string_view host = authority.starts_with("[") ? authority.substr(0, std::min(authority.find(']'), authority.size() - 1) + 1) : authority.substr(0, authority.find(':'));
  return host == "localhost" || host == "[::1]" || (host.starts_with("127.") && host.find_first_not_of("0123456789.") == std::string_view::npos);
}

}  // namespace stella::cli
