// From traces to events, from missing producers to the knowledge base, from indexes to proofs.
#include "custody_record.h"

#include <set>

#include "stella/tenancy/scope.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kOfTraces =
    "SELECT l.entry, l.log_index FROM timeline_events e JOIN timeline_log l USING (tenant_id, event_id) WHERE e.tenant_id = $1 AND e.trace_id = ANY($2::text[]) ORDER BY l.log_index";
// The same with the events of other traces that brought in one of these digests: documents are received once and used by many evaluations.
constexpr std::string_view kOfTracesAndProducers =
    "SELECT l.entry, l.log_index FROM timeline_events e JOIN timeline_log l USING (tenant_id, event_id) WHERE e.tenant_id = $1 AND (e.trace_id = ANY($2::text[])"
    " OR (e.kind IN ('source.fetched', 'advisory.ingested', 'vex.ingested')"
    " AND EXISTS (SELECT FROM jsonb_array_elements(e.details_jsonb->'outputs') o WHERE o->>'sha256' = ANY($3::text[])))) ORDER BY l.log_index";
// Events of the knowledge base that put out one of these digests.
constexpr std::string_view kProducers =
    "SELECT l.entry, l.log_index FROM timeline_events e JOIN timeline_log l USING (tenant_id, event_id) WHERE e.tenant_id = $1"
    " AND e.kind IN ('source.fetched', 'advisory.ingested', 'vex.ingested')"
    " AND EXISTS (SELECT FROM jsonb_array_elements(e.details_jsonb->'outputs') o WHERE o->>'sha256' = ANY($2::text[])) ORDER BY l.log_index";
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

}  // namespace

void CustodyRecord::Part::add(const pg::Rows& rows) {
  events.clear();
  indexes.clear();
  for (int i = 0; i < rows.size(); ++i) {
    events.append(rows.bytes(i, 0)).append("\n");
    indexes.push_back(static_cast<std::uint64_t>(rows.integer(i, 1)));
  }
}

Result<CustodyRecord> collect_custody(pg::SystemTx<pg::LockerRole>& tx, const TenantId& tenant, const std::vector<std::string>& traces) {
  CustodyRecord out;
  out.tenant_.tenant = tenant;
  out.tenant_.add(STELLA_TRY(tx.query(kOfTraces, {tenant, pg::Param::text_array(traces)})));
  out.tenant_.head = STELLA_TRY(timeline::signed_head(tx, tenant));
  auto& kb = out.knowledge_base_;
  kb.log = CustodyLog::kKnowledgeBase;
  kb.tenant = STELLA_TRY(TenantId::parse(kPlatformTenant));
  if (tenant == kb.tenant) return out;  // its own log has them
  // What the traces took in, the tenant itself may have received before; what it did not is the knowledge base's.
  std::set<std::string> wanted;
  for (int depth = 0; depth < kDepth; ++depth) {
    const std::size_t asked = wanted.size();
    const auto events = STELLA_TRY(parse(out.tenant_.events));
    for (const CustodyLink& broken : walk_custody(events).broken) wanted.insert(broken.sha256.hex());
    if (wanted.size() == asked) break;
    const std::vector<std::string> digests(wanted.begin(), wanted.end());
    out.tenant_.add(STELLA_TRY(tx.query(kOfTracesAndProducers, {tenant, pg::Param::text_array(traces), pg::Param::text_array(digests)})));
  }
  wanted.clear();
  const auto events = STELLA_TRY(parse(out.tenant_.events));
  for (const CustodyLink& broken : walk_custody(events).broken) wanted.insert(broken.sha256.hex());
  // What those events took in has producers of its own, up to what a feed gave.
  for (int depth = 0, asked = 0; depth < kDepth && static_cast<int>(wanted.size()) > asked; ++depth) {
    asked = static_cast<int>(wanted.size());
    const std::vector<std::string> digests(wanted.begin(), wanted.end());
    kb.add(STELLA_TRY(tx.query(kProducers, {kb.tenant, pg::Param::text_array(digests)})));
    const auto producers = STELLA_TRY(parse(kb.events));
    for (const CustodyLink& broken : walk_custody(producers).broken) wanted.insert(broken.sha256.hex());
  }
  kb.head = STELLA_TRY(timeline::signed_head(tx, kb.tenant));
  return out;
}

Result<void> CustodyRecord::want_checkpoints(pg::SystemTx<pg::LockerRole>& tx) const {
  for (const Part* part : {&tenant_, &knowledge_base_})
    if (!part->covered()) STELLA_TRY_VOID(timeline::want_checkpoint(tx, part->tenant, part->indexes.back() + 1));
  return {};
}

Result<void> CustodyRecord::enclose(pg::SystemTx<pg::LockerRole>& tx, objects::Store& store, SealInput& input) {
  input.custody_events = tenant_.events;
  if (!tenant_.indexes.empty()) {
    input.facts.log_origin = tenant_.head.origin;
    input.facts.log_size = tenant_.head.size;
  }
  for (const Part* part : {&tenant_, &knowledge_base_}) {
    if (part->indexes.empty()) continue;
    const std::string prefix(custody_prefix(part->log));
    input.extra_files.emplace_back(prefix + "checkpoint", part->head.note);
    if (part->log != CustodyLog::kTenant) input.extra_files.emplace_back(prefix + "events.jsonl", part->events);
    auto proofs = STELLA_TRY(timeline::inclusion_files(tx, store, part->tenant, part->head, part->indexes));
    for (std::size_t i = 0; i < proofs.size(); ++i) input.extra_files.emplace_back(custody_proof_path(part->log, i), std::move(proofs[i]));
  }
  return {};
}

}  // namespace stella::evidence
