// stellad --destroy-tenant-key and --rotate-tenant-key: for whoever runs the machine. The plan of a destruction is made here, under the rules of every
// deletion; the server carries it out. A new version is made here and now, and the server takes it within seconds.
#include <cstdio>
#include <memory>

#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/evidence/locker/keeper.h"
#include "stellad.h"

namespace stella::stellad {
namespace {

// A keeper that knows the keys of tenants, with what it works on.
class KeyKeeper {
 public:
  static Result<KeyKeeper> open(const config::Settings& settings) {
    KeyKeeper out;
    const pg::PoolOptions login = STELLA_TRY(pool_options(settings, "stella_locker"));
    out.pool_ = std::make_unique<pg::SystemPool<pg::LockerRole>>(login);
    out.store_ = STELLA_TRY(open_store(settings));
    evidence::KeeperOptions options;
    options.tenant_keys = STELLA_TRY(open_tenant_keys(settings));
    out.keeper_ = std::make_unique<evidence::Keeper>(*out.pool_, *out.store_, std::move(options));
    return out;
  }
  evidence::Keeper* operator->() const { return keeper_.get(); }

 private:
  KeyKeeper() = default;
  std::unique_ptr<pg::SystemPool<pg::LockerRole>> pool_;
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<evidence::Keeper> keeper_;
};

}  // namespace

Result<void> plan_key_destruction(const config::Settings& settings, const Arguments& arguments) {
  const TenantId tenant = STELLA_TRY(TenantId::parse(arguments.destroy_tenant_key));
  const KeyKeeper keeper = STELLA_TRY(KeyKeeper::open(settings));
  const evidence::Disposition planned = STELLA_TRY(keeper->plan_key(tenant, arguments.reason));
  if (planned.state == evidence::Disposition::kRefused)
    return Error(contracts::errors::kConflict, "this tenant's key is needed; the refusal is on its timeline").with("tenant", tenant.str()).with("reason", planned.reason);
  std::printf("%s\n", json::dump(json::Value::object({{"tenant_id", tenant.str()}, {"state", "planned"}})).c_str());
  return {};
}

Result<void> rotate_tenant_key(const config::Settings& settings, const Arguments& arguments) {
  const TenantId tenant = STELLA_TRY(TenantId::parse(arguments.rotate_tenant_key));
  const KeyKeeper keeper = STELLA_TRY(KeyKeeper::open(settings));
  const std::string key = STELLA_TRY(keeper->rotate_key(tenant, arguments.reason));
  std::printf("%s\n", json::dump(json::Value::object({{"tenant_id", tenant.str()}, {"key_id", key}, {"state", "active"}})).c_str());
  return {};
}

}  // namespace stella::stellad
