// Levels: one number for the common case, a table of rules for the rest.
#include <algorithm>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>

#include "levels.h"
#include "stella/telemetry/level_times.h"
#include "stella/telemetry/reclaim.h"

namespace stella::telemetry {
namespace detail {

constinit std::atomic<Level> g_level{Level::kInfo};
constinit std::atomic<bool> g_level_rules{false};

namespace {

using ByModule = std::map<std::string, Level, std::less<>>;
struct Rules {
  Level process = Level::kInfo;
  ByModule modules;
  // Each tenant's are made anew where they change; tables share the others.
  std::map<std::string, std::shared_ptr<const TenantLevels>, std::less<>> tenants;
  friend bool operator==(const Rules& a, const Rules& b) {
    return a.process == b.process && a.modules == b.modules &&
           std::equal(a.tenants.begin(), a.tenants.end(), b.tenants.begin(), b.tenants.end(),
                      [](const auto& x, const auto& y) { return x.first == y.first && (x.second == y.second || *x.second == *y.second); });
  }
};

struct Holder {
  std::mutex mutex;  // writers
  Retired retired;
  std::uint64_t made = 0;
};
Holder& holder() {
  static Holder& h = *new Holder;
  return h;
}
constinit std::atomic<const Rules*> g_rules{nullptr};

template <class F>
void change(F&& f) {
  Holder& h = holder();
  const std::lock_guard lock(h.mutex);
  const Rules* old = g_rules.load();
  auto rules = old != nullptr ? std::make_unique<Rules>(*old) : std::make_unique<Rules>();
  f(*rules);
  if (*rules == (old != nullptr ? *old : Rules())) return;  // each job of a runner says what its tenant's levels are
  Level least = rules->process;
  for (const auto& [module, level] : rules->modules) least = std::min(least, level);
  for (const auto& [tenant, own] : rules->tenants) {
    for (const auto& [module, level] : own->levels) least = std::min(least, level);
    for (const auto& [module, one] : own->temporary) least = std::min(least, one.level);
  }
  const bool any = !rules->modules.empty() || !rules->tenants.empty();
  g_rules.store(rules.release());
  g_level_rules.store(any, std::memory_order_release);
  g_level.store(least, std::memory_order_release);
  ++h.made;
  h.retired.add(std::unique_ptr<const Rules>(old));
}

// The rules of one tenant, changed in a copy of their own.
template <class F>
void change_tenant(std::string_view tenant, F&& f) {
  change([&](Rules& rules) {
    const auto it = rules.tenants.find(tenant);
    auto own = it != rules.tenants.end() ? std::make_shared<TenantLevels>(*it->second) : std::make_shared<TenantLevels>();
    f(*own);
    rules.tenants.insert_or_assign(std::string(tenant), std::move(own));
  });
}

}  // namespace

bool passes_rules(Level level, std::string_view module, std::string_view tenant) { return level >= level_of(module, tenant); }

}  // namespace detail

Level level_of(std::string_view module, std::string_view tenant) {
  const Reading reading;
  const auto* rules = detail::g_rules.load();
  if (rules == nullptr) return Level::kInfo;
  const auto find = [](const auto& map, std::string_view key) -> const Level* {
    const auto it = map.find(key);
    return it == map.end() ? nullptr : &it->second;
  };
  if (const auto it = rules->tenants.find(tenant.empty() ? std::string_view("platform") : tenant); it != rules->tenants.end()) {
    const TenantLevels& own = *it->second;
    if (!own.temporary.empty()) {
      const Timestamp now = Timestamp::now();
      for (const std::string_view name : {module, std::string_view("*")}) {
        if (const auto one = own.temporary.find(name); one != own.temporary.end() && now < one->second.until) return one->second.level;
      }
    }
    if (const Level* level = find(own.levels, module)) return *level;
    if (const Level* level = find(own.levels, "*")) return *level;
  }
  if (const Level* level = find(rules->modules, module)) return *level;
  return rules->process;
}

void set_level(Level level) {
  detail::change([&](auto& rules) { rules.process = level; });
}
void set_module_level(std::string_view module, Level level) {
  detail::change([&](auto& rules) { rules.modules.insert_or_assign(std::string(module), level); });
}
void clear_module_level(std::string_view module) {
  detail::change([&](auto& rules) { rules.modules.erase(std::string(module)); });
}
void set_tenant_level(std::string_view tenant, std::string_view module, Level level) {
  detail::change_tenant(tenant, [&](TenantLevels& own) { own.levels.insert_or_assign(std::string(module), level); });
}
void set_tenant_level(std::string_view tenant, std::string_view module, Level level, Timestamp until) {
  detail::change_tenant(tenant, [&](TenantLevels& own) { own.temporary.insert_or_assign(std::string(module), TemporaryLevel{level, until}); });
}
void set_tenant_levels(std::string_view tenant, TenantLevels levels) {
  detail::change([&](auto& rules) {
    if (levels == TenantLevels()) rules.tenants.erase(std::string(tenant));
    else rules.tenants.insert_or_assign(std::string(tenant), std::make_shared<const TenantLevels>(std::move(levels)));
  });
}
void clear_tenant_levels(std::string_view tenant) {
  detail::change([&](auto& rules) { rules.tenants.erase(std::string(tenant)); });
}
Tables level_tables() {
  auto& h = detail::holder();
  const std::lock_guard lock(h.mutex);
  return {h.made, h.retired.size()};
}

}  // namespace stella::telemetry
