// Wire form of the VEX result (`vex.ndjson`).
#include "stella/contracts/vex_result.h"

#include <array>
#include <tuple>

#include "line_reader.h"

namespace stella::contracts {
namespace {

constexpr std::array<std::string_view, 5> kStatusText = {"none", "not_affected", "affected", "fixed", "under_investigation"};

void append(std::string& out, const ConsideredStatement& s) {
  out.append("{\"document\":\"").append(s.document.hex()).append("\",\"pointer\":");
  json::append_quoted(out, s.pointer);
  out.append(",\"status\":\"").append(to_string(s.status)).append("\"");
  append_optional(out, ",\"source_label\":", s.source_label);
  append_optional(out, ",\"justification\":", s.justification);
  append_optional(out, ",\"timestamp\":", s.timestamp);
  out.append(",\"rank\":").append(std::to_string(s.rank));
  out.append(s.applies ? ",\"applies\":true,\"why\":" : ",\"applies\":false,\"why\":");
  json::append_quoted(out, s.why);
  out += '}';
}

void append(std::string& out, const VexOutcome& o) {
  out.append("{\"component\":").append(std::to_string(o.component)).append(",\"purl\":");
  json::append_quoted(out, o.purl);
  out += ",\"advisory_id\":";
  json::append_quoted(out, o.advisory_id);
  out.append(",\"status\":\"").append(to_string(o.status)).append("\"");
  append_optional(out, ",\"justification\":", o.justification);
  out += o.conflict ? ",\"conflict\":true,\"considered\":[" : ",\"conflict\":false,\"considered\":[";
  for (std::size_t i = 0; i < o.considered.size(); ++i) {
    if (i != 0) out += ',';
    append(out, o.considered[i]);
  }
  out += "]}\n";
}

bool read_status(LineReader& in, VexStatus& out) {
  std::string text;
  if (!in.expect(",\"status\":") || !in.string(text)) return false;
  auto status = parse_vex_status(text);
  if (!status) return in.fail("a VEX status");
  out = *status;
  return true;
}

bool read_bool(LineReader& in, bool& out) {
  if (in.accept("true")) return out = true, true;
  out = false;
  return in.expect("false");
}

bool read(LineReader& in, ConsideredStatement& s) {
  std::string hex;
  if (!in.expect("{\"document\":") || !in.string(hex)) return false;
  auto digest = Sha256::parse(hex);
  if (!digest) return in.fail("a SHA-256 in hex");
  s.document = *digest;
  return in.expect(",\"pointer\":") && in.string(s.pointer) && read_status(in, s.status) && in.optional(",\"source_label\":", s.source_label) &&
         in.optional(",\"justification\":", s.justification) && in.optional(",\"timestamp\":", s.timestamp) && in.expect(",\"rank\":") &&
         in.integer(s.rank) && in.expect(",\"applies\":") && read_bool(in, s.applies) && in.expect(",\"why\":") && in.string(s.why) && in.expect("}");
}

bool read(LineReader& in, VexOutcome& o) {
  if (!in.expect("{\"component\":") || !in.integer(o.component) || !in.expect(",\"purl\":") || !in.string(o.purl) ||
      !in.expect(",\"advisory_id\":") || !in.string(o.advisory_id) || !read_status(in, o.status) ||
      !in.optional(",\"justification\":", o.justification) || !in.expect(",\"conflict\":") || !read_bool(in, o.conflict) ||
      !in.expect(",\"considered\":["))
    return false;
  while (!in.accept("]")) {
    if (!o.considered.empty() && !in.expect(",")) return false;
    if (!read(in, o.considered.emplace_back())) return false;
  }
  return in.expect("}\n");
}

struct Counts {
  std::size_t outcomes = 0;
  std::size_t considered = 0;
  std::size_t conflicts = 0;
  friend bool operator==(const Counts&, const Counts&) = default;
};

Counts count(const VexResultSet& set) {
  Counts n{set.outcomes.size()};
  for (const auto& o : set.outcomes) {
    n.considered += o.considered.size();
    n.conflicts += o.conflict ? 1 : 0;
  }
  return n;
}

bool read_set(LineReader& in, VexResultSet& set) {
  Counts n;
  if (!in.well_formed() || !in.expect("{\"format\":\"stella.vex-result/v1\",\"rule\":") || !in.string(set.rule) ||
      !in.expect(",\"counts\":{\"outcomes\":") || !in.integer(n.outcomes) || !in.expect(",\"considered\":") || !in.integer(n.considered) ||
      !in.expect(",\"conflicts\":") || !in.integer(n.conflicts) || !in.expect("}}\n"))
    return false;
  while (!in.at_end()) {
    VexOutcome outcome;
    if (!read(in, outcome)) return false;
    if (!set.outcomes.empty()) {
      const auto& last = set.outcomes.back();
      if (std::tie(last.component, last.advisory_id) >= std::tie(outcome.component, outcome.advisory_id))
        return in.fail("outcomes in ascending order of (component, advisory id)");
    }
    set.outcomes.push_back(std::move(outcome));
  }
  return n == count(set) || in.fail("as many outcomes, statements and conflicts as the header counts");
}

}  // namespace

std::string_view to_string(VexStatus status) { return kStatusText[static_cast<std::size_t>(status)]; }

Result<VexStatus> parse_vex_status(std::string_view text) {
  for (std::size_t i = 0; i < kStatusText.size(); ++i)
    if (kStatusText[i] == text) return static_cast<VexStatus>(i);
  return Error(base_errors::kInvalid, "not a VEX status").with("field", std::string("status")).with("expected", std::string("none, not_affected, affected, fixed or under_investigation"));
}

std::string encode(const VexResultSet& set) {
  const Counts n = count(set);
  std::string out = "{\"format\":\"stella.vex-result/v1\",\"rule\":";
  json::append_quoted(out, set.rule);
  out.append(",\"counts\":{\"outcomes\":").append(std::to_string(n.outcomes));
  out.append(",\"considered\":").append(std::to_string(n.considered));
  out.append(",\"conflicts\":").append(std::to_string(n.conflicts)).append("}}\n");
  for (const auto& o : set.outcomes) append(out, o);
  return out;
}

Result<VexResultSet> decode_vex_result(std::string_view ndjson) {
  LineReader in(ndjson);
  VexResultSet set;
  if (!read_set(in, set)) return in.error("not a VEX result");
  return set;
}

}  // namespace stella::contracts
