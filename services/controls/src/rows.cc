// The tenant's row and the events of its changes.
#include <algorithm>

#include "config_events.h"
#include "stella/contracts/events.h"
#include "stella/services/controls.h"
#include "stella/timeline/emit.h"

namespace stella::controls {
namespace {

using timeline::event_of;

Result<void> tell_levels(pg::TenantTx& tx, const std::string& name, const json::Value& from, const json::Value& to, TraceId trace) {
  for (auto& [was, is] : detail::differing(from, to)) STELLA_TRY_VOID(timeline::emit(tx, detail::config_event(name, std::move(was), std::move(is), trace)));
  return {};
}

// Locks the row. Deep debug whose time is over and that no round of a watcher has ended yet: its event comes before those of what is written now, for
// a row written anew does not say any more that it was there.
Result<void> end_what_is_over(pg::TenantTx& tx, TraceId trace) {
  const auto row = STELLA_TRY(tx.query("SELECT coalesce(deep_debug_until <= now(), false), to_json(deep_debug)::text FROM telemetry_settings WHERE tenant_id = $1 FOR UPDATE", {tx.tenant()}));
  if (row.empty() || !row.boolean(0, 0)) return {};
  timeline::Event event = event_of(contracts::events::kDeepDebugExpired, "tenant", tx.tenant().str(), trace, json::Value::object({{"classes", STELLA_TRY(json::parse(row.text(0, 1)))}}));
  event.actor = "system:telemetry";  // time did
  STELLA_TRY_VOID(timeline::emit(tx, std::move(event)));
  return {};
}

Result<Stored> stored_of(const pg::Rows& rows) {
  Stored out;
  if (rows.empty()) return out;
  const json::Value value = STELLA_TRY(json::parse(rows.text(0, 0)));
  out.controls = from_json(value);
  out.updated_by = std::string(rows.text(0, 1));
  out.updated_at = rows.timestamp(0, 2);
  return out;
}

constexpr std::string_view kRead = "SELECT " STELLA_SQL_CONTROLS("t.tenant_id") ", t.updated_by, t.updated_at FROM telemetry_settings t WHERE t.tenant_id = $1";

// With the levels whose time is over and that are not yet ended, without such deep debug.
Result<Stored> read_row(pg::TenantTx& tx) {
  const auto rows = STELLA_TRY(tx.query(kRead, {tx.tenant()}));
  return stored_of(rows);
}

}  // namespace

Result<Stored> read(pg::TenantTx& tx) {
  Stored stored = STELLA_TRY(read_row(tx));
  std::erase_if(stored.controls.temporary_levels, [now = Timestamp::now()](const auto& one) { return one.second.until <= now; });
  return stored;
}

Result<Stored> change(pg::TenantTx& tx, const Change& change, TraceId trace) {
  // The row first, so that two changes at once follow each other.
  STELLA_TRY_VOID(tx.query("INSERT INTO telemetry_settings (tenant_id, updated_by) VALUES ($1, $2) ON CONFLICT DO NOTHING", {tx.tenant(), tx.actor()}));
  STELLA_TRY_VOID(end_what_is_over(tx, trace));
  const Stored before = STELLA_TRY(read_row(tx));
  Controls after = before.controls;
  if (change.levels) after.levels = *change.levels;
  if (change.sampling) after.sampling = *change.sampling;
  const Timestamp now = Timestamp::now();
  if (change.temporary_levels) {
    if (change.temporary_levels->levels.empty()) after.temporary_levels.clear();
    for (const auto& [module, level] : change.temporary_levels->levels) after.temporary_levels.insert_or_assign(module, TemporaryLevel{level, now + change.temporary_levels->ttl});
    if (after.temporary_levels.size() > kMostModules)
      return Error(base_errors::kInvalid, "a member of the body is not acceptable").with("field", std::string("temporary_levels.levels")).with("expected", "at most " + std::to_string(kMostModules) + " modules with those that hold already");
  }
  if (change.deep_debug) {
    if (change.deep_debug->kinds.empty()) after.deep_debug.reset();
    else after.deep_debug = DeepDebug{change.deep_debug->kinds, now + change.deep_debug->ttl};
  }
  const json::Value was = to_json(before.controls), is = to_json(after);
  std::vector<std::string> classes;
  if (after.deep_debug)
    for (const json::Value& name : class_names(after.deep_debug->kinds)) classes.push_back(name.as_string());
  STELLA_TRY_VOID(tx.query("UPDATE telemetry_settings SET levels = $2, sampling = $3, deep_debug = $4, deep_debug_until = $5, updated_at = now(), updated_by = $6, temporary_levels = $7 WHERE tenant_id = $1",
                           {tx.tenant(), pg::Param::json(json::dump(*is.find("levels"))), after.sampling ? pg::Param(*after.sampling) : pg::Param(nullptr), pg::Param::text_array(classes),
                            after.deep_debug ? pg::Param(after.deep_debug->until) : pg::Param(nullptr), tx.actor(), pg::Param::json(json::dump(*is.find("temporary_levels")))}));
  if (before.controls.levels != after.levels) STELLA_TRY_VOID(tell_levels(tx, "telemetry.levels", *was.find("levels"), *is.find("levels"), trace));
  if (before.controls.temporary_levels != after.temporary_levels)
    STELLA_TRY_VOID(tell_levels(tx, "telemetry.temporary_levels", *was.find("temporary_levels"), *is.find("temporary_levels"), trace));
  if (before.controls.sampling != after.sampling) STELLA_TRY_VOID(timeline::emit(tx, detail::config_event("telemetry.sampling", json::dump(*was.find("sampling")), json::dump(*is.find("sampling")), trace)));
  if (change.deep_debug && after.deep_debug)
    STELLA_TRY_VOID(timeline::emit(tx, event_of(contracts::events::kDeepDebugEnabled, "tenant", tx.tenant().str(), trace,
                                                json::Value::object({{"classes", class_names(after.deep_debug->kinds)}, {"until", after.deep_debug->until.rfc3339()}, {"reason", change.deep_debug->reason}}))));
  if (change.deep_debug && !after.deep_debug && before.controls.deep_debug)
    STELLA_TRY_VOID(timeline::emit(tx, event_of(contracts::events::kDeepDebugExpired, "tenant", tx.tenant().str(), trace,
                                                json::Value::object({{"classes", class_names(before.controls.deep_debug->kinds)}}))));
  return read(tx);
}

}  // namespace stella::controls
