// The BagIt 1.0 files of a bundle (RFC 8493): so that `sha256sum -c` works. Convenience, not the trust anchor.
#pragma once

#include <map>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::evidence {

inline constexpr std::string_view kBagitTxt = "BagIt-Version: 1.0\nTag-File-Character-Encoding: UTF-8\n";
inline constexpr std::string_view kManifest = "manifest-sha256.txt";
inline constexpr std::string_view kTagManifest = "tagmanifest-sha256.txt";

using DigestByPath = std::map<std::string, Sha256, std::less<>>;

// True for the files that manifest-sha256.txt lists; all others but the tag manifest stand in the latter.
inline bool is_bag_payload(std::string_view path) { return path.starts_with("data/"); }

// "<hex>  <path>\n" per file.
std::string manifest_text(const DigestByPath& digests);
Result<DigestByPath> parse_manifest(std::string_view text);

// Path and bytes of the files beside the leaves.
using BagFiles = std::map<std::string, std::string, std::less<>>;
// Adds the two manifests over `leaves` and over what stands in `files` so far: last of all.
void add_manifests(const DigestByPath& leaves, BagFiles& files);
// The line of bag-info.txt that counts the payload: "Payload-Oxum: BYTES.FILES\n" (RFC 8493 §2.2.2).
std::string payload_oxum(std::uint64_t bytes, std::uint64_t files);

}  // namespace stella::evidence
