// Wire form of the component table (`components.ndjson`).
#include "stella/contracts/components.h"

#include "line_reader.h"

namespace stella::contracts {
namespace {

std::string_view kind_text(EdgeKind kind) { return kind == EdgeKind::kContains ? "contains" : "depends_on"; }

void append(std::string& out, const Component& c) {
  out += "{\"c\":{\"label\":";
  json::append_quoted(out, c.label);
  append_optional(out, ",\"purl\":", c.purl);
  append_optional(out, ",\"raw_purl\":", c.raw_purl);
  append_optional(out, ",\"type\":", c.type);
  append_optional(out, ",\"ecosystem\":", c.ecosystem);
  append_optional(out, ",\"name\":", c.name);
  append_optional(out, ",\"version\":", c.version);
  append_optional(out, ",\"problem\":", c.problem);
  out += ",\"refs\":[";
  for (std::size_t i = 0; i < c.refs.size(); ++i) {
    if (i != 0) out += ',';
    json::append_quoted(out, c.refs[i]);
  }
  out += "]}}\n";
}

bool read(LineReader& in, Component& c) {
  if (!in.expect("{\"c\":{\"label\":") || !in.string(c.label)) return false;
  if (!in.optional(",\"purl\":", c.purl) || !in.optional(",\"raw_purl\":", c.raw_purl) || !in.optional(",\"type\":", c.type) ||
      !in.optional(",\"ecosystem\":", c.ecosystem) || !in.optional(",\"name\":", c.name) || !in.optional(",\"version\":", c.version) ||
      !in.optional(",\"problem\":", c.problem) || !in.expect(",\"refs\":["))
    return false;
  while (!in.accept("]")) {
    if (!c.refs.empty() && !in.expect(",")) return false;
    if (!in.string(c.refs.emplace_back())) return false;
  }
  return in.expect("}}\n");
}

bool read(LineReader& in, Edge& e, std::uint32_t components) {
  if (!in.expect("{\"e\":[") || !in.integer(e.from) || !in.expect(",") || !in.integer(e.to)) return false;
  if (e.from >= components || e.to >= components) return in.fail("indexes of components");
  if (in.accept(",\"contains\"]}\n")) return e.kind = EdgeKind::kContains, true;
  e.kind = EdgeKind::kDependsOn;
  return in.expect(",\"depends_on\"]}\n");
}

bool read(LineReader& in, Problem& p) {
  return in.expect("{\"p\":{\"code\":") && in.string(p.code) && in.expect(",\"where\":") && in.string(p.where) && in.expect(",\"detail\":") &&
         in.string(p.detail) && in.expect("}}\n");
}

bool read_table(LineReader& in, ComponentTable& t) {
  std::uint32_t components = 0;
  std::uint32_t edges = 0;
  std::uint32_t problems = 0;
  if (!in.well_formed() || !in.expect("{\"format\":\"stella.components/v1\",\"source_format\":") || !in.string(t.source_format) ||
      !in.expect(",\"document\":{\"name\":") || !in.string(t.document_name) || !in.expect(",\"version\":") || !in.string(t.document_version) ||
      !in.expect(",\"id\":") || !in.string(t.document_id) || !in.expect("},\"components\":") || !in.integer(components) ||
      !in.expect(",\"edges\":") || !in.integer(edges) || !in.expect(",\"problems\":") || !in.integer(problems) || !in.expect("}\n"))
    return false;
  // No reserve() from these counts: they are claims until the lines are there.
  for (std::uint32_t i = 0; i < components; ++i)
    if (!read(in, t.components.emplace_back())) return false;
  for (std::uint32_t i = 0; i < edges; ++i) {
    Edge edge;
    if (!read(in, edge, components)) return false;
    if (!t.edges.empty() && !(t.edges.back() < edge)) return in.fail("edges in ascending order");
    t.edges.push_back(edge);
  }
  for (std::uint32_t i = 0; i < problems; ++i)
    if (!read(in, t.problems.emplace_back())) return false;
  return in.at_end() || in.fail("end of input");
}

}  // namespace

std::string encode(const ComponentTable& t) {
  std::string out;
  out.reserve(256 + t.components.size() * 256 + t.edges.size() * 32 + t.problems.size() * 96);
  out += "{\"format\":\"stella.components/v1\",\"source_format\":";
  json::append_quoted(out, t.source_format);
  out += ",\"document\":{\"name\":";
  json::append_quoted(out, t.document_name);
  out += ",\"version\":";
  json::append_quoted(out, t.document_version);
  out += ",\"id\":";
  json::append_quoted(out, t.document_id);
  out.append("},\"components\":").append(std::to_string(t.components.size()));
  out.append(",\"edges\":").append(std::to_string(t.edges.size()));
  out.append(",\"problems\":").append(std::to_string(t.problems.size())).append("}\n");
  for (const auto& c : t.components) append(out, c);
  for (const auto& e : t.edges) {
    out.append("{\"e\":[").append(std::to_string(e.from)).append(",").append(std::to_string(e.to));
    out.append(",\"").append(kind_text(e.kind)).append("\"]}\n");
  }
  for (const auto& p : t.problems) {
    out += "{\"p\":{\"code\":";
    json::append_quoted(out, p.code);
    out += ",\"where\":";
    json::append_quoted(out, p.where);
    out += ",\"detail\":";
    json::append_quoted(out, p.detail);
    out += "}}\n";
  }
  return out;
}

Result<ComponentTable> decode_components(std::string_view ndjson) {
  LineReader in(ndjson);
  ComponentTable table;
  if (!read_table(in, table)) return in.error("not a component table");
  return table;
}

}  // namespace stella::contracts
