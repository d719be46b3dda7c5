// Grammar checks and strings of the walker.
#include "json_walker.h"

#include <algorithm>

#include "stella/base/json.h"

namespace stella::pipeline::sbom {
namespace {

bool is_space(char c) { return c == ' ' || c == '\n' || c == '\r' || c == '\t'; }

std::size_t digits(std::string_view text, std::size_t at) {
  while (at < text.size() && text[at] >= '0' && text[at] <= '9') ++at;
  return at;
}

// RFC 8259 §6.
bool is_number(std::string_view text) {
  std::size_t at = text.starts_with('-') ? 1 : 0;
  std::size_t next = digits(text, at);
  if (next == at || (text[at] == '0' && next != at + 1)) return false;
  at = next;
  if (at < text.size() && text[at] == '.') {
    next = digits(text, at + 1);
    if (next == at + 1) return false;
    at = next;
  }
  if (at < text.size() && (text[at] == 'e' || text[at] == 'E')) {
    ++at;
    if (at < text.size() && (text[at] == '+' || text[at] == '-')) ++at;
    next = digits(text, at);
    if (next == at) return false;
    at = next;
  }
  return at == text.size();
}

}  // namespace

Walker::Walker(const Tape& tape, int max_depth, std::size_t max_string_bytes)
    : text_(tape.text().data()),
      size_(tape.text().size()),
      at_(tape.begin()),
      end_(tape.end()),
      max_depth_(std::clamp(max_depth, 1, 64)),
      escape_(tape.escapes()),
      max_string_bytes_(max_string_bytes),
      document_(tape.text()) {}

// Between a string's closing quote and the next token stands only white space (anything else would be a token), so the closing
// quote is found backwards without looking at the string.
std::string_view Walker::raw_string() const {
  std::size_t close = at_ + 1 < end_ ? at_[1] : size_;
  do --close;
  while (is_space(text_[close]));
  return {text_ + *at_ + 1, close - *at_ - 1};
}

bool Walker::key(std::string_view& name) {
  name = raw_string();
  if (escaped(name) && !unescape(name, name)) return false;
  ++at_;
  if (peek() != ':') return malformed("':'");
  ++at_;
  return true;
}

bool Walker::unescape(std::string_view raw, std::string_view& out) {
  // Escapes were all checked when the tape was built; the strict parser of base knows how to read them.
  std::string quoted;
  quoted.reserve(raw.size() + 2);
  quoted.append("\"").append(raw).append("\"");
  auto value = json::parse(quoted);
  if (!value || !value->is_string()) return malformed("a string");
  out = unescaped_.emplace_back(value->as_string());
  return true;
}

bool Walker::string(std::string_view& out) {
  if (peek() != '"') {
    out = {};
    if (peek() == 'n' && scalar_text() == "null") return scalar();
    return expected("a string");
  }
  const std::size_t offset = *at_;
  out = raw_string();
  if (out.size() > max_string_bytes_) return fail(error_at(base_errors::kLimit, "string is too long", offset).with("limit", max_string_bytes_).with("actual", out.size()));
  if (escaped(out)) {
    if (!unescape(out, out)) return false;
    if (out.find('\0') != std::string_view::npos) return fail(malformed_at(document_, offset, "NUL in a string", "no NUL character"));
  }
  ++at_;
  return true;
}

bool Walker::string_or_number(std::string_view& out) {
  if (peek() == '"') return string(out);
  out = scalar_text();
  if (out == "null") out = {};
  else if (!is_number(out)) return expected("a string or a number");
  return scalar();
}

std::string_view Walker::scalar_text() const {
  if (at_ == end_) return {};
  std::size_t close = at_ + 1 < end_ ? at_[1] : size_;
  while (close > *at_ && is_space(text_[close - 1])) --close;
  return {text_ + *at_, close - *at_};
}

bool Walker::scalar() {
  const std::string_view text = scalar_text();
  if (!is_number(text) && text != "true" && text != "false" && text != "null") return malformed("a value");
  ++at_;
  return true;
}

bool Walker::skip() {
  std::uint64_t kinds = 0;  // one bit per open level: 1 object, 0 array
  int open = 0;
  const int room = max_depth_ - depth_;
  for (bool need_value = true;;) {
    if (need_value) {
      const char c = peek();
      if (c == '"') {
        ++at_;
      } else if (c == '{' || c == '[') {
        if (open + 1 > room) return too_deep();
        ++at_;
        const bool is_object = c == '{';
        if (peek() == (is_object ? '}' : ']')) {
          ++at_;
        } else {
          ++open;
          kinds = kinds << 1 | (is_object ? 1u : 0u);
          if (is_object) {
            if (peek() != '"') return malformed("a member name in quotes");
            ++at_;
            if (peek() != ':') return malformed("':'");
            ++at_;
          }
          continue;
        }
      } else if (!scalar()) {
        return false;
      }
    }
    if (open == 0) return true;
    const bool is_object = (kinds & 1u) != 0;
    const char c = peek();
    if (c == ',') {
      ++at_;
      if (is_object) {
        if (peek() != '"') return malformed("a member name in quotes");
        ++at_;
        if (peek() != ':') return malformed("':'");
        ++at_;
      }
      need_value = true;
    } else if (c == (is_object ? '}' : ']')) {
      ++at_;
      --open;
      kinds >>= 1;
      need_value = false;
    } else {
      return malformed(is_object ? "',' or '}'" : "',' or ']'");
    }
  }
}

bool Walker::fail(Error error) {
  if (!failure_) failure_ = std::move(error);
  return false;
}

Error Walker::error_at(ErrorCode code, Literal message, std::size_t offset) const {
  const Position p = position_of(document_, offset);
  return Error(code, message).with("line", p.line).with("column", p.column);
}

bool Walker::malformed(std::string_view what) { return fail(malformed_at(document_, at_ < end_ ? *at_ : size_, "malformed JSON", what)); }

bool Walker::expected(std::string_view what) {
  // A value that is no value at all is a matter of grammar, not of shape.
  const char c = peek();
  if (c == '\0' || c == '}' || c == ']' || c == ',' || c == ':') return malformed("a value");
  if (c != '"' && c != '{' && c != '[' && !scalar()) return false;
  if (c != '"' && c != '{' && c != '[') --at_;
  shape_ = !failure_;
  return fail(malformed_at(document_, *at_, "value of the wrong type", what));
}

bool Walker::duplicate(std::size_t name_offset) {
  return fail(malformed_at(document_, name_offset, "duplicate member name", "a name once per object"));
}

bool Walker::too_deep() {
  return fail(error_at(base_errors::kLimit, "JSON is nested too deeply", at_ < end_ ? *at_ : size_).with("limit", static_cast<std::uint64_t>(max_depth_)).with("expected", "less nesting"));
}

}  // namespace stella::pipeline::sbom
