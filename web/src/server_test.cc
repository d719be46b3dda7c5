// The API over real sockets, database and store: who gets in, what is on record, what repeats, and what does not break it.
#include "stella/web/server.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <latch>
#include <mutex>
#include <thread>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/dsse.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/batch.h"
#include "stella/evidence/format/gzip.h"
#include "stella/evidence/format/predicates.h"
#include "stella/platform/http_client.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/sink.h"
#include "stella/tenancy/paths.h"
#include "stella/testing/postgres.h"
#include "stella/web/router.h"

namespace stella::web {
namespace {

constexpr std::string_view kSecret = "correct horse battery";

struct Reply {
  int status = 0;
  json::Value body;
  http::ClientResponse raw;
};

class Api : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/stella-web-XXXXXX";
    root_ = ::mkdtemp(name);
    store_ = std::move(objects::open_posix_store(root_).value());
    services_ = std::unique_ptr<Services>(new Services{web_, authority_, provisioner_, *store_, root_, [this] { return parts_; }});
    services_->evidence_signer = evidence_key_;
    http::ServerOptions options;
    options.temp_dir = root_;
    options.workers = 4;
    server_ = std::move(start(options, *services_).value());
    ASSERT_TRUE(provisioner_.create_tenant(TenantId::parse("acme").value(), "Acme", "system:test", TraceId::generate()).has_value());
    ASSERT_TRUE(provisioner_.create_tenant(TenantId::parse("beta").value(), "Beta", "system:test", TraceId::generate()).has_value());
    token_ = sign_in("acme", "ada", authority::all_tenant_scopes(), authority::all_platform_scopes());
  }
  void TearDown() override {
    server_.reset();
    std::error_code ignored;
    std::filesystem::remove_all(root_, ignored);
  }
  std::string sign_in(std::string_view tenant, std::string_view login, std::vector<std::string> scopes, std::vector<std::string> platform = {}) {
    EXPECT_TRUE(provisioner_.create_principal(TenantId::parse(tenant).value(), {"user", std::string(login), "", std::string(kSecret), std::move(scopes), std::move(platform)}, "system:test", TraceId::generate()).has_value());
    const Reply r = call("POST", "/tokens", "grant_type=password&username=" + std::string(login) + "&password=" + percent_encode(kSecret), {{"content-type", "application/x-www-form-urlencoded"}}, "");
    EXPECT_EQ(r.status, 200) << r.raw.body;
    return std::string(r.body.str("access_token"));
  }
  Reply call(std::string method, std::string_view target, std::string body = "", std::vector<std::pair<std::string, std::string>> headers = {}, std::optional<std::string> token = std::nullopt) {
    http::ClientRequest request;
    request.method = std::move(method);
    request.url = "http://127.0.0.1:" + std::to_string(server_->port()) + std::string(target);
    request.headers = std::move(headers);
    const std::string bearer = token.value_or(token_);
    if (!bearer.empty()) request.headers.emplace_back("Authorization", "Bearer " + bearer);
    request.body = std::move(body);
    auto response = http::fetch(request);
    EXPECT_TRUE(response.has_value()) << response.error().describe();
    Reply out;
    if (!response) return out;
    out.status = response->status;
    if (auto value = json::parse(response->body)) out.body = std::move(*value);
    out.raw = std::move(*response);
    return out;
  }
  std::string decisions(std::string_view where = "true") { return db_.sql("SELECT count(*) FROM decisions WHERE " + std::string(where)); }
  static std::string sbom() { return read_file(std::string(STELLA_SOURCE_DIR) + "/samples/sbom.cdx.json", 1 << 24).value(); }

  testing::TestDatabase db_;
  pg::Pool web_{db_.options("stella_web")};
  pg::SystemPool<pg::AuthorityRole> authority_pool_{db_.options("stella_authority")};
  authority::Authority authority_{authority_pool_, std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value()), {"http://stella.test", std::chrono::seconds(3600)}};
  authority::Provisioner provisioner_{authority_pool_};
  std::vector<std::pair<std::string, std::string>> parts_;
  std::shared_ptr<const crypto::KeyPair> evidence_key_ = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  std::unique_ptr<objects::Store> store_;
  std::unique_ptr<Services> services_;
  std::unique_ptr<http::Server> server_;
  std::string root_, token_;
};

TEST_F(Api, EveryRouteWithAScopeRefusesWhoHasNone) {
  const std::string nobody = sign_in("beta", "nobody", {});
  for (const Route& route : routes()) {
    if (route.access == Access::kPublic) continue;
    std::string path;
    for (std::string_view rest = route.path; !rest.empty();) {
      const std::size_t end = std::min(rest.find('/', 1), rest.size());
      path += rest.substr(0, 2) == "/:" ? "/00000000-0000-7000-8000-000000000001" : std::string(rest.substr(0, end));
      rest.remove_prefix(end);
    }
    const std::string where = std::string(route.method) + " " + path;
    const std::string body = route.method == "POST" ? "{}" : "";
    const Reply stranger = call(std::string(route.method), path, body, {}, "");
    EXPECT_EQ(stranger.status, 401) << where;
    EXPECT_EQ(stranger.raw.header("www-authenticate"), "Bearer") << where;
    EXPECT_EQ(call(std::string(route.method), path, body, {}, "not.a.token").status, 401) << where;
    if (route.access == Access::kToken) continue;
    const Reply refused = call(std::string(route.method), path, body, {}, nobody);
    EXPECT_EQ(refused.status, 403) << where;
    const std::string wanted = route.access == Access::kPlatform ? authority::platform_scope_text(route.scope) : authority::tenant_scope_text(route.scope, TenantId::parse("beta").value());
    EXPECT_EQ(refused.body.str("missing_scope"), wanted) << where;
    EXPECT_EQ(decisions("decision_effect = 'deny' AND decision_id = '" + std::string(refused.body.str("decision_id")) + "'"), "1") << where;
    if (route.access != Access::kTenantOrGlobal) continue;
    EXPECT_EQ(call(std::string(route.method), path + "?global=1", body, {}, nobody).body.str("missing_scope"), "stella:kb:write#platform") << where;
  }
}

