// seal_bundle: the first pass hashes and compares, then the seal is signed, then the second pass writes the archive.
#include "stella/evidence/format/bundle_writer.h"

#include <isa-l/crc.h>

#include <algorithm>
#include <map>

#include "bag.h"
#include "digest_sink.h"
#include "stella/base/encoding.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/gzip.h"
#include "stella/evidence/format/statement.h"
#include "stella/evidence/format/tar.h"
#include "stella/evidence/format/verify_script.h"
#include "stella/timeline/log/merkle.h"

namespace stella::evidence {
namespace {

Error not_as_claimed(const std::string& path) {
  return Error(base_errors::kInvalid, "the payload is not what its items say").with("path", path);
}

// Walks the payload's files in step with the items. The first pass hashes and compares with the items; the second compares a CRC with the
// first: whoever changed the file in between gets no forged bundle (the root is signed by then), but should not get a broken one either.
class PayloadPass {
 public:
  PayloadPass(const SealInput& input, std::uint64_t done) : input_(input), source_(input.payload_fd), tar_(source_), done_(done) {}

  // First pass: the next file must be `item`. Returns the CRC of its content.
  Result<std::uint32_t> check(const Item& item) {
    const auto crc = walk(item, [&](std::string_view piece) -> Result<void> {
      hasher_.update(piece);
      return {};
    });
    if (crc && hasher_.finish() != item.sha256) return not_as_claimed(item.path);
    return crc;
  }
  // Second pass: the same content again, piece by piece into `tar`.
  Result<void> copy(const Item& item, std::uint32_t crc, TarWriter& tar) {
    STELLA_TRY_VOID(tar.begin(item.path, item.size));
    const std::uint32_t again = STELLA_TRY(walk(item, [&](std::string_view piece) { return tar.write(piece); }));
    if (again != crc) return not_as_claimed(item.path);
    return {};
  }
  // Nothing may follow. Returns the bytes done.
  Result<std::uint64_t> end() {
    const auto more = tar_.next();
    if (!more) return more.error();
    if (*more) return not_as_claimed((*more)->path);
    return done_;
  }

 private:
  template <class Each>
  Result<std::uint32_t> walk(const Item& item, const Each& each) {
    const auto entry = tar_.next();
    if (!entry) return entry.error();
    if (!*entry || (*entry)->path != item.path || (*entry)->size != item.size) return not_as_claimed(item.path);
    std::uint32_t crc = 0;
    for (;;) {
      const auto piece = STELLA_TRY(tar_.read());
      if (piece.empty()) return crc;
      crc = crc32_gzip_refl(crc, reinterpret_cast<const unsigned char*>(piece.data()), piece.size());
      STELLA_TRY_VOID(each(piece));
      done_ += piece.size();
      if (input_.on_progress) input_.on_progress(done_);
    }
  }

