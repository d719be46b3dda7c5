// What lies inside a product by the document's relationships.
#pragma once

#include <cstdint>
#include <span>
#include <string>
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

// A product: all components of the table that a statement's product names (versions of it, identities of it).
class ProductScope {
 public:
  // `products` must not be empty.
  ProductScope(const EdgeIndex& edges, std::vector<std::uint32_t> products);

  // `elsewhere` receives a holder outside of the product where the result is kAlsoOutside.
  Containment contains(std::uint32_t component, std::uint32_t* elsewhere) const;

 private:
  std::vector<bool> reach(std::span<const std::uint32_t> from, bool upwards) const;
  bool is_static_container(std::uint32_t container, std::uint32_t component) const;

  const EdgeIndex& edges_;
  std::vector<std::uint32_t> products_;
  std::vector<bool> inside_;     // the products and everything below them
  std::vector<bool> ancestors_;  // what contains a product
};

}  // namespace stella::pipeline::vex
