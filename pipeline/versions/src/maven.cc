// Maven's order: the semantics of ComparableVersion in Maven 3.8.8 and 3.9, without its recursion.
//
// Maven reads a version as a list of numbers and qualifiers in which every '-' and every change between digits and letters opens a
// list inside the list. A list never goes on after the list it contains, so the tree is a chain: we keep all items in one vector, the
// levels as pieces of it, and walk them in a loop, however deep a hostile version nests.
#include <array>
#include <span>
#include <string>
#include <vector>

#include "orders.h"

namespace stella::pipeline::orders {
namespace {

constexpr std::array<std::string_view, 7> kQualifiers{"alpha", "beta", "milestone", "rc", "snapshot", "", "sp"};
constexpr int kReleaseRank = 5;
constexpr int kUnknownRank = 7;

int rank(std::string_view text) {
  if (text == "ga" || text == "final" || text == "release") return kReleaseRank;
  if (text == "cr") return 3;
  for (std::size_t i = 0; i < kQualifiers.size(); ++i)
    if (kQualifiers[i] == text) return static_cast<int>(i);
  return kUnknownRank;
}

// "a1" means "alpha-1", but "1a" stays "a".
std::string_view expand(std::string_view text) {
  if (text == "a") return "alpha";
  if (text == "b") return "beta";
  if (text == "m") return "milestone";
  return text;
}

struct Item {
  bool number;
  std::string_view text;  // digits without leading zeros ("" is zero), or the qualifier in lower case

  // Says nothing: zero, or a qualifier that means "released".
  bool is_null() const { return number ? text.empty() : rank(text) == kReleaseRank; }
};

// An item against nothing at all: 1-rc < 1, 1.0 = 1, 1.1 > 1.
std::strong_ordering compare_to_nothing(const Item& item) {
  if (item.number) return item.text.empty() ? std::strong_ordering::equal : std::strong_ordering::greater;
  return rank(item.text) <=> kReleaseRank;
}

std::strong_ordering compare_items(const Item& a, const Item& b) {
  if (a.number != b.number) return a.number ? std::strong_ordering::greater : std::strong_ordering::less;  // 1.1 > 1-sp
  if (a.number) return compare_numbers(a.text, b.text);
  const int left = rank(a.text);
  const int right = rank(b.text);
  if (left != right || left != kUnknownRank) return left <=> right;
  return a.text.compare(b.text) <=> 0;
}

using Level = std::span<const Item>;

class Version {
 public:
  explicit Version(std::string_view version) : text_(version) {
    for (char& c : text_) c = lower(c);
    parse();
    normalize();
  }

  std::size_t levels() const { return levels_.size(); }
  Level level(std::size_t index) const { return Level(items_).subspan(levels_[index].from, levels_[index].to - levels_[index].from); }

 private:
  struct Piece {
    std::size_t from;
    std::size_t to;
  };
  void descend() { levels_.push_back({items_.size(), items_.size()}); }
  void descend_unless_empty() {
    if (levels_.back().from != items_.size()) descend();
  }
  void push(Item item) {
    items_.push_back(item);
    levels_.back().to = items_.size();
  }
  void add(bool number, std::size_t from, std::size_t to) {
    const std::string_view part = std::string_view(text_).substr(from, to - from);
    push({number, number ? strip_zeros(part) : part});
  }

  void parse() {
    descend();
    bool digits = false;
    std::size_t start = 0;
    const std::size_t size = text_.size();
    for (std::size_t i = 0; i < size; ++i) {
      const char c = text_[i];
      if (c == '.' || c == '-') {
        add(i == start || digits, start, i);  // nothing between two separators is a zero
        start = i + 1;
        if (c == '-') descend_unless_empty();
      } else if (is_digit(c)) {
        if (!digits && i > start) {
          descend_unless_empty();  // .X1 is -X1
          push({false, expand(std::string_view(text_).substr(start, i - start))});
          start = i;
          descend();
        }
        digits = true;
      } else {
        if (digits && i > start) {
          add(true, start, i);
          start = i;
          descend();
        }
        digits = false;
      }
    }
    if (size == start) return;
    if (!digits) descend_unless_empty();  // .X is -X
    add(digits, start, size);
  }

  // Drops what says nothing at the end of each level, innermost first. A level that is left with nothing but its inner level stays.
  void normalize() {
    bool has_inner = false;
    for (std::size_t l = levels_.size(); l-- > 0;) {
      auto& [from, to] = levels_[l];
      while (from < to && items_[to - 1].is_null()) --to;
      has_inner = has_inner || from < to;
      if (!has_inner && l > 0) levels_.pop_back();
    }
  }

  std::string text_;
  std::vector<Item> items_;
  std::vector<Piece> levels_;
};

// Everything from (level, index) on against nothing.
std::strong_ordering rest_to_nothing(const Version& version, std::size_t level, std::size_t index) {
  for (; level < version.levels(); ++level, index = 0)
    for (const Item& item : version.level(level).subspan(index))
      if (const auto order = compare_to_nothing(item); order != 0) return order;
  return std::strong_ordering::equal;
}

// An inner level against an item: 1-1 < 1.0.x, 1-1 > 1-sp.
std::strong_ordering level_to_item(const Item& item) { return item.number ? std::strong_ordering::less : std::strong_ordering::greater; }

std::strong_ordering compare(const Version& a, const Version& b) {
  for (std::size_t level = 0;; ++level) {
    const Level left = a.level(level);
    const Level right = b.level(level);
    const bool left_inner = level + 1 < a.levels();
    const bool right_inner = level + 1 < b.levels();
    std::size_t i = 0;
    for (; i < left.size() && i < right.size(); ++i)
      if (const auto order = compare_items(left[i], right[i]); order != 0) return order;
    if (i < right.size()) return left_inner ? level_to_item(right[i]) : 0 <=> rest_to_nothing(b, level, i);
    if (i < left.size()) return right_inner ? 0 <=> level_to_item(left[i]) : rest_to_nothing(a, level, i);
    if (!left_inner || !right_inner) return left_inner ? rest_to_nothing(a, level + 1, 0) : 0 <=> rest_to_nothing(b, level + 1, 0);
  }
}

bool allowed(std::string_view version) {
  for (char c : version)
    if (static_cast<unsigned char>(c) <= ' ' || c == '[' || c == ']' || c == '(' || c == ')' || c == ',' || c == '$') return false;
  return !version.empty();
}

}  // namespace

// Any text is a version to Maven; we refuse only what is a range, an unresolved property or holds white space.
bool maven_parsable(std::string_view version) { return allowed(version); }

std::optional<std::strong_ordering> compare_maven(std::string_view a, std::string_view b) {
  if (!allowed(a) || !allowed(b)) return std::nullopt;
  if (a == b) return std::strong_ordering::equal;
  return compare(Version(a), Version(b));
}

}  // namespace stella::pipeline::orders