TEST_F(Api, ATokenCountsForItsOwnTenantOnly) {
  EXPECT_EQ(call("GET", "/sboms", "", {{"x-stella-tenant", "acme"}}).status, 200);
  EXPECT_EQ(call("GET", "/sboms", "", {{"x-stella-tenant", "beta"}}).status, 403);
  EXPECT_EQ(call("HEAD", "/sboms", "", {{"x-stella-tenant", "beta"}}).status, 403);
  EXPECT_EQ(call("HEAD", "/sboms", "", {}, "").status, 401);
  const Reply made = call("POST", "/sboms", sbom());
  ASSERT_EQ(made.status, 202) << made.raw.body;
  const std::string path = "/sboms/" + std::string(made.body.str("sbom_id"));
  EXPECT_EQ(call("GET", path).status, 200);
  const std::string other = sign_in("beta", "bob", authority::all_tenant_scopes());
  const Reply foreign = call("GET", path, "", {}, other);
  const Reply unknown = call("GET", "/sboms/00000000-0000-7000-8000-000000000001", "", {}, other);
  EXPECT_EQ(foreign.status, 404);
  EXPECT_EQ(foreign.body.str("detail"), unknown.body.str("detail"));
  EXPECT_EQ(call("GET", "/sboms/not-an-id", "", {}, other).body.str("detail"), unknown.body.str("detail"));
}

TEST_F(Api, EveryAdmittedRequestIsOneDecision) {
  const std::string before = decisions();
  ASSERT_EQ(call("GET", "/sboms").status, 200);
  ASSERT_EQ(call("POST", "/sboms", sbom()).status, 202);
  ASSERT_EQ(call("POST", "/evaluations", "{\"sbom_id\":\"00000000-0000-7000-8000-000000000001\"}").status, 404);  // rolled back, the decision stays
  ASSERT_EQ(call("POST", "/projects", R"({"slug":"shop","name":"Shop"})").status, 201);
  ASSERT_EQ(call("POST", "/projects", R"({"slug":"shop","name":"Shop"})").status, 409);
  ASSERT_EQ(call("POST", "/principals", R"({"kind":"user","login":"eve","secret":"short"})").status, 422);
  EXPECT_EQ(decisions(), std::to_string(std::stoi(before) + 6));
}

TEST_F(Api, AKeyMakesARequestHappenOnce) {
  const std::vector<std::pair<std::string, std::string>> key{{"idempotency-key", "k-1"}};
  const Reply first = call("POST", "/projects", R"({"slug":"shop","name":"Shop"})", key);
  ASSERT_EQ(first.status, 201) << first.raw.body;
  const Reply again = call("POST", "/projects", R"({"slug":"shop","name":"Shop"})", key);
  EXPECT_EQ(again.status, 201);
  EXPECT_EQ(again.raw.body, first.raw.body);
  EXPECT_EQ(again.raw.header("idempotency-replayed"), "true");
  EXPECT_EQ(call("POST", "/projects", R"({"slug":"other","name":"Shop"})", key).status, 409);
  // Bodies that are too large for memory count, too.
  std::string large = sbom();
  large.append(2u << 20, ' ');
  const Reply big = call("POST", "/sboms", large, key);
  ASSERT_EQ(big.status, 202) << big.raw.body;
  EXPECT_EQ(call("POST", "/sboms", large, key).raw.header("idempotency-replayed"), "true");
  large.back() = '\n';
  EXPECT_EQ(call("POST", "/sboms", large, key).status, 409);
  // The key belongs to whoever used it: what a colleague does under the same one is a deed of their own, and so is its answer.
  const std::string colleague = sign_in("acme", "carol", authority::all_tenant_scopes());
  const Reply theirs = call("POST", "/projects", R"({"slug":"shop","name":"Shop"})", key, colleague);
  EXPECT_EQ(theirs.status, 409);
  EXPECT_EQ(theirs.raw.header("idempotency-replayed"), "");
  EXPECT_EQ(call("POST", "/projects", R"({"slug":"hers","name":"Hers"})", key, colleague).status, 201);
  // It is kept for a week: then it is as good as new, and the next one takes it along.
  db_.sql("UPDATE idempotency_keys SET created_at = now() - interval '8 days' WHERE key = 'k-1' AND route = '/projects'");
  EXPECT_EQ(call("POST", "/projects", R"({"slug":"later","name":"Later"})", {{"idempotency-key", "k-2"}}).status, 201);
  EXPECT_EQ(db_.sql("SELECT string_agg(DISTINCT key || ' ' || route, ', ' ORDER BY key || ' ' || route) FROM idempotency_keys"), "k-1 /sboms, k-2 /projects");
  // And to the tenant.
  const std::string other = sign_in("beta", "bob", authority::all_tenant_scopes());
  EXPECT_EQ(call("POST", "/projects", R"({"slug":"other","name":"Shop"})", key, other).status, 201);
  EXPECT_EQ(call("POST", "/projects", R"({"slug":"x","name":"X"})", {{"idempotency-key", "k\xc3\xa4"}}).status, 422);
  EXPECT_EQ(call("POST", "/projects", R"({"slug":"x","name":"X"})", {{"idempotency-key", std::string(129, 'k')}}).status, 422);
}

TEST_F(Api, OneKeyAtOnceIsStillOneDeed) {
  std::vector<std::thread> threads;
  std::vector<std::string> bodies(4);
  for (std::size_t i = 0; i < bodies.size(); ++i)
    threads.emplace_back([&, i] {
      const Reply r = call("POST", "/sboms", sbom(), {{"idempotency-key", "together"}});
      EXPECT_TRUE(r.status == 202 || r.status == 200) << r.raw.body;
      bodies[i] = std::string(r.body.str("sbom_id"));
    });
  for (auto& t : threads) t.join();
  for (const std::string& b : bodies) EXPECT_EQ(b, bodies.front());
  EXPECT_EQ(db_.sql("SELECT count(*) FROM sboms"), "1");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM jobs"), "1");
}

