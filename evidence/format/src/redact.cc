// Redaction in two passes over the file: the first decides and checks, the second copies what stays.
#include "stella/evidence/format/redact.h"

#include <algorithm>
#include <map>

#include "bag.h"
#include "contents.h"
#include "digest_sink.h"
#include "stella/base/json.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/gzip.h"
#include "stella/evidence/format/statement.h"

namespace stella::evidence {
namespace {

// No path has a colon.
constexpr std::string_view kRolePrefix = "role:";

bool matches(std::string_view pattern, const Item& item) {
  if (pattern.starts_with(kRolePrefix)) return item.role == pattern.substr(kRolePrefix.size());
  return pattern.ends_with('*') ? item.path.starts_with(pattern.substr(0, pattern.size() - 1)) : item.path == pattern;
}

Error refused(std::string field, std::string expected) {
  return Error(base_errors::kInvalid, "nothing was redacted").with("field", std::move(field)).with("expected", std::move(expected));
}

// What the copy will be.
struct Plan {
  std::vector<Item> gone;              // withheld now
  std::vector<std::uint64_t> indices;  // of everything that the copy withholds, now and before
  std::string items_jsonl;
  DigestByPath leaves;                 // that stay
  std::uint64_t payload_bytes = 0, payload_files = 0;
  BagFiles files;                      // everything but the leaves
};

// Takes the lines of items.jsonl apart; those that match lose item and salt.
Result<void> withhold(const Contents& contents, const Redaction& redaction, Plan& plan, RedactedBundle& out) {
  std::vector<bool> used(redaction.withhold.size());
  std::string_view text = contents.bytes("evidence/items.jsonl");
  for (std::size_t end; (end = text.find('\n')) != std::string_view::npos; text.remove_prefix(end + 1)) {
    const ItemLine line = STELLA_TRY(parse_item_line(text.substr(0, end)));
    bool goes = false;
    for (std::size_t i = 0; line.item && i < used.size(); ++i)
      if (matches(redaction.withhold[i], *line.item)) used[i] = goes = true;
    if (!line.item) {
      ++out.withheld_before;
      plan.indices.push_back(line.index);
    } else if (goes) {
      plan.indices.push_back(line.index);
      out.withheld.push_back(line.item->path);
      plan.gone.push_back(*line.item);
    } else {
      plan.leaves.emplace(line.item->path, line.item->sha256);
      if (is_bag_payload(line.item->path)) {
        plan.payload_bytes += line.item->size;
        ++plan.payload_files;
      }
    }
    plan.items_jsonl.append(goes ? withheld_line(line.index, line.commitment) : std::string(text.substr(0, end))).append("\n");
  }
  const auto unused = std::find(used.begin(), used.end(), false);
  if (unused != used.end()) return refused(redaction.withhold[static_cast<std::size_t>(unused - used.begin())], "the path of a disclosed file, its beginning and *, or role: and its role");
  if (plan.leaves.empty()) return refused("withhold", "at least one file that stays");
  return {};
}

// Files whose content a statement repeats, by the name of the statement.
struct Repeats {
  std::string_view name, folder;
};
constexpr Repeats kRepeats[] = {{"vulns", "data/outputs/findings.ndjson"}, {"vulns", "data/outputs/exposures.ndjson"}, {"vulns", "data/outputs/components.ndjson"}, {"vulns", "data/outputs/vex.ndjson"},
                                {"vulns", "data/inputs/"}, {"vsa", "data/outputs/decision.json"}, {"svr", "data/outputs/decision.json"}};

// The seal names these statements, so they cannot go with the files; whoever makes the copy is to know.
Result<void> find_telling(const Contents& contents, std::span<const Item> gone, std::vector<std::string>& telling) {
  for (const auto& [path, bytes] : contents.kept) {
    if (!path.starts_with("attest/") || path.starts_with("attest/seal.")) continue;
    const std::string payload = STELLA_TRY(parse_attestation(bytes)).payload;
    const std::string_view name = std::string_view(path).substr(7, path.find('.') - 7);
    const bool tells = std::any_of(gone.begin(), gone.end(), [&](const Item& item) {
      const bool repeats = std::any_of(std::begin(kRepeats), std::end(kRepeats), [&](const Repeats& r) { return r.name == name && item.path.starts_with(r.folder); });
      return repeats || payload.find(item.sha256.hex()) != std::string::npos;
    });
    if (tells) telling.push_back(path);
  }
  return {};
}

std::string redaction_path(const Contents& contents) {
  for (int n = 1;; ++n) {
    std::string path = "redaction/" + std::to_string(n) + ".dsse.json";
    if (!contents.files.contains(path)) return path;
  }
}

// Names all that the copy lacks, so that it stands alone: statements of several copies must not add up to one that nobody authorised.
Result<std::string> authorisation(const Contents& contents, const Plan& plan, const Redaction& redaction, const RedactedBundle& out, const crypto::Signer& signer) {
  json::Array indices;
  for (const std::uint64_t i : plan.indices) indices.push_back(json::Value(i));
  json::Value predicate = json::Value::object({{"bundle_id", out.bundle_id.str()}, {"reason", redaction.reason}, {"redacted_at", redaction.at.rfc3339_seconds()}, {"withheld", std::move(indices)}});
  if (!redaction.authority.empty()) predicate.set("authority", redaction.authority);
  const Subject root{.name = "evidence/root.merkle", .sha256 = contents.files.find("evidence/root.merkle")->second.sha256};
  std::string statement = STELLA_TRY(make_statement(std::span(&root, 1), kRedactionPredicate, std::move(predicate)));
  return STELLA_TRY(crypto::dsse_sign(kInTotoPayloadType, std::move(statement), signer)).json();
}

// bag-info.txt counts the payload, which is smaller now.
std::string recounted(std::string_view bag_info, const Plan& plan) {
  std::string out;
  while (!bag_info.empty()) {
    const std::size_t end = std::min(bag_info.find('\n'), bag_info.size());
    const std::string_view line = bag_info.substr(0, end);
    if (line.starts_with("Payload-Oxum:")) out.append(payload_oxum(plan.payload_bytes, plan.payload_files));
    else out.append(line).append("\n");
    bag_info.remove_prefix(std::min(end + 1, bag_info.size()));
  }
  return out;
}

Result<void> copy_what_stays(int fd, const Plan& plan, ByteSink& out) {
  GzipSink gzip(out);
  TarWriter tar(gzip);
  auto file = plan.files.begin();
  const auto files_before = [&](std::string_view path) -> Result<void> {
    for (; file != plan.files.end() && (path.empty() || file->first < path); ++file) STELLA_TRY_VOID(tar.add(file->first, file->second));
    return {};
  };
  FileSource source(fd);
  STELLA_TRY_VOID(for_each_file(source, {}, [&](const TarEntry& entry, TarReader& reader) -> Result<bool> {
    const auto leaf = plan.leaves.find(entry.path);
    if (leaf == plan.leaves.end()) return true;
    STELLA_TRY_VOID(files_before(entry.path));
    STELLA_TRY_VOID(tar.begin(entry.path, entry.size));
    crypto::Hasher hasher;
    for (;;) {
      const auto piece = STELLA_TRY(reader.read());
      if (piece.empty()) break;
      hasher.update(piece);
      STELLA_TRY_VOID(tar.write(piece));
    }
    if (hasher.finish() != leaf->second) return Error(base_errors::kInvalid, "the bundle changed while it was read").with("path", entry.path);
    return true;
  }));
  STELLA_TRY_VOID(files_before({}));
  STELLA_TRY_VOID(tar.finish());
  return gzip.finish();
}

}  // namespace

Result<RedactedBundle> redact_bundle(int fd, const Redaction& redaction, const crypto::Signer* signer, ByteSink& out) {
  if (redaction.reason.empty() || redaction.reason.size() > kReasonBytes) return refused("reason", "1 to " + std::to_string(kReasonBytes) + " bytes: whoever reads the copy wants to know why");
  if (redaction.withhold.empty()) return refused("withhold", "at least one path");
  FileSource source(fd);
  const Contents contents = STELLA_TRY(read_contents(source, {}));
  Verdict verdict;
  check_integrity(contents, verdict);
  const auto& integrity = verdict.of(Dimension::kIntegrity);
  if (integrity.outcome != Outcome::kPass || !verdict.seal)
    return Error(base_errors::kInvalid, "the bundle is not whole, so nothing was redacted").with("reason", integrity.reason);

  RedactedBundle done;
  done.bundle_id = verdict.seal->facts.bundle_id;
  done.head = verdict.seal->head;
  done.retain_until = verdict.seal->facts.retain_until;
  Plan plan;
  STELLA_TRY_VOID(withhold(contents, redaction, plan, done));
  STELLA_TRY_VOID(find_telling(contents, plan.gone, done.telling));
  plan.files = contents.kept;
  if (signer != nullptr) plan.files[redaction_path(contents)] = STELLA_TRY(authorisation(contents, plan, redaction, done, *signer));
  plan.files["evidence/items.jsonl"] = plan.items_jsonl;
  plan.files["bag-info.txt"] = recounted(contents.bytes("bag-info.txt"), plan);
  plan.files.erase(std::string(kManifest));
  plan.files.erase(std::string(kTagManifest));
  add_manifests(plan.leaves, plan.files);

  DigestSink sink(out);
  STELLA_TRY_VOID(copy_what_stays(fd, plan, sink));
  done.tgz_sha256 = sink.digest();
  done.tgz_size = sink.size();
  return done;
}

Result<std::vector<std::uint64_t>> withheld_indices(std::string_view items_jsonl, std::span<const std::string> withhold) {
  std::vector<std::uint64_t> out;
  while (!items_jsonl.empty()) {
    const std::size_t end = std::min(items_jsonl.find('\n'), items_jsonl.size());
    const ItemLine line = STELLA_TRY(parse_item_line(items_jsonl.substr(0, end)));
    if (!line.item || std::any_of(withhold.begin(), withhold.end(), [&](const std::string& w) { return matches(w, *line.item); })) out.push_back(line.index);
    items_jsonl.remove_prefix(std::min(end + 1, items_jsonl.size()));
  }
  return out;
}

}  // namespace stella::evidence
