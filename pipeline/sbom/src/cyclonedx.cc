// CycloneDX 1.4–1.6 JSON: components (nested ones too), metadata.component, dependencies.
#include <algorithm>
#include <array>

#include "readers.h"

namespace stella::pipeline::sbom {
namespace {

constexpr std::array<std::string_view, 13> kTypes = {"application",     "framework", "library", "container", "platform", "operating-system",       "device",
                                                     "device-driver", "firmware",  "file",    "machine-learning-model", "data",     "cryptographic-asset"};

bool read_components(Walker& in, const ParseLimits& limits, std::uint32_t parent, RawDocument& raw);

bool read_component(Walker& in, const ParseLimits& limits, RawEntry entry, RawDocument& raw) {
  enum : unsigned { kPurl, kName, kVersion, kGroup, kRef, kType, kComponents };
  if (raw.entries.size() >= limits.max_components) return over_limit(in, "too many components", limits.max_components);
  const auto self = static_cast<std::uint32_t>(raw.entries.size());
  raw.entries.push_back(entry);
  Seen seen;
  std::string_view type;
  const auto member = [&](std::string_view name, std::size_t at) {
    const auto text = [&](unsigned bit, std::string_view& out) { return seen.first(bit) ? in.string(out) : in.duplicate(at); };
    switch (name.size()) {
      case 4:
        if (is(name, "purl")) return entry.has_purl = true, text(kPurl, entry.purl);
        if (is(name, "name")) return text(kName, entry.name);
        if (is(name, "type")) return text(kType, type);
        break;
      case 5:
        if (is(name, "group")) return text(kGroup, entry.group);
        break;
      case 7:
        if (is(name, "version")) return seen.first(kVersion) ? in.string_or_number(entry.version) : in.duplicate(at);
        if (is(name, "bom-ref")) return text(kRef, entry.ref);
        break;
      case 10:
        if (is(name, "components")) return seen.first(kComponents) ? read_components(in, limits, self, raw) : in.duplicate(at);
        break;
      default: break;
    }
    return in.skip();
  };
  if (!in.object(member)) return false;
  if (entry.name.empty()) entry.problem = "missing_name";
  else if (type.empty()) entry.problem = "missing_type";
  else if (std::find(kTypes.begin(), kTypes.end(), type) == kTypes.end()) entry.problem = "unknown_type";
  raw.entries[self] = entry;
  return true;
}

bool read_components(Walker& in, const ParseLimits& limits, std::uint32_t parent, RawDocument& raw) {
  return in.array([&](std::uint32_t i) { return read_component(in, limits, RawEntry{.parent = parent, .ordinal = i}, raw); });
}

bool read_targets(Walker& in, const ParseLimits& limits, std::string_view from, RawDocument& raw, std::vector<std::string_view>* later) {
  return in.array([&](std::uint32_t) {
    std::string_view to;
    if (!in.string(to)) return false;
    if (raw.edges.size() >= limits.max_edges) return over_limit(in, "too many edges", limits.max_edges);
    if (later != nullptr) later->push_back(to);
    else raw.edges.push_back({from, to, contracts::EdgeKind::kDependsOn});
    return true;
  });
}

bool read_dependency(Walker& in, const ParseLimits& limits, RawDocument& raw, std::vector<std::string_view>& later) {
  enum : unsigned { kRef, kDependsOn };
  Seen seen;
  std::string_view from;
  later.clear();
  const auto member = [&](std::string_view name, std::size_t at) {
    if (is(name, "ref")) return seen.first(kRef) ? in.string(from) : in.duplicate(at);
    if (is(name, "dependsOn")) {
      if (!seen.first(kDependsOn)) return in.duplicate(at);
      return read_targets(in, limits, from, raw, seen.has(kRef) ? nullptr : &later);
    }
    return in.skip();
  };
  if (!in.object(member)) return false;
  for (const std::string_view to : later) raw.edges.push_back({from, to, contracts::EdgeKind::kDependsOn});
  return true;
}

}  // namespace

bool over_limit(Walker& in, Literal message, std::uint64_t limit) {
  return in.fail(in.error_at(base_errors::kLimit, message, in.offset()).with("limit", limit));
}

bool read_cyclonedx_metadata(Walker& in, const ParseLimits& limits, CycloneDxHead& head, RawDocument& raw) {
  Seen seen;
  return in.object([&](std::string_view name, std::size_t at) {
    if (!is(name, "component")) return in.skip();
    if (!seen.first(0)) return in.duplicate(at);
    head.subject = static_cast<std::uint32_t>(raw.entries.size());
    return read_component(in, limits, RawEntry{.is_subject = true}, raw);
  });
}

bool read_cyclonedx_components(Walker& in, const ParseLimits& limits, RawDocument& raw) { return read_components(in, limits, kNoEntry, raw); }

bool read_cyclonedx_dependencies(Walker& in, const ParseLimits& limits, RawDocument& raw) {
  std::vector<std::string_view> later;
  return in.array([&](std::uint32_t) { return read_dependency(in, limits, raw, later); });
}

bool read_cyclonedx_services(Walker& in, RawDocument& raw) {
  return in.array([&](std::uint32_t) {
    Seen seen;
    return in.object([&](std::string_view name, std::size_t at) {
      if (is(name, "services")) return read_cyclonedx_services(in, raw);
      if (!is(name, "bom-ref")) return in.skip();
      return seen.first(0) ? in.string(raw.other_refs.emplace_back()) : in.duplicate(at);
    });
  });
}

}  // namespace stella::pipeline::sbom