// What another component commits is not in the transaction of the key: the key is taken before.
TEST_F(Api, OneKeyAtOnceIsOneDeedWhoeverCommitsIt) {
  const auto key = crypto::KeyPair::generate().value();
  ASSERT_TRUE(key.save(root_ + "/evidence.pem", "pass").has_value());
  ASSERT_TRUE(provisioner_.introduce_key(key.public_key(), "evidence", TraceId::generate()).has_value());
  services_->key_ring = std::make_shared<authority::KeyRing>(authority_pool_, authority::KeyRingOptions{root_, "pass"});
  ASSERT_TRUE(services_->key_ring->begin(TraceId::generate()).has_value());
  const std::string before = db_.sql("SELECT count(*) FROM signing_keys WHERE purpose = 'evidence'");
  std::atomic<int> done{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < 3; ++i)
      threads.emplace_back([&] {
        const Reply r = call("POST", "/keys", R"({"action":"rotate"})", {{"idempotency-key", "r-1"}});
        EXPECT_TRUE(r.status == 200 || r.status == 409) << r.raw.body;
        if (r.status == 200) ++done;
        if (r.status == 409) {
          EXPECT_NE(r.raw.header("retry-after"), "") << r.raw.body;
        }
      });
  }
  EXPECT_GE(done, 1);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM signing_keys WHERE purpose = 'evidence'"), std::to_string(std::stoi(before) + 1));
  EXPECT_EQ(call("POST", "/keys", R"({"action":"rotate"})", {{"idempotency-key", "r-1"}}).raw.header("idempotency-replayed"), "true");
  // Its server went away in between: nobody knows what was done, until nobody can be doing it any more.
  const std::string project = R"({"slug":"shop","name":"Shop"})";
  ASSERT_EQ(call("POST", "/projects", project, {{"idempotency-key", "p-1"}}).status, 201);
  db_.sql("UPDATE idempotency_keys SET status = 0, response = '' WHERE key = 'p-1'");
  EXPECT_EQ(call("POST", "/projects", project, {{"idempotency-key", "p-1"}}).status, 409);
  EXPECT_EQ(call("POST", "/projects", R"({"slug":"other","name":"Other"})", {{"idempotency-key", "p-1"}}).status, 409);
  db_.sql("DELETE FROM projects WHERE slug = 'shop'");
  EXPECT_EQ(call("POST", "/projects", project, {{"idempotency-key", "p-1"}}).status, 409) << "not yet";
  db_.sql("UPDATE idempotency_keys SET created_at = now() - interval '2 minutes' WHERE key = 'p-1'");
  EXPECT_EQ(call("POST", "/projects", project, {{"idempotency-key", "p-1"}}).status, 201);
  EXPECT_EQ(call("POST", "/projects", project, {{"idempotency-key", "p-1"}}).raw.header("idempotency-replayed"), "true");
  // What failed did nothing, and may be sent again under its key.
  EXPECT_EQ(call("POST", "/projects", project, {{"idempotency-key", "p-2"}}).status, 409);
  db_.sql("DELETE FROM projects WHERE slug = 'shop'");
  EXPECT_EQ(call("POST", "/projects", project, {{"idempotency-key", "p-2"}}).status, 201);
}

// A failure of ours before the deed leaves the key free; one after it does not, for the deed is done.
TEST_F(Api, AKeyIsFreeAgainWhereNothingWasDone) {
  const auto fail_on = [&](const std::string& table, const std::string& when) {
    db_.sql("CREATE FUNCTION fail_" + table + "() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE EXCEPTION 'no' USING ERRCODE = '53100'; END $$");
    db_.sql("CREATE TRIGGER fail BEFORE INSERT ON " + table + " FOR EACH ROW WHEN (" + when + ") EXECUTE FUNCTION fail_" + table + "()");
  };
  const std::string project = R"({"slug":"shop","name":"Shop"})";
  fail_on("projects", "true");
  EXPECT_GE(call("POST", "/projects", project, {{"idempotency-key", "f-1"}}).status, 500);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM idempotency_keys"), "0");
  db_.sql("DROP TRIGGER fail ON projects");
  EXPECT_EQ(call("POST", "/projects", project, {{"idempotency-key", "f-1"}}).status, 201);

  const std::string later = R"({"slug":"later","name":"Later"})";
  fail_on("idempotency_keys", "NEW.status <> 0");
  EXPECT_GE(call("POST", "/projects", later, {{"idempotency-key", "f-2"}}).status, 500);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM projects WHERE slug = 'later'"), "1");
  db_.sql("DROP TRIGGER fail ON idempotency_keys");
  const Reply unknown = call("POST", "/projects", later, {{"idempotency-key", "f-2"}});
  EXPECT_EQ(unknown.status, 409);
  EXPECT_EQ(unknown.raw.header("retry-after"), "2") << unknown.raw.body;
}

TEST_F(Api, WaitingRequestsLeaveWorkersForOthers) {
  TurnLimits nobody_waits;
  nobody_waits.awaiting = {0, 0};
  services_->turns.set_limits(nobody_waits);
  const Reply r = call("POST", "/sboms?wait=100", sbom());  // nobody computes it: it would wait for the client's time-out
  EXPECT_EQ(r.status, 202);
  EXPECT_EQ(r.body.str("state"), "received");
  EXPECT_EQ(services_->turns.now(TurnKind::kAwaiting), 0);
  EXPECT_EQ(call("POST", "/sboms?wait=121", sbom()).status, 422);
  EXPECT_EQ(call("POST", "/sboms?wait=x", sbom()).status, 422);
}

// Whatever one tenant does, and for how long: the others are served, and the process says that it lives.
TEST_F(Api, OneTenantTakesNotAllWorkers) {
  const std::string other = sign_in("beta", "bob", authority::all_tenant_scopes());
  const std::string id = "00000000-0000-7000-8000-000000000001";
  pg::Pool operator_(db_.options(testing::Postgres::superuser()));
  for (const std::string& path : {"/evidence/" + id + "/custody", std::string("/evidence")}) {
    auto stalled = std::make_optional(pg::TenantTx::open(operator_, testing::TestScope::make("acme")).value());
    ASSERT_TRUE(stalled->query("LOCK TABLE evidence_snapshots IN ACCESS EXCLUSIVE MODE").has_value());
    std::vector<std::jthread> threads;
    for (int i = 0; i < 12; ++i)
      threads.emplace_back([&] {
        const int status = call("GET", path).status;
        EXPECT_EQ(status, path == "/evidence" ? 200 : 404) << path;
      });
    const Deadline patience = Deadline::after(std::chrono::seconds(20));
    while (services_->turns.queued() < (path == "/evidence" ? 9 : 11) && !patience.passed()) std::this_thread::yield();
    EXPECT_EQ(services_->turns.queued(), path == "/evidence" ? 9 : 11) << path;
    const auto began = std::chrono::steady_clock::now();
    EXPECT_EQ(call("GET", "/healthz", "", {}, "").status, 200);
    EXPECT_EQ(call("GET", "/me", "", {}, other).status, 200);
    EXPECT_LT(std::chrono::steady_clock::now() - began, std::chrono::seconds(1)) << path;
    stalled.reset();
  }
  EXPECT_EQ(services_->turns.queued(), 0);
  EXPECT_EQ(services_->turns.now(TurnKind::kRunning), 0);
}

