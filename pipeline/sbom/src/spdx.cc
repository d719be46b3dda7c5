// SPDX 2.2 and 2.3 JSON: packages with their purls, relationships turned into "what lies in or below what".
#include <string>

#include "readers.h"

namespace stella::pipeline::sbom {
namespace {

using contracts::EdgeKind;

struct ExternalRef {
  std::string_view category;
  std::string_view type;
  std::string_view locator;
};

bool read_external_ref(Walker& in, ExternalRef& out) {
  enum : unsigned { kCategory, kType, kLocator };
  Seen seen;
  return in.object([&](std::string_view name, std::size_t at) {
    const auto text = [&](unsigned bit, std::string_view& into) { return seen.first(bit) ? in.string(into) : in.duplicate(at); };
    if (is(name, "referenceCategory")) return text(kCategory, out.category);
    if (is(name, "referenceType")) return text(kType, out.type);
    if (is(name, "referenceLocator")) return text(kLocator, out.locator);
    return in.skip();
  });
}

bool is_purl(const ExternalRef& ref) {
  // Both spellings of the category are common; some writers use yet another category for a purl, and the type is what says it.
  return is(ref.type, "purl") || ref.type.ends_with("#purl");
}

struct Purl {
  std::string_view text;
  std::uint32_t index;
};

bool read_package(Walker& in, const ParseLimits& limits, RawEntry entry, RawDocument& raw, std::vector<Purl>& purls) {
  enum : unsigned { kId, kName, kVersion, kExternal };
  Seen seen;
  purls.clear();
  const auto member = [&](std::string_view name, std::size_t at) {
    const auto text = [&](unsigned bit, std::string_view& into) { return seen.first(bit) ? in.string(into) : in.duplicate(at); };
    if (is(name, "SPDXID")) return text(kId, entry.ref);
    if (is(name, "name")) return text(kName, entry.name);
    if (is(name, "versionInfo")) return text(kVersion, entry.version);
    if (!is(name, "externalRefs")) return in.skip();
    if (!seen.first(kExternal)) return in.duplicate(at);
    return in.array([&](std::uint32_t i) {
      ExternalRef ref;
      if (!read_external_ref(in, ref)) return false;
      if (is_purl(ref)) purls.push_back({ref.locator, i});
      return true;
    });
  };
  const std::size_t rows = raw.entries.size();
  if (rows >= limits.max_components) return over_limit(in, "too many components", limits.max_components);
  if (!in.object(member)) return false;
  if (rows + purls.size() > limits.max_components)
    return in.fail(Error(base_errors::kLimit, "too many components").with("limit", limits.max_components));
  if (entry.name.empty()) entry.problem = "missing_name";
  if (entry.version == "NOASSERTION" || entry.version == "NONE") entry.version = {};
  if (purls.empty()) raw.entries.push_back(entry);
  for (const Purl& purl : purls) {
    entry.purl = purl.text;
    entry.has_purl = true;
    entry.external = purl.index;
    raw.entries.push_back(entry);
    entry.continues = true;
    entry.problem = nullptr;
  }
  return true;
}

// What a relationship type means for us.
struct Meaning {
  std::string_view type;
  enum Kind : std::uint8_t { kEdge, kDescribes, kDescribedBy, kNothing } what;
  EdgeKind kind;
  bool reversed;  // the related element holds the subject
};

// SPDX 2.3 §11.1. Development, build and test dependencies do not ship inside the product, so they make no edge.
constexpr Meaning kMeanings[] = {
    {"CONTAINS", Meaning::kEdge, EdgeKind::kContains, false},
    {"CONTAINED_BY", Meaning::kEdge, EdgeKind::kContains, true},
    {"DEPENDS_ON", Meaning::kEdge, EdgeKind::kDependsOn, false},
    {"DEPENDENCY_OF", Meaning::kEdge, EdgeKind::kDependsOn, true},
    {"PACKAGE_OF", Meaning::kEdge, EdgeKind::kContains, true},
    {"RUNTIME_DEPENDENCY_OF", Meaning::kEdge, EdgeKind::kDependsOn, true},
    {"OPTIONAL_DEPENDENCY_OF", Meaning::kEdge, EdgeKind::kDependsOn, true},
    {"PROVIDED_DEPENDENCY_OF", Meaning::kEdge, EdgeKind::kDependsOn, true},
    {"OPTIONAL_COMPONENT_OF", Meaning::kEdge, EdgeKind::kContains, true},
    {"STATIC_LINK", Meaning::kEdge, EdgeKind::kContains, false},
    {"DYNAMIC_LINK", Meaning::kEdge, EdgeKind::kDependsOn, false},
    {"HAS_PREREQUISITE", Meaning::kEdge, EdgeKind::kDependsOn, false},
    {"PREREQUISITE_FOR", Meaning::kEdge, EdgeKind::kDependsOn, true},
    {"DESCRIBES", Meaning::kDescribes, {}, false},
    {"DESCRIBED_BY", Meaning::kDescribedBy, {}, false},
};
constexpr std::string_view kKnownWithoutEdge[] = {
    "DEPENDENCY_MANIFEST_OF", "BUILD_DEPENDENCY_OF", "DEV_DEPENDENCY_OF", "TEST_DEPENDENCY_OF", "EXAMPLE_OF", "GENERATES", "GENERATED_FROM", "ANCESTOR_OF",
    "DESCENDANT_OF", "VARIANT_OF", "DISTRIBUTION_ARTIFACT", "PATCH_FOR", "PATCH_APPLIED", "COPY_OF", "FILE_ADDED", "FILE_DELETED", "FILE_MODIFIED",
    "EXPANDED_FROM_ARCHIVE", "DATA_FILE_OF", "TEST_CASE_OF", "BUILD_TOOL_OF", "DEV_TOOL_OF", "TEST_OF", "TEST_TOOL_OF", "DOCUMENTATION_OF", "METAFILE_OF",
    "AMENDS", "REQUIREMENT_DESCRIPTION_FOR", "SPECIFICATION_FOR", "OTHER"};

struct Relationship {
  std::string_view from;
  std::string_view to;
  std::string_view type;
};

bool read_relationship(Walker& in, Relationship& out) {
  enum : unsigned { kFrom, kTo, kType };
  Seen seen;
  return in.object([&](std::string_view name, std::size_t at) {
    const auto text = [&](unsigned bit, std::string_view& into) { return seen.first(bit) ? in.string(into) : in.duplicate(at); };
    if (is(name, "spdxElementId")) return text(kFrom, out.from);
    if (is(name, "relatedSpdxElement")) return text(kTo, out.to);
    if (is(name, "relationshipType")) return text(kType, out.type);
    return in.skip();
  });
}

// Elements of other documents and the two special values are no components of this one, and no mistake.
bool is_elsewhere(std::string_view ref) { return ref == "NONE" || ref == "NOASSERTION" || ref.starts_with("DocumentRef-"); }

class Relationships {
 public:
  Relationships(const ParseLimits& limits, SpdxHead& head, RawDocument& raw) : limits_(limits), head_(head), raw_(raw) {}

