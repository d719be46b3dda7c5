// From rows to this process, again and again.
#include "config_events.h"
#include "stella/contracts/events.h"
#include "stella/services/controls.h"
#include "stella/telemetry/work.h"
#include "stella/timeline/emit.h"

namespace stella::controls {
namespace {

constexpr telemetry::Logger kLog{"controls"};
using Tx = pg::SystemTx<pg::TelemetryRole>;

}  // namespace

Watcher::Watcher(pg::SystemPool<pg::TelemetryRole>& pool, std::chrono::milliseconds interval, bool expires) : pool_(pool), expires_(expires) {
  rounds_.start("controls", [this, interval] {
    const auto looked = look();
    if (!looked && !told_) kLog.warn("telemetry settings cannot be read, what was read before holds", {f::error(looked.error())});
    told_ = !looked;
    return interval;
  });
}

Result<void> Watcher::look() {
  const auto rows = STELLA_TRY(Tx::read(pool_, "SELECT t.tenant_id, " STELLA_SQL_CONTROLS("t.tenant_id") " FROM telemetry_settings t"));
  std::map<std::string, Controls, std::less<>> seen;
  for (int i = 0; i < rows.size(); ++i) {
    const auto value = json::parse(rows.text(i, 1));
    if (value) seen.emplace(rows.text(i, 0), from_json(*value));
  }
  for (const auto& [tenant, controls] : seen) {
    const auto before = applied_.find(tenant);
    if (before != applied_.end() && before->second == controls) continue;
    const auto id = TenantId::parse(tenant);
    if (!id) continue;
    apply(*id, controls);
    applied_.insert_or_assign(tenant, controls);
  }
  if (!expires_) return {};
  STELLA_TRY_VOID(expire());
  return expire_levels();
}

// The row's end of deep debug: the processes have ended it by themselves already.
Result<void> Watcher::expire() {
  const auto due = STELLA_TRY(Tx::read(pool_, "SELECT tenant_id FROM telemetry_settings WHERE deep_debug_until <= now()"));
  for (int i = 0; i < due.size(); ++i) {
    const TenantId tenant = STELLA_TRY(TenantId::parse(due.text(i, 0)));
    STELLA_TRY_VOID(telemetry::in_work(contracts::work::kControlsExpire, telemetry::of_tenant(tenant), [&](telemetry::Work&) -> Result<bool> {
      auto tx = STELLA_TRY(Tx::open(pool_));
      const auto row = STELLA_TRY(tx.query("SELECT to_json(deep_debug)::text FROM telemetry_settings WHERE tenant_id = $1 AND deep_debug_until <= now() FOR UPDATE SKIP LOCKED", {tenant}));
      if (row.empty()) return false;
      const json::Value classes = STELLA_TRY(json::parse(row.text(0, 0)));
      STELLA_TRY_VOID(tx.query("UPDATE telemetry_settings SET deep_debug = '{}', deep_debug_until = NULL WHERE tenant_id = $1", {tenant}));
      timeline::Event event;
      event.kind = contracts::events::kDeepDebugExpired;
      event.actor = "system:telemetry";
      event.resource_type = "tenant";
      event.resource_id = tenant.str();
      event.details = json::Value::object({{"classes", classes}});
      STELLA_TRY_VOID(timeline::emit(tx, tenant, std::move(event)));
      STELLA_TRY_VOID(tx.commit());
      return true;
    }));
  }
  return {};
}

// Likewise of log levels: what held for the tenant before holds again in every process since their time.
Result<void> Watcher::expire_levels() {
  constexpr std::string_view kDue = "SELECT tenant_id FROM telemetry_settings WHERE EXISTS (SELECT 1 FROM jsonb_each(temporary_levels) l WHERE (l.value->>'until')::timestamptz <= now())";
  const auto due = STELLA_TRY(Tx::read(pool_, kDue));
  for (int i = 0; i < due.size(); ++i) {
    const TenantId tenant = STELLA_TRY(TenantId::parse(due.text(i, 0)));
    STELLA_TRY_VOID(telemetry::in_work(contracts::work::kControlsExpire, telemetry::of_tenant(tenant), [&](telemetry::Work&) -> Result<bool> {
      auto tx = STELLA_TRY(Tx::open(pool_));
      const auto row = STELLA_TRY(tx.query("SELECT temporary_levels::text FROM telemetry_settings WHERE tenant_id = $1 FOR UPDATE SKIP LOCKED", {tenant}));
      if (row.empty()) return false;
      json::Value was = STELLA_TRY(json::parse(row.text(0, 0)));
      const json::Value from = json::Value::object({{"temporary_levels", std::move(was)}});
      Controls left = from_json(from);
      const std::size_t all = left.temporary_levels.size();
      std::erase_if(left.temporary_levels, [now = Timestamp::now()](const auto& one) { return one.second.until <= now; });
      if (left.temporary_levels.size() == all) return false;  // somebody else was faster, or gave them more time
      const json::Value left_json = temporary_json(left);
      STELLA_TRY_VOID(tx.query("UPDATE telemetry_settings SET temporary_levels = $2 WHERE tenant_id = $1", {tenant, pg::Param::json(json::dump(left_json))}));
      for (auto& [before, after] : detail::differing(*from.find("temporary_levels"), left_json)) {
        timeline::Event event = detail::config_event("telemetry.temporary_levels", std::move(before), std::move(after), {});
        event.actor = "system:telemetry";
        STELLA_TRY_VOID(timeline::emit(tx, tenant, std::move(event)));
      }
      STELLA_TRY_VOID(tx.commit());
      kLog.info("log levels that held for a time are over", {f::count(static_cast<std::int64_t>(all - left.temporary_levels.size()))});
      return true;
    }));
  }
  return {};
}

}  // namespace stella::controls