// Only who reads a whole bundle waits for others who do.
TEST_F(Api, ABundleThatIsNotSealedIsLookedAtAtOnce) {
  const auto bundle = [this](const std::string& state) {
    const std::string id = Uuid::v7().str();
    db_.sql("INSERT INTO evidence_snapshots (tenant_id, bundle_id, case_id, kind, resource_id, state, requested_by, traceparent, trace_id) VALUES ('acme', '" + id + "', 'C-1', 'job', '" + state + "', '" + state + "', 'user:x', '', '')");
    return "/evidence/" + id;
  };
  const std::string building = bundle("building"), sealed = bundle("sealed");
  TurnLimits one = TurnLimits::of_workers(4);
  one.may_take_long = {1, 1};
  services_->turns.set_limits(one);
  auto other = services_->turns.try_take(TenantId::parse("beta").value(), TurnKind::kLong);
  ASSERT_TRUE(other);
  EXPECT_EQ(call("GET", building).body.str("state"), "building");
  const std::string before = decisions();
  int status = 0;
  {
    std::jthread waits([&] { status = call("GET", sealed).status; });
    const Deadline patience = Deadline::after(std::chrono::seconds(20));
    while (services_->turns.queued() == 0 && !patience.passed()) std::this_thread::yield();
    EXPECT_EQ(services_->turns.queued(), 1);
    EXPECT_EQ(services_->turns.now(TurnKind::kRunning), 1) << "the other's alone";
    EXPECT_EQ(call("GET", building).status, 200);
    other.end();
  }
  EXPECT_GE(status, 400) << "there is no object of it";
  EXPECT_NE(status, 429);
  EXPECT_EQ(decisions(), std::to_string(std::stoi(before) + 2)) << "each request is one";
  EXPECT_EQ(services_->turns.now(TurnKind::kRunning), 0);
  EXPECT_EQ(services_->turns.now(TurnKind::kLong), 0);
}

TEST_F(Api, ATenantsQueueHasAnEnd) {
  TurnLimits none;
  none.running.per_tenant = 0;
  none.queued_per_tenant = 0;
  services_->turns.set_limits(none);
  const Reply r = call("GET", "/me");
  EXPECT_EQ(r.status, 429);
  EXPECT_EQ(r.raw.header("retry-after"), "1");
  EXPECT_EQ(call("GET", "/healthz", "", {}, "").status, 200);
}

TEST_F(Api, GlobalIsSpelledOneWay) {
  const std::string osv = R"({"schema_version":"1.6.0","id":"GHSA-1","modified":"2026-01-01T00:00:00Z"})";
  EXPECT_EQ(call("POST", "/advisories?global=yes", osv, {{"content-type", "application/json"}}).status, 422);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM ingest_batches"), "0");
  EXPECT_EQ(call("POST", "/advisories?global=1", osv, {{"content-type", "application/json"}}).status, 202);
  EXPECT_EQ(call("POST", "/advisories?global=0", osv, {{"content-type", "application/json"}}).status, 202);
  EXPECT_EQ(db_.sql("SELECT string_agg(tenant_id, ',' ORDER BY tenant_id) FROM ingest_batches"), "acme,global");
  EXPECT_EQ(decisions("tenant_id = 'global' AND decision_effect = 'allow' AND scope = 'stella:kb:write#platform'"), "1");
}

TEST_F(Api, ASetOfAliasesIsFoundByEachOfItsIdsAndItsPastByItsName) {
  db_.sql("INSERT INTO advisory_linksets (tenant_id, vulnerability_id, revision, members, edges, batch_id) "
          "SELECT t, v, r, m::text[], '[]', '00000000-0000-7000-8000-000000000001' FROM (VALUES ('acme', 'CVE-1', 1, '{CVE-1,G-7}'), ('acme', 'CVE-1', 2, '{CVE-1,CVE-2,G-7}'), "
          "('acme', 'CVE-2', 1, '{CVE-2,G-2}'), ('acme', 'CVE-2', 2, '{}'), ('acme', 'CVE-3', 1, '{}'), ('global', 'CVE-2', 1, '{CVE-2,P-1}'), ('beta', 'CVE-4', 1, '{CVE-4,B-1}')) x(t, v, r, m)");
  db_.sql("INSERT INTO advisory_linkset_members (tenant_id, advisory_id, vulnerability_id) VALUES ('acme', 'CVE-1', 'CVE-1'), ('acme', 'CVE-2', 'CVE-1'), ('acme', 'G-7', 'CVE-1'), "
          "('global', 'CVE-2', 'CVE-2'), ('global', 'P-1', 'CVE-2'), ('beta', 'CVE-4', 'CVE-4'), ('beta', 'B-1', 'CVE-4')");
  const auto answer = [this](const std::string& target) {
    const Reply r = call("GET", "/advisories/" + target);
    return r.status == 200 ? std::string(r.body.str("vulnerability_id")) + " " + std::to_string(r.body.integer("revision")) + " " + std::to_string(r.body.items("members").size()) : std::to_string(r.status);
  };
  for (const char* id : {"CVE-1", "CVE-2", "G-7"}) EXPECT_EQ(answer(std::string(id) + "/linkset"), "CVE-1 2 3") << id;
  EXPECT_EQ(answer("CVE-1/linkset?revision=1"), "CVE-1 1 2");
  EXPECT_EQ(answer("CVE-2/linkset?revision=1"), "CVE-2 1 2");  // what it was before it went into another
  EXPECT_EQ(answer("G-7/linkset?revision=1"), "404");
  EXPECT_EQ(answer("CVE-3/linkset"), "CVE-3 1 0");
  EXPECT_EQ(answer("P-1/linkset"), "404");
  EXPECT_EQ(answer("P-1/linkset?global=1"), "CVE-2 1 2");
  for (const char* id : {"CVE-4", "B-1", "CVE-5"}) EXPECT_EQ(answer(std::string(id) + "/linkset"), "404") << id;
  for (const char* revision : {"0", "-1", "x", "1000000000"}) EXPECT_EQ(answer("CVE-1/linkset?revision=" + std::string(revision)), "422") << revision;
}

