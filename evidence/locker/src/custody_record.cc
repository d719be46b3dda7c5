// From traces to events, from missing producers to the knowledge base, from indexes to proofs, from the digests of lists to the lists.
#include "custody_record.h"

#include <algorithm>

#include "stella/contracts/events.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/crypto/key_log.h"
#include "stella/services/jobs.h"
#include "stella/tenancy/scope.h"
#include "stella/timeline/deployment.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kOfTraces =
    "SELECT l.entry, l.log_index FROM timeline_events e JOIN timeline_log l USING (tenant_id, event_id) WHERE e.tenant_id = $1 AND e.trace_id = ANY($2::text[]) ORDER BY l.log_index";
// That an event e brought in one of the digests $3, by its own word or by its batch's rows where it names a list. Batches of the knowledge base
// belong to the tenant `global`, their events to `platform`.
constexpr std::string_view kBroughtIn =
    "(e.kind IN ('source.fetched', 'advisory.ingested', 'vex.ingested', 'policy.published')"
    " AND EXISTS (SELECT FROM jsonb_array_elements(e.details_jsonb->'outputs') o WHERE o->>'sha256' = ANY($3::text[])))"
    " OR (e.kind = 'vex.ingested' AND e.event_id IN (SELECT r.event_id FROM timeline_event_resources r WHERE r.tenant_id = $1 AND r.resource_type = 'batch' AND r.resource_id IN"
    " (SELECT v.batch_id::text FROM vex_observations v WHERE v.tenant_id = $4 AND v.doc_sha256 IN (SELECT decode(d, 'hex') FROM unnest($3::text[]) d))))";
// The events of traces, and those of other traces that brought in a digest: documents are received once and used by many evaluations.
std::string of_traces_and_producers() {
  return std::string("SELECT l.entry, l.log_index FROM timeline_events e JOIN timeline_log l USING (tenant_id, event_id) WHERE e.tenant_id = $1 AND (e.trace_id = ANY($2::text[]) OR ")
      .append(kBroughtIn)
      .append(") ORDER BY l.log_index");
}
// The platform's events about keys that name one of these signed events.
constexpr std::string_view kOfKeys =
    "SELECT l.entry, l.log_index FROM timeline_events e JOIN timeline_log l USING (tenant_id, event_id) WHERE e.tenant_id = $1"
    " AND e.kind IN ('key.introduced', 'key.activated', 'key.rotated', 'key.retired', 'key.compromised') AND e.details_jsonb->>'envelope_sha256' = ANY($2::text[]) ORDER BY l.log_index";
// The documents that each of these ingests brought in.
constexpr std::string_view kDocumentsOfIngests =
    "SELECT j.job_id, v.doc_sha256 FROM jobs j JOIN vex_observations v ON v.tenant_id = j.tenant_id AND v.batch_id = j.resource_id::uuid"
    " WHERE j.tenant_id = $1 AND j.kind = 'vex.ingest' AND j.job_id = ANY($2::uuid[]) ORDER BY j.job_id";
// Jobs with more inputs or outputs than an event names one by one.
constexpr std::string_view kJobsWithLists =
    "SELECT job_id, inputs, coalesce(outputs, '[]') FROM jobs WHERE tenant_id = $1 AND trace_id = ANY($2::text[])"
    " AND (jsonb_array_length(inputs) > $3::int OR jsonb_array_length(coalesce(outputs, '[]')) > $3::int)";
constexpr int kDepth = 8;  // batch, ingest: two steps today

Result<std::vector<CustodyEvent>> parse(std::string_view events) {
  std::vector<CustodyEvent> out;
  while (!events.empty()) {
    const std::size_t end = std::min(events.find('\n'), events.size());
    out.push_back(STELLA_TRY(parse_custody_event(events.substr(0, end))));
    events.remove_prefix(std::min(end + 1, events.size()));
  }
  return out;
}

// The list as jobs::digest_list() takes its digest.
template <class Ref>
std::string list_of(const std::vector<Ref>& refs) {
  json::Array out;
  for (const Ref& ref : refs) out.push_back(json::Value::object({{"name", ref.name}, {"sha256", ref.sha256.hex()}}));
  return json::dump(json::Value(std::move(out)));
}

}  // namespace

