// The closure under a snapshot: which objects become which files, written down so that the sandboxed job can build the payload.
#pragma once

#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"
#include "stella/evidence/locker/locker.h"

namespace stella::evidence {

class Closure {
 public:
  Closure(pg::TenantTx& tx, objects::Store& store, std::string temp_dir) : tx_(tx), store_(store), temp_dir_(std::move(temp_dir)) {}

  // An object that is stored already.
  void add(std::string path, std::string role, std::string media_type, const Sha256& digest, const TenantId& tenant);
  // Bytes that only the database has: written as an object first.
  Result<void> add_bytes(std::string path, std::string role, std::string media_type, std::string_view bytes);
  // Spans and log lines of traces, however many.
  Result<void> add_telemetry(const std::set<std::string>& traces);
  // Transcripts of the runs of these jobs, as one file.
  Result<void> add_transcripts(const std::vector<std::string>& jobs);
  // Documents by digest, wherever they are held: of this tenant or of the public knowledge base. `table` has tenant_id and doc_sha256.
  Result<void> add_documents(std::string_view folder, std::string_view table, const std::vector<Sha256>& digests);

  json::Value report = json::Value::object();  // what report.html tells; see pipeline/jobs
  std::set<std::string> traces;                // traces whose events are the chain of custody
  std::optional<ProjectId> project;

  // Digests of the objects that exist because of this closure: the snapshot's row names them, so that they go with the bundle.
  const std::set<Sha256>& made() const { return made_; }

  // The job's inputs, `snapshot.json` among them.
  Result<std::vector<jobs::InputRef>> finish();

 private:
  // No deletion takes an object away that this closure finds in the store, from here to the end of the transaction.
  Result<void> expect_objects();
  // The object with all that was written to the file.
  Result<void> add_file(std::string path, std::string role, std::string media_type, const Fd& file);

  pg::TenantTx& tx_;
  objects::Store& store_;
  const std::string temp_dir_;
  json::Array files_;
  std::vector<jobs::InputRef> inputs_;
  std::set<Sha256> made_;
  bool expecting_ = false;
};

// What each kind of snapshot consists of; kNotFound, kNotReady.
Result<void> close_over_evaluation(pg::TenantTx& tx, objects::Store& store, std::string_view id, Closure& closure);
Result<void> close_over_job(pg::TenantTx& tx, objects::Store& store, std::string_view id, Closure& closure);
Result<void> close_over_export(pg::TenantTx& tx, objects::Store& store, std::string_view id, Closure& closure);

}  // namespace stella::evidence
