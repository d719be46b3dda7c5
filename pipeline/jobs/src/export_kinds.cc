// export.bundle: an evaluation as a report for people and programs outside, with a manifest of checksums.
#include <map>
#include <tuple>

#include "kinds.h"
#include "stella/contracts/components.h"
#include "stella/contracts/decision.h"
#include "stella/contracts/errors.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/vex_result.h"
#include "stella/crypto/digest.h"

namespace stella::pipeline {
namespace {

constexpr std::string_view kReportFormat = "stella.exposure-report/v1";
constexpr std::string_view kManifestFormat = "stella.export-manifest/v1";

json::Value strings(const std::vector<std::string>& texts) {
  json::Value out = json::Value::array();
  for (const auto& text : texts) out.push(text);
  return out;
}

// What the export is made of.
struct Parts {
  contracts::ComponentTable components;
  contracts::ExposureSet exposures;
  contracts::VexResultSet vex;
  contracts::Decision decision;
  std::string_view decision_text;
  std::vector<contracts::Finding> findings;
};

Result<Parts> read_parts(JobIo& io) {
  Parts parts;
  const auto table = STELLA_TRY(io.bytes("components.ndjson"));
  parts.components = STELLA_TRY(contracts::decode_components(table));
  const auto exposures = STELLA_TRY(io.bytes("exposures.ndjson"));
  parts.exposures = STELLA_TRY(contracts::decode_exposures(exposures));
  const auto vex = STELLA_TRY(io.bytes("vex.ndjson"));
  parts.vex = STELLA_TRY(contracts::decode_vex_result(vex));
  parts.decision_text = STELLA_TRY(io.bytes("decision.json"));
  parts.decision = STELLA_TRY(contracts::decode_decision(parts.decision_text));
  const auto findings = STELLA_TRY(io.bytes("findings.ndjson"));
  parts.findings = STELLA_TRY(contracts::decode_findings(findings));
  return parts;
}

json::Value clause_json(const contracts::Clause& clause) {
  json::Value out = json::Value::object({{"by", clause.by}});
  if (!clause.range_type.empty()) out.set("range_type", clause.range_type);
  if (!clause.introduced.empty()) out.set("introduced", clause.introduced);
  if (!clause.fixed.empty()) out.set("fixed", clause.fixed);
  if (!clause.last_affected.empty()) out.set("last_affected", clause.last_affected);
  return out;
}

class ReportBuilder {
 public:
  explicit ReportBuilder(const Parts& parts) : parts_(parts) {
    for (const auto& exposure : parts.exposures.exposures) exposures_[{exposure.component, exposure.advisory.id, exposure.advisory.sha256}] = &exposure;
    for (const auto& outcome : parts.vex.outcomes) outcomes_[{outcome.component, outcome.advisory_id}] = &outcome;
  }

  Result<std::string> build() const {
    const auto decision = STELLA_TRY(json::parse(parts_.decision_text));
    const auto& table = parts_.components;
    json::Value findings = json::Value::array();
    for (const auto& finding : parts_.findings) {
      auto one = STELLA_TRY(finding_json(finding));
      findings.push(std::move(one));
    }
    const auto report = json::Value::object(
        {{"format", kReportFormat},
         {"document", json::Value::object({{"name", table.document_name}, {"version", table.document_version}, {"id", table.document_id}, {"source_format", table.source_format}})},
         {"decision", decision},
         {"findings", std::move(findings)}});
    return json::pretty(report);
  }

 private:
  Result<json::Value> finding_json(const contracts::Finding& finding) const {
    if (finding.component >= parts_.components.components.size()) return Error(base_errors::kInvalid, "a finding names no component").with("field", std::string("findings"));
    const auto& component = parts_.components.components[finding.component];
    json::Value out = json::Value::object({{"effect", contracts::to_string(finding.effect)},
                                           {"component", json::Value::object({{"purl", finding.purl}, {"name", component.name}, {"version", component.version}, {"ecosystem", component.ecosystem}})},
                                           {"advisory", advisory_json(finding)},
                                           {"verdict", contracts::to_string(finding.verdict)},
                                           {"severity", finding.severity},
                                           {"vex", vex_json(finding)},
                                           {"rule_id", finding.rule_id},
                                           {"reason", finding.reason},
                                           {"clause", clause_json(finding.clause)},
                                           {"fixed_versions", strings(finding.fixed_versions)}});
    if (finding.score >= 0) out.set("score", finding.score);
    return out;
  }

  json::Value advisory_json(const contracts::Finding& finding) const {
    if (finding.advisory_id.empty()) return {};
    json::Value out = json::Value::object({{"id", finding.advisory_id}, {"sha256", finding.advisory_sha256.hex()}});
    const auto found = exposures_.find({finding.component, finding.advisory_id, finding.advisory_sha256});
    if (found == exposures_.end()) return out;
    const auto& advisory = found->second->advisory;
    out.set("aliases", strings(advisory.aliases));
    out.set("summary", advisory.summary);
    out.set("published", advisory.published);
    out.set("modified", advisory.modified);
    return out;
  }

  json::Value vex_json(const contracts::Finding& finding) const {
    json::Value out = json::Value::object({{"status", contracts::to_string(finding.vex)}});
    const auto found = outcomes_.find({finding.component, finding.advisory_id});
    if (found == outcomes_.end()) return out;
    out.set("justification", found->second->justification);
    out.set("conflict", found->second->conflict);
    json::Value applied = json::Value::array();
    for (const auto& statement : found->second->considered) {
      if (statement.applies) applied.push(json::Value::object({{"document", statement.document.hex()}, {"pointer", statement.pointer}, {"rank", statement.rank}}));
    }
    out.set("statements", std::move(applied));
    return out;
  }

  const Parts& parts_;
  std::map<std::tuple<std::uint32_t, std::string, Sha256>, const contracts::Exposure*> exposures_;
  std::map<std::pair<std::uint32_t, std::string>, const contracts::VexOutcome*> outcomes_;
};

json::Value file_json(std::string_view name, std::string_view bytes) {
  return json::Value::object({{"name", name}, {"sha256", crypto::sha256(bytes).hex()}, {"size", static_cast<std::uint64_t>(bytes.size())}});
}

}  // namespace

Result<void> export_bundle(const json::Value& params, JobIo& io) {
  if (params.str("format") != "json") return Error(contracts::errors::kUnsupported, "export format is not supported yet").with("field", std::string("format")).with("expected", std::string("json"));
  const auto parts = STELLA_TRY(read_parts(io));
  const auto report = STELLA_TRY(ReportBuilder(parts).build());
  json::Value made_from = json::Value::array();
  for (const std::string_view name : {"components.ndjson", "decision.json", "exposures.ndjson", "findings.ndjson", "vex.ndjson"}) {
    const auto bytes = STELLA_TRY(io.bytes(name));
    made_from.push(file_json(name, bytes));
  }
  auto file = file_json("exposure-report.json", report);
  file.set("media_type", kJson);
  const auto manifest = json::Value::object({{"format", kManifestFormat}, {"files", json::Value::array({std::move(file)})}, {"made_from", std::move(made_from)}});
  STELLA_TRY_VOID(io.put("exposure-report.json", kJson, report));
  return io.put("manifest.json", kJson, json::pretty(manifest));
}

}  // namespace stella::pipeline
