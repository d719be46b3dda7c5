// Requests on the locker: snapshot, read, export, verify. Each appends its event in the caller's transaction.
#include <fcntl.h>
#include <unistd.h>

#include <map>

#include "case_lock.h"
#include "closure.h"
#include "embedded.h"
#include "long_read.h"
#include "renewals.h"
#include "sealing.h"
#include "stored_bundle.h"
#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/job_kinds.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/custody.h"
#include "stella/tenancy/paths.h"
#include "stella/tenancy/scope.h"
#include "stella/timeline/emit.h"

namespace stella::evidence {
namespace {

constexpr std::uint64_t kCustodyBytes = 256u << 20;

timeline::Event bundle_event(std::string_view kind, pg::TenantTx& tx, const std::string& bundle, TraceId trace, json::Value details) {
  timeline::Event event;
  event.kind = kind;
  event.actor = tx.actor();
  event.resource_type = "bundle";
  event.resource_id = bundle;
  event.trace = trace;
  event.details = std::move(details);
  return event;
}

// A bundle as the object that an event consumes or produces.
json::Value bundle_digest(const Sha256& bytes) { return json::Value::array({json::Value::object({{"name", "bundle.tgz"}, {"sha256", bytes.hex()}})}); }

std::string key_of(pg::TenantTx& tx, const StoredBundle& b, std::string_view file) { return object_key::evidence(tx.tenant(), b.case_id, b.id, file); }

Result<Verdict> judge(int fd, const Trust& trust, const StoreState* store = nullptr, std::span<const TimeRenewal> renewals = {}) {
  FileSource source(fd);
  VerifyOptions options;
  options.trust = trust.keys;
  options.trust_source = "evidence keys of this deployment";
  options.log_signers = trust.log_signers;
  options.log_source = "log key of this deployment";
  if (trust.history) {
    options.key_history = &*trust.history;
    options.key_source = "key history of this deployment";
  }
  if (trust.time) {
    options.time_trust = &*trust.time;
    options.time_source = "time.roots of this deployment";
    options.time_threshold = trust.time_threshold;
    options.at = trust.at.value_or(Timestamp::now());
    options.renewals = renewals;
  }
  options.store = store;
  auto verdict = verify_bundle(source, options);
  if (!verdict || trust.former.empty() || !trust.history || !verdict->signers.empty()) return verdict;
  // No key that is trusted today signed. One that was compromised later counts for what it provably signed before.
  options.former = trust.former;
  FileSource again(fd);
  auto earlier = verify_bundle(again, options);
  if (earlier && earlier->of(Dimension::kKeyStatus).outcome == Outcome::kPass) return earlier;
  return verdict;
}

// A bundle of ours that cannot even be read was changed in the store: that is a verdict on it, not a mistake of whoever asks.
bool damaged(const Error& error) {
  return error.code() == base_errors::kMalformed || error.code() == base_errors::kInvalid || error.code() == base_errors::kLimit || error.code() == base_errors::kNotFound;
}

struct Judged {
  Verdict verdict;
  FileDigest bytes;  // that were judged, whatever a row or a name says of them
  std::vector<StoredRenewal> renewals;
};

Result<Judged> judge_stored(pg::TenantTx& tx, int fd, const Trust& trust, objects::Store& store, const StoredBundle& bundle) {
  const std::string key = key_of(tx, bundle, "bundle.tgz");
  const FileDigest bytes = STELLA_TRY(digest_of(fd));
  auto renewals = STELLA_TRY(stored_renewals(tx, store, tx.tenant(), bundle.case_id, bundle.id));
  const std::vector<TimeRenewal> files = renewals.files();
  // A store that does not say how it keeps the object leaves RETENTION-STATE unchecked.
  std::optional<StoreState> state;
  if (const auto lock = store.lock_state(key)) state = StoreState{lock->mode == objects::LockMode::kNone ? Timestamp{} : lock->retain_until, lock->legal_hold, "the object store"};
  auto verdict = judge(fd, trust, state ? &*state : nullptr, files);
  if (!verdict && !damaged(verdict.error())) return Error(verdict.error());
  Judged out{.verdict = verdict ? std::move(*verdict) : Verdict{}, .bytes = bytes, .renewals = std::move(renewals.list)};
  out.verdict.of(Dimension::kTime).reason += renewals.remark();
  auto& integrity = out.verdict.of(Dimension::kIntegrity);
  if (!verdict) integrity = {Outcome::kFail, "the stored bundle cannot be read any more: it was changed in the store", ""};
  // Another bundle of ours, or a redacted copy of this one, verifies as well as this.
  else if (bytes.sha256 != bundle.bundle_sha256 && integrity.outcome != Outcome::kFail) integrity = {Outcome::kFail, "the stored bundle is not the one that was sealed: its digest is not the one of its row", ""};
  return out;
}

// The seal that lies beside the bundle for whoever reads the store: edited, it fails INTEGRITY as the bundle would.
Result<std::string> manifest_of(pg::TenantTx& tx, objects::Store& store, const StoredBundle& bundle, Verdict& verdict) {
  auto text = store.get(key_of(tx, bundle, "manifest.json"), kSmallFile);
  if (!text && !damaged(text.error())) return Error(text.error());
  auto& integrity = verdict.of(Dimension::kIntegrity);
  if (text && crypto::sha256(*text) == bundle.seal_sha256) return text;
  if (integrity.outcome != Outcome::kFail)
    integrity = {Outcome::kFail, text ? "manifest.json in the store is not the seal of this bundle: its digest is not the one of its row" : "manifest.json, the bundle's seal, cannot be read from the store any more", ""};
  return std::string();
}

// What was changed in the store is not passed on.
Result<void> refuse_changed(const Verdict& verdict) {
  if (verdict.of(Dimension::kIntegrity).outcome == Outcome::kFail)
    return Error(contracts::errors::kIntegrity, "the stored bundle does not verify any more: it was changed in the store").with("reason", verdict.of(Dimension::kIntegrity).reason);
  if (verdict.of(Dimension::kAuthenticity).outcome == Outcome::kFail)
    return Error(contracts::errors::kIntegrity, "no key that counts signed the stored bundle: it was changed in the store, or its key was compromised").with("reason", verdict.of(Dimension::kAuthenticity).reason);
  // Nobody sealed a bundle that is not complete: a statement that authorised an omission is gone, or its key was compromised.
  if (verdict.of(Dimension::kCompleteness).outcome == Outcome::kFail)
    return Error(contracts::errors::kIntegrity, "the stored bundle withholds what nobody authorised: it was changed in the store, or a key was compromised").with("reason", verdict.of(Dimension::kCompleteness).reason);
  return {};
}

json::Array items_json(const Verdict& verdict) {
  json::Array items;
  for (const Item& i : verdict.items)
    items.push_back(json::Value::object({{"path", i.path}, {"size", i.size}, {"sha256", i.sha256.hex()}, {"media_type", i.media_type}, {"role", i.role}}));
  return items;
}

json::Value outcomes(const Verdict& verdict) {
  json::Value out = json::Value::object();
  for (std::size_t i = 0; i < kDimensions; ++i) out.set(std::string(dimension_name(static_cast<Dimension>(i))), outcome_name(verdict.dimensions[i].outcome));
  return out;
}

json::Array renewals_json(const std::vector<StoredRenewal>& renewals) {
  json::Array out;
  for (const StoredRenewal& r : renewals)
    out.push_back(json::Value::object({{"renewal", r.n}, {"stamped_at", r.stamped_at.rfc3339()}, {"authority", r.authority}, {"stands_until", r.stands_until.rfc3339()},
                                       {"token", base64_encode(r.files.token)}, {"chain", r.files.chain}}));
  return out;
}

std::string_view result_word(const Verdict& verdict) {
  const int code = exit_code(verdict);
  return code == kExitPass ? "pass" : code == kExitFail ? "fail" : "not_checked";
}

}  // namespace

Result<StoredBundle> find_bundle(pg::TenantTx& tx, const BundleId& id) {
  STELLA_TRY_VOID(tx.query(kLockBundleShared, {tx.tenant(), id.str()}));
  const auto rows = STELLA_TRY(tx.query("SELECT case_id, kind, resource_id, state, bundle_sha256, coalesce(bundle_size, 0), derived_from, seal_sha256 FROM evidence_snapshots WHERE tenant_id = $1 AND bundle_id = $2", {tx.tenant(), id}));
  if (rows.empty()) return Error(base_errors::kNotFound, "no such bundle");
  StoredBundle out;
  out.id = id;
  out.case_id = STELLA_TRY(CaseId::parse(rows.text(0, 0)));
  out.kind = std::string(rows.text(0, 1));
  out.resource_id = std::string(rows.text(0, 2));
  out.state = std::string(rows.text(0, 3));
  if (out.state == "disposed" && rows.is_null(0, 7)) return Error(base_errors::kNotFound, "the snapshot failed, and what it left in the store was lawfully deleted").with("state", out.state);
  if (out.state == "disposed") return Error(base_errors::kNotFound, "the bundle was lawfully deleted; its seal, its root and its events remain").with("state", out.state);
  if (out.state != "sealed") return Error(contracts::errors::kNotReady, "the bundle is not sealed").with("state", out.state);
  out.bundle_sha256 = STELLA_TRY(rows.sha256(0, 4));
  out.size = static_cast<std::uint64_t>(rows.integer(0, 5));
  out.seal_sha256 = STELLA_TRY(rows.sha256(0, 7));
  if (!rows.is_null(0, 6)) out.derived_from = STELLA_TRY(BundleId::parse(rows.text(0, 6)));
  return out;
}

Result<void> keep_tenant_key(pg::TenantTx& tx) {
  STELLA_TRY_VOID(tx.query(kLockTenantShared, {tx.tenant()}));
  return {};
}

Result<void> expect_tenant_key(pg::TenantTx& tx) {
  if (STELLA_TRY(tx.query("SELECT FROM key_dispositions WHERE tenant_id = $1 AND state IN ('destroying', 'executed') LIMIT 1", {tx.tenant()})).empty()) return {};
  return Error(contracts::errors::kConflict, "the tenant's encryption key was destroyed, or is being destroyed: nothing of the tenant can be preserved any more").with("reason", std::string("key_destroyed"));
}

Result<Snapshot> request_snapshot(pg::TenantTx& tx, objects::Store& store, const SnapshotRequest& asked) {
  SnapshotRequest request = asked;
  if (request.kind != "eval" && request.kind != "job" && request.kind != "export")
    return Error(base_errors::kInvalid, "not a kind of snapshot").with("field", "kind").with("expected", "eval, job or export");
  if (request.embed_evaluation && request.kind != "export") return Error(base_errors::kInvalid, "only the bundle of an export embeds one").with("field", "embed_evaluation").with("expected", "kind export");
  const auto resource = Uuid::parse(request.resource_id);
  if (!resource) return Error(base_errors::kNotFound, "no such thing");
  request.resource_id = resource->str();  // one spelling: the request is idempotent on it
  STELLA_TRY_VOID(keep_tenant_key(tx));
  // One at a time per request key: the next request number must not be given twice.
  STELLA_TRY_VOID(tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 2))", {tx.tenant().str() + "/" + request.kind + "/" + request.resource_id + "/" + request.case_id.str()}));
  std::optional<Embedded> embedded;
  if (request.embed_evaluation) embedded = STELLA_TRY(find_embedded(tx, request));
  // The canonical request, the same for every repetition: it decides the salts, so that equal closures give equal roots.
  json::Value asked_for = json::Value::object({{"tenant_id", tx.tenant().str()}, {"kind", request.kind}, {"resource_id", request.resource_id}, {"case_id", request.case_id.str()}});
  if (embedded) asked_for.set("embedded", embedded->json());
  const std::string canonical = STELLA_TRY(json::canonical(asked_for));
  const auto before = STELLA_TRY(tx.query("SELECT max(request_no), (array_agg(bundle_id ORDER BY request_no DESC) FILTER (WHERE request = $5))[1], (array_agg(state ORDER BY request_no DESC) FILTER (WHERE request = $5))[1] "
                                          "FROM evidence_snapshots WHERE tenant_id = $1 AND kind = $2 AND resource_id = $3 AND case_id = $4 AND derived_from IS NULL",
                                          {tx.tenant(), request.kind, request.resource_id, request.case_id.str(), canonical}));
  Snapshot out;
  if (!before.is_null(0, 1) && !request.again && before.text(0, 2) != "failed" && before.text(0, 2) != "disposed") {
    out.bundle_id = STELLA_TRY(BundleId::parse(before.text(0, 1)));
    out.existed = true;
    return out;
  }
  STELLA_TRY_VOID(expect_tenant_key(tx));
  const std::int64_t request_no = before.is_null(0, 0) ? 1 : before.integer(0, 0) + 1;
  Closure closure(tx, store, request.temp_dir);
  if (request.kind == "eval") STELLA_TRY_VOID(close_over_evaluation(tx, store, request.resource_id, closure));
  else if (request.kind == "job") STELLA_TRY_VOID(close_over_job(tx, store, request.resource_id, closure));
  else STELLA_TRY_VOID(close_over_export(tx, store, request.resource_id, closure));
  if (embedded) STELLA_TRY_VOID(embed(tx, store, *embedded, closure));
  closure.traces.insert(request.trace.hex());
  out.bundle_id = BundleId::generate();
  jobs::Spec spec;
  spec.kind = std::string(contracts::job_kinds::kEvidenceSnapshot);
  spec.params = json::Value::object({{"kind", request.kind}, {"resource_id", request.resource_id}, {"case_id", request.case_id.str()}});
  spec.inputs = STELLA_TRY(closure.finish());
  spec.project = closure.project;
  spec.resource_type = "bundle";
  spec.resource_id = out.bundle_id.str();
  spec.requested_by = tx.actor();
  spec.traceparent = request.traceparent;
  spec.trace = request.trace;
  std::vector<std::string> made;
  for (const Sha256& digest : closure.made()) made.emplace_back(digest.view());
  const std::vector<std::string> traces(closure.traces.begin(), closure.traces.end());
  STELLA_TRY_VOID(tx.query(
      "INSERT INTO evidence_snapshots (tenant_id, bundle_id, case_id, kind, resource_id, request_no, state, custody_traces, request, project_id, requested_by, traceparent, trace_id, tracestate, made_objects) "
      "VALUES ($1, $2, $3, $4, $5, $6, 'building', $7, $8, $9, $10, $11, $12, $13, $14::bytea[])",
      {tx.tenant(), out.bundle_id, request.case_id.str(), request.kind, request.resource_id, request_no, pg::Param::text_array(traces), canonical, closure.project, tx.actor(), request.traceparent, request.trace.hex(), timeline::tracestate_of(request.trace), pg::Param::bytes_array(made)}));
  const jobs::Scheduled job = STELLA_TRY(jobs::schedule(tx, spec));
  STELLA_TRY_VOID(tx.query("UPDATE evidence_snapshots SET job_id = $3 WHERE tenant_id = $1 AND bundle_id = $2", {tx.tenant(), out.bundle_id, job.job_id}));
  timeline::Event event = bundle_event(contracts::events::kEvidenceSnapshot, tx, out.bundle_id.str(), request.trace,
                                       json::Value::object({{"bundle_id", out.bundle_id.str()}, {"case_id", request.case_id.str()}, {"kind", request.kind}, {"resource_id", request.resource_id},
                                                            {"job_id", job.job_id.str()}, {"outputs", jobs::digest_list(spec.inputs)}}));
  event.project = closure.project;
  event.traceparent = request.traceparent;
  event.resources.emplace_back(request.kind == "eval" ? "evaluation" : request.kind, request.resource_id);
  event.resources.emplace_back("case", request.case_id.str());
  STELLA_TRY_VOID(timeline::emit(tx, std::move(event)));
  return out;
}