void CustodyRecord::keep_if_named(std::string list, const std::vector<Sha256>& named) {
  const Sha256 digest = crypto::sha256(list);
  if (std::find(named.begin(), named.end(), digest) != named.end()) lists_.emplace(digest, std::move(list));
}

Result<void> CustodyRecord::find_documents(pg::SystemTx<pg::LockerRole>& tx, const Part& part, const std::vector<std::string>& ingests, const std::vector<Sha256>& named) {
  if (ingests.empty()) return {};
  const auto rows = STELLA_TRY(tx.query(kDocumentsOfIngests, {STELLA_TRY(part.documents()), pg::Param::uuid_array(ingests)}));
  for (int i = 0; i < rows.size();) {
    const std::string_view job = rows.text(i, 0);
    std::vector<Sha256> documents;
    for (; i < rows.size() && rows.text(i, 0) == job; ++i) documents.push_back(STELLA_TRY(rows.sha256(i, 1)));
    keep_if_named(list_of(jobs::document_refs(std::move(documents))), named);
  }
  return {};
}

// A list is no object of the store: it is made again from rows, and only the digest in the event says that it is the same.
Result<void> CustodyRecord::find_lists(pg::SystemTx<pg::LockerRole>& tx, const Part& part, const std::vector<Sha256>& named) {
  const auto missing = [&](const Sha256& d) { return !lists_.contains(d); };
  if (std::none_of(named.begin(), named.end(), missing)) return {};
  std::vector<std::string> traces, ingests;
  std::map<std::string, std::set<Sha256>, std::less<>> made;  // by job: what was made for it, which its "scheduled" puts out and does not take in
  for (std::string_view text = part.events; !text.empty();) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    const std::string_view entry = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    if (entry.find("\"list:") == std::string_view::npos) continue;
    const json::Value event = STELLA_TRY(json::parse(entry));
    std::string trace(event.str("trace_id"));
    if (!trace.empty() && asked_.emplace(part.tenant.str(), trace).second) traces.push_back(std::move(trace));
    const json::Value* details = event.find("details");
    if (details == nullptr) continue;
    if (event.str("kind") == contracts::events::kVexIngested && asked_.emplace(part.tenant.str(), details->str("job_id")).second) ingests.emplace_back(details->str("job_id"));
    if (event.str("kind") != contracts::events::kJobScheduled) continue;
    for (const json::Value& output : details->items("outputs"))
      if (const auto digest = Sha256::parse(output.str("sha256"))) made[std::string(details->str("job_id"))].insert(*digest);
  }
  STELLA_TRY_VOID(find_documents(tx, part, ingests, named));
  if (traces.empty()) return {};
  const auto rows = STELLA_TRY(tx.query(kJobsWithLists, {part.tenant, pg::Param::text_array(traces), static_cast<std::int64_t>(jobs::kDigestsPerEvent)}));
  for (int i = 0; i < rows.size(); ++i) {
    const auto inputs = STELLA_TRY(jobs::inputs_from_json(rows.text(i, 1)));
    const auto outputs = STELLA_TRY(jobs::outputs_from_json(rows.text(i, 2)));
    std::vector<jobs::InputRef> taken = inputs;
    if (const auto found = made.find(rows.text(i, 0)); found != made.end()) std::erase_if(taken, [&](const jobs::InputRef& ref) { return found->second.contains(ref.sha256); });
    for (const std::string& list : {list_of(inputs), list_of(outputs), list_of(taken)}) keep_if_named(list, named);
  }
  return {};
}

Result<std::vector<CustodyEvent>> CustodyRecord::events_of(pg::SystemTx<pg::LockerRole>& tx, const Part& part) {
  auto events = STELLA_TRY(parse(part.events));
  STELLA_TRY_VOID(find_lists(tx, part, custody_lists(events)));
  const auto expanded = expand_custody_lists(events, [&](const Sha256& digest) {
    const auto found = lists_.find(digest);
    return found == lists_.end() ? std::string_view() : std::string_view(found->second);
  });
  // Too many entries to follow: the bundle is sealed all the same, and its verdict says so.
  if (!expanded) return parse(part.events);
  return events;
}

