// The only file that touches yaml-cpp: its events become a tree with positions, its exceptions become errors.
#include "yaml_tree.h"

#include <yaml-cpp/eventhandler.h>
#include <yaml-cpp/yaml.h>

#include <algorithm>
#include <sstream>
#include <string>

#include "stella/base/encoding.h"

namespace stella::pipeline {
namespace {

Error yaml_error(ErrorCode code, Literal message, const YAML::Mark& mark, std::string expected) {
  return Error(code, message).with("line", static_cast<std::uint64_t>(mark.line + 1)).with("column", static_cast<std::uint64_t>(mark.column + 1)).with("expected", std::move(expected));
}

struct Refused {
  Error error;
};

class Builder : public YAML::EventHandler {
 public:
  YamlNode root;

  void OnDocumentStart(const YAML::Mark&) override {}
  void OnDocumentEnd() override {}
  void OnNull(const YAML::Mark& mark, YAML::anchor_t anchor) override {
    refuse_anchor(mark, anchor);
    add({.kind = YamlNode::Kind::kNull}, mark);
  }
  void OnAlias(const YAML::Mark& mark, YAML::anchor_t) override { refuse(mark, "a value in place of an alias"); }
  void OnScalar(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, const std::string& value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    add({.kind = YamlNode::Kind::kScalar, .scalar = value, .plain = tag == "?"}, mark);
  }
  void OnSequenceStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    open(YamlNode::Kind::kSequence, mark);
  }
  void OnSequenceEnd() override { close(); }
  void OnMapStart(const YAML::Mark& mark, const std::string& tag, YAML::anchor_t anchor, YAML::EmitterStyle::value) override {
    refuse_anchor(mark, anchor);
    refuse_tag(mark, tag);
    open(YamlNode::Kind::kMap, mark);
  }
  void OnMapEnd() override { close(); }

 private:
  struct Open {
    YamlNode node;
    bool has_key = false;
    YamlNode key;
  };

  [[noreturn]] static void refuse(const YAML::Mark& mark, std::string expected) {
    throw Refused{yaml_error(base_errors::kMalformed, "YAML that a policy set may not use", mark, std::move(expected))};
  }
  static void refuse_anchor(const YAML::Mark& mark, YAML::anchor_t anchor) {
    if (anchor != YAML::NullAnchor) refuse(mark, "no anchor");
  }
  static void refuse_tag(const YAML::Mark& mark, const std::string& tag) {
    if (!tag.empty() && tag != "?" && tag != "!") refuse(mark, "no tag");
  }

  void open(YamlNode::Kind kind, const YAML::Mark& mark) {
    if (stack_.size() >= kYamlDepth)
      throw Refused{yaml_error(base_errors::kLimit, "YAML is nested too deeply", mark, "less nesting").with("limit", static_cast<std::uint64_t>(kYamlDepth))};
    if (!stack_.empty() && stack_.back().node.kind == YamlNode::Kind::kMap && !stack_.back().has_key) refuse(mark, "a text as key");
    Open next;
    next.node.kind = kind;
    place(next.node, mark);
    stack_.push_back(std::move(next));
  }
  void close() {
    YamlNode done = std::move(stack_.back().node);
    stack_.pop_back();
    attach(std::move(done));
  }
  static void place(YamlNode& node, const YAML::Mark& mark) {
    node.line = static_cast<std::size_t>(mark.line + 1);
    node.column = static_cast<std::size_t>(mark.column + 1);
  }
  void add(YamlNode node, const YAML::Mark& mark) {
    place(node, mark);
    Open* parent = stack_.empty() ? nullptr : &stack_.back();
    if (parent == nullptr || parent->node.kind != YamlNode::Kind::kMap || parent->has_key) return attach(std::move(node));
    if (node.kind != YamlNode::Kind::kScalar) refuse(mark, "a text as key");
    if (parent->node.entries.size() >= kYamlKeys) refuse(mark, "at most " + std::to_string(kYamlKeys) + " keys");
    if (parent->node.find(node.scalar) != nullptr) refuse(mark, "each key once");
    parent->key = std::move(node);
    parent->has_key = true;
  }
  void attach(YamlNode node) {
    if (stack_.empty()) {
      root = std::move(node);
      return;
    }
    Open& parent = stack_.back();
    if (parent.node.kind == YamlNode::Kind::kSequence) {
      parent.node.items.push_back(std::move(node));
    } else {
      parent.node.entries.emplace_back(std::move(parent.key), std::move(node));
      parent.has_key = false;
    }
  }

  std::vector<Open> stack_;
};

}  // namespace

Result<YamlNode> parse_yaml(std::string_view text) {
  const YAML::Mark start;
  if (!is_utf8(text) || text.find('\0') != std::string_view::npos) return yaml_error(base_errors::kMalformed, "malformed YAML", start, "UTF-8 text");
  try {
    std::istringstream in{std::string(text)};
    YAML::Parser parser(in);
    Builder builder;
    if (!parser.HandleNextDocument(builder)) return yaml_error(base_errors::kMalformed, "malformed YAML", start, "a document");
    Builder second;
    if (parser.HandleNextDocument(second)) return yaml_error(base_errors::kMalformed, "malformed YAML", start, "one document");
    return std::move(builder.root);
  } catch (Refused& refused) {
    return std::move(refused.error);
  } catch (const YAML::Exception& e) {
    return yaml_error(base_errors::kMalformed, "malformed YAML", e.mark.is_null() ? start : e.mark, "YAML: " + e.msg);
  } catch (const std::exception&) {
    return yaml_error(base_errors::kMalformed, "malformed YAML", start, "YAML");
  }
}

std::pair<std::size_t, std::size_t> scalar_position(std::string_view document, const YamlNode& scalar, std::size_t offset) {
  std::vector<std::string_view> lines;
  for (std::size_t at = 0; at <= document.size();) {
    const std::size_t end = std::min(document.find('\n', at), document.size());
    lines.push_back(document.substr(at, end - at));
    at = end + 1;
  }
  if (scalar.line > lines.size()) return {scalar.line, scalar.column};
  const auto blanks = [&](std::size_t line) { return line < lines.size() ? std::min(lines[line].find_first_not_of(" \t"), lines[line].size()) : 0; };
  const std::string_view head = lines[scalar.line - 1].substr(std::min(scalar.column - 1, lines[scalar.line - 1].size()));
  const char first = head.empty() ? ' ' : head.front();
  const bool block = !scalar.plain && (first == '|' || first == '>');
  std::size_t line = block ? scalar.line : scalar.line - 1;  // 0-based
  const std::size_t indent = blanks(line);
  std::size_t column = block ? indent : scalar.column - 1 + (first == '"' || first == '\'' ? 1 : 0);
  // Line by line, each of them followed by one character (a line break or the blank it was folded to).
  while (line + 1 < lines.size() && offset > lines[line].size() - std::min(column, lines[line].size())) {
    offset -= lines[line].size() - std::min(column, lines[line].size()) + 1;
    ++line;
    column = block ? std::min(indent, lines[line].size()) : blanks(line);
  }
  return {line + 1, column + offset + 1};
}

}  // namespace stella::pipeline
