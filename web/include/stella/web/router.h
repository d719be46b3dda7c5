// The route table: method, template, scope and handler of every route. A route without a row does not exist; a row without a scope
// must say so (`kPublic`), so that none can be forgotten.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/web/context.h"

namespace stella::web {

using HandlerFn = Result<http::Response> (*)(Context&);

enum class Access : std::uint8_t {
  kPublic,    // no token
  kToken,     // any valid token
  kTenant,    // `scope` of the token's tenant
  kPlatform,  // `scope` in its #platform form
  kTenantOrGlobal,  // `scope` of the tenant; with ?global=1 the platform scope kb:write and the tenant `global`
};

// What anybody may send: it is read before we know who it is.
inline constexpr std::uint64_t kAnonymousBodyBytes = 64u << 10;

struct Route {
  std::string_view method;
  std::string_view path;     // "/sboms/:sbom_id"
  Access access = Access::kTenant;
  std::string_view scope;    // name in contracts/scopes.json
  std::uint64_t body_bytes = 1 << 20;  // of who has a token with the scope; kAnonymousBodyBytes of everybody else
  HandlerFn handler = nullptr;
  bool starts_job = false;   // 503 with part=nats while the bus is away
  bool may_take_long = false;  // always reads a whole bundle, which may have gigabytes; see Context::may_take_long()
};

// All routes, in documentation order.
std::span<const Route> routes();

struct Match {
  const Route* route = nullptr;                                // null: no such path, or not with this method
  std::string_view path;                                       // its template, also where only the method is wrong
  std::vector<std::pair<std::string, std::string>> params;
  std::string allow;                                           // methods of the path, where only the method is wrong
};
Match match(std::string_view method, std::string_view path);

}  // namespace stella::web
