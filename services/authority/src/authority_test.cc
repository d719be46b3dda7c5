// Sign-in, tokens and decisions against a real database.
#include "stella/services/authority.h"

#include <gtest/gtest.h>

#include <atomic>
#include <barrier>
#include <chrono>
#include <future>
#include <thread>
#include <vector>

#include "stella/contracts/errors.h"
#include "stella/crypto/jws.h"
#include "stella/crypto/keys.h"
#include "stella/testing/postgres.h"

namespace stella::authority {
namespace {

namespace errors = contracts::errors;
constexpr std::string_view kSecret = "correct horse battery";

class Signing : public ::testing::Test {
 protected:
  PrincipalId add(std::string_view login, std::vector<std::string> scopes, std::vector<std::string> platform = {}, std::string_view tenant = "acme") {
    auto id = provisioner_.create_principal(TenantId::parse(tenant).value(), {"user", std::string(login), "Somebody", std::string(kSecret), std::move(scopes), std::move(platform)}, "system:test", TraceId::generate());
    EXPECT_TRUE(id.has_value()) << id.error().describe();
    return id.value_or(PrincipalId());
  }
  Principal sign_in(std::string_view login) {
    auto issued = authority_.login(login, kSecret, "password", TraceId::generate());
    EXPECT_TRUE(issued.has_value()) << issued.error().describe();
    return authority_.authenticate(issued->token).value();
  }
  std::variant<Grant, Denial> ask(const Principal& p, std::string_view scope, bool platform = false, bool kb = false, std::string_view tenant = "") {
    Demand d;
    d.scope = scope;
    d.platform = platform;
    d.knowledge_base = kb;
    d.route = "/sboms";
    d.method = "GET";
    d.asked_tenant = tenant;
    d.trace = TraceId::generate();
    return std::move(authority_.authorize(p, d).value());
  }
  bool allowed(const Principal& p, std::string_view scope, bool platform = false) { return std::holds_alternative<Grant>(ask(p, scope, platform)); }
  std::string events(std::string_view kind) { return db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"" + std::string(kind) + "\"%'"); }

  testing::TestDatabase db_;
  TenantId acme_ = db_.tenant("acme");
  TenantId beta_ = db_.tenant("beta");
  pg::SystemPool<pg::AuthorityRole> pool_{db_.options("stella_authority")};
  pg::Pool web_{db_.options("stella_web")};
  std::shared_ptr<const crypto::Signer> key_ = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  Options options_{"http://stella.test", std::chrono::seconds(3600)};
  Authority authority_{pool_, key_, options_};
  Provisioner provisioner_{pool_};
};

TEST_F(Signing, ATokenSaysWhoItIs) {
  const PrincipalId id = add("ada", {"sbom:read", "sbom:write"});
  const Principal p = sign_in("ada");
  EXPECT_EQ(p.tenant, acme_);
  EXPECT_EQ(p.id, id);
  EXPECT_EQ(p.actor, "user:" + id.str());
  EXPECT_EQ(p.scopes, (std::vector<std::string>{"stella:sbom:read#tenant/acme", "stella:sbom:write#tenant/acme"}));
  EXPECT_EQ(events("token.issued"), "1");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM tokens"), "1");
}

// The Collector reads the claims kind, tenant and scope; the API takes a tenant's token only.
TEST_F(Signing, ATelemetryTokenSendsTelemetryAndNothingElse) {
  const crypto::PublicKey keys[] = {key_->public_key()};
  const Timestamp now = Timestamp::now();
  const auto token = telemetry_token(*key_, options_.issuer, std::chrono::seconds(600), now);
  ASSERT_TRUE(token.has_value());
  const auto claims = crypto::jwt_verify(*token, keys);
  ASSERT_TRUE(claims.has_value());
  EXPECT_TRUE(crypto::jwt_check_claims(*claims, {options_.issuer, options_.issuer, now + std::chrono::seconds(599)}).has_value());
  EXPECT_FALSE(crypto::jwt_check_claims(*claims, {options_.issuer, options_.issuer, now + std::chrono::seconds(700)}).has_value());
  EXPECT_EQ(claims->str("kind"), "platform");
  EXPECT_EQ(claims->str("scope"), "stella:telemetry:write#platform");
  EXPECT_EQ(claims->find("tenant"), nullptr);
  const auto refused = authority_.authenticate(*token);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().field("reason"), "kind");

  add("ada", {"telemetry:write"}, {"telemetry:write"});
  const auto login = authority_.login("ada", kSecret, "password", TraceId::generate());
  ASSERT_TRUE(login.has_value());
  const auto own = crypto::jwt_verify(login->token, keys);
  EXPECT_EQ(own->str("kind"), "tenant");
  EXPECT_EQ(own->str("tenant"), "acme");
}