Result<TenantId> CustodyRecord::Part::documents() const {
  if (log == CustodyLog::kKnowledgeBase) return TenantId::parse(kGlobalTenant);
  return tenant;
}

void CustodyRecord::Part::add(const pg::Rows& rows) {
  events.clear();
  indexes.clear();
  for (int i = 0; i < rows.size(); ++i) {
    events.append(rows.bytes(i, 0)).append("\n");
    indexes.push_back(static_cast<std::uint64_t>(rows.integer(i, 1)));
  }
}

Result<void> CustodyRecord::Part::find_head(pg::SystemTx<pg::LockerRole>& tx, std::chrono::seconds witness_patience) {
  if (indexes.empty()) return {};
  head = STELLA_TRY(timeline::head_to_keep(tx, tenant, indexes.back() + 1, witness_patience));
  return {};
}

// The platform's log has all of them but the first, which says that the first key is known: the next one, of the same key, vouches for it.
Result<void> CustodyRecord::find_keys(pg::SystemTx<pg::LockerRole>& tx, std::uint64_t events, std::chrono::seconds witness_patience) {
  const KeyLines lines = STELLA_TRY(key_lines(tx, events));
  key_history_ = lines.text;
  keys_.log = CustodyLog::kKeys;
  keys_.tenant = STELLA_TRY(TenantId::parse(kPlatformTenant));
  keys_.add(STELLA_TRY(tx.query(kOfKeys, {keys_.tenant, pg::Param::text_array(lines.digests)})));
  for (std::size_t i = 1; i < lines.digests.size(); ++i) whole_ = whole_ && keys_.events.find(lines.digests[i]) != std::string::npos;
  return keys_.find_head(tx, witness_patience);
}

Result<KeyLines> key_lines(pg::SystemTx<pg::LockerRole>& tx, std::optional<std::uint64_t> first) {
  const auto rows = STELLA_TRY(tx.query("SELECT at, envelope FROM key_events ORDER BY seq LIMIT $1", {first}));
  KeyLines out;
  for (int i = 0; i < rows.size(); ++i) {
    const auto envelope = STELLA_TRY(crypto::dsse_parse(rows.text(i, 1)));
    out.last = rows.timestamp(i, 0);
    out.text += crypto::key_log_line(out.last, envelope);
    out.digests.push_back(crypto::sha256(envelope.json()).hex());
  }
  return out;
}

Result<CustodyRecord> collect_custody(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const std::vector<std::string>& traces, const std::optional<SignedBefore>& signature, std::chrono::seconds witness_patience) {
  CustodyRecord out;
  out.tenant_.tenant = tenant;
  out.tenant_.add(STELLA_TRY(tx.query(kOfTraces, {tenant, pg::Param::text_array(traces)})));
  if (signature) {
    out.whole_ = out.tenant_.events.find(signature->event.str()) != std::string::npos;
    STELLA_TRY_VOID(out.find_keys(tx, signature->key_events, witness_patience));
  }
  auto& kb = out.knowledge_base_;
  kb.log = CustodyLog::kKnowledgeBase;
  kb.tenant = STELLA_TRY(TenantId::parse(kPlatformTenant));
  if (tenant == kb.tenant) {  // its own log has them
    const auto events = STELLA_TRY(out.events_of(tx, out.tenant_));  // for the lists that they name
    static_cast<void>(events);
    STELLA_TRY_VOID(out.tenant_.find_head(tx, witness_patience));
    return out;
  }
  // What the traces took in, the tenant itself may have received before; what it did not is the knowledge base's.
  std::set<std::string> wanted;
  for (int depth = 0; depth < kDepth; ++depth) {
    const std::size_t asked = wanted.size();
    const auto events = STELLA_TRY(out.events_of(tx, out.tenant_));
    for (const CustodyLink& broken : walk_custody(events).broken) wanted.insert(broken.sha256.hex());
    if (wanted.size() == asked) break;
    const std::vector<std::string> digests(wanted.begin(), wanted.end());
    out.tenant_.add(STELLA_TRY(tx.query(of_traces_and_producers(), {tenant, pg::Param::text_array(traces), pg::Param::text_array(digests), tenant})));
  }
  wanted.clear();
  const auto events = STELLA_TRY(out.events_of(tx, out.tenant_));
  for (const CustodyLink& broken : walk_custody(events).broken) wanted.insert(broken.sha256.hex());
  // What those events took in has producers of its own, up to what a feed gave.
  for (int depth = 0, asked = 0; depth < kDepth && static_cast<int>(wanted.size()) > asked; ++depth) {
    asked = static_cast<int>(wanted.size());
    const std::vector<std::string> digests(wanted.begin(), wanted.end());
    kb.add(STELLA_TRY(tx.query(of_traces_and_producers(), {kb.tenant, pg::Param::text_array({}), pg::Param::text_array(digests), STELLA_TRY(kb.documents())})));
    const auto producers = STELLA_TRY(out.events_of(tx, kb));
    for (const CustodyLink& broken : walk_custody(producers).broken) wanted.insert(broken.sha256.hex());
  }
  STELLA_TRY_VOID(out.tenant_.find_head(tx, witness_patience));
  STELLA_TRY_VOID(kb.find_head(tx, witness_patience));
  return out;
}

