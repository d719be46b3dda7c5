// BagIt manifests.
#include "bag.h"

#include "stella/crypto/digest.h"
#include "stella/evidence/format/tar.h"

namespace stella::evidence {

std::string manifest_text(const DigestByPath& digests) {
  std::string out;
  for (const auto& [path, digest] : digests) out.append(digest.hex()).append("  ").append(path).append("\n");
  return out;
}

Result<DigestByPath> parse_manifest(std::string_view text) {
  constexpr std::size_t kHex = 2 * Sha256::kSize;
  const auto malformed = [] { return Error(base_errors::kMalformed, "not a checksum list").with("expected", "<sha256>  <path>"); };
  DigestByPath out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos || end < kHex + 3 || text.substr(kHex, 2) != "  ") return malformed();
    const auto path = text.substr(kHex + 2, end - kHex - 2);
    const Sha256 digest = STELLA_TRY(Sha256::parse(text.substr(0, kHex)));
    if (!is_archive_path(path) || !out.emplace(path, digest).second) return malformed();
    text.remove_prefix(end + 1);
  }
  return out;
}

void add_manifests(const DigestByPath& leaves, BagFiles& files) {
  DigestByPath payload, tags;
  for (const auto& [path, digest] : leaves) (is_bag_payload(path) ? payload : tags).emplace(path, digest);
  files[std::string(kManifest)] = manifest_text(payload);
  for (const auto& [path, bytes] : files) tags.emplace(path, crypto::sha256(bytes));
  files[std::string(kTagManifest)] = manifest_text(tags);
}

std::string payload_oxum(std::uint64_t bytes, std::uint64_t files) {
  return "Payload-Oxum: " + std::to_string(bytes) + "." + std::to_string(files) + "\n";
}

}  // namespace stella::evidence