TEST_F(Signing, EveryKindOfWrongLoginGetsTheSameAnswer) {
  add("ada", {"sbom:read"});
  add("off", {"sbom:read"});
  db_.sql("UPDATE principals SET state = 'disabled' WHERE login = 'off'");
  add("gone", {"sbom:read"}, {}, "beta");
  db_.sql("UPDATE tenants SET state = 'suspended' WHERE tenant_id = 'beta'");
  const std::pair<std::string, std::string> tries[] = {{"ada", "wrong secret"}, {"nobody", std::string(kSecret)}, {"off", std::string(kSecret)}, {"gone", std::string(kSecret)},
                                                       {"", std::string(kSecret)}, {std::string(126, 'x') + "漢", std::string(kSecret)}, {"' OR 1=1 --", std::string(kSecret)}};
  std::string answer;
  for (const auto& [login, secret] : tries) {
    const auto issued = authority_.login(login, secret, "password", TraceId::generate());
    ASSERT_FALSE(issued.has_value()) << login;
    EXPECT_EQ(issued.error().code(), errors::kUnauthenticated);
    if (answer.empty()) answer = issued.error().describe();
    EXPECT_EQ(issued.error().describe(), answer) << login;
  }
  EXPECT_EQ(db_.sql("SELECT count(*) FROM tokens"), "0");
}

TEST_F(Signing, TenFailuresCloseTheDoorForThatLoginOnly) {
  add("ada", {"sbom:read"});
  add("bob", {"sbom:read"});
  for (int i = 0; i < 10; ++i) EXPECT_EQ(authority_.login("ada", "wrong", "password", TraceId()).error().code(), errors::kUnauthenticated);
  EXPECT_EQ(authority_.login("ada", kSecret, "password", TraceId()).error().code(), errors::kRateLimited);
  EXPECT_TRUE(authority_.login("bob", kSecret, "password", TraceId::generate()).has_value());
}

// Whoever guesses does not shut the door to whom the login belongs.
TEST_F(Signing, AStrangersFailuresCloseTheDoorForTheStrangersNetworkOnly) {
  add("ada", {"sbom:read"});
  const auto from = [this](std::string_view peer, std::string_view secret, std::string_view login = "ada") { return authority_.login(login, secret, "password", TraceId::generate(), peer); };
  for (int i = 0; i < 10; ++i) EXPECT_EQ(from("203.0.113." + std::to_string(i), "wrong").error().code(), errors::kUnauthenticated);
  EXPECT_EQ(from("203.0.113.200", kSecret).error().code(), errors::kRateLimited);
  EXPECT_EQ(from("::ffff:203.0.113.7", kSecret).error().code(), errors::kRateLimited) << "the same one";
  EXPECT_TRUE(from("198.51.100.1", kSecret).has_value());
  EXPECT_TRUE(from("2001:db8:1::1", kSecret).has_value());
  EXPECT_TRUE(from("", kSecret).has_value());
  EXPECT_EQ(events("login.locked"), "1");
  EXPECT_EQ(db_.sql("SELECT tenant_id FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%login.locked%'"), "acme");
  for (int i = 0; i < 10; ++i) (void)from("203.0.113.1", "wrong", "nobody");
  EXPECT_EQ(db_.sql("SELECT string_agg(tenant_id, ' ' ORDER BY tenant_id) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%login.locked%'"), "acme platform");
}

TEST(Guard, ANetworkHasItsShare) {
  SignInGuard guard;
  for (std::size_t i = 0; i < SignInGuard::kFailuresOfNetwork; ++i) {
    ASSERT_TRUE(guard.may_try("new", "4abc").has_value()) << i;
    EXPECT_FALSE(guard.failed("nobody" + std::to_string(i), "4abc"));
  }
  EXPECT_EQ(guard.may_try("new", "4abc").error().code(), errors::kRateLimited);
  EXPECT_TRUE(guard.may_try("new", "4abd").has_value());
  {
    const auto first = guard.check("4abc"), second = guard.check("4abc");
    EXPECT_TRUE(first && second);
    EXPECT_FALSE(guard.check("4abc")) << "the other two are for others";
    const auto third = guard.check("4abd"), fourth = guard.check("4abe");
    EXPECT_TRUE(third && fourth);
    EXPECT_FALSE(guard.check("4abf"));
  }
  EXPECT_TRUE(guard.check("4abc"));
}

// Everybody behind a proxy that does not say whom for.
TEST(Guard, NobodyIsShutOutWithEverybodyElse) {
  SignInGuard guard;
  const std::string network = network_of("127.0.0.1");
  for (std::size_t i = 0; i < SignInGuard::kFailuresOfNetwork; ++i) EXPECT_FALSE(guard.failed("nobody" + std::to_string(i), network));
  EXPECT_TRUE(guard.may_try("new", network).has_value());
  for (std::size_t i = 0; i < SignInGuard::kFailuresOfLogin; ++i) (void)guard.failed("ada", network);
  EXPECT_FALSE(guard.may_try("ada", network).has_value());
  const auto first = guard.check(network), second = guard.check(network), third = guard.check(network), fourth = guard.check(network);
  EXPECT_TRUE(third && fourth);
  EXPECT_FALSE(guard.check(network)) << "at once";
}

