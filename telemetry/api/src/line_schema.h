// For tests: the committed JSON Schema of a log line, applied by a checker that knows exactly the keywords which that schema uses.
#pragma once

#include <gtest/gtest.h>
#include <re2/re2.h>

#include <string>
#include <string_view>

#include "stella/base/file.h"
#include "stella/base/json.h"

namespace stella::telemetry {

inline std::string check_schema(const json::Value& schema, const json::Value& value, const std::string& at = "line");

namespace schema_detail {

inline std::string check_object(const json::Value& schema, const json::Value& value, const std::string& at) {
  for (const json::Value& name : schema.items("required")) {
    if (value.find(name.as_string()) == nullptr) return at + ": " + name.as_string() + " is missing";
  }
  if (!schema.items("anyOf").empty()) {
    bool any = false;
    for (const json::Value& one : schema.items("anyOf")) any = any || check_object(one, value, at).empty();
    if (!any) return at + ": no alternative of anyOf holds";
  }
  // Not of module "unit": records that tests make by hand, of any level and without its fields.
  if (const json::Value* when = schema.find("if"); when != nullptr && value.str("module") != "unit" && check_object(*when, value, at).empty()) {
    const json::Value* then = schema.find("then");
    if (std::string problem = then == nullptr ? at + ": if without then" : check_object(*then, value, at); !problem.empty()) return problem;
  }
  if (const json::Value* dependent = schema.find("dependentRequired")) {
    for (const auto& [name, needed] : dependent->as_object()) {
      if (value.find(name) == nullptr) continue;
      for (const json::Value& other : needed.as_array()) {
        if (value.find(other.as_string()) == nullptr) return at + ": " + name + " without " + other.as_string();
      }
    }
  }
  const json::Value* properties = schema.find("properties");
  const json::Value* additional = schema.find("additionalProperties");
  if (properties == nullptr && additional == nullptr) return "";
  for (const auto& [name, member] : value.as_object()) {
    const json::Value* own = properties == nullptr ? nullptr : properties->find(name);
    const json::Value* use = own != nullptr ? own : additional;
    if (use == nullptr) continue;
    if (use->is_bool()) {
      if (!use->as_bool()) return at + ": " + name + " is not declared";
      continue;
    }
    if (std::string problem = check_schema(*use, member, at + "." + name); !problem.empty()) return problem;
  }
  return "";
}

}  // namespace schema_detail

// "" where `value` fits, else what does not.
inline std::string check_schema(const json::Value& schema, const json::Value& value, const std::string& at) {
  const std::string_view type = schema.str("type");
  if (type == "object" && !value.is_object()) return at + ": not an object";
  if (type == "string" && !value.is_string()) return at + ": not a string";
  if (type == "integer" && !value.is_int()) return at + ": not an integer";
  if (type == "boolean" && !value.is_bool()) return at + ": not a boolean";
  if (const json::Value* one = schema.find("const"); one != nullptr && !(*one == value)) return at + ": not the constant";
  if (!schema.items("enum").empty()) {
    bool any = false;
    for (const json::Value& one : schema.items("enum")) any = any || one == value;
    if (!any) return at + ": not in the enum";
  }
  if (const json::Value* pattern = schema.find("pattern")) {
    if (!RE2::PartialMatch(value.as_string(), pattern->as_string())) return at + ": does not match " + pattern->as_string();
  }
  return value.is_object() ? schema_detail::check_object(schema, value, at) : "";
}

inline const json::Value& log_line_schema() {
  static const json::Value schema = [] {
    auto text = read_file(STELLA_SOURCE_DIR "/docs/reference/log-line.schema.json", 1 << 20);
    return *json::parse(*text);
  }();
  return schema;
}

// Parses one line and checks it; the parsed value for further expectations.
inline json::Value checked_line(std::string_view line) {
  EXPECT_LE(line.size(), 64u * 1024);
  EXPECT_EQ(line.find('\n'), line.npos);
  auto value = json::parse(line);
  EXPECT_TRUE(value.has_value()) << (value ? "" : value.error().describe()) << "\n" << line.substr(0, 2000);
  if (!value) return {};
  EXPECT_EQ(check_schema(log_line_schema(), *value), "") << line.substr(0, 2000);
  return *value;
}

}  // namespace stella::telemetry
