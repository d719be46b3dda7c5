// Joins, edges and problems: the same rules for every format.
#include "table_builder.h"

#include <algorithm>
#include <string>

#include "stella/base/encoding.h"
#include "stella/pipeline/versions/purl.h"
#include "text_index.h"

namespace stella::pipeline::sbom {
namespace {

using contracts::Component;
using contracts::ComponentTable;
using contracts::Edge;
using contracts::EdgeKind;

class Builder {
 public:
  Builder(const RawDocument& raw, const ParseLimits& limits, ComponentTable& table)
      : raw_(raw), limits_(limits), table_(table), by_identity_(raw.entries.size()), by_ref_(raw.entries.size()) {}

  void run() {
    table_.components.reserve(raw_.entries.size());
    component_of_.resize(raw_.entries.size());
    for (std::uint32_t i = 0; i < raw_.entries.size(); ++i) {
      // The texts lie scattered over a document that no cache holds.
      if (i + kAhead < raw_.entries.size()) {
        __builtin_prefetch(raw_.entries[i + kAhead].purl.data());
        __builtin_prefetch(raw_.entries[i + kAhead].ref.data());
      }
      add_entry(i);
    }
    for (const auto& problem : raw_.problems) add_problem(problem.code, problem.where, problem.detail);
    add_nesting();
    add_references();
    finish_edges();
    if (dropped_problems_ != 0)
      table_.problems.push_back({"more_problems", "", std::to_string(dropped_problems_) + " further problems are not listed"});
  }

 private:
  static constexpr std::uint32_t kAhead = 4;

  // JSON pointer of an entry; only for problems.
  std::string pointer(const RawEntry& e) const {
    if (e.is_subject) return "/metadata/component";
    const std::string base = e.parent == kNoEntry ? raw_.array_pointer : pointer(raw_.entries[e.parent]) + "/components";
    return base + "/" + std::to_string(e.ordinal);
  }
  std::string purl_pointer(const RawEntry& e) const {
    return pointer(e) + (e.external == kNoEntry ? std::string("/purl") : "/externalRefs/" + std::to_string(e.external) + "/referenceLocator");
  }

  void add_problem(std::string_view code, std::string where, std::string detail) {
    if (table_.problems.size() >= limits_.max_problems) {
      ++dropped_problems_;
      return;
    }
    table_.problems.push_back({std::string(code), std::move(where), std::move(detail)});
  }

  static std::string label_of(const RawEntry& e) {
    std::string label;
    if (!e.group.empty()) label.append(e.group).append("/");
    return label.append(e.name);
  }

  void add_entry(std::uint32_t i) {
    const RawEntry& e = raw_.entries[i];
    component_of_[i] = e.has_purl && !e.purl.empty() ? add_with_purl(e) : add_plain(e, "no purl", "missing_purl");
    if (e.problem != nullptr) add_problem(e.problem, pointer(e), "");
    if (e.ref.empty()) return;
    add_ref(i, e);
  }

  void add_ref(std::uint32_t i, const RawEntry& e) {
    const std::uint64_t hash = hash_text(e.ref);
    const std::uint32_t first = by_ref_.find(hash, [&](std::uint32_t n) { return raw_.entries[n].ref == e.ref; });
    if (first == TextIndex::kNone) {
      by_ref_.insert(hash, i);
    } else if (e.continues) {
      // Another purl of the same package: either identity reaches the same parts.
      add_edge(component_of_[first], component_of_[i], EdgeKind::kContains);
      add_edge(component_of_[i], component_of_[first], EdgeKind::kContains);
    } else {
      add_problem("duplicate_ref", pointer(e), std::string(e.ref));
    }
    auto& refs = table_.components[component_of_[i]].refs;
    if (refs.empty() || refs.back() != e.ref) refs.emplace_back(e.ref);
  }

  std::uint32_t add_plain(const RawEntry& e, const char* problem, const char* code) {
    Component& c = table_.components.emplace_back();
    c.raw_purl = e.purl;
    c.label = label_of(e);
    c.name = c.label;
    c.version = e.version;
    c.problem = problem;
    add_problem(code, pointer(e), c.label);
    return static_cast<std::uint32_t>(table_.components.size() - 1);
  }

