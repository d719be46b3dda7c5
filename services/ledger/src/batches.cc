// Advisory and VEX documents: kept byte for byte, one revision per change, never merged, never mutated (AOC).
#include <algorithm>
#include <iterator>
#include <map>
#include <set>

#include "alias_sets.h"
#include "common.h"
#include "linksets.h"
#include "revisions.h"
#include "stella/base/tar.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/events.h"
#include "stella/contracts/job_kinds.h"
#include "stella/crypto/digest.h"

namespace stella::ledger {
namespace {

constexpr std::size_t kRejectedShown = 100;  // rejected documents kept in the row

bool valid_source(std::string_view id) {
  return !id.empty() && id.size() <= 64 && std::all_of(id.begin(), id.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

std::string_view kind_name(DocumentKind kind) { return kind == DocumentKind::kAdvisory ? "advisory" : "vex"; }

}  // namespace

Result<ReceivedBatch> receive_batch(pg::TenantTx& tx, objects::Store& store, DocumentKind kind, std::string_view source_id, std::string_view bytes,
                                    bool is_tar, const Trace& trace, bool complete) {
  if (!valid_source(source_id)) return Error(base_errors::kInvalid, "not a source id").with("field", "source").with("expected", "[A-Za-z0-9._-]{1,64}");
  if (complete && !is_tar) return Error(base_errors::kInvalid, "one document is not all that a source has").with("field", "complete").with("expected", "a tar of every document of the source");
  std::string made;
  if (!is_tar) {
    append_tar(made, "document.json", bytes);
    append_tar_end(made);
    bytes = made;
  }
  TarReadLimits tar_limits;
  tar_limits.max_files = limits::kIngestBatchDocuments;
  tar_limits.max_file_bytes = kind == DocumentKind::kAdvisory ? limits::kAdvisoryBytes : limits::kVexBytes;
  const auto files = STELLA_TRY(read_tar(bytes, tar_limits));
  if (files.empty()) return Error(base_errors::kInvalid, "the archive holds no document").with("field", "body").with("expected", "at least one file");
  const Sha256 tar_digest = crypto::sha256(bytes);
  std::vector<std::pair<std::string, std::string_view>> objects;
  std::vector<std::vector<pg::Param>> documents;
  ReceivedBatch out;
  out.id = Uuid::v7();
  out.documents = static_cast<int>(files.size());
  objects.emplace_back(object_key::object(tx.tenant(), tar_digest), bytes);
  for (const TarFile& f : files) {
    const Sha256 digest = crypto::sha256(f.bytes);
    objects.emplace_back(object_key::object(tx.tenant(), digest), f.bytes);
    documents.push_back({tx.tenant(), digest, kind_name(kind), source_id, "application/json", f.bytes.size(), out.id.str()});
  }
  STELLA_TRY_VOID(store.put_many(objects));
  STELLA_TRY_VOID(tx.query("INSERT INTO ingest_batches (tenant_id, batch_id, kind, source_id, sha256, size, documents, state, received_by, trace_id, complete) "
                           "VALUES ($1, $2, $3, $4, $5, $6, $7, 'received', $8, $9, $10)",
                           {tx.tenant(), out.id.str(), kind_name(kind), source_id, tar_digest, bytes.size(), out.documents, tx.actor(), trace.id.hex(), complete}));
  STELLA_TRY_VOID(tx.query_many("INSERT INTO source_documents (tenant_id, sha256, kind, source_id, media_type, size, first_batch) VALUES ($1, $2, $3, $4, $5, $6, $7) "
                                "ON CONFLICT DO NOTHING",
                                documents));
  jobs::Spec spec;
  spec.kind = std::string(kind == DocumentKind::kAdvisory ? contracts::job_kinds::kAdvisoryIngest : contracts::job_kinds::kVexIngest);
  spec.params = json::Value::object({{"source_id", source_id}});
  if (complete) spec.params.set("complete", true);
  spec.inputs.push_back({"batch.tar", tar_digest, tx.tenant()});
  spec.resource_type = "batch";
  spec.resource_id = out.id.str();
  spec.requested_by = tx.actor();
  spec.traceparent = trace.traceparent;
  spec.trace = trace.id;
  const jobs::Scheduled job = STELLA_TRY(jobs::schedule(tx, spec));
  STELLA_TRY_VOID(tx.query("UPDATE ingest_batches SET job_id = $3 WHERE tenant_id = $1 AND batch_id = $2", {tx.tenant(), out.id.str(), job.job_id}));
  timeline::Event event = make_event(contracts::events::kSourceFetched, tx.actor(), "source", std::string(source_id), trace,
                                     json::Value::object({{"sha256", tar_digest.hex()}, {"bytes", bytes.size()}, {"document_count", out.documents}, {"status", "received"},
                                                          {"outputs", json::Value::array({digest_entry("batch.tar", tar_digest)})}}));
  event.resources.emplace_back("batch", out.id.str());
  STELLA_TRY_VOID(timeline::emit(tx, std::move(event)));
  return out;
}

namespace {

// One parsed document of a batch, as the job observed it.
struct Observation {
  std::string path;
  Sha256 sha256;
  std::string id;
  std::string time;  // as the document states it
  json::Value line;
};

struct Counts {
  int fresh = 0, revised = 0, unchanged = 0, stale = 0, vanished = 0, withdrawn = 0, rejected = 0, statements = 0;
  void add(Step step) {
    switch (step) {
      case Step::kNew: ++fresh; break;
      case Step::kRevised: ++revised; break;
      case Step::kUnchanged: ++unchanged; break;
      case Step::kStale:
      case Step::kStaleAgain: ++stale; break;
    }
  }
  json::Value json() const {
    return json::Value::object({{"new", fresh}, {"revised", revised}, {"unchanged", unchanged}, {"stale", stale}, {"vanished", vanished}, {"withdrawn", withdrawn}, {"rejected", rejected}});
  }
};

std::vector<std::string> strings(const json::Value& line, std::string_view name) {
  std::vector<std::string> out;
  for (const json::Value& v : line.items(name))
    if (v.is_string()) out.push_back(v.as_string());
  return out;
}

struct Batch {
  std::string source_id;
  std::vector<Observation> parsed;
  json::Array rejected;
  Counts counts;
};

// A document without an id is one of its own: nothing says that another is a revision of it.
std::string id_of(const json::Value& line, const Sha256& document) {
  const std::string_view id = line.str("id");
  return id.empty() ? "sha256:" + document.hex() : std::string(id);
}

// `time` is the member with the document's own time. Sorted by id, and where one stands more than once, the oldest first and then as in the batch.
Result<Batch> read_observations(std::string_view ndjson, const jobs::FinishedJob& job, std::string_view time) {
  Batch out;
  out.source_id = STELLA_TRY(job.params.require_string("source_id"));
  while (!ndjson.empty()) {
    const std::size_t end = std::min(ndjson.find('\n'), ndjson.size());
    json::Value line = STELLA_TRY(json::parse(ndjson.substr(0, end)));
    ndjson.remove_prefix(std::min(end + 1, ndjson.size()));
    const std::string_view id = line.str("id");
    if (line.str("status") == "parsed" && !id.empty() && !usable_id(id)) {
      line.set("status", "rejected");
      line.set("error", json::Value::object({{"code", "invalid"}, {"message", "the document's id is not usable"}, {"expected", "at most 500 bytes without NUL"}}));
    }
    if (line.str("status") != "parsed") {
      ++out.counts.rejected;
      if (out.rejected.size() < kRejectedShown) {
        const json::Value* error = line.find("error");
        out.rejected.push_back(json::Value::object({{"path", line.str("path")}, {"sha256", line.str("sha256")}, {"error", error != nullptr ? *error : json::Value()}}));
      }
      continue;
    }
    Observation o;
    o.path = std::string(line.str("path"));
    o.sha256 = STELLA_TRY(Sha256::parse(line.str("sha256")));
    STELLA_TRY_VOID(line.require_string("id"));
    o.id = id_of(line, o.sha256);
    o.time = std::string(line.str(time));
    o.line = std::move(line);
    out.parsed.push_back(std::move(o));
  }
  std::vector<std::pair<std::pair<std::string_view, std::optional<Timestamp>>, std::size_t>> order;
  for (std::size_t i = 0; i < out.parsed.size(); ++i) order.push_back({{out.parsed[i].id, document_time(out.parsed[i].time)}, i});
  std::sort(order.begin(), order.end());
  std::vector<Observation> sorted;
  for (const auto& [key, i] : order) sorted.push_back(out.parsed[i]);
  out.parsed = std::move(sorted);
  return out;
}

Result<Revisions> known_revisions(OrchestratorTx& tx, const DocumentTables& tables, const jobs::FinishedJob& job, const Batch& batch) {
  std::vector<std::pair<std::string, Sha256>> documents;
  for (const Observation& o : batch.parsed) documents.emplace_back(o.id, o.sha256);
  return Revisions::load(tx, tables, job.tenant, batch.source_id, documents);
}

// What a complete batch leaves out. A document that was rejected may be any of the source's: then nothing vanished for certain.
Result<std::vector<Vanished>> vanished_from(OrchestratorTx& tx, const DocumentTables& tables, const jobs::FinishedJob& job, Batch& batch) {
  if (!job.params.boolean("complete") || batch.counts.rejected > 0) return std::vector<Vanished>();
  std::vector<std::string> held;
  for (const Observation& o : batch.parsed) held.push_back(o.id);
  auto out = STELLA_TRY(take_vanished(tx, tables, job.tenant, batch.source_id, held, job.resource_id));
  batch.counts.vanished = static_cast<int>(out.size());
  return out;
}

// The last row of each document: one that stands twice in a batch comes into force twice.
using RowsById = std::map<std::string, std::vector<pg::Param>>;
std::vector<std::vector<pg::Param>> rows_of(RowsById rows) {
  std::vector<std::vector<pg::Param>> out;
  for (auto& [id, row] : rows) out.push_back(std::move(row));
  return out;
}

Result<void> close_batch(OrchestratorTx& tx, const jobs::FinishedJob& job, const Batch& batch) {
  STELLA_TRY_VOID(tx.query("UPDATE ingest_batches SET state = 'ingested', counts = $3, rejected = $4, error = NULL, finished_at = now() WHERE tenant_id = $1 AND batch_id = $2",
                           {job.tenant, job.resource_id, json::dump(batch.counts.json()), pg::Param::json(json::dump(json::Value(batch.rejected)))}));
  return {};
}

json::Value ingested_details(const jobs::FinishedJob& job, const Batch& batch) {
  return json::Value::object({{"source_id", batch.source_id}, {"document_count", static_cast<std::int64_t>(batch.parsed.size()) + batch.counts.rejected},
                              {"new_count", batch.counts.fresh}, {"revised_count", batch.counts.revised}, {"unchanged_count", batch.counts.unchanged},
                              {"stale_count", batch.counts.stale}, {"vanished_count", batch.counts.vanished},
                              {"rejected_count", batch.counts.rejected}, {"global", job.tenant.str() == kGlobalTenant},
                              {"inputs", jobs::digest_list(job.inputs)}, {"outputs", jobs::digest_list(job.outputs)}});
}

Result<void> fail_batch(OrchestratorTx& tx, const jobs::FailedJob& job) {
  STELLA_TRY_VOID(tx.query("UPDATE ingest_batches SET state = 'rejected', error = $3, finished_at = now() WHERE tenant_id = $1 AND batch_id = $2",
                           {job.tenant, job.resource_id, pg::Param::json(json::dump(jobs::error_json(job)))}));
  return {};
}

class AdvisoryIngest final : public jobs::KindHandler {
 public:
  explicit AdvisoryIngest(objects::Store& store) : store_(store) {}

  Result<void> on_finished(OrchestratorTx& tx, const jobs::FinishedJob& job) override {
    Batch batch = STELLA_TRY(read_observations(STELLA_TRY(read_output(store_, job, "observations.ndjson")), job, "modified"));
    Revisions revisions = STELLA_TRY(known_revisions(tx, kAdvisoryTables, job, batch));
    std::vector<std::vector<pg::Param>> observations;
    RowsById in_force;
    std::map<std::string, ChangedRecord> records;
    std::vector<timeline::Event> changes;
    for (const Observation& o : batch.parsed) {
      const Taken taken = revisions.take(o.id, o.sha256, o.time, job.resource_id);
      batch.counts.add(taken.step);
      if (taken.revision == 0) continue;
      const auto aliases = strings(o.line, "aliases");
      const auto ecosystems = strings(o.line, "ecosystems");
      const bool withdrawn = !o.line.str("withdrawn").empty();
      observations.push_back({job.tenant, batch.source_id, o.id, taken.revision, o.sha256, o.time, o.line.str("withdrawn"),
                              pg::Param::text_array(aliases), pg::Param::text_array(ecosystems), o.path, job.resource_id});
      if (taken.step == Step::kStale) continue;
      in_force[o.id] = {job.tenant, batch.source_id, o.id, taken.revision, o.sha256};
      records[o.id] = {o.id, o.sha256, withdrawn ? std::vector<std::string>() : followed_aliases(o.id, aliases, ecosystems)};
      if (withdrawn) ++batch.counts.withdrawn;
      if (taken.step == Step::kRevised) changes.push_back(revised_event(job, batch, o, taken.previous, taken.revision));
      if (taken.step == Step::kRevised && withdrawn) changes.push_back(withdrawn_event(job, batch, o));
    }
    STELLA_TRY_VOID(tx.query_many("INSERT INTO advisory_observations (tenant_id, source_id, native_id, revision_no, doc_sha256, modified, withdrawn, aliases, ecosystems, path, batch_id) "
                                  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                                  observations));
    STELLA_TRY_VOID(tx.query_many("INSERT INTO advisory_current (tenant_id, source_id, native_id, revision_no, doc_sha256) VALUES ($1, $2, $3, $4, $5) "
                                  "ON CONFLICT (tenant_id, source_id, native_id) DO UPDATE SET revision_no = excluded.revision_no, doc_sha256 = excluded.doc_sha256",
                                  rows_of(std::move(in_force))));
    for (const Vanished& v : STELLA_TRY(vanished_from(tx, kAdvisoryTables, job, batch))) {
      records[v.id] = {v.id, v.document, {}};
      changes.push_back(vanished_event(job, batch, v));
    }
    json::Array ecosystems;
    for (const jobs::OutputRef& out : job.outputs) {
      if (!out.name.starts_with("segment-") || !out.name.ends_with(".idx")) continue;
      // The name carries the ecosystem's slug; the segment itself says which ecosystem it is for when it is loaded.
      const std::string slug = out.name.substr(8, out.name.size() - 8 - 4);
      ecosystems.push_back(slug);
      STELLA_TRY_VOID(tx.query("INSERT INTO advisory_segments (tenant_id, sha256, ecosystem, batch_id, size) VALUES ($1, $2, $3, $4, $5) ON CONFLICT DO NOTHING",
                               {job.tenant, out.sha256, slug, job.resource_id, out.size}));
    }
    std::vector<ChangedRecord> changed;
    for (auto& [id, record] : records) changed.push_back(std::move(record));
    std::vector<timeline::Event> sets = STELLA_TRY(update_linksets(tx, job, batch.source_id, changed));
    std::move(sets.begin(), sets.end(), std::back_inserter(changes));
    STELLA_TRY_VOID(close_batch(tx, job, batch));
    json::Value details = ingested_details(job, batch);
    details.set("withdrawn_count", batch.counts.withdrawn);
    details.set("ecosystems", std::move(ecosystems));
    timeline::Event event = make_event(contracts::events::kAdvisoryIngested, job, "source", batch.source_id, std::move(details));
    event.resources.emplace_back("batch", job.resource_id);
    changes.push_back(std::move(event));
    STELLA_TRY_VOID(timeline::emit_many(tx, job.tenant, std::move(changes)));
    return {};
  }

  Result<void> on_failed(OrchestratorTx& tx, const jobs::FailedJob& job) override { return fail_batch(tx, job); }

 private:
  static timeline::Event revised_event(const jobs::FinishedJob& job, const Batch& batch, const Observation& o, const Sha256& before, int revision) {
    json::Value details = json::Value::object({{"advisory_id", o.id}, {"source_id", batch.source_id}, {"sha256", o.sha256.hex()}, {"previous_sha256", before.hex()}, {"revision", revision}});
    timeline::Event event = make_event(contracts::events::kAdvisoryRevised, job, "advisory", o.id, std::move(details));
    event.details.as_object().erase("job_id");
    return event;
  }
  static timeline::Event withdrawn_event(const jobs::FinishedJob& job, const Batch& batch, const Observation& o) {
    json::Value details = json::Value::object({{"advisory_id", o.id}, {"source_id", batch.source_id}, {"sha256", o.sha256.hex()}, {"withdrawn", o.line.str("withdrawn")}});
    timeline::Event event = make_event(contracts::events::kAdvisoryWithdrawn, job, "advisory", o.id, std::move(details));
    event.details.as_object().erase("job_id");
    return event;
  }
  static timeline::Event vanished_event(const jobs::FinishedJob& job, const Batch& batch, const Vanished& v) {
    json::Value details = json::Value::object({{"advisory_id", v.id}, {"source_id", batch.source_id}, {"sha256", v.document.hex()}, {"vanished", true}});
    timeline::Event event = make_event(contracts::events::kAdvisoryWithdrawn, job, "advisory", v.id, std::move(details));
    event.details.as_object().erase("job_id");
    return event;
  }
  objects::Store& store_;
};

class VexIngest final : public jobs::KindHandler {
 public:
  explicit VexIngest(objects::Store& store) : store_(store) {}

  Result<void> on_finished(OrchestratorTx& tx, const jobs::FinishedJob& job) override {
    Batch batch = STELLA_TRY(read_observations(STELLA_TRY(read_output(store_, job, "observations.ndjson")), job, "timestamp"));
    Revisions revisions = STELLA_TRY(known_revisions(tx, kVexTables, job, batch));
    std::vector<std::vector<pg::Param>> observations;
    RowsById in_force;
    std::vector<std::vector<pg::Param>> ids;
    std::vector<Sha256> documents, changed;
    for (const Observation& o : batch.parsed) {
      documents.push_back(o.sha256);
      const Taken taken = revisions.take(o.id, o.sha256, o.time, job.resource_id);
      batch.counts.add(taken.step);
      if (taken.revision == 0) continue;
      changed.push_back(o.sha256);
      const json::Array& statements = o.line.items("statements");
      const json::Value* deviations = o.line.find("deviations");
      observations.push_back({job.tenant, batch.source_id, o.id, taken.revision, o.sha256, o.line.str("format"), o.time, statements.size(),
                              pg::Param::json(json::dump(deviations != nullptr ? *deviations : json::Value::array())), o.path, job.resource_id});
      if (taken.step == Step::kStale) continue;
      in_force[o.id] = {job.tenant, batch.source_id, o.id, taken.revision, o.sha256};
      std::set<std::string> vulnerabilities;
      for (const json::Value& s : statements)
        for (std::string& v : strings(s, "vulnerabilities"))
          if (v.size() <= kIdBytes) vulnerabilities.insert(std::move(v));  // no advisory has a longer one: such a statement applies to nothing
      for (const std::string& v : vulnerabilities) ids.push_back({job.tenant, v, o.sha256});
      batch.counts.statements += static_cast<int>(statements.size());
    }
    STELLA_TRY_VOID(tx.query_many("INSERT INTO vex_observations (tenant_id, source_id, native_id, revision_no, doc_sha256, format, document_time, statements, deviations, path, batch_id) "
                                  "VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)",
                                  observations));
    STELLA_TRY_VOID(tx.query_many("INSERT INTO vex_current (tenant_id, source_id, native_id, revision_no, doc_sha256) VALUES ($1, $2, $3, $4, $5) "
                                  "ON CONFLICT (tenant_id, source_id, native_id) DO UPDATE SET revision_no = excluded.revision_no, doc_sha256 = excluded.doc_sha256",
                                  rows_of(std::move(in_force))));
    for (const Vanished& v : STELLA_TRY(vanished_from(tx, kVexTables, job, batch))) changed.push_back(v.document);
    STELLA_TRY_VOID(tx.query_many("INSERT INTO vex_statement_ids (tenant_id, vulnerability, doc_sha256) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING", ids));
    STELLA_TRY_VOID(close_batch(tx, job, batch));
    json::Value details = ingested_details(job, batch);
    details.set("statement_count", batch.counts.statements);
    // Documents are inputs of later jobs as they are: custody follows them one by one. Where an event has no room for them, their list is one
    // digest, over what this batch changed: the others were put out by their own batches, and that list can be made again from the rows.
    json::Array outputs = details.items("outputs");
    const json::Value named = jobs::digest_list(jobs::document_refs(documents.size() > jobs::kDigestsPerEvent ? std::move(changed) : std::move(documents)));
    outputs.insert(outputs.end(), named.as_array().begin(), named.as_array().end());
    details.set("outputs", std::move(outputs));
    timeline::Event event = make_event(contracts::events::kVexIngested, job, "source", batch.source_id, std::move(details));
    event.resources.emplace_back("batch", job.resource_id);
    STELLA_TRY_VOID(timeline::emit(tx, job.tenant, std::move(event)));
    return {};
  }

  Result<void> on_failed(OrchestratorTx& tx, const jobs::FailedJob& job) override { return fail_batch(tx, job); }

 private:
  objects::Store& store_;
};

}  // namespace

std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> batch_handlers(objects::Store& store) {
  return {{std::string(contracts::job_kinds::kAdvisoryIngest), std::make_shared<AdvisoryIngest>(store)},
          {std::string(contracts::job_kinds::kVexIngest), std::make_shared<VexIngest>(store)}};
}

}  // namespace stella::ledger
