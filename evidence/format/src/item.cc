// Items, salts, commitments and their text forms.
#include "stella/evidence/format/item.h"

#include <algorithm>
#include <charconv>

#include "stella/base/json.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/kdf.h"
#include "stella/evidence/format/custody.h"
#include "stella/evidence/format/tar.h"

namespace stella::evidence {
namespace {

constexpr std::size_t kMaxLine = 2048;

template <class Ok>
bool all_of(std::string_view text, std::size_t most, const Ok& ok) {
  return !text.empty() && text.size() <= most && std::all_of(text.begin(), text.end(), ok);
}

bool alnum(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); }
bool is_media_type(std::string_view text) {
  return all_of(text, 100, [](char c) { return alnum(c) || std::string_view(".+_/;= -").find(c) != std::string_view::npos; });
}
bool is_role(std::string_view text) {
  return all_of(text, 32, [](char c) { return (c >= 'a' && c <= 'z') || c == '-'; });
}

// Takes `literal` off the front of `text`.
bool take(std::string_view& text, std::string_view literal) {
  if (!text.starts_with(literal)) return false;
  text.remove_prefix(literal.size());
  return true;
}

bool take_hash(std::string_view& text, Sha256& out) {
  if (text.size() < 2 * Sha256::kSize) return false;
  const auto hash = Sha256::parse(text.substr(0, 2 * Sha256::kSize));
  if (!hash) return false;
  out = *hash;
  text.remove_prefix(2 * Sha256::kSize);
  return true;
}

// Decimal without leading zeros.
bool take_number(std::string_view& text, std::uint64_t& out) {
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
  const auto digits = static_cast<std::size_t>(end - text.data());
  if (ec != std::errc{} || (digits > 1 && text[0] == '0')) return false;
  text.remove_prefix(digits);
  return true;
}

bool is_one_of_folder(std::string_view path, std::string_view folder, std::string_view suffix) {
  return path.starts_with(folder) && path.size() > folder.size() + suffix.size() && path.ends_with(suffix) &&
         path.find('/', folder.size()) == std::string_view::npos;
}

}  // namespace

std::string Item::canonical() const {
  std::string out;
  out.reserve(path.size() + media_type.size() + role.size() + 150);
  out.append(R"({"media_type":")").append(media_type).append(R"(","path":")").append(path).append(R"(","role":")").append(role);
  return out.append(R"(","sha256":")").append(sha256.hex()).append(R"(","size":)").append(std::to_string(size)).append("}");
}

Result<void> check_item(const Item& item) {
  if (!is_leaf_path(item.path))
    return Error(base_errors::kInvalid, "not a file that a bundle can hold").with("field", "path").with("path", item.path).with("expected", "data/…");
  if (!is_media_type(item.media_type)) return Error(base_errors::kInvalid, "not a media type").with("field", "media_type").with("path", item.path);
  if (!is_role(item.role)) return Error(base_errors::kInvalid, "not a role").with("field", "role").with("path", item.path).with("expected", "[a-z-]{1,32}");
  return {};
}

Result<Item> parse_item(std::string_view text) {
  const auto malformed = [] { return Error(base_errors::kMalformed, "not an item").with("expected", "media_type, path, role, sha256, size"); };
  const json::Value doc = STELLA_TRY(json::parse(text, {.max_bytes = kMaxLine, .max_depth = 2}));
  if (!doc.is_object() || doc.as_object().size() != 5) return malformed();
  Item item;
  item.path = STELLA_TRY(doc.require_string("path"));
  item.media_type = STELLA_TRY(doc.require_string("media_type"));
  item.role = STELLA_TRY(doc.require_string("role"));
  const std::string sha256 = STELLA_TRY(doc.require_string("sha256"));
  item.sha256 = STELLA_TRY(Sha256::parse(sha256));
  const std::int64_t size = STELLA_TRY(doc.require_int("size"));
  if (size < 0) return malformed();
  item.size = static_cast<std::uint64_t>(size);
  STELLA_TRY_VOID(check_item(item));
  return item;
}

