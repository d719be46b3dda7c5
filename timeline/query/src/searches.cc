// Counts per tenant; one without a search leaves nothing behind.
#include "searches.h"

#include <map>
#include <string>

#include "stella/base/sync.h"

namespace stella::timeline {
namespace {

class Searches {
 public:
  bool take(const std::string& tenant) {
    const Lock lock(mutex_);
    int& running = running_[tenant];
    if (running >= kSearchesPerTenant) return false;
    ++running;
    return true;
  }
  void release(const std::string& tenant) {
    const Lock lock(mutex_);
    if (const auto it = running_.find(tenant); it != running_.end() && --it->second == 0) running_.erase(it);
  }

 private:
  Mutex mutex_;
  std::map<std::string, int> running_ STELLA_GUARDED_BY(mutex_);
};

// Never destroyed: a request may end after the process began to.
Searches& searches() {
  static auto& all = *new Searches;
  return all;
}

}  // namespace

std::shared_ptr<void> take_search(const TenantId& tenant) {
  if (!searches().take(tenant.str())) return nullptr;
  return std::shared_ptr<void>(&searches(), [name = tenant.str()](Searches* all) { all->release(name); });
}

}  // namespace stella::timeline
