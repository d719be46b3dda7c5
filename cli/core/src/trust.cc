// Reading keys of logs.
#include "stella/cli/trust.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>

#include "stella/base/file.h"
#include "stella/cli/errors.h"

namespace stella::cli {
namespace {

constexpr std::uint64_t kKeyFileBytes = 64u << 10;

// Files of the trust directory with one of these endings, sorted; none where there is no directory.
std::vector<std::string> files_of(const std::string& directory) {
  std::vector<std::string> out;
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  if (!dir) return out;
  while (const dirent* entry = ::readdir(dir.get())) {
    const std::string_view name = entry->d_name;
    if (name.ends_with(".ed25519") || name.ends_with(".vkey")) out.push_back(directory + "/" + std::string(name));
  }
  std::sort(out.begin(), out.end());
  return out;
}

Result<void> add(TrustedLogs& logs, const std::string& path) {
  auto text = read_file(path, kKeyFileBytes);
  if (!text) return about_document(std::move(text.error()), path);
  if (text->starts_with("-----BEGIN")) {
    auto key = crypto::Ed25519PublicKey::from_pem(*text);
    if (!key) return about_document(std::move(key.error()), path);
    logs.signers.push_back(std::move(*key));
    return {};
  }
  // A line each: the logs of tenants and of the platform have a name, and so a key, of their own.
  const std::size_t before = logs.keys.size();
  for (std::string_view rest = *text; !rest.empty();) {
    const std::string_view line = rest.substr(0, rest.find_first_of("\r\n"));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.empty()) continue;
    auto key = timeline::VerifierKey::parse(line);
    if (!key) return about_document(std::move(key.error()), path);
    logs.keys.push_back(std::move(*key));
  }
  if (logs.keys.size() > before) return {};
  return about_document(Error(base_errors::kMalformed, "no key of a log").with("expected", "an Ed25519 key as PEM, or .vkey lines"), path);
}

bool is_directory(const std::string& path) {
  struct stat st {};
  return ::stat(path.c_str(), &st) == 0 && S_ISDIR(st.st_mode);
}

}  // namespace

Result<TrustedLogs> trusted_logs(const ProfileStore& store, const std::string& file, std::string_view option) {
  TrustedLogs out;
  const bool several = file.empty() || is_directory(file);
  const std::vector<std::string> files = several ? files_of(file.empty() ? store.trust_directory() : file) : std::vector<std::string>{file};
  for (const std::string& path : files) STELLA_TRY_VOID(add(out, path));
  if (!files.empty()) out.source = file.empty() ? "trust directory " + store.trust_directory() : std::string(option) + " " + file;
  return out;
}

}  // namespace stella::cli