bool is_leaf_path(std::string_view path) {
  if (path == "report.html" || path == "verify.sh" || path == "VERIFY.md") return true;
  return path.starts_with("data/") && is_archive_path(path);
}

bool is_envelope_path(std::string_view path) {
  static constexpr std::string_view kFixed[] = {"bagit.txt",         "bag-info.txt",        "manifest-sha256.txt",  "tagmanifest-sha256.txt",
                                                "evidence/seal.json", "evidence/items.jsonl", "evidence/root.merkle", "time/chain.pem",
                                                "custody/events.jsonl", "custody/checkpoint", "custody/kb-events.jsonl", "custody/kb-checkpoint", "custody/keys-events.jsonl", "custody/keys-checkpoint", "custody/keys.jsonl"};
  if (!is_archive_path(path)) return false;
  if (std::find(std::begin(kFixed), std::end(kFixed), path) != std::end(kFixed)) return true;
  return is_one_of_folder(path, "attest/", ".json") || is_one_of_folder(path, "time/", ".tsr") || is_one_of_folder(path, "custody/", ".tlog-proof") ||
         is_custody_list_path(path) ||
         is_one_of_folder(path, "redaction/", ".dsse.json") || is_one_of_folder(path, "trust-hints/", "");
}

std::string bundle_key(std::string_view tenant_secret, std::string_view canonical_request) {
  std::string info = "stella/evidence/bundle-salts/v1";
  info.push_back('\0');
  info.append(crypto::sha256(canonical_request).view());
  return crypto::hkdf_sha256(tenant_secret, "", info, Sha256::kSize);
}

Sha256 item_salt(std::string_view key, std::uint64_t index) { return crypto::hmac_sha256(key, std::to_string(index)); }
Sha256 item_commitment(const Sha256& salt, std::string_view canonical_item) { return crypto::sha256(salt.view(), canonical_item); }

std::string withheld_line(std::uint64_t index, const Sha256& commitment) {
  return R"({"commit":")" + commitment.hex() + R"(","i":)" + std::to_string(index) + "}";
}

std::string item_line(std::uint64_t index, const Sha256& commitment, const Sha256& salt, std::string_view canonical_item) {
  std::string out = withheld_line(index, commitment);
  out.pop_back();
  return out.append(R"(,"item":)").append(canonical_item).append(R"(,"salt":")").append(salt.hex()).append("\"}");
}

Result<ItemLine> parse_item_line(std::string_view line) {
  const auto malformed = [] { return Error(base_errors::kMalformed, "not a line of items.jsonl"); };
  ItemLine out;
  if (line.size() > kMaxLine || !take(line, R"({"commit":")") || !take_hash(line, out.commitment) || !take(line, R"(","i":)") ||
      !take_number(line, out.index))
    return malformed();
  if (line == "}") return out;
  if (!take(line, R"(,"item":)")) return malformed();
  constexpr std::string_view kSalt = R"(,"salt":")";
  const auto salt = line.rfind(kSalt);
  if (salt == std::string_view::npos) return malformed();
  out.item_text = line.substr(0, salt);
  line.remove_prefix(salt + kSalt.size());
  if (!take_hash(line, out.salt) || line != "\"}") return malformed();
  out.item = STELLA_TRY(parse_item(out.item_text));
  if (out.item->canonical() != out.item_text) return malformed();
  return out;
}

std::string root_text(std::uint64_t size, const Sha256& root) { return std::to_string(size) + "\n" + root.hex() + "\n"; }

Result<TreeHead> parse_root_text(std::string_view text) {
  TreeHead head;
  if (!take_number(text, head.size) || !take(text, "\n") || !take_hash(text, head.root) || text != "\n")
    return Error(base_errors::kMalformed, "not a root.merkle").with("expected", "size and root, a line each");
  return head;
}

}  // namespace stella::evidence