// The body is read before anybody is asked who it is, so what is read of a stranger's is little. Nothing can be written where this server's
// files would lie: whoever gets that far is told so.
TEST_F(Api, StrangersBodiesAreNotTaken) {
  server_.reset();
  http::ServerOptions options;
  options.temp_dir = root_ + "/missing";
  server_ = std::move(start(options, *services_).value());
  const auto gzip_of_zeros = [](std::size_t members) {
    // One MiB of zeros as a gzip member, again and again.
    static const std::string member = [] {
      evidence::StringSink sink;
      evidence::GzipSink gzip(sink);
      EXPECT_TRUE(gzip.write(std::string(1 << 20, '\0')) && gzip.finish());
      return sink.text;
    }();
    std::string out;
    for (std::size_t i = 0; i < members; ++i) out += member;
    return out;
  };
  const std::string bomb = gzip_of_zeros(1024);
  const std::vector<std::pair<std::string, std::string>> gzip{{"content-encoding", "gzip"}, {"content-type", "application/gzip"}};
  const std::string reader = sign_in("beta", "reader", {"sbom:read"});
  for (const char* path : {"/evidence/verify", "/sboms", "/advisories", "/vex"}) {
    const Reply stranger = call("POST", path, bomb, gzip, "");
    EXPECT_EQ(stranger.status, 401) << path;
    EXPECT_EQ(stranger.raw.header("www-authenticate"), "Bearer") << path;
    EXPECT_EQ(stranger.raw.header("x-content-type-options"), "nosniff") << path;
    EXPECT_EQ(stranger.raw.header("cache-control"), "no-store") << path;
    EXPECT_EQ(call("POST", path, bomb, gzip, token_ + "x").status, 401) << path;
    const Reply weak = call("POST", path, bomb, gzip, reader);
    EXPECT_EQ(weak.status, 413) << path;
    EXPECT_NE(weak.body.str("missing_scope"), "") << path;
    EXPECT_EQ(call("POST", path, gzip_of_zeros(4), gzip).status, 503) << path << ": taken, and written";
    EXPECT_EQ(call("POST", path, std::string(65 << 10, 'x'), {}, "").status, 401) << path;
    EXPECT_EQ(call("POST", path, "x", {}, "").status, 401) << path;
    EXPECT_EQ(call("POST", path, "x", {}, reader).status, 403) << path << ": small enough to be told so on the record";
  }
  EXPECT_EQ(call("POST", "/tokens", std::string(65 << 10, 'x'), {}, "").status, 413);
}

TEST_F(Api, ATraceIsOneAnswerOfBoundedSize) {
  const std::string trace = TraceId::generate().hex();
  db_.sql("INSERT INTO telemetry_logs (tenant_id, trace_id, ts, level, service, line) SELECT 'acme', '" + trace + "', now(), 'info', 's', json_build_object('msg', repeat('x', 1000000))::text FROM generate_series(1, 12)");
  db_.sql("INSERT INTO telemetry_spans (tenant_id, trace_id, span_id, name, kind, service, start_ts, end_ts, status, attributes) SELECT 'acme', '" + trace + "', lpad(to_hex(n), 16, '0'), 'n', 'internal', 's', now(), now(), 'ok', "
          "jsonb_build_object('x', repeat('y', 1000000)) FROM generate_series(1, 12) n");
  db_.sql("INSERT INTO decisions (tenant_id, decision_id, ts, kind, decision_effect, decision_reason, actor, route, scope, trace_id, record) SELECT 'acme', gen_random_uuid(), now(), 'authz', 'allow', '', '', '', '', '" + trace + "', '{}' FROM generate_series(1, 3)");
  const Reply r = call("GET", "/obs/trace/" + trace);
  ASSERT_EQ(r.status, 200);
  EXPECT_EQ(r.body.items("decisions").size(), 3u);
  EXPECT_GT(r.body.items("logs").size(), 2u);
  EXPECT_GT(r.body.items("spans").size(), 2u);
  EXPECT_EQ(r.body.items("truncated").size(), 2u);
  EXPECT_LT(r.raw.body.size(), 13u << 20);
}

TEST_F(Api, AVexBatchIsForThoseWhoMayReadVex) {
  const auto insert = [this](std::string_view tenant, std::string_view kind) {
    return db_.sql("INSERT INTO ingest_batches (tenant_id, batch_id, kind, source_id, sha256, size, documents, state, received_by, trace_id) VALUES ('" + std::string(tenant) + "', gen_random_uuid(), '" + std::string(kind) +
                   "', 's', '', 1, 1, 'ingested', '', '') RETURNING batch_id");
  };
  const std::string reader = sign_in("acme", "advisories", {"advisory:read"});
  const std::string both = sign_in("acme", "vex", {"advisory:read", "vex:read"});
  const std::string vex = insert("acme", "vex");
  EXPECT_EQ(call("GET", "/batches/" + insert("acme", "advisory"), "", {}, reader).status, 200);
  const Reply refused = call("GET", "/batches/" + vex, "", {}, reader);
  EXPECT_EQ(refused.status, 403);
  EXPECT_EQ(refused.body.str("missing_scope"), "stella:vex:read#tenant/acme");
  EXPECT_EQ(call("GET", "/batches/" + vex, "", {}, both).status, 200);
  EXPECT_EQ(call("GET", "/batches/" + insert("beta", "vex"), "", {}, reader).status, 404);
  EXPECT_EQ(call("GET", "/batches/" + insert("global", "vex") + "?global=1").status, 200);
}

TEST_F(Api, GuessesAreCountedForWhomTheProxySaw) {
  const auto guess = [this](std::string_view secret, std::string forwarded) {
    return call("POST", "/tokens", "grant_type=password&username=ada&password=" + percent_encode(secret), {{"content-type", "application/x-www-form-urlencoded"}, {"x-forwarded-for", std::move(forwarded)}}, "").status;
  };
  services_->behind_proxy = true;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(guess("wrong", "198.51.100." + std::to_string(i) + ", 203.0.113.9"), 401);
  EXPECT_EQ(guess(kSecret, "203.0.113.9"), 429);
  EXPECT_EQ(guess(kSecret, "192.0.2.1, 203.0.113.9"), 429) << "the client's own word";
  EXPECT_EQ(guess(kSecret, "203.0.113.9, 192.0.2.1"), 200);
  services_->behind_proxy = false;
  EXPECT_EQ(guess(kSecret, "203.0.113.9"), 200) << "nobody's word counts where no proxy is";
}

TEST_F(Api, GuessesOfAnOldSecretAreCountedForWhomTheProxySaw) {
  const auto guess = [this](std::string forwarded) {
    return call("POST", "/me/secret", R"({"old_secret":"not the one in force","new_secret":"a secret of my own"})", {{"content-type", "application/json"}, {"x-forwarded-for", std::move(forwarded)}}).status;
  };
  services_->behind_proxy = true;
  for (int i = 0; i < 10; ++i) EXPECT_EQ(guess("203.0.113.9"), 403);
  EXPECT_EQ(guess("203.0.113.9"), 429);
  EXPECT_EQ(guess("192.0.2.1"), 403);
}

TEST_F(Api, HealthTellsTheTruth) {
  EXPECT_EQ(call("GET", "/healthz", "", {}, "").status, 200);
  EXPECT_EQ(call("GET", "/readyz", "", {}, "").status, 200);
  parts_ = {{"postgresql", "not connected"}};
  const Reply sick = call("GET", "/readyz", "", {}, "");
  EXPECT_EQ(sick.status, 503);
  EXPECT_FALSE(sick.raw.header("retry-after").empty());
  EXPECT_EQ(sick.body.find("parts")->str("postgresql"), "not connected");
}