Result<json::Value> read_bundle(pg::TenantTx& tx, objects::Store& store, const Trust& trust, const BundleId& id, TraceId trace) {
  const StoredBundle b = STELLA_TRY(find_bundle(tx, id));
  STELLA_TRY_VOID(expect_long_read(tx));
  const Fd file = STELLA_TRY(store.open(key_of(tx, b, "bundle.tgz")));
  FileSource source(file.get());
  // What is left of a damaged bundle is shown together with the verdict on it.
  json::Value dsse;
  if (auto text = read_bundle_member(source, "attest/seal.dsse.json", kSmallFile)) {
    if (auto parsed = json::parse(*text)) dsse = std::move(*parsed);
  } else if (!damaged(text.error())) {
    return std::move(text.error());
  }
  auto [verdict, bytes, renewals] = STELLA_TRY(judge_stored(tx, file.get(), trust, store, b));
  // The seal that was signed, from whichever place still has it; none where neither does.
  std::string seal_text = STELLA_TRY(manifest_of(tx, store, b, verdict));
  FileSource again(file.get());
  if (auto text = read_bundle_member(again, "evidence/seal.json", kSmallFile)) {
    if (crypto::sha256(*text) == b.seal_sha256) seal_text = std::move(*text);
  } else if (!damaged(text.error())) {
    return std::move(text.error());
  }
  json::Value seal;
  if (!seal_text.empty()) seal = STELLA_TRY(json::parse(seal_text));
  STELLA_TRY_VOID(timeline::emit(tx, bundle_event(contracts::events::kEvidenceRead, tx, id.str(), trace, json::Value::object({{"bundle_id", id.str()}, {"case_id", b.case_id.str()}, {"what", "manifest"}, {"inputs", bundle_digest(bytes.sha256)}}))));
  return json::Value::object({{"bundle_id", id.str()}, {"case_id", b.case_id.str()}, {"kind", b.kind}, {"resource_id", b.resource_id}, {"state", b.state}, {"sha256", b.bundle_sha256.hex()}, {"size", b.size},
                              {"manifest", seal}, {"signatures", dsse}, {"items", items_json(verdict)}, {"verdict", verdict_json(verdict)}, {"time_renewals", renewals_json(renewals)}, {"trace_id", trace.hex()},
                              {"derived_from", b.derived_from ? json::Value(b.derived_from->str()) : json::Value()}});
}