TEST(Guard, NetworksOfAddresses) {
  for (const char* here : {"127.0.0.1", "127.8.0.1", "::1", "::ffff:127.0.0.1"}) EXPECT_EQ(network_of(here), "") << here;

  EXPECT_EQ(network_of("192.0.2.1"), network_of("192.0.2.254"));
  EXPECT_NE(network_of("192.0.2.1"), network_of("192.0.3.1"));
  EXPECT_EQ(network_of("192.0.2.1"), network_of("::ffff:192.0.2.9"));
  EXPECT_EQ(network_of("2001:db8:1:2::1"), network_of("2001:db8:1:3::1"));
  EXPECT_NE(network_of("2001:db8:1::1"), network_of("2001:db8:2::1"));
  EXPECT_EQ(network_of("no address"), "");
}

TEST_F(Signing, ATokenEndsByRevocationAndByTime) {
  add("ada", {"sbom:read"});
  const auto issued = authority_.login("ada", kSecret, "password", TraceId::generate()).value();
  ASSERT_TRUE(authority_.authenticate(issued.token).has_value());
  {
    auto tx = pg::TenantTx::open(web_, testing::TestScope::make("beta"));
    EXPECT_EQ(authority_.revoke(*tx, issued.principal, issued.principal.token_id, TraceId()).error().code(), base_errors::kNotFound);  // another tenant's
  }
  {
    auto tx = pg::TenantTx::open(web_, testing::TestScope::make("acme"));
    ASSERT_TRUE(authority_.revoke(*tx, issued.principal, issued.principal.token_id, TraceId::generate()).has_value());
    ASSERT_TRUE(authority_.authenticate(issued.token).has_value());  // not committed yet
    ASSERT_TRUE(tx->commit().has_value());
  }
  const auto refused = authority_.authenticate(issued.token);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().code(), errors::kUnauthenticated);
  EXPECT_EQ(refused.error().field("reason"), "revoked");
  EXPECT_EQ(events("token.revoked"), "1");

  Authority brief(pool_, key_, {"http://stella.test", std::chrono::seconds(-3600)});
  const auto expired = brief.login("ada", kSecret, "password", TraceId::generate()).value();
  EXPECT_EQ(authority_.authenticate(expired.token).error().code(), errors::kUnauthenticated);
}

// As with everything about a holder of platform scopes, whatever its tenant's administrator may do with others.
TEST_F(Signing, AHolderOfPlatformScopesLosesNoTokenToATenantsAdministrator) {
  add("root", {"tenant:admin"}, {"tenant:admin"});
  add("keys", {"tenant:admin"}, {"keys:write"});
  add("ada", {"tenant:admin"});
  add("bob", {"sbom:read"});
  const Principal root = sign_in("root"), keys = sign_in("keys"), ada = sign_in("ada"), bob = sign_in("bob");
  const auto revoke = [&](const Principal& by, const Principal& whose) {
    auto tx = pg::TenantTx::open(web_, testing::TestScope::make("acme"));
    auto done = authority_.revoke(*tx, by, whose.token_id, TraceId::generate());
    if (done) done = tx->commit();
    return done ? ErrorCode{} : done.error().code();
  };
  EXPECT_EQ(revoke(ada, root), errors::kForbidden);
  EXPECT_EQ(revoke(ada, keys), errors::kForbidden);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM tokens WHERE revoked_at IS NOT NULL"), "0");
  EXPECT_EQ(revoke(ada, bob), ErrorCode{});
  EXPECT_EQ(revoke(keys, sign_in("keys")), ErrorCode{}) << "one's own other session";
  EXPECT_EQ(revoke(root, keys), ErrorCode{});
  EXPECT_EQ(revoke(ada, bob), base_errors::kNotFound) << "once";
  EXPECT_EQ(events("token.revoked"), "3");
}

// A verifier forgives a clock some seconds; what was revoked stays so in them, too.
TEST_F(Signing, ARevokedTokenDoesNotComeBackWhenItsTimeIsOver) {
  add("ada", {"sbom:read"});
  Authority brief(pool_, key_, {"http://stella.test", std::chrono::seconds(-10)});
  const auto issued = brief.login("ada", kSecret, "password", TraceId::generate()).value();
  ASSERT_TRUE(authority_.authenticate(issued.token).has_value()) << "within the leeway";
  auto tx = pg::TenantTx::open(web_, testing::TestScope::make("acme"));
  ASSERT_TRUE(authority_.revoke(*tx, issued.principal, issued.principal.token_id, TraceId::generate()).has_value());
  ASSERT_TRUE(tx->commit().has_value());
  const auto refused = authority_.authenticate(issued.token);
  ASSERT_FALSE(refused.has_value());
  EXPECT_EQ(refused.error().field("reason"), "revoked");
}

