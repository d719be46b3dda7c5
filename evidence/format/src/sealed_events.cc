// A digest says whether they are the same; entries and kinds say which one is gone.
#include "stella/evidence/format/sealed_events.h"

#include <algorithm>
#include <charconv>

#include "stella/base/limits.h"

namespace stella::evidence {
namespace {

constexpr std::size_t kNamed = 5;  // a reason is for people

Error malformed(std::string field) { return Error(base_errors::kMalformed, "not what a seal says of events").with("field", std::move(field)); }

// The first `count` lines; all where there are fewer.
std::string_view first_lines(std::string_view text, std::uint64_t count) {
  std::size_t end = 0;
  for (; count > 0 && end < text.size(); --count) end = std::min(text.find('\n', end), text.size() - 1) + 1;
  return text.substr(0, end);
}

// each(line) until it says false.
template <class Each>
void for_each_line(std::string_view text, const Each& each) {
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    if (!each(text.substr(0, end))) return;
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

std::string kind_of(std::string_view line) {
  const auto event = json::parse(line, {.max_bytes = limits::kEventBytes, .max_depth = limits::kJsonDepth});
  return event ? std::string(event->str("kind")) : std::string();
}

using Range = std::pair<std::uint64_t, std::uint64_t>;  // both ends belong to it

std::vector<Range> ranges_of(std::span<const std::uint64_t> indexes) {
  std::vector<Range> out;
  for (const std::uint64_t index : indexes) {
    if (!out.empty() && out.back().second + 1 == index) out.back().second = index;
    else out.emplace_back(index, index);
  }
  return out;
}

std::string text_of(const std::vector<Range>& ranges) {
  std::string out;
  for (const auto& [first, last] : ranges) {
    out.append(out.empty() ? "" : ",").append(std::to_string(first));
    if (last != first) out.append("-").append(std::to_string(last));
  }
  return out;
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  return error == std::errc() && end == text.data() + text.size() ? std::optional(value) : std::nullopt;
}

// Ascending and apart, of `count` entries; nullopt for anything else.
std::optional<std::vector<Range>> parse_ranges(std::string_view text, std::uint64_t count) {
  std::vector<Range> out;
  std::uint64_t entries = 0;
  if (text.ends_with(',')) return std::nullopt;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find(','), text.size());
    const std::string_view range = text.substr(0, end);
    const std::size_t dash = range.find('-');
    const auto first = number(range.substr(0, dash)), last = dash == range.npos ? first : number(range.substr(dash + 1));
    if (!first || !last || *last < *first || *last - *first >= count || (!out.empty() && *first <= out.back().second)) return std::nullopt;
    if ((entries += *last - *first + 1) > count) return std::nullopt;
    out.emplace_back(*first, *last);
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return entries == count ? std::optional(std::move(out)) : std::nullopt;
}

void list(std::string& out, const std::vector<std::string>& names) {
  for (std::size_t i = 0; i < std::min(names.size(), kNamed); ++i) out.append(i == 0 ? "" : ", ").append(names[i]);
  if (names.size() > kNamed) out.append(" and ").append(std::to_string(names.size() - kNamed)).append(" more");
}

// The kinds of which `less` has fewer than `more`.
std::vector<std::string> fewer(const std::map<std::string, std::uint64_t>& less, const std::map<std::string, std::uint64_t>& more) {
  std::vector<std::string> out;
  for (const auto& [kind, count] : more) {
    const auto found = less.find(kind);
    const std::uint64_t there = found == less.end() ? 0 : found->second;
    if (there < count) out.push_back(count - there == 1 ? kind : std::to_string(count - there) + " " + kind);
  }
  return out;
}

}  // namespace

json::Value SealedEvents::json() const {
  json::Value counts = json::Value::object();
  for (const auto& [kind, n] : kinds) counts.set(kind, n);
  return json::Value::object({{"entries", entries}, {"events", count}, {"kinds", std::move(counts)}, {"lines_sha256", lines.hex()}});
}

Result<SealedEvents> sealed_events(std::string_view lines, std::span<const std::uint64_t> indexes, std::uint64_t count) {
  SealedEvents out;
  const std::string_view text = first_lines(lines, count);
  bool good = true;
  for_each_line(text, [&](std::string_view line) {
    const std::string kind = kind_of(line);
    ++out.kinds[kind];
    ++out.count;
    return good = !kind.empty();
  });
  if (!good || out.count > indexes.size()) return malformed("events");
  if (out.count == 0) return out;  // as read from a seal, which says nothing of a log without events
  out.lines = crypto::sha256(text);
  out.entries = text_of(ranges_of(indexes.first(out.count)));
  return out;
}

Result<SealedEvents> parse_sealed_events(const json::Value& member) {
  SealedEvents out;
  const std::int64_t count = member.integer("events", -1);
  const auto lines = Sha256::parse(member.str("lines_sha256"));
  if (count < 1) return malformed("events");
  if (!lines) return malformed("lines_sha256");
  out.count = static_cast<std::uint64_t>(count);
  out.lines = *lines;
  out.entries = member.str("entries");
  if (!parse_ranges(out.entries, out.count)) return malformed("entries");
  const json::Value* kinds = member.find("kinds");
  if (kinds == nullptr || !kinds->is_object()) return malformed("kinds");
  std::uint64_t left = out.count;
  for (const auto& [kind, n] : kinds->as_object()) {
    if (!n.is_int() || n.as_int() < 1 || static_cast<std::uint64_t>(n.as_int()) > left) return malformed("kinds");
    left -= static_cast<std::uint64_t>(n.as_int());
    out.kinds[kind] = static_cast<std::uint64_t>(n.as_int());
  }
  if (left != 0) return malformed("kinds");
  return out;
}

bool begins_with(std::string_view lines, const SealedEvents& sealed) {
  if (sealed.count == 0) return true;
  const std::string_view first = first_lines(lines, sealed.count);
  return static_cast<std::uint64_t>(std::count(first.begin(), first.end(), '\n')) == sealed.count && crypto::sha256(first) == sealed.lines;
}

std::string differs_from_sealed(const SealedEvents& sealed, std::string_view lines, std::span<const std::optional<std::uint64_t>> indexes) {
  if (begins_with(lines, sealed)) return {};
  std::map<std::string, std::uint64_t> kinds;
  for_each_line(lines, [&](std::string_view line) {
    ++kinds[kind_of(line)];
    return true;
  });
  // Entries by what the proofs claim: whether they are right says INCLUSION.
  std::vector<std::uint64_t> there;
  for (const auto& index : indexes)
    if (index) there.push_back(*index);
  std::sort(there.begin(), there.end());
  std::vector<std::string> gone, added;
  const auto ranges = parse_ranges(sealed.entries, sealed.count).value_or(std::vector<Range>());
  for (const auto& [from, to] : ranges)
    for (std::uint64_t entry = from; entry <= to && gone.size() <= there.size() + kNamed; ++entry)
      if (!std::binary_search(there.begin(), there.end(), entry)) gone.push_back(std::to_string(entry));
  for (const std::uint64_t entry : there) {
    const auto at_or_behind = std::lower_bound(ranges.begin(), ranges.end(), entry, [](const Range& r, std::uint64_t e) { return r.second < e; });
    if (at_or_behind != ranges.end() && entry < at_or_behind->first) added.push_back(std::to_string(entry));
  }
  std::string out;
  if (const auto missing = fewer(kinds, sealed.kinds); !missing.empty() || !gone.empty()) {
    out.append("left out: ");
    list(out, missing);
    if (!gone.empty()) {
      out.append(missing.empty() ? "entry " : " (entry ");
      list(out, gone);
      out.append(missing.empty() ? " of the log" : " of the log)");
    }
  }
  if (!added.empty()) {
    out.append(out.empty() ? "not named by the seal: entry " : "; not named by the seal: entry ");
    list(out, added);
  }
  return out.empty() ? "one of them was changed, exchanged or doubled" : out;
}

}  // namespace stella::evidence