Result<ExportedBundle> export_bundle(pg::TenantTx& tx, objects::Store& store, const Trust& trust, const BundleId& id, std::string_view recipient, TraceId trace) {
  if (recipient.empty() || recipient.size() > 200) return Error(base_errors::kInvalid, "a recipient is needed").with("field", "recipient").with("expected", "1 to 200 bytes of text: who receives the bundle");
  const StoredBundle b = STELLA_TRY(find_bundle(tx, id));
  STELLA_TRY_VOID(expect_long_read(tx));
  ExportedBundle out;
  out.file = STELLA_TRY(store.open(key_of(tx, b, "bundle.tgz")));
  const auto [verdict, bytes, renewals] = STELLA_TRY(judge_stored(tx, out.file.get(), trust, store, b));
  out.size = bytes.size;
  out.sha256 = bytes.sha256;
  STELLA_TRY_VOID(refuse_changed(verdict));
  out.renewals = renewals.size();
  if (::lseek(out.file.get(), 0, SEEK_SET) != 0) return io_error("cannot read the bundle", "bundle.tgz");
  STELLA_TRY_VOID(timeline::emit(tx, bundle_event(contracts::events::kEvidenceExported, tx, id.str(), trace,
                                                  json::Value::object({{"bundle_id", id.str()}, {"case_id", b.case_id.str()}, {"sha256", bytes.sha256.hex()}, {"bytes", bytes.size}, {"recipients", json::Value::array({recipient})},
                                                                       {"outputs", bundle_digest(bytes.sha256)}}))));
  return out;
}

