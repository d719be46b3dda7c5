// Names, exit codes and the two text forms of a verdict.
#include "stella/evidence/format/verdict.h"

#include <algorithm>

namespace stella::evidence {
namespace {

constexpr std::array<std::string_view, kDimensions> kNames = {"INTEGRITY",    "AUTHENTICITY", "TIME",       "INCLUSION",      "CONSISTENCY",
                                                              "COMPLETENESS", "CUSTODY",      "KEY-STATUS", "RETENTION-STATE"};

bool is_required(Dimension d, std::span<const Dimension> required) { return std::find(required.begin(), required.end(), d) != required.end(); }

std::string_view result_name(int code) { return code == kExitPass ? "pass" : code == kExitFail ? "fail" : "not_checked"; }

void pad(std::string& out, std::string_view text, std::size_t width) {
  out.append(text);
  if (text.size() < width) out.append(width - text.size(), ' ');
}

json::Value bundle_json(const Seal& seal) {
  const auto& f = seal.facts;
  json::Value out = json::Value::object({{"bundle_id", f.bundle_id.str()},
                                         {"tenant_id", f.tenant_id.str()},
                                         {"case_id", f.case_id.str()},
                                         {"kind", f.kind},
                                         {"resource_id", f.resource_id},
                                         {"sealed_at", f.sealed_at.rfc3339_seconds()},
                                         {"root", seal.head.root.hex()},
                                         {"size", seal.head.size},
                                         {"engine_version", f.engine_version},
                                         {"worm_level", f.worm_level}});
  if (!f.trace_id.empty()) out.set("trace_id", f.trace_id);
  if (!f.worm_probe_sha256.empty()) out.set("worm_probe_sha256", f.worm_probe_sha256);
  if (f.retain_until.micros() != 0) out.set("retain_until", f.retain_until.rfc3339_seconds());
  return out;
}

}  // namespace

std::string_view dimension_name(Dimension d) { return kNames[static_cast<std::size_t>(d)]; }

std::optional<Dimension> parse_dimension(std::string_view name) {
  std::string upper;
  for (const char c : name) upper += c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c == '_' ? '-' : c;
  const auto found = std::find(kNames.begin(), kNames.end(), upper);
  if (found == kNames.end()) return std::nullopt;
  return static_cast<Dimension>(found - kNames.begin());
}

std::string_view outcome_name(Outcome outcome) {
  switch (outcome) {
    case Outcome::kPass: return "PASS";
    case Outcome::kFail: return "FAIL";
    case Outcome::kNotChecked: break;
  }
  return "NOT-CHECKED";
}

int exit_code(const Verdict& verdict, std::span<const Dimension> required) {
  int code = kExitPass;
  for (const Dimension d : required) {
    if (verdict.of(d).outcome == Outcome::kFail) return kExitFail;
    if (verdict.of(d).outcome == Outcome::kNotChecked) code = kExitNotChecked;
  }
  return code;
}

json::Value verdict_json(const Verdict& v, std::span<const Dimension> required) {
  const int code = exit_code(v, required);
  json::Array dimensions;
  for (std::size_t i = 0; i < kDimensions; ++i) {
    const auto& d = v.dimensions[i];
    dimensions.push_back(json::Value::object({{"name", kNames[i]},
                                              {"outcome", outcome_name(d.outcome)},
                                              {"reason", d.reason},
                                              {"trust_input", d.trust_input},
                                              {"required", is_required(static_cast<Dimension>(i), required)}}));
  }
  json::Array signers;
  for (const auto& s : v.signers) signers.push_back(s);
  json::Value out = json::Value::object({{"result", result_name(code)}, {"exit_code", code}, {"dimensions", std::move(dimensions)}});
  out.set("disclosure", json::Value::object({{"disclosed", v.disclosure.disclosed},
                                             {"withheld", v.disclosure.withheld},
                                             {"authorised", v.disclosure.authorised},
                                             {"unaccounted", v.disclosure.unaccounted}}));
  out.set("signers", std::move(signers));
  json::Value time = json::Value::object({{"source", v.proven_at.micros() == 0 ? "local clock" : "timestamp authorities"}});
  if (v.proven_at.micros() != 0) {
    json::Array authorities;
    for (const auto& name : v.time_authorities) authorities.push_back(name);
    time.set("no_later_than", v.proven_at.rfc3339_seconds());
    time.set("authorities", std::move(authorities));
  }
  out.set("time", std::move(time));
  if (v.seal) out.set("bundle", bundle_json(*v.seal));
  return out;
}

std::string verdict_text(const Verdict& v, std::span<const Dimension> required) {
  std::string out;
  if (v.seal) {
    const auto& f = v.seal->facts;
    out.append("bundle ").append(f.bundle_id.str()).append("  ").append(f.kind).append("/").append(f.resource_id);
    out.append("  case ").append(f.case_id.str()).append("  tenant ").append(f.tenant_id.str()).append("\n");
    out.append("root   ").append(v.seal->head.root.hex()).append("  ").append(std::to_string(v.seal->head.size)).append(" leaves\n\n");
  }
  std::string unchecked;
  for (std::size_t i = 0; i < kDimensions; ++i) {
    const auto& d = v.dimensions[i];
    pad(out, kNames[i], 17);
    pad(out, outcome_name(d.outcome), 13);
    out.append(d.reason);
    if (!d.trust_input.empty()) out.append("  [trust: ").append(d.trust_input).append("]");
    out.append("\n");
    if (d.outcome == Outcome::kNotChecked) unchecked.append(unchecked.empty() ? "" : ", ").append(kNames[i]);
  }
  out.append("\nsigner      ");
  if (v.signers.empty()) out.append("no trusted key");
  for (std::size_t i = 0; i < v.signers.size(); ++i) out.append(i > 0 ? ", " : "").append(v.signers[i]);
  if (v.proven_at.micros() != 0) {
    out.append("\ntime        signed no later than ").append(v.proven_at.rfc3339_seconds()).append(", says");
    for (std::size_t i = 0; i < v.time_authorities.size(); ++i) out.append(i > 0 ? ", " : " ").append(v.time_authorities[i]);
  } else {
    out.append("\ntime        local clock of the installation only");
    if (v.seal) out.append(": ").append(v.seal->facts.sealed_at.rfc3339_seconds());
  }
  if (v.hints > 0) out.append("\nhints       UNTRUSTED: ").append(std::to_string(v.hints)).append(" files in trust-hints/ are of the sender; no key was taken from them");
  out.append("\nnot checked ").append(unchecked.empty() ? "nothing" : unchecked).append("\n");
  const int code = exit_code(v, required);
  out.append("result      ").append(code == kExitPass ? "PASS" : code == kExitFail ? "FAIL" : "NOT-CHECKED").append(" for");
  for (const Dimension d : required) out.append(" ").append(dimension_name(d));
  return out.append("\n");
}

}  // namespace stella::evidence
