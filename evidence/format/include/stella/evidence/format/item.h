// The leaves of a bundle: what each file is, and the salted commitment that stands for it in the Merkle tree.
//
//   item_i   = RFC 8785 text of {media_type, path, role, sha256, size}
//   salt_i   = HMAC-SHA-256(K_bundle, decimal text of i)
//   commit_i = SHA-256(salt_i || item_i)         leaf_i = SHA-256(0x00 || commit_i)
//
// A withheld item keeps its commitment, so root and signature stay valid; the salt makes guessing what it was useless.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"

namespace stella::evidence {

struct Item {
  std::string path;  // is_leaf_path()
  std::uint64_t size = 0;
  Sha256 sha256;
  std::string media_type;  // [A-Za-z0-9.+_/;= -]{1,100}
  std::string role;        // [a-z-]{1,32}: input, output, trace, log, transcript, report, guide

  // RFC 8785 text: the bytes that are committed to and stored.
  std::string canonical() const;
  friend bool operator==(const Item&, const Item&) = default;
};

// kInvalid with field and expected.
Result<void> check_item(const Item& item);
// kMalformed for anything but one object with exactly these five members.
Result<Item> parse_item(std::string_view json);

// "data/…", or one of report.html, verify.sh, VERIFY.md: the files that are leaves.
bool is_leaf_path(std::string_view path);
// The files that are no leaves and may stand in a bundle (bag files, evidence/, attest/, time/, custody/, redaction/, trust-hints/).
bool is_envelope_path(std::string_view path);

// K_bundle: 32 bytes from a tenant's secret and the canonical request, so that the same request gives the same salts and the same root.
std::string bundle_key(std::string_view tenant_secret, std::string_view canonical_request);
Sha256 item_salt(std::string_view bundle_key, std::uint64_t index);
Sha256 item_commitment(const Sha256& salt, std::string_view canonical_item);

// A line of evidence/items.jsonl.
struct ItemLine {
  std::uint64_t index = 0;
  Sha256 commitment;
  std::optional<Item> item;  // absent = withheld
  Sha256 salt;               // only with an item
  std::string item_text;     // the stored bytes of the item: verification hashes these
};

// {"commit":…,"i":…,"item":{…},"salt":…} or, withheld, {"commit":…,"i":…}; no newline.
std::string item_line(std::uint64_t index, const Sha256& commitment, const Sha256& salt, std::string_view canonical_item);
std::string withheld_line(std::uint64_t index, const Sha256& commitment);
// Exactly the forms above, byte for byte; kMalformed otherwise. Does not compare the commitment.
Result<ItemLine> parse_item_line(std::string_view line);

// evidence/root.merkle: "<size>\n<root in hex>\n".
std::string root_text(std::uint64_t size, const Sha256& root);
struct TreeHead {
  std::uint64_t size = 0;
  Sha256 root;
  friend bool operator==(const TreeHead&, const TreeHead&) = default;
};
Result<TreeHead> parse_root_text(std::string_view text);

}  // namespace stella::evidence
