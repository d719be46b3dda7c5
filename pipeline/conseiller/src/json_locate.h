// Where in a JSON text a value stands: for error messages about documents whose JSON is well-formed but whose content is not.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

namespace stella::pipeline {

// Member names and array indexes from the root to a value.
using JsonPath = std::vector<std::variant<std::string_view, std::size_t>>;

struct JsonPlace {
  std::size_t line = 1;
  std::size_t column = 1;  // bytes
};

// RFC 6901.
std::string to_pointer(const JsonPath& path);
// The place of the value at `path`, or of the last one on the way that exists. `text` must be well-formed JSON; one pass.
JsonPlace locate(std::string_view text, const JsonPath& path);

}  // namespace stella::pipeline
