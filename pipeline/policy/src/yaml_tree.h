// A YAML document as a plain tree with positions: no anchors, no aliases, no tags, one document, bounded depth. JSON is YAML.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"

namespace stella::pipeline {

struct YamlNode {
  enum class Kind { kNull, kScalar, kSequence, kMap };
  Kind kind = Kind::kNull;
  std::string scalar;
  bool plain = false;      // a scalar without quotes
  std::size_t line = 1;    // 1-based
  std::size_t column = 1;  // 1-based
  std::vector<YamlNode> items;                             // of a sequence
  std::vector<std::pair<YamlNode, YamlNode>> entries;      // of a map, document order, keys are unique scalars

  const YamlNode* find(std::string_view key) const {
    for (const auto& [name, value] : entries)
      if (name.scalar == key) return &value;
    return nullptr;
  }
};

inline constexpr int kYamlDepth = 32;
inline constexpr std::size_t kYamlKeys = 64;  // of one map: keeps the search for doubled keys linear

// kMalformed with line, column and expected; kLimit for depth.
Result<YamlNode> parse_yaml(std::string_view text);

// Where the character `offset` of a scalar's text stands in the document (1-based line and column). Exact for plain and block scalars
// and for quoted ones without escapes.
std::pair<std::size_t, std::size_t> scalar_position(std::string_view document, const YamlNode& scalar, std::size_t offset);

}  // namespace stella::pipeline
