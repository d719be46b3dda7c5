// The ledger: SBOMs, advisory and VEX documents, policies, evaluations and findings as rows, and what the end of their jobs means.
//
// Requests call the functions with their TenantTx: state, job and timeline event in one transaction. The orchestrator calls the
// handlers with its own. Bytes are in the object store before a row names them.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/time.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/services/jobs.h"

namespace stella::ledger {

// The trace that a request's jobs and events belong to.
struct Trace {
  TraceId id;
  std::string traceparent;
};

// The project of a slug; kNotFound where there is none. "" is `default`.
Result<ProjectId> find_project(pg::TenantTx& tx, std::string_view slug);

struct ReceivedSbom {
  SbomId id;
  bool existed = false;  // the same bytes were received for this project before
};
// Schedules sbom.compute. Bytes are kept as received whatever they are; what cannot be parsed ends as state `rejected`.
Result<ReceivedSbom> receive_sbom(pg::TenantTx& tx, objects::Store& store, const ProjectId& project, std::string_view bytes, const Trace& trace);

enum class DocumentKind : std::uint8_t { kAdvisory, kVex };
struct ReceivedBatch {
  Uuid id;
  int documents = 0;
};
// One upload of documents: a tar, or (content type application/json) one document, which becomes a tar of one. Every document is an object
// of its own and the tar is the job's input. kMalformed for a broken tar, kLimit over limits.h. `complete`: the tar is all that the source
// has, so what it does not hold vanished; kInvalid for a document that is no tar.
Result<ReceivedBatch> receive_batch(pg::TenantTx& tx, objects::Store& store, DocumentKind kind, std::string_view source_id, std::string_view bytes,
                                    bool is_tar, const Trace& trace, bool complete = false);

struct PublishedPolicy {
  std::string version;
  bool existed = false;
};
// Parses and checks the set (kMalformed/kInvalid with line and column), keeps source and canonical form as objects.
Result<PublishedPolicy> publish_policy(pg::TenantTx& tx, objects::Store& store, std::string_view yaml, const Trace& trace);
// kNotFound for a version never published; activating the active one again is no transition and writes nothing.
Result<void> activate_policy(pg::TenantTx& tx, std::string_view version, const Trace& trace);

struct EvaluationRequest {
  SbomId sbom;
  std::string policy_version;        // "": the active one
  std::optional<Timestamp> as_of;    // nullopt: now
};
// kNotFound (SBOM, policy), kNotReady (SBOM not computed yet, no active policy).
Result<EvaluationId> start_evaluation(pg::TenantTx& tx, objects::Store& store, const EvaluationRequest& request, const Trace& trace);

// Handlers of sbom.compute, advisory.ingest, vex.ingest, advisory.link, vex.reconcile, policy.evaluate, by job kind.
std::vector<std::pair<std::string, std::shared_ptr<jobs::KindHandler>>> handlers(objects::Store& store);

}  // namespace stella::ledger
