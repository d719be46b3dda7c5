// Many statements under one signature: the signer signs the root of a Merkle tree over their digests; each statement travels with its
// inclusion proof. A signature costs some ten thousand hashes, so a busy signer signs once for all that came in together.
//
//   leaf_i = SHA-256(0x00 || SHA-256(statement_i))      RFC 6962 tree
//   batch  = in-toto statement, subject "statements.merkle" with SHA-256 of root_text(size, root), predicateType kBatchPredicate,
//            predicate {root, size, payloadType}; signed as DSSE
//   document for one statement: {"batch": <DSSE>, "mediaType": kBatchMediaType, "proof": {"hashes": [hex…], "index": i}, "statement": base64}
//
// Tools that know only DSSE get a plain envelope on demand (sign_statement). Pure.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/crypto/dsse.h"

namespace stella::evidence {

inline constexpr std::string_view kBatchPredicate = "https://stellaops.dev/statement-batch/v1";
inline constexpr std::string_view kBatchMediaType = "application/vnd.stellaops.batch-attestation.v1+json";
inline constexpr std::size_t kMaxBatch = 1u << 20;

// A signed batch: the envelope, and the tree that proofs are read from (96 bytes a statement). A value; const members are thread-safe.
class SignedBatch {
 public:
  // `digests`: SHA-256 of each statement's bytes (the store names objects by them, so they are there already). kInvalid: none, or too many.
  static Result<SignedBatch> sign(const crypto::Signer& signer, std::vector<Sha256> digests);

  std::size_t size() const { return digests_.size(); }
  const std::string& envelope_json() const { return envelope_; }
  // The document of statement `index`; kInvalid where these bytes are not that statement. The proof costs no hash, whatever the size.
  Result<std::string> document(std::size_t index, std::string_view statement) const;

 private:
  std::string envelope_;
  std::vector<Sha256> digests_;
  std::vector<std::vector<Sha256>> levels_;  // leaves first, the root last; an odd last node moves up as it is
};

// A document taken apart and its proof checked against the root that the batch names; nothing is believed before `envelope` is verified.
// kMalformed, kInvalid.
struct BatchMember {
  std::string statement;          // the bytes
  crypto::DsseEnvelope envelope;  // over the batch
};
Result<BatchMember> parse_batch_member(std::string_view json, std::size_t max_bytes = 32u << 20);
// True for a document that parse_batch_member() is for.
bool is_batch_member(std::string_view media_type);

}  // namespace stella::evidence
