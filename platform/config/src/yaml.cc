// The only file that includes yaml-cpp; its exceptions end here.
#include "yaml.h"

#include <yaml-cpp/yaml.h>

namespace stella::config {
namespace {

constexpr int kMaxDepth = 16;
constexpr std::size_t kMaxEntries = 10'000;

int line_of(const YAML::Node& node) { return node.Mark().line + 1; }

Error shape_error(const YAML::Node& node, std::string field, std::string expected) {
  return Error(base_errors::kInvalid, "the configuration has an unexpected shape")
      .with("line", std::to_string(line_of(node)))
      .with("field", std::move(field))
      .with("expected", std::move(expected));
}

Result<std::string> list_text(const YAML::Node& list, const std::string& name) {
  std::string joined;
  for (const auto& item : list) {
    if (!item.IsScalar()) return shape_error(item, name, "a list of plain values");
    if (item.Scalar().find(',') != std::string::npos) return shape_error(item, name, "list items without commas");
    if (!joined.empty()) joined += ',';
    joined += item.Scalar();
  }
  return joined;
}

Result<void> walk(const YAML::Node& map, const std::string& prefix, int depth, std::vector<YamlEntry>& out) {
  if (depth > kMaxDepth) return Error(base_errors::kLimit, "the configuration is nested too deeply").with("limit", std::uint64_t{kMaxDepth});
  for (const auto& pair : map) {
    if (!pair.first.IsScalar() || pair.first.Scalar().empty()) return shape_error(pair.first, prefix, "names as keys");
    const std::string name = prefix.empty() ? pair.first.Scalar() : prefix + "." + pair.first.Scalar();
    const auto& value = pair.second;
    if (value.IsMap()) {
      STELLA_TRY_VOID(walk(value, name, depth + 1, out));
      continue;
    }
    if (value.IsNull()) return shape_error(pair.first, name, "a value (write \"\" for an empty one)");
    if (out.size() >= kMaxEntries) return Error(base_errors::kLimit, "the configuration has too many entries").with("limit", kMaxEntries);
    YamlEntry entry;
    entry.name = name;
    entry.line = line_of(pair.first);
    entry.list = value.IsSequence();
    if (entry.list) {
      auto joined = STELLA_TRY(list_text(value, name));
      entry.text = std::move(joined);
    } else {
      entry.text = value.Scalar();
    }
    out.push_back(std::move(entry));
  }
  return {};
}

}  // namespace

Result<std::vector<YamlEntry>> flatten_yaml(const std::string& text) {
  try {
    const auto documents = YAML::LoadAll(text);
    std::vector<YamlEntry> entries;
    if (documents.empty() || documents[0].IsNull()) return entries;
    if (documents.size() > 1) return shape_error(documents[1], "", "one document in the file");
    if (!documents[0].IsMap()) return shape_error(documents[0], "", "names and values");
    STELLA_TRY_VOID(walk(documents[0], "", 0, entries));
    return entries;
  } catch (const YAML::Exception& e) {
    return Error(base_errors::kMalformed, "the configuration is not valid YAML")
        .with("line", std::to_string(e.mark.line + 1))
        .with("column", std::to_string(e.mark.column + 1))
        .with("expected", "YAML: " + e.msg);
  } catch (...) {
    return Error(base_errors::kMalformed, "the configuration cannot be read as YAML");
  }
}

}  // namespace stella::config
