// Redacted copies: a person asks, role `locker` makes the copy from the stored bundle and signs the statement that authorises the omission.
#include <unistd.h>

#include <algorithm>

#include "case_lock.h"
#include "long_read.h"
#include "sealing.h"
#include "sign_first.h"
#include "stella/base/limits.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/redact.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/paths.h"
#include "stella/timeline/emit.h"
#include "stored_bundle.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.locker"};
constexpr std::uint64_t kItemsBytes = 512u << 20;
constexpr std::size_t kPatterns = 1000;
constexpr std::size_t kPatternBytes = 1024;

using Tx = pg::SystemTx<pg::LockerRole>;

// The canonical request: the same whatever the order in which the files are named.
Result<std::string> canonical_request(const RedactionRequest& request) {
  if (request.reason.empty() || request.reason.size() > kReasonBytes || request.reason.find_first_not_of(" \t\r\n") == std::string::npos)
    return Error(base_errors::kInvalid, "a redaction needs its reason").with("field", "reason").with("expected", "1 to " + std::to_string(kReasonBytes) + " bytes of text: whoever reads the copy wants to know why");
  std::vector<std::string> withhold = request.withhold;
  std::sort(withhold.begin(), withhold.end());
  withhold.erase(std::unique(withhold.begin(), withhold.end()), withhold.end());
  const bool odd = std::any_of(withhold.begin(), withhold.end(), [](const std::string& w) { return w.empty() || w.size() > kPatternBytes; });
  if (withhold.empty() || withhold.size() > kPatterns || odd)
    return Error(base_errors::kInvalid, "what is to be withheld?").with("field", "withhold").with("expected", "1 to " + std::to_string(kPatterns) + " paths, beginnings of paths and *, or role: and a role");
  json::Array paths;
  for (std::string& w : withhold) paths.push_back(json::Value(std::move(w)));
  return json::canonical(json::Value::object({{"bundle_id", request.bundle.str()}, {"reason", request.reason}, {"withhold", std::move(paths)}}));
}

// A copy that is to be made.
struct Copy {
  TenantId tenant;
  BundleId bundle, from;
  CaseId case_id;
  std::string kind, resource_id, trace, traceparent, tracestate, requested_by;
  std::optional<ProjectId> project;
  Redaction redaction;
  std::string original_state;
  Sha256 original;  // of its bundle.tgz

  std::string key(const BundleId& of) const { return object_key::evidence(tenant, case_id, of, "bundle.tgz"); }
};

constexpr std::string_view kCopy =
    "SELECT s.case_id, s.kind, s.resource_id, s.request, s.trace_id, s.traceparent, s.tracestate, s.requested_by, s.project_id, s.derived_from, o.state, o.bundle_sha256 FROM evidence_snapshots s "
    "JOIN evidence_snapshots o ON o.tenant_id = s.tenant_id AND o.bundle_id = s.derived_from WHERE s.tenant_id = $1 AND s.bundle_id = $2 AND s.state = 'built' FOR UPDATE OF s SKIP LOCKED";

