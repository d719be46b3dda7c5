// Reads what is known of a source's documents and places the next one.
#include "revisions.h"

#include <algorithm>

namespace stella::ledger {
namespace {

constexpr auto kClockSkew = std::chrono::hours(24);

}  // namespace

std::optional<Timestamp> document_time(std::string_view text) {
  const auto time = Timestamp::parse(text);
  if (!time || *time <= Timestamp() || *time > Timestamp::now() + kClockSkew) return std::nullopt;
  return *time;
}

Result<Revisions> Revisions::load(OrchestratorTx& tx, const DocumentTables& tables, const TenantId& tenant, const std::string& source_id,
                                  const std::vector<std::pair<std::string, Sha256>>& documents) {
  std::vector<std::string> ids, digests;
  for (const auto& [id, digest] : documents) {
    ids.push_back(id);
    digests.emplace_back(digest.view());
  }
  STELLA_TRY_VOID(tx.query("SELECT pg_advisory_xact_lock(hashtextextended($1, 0))", {std::string(tables.current) + "/" + tenant.str() + "/" + source_id}));
  const std::string of_these = " WHERE o.tenant_id = $1 AND o.source_id = $2 AND o.native_id = ANY($3::text[])";
  Revisions out;
  // One with a rejected document says nothing for certain of what it leaves out.
  const auto whole = STELLA_TRY(tx.query("SELECT batch_id::text FROM ingest_batches WHERE tenant_id = $1 AND kind = $2 AND source_id = $3 AND complete AND state = 'ingested' AND (counts->>'rejected')::int = 0 ORDER BY batch_id DESC LIMIT 1",
                                         {tenant, tables.kind, source_id}));
  if (!whole.empty()) out.whole_ = whole.text(0, 0);
  const auto numbers = STELLA_TRY(tx.query(std::string("SELECT o.native_id, max(o.revision_no), coalesce(max(o.batch_id::text) FILTER (WHERE o.vanished), '') FROM ").append(tables.observations).append(" o").append(of_these).append(" GROUP BY o.native_id"),
                                           {tenant, source_id, pg::Param::text_array(ids)}));
  for (int i = 0; i < numbers.size(); ++i) {
    Known& known = out.known_[std::string(numbers.text(i, 0))];
    known.last = static_cast<int>(numbers.integer(i, 1));
    known.vanished = numbers.text(i, 2);
  }
  const auto current = STELLA_TRY(tx.query(std::string("SELECT o.native_id, o.doc_sha256, o.").append(tables.time).append(", o.batch_id::text FROM ").append(tables.current).append(" c JOIN ")
                                               .append(tables.observations).append(" o USING (tenant_id, source_id, native_id, revision_no)").append(of_these),
                                           {tenant, source_id, pg::Param::text_array(ids)}));
  for (int i = 0; i < current.size(); ++i)
    out.known_[std::string(current.text(i, 0))].in_force = Standing{STELLA_TRY(current.sha256(i, 1)), document_time(current.text(i, 2)), std::string(current.text(i, 3))};
  const auto observed = STELLA_TRY(tx.query(std::string("SELECT o.native_id, o.doc_sha256 FROM ").append(tables.observations).append(" o").append(of_these).append(" AND o.doc_sha256 = ANY($4::bytea[])"),
                                            {tenant, source_id, pg::Param::text_array(ids), pg::Param::bytes_array(digests)}));
  for (int i = 0; i < observed.size(); ++i) {
    const Sha256 digest = STELLA_TRY(observed.sha256(i, 1));
    out.known_[std::string(observed.text(i, 0))].observed.insert(digest);
  }
  return out;
}

Taken Revisions::take(const std::string& id, const Sha256& document, std::string_view time, std::string_view batch) {
  Known& known = known_[id];
  Standing next{document, document_time(time), std::string(batch)};
  if (known.in_force && known.in_force->document == document) return {Step::kUnchanged, 0, document};
  // Received before the snapshot that did not hold it any more, or never did.
  if (!known.in_force && next.batch < std::max(known.vanished, whole_)) {
    if (!known.observed.insert(document).second) return {Step::kStaleAgain, 0, document};
    return {Step::kStale, ++known.last, document};
  }
  if (known.in_force) {
    // Ids of batches grow with the time at which they were received.
    const bool by_time = next.time && known.in_force->time && *next.time != *known.in_force->time;
    const bool older = by_time ? *next.time < *known.in_force->time : next.batch < known.in_force->batch;
    if (older) {
      if (!known.observed.insert(document).second) return {Step::kStaleAgain, 0, known.in_force->document};
      return {Step::kStale, ++known.last, known.in_force->document};
    }
  }
  Taken out{known.in_force ? Step::kRevised : Step::kNew, ++known.last, known.in_force ? known.in_force->document : Sha256()};
  known.observed.insert(document);
  known.in_force = std::move(next);
  return out;
}

Result<std::vector<Vanished>> take_vanished(OrchestratorTx& tx, const DocumentTables& tables, const TenantId& tenant, const std::string& source_id,
                                            const std::vector<std::string>& held, const std::string& batch) {
  std::vector<Vanished> out;
  const auto newer = STELLA_TRY(tx.query("SELECT EXISTS (SELECT FROM ingest_batches b JOIN ingest_batches this USING (tenant_id, kind, source_id) WHERE this.tenant_id = $1 AND this.batch_id = $2::uuid "
                                         "AND b.state = 'ingested' AND b.batch_id > this.batch_id)", {tenant, batch}));
  if (newer.boolean(0, 0)) return out;
  const std::string observations(tables.observations), current(tables.current), copied(tables.copied);
  const auto rows = STELLA_TRY(tx.query("WITH gone AS (DELETE FROM " + current + " WHERE tenant_id = $1 AND source_id = $2 AND NOT native_id = ANY($3::text[]) RETURNING tenant_id, source_id, native_id, revision_no, doc_sha256) "
                                        "INSERT INTO " + observations + " (tenant_id, source_id, native_id, revision_no, doc_sha256, " + copied + ", batch_id, vanished) "
                                        "SELECT tenant_id, source_id, native_id, (SELECT max(m.revision_no) FROM " + observations + " m WHERE (m.tenant_id, m.source_id, m.native_id) = (g.tenant_id, g.source_id, g.native_id)) + 1, "
                                        "g.doc_sha256, " + copied + ", $4::uuid, true FROM gone g JOIN (SELECT tenant_id, source_id, native_id, revision_no, " + copied + " FROM " + observations + ") o "
                                        "USING (tenant_id, source_id, native_id, revision_no) RETURNING native_id, doc_sha256",
                                        {tenant, source_id, pg::Param::text_array(held), batch}));
  for (int i = 0; i < rows.size(); ++i) {
    const Sha256 document = STELLA_TRY(rows.sha256(i, 1));
    out.push_back({std::string(rows.text(i, 0)), document});
  }
  std::sort(out.begin(), out.end(), [](const Vanished& a, const Vanished& b) { return a.id < b.id; });
  return out;
}

}  // namespace stella::ledger