// Names that nobody throttles would otherwise fill every worker and every core with hashing.
TEST_F(Signing, OnlySomeSecretsAreHashedAtOnce) {
  add("ada", {"sbom:read"});
  constexpr int kGuesses = 24;
  std::barrier start(kGuesses);
  std::atomic<int> refused{0}, wrong{0};
  {
    std::vector<std::jthread> threads;
    for (int i = 0; i < kGuesses; ++i) {
      threads.emplace_back([&, i] {
        start.arrive_and_wait();
        const auto guess = authority_.login("nobody" + std::to_string(i), kSecret, "password", TraceId());
        if (guess.error().code() != errors::kRateLimited) ++wrong;
        else if (guess.error().field("retry_after") == "1") ++refused;
      });
    }
  }
  EXPECT_GT(refused, 0);
  EXPECT_GE(wrong, 2);  // of one network
  EXPECT_EQ(refused + wrong, kGuesses);
  EXPECT_TRUE(authority_.login("ada", kSecret, "password", TraceId::generate()).has_value());
}

// Changes in a committed transaction of acme.
template <class Change>
auto in_acme(pg::Pool& pool, Change change) {
  auto tx = pg::TenantTx::open(pool, testing::TestScope::make("acme"));
  auto done = change(*tx);
  if (done) {
    EXPECT_TRUE(tx->commit().has_value());
  }
  return done;
}

TEST_F(Signing, WhoIsDisabledIsOutAtOnce) {
  add("root", {"tenant:admin"});
  const PrincipalId ada = add("ada", {"sbom:read"});
  const Principal root = sign_in("root");
  const auto issued = authority_.login("ada", kSecret, "password", TraceId::generate()).value();
  const auto change = [&](const Principal& by, const PrincipalId& id, PrincipalChange what) {
    return in_acme(web_, [&](pg::TenantTx& tx) { return authority_.change_principal(tx, by, id, what, TraceId::generate()); });
  };
  ASSERT_TRUE(authority_.authenticate(issued.token).has_value());
  const auto off = change(root, ada, {.display_name = "Ada L.", .state = "disabled"});
  ASSERT_TRUE(off.has_value()) << off.error().describe();
  EXPECT_EQ(off->state + " " + off->display_name, "disabled Ada L.");
  EXPECT_EQ(off->ended_tokens, 1);
  EXPECT_EQ(authority_.authenticate(issued.token).error().field("reason"), "revoked");
  EXPECT_EQ(authority_.login("ada", kSecret, "password", TraceId::generate()).error().code(), errors::kUnauthenticated);
  EXPECT_EQ(events("principal.changed") + events("token.revoked"), "21");
  ASSERT_TRUE(change(root, ada, {.state = "disabled"}).has_value());  // is so already
  EXPECT_EQ(events("principal.changed"), "2");
  ASSERT_TRUE(change(root, ada, {.state = "active"}).has_value());
  EXPECT_TRUE(authority_.login("ada", kSecret, "password", TraceId::generate()).has_value());
  EXPECT_FALSE(authority_.authenticate(issued.token).has_value());  // it does not come back
  EXPECT_EQ(change(root, root.id, {.state = "disabled"}).error().code(), errors::kConflict);
  EXPECT_EQ(change(root, PrincipalId::generate(), {.state = "active"}).error().code(), base_errors::kNotFound);
  EXPECT_EQ(change(root, add("bea", {}, {}, "beta"), {.state = "disabled"}).error().code(), base_errors::kNotFound);
  EXPECT_EQ(change(root, ada, {}).error().code(), base_errors::kInvalid);
  EXPECT_EQ(change(root, ada, {.state = "gone"}).error().code(), base_errors::kInvalid);
}

TEST_F(Signing, ATokenIssuedWhileItsHolderIsDisabledIsNotInForce) {
  add("ada", {"sbom:read"});
  const auto issued = authority_.login("ada", kSecret, "password", TraceId::generate()).value();
  db_.sql("UPDATE principals SET state = 'disabled' WHERE login = 'ada'");  // the change saw no token yet
  EXPECT_FALSE(authority_.authenticate(issued.token).has_value());
  db_.sql("UPDATE principals SET state = 'active' WHERE login = 'ada'");
  db_.sql("UPDATE tenants SET state = 'suspended' WHERE tenant_id = 'acme'");
  Authority other(pool_, key_, options_);
  EXPECT_FALSE(other.authenticate(issued.token).has_value());
}

