// Builds the SQL of a page. Under row-level security only leakproof comparisons use an index: equality and order of text, uuid and
// timestamptz. So prefixes are ranges, kinds are resolved before, and alternatives are arms of a union, each bounded by the limit.
#include "statement.h"

#include <algorithm>
#include <charconv>

#include "component.h"
#include "stella/base/encoding.h"
#include "stella/contracts/catalogue.h"

namespace stella::timeline {
namespace {

// Up to so many kinds get an arm each, so that a rare kind costs no scan of the others.
constexpr std::size_t kKindArms = 12;

class Builder {
 public:
  std::string bind(pg::Param param) {
    params_.push_back(std::move(param));
    return "$" + std::to_string(params_.size());
  }
  std::vector<pg::Param> take() { return std::move(params_); }

 private:
  std::vector<pg::Param> params_;
};

// What every arm tests beside its own condition, over `timeline_events e`.
struct Common {
  std::string events;     // conditions on e
  std::string related;    // of these, what holds for timeline_event_resources r: window and position
};

Common common_conditions(Builder& b, const Filter& f, const Position& p, const std::optional<Timestamp>& from) {
  Common c;
  auto window = [&c](std::string_view comparison) {
    c.events += " AND e.ts " + std::string(comparison);
    c.related += " AND r.ts " + std::string(comparison);
  };
  if (from) window(">= " + b.bind(*from));
  if (f.to) window("< " + b.bind(*f.to));
  if (p.after) {
    const std::string ts = b.bind(p.after->first), id = b.bind(p.after->second);
    window("<= " + ts);  // prunes partitions, which a row comparison does not
    c.events += " AND (e.ts, e.event_id) < (" + ts + "::timestamptz, " + id + "::uuid)";
    c.related += " AND (r.ts, r.event_id) < (" + ts + "::timestamptz, " + id + "::uuid)";
  }
  if (f.project) c.events += " AND e.project_id = " + b.bind(*f.project);
  if (!f.actor.empty()) c.events += " AND e.actor = " + b.bind(f.actor);
  if (!f.trace.empty()) c.events += " AND e.trace_id = " + b.bind(f.trace);
  if (!f.q.empty()) c.events += " AND strpos(lower(e.details_jsonb::text), lower(" + b.bind(f.q) + ")) > 0";
  return c;
}

std::string id_condition(Builder& b, const std::string& column, const std::string& id, bool prefix) {
  if (!prefix) return " AND " + column + " = " + b.bind(id);
  if (id.empty()) return "";
  // The database sorts by bytes: everything with the prefix lies before prefix + the last code point.
  return " AND " + column + " >= " + b.bind(id) + " AND " + column + " < " + b.bind(id + "\xf4\x8f\xbf\xbf");
}

std::string resource_condition(Builder& b, const ResourceFilter& r, std::string_view alias) {
  const std::string a(alias);
  return a + ".resource_type = " + b.bind(r.type) + id_condition(b, a + ".resource_id", r.id, r.prefix);
}

// What has the asked components in it: their SBOMs, the evaluations of these with exports and bundles, and the jobs of all that. "" where no
// component is asked for. Every step is a look-up in an index, and the result is found once per statement.
std::string touched_by_components(Builder& b, const Filter& f) {
  std::string components;
  for (const auto& r : f.resources) {
    if (!asks_for_component(r)) continue;
    for (const auto& part : component_parts(r))
      components += (components.empty() ? "" : " UNION ") + ("SELECT DISTINCT c.sbom_id FROM sbom_components c WHERE c.tenant_id = stella_tenant()" + id_condition(b, "c.purl", part.id, part.prefix));
  }
  if (components.empty()) return "";
  return "WITH component_sboms AS MATERIALIZED (" + components +
         "), component_evaluations AS MATERIALIZED (SELECT v.evaluation_id FROM component_sboms s JOIN evaluations v ON v.tenant_id = stella_tenant() AND v.sbom_id = s.sbom_id)"
         ", worked_on AS MATERIALIZED (SELECT 'sbom' AS type, sbom_id::text AS id FROM component_sboms"
         " UNION ALL SELECT 'evaluation', evaluation_id::text FROM component_evaluations"
         " UNION ALL SELECT 'export', x.export_id::text FROM component_evaluations v JOIN exports x ON x.tenant_id = stella_tenant() AND x.evaluation_id = v.evaluation_id"
         " UNION ALL SELECT 'bundle', k.bundle_id::text FROM component_evaluations v JOIN evidence_snapshots k ON k.tenant_id = stella_tenant() AND k.kind = 'eval'"
         " AND k.resource_id = v.evaluation_id::text)"
         ", touched AS MATERIALIZED (SELECT type, id FROM worked_on"
         " UNION ALL SELECT 'job', j.job_id::text FROM worked_on w JOIN jobs j ON j.tenant_id = stella_tenant() AND j.resource_type = w.type AND j.resource_id = w.id) ";
}

// The events of these kinds are about one of the resources that touched_by_components knows: nothing is found by another resource alone.
bool about_touched_only(const Filter& f) {
  static constexpr std::string_view kTypes[] = {"sbom", "evaluation", "export", "job"};
  return !f.kinds.empty() && std::all_of(f.kinds.begin(), f.kinds.end(), [](const std::string& name) {
    const auto* kind = contracts::find_event(name);
    return kind != nullptr && std::all_of(kind->resource_types.begin(), kind->resource_types.end(),
                                          [](std::string_view type) { return std::find(std::begin(kTypes), std::end(kTypes), type) != std::end(kTypes); });
  });
}

std::string kinds_any(Builder& b, const Filter& f) { return f.kinds.empty() ? "" : " AND e.kind = ANY(" + b.bind(pg::Param::text_array(f.kinds)) + "::text[])"; }

constexpr std::string_view kOrderTime = " ORDER BY ts DESC, event_id DESC LIMIT ";

constexpr std::string_view kSelect = "(SELECT e.ts, e.event_id, e.kind, e.digest FROM timeline_events e WHERE e.tenant_id = stella_tenant()";
constexpr std::string_view kRelated =
    "e.ts, e.event_id, e.kind, e.digest FROM timeline_event_resources r JOIN timeline_events e"
    " ON e.tenant_id = r.tenant_id AND e.ts = r.ts AND e.event_id = r.event_id WHERE r.tenant_id = stella_tenant() AND ";

// What the filter names, a component under each spelling that it stands for.
std::vector<ResourceFilter> named_resources(const Filter& f) {
  std::vector<ResourceFilter> out;
  for (const auto& r : f.resources) {
    if (!asks_for_component(r)) out.push_back(r);
    else
      for (auto& part : component_parts(r)) out.push_back(std::move(part));
  }
  return out;
}

// The newest of each touched resource, and of these the newest; once each, for an event names several.
void add_touched_arms(std::vector<std::string>& arms, const Filter& f, const Common& c, const std::string& kinds, const std::string& limit) {
  const auto each = [&](const std::string& newest) {
    arms.push_back("(SELECT DISTINCT n.ts, n.event_id, n.kind, n.digest FROM touched t CROSS JOIN LATERAL " + newest + std::string(kOrderTime) + limit + ") n" + std::string(kOrderTime) + limit + ")");
  };
  each(std::string(kSelect) + " AND e.resource_type = t.type AND e.resource_id = t.id" + kinds + c.events);
  if (!about_touched_only(f)) each("(SELECT " + std::string(kRelated) + "r.resource_type = t.type AND r.resource_id = t.id" + c.related + kinds + c.events);
}

// Arms select (ts, event_id, kind, digest) of candidates in time order.
std::vector<std::string> time_arms(Builder& b, const Filter& f, const Common& c, const std::string& limit, bool components) {
  std::vector<std::string> arms;
  auto arm = [&](const std::string& condition) {
    arms.push_back(std::string(kSelect) + condition + c.events + std::string(kOrderTime) + limit + ")");
  };
  if (!f.resources.empty()) {
    const std::string kinds = kinds_any(b, f);
    for (const auto& r : named_resources(f)) {
      arm(" AND " + resource_condition(b, r, "e") + kinds);
      // An event may have many resources with the prefix and counts once toward the limit. An exact one it has once: no sort where none is needed.
      arms.push_back((r.prefix ? "(SELECT DISTINCT " : "(SELECT ") + std::string(kRelated) + resource_condition(b, r, "r") + c.related + kinds + c.events + std::string(kOrderTime) + limit + ")");
    }
    if (components) add_touched_arms(arms, f, c, kinds, limit);
  } else if (f.kinds.size() > 1 && f.kinds.size() <= kKindArms && f.trace.empty()) {
    for (const auto& kind : f.kinds) arm(" AND e.kind = " + b.bind(kind));
  } else if (f.kinds.size() == 1) {
    arm(" AND e.kind = " + b.bind(f.kinds.front()));
  } else {
    arm(kinds_any(b, f));
  }
  return arms;
}

std::string time_statement(Builder& b, const Filter& f, const Common& c, const std::string& limit) {
  const std::string touched = touched_by_components(b, f);
  const auto arms = time_arms(b, f, c, limit, !touched.empty());
  std::string candidates;
  for (const auto& arm : arms) candidates += (candidates.empty() ? "" : " UNION ") + arm;
  std::string sql = touched + "SELECT p.event_id, p.ts, p.kind, p.digest, l.log_index, l.entry FROM (";
  sql += arms.size() == 1 ? candidates.substr(1, candidates.size() - 2)
                          : "SELECT * FROM (" + candidates + ") AS u" + std::string(kOrderTime) + limit;
  sql += ") AS p LEFT JOIN timeline_log l ON l.tenant_id = stella_tenant() AND l.event_id = p.event_id ORDER BY p.ts DESC, p.event_id DESC";
  return sql;
}

std::string log_statement(Builder& b, const Filter& f, const Position& p, const Common& c, const std::string& limit) {
  const std::string index = b.bind(p.index.value_or(0));
  const std::string touched = touched_by_components(b, f);
  std::string sql = touched + "SELECT l.event_id, e.ts, e.kind, e.digest, l.log_index, l.entry FROM timeline_log l ";
  sql += f.filtered() ? "JOIN" : "LEFT JOIN";
  sql += " timeline_events e ON e.tenant_id = stella_tenant() AND e.event_id = l.event_id WHERE l.tenant_id = stella_tenant() AND l.log_index >= " + index;
  if (f.filtered()) {
    sql += kinds_any(b, f) + c.events;
    std::string any;
    for (const auto& r : named_resources(f)) {
      any += (any.empty() ? " AND (" : " OR ") + ("(" + resource_condition(b, r, "e") + ")") +
             " OR EXISTS (SELECT 1 FROM timeline_event_resources r WHERE r.tenant_id = stella_tenant() AND r.ts = e.ts"
             " AND r.event_id = e.event_id AND " + resource_condition(b, r, "r") + ")";
    }
    if (!touched.empty()) {
      any += " OR (e.resource_type, e.resource_id) IN (SELECT type, id FROM touched)";
      if (!about_touched_only(f))
        any += " OR e.event_id IN (SELECT r.event_id FROM touched t JOIN timeline_event_resources r ON r.tenant_id = stella_tenant() AND r.resource_type = t.type AND r.resource_id = t.id" + c.related + ")";
    }
    if (!any.empty()) sql += any + ")";
  }
  return sql + " ORDER BY l.log_index LIMIT " + limit;
}

int limit_step(int wanted) {
  for (const int step : {11, 51, 101, 201})
    if (wanted <= step) return step;
  return kPageMax + 1;
}

Error bad_cursor() { return Error(base_errors::kInvalid, "not a cursor of this list").with("field", "cursor").with("expected", "next_cursor of the page before"); }

Result<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto end = std::from_chars(text.data(), text.data() + text.size(), value);
  // One spelling per number.
  if (end.ec != std::errc() || end.ptr != text.data() + text.size() || std::to_string(value) != text) return bad_cursor();
  return value;
}

}  // namespace