  // The purl that needs no second spelling. With a version it is the whole identity, so that a duplicate costs one look-up.
  std::uint32_t add_plain_purl(const RawEntry& e, PlainPurl purl) {
    const std::uint64_t hash = hash_text(e.purl);
    const bool complete = !purl.version.empty();
    if (complete) {
      const std::uint32_t same = by_identity_.find(hash, [&](std::uint32_t n) { return table_.components[n].purl == e.purl; });
      if (same != TextIndex::kNone) return same;
    } else {
      purl.version = e.version;
    }
    Component& c = table_.components.emplace_back();
    if (!plain_osv_package(purl, c.ecosystem, c.name, c.version)) return table_.components.pop_back(), kNoEntry;
    c.purl = e.purl;
    c.type = purl.type;
    c.label.reserve(e.group.size() + 1 + e.name.size());
    if (!e.group.empty()) c.label.append(e.group).push_back('/');
    c.label.append(e.name);
    return complete ? index_new(e, hash) : join(e);
  }

  std::uint32_t add_with_purl(const RawEntry& e) {
    if (const auto plain = plain_purl(e.purl))
      if (const std::uint32_t c = add_plain_purl(e, *plain); c != kNoEntry) return c;
    auto purl = parse_purl(e.purl);
    if (!purl || !clean(*purl, e.purl)) return add_malformed(e, purl ? std::string_view("UTF-8 without NUL") : purl.error().field("expected"));
    // Built where it will stay; join() takes it away again where it was there already.
    Component& c = table_.components.emplace_back();
    c.purl = purl->str();
    if (c.purl != e.purl) c.raw_purl = e.purl;
    c.label = label_of(e);
    if (purl->version.empty()) purl->version = e.version;
    OsvPackage package = osv_package(*purl, c.label);
    c.type = purl->type;
    c.ecosystem = std::move(package.ecosystem);
    if (!c.ecosystem.empty()) {
      c.name = std::move(package.name);
      c.version = std::move(package.version);
    } else {
      c.name = purl->namespace_.empty() ? purl->name : purl->namespace_ + "/" + purl->name;
      c.version = purl->version;
    }
    return join(e);
  }

  // Decoded parts may hold what the text did not show: bytes that are no UTF-8, or NUL, which no store of ours takes.
  static bool clean(const Purl& purl, std::string_view text) {
    if (text.find('%') == std::string_view::npos) return true;
    const auto ok = [](std::string_view part) { return part.find('\0') == std::string_view::npos && is_utf8(part); };
    if (!ok(purl.namespace_) || !ok(purl.name) || !ok(purl.version) || !ok(purl.subpath)) return false;
    return std::all_of(purl.qualifiers.begin(), purl.qualifiers.end(), [&](const auto& q) { return ok(q.first) && ok(q.second); });
  }

  std::uint32_t add_malformed(const RawEntry& e, std::string_view expected) {
    const std::uint32_t c = add_plain(e, "malformed purl", "malformed_purl");
    if (!table_.problems.empty() && dropped_problems_ == 0) {
      auto& problem = table_.problems.back();
      problem.where = purl_pointer(e);
      problem.detail.assign("expected ").append(expected);
    }
    return c;
  }

  // One component per canonical purl; the version of a purl without one, and the module path that a Go subpath makes, belong to it.
  std::uint32_t join(const RawEntry& e) {
    Component& c = table_.components.back();
    const std::uint64_t hash = hash_text(c.purl);
    const std::uint32_t same = by_identity_.find(hash, [&](std::uint32_t n) {
      const Component& o = table_.components[n];
      return o.purl == c.purl && o.version == c.version && o.name == c.name;
    });
    if (same != TextIndex::kNone) return table_.components.pop_back(), same;
    return index_new(e, hash);
  }

