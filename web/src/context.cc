// The request's transaction, its idempotency and its small helpers.
#include "stella/web/context.h"

#include <algorithm>
#include <cassert>
#include <charconv>
#include <thread>

#include "stella/base/limits.h"
#include "stella/contracts/errors.h"
#include "stella/platform/process.h"

namespace stella::web {

std::string_view Context::param(std::string_view name) const {
  const auto it = std::find_if(params.begin(), params.end(), [&](const auto& p) { return p.first == name; });
  assert(it != params.end());
  return it->second;
}

const TenantScope& Context::scope() const {
  assert(grant.has_value());
  return grant->scope;
}

std::string_view Context::client_address() const {
  if (!services.behind_proxy) return request.remote;
  // What the proxy itself saw is what it put last; anything before that is the client's own word.
  std::string_view last;
  for (const auto& [name, value] : request.headers)
    if (name == "x-forwarded-for") last = value;
  if (const std::size_t comma = last.rfind(','); comma != last.npos) last.remove_prefix(comma + 1);
  while (!last.empty() && last.front() == ' ') last.remove_prefix(1);
  while (!last.empty() && last.back() == ' ') last.remove_suffix(1);
  return last;  // none where the proxy says nothing: its own address is everybody's
}

bool Context::may_take_long() {
  if (turn.kind() == TurnKind::kLong) return true;
  turn.end();
  turn = services.turns.try_take(principal->tenant, TurnKind::kLong);
  awaits_long = !turn;
  return !awaits_long;
}

Result<pg::TenantTx*> Context::tx() {
  if (!tx_) {
    auto opened = pg::TenantTx::open(services.pool, scope());
    if (!opened) return std::move(opened.error());
    tx_.emplace(std::move(*opened));
    if (!decision_written) STELLA_TRY_VOID(authority::Authority::record(*tx_, grant->decision));
  }
  return &*tx_;
}

namespace {

constexpr std::string_view kForgetKey = "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND actor = $2 AND route = $3 AND key = $4 AND status = 0";
constexpr std::string_view kForgetAbandonedKey =
    "DELETE FROM idempotency_keys WHERE tenant_id = $1 AND actor = $2 AND route = $3 AND key = $4 AND " STELLA_SQL_KEY_ABANDONED;
constexpr std::string_view kUseKey =
    "INSERT INTO idempotency_keys (tenant_id, actor, route, key, request_sha256, status, response) VALUES ($1, $2, $3, $4, $5, 0, '')";

}  // namespace

Result<http::Response> Context::commit(http::Response response) {
  deed_done = deed_done || key_in_use;
  pg::TenantTx* t = STELLA_TRY(tx());
  if (!idempotency_key.empty()) {
    if (key_in_use) STELLA_TRY_VOID(t->query(kForgetKey, {tenant(), actor(), route, idempotency_key}));
    STELLA_TRY_VOID(t->query("INSERT INTO idempotency_keys (tenant_id, actor, key, route, request_sha256, status, response) VALUES ($1, $2, $3, $4, $5, $6, $7)",
                             {tenant(), actor(), idempotency_key, route, *request_sha256, response.status, response.body}));
    // Each new key takes some old ones along, so the table stays as large as a week of them.
    t->defer("DELETE FROM idempotency_keys WHERE tenant_id = $1 AND ctid = ANY(ARRAY(SELECT ctid FROM idempotency_keys WHERE tenant_id = $1 AND created_at < now() - interval '7 days' "
             "ORDER BY created_at LIMIT 20))",
             {tenant()});
  }
  STELLA_TRY_VOID(t->commit());
  decision_written = true;
  key_in_use = false;
  tx_.reset();
  return response;
}

Result<void> Context::write_decision() { return write_decision(!idempotency_key.empty() && !key_in_use); }
Result<void> Context::write_decision_alone() { return write_decision(false); }

Result<void> Context::write_decision(bool with_key) {
  if (!grant || (decision_written && !with_key)) return {};
  // A transaction of the handler holds the same row, not committed: it must go first, or both wait for each other.
  abandon();
  auto own = STELLA_TRY(pg::TenantTx::open(services.pool, scope()));
  if (!decision_written) STELLA_TRY_VOID(authority::Authority::record(own, grant->decision));
  if (with_key) {
    STELLA_TRY_VOID(own.query(kForgetAbandonedKey, {tenant(), actor(), route, idempotency_key}));
    STELLA_TRY_VOID(own.query(kUseKey, {tenant(), actor(), route, idempotency_key, *request_sha256}));
  }
  STELLA_TRY_VOID(own.commit());
  decision_written = true;
  key_in_use = with_key || key_in_use;
  return {};
}

Result<void> Context::release_key() {
  if (!key_in_use) return {};
  abandon();
  auto own = STELLA_TRY(pg::TenantTx::open(services.pool, scope()));
  STELLA_TRY_VOID(own.query(kForgetKey, {tenant(), actor(), route, idempotency_key}));
  STELLA_TRY_VOID(own.commit());
  key_in_use = false;
  return {};
}

Result<pg::Rows> Context::read(std::string_view sql, std::initializer_list<pg::Param> params) { return pg::TenantTx::read(services.pool, scope(), sql, params); }
Result<pg::Rows> Context::read(std::string_view sql, std::span<const pg::Param> params) { return pg::TenantTx::read(services.pool, scope(), sql, params); }

Result<json::Value> Context::json_body() {
  const std::string text = STELLA_TRY(request.body_text(limits::kJsonBodyBytes));
  auto value = json::parse(text, {.max_bytes = limits::kJsonBodyBytes, .max_depth = limits::kJsonDepth});
  if (value && !value->is_object()) return Error(base_errors::kMalformed, "the body is no JSON object").with("expected", "a JSON object");
  return value;
}

namespace {

std::string_view expected_of(Member::Kind kind) {
  static constexpr std::string_view kWords[] = {"text", "true or false", "a list of texts", "an object", "any value"};
  return kWords[kind];
}

bool fits(const json::Value& value, Member::Kind kind) {
  switch (kind) {
    case Member::kString: return value.is_string();
    case Member::kBool: return value.is_bool();
    case Member::kStrings: return value.is_array() && std::all_of(value.as_array().begin(), value.as_array().end(), [](const json::Value& v) { return v.is_string(); });
    case Member::kObject: return value.is_object();
    case Member::kAny: return true;
  }
  return false;
}

}  // namespace

Result<json::Value> Context::json_body(std::initializer_list<Member> members) {
  json::Value body = STELLA_TRY(json_body());
  for (const auto& [name, value] : body.as_object()) {
    const auto member = std::find_if(members.begin(), members.end(), [&](const Member& m) { return m.name == name; });
    if (member == members.end()) {
      std::string known;
      for (const Member& m : members) known.append(known.empty() ? "" : ", ").append(m.name);
      // A misspelt name helps its sender; anything else could be a secret in the wrong place.
      const bool plain = name.size() <= 32 && name.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_") == std::string::npos;
      return Error(base_errors::kInvalid, "the body has a member that means nothing here").with("field", plain ? name : std::string("(a name that is not shown)")).with("expected", known);
    }
    if (!value.is_null() && !fits(value, member->kind)) return Error(base_errors::kInvalid, "a member of the body has another type").with("field", name).with("expected", std::string(expected_of(member->kind)));
  }
  return body;
}

namespace {
Result<std::int64_t> bounded_number(std::string_view text, Literal name, std::int64_t low, std::int64_t high) {
  std::int64_t n = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), n);
  if (r.ec != std::errc() || r.ptr != text.data() + text.size() || n < low || n > high)
    return Error(base_errors::kInvalid, "a query parameter is out of range")
        .with("field", std::string(name.view()))
        .with("expected", "a number from " + std::to_string(low) + " to " + std::to_string(high));
  return n;
}
}  // namespace

