// Wire form of the exposure set (`exposures.ndjson`).
#include "stella/contracts/exposures.h"

#include <array>
#include <tuple>

#include "advisory_fields.h"

namespace stella::contracts {
namespace {

constexpr std::array<std::string_view, 4> kVerdictText = {"affected", "not_affected", "withdrawn", "unknown"};

void append(std::string& out, const AdvisoryRef& a) {
  out += ",\"advisory\":{\"id\":";
  json::append_quoted(out, a.id);
  out.append(",\"sha256\":\"").append(a.sha256.hex()).append("\"");
  append_list(out, ",\"aliases\":", a.aliases);
  append_list(out, ",\"upstream\":", a.upstream);
  append_optional(out, ",\"summary\":", a.summary);
  append_optional(out, ",\"published\":", a.published);
  append_optional(out, ",\"modified\":", a.modified);
  append_optional(out, ",\"withdrawn\":", a.withdrawn);
  if (!a.severity.empty()) {
    out += ",\"severity\":[";
    for (std::size_t i = 0; i < a.severity.size(); ++i) {
      out += i == 0 ? "{\"type\":" : ",{\"type\":";
      json::append_quoted(out, a.severity[i].type);
      out += ",\"score\":";
      json::append_quoted(out, a.severity[i].score);
      out += '}';
    }
    out += ']';
  }
  append_optional(out, ",\"database_severity\":", a.database_severity);
  out += '}';
}

void append(std::string& out, const Exposure& e) {
  out.append("{\"component\":").append(std::to_string(e.component)).append(",\"purl\":");
  json::append_quoted(out, e.purl);
  append_optional(out, ",\"ecosystem\":", e.ecosystem);
  append_optional(out, ",\"name\":", e.name);
  append_optional(out, ",\"version\":", e.version);
  out.append(",\"verdict\":\"").append(to_string(e.verdict)).append("\"");
  if (!e.advisory.id.empty()) append(out, e.advisory);
  append_clause(out, e.clause);
  append_optional(out, ",\"reason\":", e.reason);
  append_list(out, ",\"fixed_versions\":", e.fixed_versions);
  out += "}\n";
}

bool read_severity(LineReader& in, std::vector<SeverityVector>& list) {
  if (!in.accept(",\"severity\":[")) return true;
  while (list.empty() || !in.accept("]")) {
    if (!in.expect(list.empty() ? "{\"type\":" : ",{\"type\":")) return false;
    auto& s = list.emplace_back();
    if (!in.string(s.type) || !in.expect(",\"score\":") || !in.string(s.score) || !in.expect("}")) return false;
  }
  return true;
}

bool read(LineReader& in, AdvisoryRef& a) {
  if (!in.accept(",\"advisory\":{\"id\":")) return true;
  if (!in.string(a.id)) return false;
  if (a.id.empty()) return in.fail("an advisory id");
  return in.expect(",\"sha256\":") && read_digest(in, a.sha256) && read_list(in, ",\"aliases\":", a.aliases) &&
         read_list(in, ",\"upstream\":", a.upstream) && in.optional(",\"summary\":", a.summary) && in.optional(",\"published\":", a.published) &&
         in.optional(",\"modified\":", a.modified) && in.optional(",\"withdrawn\":", a.withdrawn) && read_severity(in, a.severity) &&
         in.optional(",\"database_severity\":", a.database_severity) && in.expect("}");
}

bool read(LineReader& in, Exposure& e) {
  return in.expect("{\"component\":") && in.integer(e.component) && in.expect(",\"purl\":") && in.string(e.purl) &&
         in.optional(",\"ecosystem\":", e.ecosystem) && in.optional(",\"name\":", e.name) && in.optional(",\"version\":", e.version) &&
         read_verdict(in, e.verdict) && read(in, e.advisory) && read_clause(in, e.clause) && in.optional(",\"reason\":", e.reason) &&
         read_list(in, ",\"fixed_versions\":", e.fixed_versions) && in.expect("}\n");
}

using Counts = std::array<std::size_t, 4>;

Counts count(const ExposureSet& set) {
  Counts n{};
  for (const auto& e : set.exposures) ++n[static_cast<std::size_t>(e.verdict)];
  return n;
}

bool read_set(LineReader& in, ExposureSet& set) {
  Counts n{};
  if (!in.well_formed() || !in.expect("{\"format\":\"stella.exposures/v1\",\"counts\":{\"affected\":") || !in.integer(n[0]) ||
      !in.expect(",\"not_affected\":") || !in.integer(n[1]) || !in.expect(",\"withdrawn\":") || !in.integer(n[2]) ||
      !in.expect(",\"unknown\":") || !in.integer(n[3]) || !in.expect("}}\n"))
    return false;
  while (!in.at_end()) {
    Exposure e;
    if (!read(in, e)) return false;
    if (!set.exposures.empty()) {
      const auto& last = set.exposures.back();
      if (std::tie(last.component, last.advisory.id, last.advisory.sha256) >= std::tie(e.component, e.advisory.id, e.advisory.sha256))
        return in.fail("exposures in ascending order of (component, advisory id, advisory digest)");
    }
    set.exposures.push_back(std::move(e));
  }
  return n == count(set) || in.fail("as many exposures per verdict as the header counts");
}

}  // namespace

std::string_view to_string(Verdict verdict) { return kVerdictText[static_cast<std::size_t>(verdict)]; }

Result<Verdict> parse_verdict(std::string_view text) {
  for (std::size_t i = 0; i < kVerdictText.size(); ++i)
    if (kVerdictText[i] == text) return static_cast<Verdict>(i);
  return Error(base_errors::kInvalid, "not a verdict").with("field", std::string("verdict")).with("expected", std::string("affected, not_affected, withdrawn or unknown"));
}

std::string encode(const ExposureSet& set) {
  const Counts n = count(set);
  std::string out = "{\"format\":\"stella.exposures/v1\",\"counts\":{\"affected\":";
  out.append(std::to_string(n[0])).append(",\"not_affected\":").append(std::to_string(n[1]));
  out.append(",\"withdrawn\":").append(std::to_string(n[2])).append(",\"unknown\":").append(std::to_string(n[3])).append("}}\n");
  for (const auto& e : set.exposures) append(out, e);
  return out;
}

Result<ExposureSet> decode_exposures(std::string_view ndjson) {
  LineReader in(ndjson);
  ExposureSet set;
  if (!read_set(in, set)) return in.error("not an exposure set");
  return set;
}

}  // namespace stella::contracts
