// evidence.snapshot: the files of a closure, named by snapshot.json, become the payload of a bundle. A piece of one input is mapped at a time.
//
// snapshot.json {"format":"stella.snapshot/v1",
//   "files":[{"input":"f0001","path":"data/inputs/sbom/sbom.json","media_type":"application/json","role":"input"}…],
//   "report":{"title","outcome","tone":"good|warn|bad|neutral","summary","facts":[[name,value]…],
//             "tables":[{"title","note","columns":[…],"rows":[[…]…]}…],
//             "chain":[{"title","detail","inputs":[[name,sha256]…],"outputs":[[name,sha256]…]}…]}}
#include "kinds.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/report.h"

namespace stella::pipeline {
namespace {

constexpr std::string_view kSnapshotFormat = "stella.snapshot/v1";

Error invalid(std::string field, std::string expected) {
  return Error(base_errors::kInvalid, "snapshot is not what we write").with("field", std::move(field)).with("expected", std::move(expected));
}

Result<std::vector<std::string>> texts(const json::Value& value, std::string_view field) {
  std::vector<std::string> out;
  if (!value.is_array()) return invalid(std::string(field), "an array of strings");
  for (const auto& item : value.as_array()) {
    if (!item.is_string()) return invalid(std::string(field), "an array of strings");
    out.push_back(item.as_string());
  }
  return out;
}

Result<std::vector<std::pair<std::string, std::string>>> pairs(const json::Value& object, std::string_view name) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const auto& item : object.items(name)) {
    auto two = STELLA_TRY(texts(item, name));
    if (two.size() != 2) return invalid(std::string(name), "pairs of strings");
    out.emplace_back(std::move(two[0]), std::move(two[1]));
  }
  return out;
}

Result<evidence::ReportTone> tone_of(std::string_view text) {
  if (text == "good") return evidence::ReportTone::kGood;
  if (text == "warn") return evidence::ReportTone::kWarn;
  if (text == "bad") return evidence::ReportTone::kBad;
  if (text == "neutral") return evidence::ReportTone::kNeutral;
  return invalid("report.tone", "good, warn, bad or neutral");
}

Result<evidence::ReportTable> table_of(const json::Value& value) {
  evidence::ReportTable table;
  table.title = value.str("title");
  table.note = value.str("note");
  const auto* columns = value.find("columns");
  if (columns == nullptr) return invalid("report.tables", "columns");
  table.columns = STELLA_TRY(texts(*columns, "columns"));
  for (const auto& row : value.items("rows")) {
    auto cells = STELLA_TRY(texts(row, "rows"));
    if (cells.size() != table.columns.size()) return invalid("report.tables", "as many cells as columns");
    table.rows.push_back(std::move(cells));
  }
  return table;
}

Result<evidence::ReportStep> step_of(const json::Value& value) {
  evidence::ReportStep step;
  step.title = value.str("title");
  step.detail = value.str("detail");
  step.inputs = STELLA_TRY(pairs(value, "inputs"));
  step.outputs = STELLA_TRY(pairs(value, "outputs"));
  return step;
}

Result<evidence::Report> report_of(const json::Value& snapshot) {
  const auto* value = snapshot.find("report");
  if (value == nullptr || !value->is_object()) return invalid("report", "an object");
  evidence::Report report;
  report.title = STELLA_TRY(value->require_string("title"));
  report.outcome = value->str("outcome");
  report.tone = STELLA_TRY(tone_of(value->str("tone")));
  report.summary = value->str("summary");
  report.facts = STELLA_TRY(pairs(*value, "facts"));
  report.replayable = value->boolean("replayable");
  for (const auto& table : value->items("tables")) {
    auto parsed = STELLA_TRY(table_of(table));
    report.tables.push_back(std::move(parsed));
  }
  for (const auto& step : value->items("chain")) {
    auto parsed = STELLA_TRY(step_of(step));
    report.chain.push_back(std::move(parsed));
  }
  return report;
}

class OutputSink final : public evidence::ByteSink {
 public:
  explicit OutputSink(JobOutput& output) : output_(output) {}
  Result<void> write(std::string_view bytes) override { return output_.write(bytes); }

 private:
  JobOutput& output_;
};

// Maps inputs one after the other.
class Walker {
 public:
  Result<std::string_view> piece(JobInput* input, std::uint64_t offset) {
    if (last_ != nullptr && last_ != input) last_->release();
    last_ = input;
    return input->piece(offset);
  }

 private:
  JobInput* last_ = nullptr;
};

Result<std::vector<evidence::LeafFile>> leaves_of(const json::Value& snapshot, JobIo& io, Walker& walker) {
  std::vector<evidence::LeafFile> out;
  for (const auto& file : snapshot.items("files")) {
    evidence::LeafFile leaf;
    const auto name = STELLA_TRY(file.require_string("input"));
    auto* input = STELLA_TRY(io.input(name));
    leaf.path = STELLA_TRY(file.require_string("path"));
    leaf.media_type = STELLA_TRY(file.require_string("media_type"));
    leaf.role = STELLA_TRY(file.require_string("role"));
    leaf.view_size = input->size();
    leaf.view = [&walker, input](std::uint64_t offset) { return walker.piece(input, offset); };
    out.push_back(std::move(leaf));
  }
  return out;
}

}  // namespace

Result<void> evidence_snapshot(const json::Value&, JobIo& io) {
  const auto text = STELLA_TRY(io.bytes("snapshot.json"));
  const auto snapshot = STELLA_TRY(json::parse(text));
  if (snapshot.str("format") != kSnapshotFormat) return invalid("format", std::string(kSnapshotFormat));
  auto report = STELLA_TRY(report_of(snapshot));
  Walker walker;
  auto leaves = STELLA_TRY(leaves_of(snapshot, io, walker));
  for (const auto& leaf : leaves)
    if (leaf.role == evidence::kBundleRole) report.bundles.push_back(leaf.path);
  evidence::LeafFile page;
  page.path = "report.html";
  page.media_type = "text/html";
  page.role = "report";
  page.bytes = evidence::build_report(report);
  leaves.push_back(std::move(page));
  auto output = STELLA_TRY(io.create("payload.tar", kTar));
  OutputSink sink(*output);
  const auto items = STELLA_TRY(evidence::build_payload(std::move(leaves), sink));
  return io.put("items.ndjson", kNdjson, evidence::items_ndjson(items));
}

}  // namespace stella::pipeline
