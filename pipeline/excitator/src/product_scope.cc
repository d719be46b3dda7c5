// Containment: reachability below a product, parts of one static binary, and the check that nothing outside leads to the component too.
#include "product_scope.h"

#include <algorithm>

namespace stella::pipeline::vex {

using contracts::EdgeKind;

EdgeIndex::EdgeIndex(const contracts::ComponentTable& table) : table_(table) {
  const std::size_t n = table.components.size();
  part_start_.assign(n + 1, 0);
  holder_start_.assign(n + 1, 0);
  for (const auto& e : table.edges) ++part_start_[e.from + 1], ++holder_start_[e.to + 1];
  for (std::size_t i = 0; i < n; ++i) part_start_[i + 1] += part_start_[i], holder_start_[i + 1] += holder_start_[i];
  parts_.resize(table.edges.size());
  holders_.resize(table.edges.size());
  auto part = part_start_;
  auto holder = holder_start_;
  for (const auto& e : table.edges) {
    parts_[part[e.from]++] = {e.to, e.kind};
    holders_[holder[e.to]++] = {e.from, e.kind};
  }
}

ProductScope::ProductScope(const EdgeIndex& edges, std::vector<std::uint32_t> products, OutsideReach reach_of_outside)
    : edges_(edges), products_(std::move(products)), is_product_(edges.table().components.size(), false) {
  for (const std::uint32_t product : products_) is_product_[product] = true;
  inside_ = reach(products_, false);
  ancestors_ = reach(products_, true);
  find_static_containers();
  if (reach_of_outside == OutsideReach::kPaths) follow_outside();
}

// Downwards along all edges; upwards along contains edges only, because using something is not holding it.
std::vector<bool> ProductScope::reach(std::span<const std::uint32_t> from, bool upwards) const {
  std::vector<bool> seen(edges_.table().components.size(), false);
  std::vector<std::uint32_t> todo(from.begin(), from.end());
  for (const std::uint32_t i : todo) seen[i] = true;
  while (!todo.empty()) {
    const std::uint32_t at = todo.back();
    todo.pop_back();
    for (const auto& link : upwards ? edges_.holders(at) : edges_.parts(at)) {
      if (seen[link.other] || (upwards && link.kind != EdgeKind::kContains)) continue;
      seen[link.other] = true;
      todo.push_back(link.other);
    }
  }
  return seen;
}

// Scanners list the modules of a Go or Rust binary flat: the binary (an entry without purl, held by something) contains its main
// module and all others side by side. There, and only there, side by side with the product means built into it. An operating system
// or a directory of jars is listed just as flat, but its packages are not parts of each other.
void ProductScope::find_static_containers() {
  const auto& components = edges_.table().components;
  for (const std::uint32_t product : products_) {
    const std::string& type = components[product].type;
    if (type != "golang" && type != "cargo") continue;
    for (const auto& link : edges_.holders(product))
      if (link.kind == EdgeKind::kContains && components[link.other].purl.empty() && !edges_.holders(link.other).empty()) static_containers_.emplace_back(link.other, type);
  }
  std::sort(static_containers_.begin(), static_containers_.end());
}

bool ProductScope::is_static_container(std::uint32_t container, std::uint32_t component) const {
  const std::string& type = edges_.table().components[component].type;
  const auto found = std::lower_bound(static_containers_.begin(), static_containers_.end(), container, [&](const auto& known, std::uint32_t c) {
    return known.first != c ? known.first < c : known.second < type;
  });
  return found != static_containers_.end() && found->first == container && found->second == type;
}

ProductScope::Place ProductScope::place_of(std::uint32_t component) const {
  Place place;
  // Several entries joined into one: a holder may hold another copy than the product's.
  const bool one_place = edges_.table().components[component].refs.size() <= 1;
  for (const auto& link : edges_.holders(component)) {
    const bool contains = link.kind == EdgeKind::kContains;
    if (inside_[link.other]) continue;
    if (contains && is_static_container(link.other, component)) {
      place.built_in = true;
      continue;
    }
    // What holds the product holds its parts too, and says nothing about where in it they lie.
    if (contains && one_place && ancestors_[link.other]) continue;
    place.outside = link.other;
  }
  return place;
}

// What lies in the product and is used outside of it takes its own parts along. A path into the product itself is no way around it.
void ProductScope::follow_outside() {
  outside_.assign(inside_.size(), kNowhere);
  std::vector<std::uint32_t> todo;
  for (std::uint32_t i = 0; i < inside_.size(); ++i) {
    if (!inside_[i] || is_product_[i]) continue;
    outside_[i] = place_of(i).outside;
    if (outside_[i] != kNowhere) todo.push_back(i);
  }
  while (!todo.empty()) {
    const std::uint32_t at = todo.back();
    todo.pop_back();
    for (const auto& link : edges_.parts(at)) {
      if (is_product_[link.other] || outside_[link.other] != kNowhere) continue;
      outside_[link.other] = outside_[at];
      todo.push_back(link.other);
    }
  }
}

Containment ProductScope::contains(std::uint32_t component, std::uint32_t* elsewhere) const {
  Place place = place_of(component);
  if (!inside_[component] && !place.built_in) return Containment::kOutside;
  if (is_product_[component]) return Containment::kInside;
  if (place.outside == kNowhere && !outside_.empty()) place.outside = outside_[component];
  if (place.outside == kNowhere) return Containment::kInside;
  *elsewhere = place.outside;
  return Containment::kAlsoOutside;
}

}  // namespace stella::pipeline::vex