namespace {

Result<void> add_events(std::string_view text, std::vector<CustodyEvent>& out) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    out.push_back(STELLA_TRY(parse_custody_event(text.substr(0, end))));
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return {};
}

}  // namespace

Result<json::Value> read_custody(pg::TenantTx& tx, objects::Store& store, const Trust& trust, const BundleId& id, TraceId trace) {
  const StoredBundle b = STELLA_TRY(find_bundle(tx, id));
  STELLA_TRY_VOID(expect_long_read(tx));
  const Fd file = STELLA_TRY(store.open(key_of(tx, b, "bundle.tgz")));
  const auto [verdict, bytes, renewals] = STELLA_TRY(judge_stored(tx, file.get(), trust, store, b));
  STELLA_TRY_VOID(refuse_changed(verdict));
  if (!verdict.seal) return Error(contracts::errors::kIntegrity, "the stored bundle has no seal that can be read: it was changed in the store");
  // What the tenant took from the knowledge base was there before.
  std::vector<CustodyEvent> events;
  for (const CustodyLog log : {CustodyLog::kKnowledgeBase, CustodyLog::kTenant}) {
    if (::lseek(file.get(), 0, SEEK_SET) != 0) return io_error("cannot read the bundle", "bundle.tgz");
    FileSource source(file.get());
    const auto text = read_bundle_member(source, std::string(custody_prefix(log)) + "events.jsonl", kCustodyBytes);
    if (!text && text.error().code() == base_errors::kNotFound && log == CustodyLog::kKnowledgeBase) continue;  // it took nothing from there
    if (!text) return Error(text.error());
    STELLA_TRY_VOID(add_events(*text, events));
  }
  std::map<Sha256, std::string> lists;
  for (const Sha256& list : custody_lists(events)) {
    if (::lseek(file.get(), 0, SEEK_SET) != 0) return io_error("cannot read the bundle", "bundle.tgz");
    FileSource source(file.get());
    auto text = read_bundle_member(source, custody_list_path(list), kCustodyBytes);
    if (text) lists.emplace(list, std::move(*text));
    else if (text.error().code() != base_errors::kNotFound) return Error(text.error());
  }
  STELLA_TRY_VOID(expand_custody_lists(events, [&](const Sha256& list) { return lists.contains(list) ? std::string_view(lists.at(list)) : std::string_view(); }));
  // What the public knowledge base holds under its digest is vouched for by it.
  const TenantId global = STELLA_TRY(TenantId::parse(kGlobalTenant));
  std::vector<Sha256> known;
  for (const CustodyLink& broken : walk_custody(events).broken)
    if (store.stat(object_key::object(global, broken.sha256))) known.push_back(broken.sha256);
  Custody custody = walk_custody(events, known);
  // A redacted copy has the seal, and so the snapshot, of what it was made from.
  const SealFacts& facts = verdict.seal->facts;
  custody.missing = missing_transitions(events, facts.bundle_id.str(), facts.kind == "job" ? facts.resource_id : std::string());
  STELLA_TRY_VOID(timeline::emit(tx, bundle_event(contracts::events::kEvidenceRead, tx, id.str(), trace, json::Value::object({{"bundle_id", id.str()}, {"case_id", b.case_id.str()}, {"what", "custody"}, {"inputs", bundle_digest(bytes.sha256)}}))));
  json::Value out = custody.json(events);
  out.set("bundle_id", id.str());
  out.set("case_id", b.case_id.str());
  out.set("events", static_cast<std::int64_t>(events.size()));
  out.set("trace_id", trace.hex());
  return out;
}

