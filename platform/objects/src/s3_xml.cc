// Recursive descent over one document; every byte of it comes from a server that is not trusted.
#include "s3_xml.h"

#include <charconv>

#include "stella/base/encoding.h"

namespace stella::objects {
namespace {

constexpr std::size_t kBytes = 8u << 20;
constexpr int kDepth = 16;

Error malformed(Literal expected) { return Error(base_errors::kMalformed, "not an XML document that S3 would send").with("expected", std::string(expected.view())); }

bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }
bool is_name(char c) { return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '_' || c == '-' || c == '.' || c == ':' || (static_cast<unsigned char>(c) & 0x80) != 0; }

void append_utf8(std::string& out, unsigned code) {
  if (code < 0x80) {
    out += static_cast<char>(code);
  } else if (code < 0x800) {
    out += static_cast<char>(0xc0 | (code >> 6));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else if (code < 0x10000) {
    out += static_cast<char>(0xe0 | (code >> 12));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  } else {
    out += static_cast<char>(0xf0 | (code >> 18));
    out += static_cast<char>(0x80 | ((code >> 12) & 0x3f));
    out += static_cast<char>(0x80 | ((code >> 6) & 0x3f));
    out += static_cast<char>(0x80 | (code & 0x3f));
  }
}

bool is_char(unsigned code) { return code == 9 || code == 10 || code == 13 || (code >= 0x20 && code < 0xd800) || (code >= 0xe000 && code < 0xfffe) || (code >= 0x10000 && code <= 0x10ffff); }

class Parser {
 public:
  explicit Parser(std::string_view text) : rest_(text) {}

  Result<XmlNode> document() {
    if (rest_.starts_with("\xef\xbb\xbf")) rest_.remove_prefix(3);
    STELLA_TRY_VOID(skip_between());
    auto root = STELLA_TRY(element(0));
    STELLA_TRY_VOID(skip_between());
    if (!rest_.empty()) return malformed("one root element");
    return root;
  }

 private:
  bool take(std::string_view prefix) {
    if (!rest_.starts_with(prefix)) return false;
    rest_.remove_prefix(prefix.size());
    return true;
  }
  void skip_space() {
    while (!rest_.empty() && is_space(rest_.front())) rest_.remove_prefix(1);
  }
  Result<std::string_view> until(std::string_view end) {
    const auto at = rest_.find(end);
    if (at == std::string_view::npos) return malformed("an end of what was begun");
    const auto inside = rest_.substr(0, at);
    rest_.remove_prefix(at + end.size());
    return inside;
  }

  // White space, comments, the declaration.
  Result<void> skip_between() {
    for (;;) {
      skip_space();
      if (take("<!--")) {
        STELLA_TRY_VOID(until("-->"));
      } else if (take("<?")) {
        STELLA_TRY_VOID(until("?>"));
      } else {
        return {};
      }
    }
  }

  Result<std::string> name() {
    std::size_t n = 0;
    while (n < rest_.size() && is_name(rest_[n])) ++n;
    if (n == 0) return malformed("a name");
    std::string full(rest_.substr(0, n));
    rest_.remove_prefix(n);
    return full;
  }

  // True where the element is empty (`/>`).
  Result<bool> attributes() {
    for (;;) {
      const bool spaced = !rest_.empty() && is_space(rest_.front());
      skip_space();
      if (take("/>")) return true;
      if (take(">")) return false;
      if (!spaced) return malformed("white space before an attribute");
      STELLA_TRY_VOID(name());
      skip_space();
      if (!take("=")) return malformed("=");
      skip_space();
      const char quote = rest_.empty() ? '\0' : rest_.front();
      if (quote != '"' && quote != '\'') return malformed("a quoted value");
      rest_.remove_prefix(1);
      const auto value = STELLA_TRY(until({&quote, 1}));
      if (value.find('<') != std::string_view::npos) return malformed("a value without <");
    }
  }

  Result<void> entity(std::string& out) {
    const auto end = rest_.find(';');
    if (end == std::string_view::npos || end > 10) return malformed("an entity");
    const auto text = rest_.substr(0, end);
    rest_.remove_prefix(end + 1);
    if (text == "lt") return out += '<', Result<void>();
    if (text == "gt") return out += '>', Result<void>();
    if (text == "amp") return out += '&', Result<void>();
    if (text == "quot") return out += '"', Result<void>();
    if (text == "apos") return out += '\'', Result<void>();
    if (!text.starts_with('#')) return malformed("a predefined entity");
    const bool hex = text.starts_with("#x");
    const auto digits = text.substr(hex ? 2 : 1);
    unsigned code = 0;
    const auto [at, problem] = std::from_chars(digits.data(), digits.data() + digits.size(), code, hex ? 16 : 10);
    if (problem != std::errc() || at != digits.data() + digits.size() || !is_char(code)) return malformed("a character");
    append_utf8(out, code);
    return {};
  }

  Result<XmlNode> element(int depth) {
    if (depth >= kDepth) return Error(base_errors::kLimit, "XML is nested too deeply").with("limit", std::uint64_t{kDepth});
    if (!take("<")) return malformed("an element");
    const auto full = STELLA_TRY(name());
    XmlNode node;
    node.name = full.substr(full.rfind(':') + 1);
    if (STELLA_TRY(attributes())) return node;
    for (;;) {
      if (rest_.empty()) return malformed("an end of what was begun");
      if (take("</")) break;
      STELLA_TRY_VOID(content(node, depth));
    }
    const auto closing = STELLA_TRY(name());
    skip_space();
    if (closing != full || !take(">")) return malformed("the element's own end");
    return node;
  }

  Result<void> content(XmlNode& node, int depth) {
    if (take("<!--")) {
      if (auto end = until("-->"); !end) return std::move(end.error());
    } else if (take("<![CDATA[")) {
      auto inside = until("]]>");
      if (!inside) return std::move(inside.error());
      node.text += *inside;
    } else if (take("<?")) {
      if (auto end = until("?>"); !end) return std::move(end.error());
    } else if (rest_.front() == '<') {
      auto child = element(depth + 1);
      if (!child) return std::move(child.error());
      node.children.push_back(std::move(*child));
    } else if (take("&")) {
      return entity(node.text);
    } else {
      const auto n = std::min(rest_.find_first_of("<&"), rest_.size());
      node.text += rest_.substr(0, n);
      rest_.remove_prefix(n);
    }
    return {};
  }

  std::string_view rest_;
};

}  // namespace

const XmlNode* XmlNode::find(std::string_view child) const {
  for (const auto& node : children) {
    if (node.name == child) return &node;
  }
  return nullptr;
}

std::string_view XmlNode::str(std::string_view child) const {
  const auto* node = find(child);
  return node != nullptr ? std::string_view(node->text) : std::string_view();
}

Result<XmlNode> parse_xml(std::string_view text) {
  if (text.size() > kBytes) return Error(base_errors::kLimit, "XML is too large").with("limit", std::uint64_t{kBytes});
  if (!is_utf8(text) || text.find('\0') != std::string_view::npos) return malformed("UTF-8");
  return Parser(text).document();
}

std::string xml_escape(std::string_view text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      default: out += c;
    }
  }
  return out;
}

}  // namespace stella::objects
