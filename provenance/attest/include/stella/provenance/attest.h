// Attestations as records: signs the provenance of a job and what else is stated about it, stores the statements, and writes its rows and event in the caller's transaction.
// The control plane signs what it hashed itself; a runner never signs. Statements themselves are built by evidence/format.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/stated.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"

namespace stella::attest {

// The call of one job, as the row and our own hashing know it.
struct JobProvenance {
  TenantId tenant;
  JobId job_id;
  std::optional<RunId> run_id;       // the run that made the outputs, of this job or of reused_from; absent where unknown
  std::optional<JobId> reused_from;  // whose outputs these are: image, transcript and times below are those of its run
  std::string kind;
  std::string engine_version;
  json::Value params;                // the request
  std::vector<evidence::Subject> inputs;
  std::vector<evidence::Subject> outputs;
  Sha256 runner_image;               // digest of the runner's program; zero where unknown
  std::optional<Sha256> transcript;
  std::string subject_id;            // what the job worked for: sbom, evaluation, export … id
  std::string scheduled_by;
  TraceId trace;
  std::string traceparent;
  Timestamp started_at;              // the epoch: unknown, and not stated
  Timestamp finished_at;
};

struct Attested {
  AttestationId id;      // of the first subject of the provenance
  Sha256 statement;      // digest of the stored document of the provenance
};

// SLSA provenance v1 with every output as subject, and `others` besides (statements about what the outputs mean: a decision). Per
// statement one stored document, per subject one `attestations` row and fact, per statement one attestation.created event. One statement
// is stored as a Sigstore bundle; several are signed once, as a batch (evidence/format/batch.h), and stored as its documents.
// Nothing for a job without outputs (nullopt); `others` must be empty then.
Result<std::optional<Attested>> attest_job(pg::SystemTx<pg::OrchestratorRole>& tx, objects::Store& store, const crypto::Signer& signer, const JobProvenance& job,
                                           std::vector<evidence::Stated> others = {});

}  // namespace stella::attest
