// Package URLs without a version stand for every version of their package.
#include "component.h"

namespace stella::timeline {

bool asks_for_component(const ResourceFilter& filter) { return filter.type == "component" && !filter.id.empty(); }

std::vector<ResourceFilter> component_parts(const ResourceFilter& filter) {
  ResourceFilter whole = filter;
  if (!whole.id.starts_with("pkg:")) return {whole};
  if (const auto scope = whole.id.find("/@"); scope != whole.id.npos) whole.id.replace(scope + 1, 1, "%40");
  if (whole.prefix || whole.id.find_first_of("@?#") != whole.id.npos) return {whole};
  std::vector<ResourceFilter> out{whole};
  for (const char* mark : {"@", "?", "#"}) out.push_back({whole.type, whole.id + mark, true});
  return out;
}

}  // namespace stella::timeline
