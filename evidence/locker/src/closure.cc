// Building a closure: files and job inputs side by side.
#include "closure.h"

#include <algorithm>

#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/tenancy/paths.h"

namespace stella::evidence {
namespace {

constexpr std::uint64_t kTranscriptBytes = 64u << 20;

std::vector<std::string> list(const std::set<std::string>& items) { return {items.begin(), items.end()}; }

}  // namespace

void Closure::add(std::string path, std::string role, std::string media_type, const Sha256& digest, const TenantId& tenant) {
  std::string number = std::to_string(files_.size());
  const std::string input = "f" + std::string(6 - std::min<std::size_t>(6, number.size()), '0') + number;
  files_.push_back(json::Value::object({{"input", input}, {"path", path}, {"media_type", media_type}, {"role", role}}));
  inputs_.push_back({input, digest, tenant});
}

Result<void> Closure::add_bytes(std::string path, std::string role, std::string media_type, std::string_view bytes) {
  const Sha256 digest = crypto::sha256(bytes);
  STELLA_TRY_VOID(store_.put(object_key::object(tx_.tenant(), digest), bytes));
  add(std::move(path), std::move(role), std::move(media_type), digest, tx_.tenant());
  return {};
}

Result<void> Closure::add_telemetry(const std::set<std::string>& of) {
  const auto ids = list(of);
  const auto spans = STELLA_TRY(tx_.query(
      "SELECT json_build_object('trace_id', trace_id, 'span_id', span_id, 'parent_span_id', parent_span_id, 'name', name, 'kind', kind, 'service', service, 'start_ts', start_ts, 'end_ts', end_ts, "
      "'status', status, 'attributes', attributes, 'links', links)::text FROM telemetry_spans WHERE tenant_id = $1 AND trace_id = ANY($2::text[]) ORDER BY start_ts, span_id",
      {tx_.tenant(), pg::Param::text_array(ids)}));
  std::string text;
  for (int i = 0; i < spans.size(); ++i) text.append(spans.text(i, 0)).append("\n");
  STELLA_TRY_VOID(add_bytes("data/trace.ndjson", "trace", "application/x-ndjson", text));
  const auto logs = STELLA_TRY(tx_.query("SELECT line FROM telemetry_logs WHERE tenant_id = $1 AND trace_id = ANY($2::text[]) ORDER BY ts, line_id", {tx_.tenant(), pg::Param::text_array(ids)}));
  text.clear();
  for (int i = 0; i < logs.size(); ++i) text.append(logs.text(i, 0)).append("\n");
  return add_bytes("data/logs.ndjson", "log", "application/x-ndjson", text);
}

Result<void> Closure::add_transcripts(const std::vector<std::string>& of) {
  const auto rows = STELLA_TRY(tx_.query("SELECT transcript_sha256, job_id, attempt FROM runs WHERE tenant_id = $1 AND job_id = ANY($2::uuid[]) AND transcript_sha256 IS NOT NULL ORDER BY started_at, run_id",
                                         {tx_.tenant(), pg::Param::uuid_array(of)}));
  std::string text;
  for (int i = 0; i < rows.size(); ++i) {
    const Sha256 digest = STELLA_TRY(rows.sha256(i, 0));
    text += json::dump(json::Value::object({{"job_id", rows.text(i, 1)}, {"attempt", rows.integer(i, 2)}, {"transcript_sha256", digest.hex()}})) + "\n";
    text += STELLA_TRY(store_.get(object_key::object(tx_.tenant(), digest), kTranscriptBytes));
  }
  return add_bytes("data/transcript.ndjson", "transcript", "application/x-ndjson", text);
}

Result<void> Closure::add_documents(std::string_view folder, std::string_view table, const std::vector<Sha256>& digests) {
  std::set<std::string> wanted;
  for (const Sha256& d : digests) wanted.insert(d.hex());
  const auto ids = list(wanted);
  const auto rows = STELLA_TRY(tx_.query(std::string("SELECT DISTINCT ON (doc_sha256) doc_sha256, tenant_id FROM ").append(table).append(
                                             " WHERE tenant_id IN ($1, 'global') AND doc_sha256 IN (SELECT decode(d, 'hex') FROM unnest($2::text[]) d) ORDER BY doc_sha256, tenant_id"),
                                         {tx_.tenant(), pg::Param::text_array(ids)}));
  if (rows.size() != static_cast<int>(wanted.size())) return Error(base_errors::kInternal, "a source document of the closure is not recorded");
  for (int i = 0; i < rows.size(); ++i) {
    const Sha256 digest = STELLA_TRY(rows.sha256(i, 0));
    const TenantId tenant = STELLA_TRY(TenantId::parse(rows.text(i, 1)));
    add(std::string(folder) + "/" + digest.hex() + ".json", "input", "application/json", digest, tenant);
  }
  return {};
}

Result<std::vector<jobs::InputRef>> Closure::finish() {
  json::Value snapshot = json::Value::object({{"format", "stella.snapshot/v1"}, {"files", files_}, {"report", report}});
  const std::string text = STELLA_TRY(json::canonical(snapshot));
  const Sha256 digest = crypto::sha256(text);
  STELLA_TRY_VOID(store_.put(object_key::object(tx_.tenant(), digest), text));
  std::vector<jobs::InputRef> out = std::move(inputs_);
  out.insert(out.begin(), jobs::InputRef{"snapshot.json", digest, tx_.tenant()});
  return out;
}

}  // namespace stella::evidence