// A login that hashed its secret while a change was under way, and comes to its token's row before that is committed: it has read what was before.
// Gives the change time until the login waits for it, or is through.
class Overtaken : public Signing {
 protected:
  Result<IssuedToken> login_across(std::string_view login, const std::function<void()>& commit) {
    auto coming = std::async(std::launch::async, [&] { return authority_.login(login, kSecret, "password", TraceId::generate()); });
    while (coming.wait_for(std::chrono::milliseconds(5)) != std::future_status::ready && !waits()) std::this_thread::yield();
    commit();
    return coming.get();
  }
  bool waits() { return db_.sql("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND usename = 'stella_authority' AND wait_event_type = 'Lock'") != "0"; }
  std::string in_force() { return db_.sql("SELECT count(*) FROM tokens k JOIN principals p USING (tenant_id, principal_id) WHERE p.login = 'ada' AND k.revoked_at IS NULL"); }
};

TEST_F(Overtaken, AScopeThatIsTakenMeanwhileIsNotInTheToken) {
  add("root", {"tenant:admin"});
  const PrincipalId ada = add("ada", {"sbom:read", "evidence:export"});
  const Principal root = sign_in("root");
  auto tx = pg::TenantTx::open(web_, testing::TestScope::make("acme"));
  ASSERT_TRUE(authority_.change_scopes(*tx, root, ada, {false, {"evidence:export"}, {}}, TraceId::generate()).has_value());
  const auto issued = login_across("ada", [&] { EXPECT_TRUE(tx->commit().has_value()); });
  ASSERT_TRUE(issued.has_value()) << issued.error().describe();
  EXPECT_EQ(issued->principal.scopes, std::vector<std::string>{"stella:sbom:read#tenant/acme"});
  EXPECT_EQ(authority_.authenticate(issued->token)->scopes, issued->principal.scopes);
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"token.issued\"%' AND convert_from(entry, 'UTF8') LIKE '%evidence:export%'"), "0");
}

TEST_F(Overtaken, WhoIsDisabledMeanwhileGetsNoTokenThatCouldComeBack) {
  add("root", {"tenant:admin"});
  const PrincipalId ada = add("ada", {"sbom:read"});
  const Principal root = sign_in("root");
  const auto change = [&](pg::TenantTx& tx, std::string state) { return authority_.change_principal(tx, root, ada, {.state = std::move(state)}, TraceId::generate()); };
  auto tx = pg::TenantTx::open(web_, testing::TestScope::make("acme"));
  ASSERT_TRUE(change(*tx, "disabled").has_value());
  const auto issued = login_across("ada", [&] { EXPECT_TRUE(tx->commit().has_value()); });
  ASSERT_TRUE(in_acme(web_, [&](pg::TenantTx& again) { return change(again, "active"); }).has_value());
  EXPECT_EQ(in_force(), "0");
  ASSERT_FALSE(issued.has_value()) << "its token is good again: " << authority_.authenticate(issued->token).has_value();
  EXPECT_EQ(issued.error().code(), errors::kUnauthenticated);
  EXPECT_EQ(issued.error().describe(), authority_.login("nobody", kSecret, "password", TraceId()).error().describe());
}

TEST_F(Overtaken, NobodyOfATenantThatIsSuspendedMeanwhileGetsOneEither) {
  add("ada", {"sbom:read"});
  auto tx = pg::SystemTx<pg::AuthorityRole>::open(pool_);
  ASSERT_TRUE(tx->query("UPDATE tenants SET state = 'suspended' WHERE tenant_id = $1", {acme_}).has_value());
  const auto issued = login_across("ada", [&] { EXPECT_TRUE(tx->commit().has_value()); });
  db_.sql("UPDATE tenants SET state = 'active' WHERE tenant_id = 'acme'");
  EXPECT_EQ(in_force(), "0");
  ASSERT_FALSE(issued.has_value()) << "its token is good again: " << authority_.authenticate(issued->token).has_value();
  EXPECT_EQ(issued.error().code(), errors::kUnauthenticated);
}

TEST_F(Overtaken, ASecretThatIsChangedMeanwhileOpensNothing) {
  add("ada", {"sbom:read"});
  add("bob", {"sbom:read"});
  pg::SystemPool<pg::AuthorityRole> super(db_.options("stella_super"));
  auto tx = pg::SystemTx<pg::AuthorityRole>::open(super);
  ASSERT_TRUE(tx->query("UPDATE principals SET secret_hash = (SELECT secret_hash FROM principals WHERE tenant_id = $1 AND login = 'bob') WHERE tenant_id = $1 AND login = 'ada'", {acme_}).has_value());
  EXPECT_FALSE(login_across("ada", [&] { EXPECT_TRUE(tx->commit().has_value()); }).has_value());
  EXPECT_EQ(in_force(), "0");
}

