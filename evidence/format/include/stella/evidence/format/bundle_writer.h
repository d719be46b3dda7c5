// Making a bundle, in two steps on two sides of a wall:
//   build_payload()  in the sandboxed job: the leaf files become payload.tar, and their items become items.ndjson;
//   seal_bundle()    in the control plane: hashes the payload itself, builds the tree, signs the seal, writes <bundle>.tgz.
// Both stream: memory grows with the number of files, not with their size.
#pragma once

#include <functional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/crypto/keys.h"
#include "stella/evidence/format/item.h"
#include "stella/evidence/format/seal.h"
#include "stella/evidence/format/stream.h"

namespace stella::evidence {

// A file to become a leaf: its content is a file on disk, a descriptor, or bytes in memory.
struct LeafFile {
  std::string path;  // is_leaf_path(); verify.sh and VERIFY.md are added by build_payload
  std::string media_type;
  std::string role;
  std::string source_path;  // read where not empty,
  int source_fd = -1;       // else read (from its beginning) where ≥ 0,
  std::string bytes;        // else these bytes
  // Where set, it alone gives the content, `view_size` bytes, when the file's turn comes (in path order): the next piece from an offset, not
  // empty. A piece lives until the next one is asked for.
  std::uint64_t view_size = 0;
  std::function<Result<std::string_view>(std::uint64_t offset)> view = {};
};

// Writes payload.tar (deterministic: same files, same bytes) to `out` and returns the items in path order.
// kInvalid for a bad or doubled path, kIo, kLimit.
Result<std::vector<Item>> build_payload(std::vector<LeafFile> files, ByteSink& out);

// One canonical item per line: what travels beside payload.tar.
std::string items_ndjson(const std::vector<Item>& items);
Result<std::vector<Item>> parse_items_ndjson(std::string_view text);

struct SealInput {
  int payload_fd = -1;                // payload.tar, a regular file (read twice)
  std::string_view items_ndjson;      // claims about it; every size and digest is checked against the bytes
  std::string_view bundle_key;        // bundle_key(): 32 bytes
  std::span<const crypto::Signer* const> signers;
  SealFacts facts;
  // Instead of both: what sign_payload() made of this payload, and who signed it, in the order of its signatures.
  std::string_view signed_seal;
  std::span<const crypto::PublicKey> signed_by;
  std::string_view custody_events;    // custody/events.jsonl: one canonical event per line; may be empty
  // Further files below attest/, custody/, time/ or trust-hints/: (path, bytes).
  std::vector<std::pair<std::string, std::string>> extra_files;
  // Called once the seal is signed, with the bytes of each signature (as in attest/seal.dsse.json, decoded); what it returns becomes time/<name>:
  // "<n>.tsr", "chain.pem". An error ends the sealing. May be empty.
  std::function<Result<std::vector<std::pair<std::string, std::string>>>(std::span<const std::string_view> signatures)> stamp;
  // Bytes of payload read so far, of twice its size; for progress. May be empty.
  std::function<void(std::uint64_t)> on_progress;
};

struct SealedBundle {
  std::vector<Item> items;
  TreeHead head;
  std::string seal_json;    // = manifest.json of the store
  std::string items_jsonl;
  std::string root_merkle;
  std::string seal_dsse;    // attest/seal.dsse.json
  Sha256 tgz_sha256;
  std::uint64_t tgz_size = 0;
};

// The first half of sealing alone: the payload is hashed and its seal signed, so that a log can take the signature in before the bundle is written.
// Returns attest/seal.dsse.json. `before_signing` is called after the hashing and completes the facts. Errors as of seal_bundle().
Result<std::string> sign_payload(SealInput input, const std::function<Result<void>(SealFacts& facts)>& before_signing);

// Writes the bundle to `out`. kInvalid where the payload is not what its items say, or brings its own verify.sh; on any error what was
// written to `out` is worthless and must be thrown away.
Result<SealedBundle> seal_bundle(const SealInput& input, ByteSink& out);

}  // namespace stella::evidence
