// stella advisory ingest, stella vex ingest: many documents in few uploads, and what became of each.
#include <algorithm>
#include <map>

#include "common.h"
#include "stella/base/file.h"
#include "stella/base/tar.h"
#include "stella/cli/documents.h"

namespace stella::cli {
namespace {

constexpr std::size_t kFewest = 200;   // documents of an upload: enough that few index segments come of it,
constexpr std::size_t kMost = 2'000;   // few enough that the bar moves
constexpr std::uint64_t kUploadBytes = 32u << 20;

struct Args {
  std::vector<std::string> paths;
  bool global = false;
  bool complete = false;
  std::string source;
};

struct Rejected {
  std::string path;  // where it lies here
  Error error;
};

struct Outcome {
  std::map<std::string, std::int64_t> counts;
  std::vector<Rejected> rejected;
  std::int64_t rejected_count = 0;
  json::Array batches;
  std::uint64_t bytes = 0;
};

class Ingest {
 public:
  Ingest(Session& session, const Args& args, std::string route, std::string noun) : session_(session), args_(args), route_(std::move(route)), noun_(std::move(noun)) {}

  Result<int> run() {
    const auto begun = std::chrono::steady_clock::now();
    documents_ = STELLA_TRY(collect_documents(args_.paths));
    BatchBounds bounds;
    bounds.batch_bytes = kUploadBytes;
    bounds.batch_documents = std::clamp(documents_.size() / 8, kFewest, kMost);
    bounds.document_bytes = limits::kAdvisoryBytes;
    if (args_.complete) {  // all of the source must come at once: what is not in the upload vanished
      bounds.batch_bytes = limits::kIngestBatchBytes;
      bounds.batch_documents = limits::kIngestBatchDocuments;
    }
    const BatchPlan plan = plan_batches(documents_, bounds);
    if (args_.complete && (plan.batches.size() != 1 || !plan.too_large.empty()))
      return Error(base_errors::kLimit, "all documents of a source do not fit into one upload")
          .with("actual", counted(static_cast<std::int64_t>(documents_.size()), "document")).with("limit", std::to_string(limits::kIngestBatchDocuments) + " documents, " + human_bytes(limits::kIngestBatchBytes))
          .with("remedy", "Leave --complete away, or give parts of the source names of their own (--source).");
    for (const std::size_t i : plan.too_large) {
      reject(documents_[i].path, Error(base_errors::kLimit, "the document is too large").with("limit", human_bytes(bounds.document_bytes)).with("actual", human_bytes(documents_[i].size)));
    }
    Progress progress(session_.console(), noun_, documents_.size());
    std::uint64_t done = plan.too_large.size();
    progress.update(done);
    for (const auto& batch : plan.batches) {
      STELLA_TRY_VOID(send(batch, progress, done));
      done += batch.size();
      progress.update(done);
    }
    progress.clear();
    const auto took = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begun);
    report(took.count());
    return outcome_.rejected_count == 0 ? kExitDone : kExitFailed;
  }

 private:
  void reject(std::string path, Error error) {
    ++outcome_.rejected_count;
    outcome_.rejected.push_back({std::move(path), std::move(error)});
  }

  Result<std::string> pack(const std::vector<std::size_t>& batch) {
    std::string archive;
    for (const std::size_t i : batch) {
      const std::string bytes = STELLA_TRY(read_file(documents_[i].path, limits::kAdvisoryBytes));
      outcome_.bytes += bytes.size();
      append_tar(archive, documents_[i].name, bytes);
    }
    append_tar_end(archive);
    return archive;
  }

  Result<void> send(const std::vector<std::size_t>& batch, Progress& progress, std::uint64_t done) {
    Api* api = STELLA_TRY(session_.api());
    Call call{.method = "POST", .path = route_, .query = {{"wait", std::string(kServerWait)}}, .content_type = "application/x-tar"};
    if (args_.global) call.query.emplace_back("global", "1");
    if (args_.complete) call.query.emplace_back("complete", "1");
    if (!args_.source.empty()) call.query.emplace_back("source", args_.source);
    call.body = STELLA_TRY(pack(batch));
    call.timeout = std::chrono::minutes(10);
    // Half of a batch's way is the upload, the other half its job.
    call.on_upload = [&](std::uint64_t sent, std::uint64_t total) { progress.update(done + batch.size() * sent / (2 * std::max<std::uint64_t>(total, 1)), human_bytes(outcome_.bytes)); };
    json::Value row = STELLA_TRY(api->json(call));
    if (row.str("state") == "received") {
      Query query;
      if (args_.global) query.emplace_back("global", "1");
      row = STELLA_TRY(api->poll("/batches/" + path_segment(row.str("batch_id")), query, kPatience, [](const json::Value& r) { return r.str("state") != "received"; }));
    }
    take(batch, std::move(row));
    return {};
  }

  void take(const std::vector<std::size_t>& batch, json::Value row) {
    std::map<std::string, std::string, std::less<>> paths;
    for (const std::size_t i : batch) paths[documents_[i].name] = documents_[i].path;
    if (const json::Value* counts = row.find("counts"); counts != nullptr && counts->is_object())
      for (const auto& [name, n] : counts->as_object())
        if (n.is_int() && name != "rejected") outcome_.counts[name] += n.as_int();
    const std::int64_t said = row.find("counts") == nullptr ? 0 : row.find("counts")->integer("rejected");
    outcome_.rejected_count += said;
    for (const json::Value& r : row.items("rejected")) {
      const json::Value* error = r.find("error");
      const auto local = paths.find(r.str("path"));
      outcome_.rejected.push_back({local == paths.end() ? std::string(r.str("path")) : local->second, recorded_error(error != nullptr && error->is_object() ? *error : json::Value::object())});
    }
    if (row.str("state") == "rejected") {  // the whole batch, because its job failed
      const json::Value* error = row.find("error");
      outcome_.rejected_count += static_cast<std::int64_t>(batch.size());
      outcome_.rejected.push_back({counted(static_cast<std::int64_t>(batch.size()), "document") + " of batch " + std::string(row.str("batch_id")),
                                   recorded_error(error != nullptr && error->is_object() ? *error : json::Value::object())});
    }
    outcome_.batches.push_back(std::move(row));
  }

