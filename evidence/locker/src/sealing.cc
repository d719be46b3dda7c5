// What sealing a bundle and redacting one have in common.
#include "sealing.h"

#include <unistd.h>

#include <algorithm>

#include "locker_event.h"
#include "stella/base/unnamed_file.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/stream.h"
#include "stella/tenancy/paths.h"

namespace stella::evidence {
namespace {

constexpr std::chrono::seconds kLongestLock = std::chrono::hours(24) * 36'499;  // stores take a hundred years at most

// Hashes and counts a file as it is read.
class HashingSource final : public ByteSource {
 public:
  explicit HashingSource(int fd) : file_(fd) {}
  Result<std::size_t> read(char* out, std::size_t size) override {
    const std::size_t n = STELLA_TRY(file_.read(out, size));
    hasher_.update({out, n});
    size_ += n;
    return n;
  }
  // Reads what is left.
  Result<void> rest() {
    std::string buffer(1 << 20, '\0');
    while (STELLA_TRY(read(buffer.data(), buffer.size())) > 0) {
    }
    return {};
  }
  Sha256 digest() { return hasher_.finish(); }
  std::uint64_t size() const { return size_; }

 private:
  FileSource file_;
  crypto::Hasher hasher_;
  std::uint64_t size_ = 0;
};

Error not_ours(std::string reason, const Sha256& bytes) {
  return Error(contracts::errors::kIntegrity, "something else than this bundle lies in its place in the store: it was put there before, or changed; ask for the snapshot again").with("reason", std::move(reason)).with("sha256", bytes.hex());
}

// Why the row is not about what was found; "" where it is.
Result<std::string> difference(pg::SystemTx<pg::LockerRole>& tx, const Publication& what, const Published& found, std::string_view seal_text, const crypto::DsseEnvelope& envelope) {
  const auto rows = STELLA_TRY(tx.query("SELECT s.seal_envelope, s.derived_from IS NOT NULL, o.seal_sha256 FROM evidence_snapshots s LEFT JOIN evidence_snapshots o ON o.tenant_id = s.tenant_id AND o.bundle_id = s.derived_from "
                                        "WHERE s.tenant_id = $1 AND s.bundle_id = $2",
                                        {what.tenant, what.bundle}));
  if (rows.empty()) return std::string("no snapshot has this id");
  if (envelope.payload != seal_text) return std::string("what was signed is not its seal");
  if (rows.boolean(0, 1)) {
    // Nothing in a seal changes when files are withheld: a copy of a copy has the first one's, too.
    const bool same = !rows.is_null(0, 2) && STELLA_TRY(rows.sha256(0, 2)) == found.seal_sha256;
    return std::string(same ? "" : "its seal is not the one of the bundle that it was made from");
  }
  const SealFacts& facts = found.seal.facts;
  if (facts.bundle_id != what.bundle) return "its seal is of bundle " + facts.bundle_id.str();
  if (facts.tenant_id != what.tenant) return std::string("its seal is of another tenant");
  if (facts.case_id != what.case_id) return std::string("its seal is of another case");
  if (!rows.is_null(0, 0)) return std::string(STELLA_TRY(crypto::dsse_parse(rows.text(0, 0))).json() == envelope.json() ? "" : "its signatures are not those that were made for it");
  return std::string(crypto::dsse_verify(envelope, STELLA_TRY(evidence_keys(tx))) ? "" : "no evidence key of this deployment signed it");
}

}  // namespace

Result<TempFile> TempFile::make(const std::string& dir) {
  TempFile t;
  t.fd_ = STELLA_TRY(unnamed_file(dir));
  return t;
}

Result<Terms> terms_of(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const CaseId& case_id, const LockerOptions& options, Timestamp sealed_at) {
  const auto rows = STELLA_TRY(tx.query("SELECT EXISTS (SELECT FROM evidence_holds WHERE tenant_id = $1 AND case_id = $2 AND released_at IS NULL), "
                                        "(SELECT greatest(retain_until, incident_until) FROM evidence_cases WHERE tenant_id = $1 AND case_id = $2)",
                                        {tenant, case_id.str()}));
  Terms out;
  out.held = rows.boolean(0, 0);
  if (!rows.is_null(0, 1)) out.retain_until = rows.timestamp(0, 1);
  if (options.keep_from == "sealed" && options.keep.count() > 0) out.retain_until = std::max(out.retain_until, sealed_at + options.keep);
  return out;
}

objects::ObjectLock lock_for(const Terms& terms, const LockerOptions& options, const std::optional<WormWatch::Seen>& worm, Timestamp now) {
  objects::ObjectLock out;
  out.legal_hold = terms.held;
  const Timestamp until = std::min(std::max(terms.retain_until, now + options.lock.keep), now + kLongestLock);
  if (!worm || worm->level == objects::WormLevel::kPlain || terms.retain_until <= now) return out;
  out.mode = options.lock.mode == objects::LockMode::kNone ? objects::LockMode::kGovernance : options.lock.mode;
  out.retain_until = until;
  return out;
}

Result<std::vector<crypto::PublicKey>> evidence_keys(pg::SystemTx<pg::LockerRole>& tx) {
  const auto rows = STELLA_TRY(tx.query("SELECT public_pem FROM signing_keys WHERE purpose = 'evidence' AND state <> 'compromised' ORDER BY introduced_at"));
  std::vector<crypto::PublicKey> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(STELLA_TRY(crypto::PublicKey::from_pem(rows.text(i, 0))));
  return out;
}

Result<Published> publish_bundle(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, const Publication& what) {
  const auto key = [&](std::string_view file) { return object_key::evidence(what.tenant, what.case_id, what.bundle, file); };
  const Fd stored = STELLA_TRY(store.open(key("bundle.tgz")));
  // One pass over it for all that is needed: digest, size, and the files that the rows and the objects beside it are made from.
  HashingSource source(stored.get());
  constexpr std::string_view kMembers[] = {"evidence/seal.json", "evidence/root.merkle", "attest/seal.dsse.json"};
  const auto members = STELLA_TRY(read_bundle_members(source, kMembers, kSmallFile));
  const std::string &seal_text = members[0], &root = members[1];
  STELLA_TRY_VOID(source.rest());
  Published out;
  out.seal = STELLA_TRY(parse_seal(seal_text));
  out.seal_sha256 = crypto::sha256(seal_text);
  out.sha256 = source.digest();
  out.size = source.size();
  const auto envelope = STELLA_TRY(crypto::dsse_parse(members[2]));
  if (std::string reason = STELLA_TRY(difference(tx, what, out, seal_text, envelope)); !reason.empty()) return not_ours(std::move(reason), out.sha256);
  STELLA_TRY_VOID(store.put(key("manifest.json"), seal_text, what.lock));
  STELLA_TRY_VOID(store.put(key("root.merkle"), root, what.lock));
  if (!envelope.signatures.empty()) out.signer = envelope.signatures.front().keyid;
  STELLA_TRY_VOID(tx.query("INSERT INTO evidence_bundles (id, tenant_id, case_id, kind, root_hash, path, signer_key_id, labels) VALUES ($1, $2, $3, $4, $5, $6, $7, $8) ON CONFLICT DO NOTHING",
                           {what.bundle, what.tenant, what.case_id.str(), what.kind, out.seal.head.root, key("bundle.tgz"), out.signer, json::dump(what.labels)}));
  STELLA_TRY_VOID(tx.query("UPDATE evidence_snapshots SET state = 'sealed', seal_sha256 = $3, bundle_sha256 = $4, bundle_size = $5, sealed_at = $6 WHERE tenant_id = $1 AND bundle_id = $2",
                           {what.tenant, what.bundle, out.seal_sha256, out.sha256, out.size, what.sealed_at.value_or(out.seal.facts.sealed_at)}));
  return out;
}

Result<void> expect_whole(objects::Store& store, const std::string& key, std::span<const crypto::PublicKey> trust) {
  const Fd file = STELLA_TRY(store.open(key));
  FileSource source(file.get());
  VerifyOptions options;
  options.trust = trust;
  options.trust_source = "evidence keys of this deployment";
  const auto verdict = verify_bundle(source, options);
  const bool unreadable = !verdict && (verdict.error().code() == base_errors::kMalformed || verdict.error().code() == base_errors::kInvalid || verdict.error().code() == base_errors::kLimit);
  if (!verdict && !unreadable) return Error(verdict.error());
  if (verdict && verdict->of(Dimension::kIntegrity).outcome == Outcome::kPass) return {};
  const Sha256 bytes = STELLA_TRY(digest_of(file.get())).sha256;
  return not_ours(verdict ? verdict->of(Dimension::kIntegrity).reason : std::string(verdict.error().message()), bytes);
}

Result<void> tell_refused(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const BundleId& bundle, const CaseId& case_id, const Error& error) {
  json::Value details = json::Value::object({{"bundle_id", bundle.str()}, {"verdict", "fail"}, {"dimensions", json::Value::object({{dimension_name(Dimension::kIntegrity), outcome_name(Outcome::kFail)}})}});
  if (const auto digest = error.field("sha256"); !digest.empty()) {
    details.set("sha256", digest);
    details.set("inputs", json::Value::array({json::Value::object({{"name", "bundle.tgz"}, {"sha256", digest}})}));
  }
  timeline::Event event = locker_event(contracts::events::kEvidenceVerified, "bundle", bundle.str(), std::move(details));
  event.resources.emplace_back("case", case_id.str());
  STELLA_TRY_VOID(timeline::emit(tx, tenant, std::move(event)));
  return {};
}

Result<FileDigest> digest_of(int fd) {
  HashingSource source(fd);
  STELLA_TRY_VOID(source.rest());
  FileDigest out;
  out.size = source.size();
  out.sha256 = source.digest();
  return out;
}

}  // namespace stella::evidence
