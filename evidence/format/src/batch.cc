// One signature over a Merkle tree of statements.
#include "stella/evidence/format/batch.h"

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/digest_batch.h"
#include "stella/evidence/format/item.h"
#include "stella/evidence/format/statement.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/proofs.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kSubjectName = "statements.merkle";

Error malformed(std::string_view field, std::string_view expected) {
  return Error(base_errors::kMalformed, "not a statement of a signed batch").with("field", std::string(field)).with("expected", std::string(expected));
}

Result<timeline::Proof> parse_proof(const json::Value& proof) {
  timeline::Proof out;
  for (const auto& hash : proof.items("hashes")) {
    if (!hash.is_string() || out.size() == 64) return malformed("proof.hashes", "at most 64 digests in hex");
    out.push_back(STELLA_TRY(Sha256::parse(hash.as_string())));
  }
  return out;
}

// Size and root that the batch's own statement names, bound to its subject.
Result<TreeHead> head_of(const crypto::DsseEnvelope& envelope) {
  if (envelope.payload_type != kInTotoPayloadType) return malformed("payloadType", kInTotoPayloadType);
  const Statement batch = STELLA_TRY(parse_statement(envelope.payload));
  if (batch.predicate_type != kBatchPredicate) return malformed("predicateType", kBatchPredicate);
  if (batch.predicate.str("payloadType") != kInTotoPayloadType) return malformed("payloadType of the batch", kInTotoPayloadType);
  const json::Value* size = batch.predicate.find("size");
  if (size == nullptr || !size->is_int() || size->as_int() < 1 || size->as_int() > static_cast<std::int64_t>(kMaxBatch)) return malformed("size", "1 to 1048576");
  TreeHead head{.size = static_cast<std::uint64_t>(size->as_int()), .root = STELLA_TRY(Sha256::parse(batch.predicate.str("root")))};
  if (batch.subjects.front().sha256 != crypto::sha256(root_text(head.size, head.root))) return malformed("subject", "the digest of size and root");
  return head;
}

// All levels of the tree over these leaves (RFC 6962 by pair-and-promote), the level of the root last. The nodes are kept because a proof
// from the leaves alone would hash the whole tree again for each document.
std::vector<std::vector<Sha256>> tree_levels(std::vector<Sha256> leaves) {
  std::vector<std::vector<Sha256>> levels;
  levels.push_back(std::move(leaves));
  while (levels.back().size() > 1) {
    const std::vector<Sha256>& below = levels.back();
    std::vector<Sha256> level((below.size() + 1) / 2);
    crypto::sha256_prefixed(0x01, below.data()->bytes().data(), 2 * Sha256::kSize, below.size() / 2, level.data());
    if (below.size() % 2 != 0) level.back() = below.back();
    levels.push_back(std::move(level));
  }
  return levels;
}

// The sibling on each level, where there is one: RFC 9162 §2.1.3.1.
timeline::Proof proof_of(const std::vector<std::vector<Sha256>>& levels, std::size_t index) {
  timeline::Proof out;
  for (const auto& level : levels) {
    if (level.size() > 1 && (index ^ 1) < level.size()) out.push_back(level[index ^ 1]);
    index /= 2;
  }
  return out;
}

}  // namespace

Result<SignedBatch> SignedBatch::sign(const crypto::Signer& signer, std::vector<Sha256> digests) {
  if (digests.empty() || digests.size() > kMaxBatch) return Error(base_errors::kInvalid, "a batch has 1 to 1048576 statements").with("actual", digests.size());
  SignedBatch out;
  out.levels_ = tree_levels(timeline::leaf_hashes(digests));
  out.digests_ = std::move(digests);
  const Sha256 root = out.levels_.back().front();
  const Subject subject{.name = std::string(kSubjectName), .sha256 = crypto::sha256(root_text(out.size(), root))};
  std::string statement = STELLA_TRY(make_statement(std::span(&subject, 1), kBatchPredicate,
                                                    json::Value::object({{"root", root.hex()}, {"size", out.size()}, {"payloadType", kInTotoPayloadType}})));
  out.envelope_ = STELLA_TRY(crypto::dsse_sign(kInTotoPayloadType, std::move(statement), signer)).json();
  return out;
}

Result<std::string> SignedBatch::document(std::size_t index, std::string_view statement) const {
  if (index >= size() || crypto::sha256(statement) != digests_[index]) return Error(base_errors::kInvalid, "these bytes are not that statement of the batch").with("field", index);
  const auto proof = proof_of(levels_, index);
  std::string out;
  json::Writer w(out);
  w.begin_object().key("batch").raw(envelope_).member("mediaType", kBatchMediaType).key("proof").begin_object().key("hashes").begin_array();
  for (const Sha256& hash : proof) w.value(hash.hex());
  w.end_array().member("index", static_cast<std::int64_t>(index)).end_object().member("statement", base64_encode(statement)).end_object();
  return out;
}

bool is_batch_member(std::string_view media_type) { return media_type == kBatchMediaType; }

Result<BatchMember> parse_batch_member(std::string_view text, std::size_t max_bytes) {
  const json::Value doc = STELLA_TRY(json::parse(text, {.max_bytes = max_bytes, .max_depth = 32}));
  if (!is_batch_member(doc.str("mediaType"))) return malformed("mediaType", kBatchMediaType);
  const json::Value* batch = doc.find("batch");
  if (batch == nullptr || !batch->is_object()) return malformed("batch", "a DSSE envelope");
  const json::Value* proof = doc.find("proof");
  if (proof == nullptr || !proof->is_object()) return malformed("proof", "an inclusion proof");
  const json::Value* index = proof->find("index");
  if (index == nullptr || !index->is_int() || index->as_int() < 0) return malformed("proof.index", "a number from 0");
  BatchMember out;
  out.envelope = STELLA_TRY(crypto::dsse_parse(json::dump(*batch), max_bytes));
  auto statement = base64_decode(doc.str("statement"));
  if (!statement) return malformed("statement", "base64");
  out.statement = std::move(*statement);
  const TreeHead head = STELLA_TRY(head_of(out.envelope));
  const auto hashes = STELLA_TRY(parse_proof(*proof));
  STELLA_TRY_VOID(timeline::verify_inclusion(timeline::leaf_hash(crypto::sha256(out.statement).view()), static_cast<std::uint64_t>(index->as_int()), head.size, hashes, head.root));
  return out;
}

}  // namespace stella::evidence
