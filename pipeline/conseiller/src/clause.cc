// IsVulnerable of the OSV schema. Instead of sorting a range's events it looks for the last one that applies to the version: the
// state after a walk over sorted events is what the last applicable one makes it. Equal versions keep the document's order.
#include "clause.h"

#include <algorithm>
#include <optional>

namespace stella::pipeline {
namespace {

using contracts::Verdict;

constexpr std::string_view kVersionNotParsable = "version not parsable";
constexpr std::string_view kAdvisoryNotParsable = "advisory version not parsable";
constexpr std::string_view kNoClauses = "only GIT ranges";

// Longer texts are no versions here: a record may hold a million events, and each is compared with the component's version.
constexpr std::size_t kLongestVersion = 1024;

// The order in which the range's own versions stand.
VersionOrder order_of(const RangeView& range, VersionOrder ecosystem) {
  return range.type == RangeType::kSemver ? VersionOrder::kSemver : ecosystem;
}

// "introduced": "0" is before every version; "limit": "*" is after every version.
std::optional<std::strong_ordering> event_to_version(const EventView& event, VersionOrder order, std::string_view version) {
  if (event.kind == EventKind::kIntroduced && event.version == "0") return std::strong_ordering::less;
  if (event.kind == EventKind::kLimit && event.version == "*") return std::strong_ordering::greater;
  if (event.version.size() > kLongestVersion) return std::nullopt;
  const auto result = compare_versions(order, event.version, version);
  if (!result) return std::nullopt;
  return *result;
}

// Whether `a` comes before or at `b` among the events of one range; both parse.
bool not_after(const EventView& a, const EventView& b, VersionOrder order) {
  if (a.kind == EventKind::kIntroduced && a.version == "0") return true;
  if (b.kind == EventKind::kIntroduced && b.version == "0") return false;
  const auto result = compare_versions(order, a.version, b.version);
  return result && *result <= 0;
}

struct RangeState {
  bool parsable = true;
  bool within_limits = false;
  const EventView* last = nullptr;     // the last event at or below the version: an introduction, or what ended one
  const EventView* opened = nullptr;   // the last introduction at or below the version
  const EventView* next = nullptr;     // the first event above the version
  const EventView* next_end = nullptr; // the first above that ends what is open
  bool affected() const { return within_limits && last != nullptr && last->kind == EventKind::kIntroduced; }
};

RangeState walk(const RangeView& range, VersionOrder order, std::string_view version) {
  RangeState state;
  bool any_limit = false;
  for (const auto& event : range.events) {
    const auto position = event_to_version(event, order, version);
    if (!position) {
      state.parsable = false;
      return state;
    }
    if (event.kind == EventKind::kLimit) {
      any_limit = true;
      state.within_limits = state.within_limits || *position > 0;
      continue;
    }
    const bool applies = event.kind == EventKind::kLastAffected ? *position < 0 : *position <= 0;
    if (applies) {
      if (state.last == nullptr || not_after(*state.last, event, order)) state.last = &event;
      const bool opens = event.kind == EventKind::kIntroduced;
      if (opens && (state.opened == nullptr || not_after(*state.opened, event, order))) state.opened = &event;
    } else {
      if (state.next == nullptr || !not_after(*state.next, event, order)) state.next = &event;
      const bool ends = event.kind != EventKind::kIntroduced;
      if (ends && (state.next_end == nullptr || !not_after(*state.next_end, event, order))) state.next_end = &event;
    }
  }
  if (!any_limit) state.within_limits = true;
  return state;
}

void set_end(contracts::Clause& clause, const EventView* event) {
  if (event == nullptr) return;
  if (event->kind == EventKind::kFixed) clause.fixed = event->version;
  if (event->kind == EventKind::kLastAffected) clause.last_affected = event->version;
}

void name_range(contracts::Clause& clause, const RangeView& range) {
  clause.range_index = static_cast<int>(range.index);
  clause.range_type = range.type == RangeType::kSemver ? "SEMVER" : "ECOSYSTEM";
}

// The two events around a version that the range does not cover: what ended the last introduction, or the first introduction above.
void explain_gap(contracts::Clause& clause, const RangeView& range, const RangeState& state) {
  name_range(clause, range);
  if (state.last != nullptr) {
    if (state.opened != nullptr) clause.introduced = state.opened->version;
    set_end(clause, state.last);
  } else if (state.next != nullptr) {
    clause.introduced = state.next->version;
  }
}

// "v1.2.3" and "1.2.3" are one literal in the SemVer-like ecosystems: tools write both.
bool listed(const AffectedView& entry, VersionOrder order, std::string_view version) {
  const auto bare = [order](std::string_view text) {
    if (order == VersionOrder::kSemver && text.starts_with('v')) text.remove_prefix(1);
    return text;
  };
  const std::string_view wanted = bare(version);
  return std::any_of(entry.versions.begin(), entry.versions.end(), [&](std::string_view literal) { return bare(literal) == wanted; });
}

}  // namespace

Outcome evaluate(const AffectedView& entry, VersionOrder order, std::string_view version) {
  Outcome out;
  out.clause.affected_index = static_cast<int>(entry.index);
  out.clause.by = "none";
  if (listed(entry, order, version)) {
    out.verdict = Verdict::kAffected;
    out.clause.by = "versions";
    return out;
  }
  if (!entry.has_clauses) out.reason = kNoClauses;
  bool explained = false;
  for (const auto& range : entry.ranges) {
    const VersionOrder range_order = order_of(range, order);
    if (version.size() > kLongestVersion || !parsable(range_order, version)) {
      out.reason = kVersionNotParsable;
      continue;
    }
    const RangeState state = walk(range, range_order, version);
    if (!state.parsable) {
      if (out.reason.empty()) out.reason = kAdvisoryNotParsable;
      continue;
    }
    if (state.affected()) {
      contracts::Clause clause{.by = "range", .affected_index = static_cast<int>(entry.index)};
      name_range(clause, range);
      clause.introduced = state.last->version;
      set_end(clause, state.next_end);
      return {Verdict::kAffected, std::move(clause), {}};
    }
    if (!explained) explain_gap(out.clause, range, state);
    explained = true;
  }
  if (!out.reason.empty()) {
    out.verdict = Verdict::kUnknown;
    out.clause = {.by = "reason", .affected_index = static_cast<int>(entry.index)};
  }
  return out;
}

std::vector<std::string> fixed_versions(const AffectedView& entry, VersionOrder order, std::string_view version) {
  std::vector<std::string_view> found;
  for (const auto& range : entry.ranges)
    for (const auto& event : range.events) {
      if (event.kind != EventKind::kFixed || event.version.size() > kLongestVersion) continue;
      const auto position = compare_versions(order, event.version, version);
      if (position && *position > 0) found.push_back(event.version);
    }
  if (found.size() > 1) {
    std::sort(found.begin(), found.end());
    found.erase(std::unique(found.begin(), found.end()), found.end());
    std::stable_sort(found.begin(), found.end(), [order](std::string_view a, std::string_view b) {
      const auto result = compare_versions(order, a, b);
      return result && *result < 0;
    });
  }
  return {found.begin(), found.end()};
}

}  // namespace stella::pipeline