namespace {

Result<json::Value> verified(pg::TenantTx& tx, const Verdict& verdict, const std::string& bundle, const Sha256& bytes, TraceId trace) {
  json::Value details = json::Value::object({{"verdict", result_word(verdict)}, {"dimensions", outcomes(verdict)}, {"sha256", bytes.hex()}, {"inputs", bundle_digest(bytes)}});
  if (BundleId::parse(bundle)) details.set("bundle_id", bundle);
  if (verdict.seal) details.set("root_hash", verdict.seal->head.root.hex());
  if (!verdict.signers.empty()) details.set("signer_key_id", verdict.signers.front());
  STELLA_TRY_VOID(timeline::emit(tx, bundle_event(contracts::events::kEvidenceVerified, tx, bundle, trace, std::move(details))));
  json::Value out = verdict_json(verdict);
  out.set("trace_id", trace.hex());
  return out;
}

}  // namespace

Result<json::Value> verify_stored(pg::TenantTx& tx, objects::Store& store, const Trust& trust, const BundleId& id, TraceId trace) {
  const StoredBundle b = STELLA_TRY(find_bundle(tx, id));
  STELLA_TRY_VOID(expect_long_read(tx));
  const Fd file = STELLA_TRY(store.open(key_of(tx, b, "bundle.tgz")));
  auto [verdict, bytes, renewals] = STELLA_TRY(judge_stored(tx, file.get(), trust, store, b));
  STELLA_TRY_VOID(manifest_of(tx, store, b, verdict));
  return verified(tx, verdict, id.str(), bytes.sha256, trace);
}

