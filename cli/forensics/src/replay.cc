// Re-running an evaluation from its bundle.
#include "stella/cli/forensics/replay.h"

#include <algorithm>
#include <chrono>
#include <deque>
#include <limits>
#include <map>
#include <set>

#include "stella/base/tar.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/job_kinds.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/jobs/jobs.h"

namespace stella::cli {
namespace {

constexpr std::uint64_t kReplayBytes = 4ull << 30;
constexpr std::string_view kAdvisories = "data/inputs/advisories/";
constexpr std::string_view kVex = "data/inputs/vex/";

constexpr std::size_t kBatchDocuments = 5'000;      // of one advisory.ingest, below the limits of an upload
constexpr std::uint64_t kBatchBytes = 40u << 20;

std::string padded(std::size_t n) {
  const std::string digits = std::to_string(n);
  return std::string(4 - std::min<std::size_t>(4, digits.size()), '0') + digits;
}

using Outputs = std::vector<pipeline::MemoryOutput>;

// Runs the chain; bytes stay alive in `kept_` because later jobs read them as views.
class Chain {
 public:
  explicit Chain(const std::vector<evidence::BundleFile>& files) {
    for (const auto& f : files) files_[f.item.path] = &f;
  }

  Result<Replay> run() {
    const auto begun = std::chrono::steady_clock::now();
    STELLA_TRY_VOID(read_config());
    const std::string_view sbom = STELLA_TRY(input("data/inputs/sbom/sbom.json"));
    const std::string_view policy = STELLA_TRY(input("data/inputs/policy/policy.json"));
    const std::string_view components = STELLA_TRY(job("sbom.compute", "{}", {{"sbom", sbom}}, "components.ndjson"));
    const std::string_view exposures = STELLA_TRY(link(components));
    const std::string_view vex = STELLA_TRY(reconcile(components, exposures));
    const std::string params = json::dump(json::Value::object({{"as_of", replay_.as_of}}));
    const Outputs& decided = STELLA_TRY(run_kept("policy.evaluate", params, {{"components.ndjson", components}, {"exposures.ndjson", exposures}, {"vex.ndjson", vex}, {"policy", policy}}));
    for (const auto& output : decided) STELLA_TRY_VOID(compare("policy.evaluate", output));
    tell_differences();
    replay_.took_us = std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now() - begun).count();
    return std::move(replay_);
  }

 private:
  Result<std::string_view> input(const std::string& path) {
    const auto found = files_.find(path);
    if (found == files_.end())
      return Error(base_errors::kNotFound, "the bundle holds no such input: it was withheld, or this is no evaluation").with("path", path).with("remedy", "Replay needs a whole evaluation bundle.");
    return std::string_view(found->second->bytes);
  }

  Result<void> read_config() {
    const std::string_view text = STELLA_TRY(input("data/inputs/config/config.json"));
    const json::Value config = STELLA_TRY(json::parse(text));
    replay_.as_of = STELLA_TRY(config.require_string("as_of"));
    replay_.sealed_engine = std::string(config.str("engine_version"));
    replay_.engine = STELLA_VERSION;
    if (const json::Value* revisions = config.find("revisions"); revisions != nullptr && revisions->is_object()) revisions_ = *revisions;
    return {};
  }

  Result<std::reference_wrapper<const Outputs>> keep(std::string_view kind, Result<Outputs> outputs) {
    if (!outputs) {
      outputs.error().add("part", std::string(kind));
      return std::move(outputs.error());
    }
    return std::cref(kept_.emplace_back(std::move(*outputs)));
  }
  Result<std::reference_wrapper<const Outputs>> run_kept(std::string_view kind, std::string_view params, const std::vector<pipeline::MemoryInput>& inputs) {
    return keep(kind, pipeline::run_job(kind, params, inputs));
  }

  // One job with one output that is compared and handed on.
  Result<std::string_view> job(std::string_view kind, std::string_view params, const std::vector<pipeline::MemoryInput>& inputs, std::string_view name) {
    const Outputs& outputs = STELLA_TRY(run_kept(kind, params, inputs));
    for (const auto& output : outputs) {
      if (output.name != name) continue;
      STELLA_TRY_VOID(compare(kind, output));
      // What another revision made is where the next job began; whether that one made its own output of it can still be told.
      return replay_.outputs.back().other_revision() ? input("data/outputs/" + output.name) : Result<std::string_view>(output.bytes);
    }
    return Error(base_errors::kInternal, "a job made no output of that name").with("path", std::string(name));
  }

  Result<void> compare(std::string_view kind, const pipeline::MemoryOutput& output) {
    const std::string_view sealed = STELLA_TRY(input("data/outputs/" + output.name));
    replay_.outputs.push_back({output.name, std::string(kind), crypto::sha256(sealed), crypto::sha256(output.bytes), {}, sealed_revision(kind), contracts::job_kinds::revision(kind)});
    if (!replay_.outputs.back().identical()) differing_.push_back({replay_.outputs.size() - 1, sealed, output.bytes});
    return {};
  }

