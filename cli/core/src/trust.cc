// Reading keys of logs.
#include "stella/cli/trust.h"

#include <dirent.h>

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
  auto key = timeline::VerifierKey::parse(std::string_view(*text).substr(0, text->find_first_of("\r\n")));
  if (!key) return about_document(std::move(key.error()), path);
  logs.keys.push_back(std::move(*key));
  return {};
}

}  // namespace

Result<TrustedLogs> trusted_logs(const ProfileStore& store, const std::string& file, std::string_view option) {
  TrustedLogs out;
  const std::vector<std::string> files = file.empty() ? files_of(store.trust_directory()) : std::vector<std::string>{file};
  for (const std::string& path : files) STELLA_TRY_VOID(add(out, path));
  if (!files.empty()) out.source = file.empty() ? "trust directory " + store.trust_directory() : std::string(option) + " " + file;
  return out;
}

}  // namespace stella::cli
