// The comparison of values, and of lines that are matched by what they are about.
#include "stella/evidence/format/json_diff.h"

#include <algorithm>
#include <deque>
#include <unordered_map>

namespace stella::evidence {
namespace {

// At most kMaxDifferenceBytes, cut between characters.
std::string clipped(std::string text) {
  if (text.size() <= kMaxDifferenceBytes) return text;
  std::size_t end = kMaxDifferenceBytes;
  while (end > 0 && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
  text.resize(end);
  return text + "…";
}

std::string pointer_to(const std::string& base, std::string_view member) {
  std::string out = base + "/";
  for (const char c : member) {
    if (c == '~') out += "~0";
    else if (c == '/') out += "~1";
    else out += c;
  }
  return out;
}

// Equality as the comparison means it: the order of members says nothing, 1 is 1.0.
bool same(const json::Value& a, const json::Value& b) {
  if (a.is_number() && b.is_number()) return a.is_int() && b.is_int() ? a.as_int() == b.as_int() : a.as_double() == b.as_double();
  if (a.is_array() && b.is_array()) return std::equal(a.as_array().begin(), a.as_array().end(), b.as_array().begin(), b.as_array().end(), same);
  if (!a.is_object() || !b.is_object()) return a == b;
  if (a.as_object().size() != b.as_object().size()) return false;
  return std::all_of(a.as_object().begin(), a.as_object().end(), [&](const json::Object::Member& m) {
    const json::Value* other = b.find(m.first);
    return other != nullptr && same(m.second, *other);
  });
}

class Comparison {
 public:
  explicit Comparison(std::size_t most) : most_(most) {}

  void about(std::string record) { record_ = std::move(record); }
  void add(const std::string& path, const json::Value* sealed, const json::Value* replayed) {
    if (++out_.total > most_) return;
    const auto text = [](const json::Value* v) { return v == nullptr ? std::nullopt : std::optional(clipped(json::dump(*v))); };
    out_.differences.push_back({record_, path, text(sealed), text(replayed)});
  }
  void values(const std::string& path, const json::Value& a, const json::Value& b) {
    if (a.is_object() && b.is_object()) return members(path, a, b);
    if (a.is_array() && b.is_array()) return elements(path, a.as_array(), b.as_array());
    if (!same(a, b)) add(path, &a, &b);
  }
  JsonDiff& out() { return out_; }

 private:
  void members(const std::string& path, const json::Value& a, const json::Value& b) {
    for (const auto& [name, value] : a.as_object()) {
      const json::Value* other = b.find(name);
      if (other == nullptr) add(pointer_to(path, name), &value, nullptr);
      else values(pointer_to(path, name), value, *other);
    }
    for (const auto& [name, value] : b.as_object())
      if (a.find(name) == nullptr) add(pointer_to(path, name), nullptr, &value);
  }

  void elements(const std::string& path, const json::Array& a, const json::Array& b) {
    std::size_t first = 0, a_end = a.size(), b_end = b.size();
    while (first < a_end && first < b_end && same(a[first], b[first])) ++first;
    while (a_end > first && b_end > first && same(a[a_end - 1], b[b_end - 1])) --a_end, --b_end;
    const auto at = [&](std::size_t i) { return path + "/" + std::to_string(i); };
    for (std::size_t i = first; i < std::max(a_end, b_end); ++i) {
      if (i < a_end && i < b_end) values(at(i), a[i], b[i]);
      else if (i < a_end) add(at(i), &a[i], nullptr);
      else add(at(i), nullptr, &b[i]);
    }
  }

  std::size_t most_;
  std::string record_;
  JsonDiff out_;
};

struct Line {
  std::string_view text;
  std::size_t number;
};

std::vector<Line> lines_of(std::string_view text) {
  std::vector<Line> out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    out.push_back({text.substr(0, end), out.size() + 1});
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

// The lines of each side that the other does not have; equal lines cost no parsing.
void drop_equal(std::vector<Line>& sealed, std::vector<Line>& replayed) {
  std::unordered_map<std::string_view, std::size_t> left;
  for (const Line& line : sealed) ++left[line.text];
  std::erase_if(replayed, [&](const Line& line) {
    const auto found = left.find(line.text);
    return found != left.end() && found->second > 0 && found->second-- > 0;
  });
  std::erase_if(sealed, [&](const Line& line) {
    std::size_t& count = left[line.text];
    return count == 0 || count-- == 0;
  });
}

// What a record is about. Components and problems wrap theirs in one member ({"c":{…}}).
std::string record_of(const json::Value& line, std::size_t number) {
  if (line.find("format") != nullptr) return "header";
  const json::Value* component = line.find("c");
  const json::Value& named = component != nullptr ? *component : line;
  std::string out(named.str("purl"));
  if (out.empty()) out = named.str("label");
  std::string_view advisory = line.str("advisory_id");
  if (const json::Value* nested = line.find("advisory"); advisory.empty() && nested != nullptr) advisory = nested->str("id");
  if (out.empty() && advisory.empty()) return "line " + std::to_string(number);
  return advisory.empty() ? out : out + " " + std::string(advisory);
}

// A line that is no JSON is shown as the text that it is.
json::Value value_of(std::string_view line) {
  auto value = json::parse(line);
  return value ? std::move(*value) : json::Value(line);
}

void diff_lines(std::string_view sealed_text, std::string_view replayed_text, Comparison& comparison) {
  std::vector<Line> sealed = lines_of(sealed_text), replayed = lines_of(replayed_text);
  drop_equal(sealed, replayed);
  std::unordered_map<std::string, std::deque<std::size_t>> by_record;  // positions in `replayed`
  for (std::size_t i = 0; i < replayed.size(); ++i) by_record[record_of(value_of(replayed[i].text), replayed[i].number)].push_back(i);
  std::vector<bool> matched(replayed.size());
  for (const Line& line : sealed) {
    const json::Value value = value_of(line.text);
    const std::string record = record_of(value, line.number);
    comparison.about(record);
    const auto found = by_record.find(record);
    if (found == by_record.end() || found->second.empty()) {
      comparison.add("", &value, nullptr);
      continue;
    }
    const std::size_t other = found->second.front();
    found->second.pop_front();
    matched[other] = true;
    comparison.values("", value, value_of(replayed[other].text));
  }
  for (std::size_t i = 0; i < replayed.size(); ++i) {
    if (matched[i]) continue;
    const json::Value value = value_of(replayed[i].text);
    comparison.about(record_of(value, replayed[i].number));
    comparison.add("", nullptr, &value);
  }
}

std::string first_difference(std::string_view a, std::string_view b) {
  const auto [in_a, in_b] = std::mismatch(a.begin(), a.end(), b.begin(), b.end());
  return std::to_string(in_a - a.begin());
}

}  // namespace

json::Value JsonDiff::json() const {
  json::Array list;
  for (const JsonDifference& d : differences) {
    json::Value one = json::Value::object();
    if (!d.record.empty()) one.set("record", d.record);
    one.set("path", d.path);
    if (d.sealed) one.set("sealed", *d.sealed);
    if (d.replayed) one.set("replayed", *d.replayed);
    list.push_back(std::move(one));
  }
  json::Value out = json::Value::object({{"total", total}});
  if (!note.empty()) out.set("note", note);
  return out.set("differences", std::move(list));
}

JsonDiff json_diff(const json::Value& sealed, const json::Value& replayed, std::size_t most) {
  Comparison comparison(most);
  comparison.values("", sealed, replayed);
  return std::move(comparison.out());
}

JsonDiff document_diff(std::string_view sealed, std::string_view replayed, bool ndjson, std::size_t most) {
  if (sealed == replayed) return {};
  Comparison comparison(most);
  if (ndjson) {
    diff_lines(sealed, replayed, comparison);
  } else {
    const auto a = json::parse(sealed), b = json::parse(replayed);
    if (!a || !b) {
      comparison.out().note = std::string(a ? "what was made again" : "the sealed document") + " cannot be read as JSON; the bytes differ from offset " + first_difference(sealed, replayed);
      return std::move(comparison.out());
    }
    comparison.values("", *a, *b);
  }
  JsonDiff out = std::move(comparison.out());
  if (out.total == 0) out.note = "the values are the same, their order or layout is not; the bytes differ from offset " + first_difference(sealed, replayed);
  return out;
}

}  // namespace stella::evidence
