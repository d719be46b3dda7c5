// A YAML file as a flat list of dotted names with their text and place.
#pragma once

#include <string>
#include <vector>

#include "stella/base/result.h"

namespace stella::config {

struct YamlEntry {
  std::string name;   // "http.port", from nested maps, dotted keys or both
  std::string text;   // lists joined with commas
  int line = 0;       // from 1
  bool list = false;
};

// kMalformed (line, expected) for what is no YAML; kInvalid (line, field, expected) for shapes that no setting has; kLimit for nesting
// over 16 levels or more than 10,000 entries (aliases multiply).
Result<std::vector<YamlEntry>> flatten_yaml(const std::string& text);

}  // namespace stella::config