  // Bundles of before there were revisions name none.
  std::uint32_t sealed_revision(std::string_view kind) const {
    const std::int64_t revision = revisions_.integer(kind, 1);
    return revision > 0 && revision <= std::numeric_limits<std::int32_t>::max() ? static_cast<std::uint32_t>(revision) : 1;
  }

  // One wrong output makes those after it differ too, so each gets its share of the list.
  void tell_differences() {
    for (const Pair& pair : differing_) {
      ReplayedOutput& output = replay_.outputs[pair.output];
      output.diff = evidence::document_diff(pair.sealed, pair.replayed, output.name.ends_with(".ndjson"), evidence::kMaxDifferences / differing_.size());
    }
  }

  // The candidates become an index of their own: linking does not depend on how an index was cut, only on the documents in force.
  Result<std::string_view> link(std::string_view components) {
    std::vector<pipeline::MemoryInput> inputs{{"components.ndjson", components}};
    std::vector<Sha256> digests;
    std::string archive;
    std::size_t in_archive = 0;
    for (const auto& [path, file] : files_) {
      if (!path.starts_with(kAdvisories)) continue;
      append_tar(archive, path.substr(kAdvisories.size()), file->bytes);
      digests.push_back(crypto::sha256(file->bytes));
      if (++in_archive < kBatchDocuments && archive.size() < kBatchBytes) continue;
      STELLA_TRY_VOID(index(archive, inputs));
      archive.clear();
      in_archive = 0;
    }
    if (in_archive > 0) STELLA_TRY_VOID(index(archive, inputs));
    std::sort(digests.begin(), digests.end());
    digests.erase(std::unique(digests.begin(), digests.end()), digests.end());
    replay_.advisories = digests.size();
    std::string active;
    for (const Sha256& d : digests) active.append(d.view());
    inputs.push_back({"active.bin", active});
    return job("advisory.link", "{}", inputs, "exposures.ndjson");
  }

  // One batch of documents to the segments that linking reads.
  Result<void> index(std::string& archive, std::vector<pipeline::MemoryInput>& inputs) {
    append_tar_end(archive);
    const Outputs& ingested = STELLA_TRY(run_kept("advisory.ingest", R"({"source_id":"replay"})", {{"batch.tar", archive}}));
    for (const auto& output : ingested)
      if (output.name.starts_with("segment-")) inputs.push_back({"segment-" + padded(inputs.size()) + ".idx", output.bytes});
    return {};
  }

  Result<std::string_view> reconcile(std::string_view components, std::string_view exposures) {
    std::vector<pipeline::MemoryInput> inputs{{"components.ndjson", components}, {"exposures.ndjson", exposures}};
    for (const auto& [path, file] : files_) {
      if (!path.starts_with(kVex)) continue;
      inputs.push_back({"vex-" + padded(replay_.vex_documents++) + ".json", file->bytes});
    }
    return job("vex.reconcile", json::dump(STELLA_TRY(sealed_rule())), inputs, "vex.ndjson");
  }

  // The precedence rule that the sealed result names; one that this engine does not know fails the job and says so.
  Result<json::Value> sealed_rule() {
    const std::string_view sealed = STELLA_TRY(input("data/outputs/vex.ndjson"));
    json::Value params = json::Value::object();
    if (const auto header = json::parse(sealed.substr(0, sealed.find('\n'))); header && header->is_object() && !header->str("rule").empty())
      params.set("rule", header->str("rule"));
    return params;
  }

