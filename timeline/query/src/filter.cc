// Filters from query parameters: strict, bounded, each error with its field and what was expected.
#include <algorithm>
#include <charconv>
#include <set>

#include "stella/base/encoding.h"
#include "stella/contracts/events.h"
#include "stella/timeline/query.h"

namespace stella::timeline {
namespace {

Error wrong(std::string_view field, std::string_view expected) {
  return Error(base_errors::kInvalid, "not an acceptable filter").with("field", std::string(field)).with("expected", std::string(expected));
}

template <class Each>
Result<void> for_each_part(std::string_view list, Each each) {
  for (;;) {
    const auto comma = list.find(',');
    STELLA_TRY_VOID(each(list.substr(0, comma)));
    if (comma == list.npos) return {};
    list.remove_prefix(comma + 1);
  }
}

// "policy.*" becomes the catalogue's kinds with that prefix: the catalogue is closed.
Result<void> add_kind(Filter& f, std::string_view text) {
  std::set<std::string> kinds(f.kinds.begin(), f.kinds.end());
  if (text == "*") return wrong("kind", "a kind or an area such as policy.*");
  if (text.ends_with(".*")) {
    const auto prefix = text.substr(0, text.size() - 1);
    bool found = false;
    for (const auto& kind : contracts::event_kinds()) {
      if (!kind.kind.starts_with(prefix)) continue;
      kinds.emplace(kind.kind);
      found = true;
    }
    if (!found) return wrong("kind", "an area of the event catalogue, such as policy.*");
  } else {
    if (contracts::find_event(text) == nullptr) return wrong("kind", "a kind of the event catalogue");
    kinds.emplace(text);
  }
  if (kinds.size() > kMaxKinds) return wrong("kind", "at most 64 kinds");
  f.kinds.assign(kinds.begin(), kinds.end());
  return {};
}

// Beside what events are about: what they name.
constexpr std::string_view kNamedTypes[] = {"batch", "component"};

bool known_type(std::string_view type) {
  if (std::find(std::begin(kNamedTypes), std::end(kNamedTypes), type) != std::end(kNamedTypes)) return true;
  const auto kinds = contracts::event_kinds();
  return std::any_of(kinds.begin(), kinds.end(), [&](const auto& kind) { return std::find(kind.resource_types.begin(), kind.resource_types.end(), type) != kind.resource_types.end(); });
}

// A component is found by its PURL: anything else would find nothing, and look as if nothing had happened.
bool no_purl(const ResourceFilter& r) {
  constexpr std::string_view kScheme = "pkg:";
  return r.type == "component" && !r.id.starts_with(kScheme) && !(r.prefix && kScheme.starts_with(r.id));
}

Result<void> add_resource(Filter& f, std::string_view text) {
  constexpr std::string_view kExpected = "type/id, type/prefix* or type/";
  const auto slash = text.find('/');
  ResourceFilter r;
  r.type = text.substr(0, slash);
  if (slash == text.npos || r.type.empty() || r.type.size() > 64 ||
      r.type.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_") != r.type.npos)
    return wrong("resource", kExpected);
  r.id = text.substr(slash + 1);
  if (r.id.empty() || r.id.ends_with("*") || r.id.ends_with("\u2026")) {
    r.prefix = true;
    if (r.id.ends_with("*")) r.id.pop_back();
    if (r.id.ends_with("\u2026")) r.id.resize(r.id.size() - 3);
  }
  if (r.id.size() > 512 || !is_utf8(r.id) || r.id.find('\0') != r.id.npos) return wrong("resource", kExpected);
  if (!known_type(r.type)) return wrong("resource", "a type of the event catalogue (docs/reference/events.md), component or batch, before the slash");
  if (no_purl(r)) return wrong("resource", "component/ with a PURL: component/pkg:npm/lodash or component/pkg:npm/*");
  f.resources.push_back(std::move(r));
  if (f.resources.size() > kMaxResourceFilters) return wrong("resource", "at most 8 resources");
  return {};
}

Result<std::int64_t> number(std::string_view field, std::string_view text, std::int64_t low, std::int64_t high) {
  std::int64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  if (end.ec != std::errc() || end.ptr != text.data() + text.size() || value < low || value > high)
    return wrong(field, "an integer from " + std::to_string(low) + " to " + std::to_string(high));
  return value;
}

Result<void> add(Filter& f, std::string_view name, const std::string& value) {
  if (name == "from" || name == "to") {
    auto instant = Timestamp::parse(value);
    if (!instant || instant->micros() < 0) return wrong(name, "an RFC 3339 instant");
    (name == "from" ? f.from : f.to) = *instant;
  } else if (name == "kind") {
    return for_each_part(value, [&](std::string_view part) { return add_kind(f, part); });
  } else if (name == "resource") {
    return for_each_part(value, [&](std::string_view part) { return add_resource(f, part); });
  } else if (name == "project") {
    auto id = ProjectId::parse(value);
    if (!id) return wrong(name, "a project id");
    f.project = *id;
  } else if (name == "actor") {
    if (value.empty() || value.size() > 200 || !is_utf8(value) || value.find('\0') != value.npos) return wrong(name, "an actor such as user:<id>");
    f.actor = value;
  } else if (name == "trace") {
    if (!TraceId::parse(value)) return wrong(name, "32 lower-case hex digits");
    f.trace = value;
  } else if (name == "q") {
    if (value.empty() || value.size() > kMaxSearch || !is_utf8(value) || value.find('\0') != value.npos) return wrong(name, "1 to 256 bytes of text");
    f.q = value;
  } else if (name == "order") {
    if (value != "time" && value != "log") return wrong(name, "time or log");
    f.order = value == "log" ? Order::kLog : Order::kTime;
  } else if (name == "from_index") {
    f.from_index = STELLA_TRY(number(name, value, 0, INT64_MAX - 1));
  } else if (name == "limit") {
    f.limit = static_cast<int>(STELLA_TRY(number(name, value, 1, kPageMax)));
  } else if (name == "cursor") {
    if (value.empty() || value.size() > 128) return wrong(name, "next_cursor of the page before");
    f.cursor = value;
  } else {
    return wrong(name, "from, to, kind, resource, project, actor, trace, q, order, from_index, limit or cursor");
  }
  return {};
}

}  // namespace

Result<Filter> parse_filter(const std::vector<std::pair<std::string, std::string>>& parameters) {
  Filter filter;
  std::set<std::string> seen;
  for (const auto& [name, value] : parameters) {
    if (!seen.insert(name).second && name != "kind" && name != "resource") return wrong(name.substr(0, 64), "to stand once");
    STELLA_TRY_VOID(add(filter, std::string_view(name).substr(0, 64), value));
  }
  if (filter.from && filter.to && *filter.from >= *filter.to) return wrong("to", "an instant after from");
  if (filter.from_index && filter.order != Order::kLog) return wrong("from_index", "order=log");
  return filter;
}

}  // namespace stella::timeline