TEST_F(Signing, ScopesAreGrantedAndTaken) {
  add("root", {"tenant:admin"});
  add("chief", {"tenant:admin"}, {"tenant:admin"});
  const PrincipalId ada = add("ada", {"sbom:read"});
  const Principal root = sign_in("root"), chief = sign_in("chief");
  const auto change = [&](const Principal& by, const PrincipalId& id, ScopeChange what) {
    return in_acme(web_, [&](pg::TenantTx& tx) { return authority_.change_scopes(tx, by, id, what, TraceId::generate()); });
  };
  const auto before = authority_.login("ada", kSecret, "password", TraceId::generate()).value();
  const auto more = change(root, ada, {true, {"sbom:write", "sbom:read", "sbom:write"}, {}});
  ASSERT_TRUE(more.has_value()) << more.error().describe();
  EXPECT_EQ(more->scopes, (std::vector<std::string>{"stella:sbom:read#tenant/acme", "stella:sbom:write#tenant/acme"}));
  EXPECT_EQ(events("scope.granted"), "1");  // one of them was there
  EXPECT_TRUE(authority_.authenticate(before.token).has_value());
  EXPECT_TRUE(allowed(sign_in("ada"), "sbom:write"));
  const auto less = change(root, ada, {false, {"sbom:write", "policy:read"}, {}});
  ASSERT_TRUE(less.has_value()) << less.error().describe();
  EXPECT_EQ(less->ended_tokens, 2);
  EXPECT_EQ(events("scope.revoked") + events("token.revoked"), "12");
  EXPECT_FALSE(authority_.authenticate(before.token).has_value());
  EXPECT_FALSE(allowed(sign_in("ada"), "sbom:write"));
  EXPECT_EQ(change(root, ada, {true, {"kb:write"}, {}}).error().field("field"), "scopes");
  EXPECT_EQ(change(root, ada, {true, {}, {"kb:write"}}).error().code(), errors::kForbidden);
  ASSERT_TRUE(change(chief, ada, {true, {}, {"kb:write"}}).has_value());
  EXPECT_EQ(change(root, ada, {false, {"sbom:read"}, {}}).error().code(), errors::kForbidden);  // now a holder of platform scopes
  EXPECT_EQ(change(root, root.id, {false, {"tenant:admin"}, {}}).error().code(), errors::kConflict);
  EXPECT_EQ(change(root, ada, {true, {}, {}}).error().code(), base_errors::kInvalid);
}

TEST_F(Signing, ASuspendedTenantIsOutAtOnce) {
  add("chief", {"tenant:admin"}, {"tenant:admin"});
  add("bea", {"sbom:read"}, {}, "beta");
  const Principal chief = sign_in("chief");
  const auto issued = authority_.login("bea", kSecret, "password", TraceId::generate()).value();
  const auto off = authority_.change_tenant(chief, beta_, {.display_name = "Beta Ltd", .state = "suspended"}, TraceId::generate());
  ASSERT_TRUE(off.has_value()) << off.error().describe();
  EXPECT_EQ(off->state + " " + off->display_name + " " + std::to_string(off->ended_tokens), "suspended Beta Ltd 1");
  EXPECT_FALSE(authority_.authenticate(issued.token).has_value());
  EXPECT_FALSE(authority_.login("bea", kSecret, "password", TraceId::generate()).has_value());
  EXPECT_EQ(events("tenant.changed"), "2");
  EXPECT_EQ(db_.sql("SELECT string_agg(DISTINCT tenant_id, ',') FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%\"kind\":\"tenant.changed\"%'"), "beta");
  ASSERT_TRUE(authority_.change_tenant(chief, beta_, {.state = "active"}, TraceId::generate()).has_value());
  EXPECT_TRUE(authority_.login("bea", kSecret, "password", TraceId::generate()).has_value());
  EXPECT_EQ(authority_.change_tenant(chief, acme_, {.state = "suspended"}, TraceId::generate()).error().code(), errors::kConflict);
  EXPECT_EQ(authority_.change_tenant(chief, TenantId::parse("platform").value(), {.display_name = "x"}, TraceId::generate()).error().code(), errors::kConflict);
  EXPECT_EQ(authority_.change_tenant(chief, TenantId::parse("nobody").value(), {.state = "active"}, TraceId::generate()).error().code(), base_errors::kNotFound);
  EXPECT_EQ(authority_.change_tenant(chief, beta_, {}, TraceId::generate()).error().code(), base_errors::kInvalid);
}

