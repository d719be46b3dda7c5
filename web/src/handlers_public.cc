// What needs no token: discovery, public keys, health, metrics.
#include "handlers.h"
#include "page.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/key_log.h"
#include "stella/telemetry/metrics.h"

namespace stella::web::handlers {

Result<http::Response> root(Context&) {
  http::Response response = http::Response::json(200, json::dump(json::Value::object(
      {{"name", "StellaOps Observability & Forensics"}, {"version", STELLA_VERSION}, {"health", "/readyz"}, {"openid_configuration", "/.well-known/openid-configuration"}, {"keys", "/keys"}})));
  return response;
}

Result<http::Response> openid_configuration(Context& ctx) { return http::Response::json(200, json::dump(ctx.services.authority.openid_configuration())); }

Result<http::Response> jwks(Context& ctx) { return http::Response::json(200, json::dump(ctx.services.authority.jwks())); }

Result<http::Response> list_keys(Context& ctx) {
  const auto keys = STELLA_TRY(ctx.services.provisioner.list_keys());
  json::Array items;
  for (const auto& k : keys)
    items.push_back(json::Value::object({{"key_id", k.key_id}, {"purpose", k.purpose}, {"algorithm", k.algorithm}, {"public_pem", k.public_pem}, {"state", k.state}, {"introduced_at", k.introduced_at.rfc3339()}}));
  return http::Response::json(200, json::dump(json::Value::object({{"items", std::move(items)}, {"next_cursor", nullptr}})));
}

Result<http::Response> key_history(Context& ctx) {
  http::Response response;
  response.content_type = std::string(crypto::kKeyLogType);
  response.body = STELLA_TRY(ctx.services.provisioner.key_log());
  return response;
}

// Alive: this process answers. Says nothing about the parts.
Result<http::Response> healthz(Context&) { return http::Response::json(200, "{\"status\":\"ok\"}"); }

// Ready: every part that requests need answers right now.
Result<http::Response> readyz(Context& ctx) {
  json::Value parts = json::Value::object();
  bool ready = true;
  for (const auto& [name, problem] : ctx.services.parts()) {
    parts.set(name, problem.empty() ? "ok" : problem);
    ready = ready && problem.empty();
  }
  http::Response response = http::Response::json(ready ? 200 : 503, json::dump(json::Value::object({{"status", ready ? "ready" : "not ready"}, {"parts", std::move(parts)}, {"version", STELLA_VERSION}})));
  if (!ready) response.header("Retry-After", "2");
  return response;
}

Result<http::Response> metrics(Context& ctx) {
  telemetry::Exposition exposition = telemetry::expose(ctx.request.header("accept"));
  http::Response response;
  response.content_type = std::string(exposition.content_type);
  response.header("Vary", "Accept");  // a cache between must not give Prometheus' classic format to one that asked for OpenMetrics
  response.body = std::move(exposition.body);
  return response;
}

}  // namespace stella::web::handlers
