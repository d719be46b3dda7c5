// The daily probe of the store's locks, on the platform's timeline.
#include "worm_watch.h"

#include "locker_event.h"
#include "stella/contracts/events.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/work.h"
#include "stella/tenancy/paths.h"
#include "stella/tenancy/scope.h"
#include "stella/timeline/emit.h"

namespace stella::evidence {
namespace {

constexpr telemetry::Logger kLog{"evidence.locker"};

}  // namespace

Result<void> WormWatch::look(pg::SystemPool<pg::LockerRole>& pool, objects::Store& store) {
  if (!due_.passed()) return {};
  auto done = telemetry::in_work(contracts::work::kEvidenceProbe, {}, [&](telemetry::Work&) { return probe(pool, store); });
  due_ = Deadline::after(done ? std::chrono::duration_cast<std::chrono::milliseconds>(every_) : std::chrono::milliseconds(60'000));
  return done;
}

Result<void> WormWatch::probe(pg::SystemPool<pg::LockerRole>& pool, objects::Store& store) {
  const objects::WormReport report = STELLA_TRY(store.worm_probe());
  const TenantId platform = STELLA_TRY(TenantId::parse(kPlatformTenant));
  // Seals carry its digest only: whoever wants to know what was tried finds it by that.
  STELLA_TRY_VOID(store.put(object_key::object(platform, report.digest), report.transcript));
  auto tx = STELLA_TRY(pg::SystemTx<pg::LockerRole>::open(pool));
  json::Value details = json::Value::object({{"store", store_name_},
                                             {"worm", report.level >= objects::WormLevel::kGovernance},
                                             {"level", objects::to_string(report.level)},
                                             {"create_only", report.create_only},
                                             {"transcript_sha256", report.digest.hex()},
                                             {"outputs", json::Value::array({json::Value::object({{"name", "transcript"}, {"sha256", report.digest.hex()}})})}});
  STELLA_TRY_VOID(timeline::emit(tx, platform, locker_event(contracts::events::kStoreProbed, "store", store_name_, std::move(details))));
  STELLA_TRY_VOID(tx.commit());
  if (seen_ && seen_->level != report.level) kLog.warn("the store keeps locked objects differently than a day ago: see store.probed");
  seen_ = Seen{report.level, report.digest};
  return {};
}

}  // namespace stella::evidence
