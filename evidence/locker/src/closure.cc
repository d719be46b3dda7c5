// Building a closure: files and job inputs side by side.
#include "closure.h"

#include <unistd.h>

#include <algorithm>
#include <functional>
#include <limits>

#include "case_lock.h"
#include "long_read.h"
#include "stella/base/unnamed_file.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/tenancy/paths.h"

namespace stella::evidence {
namespace {

constexpr std::uint64_t kTranscriptBytes = 64u << 20;  // of one run
constexpr std::uint64_t kAnySize = std::numeric_limits<std::int64_t>::max();
constexpr const char* kLines = "application/x-ndjson";

// Where a page ends: the next one begins behind it.
struct Place {
  std::string ts = "-infinity", id = "0", trace;
};

// A file of the first columns of all rows, a line each; the columns behind are the place of a row.
Result<Fd> all_pages(const std::string& temp_dir, const std::function<Result<pg::Rows>(const Place&)>& page) {
  Fd file = STELLA_TRY(unnamed_file(temp_dir));
  for (Place after;;) {
    const pg::Rows rows = STELLA_TRY(page(after));
    std::string text;
    for (int i = 0; i < rows.size(); ++i) text.append(rows.text(i, 0)).append("\n");
    STELLA_TRY_VOID(write_all(file.get(), text));
    if (rows.size() == 0) return file;
    const int last = rows.size() - 1;
    after = {std::string(rows.text(last, 1)), std::string(rows.text(last, 2)), std::string(rows.text(last, 3))};
  }
}

std::vector<std::string> list(const std::set<std::string>& items) { return {items.begin(), items.end()}; }

}  // namespace

void Closure::add(std::string path, std::string role, std::string media_type, const Sha256& digest, const TenantId& tenant) {
  std::string number = std::to_string(files_.size());
  const std::string input = "f" + std::string(6 - std::min<std::size_t>(6, number.size()), '0') + number;
  files_.push_back(json::Value::object({{"input", input}, {"path", path}, {"media_type", media_type}, {"role", role}}));
  inputs_.push_back({input, digest, tenant});
}

Result<void> Closure::expect_objects() {
  if (!expecting_) STELLA_TRY_VOID(tx_.query(kLockMadeShared, {tx_.tenant()}));
  expecting_ = true;
  return {};
}

Result<void> Closure::add_bytes(std::string path, std::string role, std::string media_type, std::string_view bytes) {
  STELLA_TRY_VOID(expect_objects());
  const Sha256 digest = crypto::sha256(bytes);
  STELLA_TRY_VOID(store_.put(object_key::object(tx_.tenant(), digest), bytes));
  if (!bytes.empty()) made_.insert(digest);  // of nothing at all there is nothing to delete
  add(std::move(path), std::move(role), std::move(media_type), digest, tx_.tenant());
  return {};
}

Result<void> Closure::add_file(std::string path, std::string role, std::string media_type, const Fd& file) {
  if (::lseek(file.get(), 0, SEEK_SET) != 0) return io_error("cannot rewind a temporary file", temp_dir_);
  STELLA_TRY_VOID(expect_long_read(tx_));
  STELLA_TRY_VOID(expect_objects());
  const auto copied = STELLA_TRY(store_.put_fd(file.get(), kAnySize, [&](const Sha256& digest) { return object_key::object(tx_.tenant(), digest); }));
  if (copied.sha256 != crypto::sha256("")) made_.insert(copied.sha256);
  add(std::move(path), std::move(role), std::move(media_type), copied.sha256, tx_.tenant());
  return {};
}

Result<void> Closure::add_telemetry(const std::set<std::string>& of) {
  const auto ids = list(of);
  const auto all = [&](std::string_view sql) {
    return all_pages(temp_dir_, [&](const Place& after) { return tx_.query(sql, {tx_.tenant(), pg::Param::text_array(ids), after.ts, after.id, after.trace}); });
  };
  const Fd spans = STELLA_TRY(all(
      "SELECT json_build_object('trace_id', trace_id, 'span_id', span_id, 'parent_span_id', parent_span_id, 'name', name, 'kind', kind, 'service', service, 'start_ts', start_ts, 'end_ts', end_ts, "
      "'status', status, 'attributes', attributes, 'links', links)::text, start_ts, span_id, trace_id FROM telemetry_spans WHERE tenant_id = $1 AND trace_id = ANY($2::text[]) "
      "AND (start_ts, span_id, trace_id) > ($3::text::timestamptz, $4, $5) ORDER BY start_ts, span_id, trace_id LIMIT 5000"));
  STELLA_TRY_VOID(add_file("data/trace.ndjson", "trace", kLines, spans));
  const Fd logs = STELLA_TRY(all(
      "SELECT line, ts, line_id, trace_id FROM telemetry_logs WHERE tenant_id = $1 AND trace_id = ANY($2::text[]) "
      "AND (ts, line_id, trace_id) > ($3::text::timestamptz, $4::text::bigint, $5) ORDER BY ts, line_id, trace_id LIMIT 5000"));
  return add_file("data/logs.ndjson", "log", kLines, logs);
}

Result<void> Closure::add_transcripts(const std::vector<std::string>& of) {
  const auto rows = STELLA_TRY(tx_.query("SELECT transcript_sha256, job_id, attempt FROM runs WHERE tenant_id = $1 AND job_id = ANY($2::uuid[]) AND transcript_sha256 IS NOT NULL ORDER BY started_at, run_id",
                                         {tx_.tenant(), pg::Param::uuid_array(of)}));
  const Fd file = STELLA_TRY(unnamed_file(temp_dir_));
  for (int i = 0; i < rows.size(); ++i) {
    const Sha256 digest = STELLA_TRY(rows.sha256(i, 0));
    STELLA_TRY_VOID(write_all(file.get(), json::dump(json::Value::object({{"job_id", rows.text(i, 1)}, {"attempt", rows.integer(i, 2)}, {"transcript_sha256", digest.hex()}})) + "\n"));
    const std::string transcript = STELLA_TRY(store_.get(object_key::object(tx_.tenant(), digest), kTranscriptBytes));
    STELLA_TRY_VOID(write_all(file.get(), transcript));
  }
  return add_file("data/transcript.ndjson", "transcript", kLines, file);
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
  STELLA_TRY_VOID(expect_objects());
  STELLA_TRY_VOID(store_.put(object_key::object(tx_.tenant(), digest), text));
  made_.insert(digest);
  std::vector<jobs::InputRef> out = std::move(inputs_);
  out.insert(out.begin(), jobs::InputRef{"snapshot.json", digest, tx_.tenant()});
  return out;
}

}  // namespace stella::evidence
