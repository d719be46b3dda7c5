// stellad --init: everything that must exist before the first request. Each step looks first, so that it can be repeated at any time.
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>

#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/base/file_owner.h"
#include "stella/base/json.h"
#include "stella/contracts/errors.h"
#include "stella/platform/bus_server_config.h"
#include "stella/platform/bus_topology.h"
#include "stella/services/authority.h"
#include "stella/services/key_ring.h"
#include "stellad.h"

namespace stella::stellad {
namespace {

constexpr std::string_view kActor = "system:init";

// Makes the key where it is missing; the public half lies beside it for people and verify.sh.
Result<crypto::PublicKey> ensure_key(const config::Settings& settings, const std::string& purpose) {
  const std::string dir = settings.text("data_dir") + "/keys";
  STELLA_TRY_VOID(make_dirs(dir, 0750));
  if (::access((dir + "/" + purpose + ".pem").c_str(), F_OK) != 0) {
    const std::string passphrase = STELLA_TRY(key_passphrase(settings));
    const crypto::KeyPair key = STELLA_TRY(crypto::KeyPair::generate());
    STELLA_TRY_VOID(key.save(dir + "/" + purpose + ".pem", passphrase));
  }
  const auto key = STELLA_TRY(load_key(settings, purpose));
  STELLA_TRY_VOID(replace_file(dir + "/" + purpose + ".pub", key->public_key().pem(), 0644));
  return key->public_key();
}

// The key of the logs, likewise.
Result<crypto::Ed25519PublicKey> ensure_log_key(const config::Settings& settings) {
  const std::string base = settings.text("data_dir") + "/keys/log", path = base + ".pem";
  if (settings.text("keys.log").empty() && ::access(path.c_str(), F_OK) != 0) {
    const std::string passphrase = STELLA_TRY(key_passphrase(settings));
    const crypto::Ed25519KeyPair key = STELLA_TRY(crypto::Ed25519KeyPair::generate());
    STELLA_TRY_VOID(key.save(path, passphrase));
  }
  const auto key = STELLA_TRY(open_log_key(settings));
  // The logs go on from checkpoints of the key before: its public half stays.
  if (::access((base + ".pub").c_str(), F_OK) == 0) {
    const auto before = STELLA_TRY(log_public_key(settings));
    if (before != key->public_key()) STELLA_TRY_VOID(replace_file(base + "-" + hex_encode(before.raw().substr(0, 4)) + ".pub", before.pem(), 0644));
  }
  STELLA_TRY_VOID(replace_file(base + ".pub", key->public_key().pem(), 0644));
  return key->public_key();
}

Result<std::vector<std::pair<std::string, std::string>>> passwords(const config::Settings& settings) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string_view login : pg::logins()) {
    std::string password = STELLA_TRY(read_secret(path_of(settings, "pg.password_dir", "secrets/pg") + "/" + std::string(login)));
    out.emplace_back(login, std::move(password));
  }
  return out;
}

Result<void> prepare_database(const config::Settings& settings, const Arguments& arguments) {
  pg::PoolOptions superuser = STELLA_TRY(pool_options(settings, "stella_owner"));
  superuser.conninfo = STELLA_TRY(database_server(settings));
  superuser.conninfo += " dbname='postgres' user='" + (arguments.superuser.empty() ? "postgres" : arguments.superuser) + "'";
  superuser.password = STELLA_TRY(read_secret(arguments.superuser_password_file));
  const auto logins = STELLA_TRY(passwords(settings));
  STELLA_TRY_VOID(pg::bootstrap(superuser, logins, settings.text("pg.database")));
  return {};
}

// True where it was made now.
Result<bool> unless_there(Result<void> made) {
  if (made) return true;
  if (made.error().code() == contracts::errors::kConflict) return false;
  return std::move(made.error());
}