Result<std::chrono::milliseconds> Context::wait() const {
  const std::string text = request.query_param("wait");
  if (text.empty()) return std::chrono::milliseconds(0);
  const std::int64_t seconds = STELLA_TRY(bounded_number(text, "wait", 0, 120));
  return std::chrono::milliseconds(seconds * 1000);
}

Result<int> Context::limit() const {
  const std::string text = request.query_param("limit");
  if (text.empty()) return 100;
  const std::int64_t n = STELLA_TRY(bounded_number(text, "limit", 1, 500));
  return static_cast<int>(n);
}

void wait_until(Context& ctx, std::chrono::milliseconds wait, const std::function<bool()>& done) {
  // A waiting request holds a worker. Only so many may, else nobody could be answered: the others are told at once how far things are.
  const Turns::Turn waits = ctx.services.turns.try_take(ctx.principal->tenant, TurnKind::kAwaiting);
  const Deadline deadline = Deadline::after(waits ? wait : std::chrono::milliseconds(0));
  std::chrono::milliseconds pause(5);
  while (!done() && !deadline.passed() && !process::stop_requested()) {
    std::this_thread::sleep_for(std::min(pause, deadline.left()));
    pause = std::min(pause * 2, std::chrono::milliseconds(100));
  }
}

}  // namespace stella::web