TEST_F(Signing, TokensOfOthersAreNone) {
  add("ada", {"sbom:read"});
  auto other_key = std::make_shared<crypto::KeyPair>(crypto::KeyPair::generate().value());
  Authority forger(pool_, other_key, options_);
  EXPECT_FALSE(authority_.authenticate(forger.login("ada", kSecret, "password", TraceId::generate())->token).has_value());
  Authority elsewhere(pool_, key_, {"http://other.test", std::chrono::seconds(3600)});
  EXPECT_FALSE(authority_.authenticate(elsewhere.login("ada", kSecret, "password", TraceId::generate())->token).has_value());
  std::string token = authority_.login("ada", kSecret, "password", TraceId::generate())->token;
  EXPECT_TRUE(authority_.authenticate(token).has_value());
  for (const std::string& bad : {std::string(), std::string("a.b.c"), token + "A", token.substr(0, token.rfind('.') + 1), token.substr(0, token.size() / 2)})
    EXPECT_EQ(authority_.authenticate(bad).error().code(), errors::kUnauthenticated);
}

TEST_F(Signing, ScopesMatchExactly) {
  add("ada", {"sbom:read"}, {"kb:write"});
  const Principal p = sign_in("ada");
  EXPECT_TRUE(allowed(p, "sbom:read"));
  EXPECT_TRUE(allowed(p, ""));
  for (const char* scope : {"sbom:write", "sbom", "sbom:rea", "sbom:read ", "sbom:*", "*", "SBOM:READ", "sbom:read#tenant/acme"}) EXPECT_FALSE(allowed(p, scope)) << scope;
  EXPECT_FALSE(allowed(p, "sbom:read", true));
  EXPECT_FALSE(allowed(p, "kb:write"));
  EXPECT_TRUE(allowed(p, "kb:write", true));
  // A tenant whose id another one begins with.
  Principal close = p;
  close.tenant = TenantId::parse("acm").value();
  EXPECT_FALSE(allowed(close, "sbom:read"));
}

TEST_F(Signing, ADenialIsOnRecordBeforeItIsTold) {
  add("ada", {"sbom:read"});
  const Principal p = sign_in("ada");
  const auto denied = ask(p, "policy:write");
  const Denial& d = std::get<Denial>(denied);
  EXPECT_EQ(d.missing_scope, "stella:policy:write#tenant/acme");
  EXPECT_EQ(db_.sql("SELECT decision_effect || ' ' || decision_reason || ' ' || tenant_id FROM decisions WHERE decision_id = '" + d.decision.id.str() + "'"), "deny missing scope acme");
  EXPECT_EQ(events("authz.denied"), "1");
  const auto foreign = ask(p, "sbom:read", false, false, "beta");
  EXPECT_EQ(std::get<Denial>(foreign).decision.reason, "token of another tenant");
  EXPECT_EQ(std::get<Denial>(foreign).missing_scope, "");
  EXPECT_TRUE(std::holds_alternative<Grant>(ask(p, "sbom:read", false, false, "acme")));
  EXPECT_EQ(db_.sql("SELECT count(*) FROM decisions"), "2");  // a grant travels with the request's own transaction
}

TEST_F(Signing, TheKnowledgeBaseIsATenantOfItsOwn) {
  add("ada", {"advisory:write"}, {"kb:write"});
  const Principal p = sign_in("ada");
  const auto granted = ask(p, "kb:write", true, true);
  const Grant& g = std::get<Grant>(granted);
  EXPECT_EQ(g.scope.tenant().str(), kGlobalTenant);
  EXPECT_EQ(g.scope.actor(), p.actor);
  auto tx = pg::TenantTx::open(web_, g.scope);
  ASSERT_TRUE(Authority::record(*tx, g.decision).has_value());
  ASSERT_TRUE(tx->commit().has_value());
  add("bob", {"advisory:write"});
  EXPECT_TRUE(std::holds_alternative<Denial>(ask(sign_in("bob"), "kb:write", true, true)));
}

TEST_F(Signing, WithoutTheDatabaseNobodyIsLetIn) {
  add("ada", {"sbom:read"});
  const auto issued = authority_.login("ada", kSecret, "password", TraceId::generate()).value();
  pg::PoolOptions nowhere = db_.options("stella_authority");
  nowhere.conninfo = "host='/nonexistent' port=1 dbname='x' user='stella_authority'";
  pg::SystemPool<pg::AuthorityRole> gone(nowhere);
  Authority blind(gone, key_, options_);
  EXPECT_EQ(blind.authenticate(issued.token).error().code(), errors::kUnavailable);
  EXPECT_EQ(blind.login("ada", kSecret, "password", TraceId()).error().code(), errors::kUnavailable);
  Demand demand;
  demand.scope = "policy:write";
  EXPECT_EQ(blind.authorize(issued.principal, demand).error().code(), errors::kUnavailable);
}

