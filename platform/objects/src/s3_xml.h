// The XML that S3 speaks: a small strict reader into a tree, and escaping. No DTD, no entities but the predefined ones, bounded in depth and size.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"

namespace stella::objects {

struct XmlNode {
  std::string name;  // without a namespace prefix; attributes are dropped
  std::string text;  // the element's own text
  std::vector<XmlNode> children;

  // The first child of this name; nullptr where there is none.
  const XmlNode* find(std::string_view child) const;
  // The text of that child, or "".
  std::string_view str(std::string_view child) const;
};

// The root element. kMalformed with expected=… for what is no well-formed document, a DOCTYPE or an unknown entity; kLimit beyond 8 MiB or 16 levels.
Result<XmlNode> parse_xml(std::string_view text);

// For element content.
std::string xml_escape(std::string_view text);

}  // namespace stella::objects
