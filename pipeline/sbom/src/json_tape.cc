// The only file of the library that includes simdjson. It uses the library's stage 1 alone (simdjson::internal, fixed by the distribution's
// version 3.0): stage 2 would copy every string of a document of which we keep a tenth.
#include "json_tape.h"

#include <simdjson.h>

#include <cstring>
#include <string>

#include "stella/base/encoding.h"

namespace stella::pipeline::sbom {
namespace {

using Implementation = std::unique_ptr<simdjson::internal::dom_parser_implementation>;

// Bytes of the longest well-formed prefix; only on the error path.
std::size_t utf8_prefix(std::string_view text) {
  std::size_t good = 0;
  for (std::size_t step = text.size(); step > 0; step /= 2)
    while (good + step <= text.size() && is_utf8(text.substr(good, step))) good += step;
  // A step may have ended inside a character, which only single steps would reveal: walk on by whole characters.
  for (std::size_t n = 1; n <= 4 && good + n <= text.size();)
    if (is_utf8(text.substr(good, n))) good += n, n = 1;
    else ++n;
  return good;
}

// Stage 1 refused the text: says where and why. Toggles at quotes exactly as stage 1 does.
Error string_fault(std::string_view text) {
  bool inside = false;
  std::size_t opened = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const char c = text[i];
    if (c == '\\') {
      ++i;
    } else if (c == '"') {
      if (!inside) opened = i;
      inside = !inside;
    } else if (inside && static_cast<unsigned char>(c) < 0x20) {
      return malformed_at(text, i, "control character in a string", "an escaped control character");
    }
  }
  if (inside) return malformed_at(text, opened, "string is not closed", "'\"' at the end of the string that begins here");
  return malformed_at(text, text.size(), "malformed JSON", "a JSON document");
}

int hex4(std::string_view text, std::size_t at) {
  if (at + 4 > text.size()) return -1;
  int value = 0;
  for (std::size_t i = at; i < at + 4; ++i) {
    const char c = text[i];
    const int digit = c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
    if (digit < 0) return -1;
    value = value << 4 | digit;
  }
  return value;
}

// Checks every backslash of the text (outside strings a backslash is malformed anyway) and lists them.
Result<std::vector<std::uint32_t>> check_escapes(std::string_view text) {
  constexpr std::string_view kExpected = R"(one of \" \\ \/ \b \f \n \r \t \uXXXX, surrogates in pairs)";
  const auto fault = [&](std::size_t at) { return malformed_at(text, at, "malformed escape", kExpected); };
  const char* const base = text.data();
  std::size_t at = 0;
  std::vector<std::uint32_t> found;
  while (at < text.size()) {
    const auto* hit = static_cast<const char*>(std::memchr(base + at, '\\', text.size() - at));
    if (hit == nullptr) break;
    const auto start = static_cast<std::size_t>(hit - base);
    found.push_back(static_cast<std::uint32_t>(start));
    at = start + 2;
    const char kind = at <= text.size() ? text[start + 1] : '\0';
    if (kind != 'u') {
      if (kind == '\0' || std::strchr("\"\\/bfnrt", kind) == nullptr) return fault(start);
      continue;
    }
    const int unit = hex4(text, at);
    at += 4;
    if (unit < 0 || (unit >= 0xdc00 && unit <= 0xdfff)) return fault(start);
    if (unit >= 0xd800 && unit <= 0xdbff) {
      const int low = text.substr(at, 2) == "\\u" ? hex4(text, at + 2) : -1;
      if (low < 0xdc00 || low > 0xdfff) return fault(start);
      at += 6;
    }
  }
  found.push_back(0xffffffffu);
  return found;
}

}  // namespace

Position position_of(std::string_view text, std::size_t offset) {
  Position p;
  std::size_t start = 0;
  for (std::size_t i = 0; i < offset && i < text.size(); ++i)
    if (text[i] == '\n') ++p.line, start = i + 1;
  p.column = offset - start + 1;
  return p;
}

Error malformed_at(std::string_view text, std::size_t offset, Literal message, std::string_view expected) {
  const Position p = position_of(text, offset);
  return Error(base_errors::kMalformed, message).with("line", p.line).with("column", p.column).with("expected", std::string(expected));
}

struct Tape::Index {
  Implementation implementation;
};

Tape::Tape() = default;
Tape::Tape(Tape&&) noexcept = default;
Tape& Tape::operator=(Tape&&) noexcept = default;
Tape::~Tape() = default;

Result<Tape> Tape::build(std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) return malformed_at(text, 0, "malformed JSON", "no byte order mark");
  Tape tape;
  tape.text_ = text;
  tape.index_ = std::make_unique<Index>();
  auto& implementation = tape.index_->implementation;
  if (simdjson::get_active_implementation()->create_dom_parser_implementation(text.size() + 1, 1, implementation) != simdjson::SUCCESS)
    return Error(base_errors::kLimit, "no memory for the document's index").with("actual", text.size());
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(text.data());
  switch (implementation->stage1(bytes, text.size(), simdjson::stage1_mode::regular)) {
    case simdjson::SUCCESS: break;
    case simdjson::EMPTY: return malformed_at(text, text.size(), "malformed JSON", "a JSON document");
    case simdjson::UTF8_ERROR: return malformed_at(text, utf8_prefix(text), "text is not valid UTF-8", "UTF-8");
    default: {
      if (const std::size_t good = utf8_prefix(text); good != text.size()) return malformed_at(text, good, "text is not valid UTF-8", "UTF-8");
      return string_fault(text);
    }
  }
  tape.escapes_ = STELLA_TRY(check_escapes(text));
  tape.begin_ = implementation->structural_indexes.get();
  tape.end_ = tape.begin_ + implementation->n_structural_indexes;
  return tape;
}

}  // namespace stella::pipeline::sbom
