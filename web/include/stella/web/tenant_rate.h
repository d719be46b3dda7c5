// How often a tenant may do a thing.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <string>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/base/time.h"
#include "stella/contracts/errors.h"

namespace stella::web {

// At most `most` within `span`, counted in this process. Thread-safe; remembers only who did it lately.
class TenantRate {
 public:
  TenantRate(std::size_t most, std::chrono::seconds span) : most_(most), span_(span) {}

  // kRateLimited where the tenant did it as often as it may.
  Result<void> may(const TenantId& tenant, Literal message, Timestamp now = Timestamp::now()) {
    const Lock lock(mutex_);
    forget(now);
    const auto it = done_.find(tenant.str());
    if (it == done_.end() || it->second.size() < most_) return {};
    const auto wait = std::chrono::ceil<std::chrono::seconds>(std::chrono::microseconds((it->second.front() + span_).micros() - now.micros()));
    return Error(contracts::errors::kRateLimited, message).with("limit", most_).with("retry_after", static_cast<std::uint64_t>(std::max<std::int64_t>(1, wait.count())));
  }
  // It was done.
  void count(const TenantId& tenant, Timestamp now = Timestamp::now()) {
    const Lock lock(mutex_);
    done_[std::string(tenant.str())].push_back(now);
  }

 private:
  void forget(Timestamp now) STELLA_REQUIRES(mutex_) {
    for (auto& [tenant, times] : done_) std::erase_if(times, [&](Timestamp t) { return t + span_ <= now; });
    std::erase_if(done_, [](const auto& one) { return one.second.empty(); });
  }
  const std::size_t most_;
  const std::chrono::seconds span_;
  Mutex mutex_;
  std::map<std::string, std::vector<Timestamp>, std::less<>> done_ STELLA_GUARDED_BY(mutex_);  // oldest first
};

}  // namespace stella::web