  std::uint32_t index_new(const RawEntry& e, std::uint64_t hash) {
    Component& c = table_.components.back();
    const auto index = static_cast<std::uint32_t>(table_.components.size() - 1);
    by_identity_.insert(hash, index);
    if (c.version.empty()) {
      c.problem = "no version";
      add_problem("missing_version", pointer(e), c.purl);
    }
    return index;
  }

  // One word per edge, in the order of Edge: sorting words is twice as fast. Indexes stay below 2^31 (a document below 4 GiB has
  // fewer entries).
  void add_edge(std::uint32_t from, std::uint32_t to, EdgeKind kind) {
    if (from != to) edges_.push_back(std::uint64_t{from} << 32 | std::uint64_t{to} << 1 | static_cast<std::uint64_t>(kind));
  }
  void finish_edges() {
    std::sort(edges_.begin(), edges_.end());
    edges_.erase(std::unique(edges_.begin(), edges_.end()), edges_.end());
    table_.edges.reserve(edges_.size());
    for (const std::uint64_t e : edges_)
      table_.edges.push_back({static_cast<std::uint32_t>(e >> 32), static_cast<std::uint32_t>(e >> 1) & 0x7fffffffu, static_cast<EdgeKind>(e & 1)});
  }

  void add_nesting() {
    std::uint32_t subject = kNoEntry;
    for (std::uint32_t i = 0; i < raw_.entries.size(); ++i)
      if (raw_.entries[i].is_subject) subject = i;
    for (std::uint32_t i = 0; i < raw_.entries.size(); ++i) {
      const RawEntry& e = raw_.entries[i];
      const std::uint32_t parent = e.parent != kNoEntry ? e.parent : e.is_subject ? kNoEntry : subject;
      if (parent != kNoEntry) add_edge(component_of_[parent], component_of_[i], EdgeKind::kContains);
    }
  }

  std::uint32_t component_at(std::string_view ref) const {
    const std::uint32_t entry = by_ref_.find(hash_text(ref), [&](std::uint32_t n) { return raw_.entries[n].ref == ref; });
    return entry == TextIndex::kNone ? kNoEntry : component_of_[entry];
  }

  void add_references() {
    TextIndex others(raw_.other_refs.size());
    for (std::uint32_t i = 0; i < raw_.other_refs.size(); ++i) {
      const std::uint64_t hash = hash_text(raw_.other_refs[i]);
      if (others.find(hash, [&](std::uint32_t n) { return raw_.other_refs[n] == raw_.other_refs[i]; }) == TextIndex::kNone) others.insert(hash, i);
    }
    const auto known_other = [&](std::string_view ref) {
      return others.find(hash_text(ref), [&](std::uint32_t n) { return raw_.other_refs[n] == ref; }) != TextIndex::kNone;
    };
    edges_.reserve(edges_.size() + raw_.edges.size());
    std::uint32_t from = kNoEntry;
    std::string_view last;  // edges of one component come one after the other
    for (const RawEdge& edge : raw_.edges) {
      if (last.data() == nullptr || edge.from != last) from = component_at(last = edge.from);
      const std::uint32_t to = component_at(edge.to);
      if (from != kNoEntry && to != kNoEntry) add_edge(from, to, edge.kind);
      if (from == kNoEntry && !known_other(edge.from)) add_problem("dangling_ref", std::string(edge.from), "no component of this document");
      if (to == kNoEntry && !known_other(edge.to)) add_problem("dangling_ref", std::string(edge.to), "no component of this document");
    }
  }

  const RawDocument& raw_;
  const ParseLimits& limits_;
  ComponentTable& table_;
  TextIndex by_identity_;   // components
  TextIndex by_ref_;        // raw entries
  std::vector<std::uint32_t> component_of_;  // per raw entry
  std::vector<std::uint64_t> edges_;         // packed
  std::uint64_t dropped_problems_ = 0;
};

}  // namespace

void build_table(const RawDocument& raw, const ParseLimits& limits, contracts::ComponentTable& table) { Builder(raw, limits, table).run(); }

}  // namespace stella::pipeline::sbom
