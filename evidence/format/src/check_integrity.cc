// INTEGRITY: files, items, commitments, tree, seal and bag agree, and nothing lies in the bundle that nothing vouches for.
#include <algorithm>
#include <set>

#include "bag.h"
#include "contents.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/redact.h"
#include "stella/evidence/format/statement.h"
#include "stella/timeline/log/merkle.h"

namespace stella::evidence {
namespace {

// The first thing that is wrong, as a reason; empty = fine.
using Reason = std::string;

struct Lines {
  std::vector<ItemLine> lines;
  Reason problem;
};

Lines read_lines(std::string_view text) {
  Lines out;
  std::string last;
  while (!text.empty()) {
    const auto end = text.find('\n');
    const std::string where = "line " + std::to_string(out.lines.size() + 1) + " of evidence/items.jsonl";
    if (end == std::string_view::npos) return out.problem = where + " is cut off", out;
    auto line = parse_item_line(text.substr(0, end));
    if (!line) return out.problem = where + " is no item", out;
    if (line->index != out.lines.size()) return out.problem = where + " has another number: lines are missing, doubled or swapped", out;
    if (line->item && line->item->path <= last) return out.problem = where + " is out of the order of paths", out;
    if (line->item) last = line->item->path;
    out.lines.push_back(std::move(*line));
    text.remove_prefix(end + 1);
  }
  return out;
}

Reason check_commitments(const std::vector<ItemLine>& lines) {
  for (const auto& line : lines)
    if (line.item && item_commitment(line.salt, line.item_text) != line.commitment)
      return "salt or item of " + line.item->path + " does not belong to its commitment";
  return {};
}

Reason check_files(const Contents& contents, const std::vector<ItemLine>& lines) {
  std::vector<std::string_view> listed;
  for (const auto& line : lines) {
    if (!line.item) continue;
    listed.push_back(line.item->path);
    const auto seen = contents.files.find(line.item->path);
    if (seen == contents.files.end()) return line.item->path + " is missing";
    if (seen->second.sha256 != line.item->sha256 || seen->second.size != line.item->size) return line.item->path + " is not the file that was sealed";
  }
  for (const auto& [path, seen] : contents.files) {
    if (is_envelope_path(path)) continue;
    if (!std::binary_search(listed.begin(), listed.end(), std::string_view(path))) return path + " is not listed: nothing vouches for it";
  }
  return {};
}

Reason check_tree(const Contents& contents, const std::vector<ItemLine>& lines, const Seal& seal) {
  std::vector<Sha256> commitments;
  commitments.reserve(lines.size());
  for (const auto& line : lines) commitments.push_back(line.commitment);
  auto leaves = timeline::leaf_hashes(commitments);
  const TreeHead computed{.size = leaves.size(), .root = timeline::merkle_root_in_place(leaves)};
  const auto written = parse_root_text(contents.bytes("evidence/root.merkle"));
  if (!written) return "evidence/root.merkle is malformed";
  if (computed.size != seal.head.size)
    return "the seal covers " + std::to_string(seal.head.size) + " leaves, evidence/items.jsonl has " + std::to_string(computed.size);
  if (computed.root != seal.head.root) return "the Merkle root over the items is not the one in the seal";
  if (*written != computed) return "evidence/root.merkle is not the root over the items";
  if (crypto::sha256(contents.bytes("evidence/root.merkle")) != seal.subject) return "the seal is about another evidence/root.merkle";
  return {};
}

// Every signed copy of the seal must be the seal.
Reason check_seal_copies(const Contents& contents) {
  const auto seal = contents.bytes("evidence/seal.json");
  for (const auto& [path, bytes] : contents.kept) {
    if (!path.starts_with("attest/seal.")) continue;
    const auto envelope = parse_attestation(bytes);
    if (!envelope) return path + " is malformed";
    if (envelope->payload != seal) return path + " holds another seal than evidence/seal.json";
    if (envelope->payload_type != kInTotoPayloadType) return path + " has another payload type";
  }
  return {};
}

// What was stated beside the seal is what the seal names: all of it, and nothing else.
Reason check_attestations(const Contents& contents, const Seal& seal) {
  if (!seal.facts.attestations) return {};
  std::set<std::string_view> named;
  for (const auto& attested : *seal.facts.attestations) {
    if (!contents.files.contains(attested.path)) return attested.path + " was removed: the seal names it";
    const auto envelope = parse_attestation(contents.bytes(attested.path));
    if (!envelope) return attested.path + " is malformed";
    if (crypto::sha256(envelope->payload) != attested.payload_sha256) return attested.path + " is another statement than the seal names";
    named.insert(attested.path);
  }
  for (const auto& [path, bytes] : contents.kept)
    if (path.starts_with("attest/") && !path.starts_with("attest/seal.") && !named.contains(path)) return path + " is a statement that the seal does not name";
  return {};
}

// Files of an authorised omission say so, and of this bundle. Who signed them, and whether that counts, says COMPLETENESS.
Reason check_redactions(const Contents& contents, const Seal& seal) {
  for (const auto& [path, bytes] : contents.kept) {
    if (!path.starts_with("redaction/")) continue;
    const auto envelope = parse_attestation(bytes);
    const auto statement = envelope ? parse_statement(envelope->payload) : Result<Statement>(envelope.error());
    if (!statement || statement->predicate_type != kRedactionPredicate) return path + " is no authorisation of an omission";
    const auto& subjects = statement->subjects;
    if (std::none_of(subjects.begin(), subjects.end(), [&](const Subject& s) { return s.sha256 == seal.subject; })) return path + " is about another bundle";
  }
  return {};
}

Reason check_bag(const Contents& contents) {
  if (contents.bytes("bagit.txt") != kBagitTxt) return "bagit.txt is missing or changed";
  const auto payload = parse_manifest(contents.bytes(kManifest));
  const auto tags = parse_manifest(contents.bytes(kTagManifest));
  if (!payload) return std::string(kManifest) + " is malformed";
  if (!tags || tags->empty()) return std::string(kTagManifest) + " is missing or malformed";
  for (const auto* list : {&*payload, &*tags})
    for (const auto& [path, digest] : *list) {
      const auto seen = contents.files.find(path);
      if (seen == contents.files.end()) return path + " stands in a checksum list and is missing";
      if (seen->second.sha256 != digest) return path + " has another digest than its checksum list says";
    }
  for (const auto& [path, seen] : contents.files) {
    if (path == kTagManifest) continue;
    if (!(is_bag_payload(path) ? *payload : *tags).contains(path)) return path + " stands in no checksum list";
  }
  return {};
}

Reason check_replay_digests(const Verdict& verdict, const Seal& seal) {
  if (verdict.disclosure.withheld > 0) return {};  // cannot be computed any more; the tree still covers it
  if (role_digest(verdict.items, "input") != seal.replay_inputs || role_digest(verdict.items, "output") != seal.replay_outputs)
    return "the seal names other inputs or outputs";
  return {};
}

Reason find_problem(const Contents& contents, Verdict& verdict) {
  const auto seal = parse_seal(contents.bytes("evidence/seal.json"));
  if (!seal) return "evidence/seal.json is no seal";
  verdict.seal = *seal;
  Lines read = read_lines(contents.bytes("evidence/items.jsonl"));
  for (const auto& line : read.lines) {
    if (line.item) verdict.items.push_back(*line.item);
    ++(line.item ? verdict.disclosure.disclosed : verdict.disclosure.withheld);
  }
  verdict.disclosure.unaccounted = seal->head.size - std::min<std::uint64_t>(seal->head.size, read.lines.size());
  if (!read.problem.empty()) return read.problem;
  if (auto r = check_files(contents, read.lines); !r.empty()) return r;
  if (auto r = check_commitments(read.lines); !r.empty()) return r;
  if (auto r = check_tree(contents, read.lines, *seal); !r.empty()) return r;
  if (auto r = check_replay_digests(verdict, *seal); !r.empty()) return r;
  if (auto r = check_seal_copies(contents); !r.empty()) return r;
  if (auto r = check_attestations(contents, *seal); !r.empty()) return r;
  if (auto r = omitted_events(contents, seal->facts); !r.empty()) return r;
  if (auto r = check_redactions(contents, *seal); !r.empty()) return r;
  return check_bag(contents);
}

}  // namespace

void check_integrity(const Contents& contents, Verdict& verdict) {
  Reason problem = find_problem(contents, verdict);
  auto& out = verdict.of(Dimension::kIntegrity);
  if (!problem.empty()) {
    out = {.outcome = Outcome::kFail, .reason = std::move(problem), .trust_input = {}};
    return;
  }
  out = {.outcome = Outcome::kPass,
         .reason = std::to_string(verdict.disclosure.disclosed) + " files match their items, items and seal match the root",
         .trust_input = {}};
}

}  // namespace stella::evidence