  const SealInput& input_;
  FileSource source_;
  TarReader tar_;
  crypto::Hasher hasher_;
  std::uint64_t done_;
};

// What the first pass leaves for the second.
struct FirstPass {
  std::uint64_t done = 0;
  std::vector<std::uint32_t> crcs;  // by item
};

// The sandbox does not get to say how its output is verified.
Result<void> check_guides(const std::vector<Item>& items) {
  const auto is = [&](std::string_view path, std::string_view text) {
    return std::any_of(items.begin(), items.end(), [&](const Item& i) { return i.path == path && i.sha256 == crypto::sha256(text); });
  };
  if (!is("verify.sh", verify_sh())) return not_as_claimed("verify.sh");
  if (!is("VERIFY.md", verify_md())) return not_as_claimed("VERIFY.md");
  return {};
}

Result<void> check_payload(const SealInput& input, const std::vector<Item>& items, FirstPass& first) {
  PayloadPass pass(input, 0);
  first.crcs.reserve(items.size());
  for (const auto& item : items) first.crcs.push_back(STELLA_TRY(pass.check(item)));
  first.done = STELLA_TRY(pass.end());
  return check_guides(items);
}

// items.jsonl, root and tree head.
void commit_items(const SealInput& input, SealedBundle& out) {
  std::vector<Sha256> commitments;
  commitments.reserve(out.items.size());
  for (std::size_t i = 0; i < out.items.size(); ++i) {
    const std::string text = out.items[i].canonical();
    const Sha256 salt = item_salt(input.bundle_key, i);
    commitments.push_back(item_commitment(salt, text));
    out.items_jsonl.append(item_line(i, commitments.back(), salt, text)).append("\n");
  }
  auto leaves = timeline::leaf_hashes(commitments);
  out.head = {.size = leaves.size(), .root = timeline::merkle_root_in_place(leaves)};
  out.root_merkle = root_text(out.head.size, out.head.root);
}

Result<void> add_beside(BagFiles& files, const std::string& path, std::string bytes) {
  if (is_envelope_path(path) && files.emplace(path, std::move(bytes)).second) return {};
  return Error(base_errors::kInvalid, "not a file that can stand beside the leaves").with("path", path);
}

Result<crypto::DsseEnvelope> sign(const SealInput& input, const SealedBundle& sealed) {
  const std::string seal = STELLA_TRY(make_seal(input.facts, sealed.head, sealed.items));
  return crypto::dsse_sign(kInTotoPayloadType, seal, input.signers);
}

// What was signed before must be of this payload.
Result<crypto::DsseEnvelope> signed_before(const SealInput& input, const SealedBundle& sealed) {
  auto envelope = STELLA_TRY(crypto::dsse_parse(input.signed_seal));
  const Seal seal = STELLA_TRY(parse_seal(envelope.payload));
  const bool same = seal.head.size == sealed.head.size && seal.head.root == sealed.head.root && seal.replay_inputs == role_digest(sealed.items, "input") &&
                    seal.replay_outputs == role_digest(sealed.items, "output") && seal.facts.bundle_id == input.facts.bundle_id;
  if (!same || envelope.signatures.size() != input.signed_by.size()) return Error(base_errors::kInvalid, "the seal that was signed is of another payload");
  return envelope;
}

Result<void> sign_seal(const SealInput& input, SealedBundle& out, BagFiles& files) {
  const auto envelope = STELLA_TRY(input.signed_seal.empty() ? sign(input, out) : signed_before(input, out));
  out.seal_json = envelope.payload;
  out.seal_dsse = envelope.json();
  for (std::size_t i = 0; i < envelope.signatures.size(); ++i) {
    const crypto::DsseEnvelope single{.payload_type = envelope.payload_type, .payload = envelope.payload, .signatures = {envelope.signatures[i]}};
    std::string bundle = STELLA_TRY(make_sigstore_bundle(single));
    const crypto::PublicKey& key = input.signed_seal.empty() ? input.signers[i]->public_key() : input.signed_by[i];
    files["attest/seal." + key.keyid8() + ".sigstore.json"] = std::move(bundle);
  }
  if (!input.stamp) return {};
  std::vector<std::string_view> signatures;
  for (const auto& signature : envelope.signatures) signatures.push_back(signature.sig);
  auto stamped = STELLA_TRY(input.stamp(signatures));
  for (auto& [name, bytes] : stamped) STELLA_TRY_VOID(add_beside(files, "time/" + name, std::move(bytes)));
  return {};
}

std::string bag_info(const SealInput& input, const std::vector<Item>& items) {
  std::uint64_t bytes = 0, count = 0;
  for (const auto& item : items) {
    if (!is_bag_payload(item.path)) continue;
    bytes += item.size;
    ++count;
  }
  const auto& f = input.facts;
  std::string out = "Bag-Software-Agent: StellaOps " + f.product_version + "\n";
  out.append("Bagging-Date: ").append(f.sealed_at.rfc3339().substr(0, 10)).append("\n");
  out.append("External-Identifier: ").append(f.bundle_id.str()).append("\n");
  const bool plain = f.resource_id.find_first_of("\r\n") == std::string::npos;
  out.append("Internal-Sender-Identifier: ").append(f.kind).append("/").append(plain ? f.resource_id : "").append("\n");
  return out.append(payload_oxum(bytes, count));
}

// Everything but the leaves, the two manifests last.
Result<BagFiles> envelope_files(const SealInput& input, SealedBundle& out) {
  BagFiles files;
  for (const auto& [path, bytes] : input.extra_files) STELLA_TRY_VOID(add_beside(files, path, bytes));
  STELLA_TRY_VOID(sign_seal(input, out, files));
  files["attest/seal.dsse.json"] = out.seal_dsse;
  files["evidence/seal.json"] = out.seal_json;
  files["evidence/items.jsonl"] = out.items_jsonl;
  files["evidence/root.merkle"] = out.root_merkle;
  files["custody/events.jsonl"] = input.custody_events;
  files["bagit.txt"] = kBagitTxt;
  files["bag-info.txt"] = bag_info(input, out.items);
  DigestByPath leaves;
  for (const auto& item : out.items) leaves.emplace(item.path, item.sha256);
  add_manifests(leaves, files);
  return files;
}

// Merges the payload and the other files in path order.
Result<void> write_archive(const SealInput& input, const std::vector<Item>& items, const BagFiles& files, const FirstPass& first, ByteSink& out) {
  GzipSink gzip(out);
  TarWriter tar(gzip);
  PayloadPass pass(input, first.done);
  auto file = files.begin();
  for (std::size_t i = 0; i < items.size(); ++i) {
    for (; file != files.end() && file->first < items[i].path; ++file) STELLA_TRY_VOID(tar.add(file->first, file->second));
    STELLA_TRY_VOID(pass.copy(items[i], first.crcs[i], tar));
  }
  for (; file != files.end(); ++file) STELLA_TRY_VOID(tar.add(file->first, file->second));
  STELLA_TRY_VOID(pass.end());
  STELLA_TRY_VOID(tar.finish());
  return gzip.finish();
}

}  // namespace

namespace {

// The first pass: what is there, and its tree.
Result<SealedBundle> hashed(const SealInput& input, FirstPass& first) {
  if (input.bundle_key.size() != Sha256::kSize) return Error(base_errors::kInvalid, "a bundle key has 32 bytes");
  SealedBundle out;
  out.items = STELLA_TRY(parse_items_ndjson(input.items_ndjson));
  STELLA_TRY_VOID(check_payload(input, out.items, first));
  commit_items(input, out);
  return out;
}

}  // namespace

Result<std::string> sign_payload(SealInput input, const std::function<Result<void>(SealFacts& facts)>& before_signing) {
  FirstPass first;
  const SealedBundle payload = STELLA_TRY(hashed(input, first));
  STELLA_TRY_VOID(before_signing(input.facts));
  return STELLA_TRY(sign(input, payload)).json();
}

Result<SealedBundle> seal_bundle(const SealInput& input, ByteSink& out) {
  FirstPass first;
  SealedBundle sealed = STELLA_TRY(hashed(input, first));
  const auto files = envelope_files(input, sealed);  // GCC 12 warns about STELLA_TRY on a map
  if (!files) return files.error();
  DigestSink sink(out);
  STELLA_TRY_VOID(write_archive(input, sealed.items, *files, first, sink));
  sealed.tgz_sha256 = sink.digest();
  sealed.tgz_size = sink.size();
  return sealed;
}

}  // namespace stella::evidence
