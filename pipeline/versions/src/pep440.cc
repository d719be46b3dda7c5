// PyPI's order (PEP 440), and for texts that PEP 440 refuses the older one of setuptools, which sorts below every real version.
#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "orders.h"

namespace stella::pipeline::orders {
namespace {

// Forward-only reader over a lower-case text.
class Reader {
 public:
  explicit Reader(std::string_view text) : rest_(text) {}
  bool done() const { return rest_.empty(); }
  bool accept(char c) {
    if (rest_.empty() || rest_.front() != c) return false;
    rest_.remove_prefix(1);
    return true;
  }
  bool accept(std::string_view word) {
    if (!rest_.starts_with(word)) return false;
    rest_.remove_prefix(word.size());
    return true;
  }
  bool accept_separator() { return accept('.') || accept('-') || accept('_'); }
  std::string_view digits() { return take(is_digit); }
  std::string_view letters_and_digits() {
    return take([](char c) { return is_digit(c) || is_alpha(c); });
  }
  std::string_view rest() const { return rest_; }
  void rewind(std::string_view rest) { rest_ = rest; }

 private:
  template <class Predicate>
  std::string_view take(Predicate predicate) {
    std::size_t n = 0;
    while (n < rest_.size() && predicate(rest_[n])) ++n;
    const std::string_view taken = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return taken;
  }
  std::string_view rest_;
};

struct Pep440 {
  std::string_view epoch;
  std::vector<std::string_view> release;  // without trailing zeros
  int pre = 0;                            // 1 a, 2 b, 3 rc; 0 none
  std::string_view pre_number;
  bool post = false;
  std::string_view post_number;
  bool dev = false;
  std::string_view dev_number;
  std::vector<std::string_view> local;
};

// A segment's number: "1.0a", "1.0a1", "1.0a.1" and "1.0a-1" are all allowed; none is zero.
std::string_view number_after(Reader& in) {
  const std::string_view before = in.rest();
  in.accept_separator();
  const std::string_view number = in.digits();
  if (number.empty()) in.rewind(before);
  return number;
}

int accept_pre_label(Reader& in) {
  struct Label {
    std::string_view text;
    int rank;
  };
  static constexpr std::array kLabels{Label{"alpha", 1},   Label{"a", 1},   Label{"beta", 2}, Label{"b", 2},
                                      Label{"preview", 3}, Label{"pre", 3}, Label{"rc", 3},   Label{"c", 3}};
  for (const auto& label : kLabels)
    if (in.accept(label.text)) return label.rank;
  return 0;
}

void parse_pre(Reader& in, Pep440& out) {
  const std::string_view before = in.rest();
  in.accept_separator();
  out.pre = accept_pre_label(in);
  if (out.pre == 0) return in.rewind(before);
  out.pre_number = number_after(in);
}

void parse_post(Reader& in, Pep440& out) {
  const std::string_view before = in.rest();
  if (in.accept('-')) {
    out.post_number = in.digits();
    if (!out.post_number.empty()) {
      out.post = true;
      return;
    }
    in.rewind(before);
  }
  in.accept_separator();
  out.post = in.accept("post") || in.accept("rev") || in.accept("r");
  if (!out.post) return in.rewind(before);
  out.post_number = number_after(in);
}

void parse_dev(Reader& in, Pep440& out) {
  const std::string_view before = in.rest();
  in.accept_separator();
  out.dev = in.accept("dev");
  if (!out.dev) return in.rewind(before);
  out.dev_number = number_after(in);
}

bool parse_local(Reader& in, Pep440& out) {
  if (!in.accept('+')) return true;
  do {
    const std::string_view part = in.letters_and_digits();
    if (part.empty()) return false;
    out.local.push_back(part);
  } while (in.accept_separator());
  return true;
}

bool parse_release(Reader& in, Pep440& out) {
  std::string_view number = in.digits();
  if (number.empty()) return false;
  const std::string_view after_first = in.rest();
  if (in.accept('!')) {
    out.epoch = number;
    number = in.digits();
    if (number.empty()) return false;
  } else {
    in.rewind(after_first);
  }
  out.release.push_back(number);
  for (;;) {
    const std::string_view before = in.rest();
    if (!in.accept('.')) break;
    number = in.digits();
    if (number.empty()) {
      in.rewind(before);
      break;
    }
    out.release.push_back(number);
  }
  while (!out.release.empty() && strip_zeros(out.release.back()).empty()) out.release.pop_back();
  return true;
}

std::optional<Pep440> parse(std::string_view lower_case) {
  Pep440 out;
  Reader in(lower_case);
  in.accept('v');
  if (!parse_release(in, out)) return std::nullopt;
  parse_pre(in, out);
  parse_post(in, out);
  parse_dev(in, out);
  if (!parse_local(in, out) || !in.done()) return std::nullopt;
  return out;
}

std::strong_ordering compare_release(const Pep440& a, const Pep440& b) {
  const std::size_t size = std::max(a.release.size(), b.release.size());
  for (std::size_t i = 0; i < size; ++i) {
    const std::string_view left = i < a.release.size() ? a.release[i] : std::string_view();
    const std::string_view right = i < b.release.size() ? b.release[i] : std::string_view();
    if (const auto order = compare_numbers(left, right); order != 0) return order;
  }
  return std::strong_ordering::equal;
}

// 1.0.dev1 sorts below 1.0a1, which sorts below 1.0 and 1.0.post1.
int pre_rank(const Pep440& v) {
  if (v.pre != 0) return v.pre;
  return !v.post && v.dev ? 0 : 4;
}

std::strong_ordering compare_local(const Pep440& a, const Pep440& b) {
  const std::size_t size = std::min(a.local.size(), b.local.size());
  for (std::size_t i = 0; i < size; ++i) {
    const bool left = all_digits(a.local[i]);
    const bool right = all_digits(b.local[i]);
    if (left != right) return left ? std::strong_ordering::greater : std::strong_ordering::less;
    const auto order = left ? compare_numbers(a.local[i], b.local[i]) : a.local[i].compare(b.local[i]) <=> 0;
    if (order != 0) return order;
  }
  return a.local.size() <=> b.local.size();
}

std::strong_ordering compare(const Pep440& a, const Pep440& b) {
  if (const auto order = compare_numbers(a.epoch, b.epoch); order != 0) return order;
  if (const auto order = compare_release(a, b); order != 0) return order;
  if (const auto order = pre_rank(a) <=> pre_rank(b); order != 0) return order;
  if (const auto order = compare_numbers(a.pre_number, b.pre_number); order != 0) return order;
  if (a.post != b.post) return a.post <=> b.post;
  if (const auto order = compare_numbers(a.post_number, b.post_number); order != 0) return order;
  if (a.dev != b.dev) return b.dev <=> a.dev;  // with .dev sorts below without
  if (const auto order = compare_numbers(a.dev_number, b.dev_number); order != 0) return order;
  return compare_local(a, b);
}

// The order setuptools had before PEP 440: parts become texts that sort as texts, numbers padded to eight digits.
std::vector<std::string> legacy_key(std::string_view text) {
  std::vector<std::string> key;
  auto add = [&key](std::string part) {
    if (part.front() == '*') {
      if (part < "*final")
        while (!key.empty() && key.back() == "*final-") key.pop_back();
      while (!key.empty() && key.back() == "00000000") key.pop_back();
    }
    key.push_back(std::move(part));
  };
  std::size_t i = 0;
  auto run = [&](auto predicate) {
    const std::size_t start = i;
    while (i < text.size() && predicate(text[i])) ++i;
    return std::string(text.substr(start, i - start));
  };
  while (i < text.size()) {
    if (text[i] == '.') {
      ++i;
    } else if (text[i] == '-') {
      ++i;
      add("*final-");
    } else if (is_digit(text[i])) {
      std::string number = run(is_digit);
      add(number.size() < 8 ? std::string(8 - number.size(), '0') + number : std::move(number));
    } else if (is_alpha(text[i])) {
      std::string word = run(is_alpha);
      if (word == "pre" || word == "preview" || word == "rc") word = "c";
      if (word == "dev") word = "@";
      add("*" + word);
    } else {
      add("*" + run([](char c) { return !is_digit(c) && !is_alpha(c) && c != '.' && c != '-'; }));
    }
  }
  add("*final");
  return key;
}

std::string_view trim(std::string_view text) {
  while (!text.empty() && static_cast<unsigned char>(text.front()) <= ' ') text.remove_prefix(1);
  while (!text.empty() && static_cast<unsigned char>(text.back()) <= ' ') text.remove_suffix(1);
  return text;
}

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

}  // namespace

// Nothing but the absence of a version is refused: a legacy text has its place in the order, below every real version.
bool pep440_parsable(std::string_view version) { return !trim(version).empty(); }

std::optional<std::strong_ordering> compare_pep440(std::string_view a, std::string_view b) {
  if (!pep440_parsable(a) || !pep440_parsable(b)) return std::nullopt;
  const std::string left_text = lower_case(trim(a));
  const std::string right_text = lower_case(trim(b));
  const auto left = parse(left_text);
  const auto right = parse(right_text);
  if (left && right) return compare(*left, *right);
  if (left || right) return left.has_value() <=> right.has_value();
  return legacy_key(left_text) <=> legacy_key(right_text);
}

}  // namespace stella::pipeline::orders
