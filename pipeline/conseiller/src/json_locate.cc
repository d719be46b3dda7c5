// Finds a value in a JSON text that a strict parser has accepted already; so this scanner need not judge, only find its way.
#include "json_locate.h"

#include <algorithm>

namespace stella::pipeline {
namespace {

class Scanner {
 public:
  explicit Scanner(std::string_view text) : text_(text) {}

  std::size_t at() const { return at_; }

  void skip_space() {
    while (at_ < text_.size() && (text_[at_] == ' ' || text_[at_] == '\t' || text_[at_] == '\n' || text_[at_] == '\r')) ++at_;
  }
  bool accept(char c) {
    skip_space();
    if (at_ >= text_.size() || text_[at_] != c) return false;
    ++at_;
    return true;
  }
  // The text between the quotes, escapes as they stand: member names that we look for have none.
  std::string_view string() {
    skip_space();
    const std::size_t start = ++at_;
    while (at_ < text_.size() && text_[at_] != '"') at_ += text_[at_] == '\\' ? 2 : 1;
    const std::size_t end = std::min(at_, text_.size());
    at_ = std::min(end + 1, text_.size());
    return start <= end ? text_.substr(start, end - start) : std::string_view();
  }
  void skip_value() {
    skip_space();
    std::size_t depth = 0;
    while (at_ < text_.size()) {
      const char c = text_[at_];
      if (c == '"') {
        string();
      } else if (c == '{' || c == '[') {
        ++depth;
        ++at_;
      } else if (c == '}' || c == ']') {
        if (depth == 0) return;
        --depth;
        ++at_;
      } else if (depth == 0 && c == ',') {
        return;
      } else {
        ++at_;
      }
      if (depth == 0 && (c == '"' || c == '}' || c == ']')) return;
    }
  }
  // Moves from the start of an object to the value of its member; false (and somewhere else) where it has none.
  bool enter_member(std::string_view name) {
    if (!accept('{')) return false;
    do {
      skip_space();
      if (at_ >= text_.size() || text_[at_] != '"') return false;
      const bool found = string() == name;
      if (!accept(':')) return false;
      skip_space();
      if (found) return true;
      skip_value();
    } while (accept(','));
    return false;
  }
  bool enter_element(std::size_t index) {
    if (!accept('[')) return false;
    for (std::size_t i = 0; i < index; ++i) {
      skip_value();
      if (!accept(',')) return false;
    }
    skip_space();
    return true;
  }

 private:
  std::string_view text_;
  std::size_t at_ = 0;
};

}  // namespace

std::string to_pointer(const JsonPath& path) {
  std::string out;
  for (const auto& step : path) {
    out += '/';
    if (const auto* index = std::get_if<std::size_t>(&step)) {
      out += std::to_string(*index);
      continue;
    }
    for (char c : std::get<std::string_view>(step)) out += c == '~' ? std::string("~0") : c == '/' ? std::string("~1") : std::string(1, c);
  }
  return out;
}

JsonPlace locate(std::string_view text, const JsonPath& path) {
  Scanner scanner(text);
  scanner.skip_space();
  std::size_t found = scanner.at();
  for (const auto& step : path) {
    const bool entered = std::holds_alternative<std::size_t>(step) ? scanner.enter_element(std::get<std::size_t>(step))
                                                                   : scanner.enter_member(std::get<std::string_view>(step));
    if (!entered) break;
    found = scanner.at();
  }
  const std::string_view before = text.substr(0, found);
  const std::size_t newline = before.rfind('\n');
  return {static_cast<std::size_t>(std::count(before.begin(), before.end(), '\n')) + 1,
          newline == std::string_view::npos ? found + 1 : found - newline};
}

}  // namespace stella::pipeline