Result<json::Value> verify_upload(pg::TenantTx& tx, objects::Store& store, int fd, const Trust& trust, TraceId trace) {
  STELLA_TRY_VOID(expect_long_read(tx));
  Verdict verdict = STELLA_TRY(judge(fd, trust));
  // A copy of a bundle that the locker has, whose timestamps were renewed since. Renewals prove themselves, whatever the upload says it is.
  if (trust.time && verdict.seal && verdict.of(Dimension::kTime).outcome == Outcome::kFail) {
    if (const auto stored = find_bundle(tx, verdict.seal->facts.bundle_id)) {
      const StoredRenewals found = STELLA_TRY(stored_renewals(tx, store, tx.tenant(), stored->case_id, stored->id));
      const std::vector<TimeRenewal> renewals = found.files();
      if (!renewals.empty()) verdict = STELLA_TRY(judge(fd, trust, nullptr, renewals));
      verdict.of(Dimension::kTime).reason += found.remark();
    }
  }
  // What an upload says of itself is believed only where it verifies.
  const bool named = verdict.seal.has_value() && exit_code(verdict) == kExitPass;
  return verified(tx, verdict, named ? verdict.seal->facts.bundle_id.str() : "uploaded", STELLA_TRY(digest_of(fd)).sha256, trace);
}