  bool add(Walker& in, const Relationship& r) {
    for (const Meaning& meaning : kMeanings)
      if (meaning.type == r.type) return apply(in, r, meaning);
    for (const std::string_view known : kKnownWithoutEdge)
      if (known == r.type) return true;
    for (const std::string_view seen : unknown_)
      if (seen == r.type) return true;
    if (unknown_.size() < 16) {
      unknown_.push_back(r.type);
      raw_.problems.push_back({"unknown_relationship", "/relationships", std::string(r.type)});
    }
    // Trivy's misspelling of DESCRIBES: recorded above, and understood.
    if (r.type == "DESCRIBE") head_.described.push_back(r.to);
    return true;
  }

 private:
  bool apply(Walker& in, const Relationship& r, const Meaning& meaning) {
    if (meaning.what == Meaning::kDescribes) return head_.described.push_back(r.to), true;
    if (meaning.what == Meaning::kDescribedBy) return head_.described.push_back(r.from), true;
    if (is_elsewhere(r.from) || is_elsewhere(r.to)) return true;
    if (raw_.edges.size() >= limits_.max_edges) return over_limit(in, "too many edges", limits_.max_edges);
    raw_.edges.push_back(meaning.reversed ? RawEdge{r.to, r.from, meaning.kind} : RawEdge{r.from, r.to, meaning.kind});
    return true;
  }

  const ParseLimits& limits_;
  SpdxHead& head_;
  RawDocument& raw_;
  std::vector<std::string_view> unknown_;
};

}  // namespace

bool read_spdx_packages(Walker& in, const ParseLimits& limits, RawDocument& raw) {
  std::vector<Purl> purls;
  return in.array([&](std::uint32_t i) { return read_package(in, limits, RawEntry{.ordinal = i}, raw, purls); });
}

bool read_spdx_relationships(Walker& in, const ParseLimits& limits, SpdxHead& head, RawDocument& raw) {
  Relationships relationships(limits, head, raw);
  return in.array([&](std::uint32_t) {
    Relationship r;
    return read_relationship(in, r) && relationships.add(in, r);
  });
}

bool read_spdx_elements(Walker& in, RawDocument& raw) {
  return in.array([&](std::uint32_t) {
    Seen seen;
    return in.object([&](std::string_view name, std::size_t at) {
      if (!is(name, "SPDXID")) return in.skip();
      return seen.first(0) ? in.string(raw.other_refs.emplace_back()) : in.duplicate(at);
    });
  });
}

bool read_spdx_described(Walker& in, SpdxHead& head) {
  return in.array([&](std::uint32_t) { return in.string(head.described.emplace_back()); });
}

}  // namespace stella::pipeline::sbom
