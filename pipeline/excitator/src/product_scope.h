// What lies inside a product by the document's relationships.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "stella/contracts/components.h"

namespace stella::pipeline::vex {

// The document's edges in both directions; built once per table.
class EdgeIndex {
 public:
  explicit EdgeIndex(const contracts::ComponentTable& table);
  struct Link {
    std::uint32_t other;
    contracts::EdgeKind kind;
  };
  std::span<const Link> parts(std::uint32_t component) const { return slice(parts_, part_start_, component); }
  std::span<const Link> holders(std::uint32_t component) const { return slice(holders_, holder_start_, component); }
  const contracts::ComponentTable& table() const { return table_; }

 private:
  static std::span<const Link> slice(const std::vector<Link>& links, const std::vector<std::uint32_t>& start, std::uint32_t i) {
    return {links.data() + start[i], links.data() + start[i + 1]};
  }
  const contracts::ComponentTable& table_;
  std::vector<std::uint32_t> part_start_, holder_start_;
  std::vector<Link> parts_, holders_;
};

enum class Containment { kInside, kOutside, kAlsoOutside };

// Where "used outside" is looked for: only at the component's own holders (precedence rule 1), or along every path that leads to it.
enum class OutsideReach { kHolders, kPaths };

// A product: all components of the table that a statement's product names (versions of it, identities of it). Linear in the table.
class ProductScope {
 public:
  // `products` must not be empty.
  ProductScope(const EdgeIndex& edges, std::vector<std::uint32_t> products, OutsideReach reach = OutsideReach::kPaths);

  // `elsewhere` receives a holder outside of the product where the result is kAlsoOutside.
  Containment contains(std::uint32_t component, std::uint32_t* elsewhere) const;

 private:
  static constexpr std::uint32_t kNowhere = 0xFFFFFFFF;
  // What holds one component, seen from the product.
  struct Place {
    bool built_in = false;             // side by side with the product in one static binary
    std::uint32_t outside = kNowhere;  // a holder outside of the product
  };
  std::vector<bool> reach(std::span<const std::uint32_t> from, bool upwards) const;
  void find_static_containers();
  bool is_static_container(std::uint32_t container, std::uint32_t component) const;
  Place place_of(std::uint32_t component) const;
  void follow_outside();

  const EdgeIndex& edges_;
  std::vector<std::uint32_t> products_;
  std::vector<bool> is_product_;
  std::vector<bool> inside_;     // the products and everything below them
  std::vector<bool> ancestors_;  // what contains a product
  std::vector<std::pair<std::uint32_t, std::string>> static_containers_;  // (container, type of the product in it), sorted
  std::vector<std::uint32_t> outside_;  // of what is inside: the holder outside of the product from which a path leads to it; kNowhere
};

}  // namespace stella::pipeline::vex
