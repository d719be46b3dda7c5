// Reading keys and their history.
#include "key_trust.h"

#include <unistd.h>

#include <set>

#include "stella/base/file.h"
#include "stella/cli/errors.h"
#include "stella/crypto/key_log.h"

namespace stella::cli {
namespace {

constexpr std::uint64_t kHistoryBytes = 1u << 20;

}  // namespace

Result<TrustedKeys> trusted_keys(const ProfileStore& store, const std::string& trust) {
  if (!trust.empty()) {
    auto keys = crypto::load_public_keys(trust);
    if (!keys) {
      keys.error().add("document", trust);
      keys.error().add("remedy", "--trust takes a PEM public key, or a directory with *.pub files.");
      return std::move(keys.error());
    }
    return TrustedKeys{std::move(*keys), "--trust " + trust};
  }
  TrustedKeys out{{}, "trust directory " + store.trust_directory()};
  // With the history, which says from when on they do not count: what they signed before still has a signer.
  const bool with_compromised = ::access(store.key_history_path().c_str(), F_OK) == 0;
  for (const std::string& directory : {store.trust_directory(), store.compromised_directory()}) {
    if (directory != store.trust_directory() && !with_compromised) continue;
    auto keys = crypto::load_public_keys(directory);
    if (!keys && keys.error().code() == base_errors::kNotFound) continue;
    if (!keys) {
      keys.error().add("document", directory);
      return std::move(keys.error());
    }
    for (crypto::PublicKey& key : *keys) out.keys.push_back(std::move(key));
  }
  return out.keys.empty() ? TrustedKeys{} : out;
}

Result<std::optional<KnownHistory>> known_history(const ProfileStore& store, const std::string& file, std::span<const crypto::PublicKey> trust) {
  const std::string path = file.empty() ? store.key_history_path() : file;
  const auto text = read_file(path, kHistoryBytes);
  if (!text && text.error().code() == base_errors::kNotFound && file.empty()) return std::optional<KnownHistory>();
  if (!text) return about_document(Error(text.error()), path);
  const auto entries = crypto::parse_key_log(*text);
  if (!entries) return about_document(Error(entries.error()), path);
  std::set<KeyId> roots;
  for (const auto& key : trust) roots.insert(key.id());
  auto history = crypto::key_history_of(*entries, std::move(roots));
  if (!history) return about_document(Error(history.error()), path);
  return std::optional<KnownHistory>({std::move(*history), file.empty() ? path : "--keys " + path});
}

}  // namespace stella::cli