TEST_F(Api, ErrorsSayWhatAndNothingElse) {
  const Reply missing = call("GET", "/nowhere");
  EXPECT_EQ(missing.status, 404);
  EXPECT_EQ(missing.raw.header("content-type"), "application/problem+json");
  EXPECT_EQ(missing.body.str("trace_id"), missing.raw.header("x-trace-id"));
  const Reply method = call("DELETE", "/sboms");
  EXPECT_EQ(method.status, 405);
  EXPECT_EQ(method.raw.header("allow"), "POST, GET, HEAD");
  EXPECT_EQ(call("POST", "/evaluations", "{").status, 400);
  EXPECT_EQ(call("POST", "/evaluations", "[]").status, 400);
  EXPECT_EQ(call("POST", "/evaluations", std::string(2u << 20, ' ')).status, 413);
  EXPECT_EQ(call("POST", "/evaluations", R"({"sbom_id":"x"})").status, 404);
  const Reply conflict = call("POST", "/tenants", R"({"tenant_id":"acme","display_name":"Acme"})");
  EXPECT_EQ(conflict.status, 409);
  EXPECT_EQ(conflict.raw.body.find("tenants_pkey"), std::string::npos);
  EXPECT_EQ(call("GET", "/policies?cursor=%00").status == 200, false);
  for (const char* target : {"/sboms?project=%ff", "/sboms?cursor=AAAA", "/jobs?state=%00", "/findings?evaluation='", "/exports?limit=0", "/attestations?digest=x"}) {
    const int status = call("GET", target).status;
    EXPECT_TRUE(status == 400 || status == 422 || status == 200) << target << ' ' << status;
  }
  EXPECT_EQ(call("POST", "/policies/a%22b/activate", "{}").status, 404);
}

TEST_F(Api, ATraceIsContinued) {
  const std::string trace = TraceId::generate().hex();
  const Reply r = call("POST", "/sboms", sbom(), {{"traceparent", "00-" + trace + "-b7ad6b7169203331-01"}});
  EXPECT_EQ(r.raw.header("x-trace-id"), trace);
  EXPECT_EQ(db_.sql("SELECT trace_id FROM jobs"), trace);
  EXPECT_EQ(db_.sql("SELECT substr(traceparent, 4, 32) FROM jobs"), trace);
  EXPECT_EQ(decisions("trace_id = '" + trace + "'"), "1");
  EXPECT_NE(call("GET", "/healthz", "", {{"traceparent", "00-" + trace + "-b7ad6b7169203331-01"}}, "").raw.header("x-trace-id"), trace);
}

// Spans of the server, each recorded before its reply is sent.
class Spans final : public telemetry::Sink {
 public:
  Spans() : before_(telemetry::install_sink(std::shared_ptr<telemetry::Sink>(this, [](telemetry::Sink*) {}))) {}
  ~Spans() override { telemetry::install_sink(before_); }
  void log(telemetry::LogRecord&&) noexcept override {}
  void span(telemetry::SpanRecord&& record) noexcept override {
    if (record.kind != "server") return;
    const std::lock_guard lock(mutex_);
    last_ = std::move(record);
  }
  telemetry::SpanRecord last() {
    const std::lock_guard lock(mutex_);
    return last_;
  }

 private:
  std::mutex mutex_;
  telemetry::SpanRecord last_;
  std::shared_ptr<telemetry::Sink> before_;
};

// /readyz says by its status alone that it is not well.
TEST_F(Api, AnAnswerOf5xxIsAnErrorOfItsSpanAlsoWithoutAnError) {
  Spans spans;
  EXPECT_EQ(call("GET", "/readyz", "", {}, "").status, 200);
  EXPECT_NE(spans.last().status, "error");
  parts_ = {{"postgresql", "not connected"}};
  EXPECT_EQ(call("GET", "/readyz", "", {}, "").status, 503);
  EXPECT_EQ(spans.last().status, "error");
  EXPECT_NE(spans.last().attributes.find("\"error.type\":\"503\""), std::string::npos) << spans.last().attributes;
  EXPECT_EQ(call("GET", "/no-such-route").status, 404);
  EXPECT_NE(spans.last().status, "error") << "the caller's mistake";
}

// What a stranger writes as method or path is no field of ours.
TEST_F(Api, StrangersWriteNeitherMethodNorRoute) {
  Spans spans;
  EXPECT_EQ(call("491711120524", "/sboms").status, 405);
  EXPECT_EQ(spans.last().attributes.find("491711120524"), std::string::npos) << spans.last().attributes;
  EXPECT_NE(spans.last().attributes.find("\"method\":\"_OTHER\""), std::string::npos) << spans.last().attributes;
  EXPECT_EQ(spans.last().name, "api./sboms") << "the path is one of ours";
  EXPECT_EQ(call("GET", "/nowhere").status, 404);
  EXPECT_EQ(spans.last().name, "api.unmatched");
}

TEST_F(Api, WhoseTraceIsContinued) {
  const struct {
    const char *method, *target;
    std::size_t body;
    const char* asked;  // X-Stella-Tenant
    bool token, same;
    int status;
  } table[] = {
      {"GET", "/sboms", 0, "", true, true, 200},
      {"GET", "/sboms", 0, "acme", true, true, 200},
      {"GET", "/sboms/00000000-0000-7000-8000-000000000001", 0, "", true, true, 404},
      {"GET", "/sboms", 0, "beta", true, false, 403},  // known, but a stranger there
      {"GET", "/sboms", 0, "", false, false, 401},
      {"GET", "/healthz", 0, "", false, false, 200},
      {"GET", "/no-such-route", 0, "", true, false, 404},
      {"POST", "/evaluations", 2u << 20, "", true, false, 413},  // refused before anybody was asked who it is
  };
  Spans spans;
  for (const auto& row : table) {
    SCOPED_TRACE(std::string(row.target) + " " + std::to_string(row.status));
    const std::string trace = TraceId::generate().hex(), span = SpanId::generate().hex();
    std::vector<std::pair<std::string, std::string>> headers{{"TraceParent", "00-" + trace + "-" + span + "-00"}, {"tracestate", "vendor=1"}};
    if (*row.asked != 0) headers.emplace_back("X-Stella-Tenant", row.asked);
    const Reply r = call(row.method, row.target, std::string(row.body, ' '), headers, row.token ? token_ : "");
    EXPECT_EQ(r.status, row.status);
    const telemetry::SpanRecord seen = spans.last();
    EXPECT_EQ(r.raw.header("x-trace-id") == trace, row.same);
    if (row.same) continue;  // its caller said that nobody records it
    EXPECT_EQ(seen.trace_id, r.raw.header("x-trace-id"));
    EXPECT_EQ(seen.parent_span_id, "");
    EXPECT_EQ(seen.links, R"([{"trace_id":")" + trace + R"(","span_id":")" + span + R"("}])");
    EXPECT_EQ(json::parse(seen.attributes)->str("linked_trace_id"), trace);
    EXPECT_EQ(seen.attributes.find("vendor"), std::string::npos);
  }
  const std::string trace = TraceId::generate().hex(), span = SpanId::generate().hex();
  EXPECT_EQ(call("GET", "/sboms", "", {{"traceparent", "00-" + trace + "-" + span + "-01"}}).status, 200);
  EXPECT_EQ(spans.last().trace_id, trace);
  EXPECT_EQ(spans.last().parent_span_id, span);
  EXPECT_EQ(spans.last().links, "[]");
  EXPECT_EQ(json::parse(spans.last().attributes)->find("linked_trace_id"), nullptr);
}

