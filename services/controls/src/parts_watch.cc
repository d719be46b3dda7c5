// From looks to changes, from changes to events of the tenant `platform`.
#include "stella/services/parts_watch.h"

#include <algorithm>

#include "stella/base/encoding.h"
#include "stella/contracts/events.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/scope.h"
#include "stella/timeline/emit.h"

namespace stella::controls {
namespace {

constexpr std::string_view kService = "stellad";
constexpr std::size_t kReasonBytes = 200;

}  // namespace

void PartsWatch::note(const Parts& parts, Timestamp now) {
  const Lock lock(mutex_);
  for (const auto& [part, problem] : parts) {
    const bool good = problem.empty();
    const auto known = states_.find(part);
    if (known == states_.end()) {
      if (good) states_.emplace(part, State{true, now});
      continue;
    }
    State& state = known->second;
    if (state.good == good) continue;
    changes_.push_back({++noted_, part, std::string(clip_utf8(problem, kReasonBytes)), std::chrono::milliseconds(std::max<std::int64_t>(0, (now.micros() - state.since.micros()) / 1000))});
    state = {good, now};
  }
  if (changes_.size() > kKept) changes_.erase(changes_.begin(), changes_.end() - kKept);
}

std::size_t PartsWatch::waiting() const {
  const Lock lock(mutex_);
  return changes_.size();
}

Result<void> PartsWatch::tell(pg::SystemPool<pg::TelemetryRole>& pool) {
  std::vector<Change> changes;
  {
    const Lock lock(mutex_);
    changes = changes_;
  }
  if (changes.empty()) return {};
  STELLA_TRY_VOID(telemetry::in_work(contracts::work::kPlatformParts, {}, [&](telemetry::Work& work) -> Result<void> {
    work.did(static_cast<std::int64_t>(changes.size()));
    std::vector<timeline::Event> events;
    for (const Change& change : changes) {
      timeline::Event event;
      event.kind = change.reason.empty() ? contracts::events::kServiceRestored : contracts::events::kServiceDegraded;
      event.actor = "system:stellad";
      event.resource_type = "service";
      event.resource_id = kService;
      event.details = json::Value::object({{"service", kService}, {"part", change.part}});
      if (change.reason.empty()) event.details.set("duration_ms", change.lasted.count());
      else event.details.set("reason", change.reason);
      events.push_back(std::move(event));
    }
    const TenantId platform = STELLA_TRY(TenantId::parse(kPlatformTenant));
    auto tx = STELLA_TRY(pg::SystemTx<pg::TelemetryRole>::open(pool));
    STELLA_TRY_VOID(timeline::emit_many(tx, platform, std::move(events)));
    return tx.commit();
  }));
  // By number, not by count: note() may have given up some of these meanwhile, and what came after them is not told yet.
  const Lock lock(mutex_);
  std::erase_if(changes_, [told = changes.back().number](const Change& change) { return change.number <= told; });
  return {};
}

}  // namespace stella::controls