  void report(std::int64_t micros) {
    json::Value counts = json::Value::object();
    for (const char* name : {"new", "revised", "unchanged", "stale", "vanished", "withdrawn"}) counts.set(name, outcome_.counts[name]);
    counts.set("rejected", outcome_.rejected_count);
    json::Array rejected;
    for (const Rejected& r : outcome_.rejected) rejected.push_back(rejected_json(r));
    const json::Value all = json::Value::object({{"documents", static_cast<std::int64_t>(documents_.size())}, {"global", args_.global}, {"counts", counts}, {"rejected", std::move(rejected)}, {"batches", outcome_.batches}});
    session_.show(all, [&] { return text(counts, micros); });
  }

  static json::Value rejected_json(const Rejected& r) {
    json::Value out = json::Value::object({{"path", r.path}, {"message", r.error.field("detail").empty() ? r.error.message() : r.error.field("detail")}});
    for (const ErrorField& f : r.error.fields())
      if (f.name != "detail") out.set(std::string(f.name), f.value);
    return out;
  }

  std::string text(const json::Value& counts, std::int64_t micros) {
    const Palette& paint = session_.console().out_palette();
    std::string out = paint(Style::kBold, counted(static_cast<std::int64_t>(documents_.size()), noun_ == "vex" ? "VEX document" : noun_)) + " in " + counted(static_cast<std::int64_t>(outcome_.batches.size()), "upload") +
                      ", " + human_bytes(outcome_.bytes) + ", " + human_duration(micros) + (args_.global ? ", for every tenant" : "") + "\n";
    Table table({{"NEW", true}, {"REVISED", true}, {"UNCHANGED", true}, {"WITHDRAWN", true}, {"REJECTED", true}});
    table.row({count_of(counts, "new"), count_of(counts, "revised"), count_of(counts, "unchanged"), count_of(counts, "withdrawn"), Cell(count_of(counts, "rejected"), outcome_.rejected_count > 0 ? Style::kRed : Style::kPlain)});
    out += table.render(paint, 0);
    if (const std::int64_t stale = counts.integer("stale"); stale > 0) out += counted(stale, "document") + (stale == 1 ? " is" : " are") + " older than what is in force: kept, not in force\n";
    if (const std::int64_t gone = counts.integer("vanished"); gone > 0) out += counted(gone, "document") + " vanished from the source: no longer in force\n";
    if (outcome_.rejected_count == 0) return out;
    out += "\n" + paint(Style::kRed, "rejected") + "\n";
    for (const Rejected& r : outcome_.rejected) out += rejected_text(r, paint);
    const std::int64_t hidden = outcome_.rejected_count - static_cast<std::int64_t>(outcome_.rejected.size());
    if (hidden > 0 && outcome_.batches.size() > 0 && std::none_of(outcome_.batches.begin(), outcome_.batches.end(), [](const json::Value& b) { return b.str("state") == "rejected"; }))
      out += "  and " + with_commas(hidden) + " more\n";
    return out;
  }

  static std::string rejected_text(const Rejected& r, const Palette& paint) {
    const std::string_view detail = r.error.field("detail").empty() ? r.error.message() : r.error.field("detail");
    std::string why = printable(detail);
    for (const std::string_view name : {"expected", "field", "pointer", "actual", "limit", "root_cause"})
      if (const std::string_view value = r.error.field(name); !value.empty()) why += ", " + std::string(name) + " " + printable(value);
    const std::string_view line = r.error.field("line");
    const std::string_view column = r.error.field("column");
    std::string where = printable(r.path) + (line.empty() ? "" : ":" + std::string(line) + (column.empty() ? "" : ":" + std::string(column)));
    return "  " + paint(Style::kBold, where) + "\n    " + why + "\n";
  }

  Session& session_;
  const Args& args_;
  std::string route_;
  std::string noun_;
  std::vector<LocalDocument> documents_;
  Outcome outcome_;
};

void add(App& app, const std::string& noun, const std::string& route, const std::string& help) {
  auto args = std::make_shared<Args>();
  app.command(noun + " ingest", help)
      .argument("PATH", &args->paths, "Documents, and directories that are searched for *.json.", {.required = true, .value = "PATH"})
      .option("--global", &args->global, "Into the public knowledge base, for every tenant (scope kb:write of the platform).")
      .option("--complete", &args->complete, "These are all documents of the source: those in force that are not among them vanished. Only where none is rejected.")
      .option("--source", &args->source, "Where the documents come from; revisions are counted per source (default: upload).", {.value = "NAME"})
      .note("A document that is not accepted is listed with its position and reason; the others count.\nExit code 1 where at least one was rejected.")
      .run([args, route, noun](Session& s) { return Ingest(s, *args, route, noun).run(); });
}

}  // namespace

void register_ingest(App& app) {
  app.command("advisory", "Advisories: what is known to be vulnerable.");
  add(app, "advisory", "/advisories", "Send advisories (OSV JSON) as they are and wait until they are in force.");
  app.command("vex", "VEX: what is known not to be affected.");
  add(app, "vex", "/vex", "Send VEX documents (OpenVEX JSON) as they are and wait until they are in force.");
}

}  // namespace stella::cli
