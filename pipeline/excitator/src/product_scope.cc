// Containment: reachability below a product, parts of one static binary, and the check that nothing outside holds the component too.
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

ProductScope::ProductScope(const EdgeIndex& edges, std::vector<std::uint32_t> products) : edges_(edges), products_(std::move(products)) {
  inside_ = reach(products_, false);
  ancestors_ = reach(products_, true);
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
bool ProductScope::is_static_container(std::uint32_t container, std::uint32_t component) const {
  const auto& components = edges_.table().components;
  const std::string& type = components[component].type;
  if ((type != "golang" && type != "cargo") || !components[container].purl.empty() || edges_.holders(container).empty()) return false;
  return std::any_of(products_.begin(), products_.end(), [&](std::uint32_t product) {
    if (components[product].type != type) return false;
    const auto holders = edges_.holders(product);
    return std::any_of(holders.begin(), holders.end(), [&](const auto& link) { return link.other == container && link.kind == EdgeKind::kContains; });
  });
}

Containment ProductScope::contains(std::uint32_t component, std::uint32_t* elsewhere) const {
  bool inside = inside_[component];
  // Several entries joined into one: a holder may hold another copy than the product's.
  const bool one_place = edges_.table().components[component].refs.size() <= 1;
  bool also_outside = false;
  for (const auto& link : edges_.holders(component)) {
    const bool contains = link.kind == EdgeKind::kContains;
    if (inside_[link.other]) continue;
    if (contains && is_static_container(link.other, component)) {
      inside = true;
      continue;
    }
    // What holds the product holds its parts too, and says nothing about where in it they lie.
    if (contains && one_place && ancestors_[link.other]) continue;
    also_outside = true;
    *elsewhere = link.other;
  }
  if (!inside) return Containment::kOutside;
  const bool is_product = std::find(products_.begin(), products_.end(), component) != products_.end();
  return also_outside && !is_product ? Containment::kAlsoOutside : Containment::kInside;
}

}  // namespace stella::pipeline::vex