pg::Query page_statement(const Filter& filter, const Position& position, const std::optional<Timestamp>& from) {
  Builder b;
  const Common c = common_conditions(b, filter, position, from);
  // A literal: a generic plan takes a bound limit for a tenth of the table and reads all of it. Few steps keep the texts few.
  const std::string limit = std::to_string(limit_step(filter.limit + 1));  // one more tells whether there is another page
  std::string sql = filter.order == Order::kTime ? time_statement(b, filter, c, limit) : log_statement(b, filter, position, c, limit);
  return {sql, b.take()};
}

std::string encode_cursor(const Position& position) {
  if (position.index) return base64url_encode("l" + std::to_string(*position.index));
  return base64url_encode("t" + std::to_string(position.after->first.micros()) + "." + position.after->second.str());
}

Result<Position> decode_cursor(std::string_view cursor, Order order) {
  if (cursor.size() > 128) return bad_cursor();
  auto text = base64_decode(cursor);
  if (!text || base64url_encode(*text) != cursor || text->empty()) return bad_cursor();
  const std::string_view rest = std::string_view(*text).substr(1);
  Position position;
  if (text->front() == 'l' && order == Order::kLog) {
    position.index = STELLA_TRY(number(rest));
    if (*position.index < 0) return bad_cursor();
    return position;
  }
  const auto dot = rest.find('.');
  if (text->front() != 't' || order != Order::kTime || dot == rest.npos) return bad_cursor();
  const std::int64_t micros = STELLA_TRY(number(rest.substr(0, dot)));
  // What PostgreSQL can compare and RFC 3339 can write: years 1970 to 9999.
  if (micros < 0 || micros > 253'402'300'799'999'999) return bad_cursor();
  auto id = EventId::parse(rest.substr(dot + 1));
  if (!id || id->str() != rest.substr(dot + 1)) return bad_cursor();
  position.after = {Timestamp::from_micros(micros), *id};
  return position;
}

}  // namespace stella::timeline
