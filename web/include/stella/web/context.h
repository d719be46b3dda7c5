// One request as its handler sees it: who asks, for which tenant, in which trace, and the transaction its state changes share.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <initializer_list>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/crypto/ed25519.h"
#include "stella/crypto/keys.h"
#include "stella/crypto/timestamp.h"
#include "stella/base/json.h"
#include "stella/base/sync.h"
#include "stella/platform/http_server.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/services/authority.h"
#include "stella/services/key_ring.h"
#include "stella/web/streams.h"
#include "stella/web/tenant_rate.h"
#include "stella/web/turns.h"

namespace stella::web {

// What handlers may use. Built once in apps/.
struct Services {
  pg::Pool& pool;                         // login stella_web
  authority::Authority& authority;
  authority::Provisioner& provisioner;
  objects::Store& store;
  std::string temp_dir;
  // Health of the parts, for /readyz and /obs/health: name → empty or what is wrong.
  std::function<std::vector<std::pair<std::string, std::string>>()> parts;
  // Whether the bus answers: without it no job can start, and requests that need one are refused at once. Null: not asked.
  std::function<bool()> bus_connected;
  // Brings what this process has recorded so far to where queries find it, within a moment: who asks for the trace of the command before
  // sees all of it. Null: not needed.
  std::function<void()> settle_telemetry;
  // The key that signs the tenants' logs; its public half makes each log's vkey.
  std::optional<crypto::Ed25519PublicKey> log_key;
  // Signs statements again for tools that know no batch. Null where this process does not seal.
  SharedSlot<crypto::Signer> evidence_signer;
  // Changes the evidence key. Null likewise.
  std::shared_ptr<authority::KeyRing> key_ring;
  // Whom this deployment believes the time of a seal, and how many of them it takes.
  std::optional<crypto::TimestampTrust> time_trust;
  std::size_t time_threshold = 1;
  int hold_releasers = 2;        // how many people the release of a legal hold takes
  bool behind_proxy = false;     // which is the only one that connects, and says whom for
  bool dispose = false;          // evidence that nothing keeps any more is deleted by itself
  Turns turns{};                 // who may have a worker; start() sets the limits by their number
  TenantRate telemetry_changes{10, std::chrono::minutes(1)};  // each is taken over by every process
  TenantRate taken_logins{20, std::chrono::hours(1)};         // each tells that somebody of the deployment has that login
  Streams streams{};             // GET /timeline/stream; stopped before the server goes
};

// What stands in idempotency_keys for an answer that is still being made. Older than the handlers of such routes take, whose statements and waits
// for a connection the pool ends within seconds: its process was killed, and nobody makes it any more.
inline constexpr int kKeyInUse = 0;
#define STELLA_SQL_KEY_ABANDONED "(status = 0 AND created_at < now() - interval '1 minute')"

// A member that a request's body may have.
struct Member {
  enum Kind : std::uint8_t { kString, kBool, kStrings, kObject, kAny };
  std::string_view name;
  Kind kind = kString;
};

class Context {
 public:
  Context(Services& services, http::Request& request) : services(services), request(request) {}

  Services& services;
  http::Request& request;
  TraceId trace;
  std::string traceparent;   // of the request's own span: what jobs continue
  RequestId request_id;
  std::string_view route;    // template
  std::vector<std::pair<std::string, std::string>> params;  // path parameters, decoded
  std::optional<authority::Principal> principal;
  std::optional<authority::Grant> grant;

  // Path parameter; its name is known to the template (asserted).
  std::string_view param(std::string_view name) const;
  template <class Id>
  Result<Id> id_param(std::string_view name) const {
    auto id = Id::parse(param(name));
    // A malformed id is an id that does not exist: the two never differ.
    if (!id) return Error(base_errors::kNotFound, "no such thing");
    return id;
  }
  // Only on routes with a scope (asserted).
  const TenantScope& scope() const;
  const TenantId& tenant() const { return scope().tenant(); }
  const std::string& actor() const { return scope().actor(); }

  // The request's transaction; opened on first use, with the authorisation decision as its first row. Commit with commit().
  Result<pg::TenantTx*> tx();
  // Commits what tx() began and stores the response for the request's Idempotency-Key in the same transaction.
  Result<http::Response> commit(http::Response response);
  // Before work that another component commits: commits the authorisation decision, where nothing has carried it yet, and that the request's
  // Idempotency-Key is in use, so that nobody does the same meanwhile. kConflict where somebody does.
  Result<void> write_decision();
  // The decision alone.
  Result<void> write_decision_alone();
  // The key of a request that failed, and that may be sent again.
  Result<void> release_key();
  // For a handler that learns only from a row whether it will take long: changes its turn for a long one. False: others have them all; it returns
  // whatever it likes, having done nothing, and is called again when it is its turn.
  bool may_take_long();
  // Rolls back what tx() began, if anything.
  void abandon() { tx_.reset(); }
  // A read in one round trip of its own (the decision goes with the next transaction, else the middleware writes it).
  Result<pg::Rows> read(std::string_view sql, std::initializer_list<pg::Param> params);
  Result<pg::Rows> read(std::string_view sql, std::span<const pg::Param> params);

  // Body as a JSON object; kMalformed with position otherwise.
  Result<json::Value> json_body();
  // The same with these members and no others: a misspelt option must not pass as its default. kInvalid names the member. null is absent.
  Result<json::Value> json_body(std::initializer_list<Member> members);
  // ?wait=<seconds>: 0 where absent, at most 120; kInvalid otherwise.
  Result<std::chrono::milliseconds> wait() const;
  // ?limit=: default 100, 1…500.
  Result<int> limit() const;

  // Who sent it: the peer, or whom a proxy in front says it came from. PII: never log it.
  std::string_view client_address() const;

  // Filled by the middleware from the Idempotency-Key header.
  std::string idempotency_key;
  std::optional<Sha256> request_sha256;
  Turns::Turn turn;             // of who is known
  bool awaits_long = false;     // may_take_long() said no
  bool decision_written = false;
  bool key_in_use = false;  // its row is there, without an answer
  bool deed_done = false;   // or maybe done, by a component with transactions of its own: a failure from here on says nothing about it

 private:
  Result<void> write_decision(bool with_key);
  std::optional<pg::TenantTx> tx_;
};

// Polls `done` (a read of its own each time) until it says true, the wait is over, or the server is stopping; at least once, and no more
// than once where as many requests of the tenant, or of all, wait already as may.
void wait_until(Context& ctx, std::chrono::milliseconds wait, const std::function<bool()>& done);

}  // namespace stella::web