Result<std::optional<SealedCustody>> CustodyRecord::sealed() const {
  std::optional<SealedCustody> out;
  if (tenant_.indexes.empty()) return out;
  out.emplace();
  out->tenant = STELLA_TRY(sealed_events(tenant_.events, tenant_.indexes));
  out->knowledge_base = STELLA_TRY(sealed_events(knowledge_base_.events, knowledge_base_.indexes));
  return out;
}

bool CustodyRecord::begins_with(const std::optional<SealedCustody>& sealed) const {
  return !sealed || (evidence::begins_with(tenant_.events, sealed->tenant) && evidence::begins_with(knowledge_base_.events, sealed->knowledge_base));
}

Result<bool> CustodyRecord::is_told_of(const BundleId& bundle, std::string_view job) const {
  const auto events = STELLA_TRY(parse(tenant_.events));
  const auto asked = [&](const CustodyEvent& event) { return event.kind == contracts::events::kEvidenceSnapshot && event.resource_id == bundle.str(); };
  if (std::none_of(events.begin(), events.end(), asked)) return false;  // it stays for good, so the log is behind
  const auto missing = missing_transitions(events, bundle.str(), {});
  return std::none_of(missing.begin(), missing.end(), [&](const MissingTransition& m) { return m.job_id == job && !m.may_have_expired; });
}

Result<void> CustodyRecord::want_checkpoints(pg::SystemTx<pg::LockerRole>& tx) const {
  for (const Part* part : {&tenant_, &knowledge_base_, &keys_})
    if (!part->covered()) STELLA_TRY_VOID(timeline::want_checkpoint(tx, part->tenant, part->indexes.back() + 1));
  return {};
}

Result<void> CustodyRecord::enclose(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, SealInput& input) {
  input.custody_events = tenant_.events;
  if (input.signed_seal.empty()) input.facts.custody = STELLA_TRY(sealed());
  if (!tenant_.indexes.empty()) {
    input.facts.log_origin = tenant_.head.origin;
    input.facts.log_size = tenant_.head.size;
  }
  if (!key_history_.empty()) input.extra_files.emplace_back(kKeyHistoryPath, key_history_);
  for (const auto& [digest, list] : lists_) input.extra_files.emplace_back(custody_list_path(digest), list);
  for (const Part* part : {&tenant_, &knowledge_base_, &keys_}) {
    if (part->indexes.empty()) continue;
    const std::string prefix(custody_prefix(part->log));
    input.extra_files.emplace_back(prefix + "checkpoint", part->head.note);
    input.extra_files.emplace_back(custody_deployment_path(part->log), STELLA_TRY(timeline::deployment_proof(tx, store, part->tenant, part->head.size)).file);
    if (part->log != CustodyLog::kTenant) input.extra_files.emplace_back(prefix + "events.jsonl", part->events);
    auto proofs = STELLA_TRY(timeline::inclusion_files(tx, store, part->tenant, part->head, part->indexes));
    for (std::size_t i = 0; i < proofs.size(); ++i) input.extra_files.emplace_back(custody_proof_path(part->log, i), std::move(proofs[i]));
  }
  return {};
}

}  // namespace stella::evidence