// A series of the exposition; 0 where there is none.
double figure(std::string_view series) {
  const std::string text = telemetry::openmetrics();
  const auto at = text.find("\n" + std::string(series) + " ");
  return at == text.npos ? 0 : std::strtod(text.c_str() + at + series.size() + 2, nullptr);
}

// Its handler forgot the time: one answer, under its own route, with the time that its caller waited.
TEST_F(Api, AnAbandonedRequestIsCountedOnceUnderItsRoute) {
  std::latch leave{1}, left{1};
  services_->parts = [&] {
    leave.wait();
    left.count_down();
    return parts_;
  };
  server_.reset();
  http::ServerOptions options;
  options.temp_dir = root_;
  options.workers = 2;
  options.limits.request_timeout = std::chrono::milliseconds(500);
  server_ = std::move(start(options, *services_).value());
  const std::string failed = R"(stella_http_requests_total{method="GET",route="/readyz",status="5xx"})", served = R"(stella_http_requests_total{method="GET",route="/readyz",status="2xx"})";
  const std::string count = R"(stella_http_request_duration_seconds_count{method="GET",route="/readyz"})", sum = R"(stella_http_request_duration_seconds_sum{method="GET",route="/readyz"})";
  const double before[] = {figure(failed), figure(served), figure(count), figure(sum)};
  EXPECT_EQ(call("GET", "/readyz", "", {}, "").status, 504);
  leave.count_down();
  left.wait();
  server_.reset();  // waits for the handler
  EXPECT_EQ(figure(failed) - before[0], 1);
  EXPECT_EQ(figure(served) - before[1], 0);
  EXPECT_EQ(figure(count) - before[2], 1);
  EXPECT_GE(figure(sum) - before[3], 0.5);
}

// What one tenant asks for costs every process, or tells of others: so often and no more.
TEST_F(Api, ATenantIsHeldToItsRate) {
  const std::string other = sign_in("beta", "bob", {"obs:write", "tenant:admin"});
  const auto change = [&](int i, std::optional<std::string> token = std::nullopt) { return call("PATCH", "/obs/settings/telemetry", R"({"sampling":0.)" + std::to_string(i + 1) + "}", {{"content-type", "application/json"}}, token); };
  for (int i = 0; i < 10; ++i) EXPECT_EQ(change(i).status, 200) << i;
  const Reply refused = change(10);
  EXPECT_EQ(refused.status, 429) << refused.raw.body;
  EXPECT_NE(refused.raw.header("retry-after"), "");
  EXPECT_EQ(change(0, other).status, 200) << "another tenant's";
  const auto create = [&](const std::string& login, std::optional<std::string> token = std::nullopt) {
    return call("POST", "/principals", R"({"kind":"user","login":")" + login + R"(","secret":"correct horse battery","scopes":[]})", {{"content-type", "application/json"}}, token).status;
  };
  EXPECT_EQ(create("eve"), 201) << "as often as it likes";
  for (int i = 0; i < 19; ++i) services_->taken_logins.count(TenantId::parse("acme").value());
  EXPECT_EQ(create("eve"), 409);
  EXPECT_EQ(create("fay"), 201) << "its own tell it nothing";
  EXPECT_EQ(create("bob"), 409);
  EXPECT_EQ(create("carl"), 429);
  EXPECT_EQ(create("ada", other), 409);
  EXPECT_EQ(create("carl", other), 201);
}

TEST(Rate, EndsWithItsTime) {
  TenantRate rate(2, std::chrono::seconds(60));
  const TenantId acme = TenantId::parse("acme").value();
  const Timestamp begin = Timestamp::now();
  for (int i = 0; i < 2; ++i) {
    EXPECT_TRUE(rate.may(acme, "no", begin).has_value());
    rate.count(acme, begin + std::chrono::seconds(i * 10));
  }
  EXPECT_FALSE(rate.may(acme, "no", begin + std::chrono::seconds(59)).has_value());
  EXPECT_TRUE(rate.may(acme, "no", begin + std::chrono::seconds(60)).has_value());
  rate.count(acme, begin + std::chrono::seconds(60));
  EXPECT_FALSE(rate.may(acme, "no", begin + std::chrono::seconds(69)).has_value());
  EXPECT_TRUE(rate.may(acme, "no", begin + std::chrono::seconds(70)).has_value());
}

// Guesses of one's own old secret are as few as of any.
TEST_F(Api, AHolderTakesANewSecret) {
  const std::string token = sign_in("acme", "dora", {"sbom:read"});
  const auto ask = [&](std::string_view old_secret) { return call("POST", "/me/secret", R"({"old_secret":")" + std::string(old_secret) + R"(","new_secret":"a secret of my own"})", {{"content-type", "application/json"}}, token); };
  EXPECT_EQ(ask("not the one in force").status, 403);
  const Reply changed = ask(kSecret);
  EXPECT_EQ(changed.status, 200) << changed.raw.body;
  EXPECT_EQ(changed.body.integer("ended_tokens"), 1);
  EXPECT_EQ(call("GET", "/me", "", {}, token).status, 401);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM principals WHERE created_by IS NOT NULL"), "0");
  ASSERT_EQ(call("POST", "/principals", R"({"kind":"user","login":"eve","secret":"correct horse battery","scopes":[]})").status, 201);
  EXPECT_EQ(db_.sql("SELECT created_by FROM principals WHERE login = 'eve'"), std::string(call("GET", "/me").body.str("principal_id"))) << "who made it is kept";
}

