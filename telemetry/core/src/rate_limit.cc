// The buckets.
#include "rate_limit.h"

#include <algorithm>

namespace stella::telemetry {

bool RateLimit::take(std::string_view tenant, std::int64_t ns) {
  if (off()) return true;
  auto found = buckets_.find(tenant);
  if (found == buckets_.end()) {
    if (buckets_.size() >= kTenants) {
      std::erase_if(buckets_, [&](const auto& b) { return b.second.lost == 0 && b.second.tokens + static_cast<double>(ns - b.second.at) * rate_ >= burst_; });
      if (buckets_.size() >= kTenants) return true;  // more busy tenants than this are no reason to lose lines
    }
    found = buckets_.emplace(std::string(tenant), Bucket{burst_, ns, 0, 0}).first;
  }
  Bucket& b = found->second;
  if (ns < b.at - kSetBack) b.at = ns;  // a clock that was set back; records of other threads are that late at most
  if (ns > b.at) {
    b.tokens = std::min(burst_, b.tokens + static_cast<double>(ns - b.at) * rate_);
    b.at = ns;
  }
  if (b.tokens >= 1) {
    b.tokens -= 1;
    return true;
  }
  if (b.lost++ == 0) {
    ++biting_;
    b.told = ns;
  }
  return false;
}

std::vector<RateLimit::Bite> RateLimit::due(std::int64_t ns, bool all) {
  std::vector<Bite> bites;
  if (biting_ == 0) return bites;
  for (auto& [tenant, b] : buckets_) {
    if (b.lost == 0 || (!all && ns >= b.told && ns - b.told < kEvery)) continue;
    bites.push_back({tenant, b.lost});
    b.lost = 0;
    --biting_;
  }
  return bites;
}

}  // namespace stella::telemetry
