// TenantScope: the proof that somebody was authorised to act for a tenant. It can be made by services/authority alone.
#pragma once

#include <string>
#include <string_view>
#include <utility>

#include "stella/base/ids.h"

namespace stella::authority {
class ScopeMaker;  // the one maker; services/authority
}

namespace stella::testing {
class TestScope;  // tests/testing only; the repository linter refuses the name elsewhere
}  // namespace stella::testing

namespace stella {

// Reserved tenants: `global` owns the public knowledge base, `platform` the events of the platform itself.
inline constexpr std::string_view kGlobalTenant = "global";
inline constexpr std::string_view kPlatformTenant = "platform";
inline bool is_reserved_tenant(std::string_view id) { return id == kGlobalTenant || id == kPlatformTenant; }

// An authorised right to read and write one tenant's data, for one request. Every function that touches tenant data takes
// one first. Copyable, immutable, thread-safe.
class TenantScope {
 public:
  const TenantId& tenant() const { return tenant_; }
  // Opaque id of the principal ("user:<uuid>", "service:<uuid>"): never a name or an address.
  const std::string& actor() const { return actor_; }
  const DecisionId& decision() const { return decision_; }

 private:
  friend class authority::ScopeMaker;
  friend class testing::TestScope;
  TenantScope(TenantId tenant, std::string actor, DecisionId decision)
      : tenant_(std::move(tenant)), actor_(std::move(actor)), decision_(decision) {}
  TenantId tenant_;
  std::string actor_;
  DecisionId decision_;
};

}  // namespace stella