Result<int> create_operators(authority::Provisioner& provisioner, const TenantId& tenant, const std::string& path, TraceId trace) {
  const json::Value file = STELLA_TRY(json::parse(STELLA_TRY(read_file(path, 1 << 20))));
  int made = 0;
  for (const json::Value& entry : file.items("operators")) {
    authority::NewPrincipal p;
    p.kind = "user";
    p.login = STELLA_TRY(entry.require_string("login"));
    p.secret = STELLA_TRY(entry.require_string("secret"));
    p.display_name = std::string(entry.str("display_name"));
    p.scopes = authority::all_tenant_scopes();
    if (entry.boolean("platform")) p.platform_scopes = authority::all_platform_scopes();
    auto created = provisioner.create_principal(tenant, p, kActor, trace);
    if (!created && created.error().code() != contracts::errors::kConflict) return std::move(created.error());
    made += created ? 1 : 0;
  }
  return made;
}

}  // namespace

Result<void> write_nats_config(const config::Settings& settings, const Arguments& arguments) {
  bus::ServerConfigOptions options;
  const std::string& url = settings.text("nats.url");
  const std::size_t colon = url.rfind(':');
  options.port = colon == std::string::npos ? 14222 : std::atoi(url.c_str() + colon + 1);
  options.store_dir = arguments.nats_store.empty() ? settings.text("data_dir") + "/nats" : arguments.nats_store;
  for (const std::string_view user : bus::user::kAll) {
    std::string password = STELLA_TRY(read_secret(path_of(settings, "nats.password_dir", "secrets/nats") + "/" + std::string(user)));
    options.passwords.emplace(user, std::move(password));
  }
  return write_file_durable(arguments.nats_config, bus::nats_server_config(options), 0600);
}

Result<void> init(const config::Settings& settings, const Arguments& arguments) {
  if (!arguments.superuser_password_file.empty()) STELLA_TRY_VOID(prepare_database(settings, arguments));
  const pg::PoolOptions owner = STELLA_TRY(pool_options(settings, "stella_owner"));
  const pg::MigrationReport migrated = STELLA_TRY(pg::migrate(owner));
  const pg::PoolOptions login = STELLA_TRY(pool_options(settings, "stella_authority"));
  pg::SystemPool<pg::AuthorityRole> pool(login);
  const authority::KeyRingOptions keys = STELLA_TRY(key_ring_options(settings));
  authority::KeyRing ring(pool, keys);
  STELLA_TRY_VOID(ring.settle());
  const bool elsewhere = keys.signer != nullptr;  // a person made it, and named it in keys.evidence
  const crypto::PublicKey evidence = elsewhere ? keys.signer->public_key() : STELLA_TRY(ensure_key(settings, "evidence"));
  const crypto::PublicKey token = STELLA_TRY(ensure_key(settings, "token"));
  const crypto::Ed25519PublicKey log = STELLA_TRY(ensure_log_key(settings));
  const bool encrypted = STELLA_TRY(encrypts(settings));
  if (encrypted) STELLA_TRY_VOID(open_tenant_keys(settings, true));
  authority::Provisioner provisioner(pool);
  const TraceId trace = TraceId::generate();
  STELLA_TRY_VOID(provisioner.introduce_key(evidence, "evidence", trace));
  const auto previous = STELLA_TRY(open_previous_evidence_key(settings));
  STELLA_TRY_VOID(ring.begin(trace, previous.get()));
  STELLA_TRY_VOID(provisioner.introduce_key(token, "token", trace));
  STELLA_TRY_VOID(provisioner.introduce_key(log, "log", trace));
  bool tenant_created = false;
  int operators = 0;
  if (!arguments.tenant.empty()) {
    const TenantId tenant = STELLA_TRY(TenantId::parse(arguments.tenant));
    tenant_created = STELLA_TRY(unless_there(provisioner.create_tenant(tenant, arguments.tenant_name.empty() ? arguments.tenant : arguments.tenant_name, kActor, trace)));
    if (!arguments.operators.empty()) operators = STELLA_TRY(create_operators(provisioner, tenant, arguments.operators, trace));
  }
  const json::Value out = json::Value::object({{"migrations_applied", migrated.applied}, {"tenant_created", tenant_created}, {"operators_created", operators},
                                               {"evidence_key_id", evidence.id().str()}, {"evidence_public_pem", evidence.pem()}, {"url", public_url(settings)}});
  std::printf("%s\n", json::dump(out).c_str());
  return {};
}

}  // namespace stella::stellad