namespace {

class SnapshotHandler final : public jobs::KindHandler {
 public:
  explicit SnapshotHandler(std::function<void()> wake) : wake_(std::move(wake)) {}

  Result<void> on_finished(pg::SystemTx<pg::OrchestratorRole>& tx, const jobs::FinishedJob& job) override {
    const jobs::OutputRef* payload = job.output("payload.tar");
    const jobs::OutputRef* items = job.output("items.ndjson");
    if (payload == nullptr || items == nullptr) return Error(base_errors::kInternal, "a snapshot job without payload or items");
    STELLA_TRY_VOID(tx.query("UPDATE evidence_snapshots SET state = 'built', error = NULL, payload_sha256 = $3, items_sha256 = $4 WHERE tenant_id = $1 AND bundle_id = $2 AND state IN ('building', 'failed')",
                             {job.tenant, job.resource_id, payload->sha256, items->sha256}));
    if (wake_) tx.on_commit(wake_);
    return {};
  }
  Result<void> on_failed(pg::SystemTx<pg::OrchestratorRole>& tx, const jobs::FailedJob& job) override {
    STELLA_TRY_VOID(tx.query("UPDATE evidence_snapshots SET state = 'failed', error = $3, failed_at = now() WHERE tenant_id = $1 AND bundle_id = $2 AND state = 'building'", {job.tenant, job.resource_id, pg::Param::json(json::dump(jobs::error_json(job)))}));
    return {};
  }

 private:
  std::function<void()> wake_;
};

}  // namespace

std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> handlers(std::function<void()> wake) {
  return {{std::string(contracts::job_kinds::kEvidenceSnapshot), std::make_shared<SnapshotHandler>(std::move(wake))}};
}

}  // namespace stella::evidence