  std::map<std::string, const evidence::BundleFile*> files_;  // by path: documents are named by digest, so this is the order of the original
  std::deque<Outputs> kept_;
  json::Value revisions_ = json::Value::object();
  struct Pair {
    std::size_t output;  // position in replay_.outputs
    std::string_view sealed, replayed;
  };
  std::vector<Pair> differing_;
  Replay replay_;
};

constexpr std::size_t kValueWidth = 60;

// One line per difference; "" where there is none.
std::string differences(const std::vector<ReplayedOutput>& outputs, const Palette& palette) {
  const auto value = [](const std::optional<std::string>& text) { return text ? Cell(ellipsized(printable(*text), kValueWidth)) : Cell("(not there)", Style::kDim); };
  Table table({{"DIFFERS IN"}, {"AT"}, {"SEALED"}, {"REPLAYED"}});
  std::string notes;
  std::size_t more = 0;
  for (const ReplayedOutput& o : outputs) {
    for (const evidence::JsonDifference& d : o.diff.differences)
      table.row({o.name, d.record + (d.record.empty() || d.path.empty() ? "" : " ") + d.path, value(d.sealed), value(d.replayed)});
    more += o.diff.more();
    if (!o.diff.note.empty()) notes += o.name + ": " + o.diff.note + "\n";
  }
  std::string out = table.empty() ? "" : "\n" + table.render(palette, 0);
  if (more > 0) out += "and " + std::to_string(more) + " more\n";
  return out + (notes.empty() ? "" : "\n" + notes);
}

std::string head_of(const Replay& replay, const Palette& palette) {
  if (replay.identical()) return palette(Style::kGreen, "identical") + ": every output was made again, byte for byte";
  if (replay.different()) return palette(Style::kRed, "different") + ": not every output could be made again";
  std::set<std::string> made;
  for (const ReplayedOutput& o : replay.outputs)
    if (o.other_revision()) made.insert("made by revision " + std::to_string(o.sealed_revision) + " of " + o.job + "; this engine has " + std::to_string(o.revision));
  std::string out = palette(Style::kYellow, "cannot be replayed") + " by this engine: it does not have the functions that made all of this";
  for (const std::string& one : made) out += "\n  " + one;
  return out;
}

std::string_view outcome_of(const ReplayedOutput& output) { return output.identical() ? "identical" : output.other_revision() ? "other revision" : "differs"; }

}  // namespace

bool Replay::different() const {
  return std::any_of(outputs.begin(), outputs.end(), [](const ReplayedOutput& o) { return !o.identical() && !o.other_revision(); });
}

bool Replay::identical() const {
  return !outputs.empty() && std::all_of(outputs.begin(), outputs.end(), [](const ReplayedOutput& o) { return o.identical(); });
}

json::Value Replay::json() const {
  json::Array list;
  for (const ReplayedOutput& o : outputs) {
    json::Value output = json::Value::object({{"name", o.name}, {"job", o.job}, {"sealed_sha256", o.sealed.hex()}, {"replayed_sha256", o.replayed.hex()}, {"identical", o.identical()},
                                              {"sealed_revision", std::int64_t{o.sealed_revision}}, {"revision", std::int64_t{o.revision}}});
    if (!o.identical()) output.set("diff", o.diff.json());
    list.push_back(std::move(output));
  }
  return json::Value::object({{"bundle_id", bundle_id}, {"identical", identical()}, {"different", different()}, {"sealed_engine", sealed_engine}, {"engine", engine}, {"as_of", as_of}, {"advisories", advisories}, {"vex_documents", vex_documents},
                              {"took_us", took_us}, {"outputs", std::move(list)}});
}

std::string Replay::text(const Palette& palette) const {
  const std::string head = head_of(*this, palette);
  Facts facts;
  facts.add("bundle", bundle_id).add("as of", as_of).add("engine", engine == sealed_engine ? engine : engine + ", sealed by " + sealed_engine);
  facts.add("inputs", "the SBOM, the policy, " + counted(static_cast<std::int64_t>(advisories), "advisory") + ", " + counted(static_cast<std::int64_t>(vex_documents), "VEX document")).add("took", human_duration(took_us));
  Table table({{"OUTPUT"}, {"JOB"}, {""}, {"SHA256"}});
  for (const ReplayedOutput& o : outputs) {
    table.row({o.name, o.job, word(outcome_of(o)), o.sealed.hex().substr(0, o.identical() ? 64 : 16) + (o.identical() ? "" : "… sealed, " + o.replayed.hex().substr(0, 16) + "… now")});
  }
  return head + "\n" + facts.render(palette, 2) + table.render(palette, 0) + differences(outputs, palette);
}

Result<Replay> replay_files(const std::vector<evidence::BundleFile>& files) { return Chain(files).run(); }

Result<Replay> replay_bundle(const std::string& path) {
  const auto wanted = [](const evidence::Item& item) { return item.path.starts_with("data/inputs/") || item.path.starts_with("data/outputs/"); };
  auto files = evidence::read_bundle_items_file(path, wanted, kReplayBytes);
  if (!files) {
    if (files.error().code() == base_errors::kInvalid) return Error(contracts::errors::kIntegrity, "a file of the bundle is not what its item says").with("path", std::string(files.error().field("path")));
    return std::move(files.error());
  }
  const auto has = [&](std::string_view name) { return std::any_of(files->begin(), files->end(), [&](const auto& f) { return f.item.path == name; }); };
  if (has("data/inputs/job.json") || has("data/inputs/export.json"))
    return Error(contracts::errors::kUnsupported, "only evaluation bundles can be replayed")
        .with("reason", "a bundle of a job or an export names its inputs by digest; they are not inside")
        .with("remedy", "Snapshot the evaluation: stella forensic snapshot create --case CASE --scope eval --id EVALUATION");
  return replay_files(*files);
}

}  // namespace stella::cli