Result<std::optional<Copy>> find_copy(Tx& tx, const TenantId& tenant, const BundleId& bundle) {
  // The original stays where it is until this is over.
  STELLA_TRY_VOID(tx.query("SELECT pg_advisory_xact_lock_shared(hashtextextended($1 || '/' || derived_from::text, 4)) FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle}));
  const auto rows = STELLA_TRY(tx.query(kCopy, {tenant, bundle}));
  if (rows.empty()) return std::optional<Copy>();
  Copy c;
  c.tenant = tenant;
  c.bundle = bundle;
  c.case_id = STELLA_TRY(CaseId::parse(rows.text(0, 0)));
  c.kind = std::string(rows.text(0, 1));
  c.resource_id = std::string(rows.text(0, 2));
  const json::Value request = STELLA_TRY(json::parse(rows.text(0, 3)));
  for (const json::Value& w : request.items("withhold")) c.redaction.withhold.emplace_back(w.as_string());
  c.redaction.reason = std::string(request.str("reason"));
  c.trace = std::string(rows.text(0, 4));
  c.traceparent = std::string(rows.text(0, 5));
  c.tracestate = std::string(rows.text(0, 6));
  c.requested_by = std::string(rows.text(0, 7));
  c.redaction.authority = c.requested_by;
  if (!rows.is_null(0, 8)) c.project = STELLA_TRY(ProjectId::parse(rows.text(0, 8)));
  c.from = STELLA_TRY(BundleId::parse(rows.text(0, 9)));
  c.original_state = std::string(rows.text(0, 10));
  if (!rows.is_null(0, 11)) c.original = STELLA_TRY(rows.sha256(0, 11));
  return std::optional<Copy>(std::move(c));
}

// What will not get better by being tried again: the copy has failed, and says why.
bool final_failure(const Error& error) {
  const ErrorCode code = error.code();
  return code == base_errors::kInvalid || code == base_errors::kMalformed || code == base_errors::kLimit || code == base_errors::kNotFound || code == contracts::errors::kIntegrity;
}

Result<void> fail(Tx& tx, const Copy& copy, const Error& error) {
  json::Value recorded = json::Value::object({{"code", contracts::error_info(error.code()).wire}, {"message", error.message()}});
  json::Value fields = json::Value::object();
  for (const ErrorField& field : error.fields())
    if (field.name == "field" || field.name == "expected" || field.name == "reason") fields.set(std::string(field.name), field.value);
  if (!fields.as_object().empty()) recorded.set("fields", std::move(fields));
  STELLA_TRY_VOID(tx.query("UPDATE evidence_snapshots SET state = 'failed', error = $3, failed_at = now() WHERE tenant_id = $1 AND bundle_id = $2", {copy.tenant, copy.bundle, pg::Param::json(json::dump(recorded))}));
  return {};
}

Error changed(std::string reason) {
  return Error(contracts::errors::kIntegrity, "the stored bundle is not what was sealed: it was changed in the store, so nothing was redacted").with("reason", std::move(reason));
}

// Whoever may have signed the seal before its key was compromised: what the key authorises of omissions does not count any more.
Result<std::vector<crypto::PublicKey>> compromised_keys(Tx& tx) {
  const auto rows = STELLA_TRY(tx.query("SELECT public_pem FROM signing_keys WHERE purpose = 'evidence' AND state = 'compromised'", {}));
  std::vector<crypto::PublicKey> out;
  for (int i = 0; i < rows.size(); ++i) out.push_back(STELLA_TRY(crypto::PublicKey::from_pem(rows.text(i, 0))));
  return out;
}

struct TrustedKeys {
  std::vector<crypto::PublicKey> trust, former;
};

Result<std::string> items_of(int fd) {
  FileSource source(fd);
  return read_bundle_member(source, "evidence/items.jsonl", kItemsBytes);
}

// The copy that lies in the store, judged as a reader would: sealed by us, whole, every omission authorised; and from the original in `original` it
// withholds what was asked for, no less (that would leak) and no more. How many files that are.
Result<std::uint64_t> withheld_from(objects::Store& store, const std::string& key, const TrustedKeys& keys, int original, const Redaction& asked) {
  const Fd file = STELLA_TRY(store.open(key));
  FileSource source(file.get());
  VerifyOptions options;
  options.trust = keys.trust;
  options.former = keys.former;
  options.trust_source = "evidence keys of this deployment";
  const Verdict verdict = STELLA_TRY(verify_bundle(source, options));
  for (const Dimension d : {Dimension::kIntegrity, Dimension::kAuthenticity, Dimension::kCompleteness})
    if (verdict.of(d).outcome != Outcome::kPass) return changed(verdict.of(d).reason);
  const std::string before = STELLA_TRY(items_of(original)), after = STELLA_TRY(items_of(file.get()));
  if (STELLA_TRY(withheld_indices(before, asked.withhold)) != STELLA_TRY(withheld_indices(after))) return changed("the copy does not withhold what was asked for");
  return verdict.disclosure.withheld;
}

// Both bundles by their digests: whoever follows the chain of the copy comes to the original.
Result<timeline::Event> redacted_event(const Copy& copy, const Published& done, std::uint64_t withheld) {
  timeline::Event event;
  event.kind = contracts::events::kEvidenceRedacted;
  event.project = copy.project;
  event.actor = copy.requested_by;
  event.resource_type = "bundle";
  event.resource_id = copy.from.str();
  event.trace = STELLA_TRY(TraceId::parse(copy.trace));
  event.traceparent = copy.traceparent;
  event.details = json::Value::object({{"bundle_id", copy.from.str()}, {"derived_bundle_id", copy.bundle.str()}, {"case_id", copy.case_id.str()}, {"root_hash", done.seal.head.root.hex()}, {"bytes", done.size}, {"item_count", withheld}, {"reason", copy.redaction.reason},
                                       {"inputs", json::Value::array({json::Value::object({{"name", "bundle.tgz"}, {"sha256", copy.original.hex()}})})},
                                       {"outputs", json::Value::array({json::Value::object({{"name", "bundle.tgz"}, {"sha256", done.sha256.hex()}})})}});
  event.resources.emplace_back("bundle", copy.bundle.str());
  event.resources.emplace_back("case", copy.case_id.str());
  return event;
}

}  // namespace

Result<Snapshot> request_redaction(pg::TenantTx& tx, const RedactionRequest& request) {
  const std::string canonical = STELLA_TRY(canonical_request(request));
  STELLA_TRY_VOID(keep_tenant_key(tx));
  const StoredBundle from = STELLA_TRY(find_bundle(tx, request.bundle));
  // One at a time per bundle: the next number must not be given twice.
  STELLA_TRY_VOID(tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", {tx.tenant().str() + "/redact/" + request.bundle.str()}));
  const auto before = STELLA_TRY(tx.query("SELECT (SELECT bundle_id FROM evidence_snapshots WHERE tenant_id = $1 AND derived_from = $2 AND request = $3 AND (state = 'built' OR (state = 'sealed' AND NOT EXISTS "
                                          "(SELECT FROM signing_keys k WHERE k.purpose = 'evidence' AND k.state = 'compromised' AND k.key_id = coalesce(authorised_by, k.key_id)))) ORDER BY request_no LIMIT 1), "
                                          "(SELECT coalesce(max(request_no), 0) + 1 FROM evidence_snapshots WHERE tenant_id = $1 AND derived_from = $2)",
                                          {tx.tenant(), request.bundle, canonical}));
  Snapshot out;
  // One whose statement was signed by a key that is called compromised by now, or by nobody knows which, withholds what nobody authorised: made anew.
  if (!before.is_null(0, 0)) {
    out.bundle_id = STELLA_TRY(BundleId::parse(before.text(0, 0)));
    out.existed = true;
    return out;
  }
  STELLA_TRY_VOID(expect_tenant_key(tx));
  out.bundle_id = BundleId::generate();
  STELLA_TRY_VOID(tx.query(
      "INSERT INTO evidence_snapshots (tenant_id, bundle_id, case_id, kind, resource_id, request_no, state, request, project_id, requested_by, traceparent, trace_id, tracestate, derived_from) "
      "SELECT tenant_id, $3, case_id, kind, resource_id, $4, 'built', $5, project_id, $6, $7, $8, $9, bundle_id FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2",
      {tx.tenant(), from.id, out.bundle_id, before.integer(0, 1), canonical, tx.actor(), request.traceparent, request.trace.hex(), timeline::tracestate_of(request.trace)}));
  return out;
}

Result<bool> Locker::redact_one(const TenantId& tenant, const BundleId& bundle) {
  auto tx = STELLA_TRY(Tx::open(pool_));
  auto found = STELLA_TRY(find_copy(tx, tenant, bundle));
  if (!found) return false;
  Copy& copy = *found;
  auto context = telemetry::Context::continue_from(copy.traceparent, copy.tracestate);
  context.tenant_id = tenant;
  context.actor = copy.requested_by;
  return telemetry::in_work(contracts::work::kEvidenceRedact, std::move(context), [&](telemetry::Work& work) -> Result<bool> {
    work.set(f::bundle_id(bundle));
    work.set(f::case_id(copy.case_id));
    STELLA_TRY_VOID(expect_long_read(tx));
    const Timestamp now = Timestamp::now();
    copy.redaction.at = now;
    const auto signer = [&] {
      const Lock hold(mutex_);
      return signer_;
    }();
    Terms terms = STELLA_TRY(terms_of(tx, tenant, copy.case_id, options_, now));
    objects::ObjectLock lock = lock_for(terms, options_, worm_->seen(), now);

    const auto open_original = [&]() -> Result<Fd> {
      if (copy.original_state != "sealed") return Error(base_errors::kNotFound, "the bundle was lawfully deleted before the copy was made");
      Fd original = STELLA_TRY(store_.open(copy.key(copy.from)));
      // No statement of ours for a bundle that somebody put in place of the sealed one.
      if (STELLA_TRY(digest_of(original.get())).sha256 != copy.original) return changed("its digest is not the one of its row");
      return original;
    };
    bool authorised = false;  // by this process' key, now
    const auto make = [&](int original) -> Result<void> {
      STELLA_TRY_VOID(check_signs(tx, signer->public_key().id().str()));
      const TempFile temp = STELLA_TRY(TempFile::make(options_.temp_dir));
      FdSink sink(temp.fd());
      const RedactedBundle made = STELLA_TRY(redact_bundle(original, copy.redaction, signer.get(), sink));
      // What the seal promises holds for the copy: a reader compares the store with it.
      terms.retain_until = std::max(terms.retain_until, made.retain_until);
      lock = lock_for(terms, options_, worm_->seen(), now);
      authorised = true;
      if (::lseek(temp.fd(), 0, SEEK_SET) != 0) return io_error("cannot read the redacted copy", options_.temp_dir);
      STELLA_TRY_VOID(store_.put_fd(temp.fd(), limits::kBundleBytes, [&](const Sha256&) { return copy.key(bundle); }, lock));
      return {};
    };
    const auto original = open_original();
    // One that is there was made before a crash: it is the copy, if it is what was asked for.
    const auto made = !original ? Result<void>(Error(original.error())) : store_.stat(copy.key(bundle)) ? Result<void>() : make(original->get());
    const TrustedKeys keys{STELLA_TRY(evidence_keys(tx)), STELLA_TRY(compromised_keys(tx))};
    const auto withheld = made ? withheld_from(store_, copy.key(bundle), keys, original->get(), copy.redaction) : Result<std::uint64_t>(made.error());
    const auto published = withheld ? publish_bundle(tx, store_, {tenant, bundle, copy.case_id, copy.kind, json::Value::object({{"resource_id", copy.resource_id}, {"derived_from", copy.from.str()}}), lock, now}) : Result<Published>(withheld.error());
    if (!published) {
      work.fail(published.error());
      if (!final_failure(published.error())) return Error(published.error());
      if (withheld) STELLA_TRY_VOID(tell_refused(tx, tenant, bundle, copy.case_id, published.error()));
      STELLA_TRY_VOID(fail(tx, copy, published.error()));
      STELLA_TRY_VOID(tx.commit());
      kLog.error("a redacted copy has failed", {f::bundle_id(bundle), f::error(published.error())});
      return true;
    }
    const Published& done = *published;
    if (authorised) STELLA_TRY_VOID(tx.query("UPDATE evidence_snapshots SET authorised_by = $3 WHERE tenant_id = $1 AND bundle_id = $2", {tenant, bundle, signer->public_key().id().str()}));
    timeline::Event event = STELLA_TRY(redacted_event(copy, done, *withheld));
    STELLA_TRY_VOID(timeline::emit(tx, tenant, std::move(event)));
    STELLA_TRY_VOID(tx.commit());
    kLog.info("redacted copy made", {f::bundle_id(bundle), f::case_id(copy.case_id), f::bytes(done.size)});
    return true;
  });
}

}  // namespace stella::evidence
