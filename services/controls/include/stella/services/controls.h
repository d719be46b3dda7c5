// The tenants' rows of run-time controls of telemetry: read, changed with their events, and put into force in a process that has a database.
#pragma once

#include <chrono>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/base/time.h"
#include "stella/platform/pg.h"
#include "stella/telemetry/controls.h"

namespace stella::controls {

struct Stored {
  Controls controls;
  std::string updated_by;             // "" where nothing was ever changed
  std::optional<Timestamp> updated_at;
};
// What holds now: temporary levels whose time is over are left out.
Result<Stored> read(pg::TenantTx& tx);
// Writes the row and one event per thing that really changed (config.changed, deep_debug.enabled, deep_debug.expired).
Result<Stored> change(pg::TenantTx& tx, const Change& change, TraceId trace);

// Keeps this process at what the rows say.
class Watcher {
 public:
  // Reads at once, then every `interval`. `expires`: also ends, with their events, deep debug and log levels whose time is over.
  Watcher(pg::SystemPool<pg::TelemetryRole>& pool, std::chrono::milliseconds interval, bool expires);
  ~Watcher() { rounds_.stop(); }
  Watcher(const Watcher&) = delete;
  // One look; for tests.
  Result<void> look();

 private:
  Result<void> expire();
  Result<void> expire_levels();
  pg::SystemPool<pg::TelemetryRole>& pool_;
  const bool expires_;
  std::map<std::string, Controls, std::less<>> applied_;  // the thread's
  bool told_ = false;                                     // likewise; of trouble
  Rounds rounds_;
};

// SQL of a tenant's row as text for from_json; `tenant` is the SQL of its id.
#define STELLA_SQL_CONTROLS(tenant)                                                                                                               \
  "(SELECT json_build_object('levels', s.levels, 'temporary_levels', s.temporary_levels, 'sampling', s.sampling, 'deep_debug', CASE WHEN s.deep_debug_until > now() THEN "                \
  "json_build_object('classes', s.deep_debug, 'until', to_char(s.deep_debug_until AT TIME ZONE 'UTC', 'YYYY-MM-DD\"T\"HH24:MI:SS.US\"Z\"')) END)::text " \
  "FROM telemetry_settings s WHERE s.tenant_id = " tenant ")"

}  // namespace stella::controls