// Whoever made a login knows its first secret; whoever found one has it until then.
TEST_F(Signing, AHolderTakesANewSecret) {
  constexpr std::string_view kFresh = "a secret of my own";
  add("ada", {"sbom:read"});
  add("bob", {"sbom:read"});
  const auto first = authority_.login("ada", kSecret, "password", TraceId::generate()).value(), second = authority_.login("ada", kSecret, "password", TraceId::generate()).value();
  const Principal bob = sign_in("bob"), &ada = first.principal;
  EXPECT_EQ(authority_.change_secret(ada, kSecret, "short", TraceId()).error().field("field"), "new_secret");
  EXPECT_EQ(authority_.change_secret(ada, kSecret, kSecret, TraceId()).error().field("field"), "new_secret");
  EXPECT_EQ(authority_.change_secret(ada, "not the one in force", kFresh, TraceId()).error().code(), errors::kForbidden);
  EXPECT_TRUE(authority_.authenticate(first.token).has_value());
  EXPECT_EQ(authority_.change_secret(ada, kSecret, kFresh, TraceId::generate()).value(), 2);
  for (const IssuedToken* ended : {&first, &second}) EXPECT_EQ(authority_.authenticate(ended->token).error().field("reason"), "revoked");
  EXPECT_EQ(authority_.login("ada", kSecret, "password", TraceId()).error().code(), errors::kUnauthenticated);
  EXPECT_TRUE(authority_.login("ada", kFresh, "password", TraceId::generate()).has_value());
  EXPECT_TRUE(authority_.login("bob", kSecret, "password", TraceId::generate()).has_value()) << "nobody else's";
  EXPECT_EQ(events("principal.changed"), "1");
  EXPECT_EQ(events("token.revoked"), "2");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%" + std::string(kFresh) + "%'"), "0");
  // A stolen token is no way to guess on.
  for (int i = 0; i < 10; ++i) EXPECT_EQ(authority_.change_secret(bob, "a guess of many", kFresh, TraceId()).error().code(), errors::kForbidden);
  EXPECT_EQ(authority_.change_secret(bob, kSecret, kFresh, TraceId()).error().code(), errors::kRateLimited);
  EXPECT_EQ(authority_.login("bob", kSecret, "password", TraceId()).error().code(), errors::kRateLimited);
}

TEST_F(Signing, WhoMadeAPrincipalIsKept) {
  const PrincipalId ada = add("ada", {"tenant:admin"});
  const auto made = provisioner_.create_principal(acme_, {"user", "bob", "", std::string(kSecret), {}, {}}, "user:" + ada.str(), TraceId::generate(), ada);
  ASSERT_TRUE(made.has_value());
  EXPECT_EQ(db_.sql("SELECT string_agg(login || ':' || coalesce(created_by::text, ''), ' ' ORDER BY login) FROM principals"), "ada: bob:" + ada.str());
}

TEST_F(Signing, ProvisioningRefusesWhatIsNoName) {
  const auto create = [&](NewPrincipal p) { return provisioner_.create_principal(acme_, p, "system:test", TraceId::generate()); };
  EXPECT_EQ(create({"robot", "r2", "", std::string(kSecret), {}, {}}).error().field("field"), "kind");
  EXPECT_EQ(create({"user", "Ada", "", std::string(kSecret), {}, {}}).error().field("field"), "login");
  EXPECT_EQ(create({"user", "ada", "", "short", {}, {}}).error().field("field"), "secret");
  EXPECT_EQ(create({"user", "ada", "", std::string(kSecret), {"kb:write"}, {}}).error().field("field"), "scopes");
  EXPECT_EQ(create({"user", "ada", "", std::string(kSecret), {}, {"sbom:read"}}).error().field("field"), "platform_scopes");
  EXPECT_EQ(db_.sql("SELECT count(*) FROM principals"), "0");
  EXPECT_EQ(provisioner_.create_tenant(TenantId::parse("global").value(), "", "system:test", TraceId()).error().code(), base_errors::kInvalid);
  const TenantId fresh = TenantId::parse("fresh").value();
  EXPECT_TRUE(provisioner_.create_tenant(fresh, "Fresh", "system:test", TraceId::generate()).has_value());
  const auto again = provisioner_.create_tenant(fresh, "Fresh", "system:test", TraceId::generate());
  EXPECT_EQ(again.error().code(), errors::kConflict);
  EXPECT_EQ(again.error().field("sqlstate"), "") << "the database had no error to write into its log";
  EXPECT_EQ(db_.sql("SELECT slug FROM projects WHERE tenant_id = 'fresh'"), "default");
  EXPECT_EQ(events("tenant.created"), "1");
  EXPECT_TRUE(provisioner_.introduce_key(key_->public_key(), "token", TraceId::generate()).has_value());
  EXPECT_TRUE(provisioner_.introduce_key(key_->public_key(), "token", TraceId::generate()).has_value());
  EXPECT_EQ(events("key.introduced"), "1");
  EXPECT_EQ(provisioner_.list_keys()->size(), 1u);
}

}  // namespace
}  // namespace stella::authority