TEST_F(Api, SigningOutEndsTheToken) {
  const std::string token = sign_in("acme", "carl", {"sbom:read"});
  const std::string id(call("GET", "/me", "", {}, token).body.str("token_id"));
  const std::string mine(call("GET", "/me").body.str("token_id"));
  EXPECT_EQ(call("DELETE", "/tokens/" + mine, "", {}, token).status, 404);  // another's, without tenant:admin
  EXPECT_EQ(call("DELETE", "/tokens/" + mine, "", {}, sign_in("acme", "dan", {"tenant:admin"})).status, 403);  // a platform administrator's
  EXPECT_EQ(call("DELETE", "/tokens/" + id, "", {}, token).status, 200);
  EXPECT_EQ(call("GET", "/me", "", {}, token).status, 401);
  EXPECT_EQ(call("GET", "/me").status, 200);
}

// What reads and verifies a stored attestation, again and again: also when the answer is remembered.
TEST_F(Api, AnAttestationIsVerifiedWheneverItIsRead) {
  ASSERT_TRUE(provisioner_.introduce_key(evidence_key_->public_key(), "evidence", TraceId::generate()).has_value());
  const evidence::Subject subject{.name = "sbom", .sha256 = crypto::sha256("sbom")};
  evidence::VerificationResult result;
  result.time_created = Timestamp::now();
  result.properties = {"STELLA_POLICY_ALLOW"};
  const std::string svr = evidence::make_svr(std::span(&subject, 1), result).value();
  const auto batch = evidence::SignedBatch::sign(*evidence_key_, {crypto::sha256(svr), crypto::sha256("another")}).value();
  const std::string document = batch.document(0, svr).value();
  const Sha256 digest = crypto::sha256(document);
  const std::string about = EvaluationId::generate().str(), id = AttestationId::generate().str();
  const std::string path = object_key::attestation(TenantId::parse("acme").value(), about, digest);
  ASSERT_TRUE(store_->put(path, document).has_value());
  db_.sql("INSERT INTO attestations (id, tenant_id, subject_id, subject_digest, statement_path, signer_key_id) VALUES ('" + id + "', 'acme', '" + about + "', decode('" + subject.sha256.hex() + "', 'hex'), '" + path + "', 'x')");
  db_.sql("INSERT INTO attestation_facts (tenant_id, attestation_id, predicate_type, subject_name, statement_sha256, trace_id) VALUES ('acme', '" + id + "', 'x', 'sbom', decode('" + digest.hex() + "', 'hex'), 't')");
  const std::string signer = evidence_key_->public_key().id().str();
  for (int i = 0; i < 2; ++i) {  // the second answer is remembered
    const Reply r = call("GET", "/attestations/" + id);
    ASSERT_EQ(r.status, 200) << r.raw.body;
    EXPECT_EQ(r.body.str("form"), "batch");
    EXPECT_EQ(r.body.str("signed"), "stored");
    EXPECT_EQ(json::dump(*r.body.find("bundle")), json::dump(json::parse(document).value()));
    EXPECT_EQ(json::dump(*r.body.find("statement")), svr);
    const json::Value& verdict = *r.body.find("verdict");
    EXPECT_EQ(verdict.str("result"), "pass") << r.raw.body;
    EXPECT_EQ(verdict.items("signers").front().as_string(), signer);
    EXPECT_EQ(verdict.str("predicate_type"), evidence::kSvrPredicate);
    EXPECT_TRUE(Timestamp::parse(verdict.str("verified_at")).has_value());
    EXPECT_EQ(verdict.items("not_checked").size(), 2u);
  }
  // For tools that know no batch: the same statement, signed again, and it says so.
  const Reply plain = call("GET", "/attestations/" + id + "?form=sigstore");
  ASSERT_EQ(plain.status, 200) << plain.raw.body;
  EXPECT_EQ(plain.body.str("form"), "sigstore");
  EXPECT_EQ(plain.body.str("signed"), "on_demand");
  const std::vector<crypto::PublicKey> trust{evidence_key_->public_key()};
  const auto again = evidence::verify_statement(json::dump(*plain.body.find("bundle")), {.trust = trust, .subject = &subject.sha256, .predicate_type = evidence::kSvrPredicate});
  ASSERT_TRUE(again.has_value()) << again.error().describe();
  EXPECT_EQ(again->bytes, svr);
  // For tools that know only DSSE: an envelope whose payload is the statement.
  const Reply envelope = call("GET", "/attestations/" + id + "?form=dsse");
  ASSERT_EQ(envelope.status, 200) << envelope.raw.body;
  EXPECT_EQ(envelope.body.str("form"), "dsse");
  EXPECT_EQ(envelope.body.str("signed"), "on_demand");
  const auto parsed = crypto::dsse_parse(json::dump(*envelope.body.find("bundle")));
  ASSERT_TRUE(parsed.has_value()) << parsed.error().describe();
  EXPECT_EQ(parsed->payload, svr);
  EXPECT_TRUE(crypto::dsse_verify(*parsed, trust).has_value());
  EXPECT_EQ(call("GET", "/attestations/" + id + "?form=pdf").status, 422);
  const auto verify = [&](const std::string& sha256) { return call("POST", "/attestations/verify", json::dump(json::Value::object({{"statement", document}, {"subject_digest", sha256}}))); };
  EXPECT_EQ(verify(subject.sha256.hex()).body.str("result"), "pass");
  EXPECT_EQ(verify(crypto::sha256("other").hex()).body.str("result"), "fail");
  // Another set of keys meets no old answer.
  db_.sql("UPDATE signing_keys SET state = 'compromised'");
  const Reply withdrawn = call("GET", "/attestations/" + id);
  EXPECT_EQ(withdrawn.body.find("verdict")->str("result"), "fail");
  EXPECT_EQ(withdrawn.body.find("statement"), nullptr);
  EXPECT_EQ(call("GET", "/attestations/" + id + "?form=sigstore").status, 422);
  EXPECT_EQ(call("GET", "/attestations/" + id + "?form=dsse").status, 422);
  db_.sql("UPDATE signing_keys SET state = 'active'");
  // Nor do other bytes; a document of the same meaning is not the one that was recorded either.
  ASSERT_TRUE(write_file_durable(root_ + "/" + path, document + " ").has_value());
  const Reply changed = call("GET", "/attestations/" + id);
  EXPECT_EQ(changed.status, 200);
  EXPECT_EQ(changed.body.find("verdict")->str("result"), "fail");
  EXPECT_EQ(changed.body.find("statement"), nullptr);
  const Reply asked = call("POST", "/attestations/verify", json::dump(json::Value::object({{"attestation_id", id}, {"subject_digest", subject.sha256.hex()}})));
  EXPECT_EQ(asked.body.str("result"), "fail") << "well signed, and not the one that was recorded";
}

}  // namespace
}  // namespace stella::web
