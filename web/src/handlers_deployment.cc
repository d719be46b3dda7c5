// The proof that a tenant's checkpoint is in the deployment log, with that log's checkpoint.
#include "handlers_deployment.h"

#include <charconv>
#include <limits>
#include <optional>

#include "query_parameters.h"
#include "stella/timeline/deployment.h"
#include "stella/timeline/log/note.h"

namespace stella::web::handlers {
namespace {

// Which checkpoint of the tenant is asked for; nullopt: the newest.
Result<std::optional<std::uint64_t>> asked_size(Context& ctx) {
  for (const auto& [key, value] : STELLA_TRY(query_parameters(ctx.request.query))) {
    if (key != "size") continue;
    std::uint64_t out = 0;
    const auto r = std::from_chars(value.data(), value.data() + value.size(), out);
    if (r.ec == std::errc() && r.ptr == value.data() + value.size() && out <= std::numeric_limits<std::int64_t>::max()) return std::optional(out);
    return Error(base_errors::kInvalid, "not a size of the log").with("field", "size").with("expected", "a whole number from 1");
  }
  return std::optional<std::uint64_t>();
}

json::Value head_json(const timeline::SignedHead& head) {
  return json::Value::object({{"origin", head.origin}, {"size", head.size}, {"root", head.root.hex()}, {"checkpoint", head.note}});
}

}  // namespace

Result<http::Response> get_deployment_checkpoint(Context& ctx) {
  const auto size = STELLA_TRY(asked_size(ctx));
  pg::TenantTx* tx = STELLA_TRY(ctx.tx());
  const timeline::DeploymentProof proof = STELLA_TRY(timeline::deployment_proof(*tx, ctx.services.store, size));
  json::Value body = head_json(proof.head);
  if (ctx.services.log_key) body.set("vkey", STELLA_TRY(timeline::VerifierKey::ed25519(proof.head.origin, *ctx.services.log_key)).str());
  body.set("witnessed", proof.witnessed);
  body.set("covers", head_json(proof.covers));
  body.set("index", proof.index);
  body.set("proof", proof.file);
  return http::Response::json(200, json::dump(body));
}

}  // namespace stella::web::handlers
