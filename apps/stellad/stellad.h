// What stellad's files share: its arguments, its settings as pools and keys, and the two things it does.
#pragma once

#include <memory>
#include <string>

#include "stella/base/result.h"
#include "stella/crypto/ed25519.h"
#include "stella/crypto/keys.h"
#include "stella/crypto/kms.h"
#include "stella/evidence/locker/stamper.h"
#include "stella/platform/config.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/services/key_ring.h"

namespace stella::stellad {

struct Arguments {
  std::string config;
  bool init = false;
  std::string superuser;             // login of --init's administrator
  std::string superuser_password_file;
  std::string tenant;
  std::string tenant_name;
  std::string operators;             // JSON file
  std::string nats_config;           // where to write nats-server.conf
  std::string nats_store;
  std::string telemetry_token;       // where to write one
  std::string destroy_tenant_key;    // whose
  std::string rotate_tenant_key;     // whose
  std::string rotate_key;            // token or log
  std::string reason;                // why
};

// A path setting, or its place below data_dir where it is empty.
std::string path_of(const config::Settings& settings, std::string_view name, std::string_view below);
// First line of a secret file.
Result<std::string> read_secret(const std::string& path);
// What the private keys on disk are encrypted with.
Result<std::string> key_passphrase(const config::Settings& settings);
// The part of a connection string that names the database server, and how it is to prove who it is.
Result<std::string> database_server(const config::Settings& settings);
// Pool options of a database login ("stella_web", …).
Result<pg::PoolOptions> pool_options(const config::Settings& settings, std::string_view login);
// The deployment's key of that purpose ("evidence", "token") in its directory of keys; --init makes it.
Result<std::shared_ptr<crypto::KeyPair>> load_key(const config::Settings& settings, std::string_view purpose);
// The key that signs evidence, wherever keys.evidence says it is, and the one before it (null where none is named).
Result<std::shared_ptr<const crypto::Signer>> open_evidence_key(const config::Settings& settings);
Result<std::shared_ptr<const crypto::Signer>> open_previous_evidence_key(const config::Settings& settings);
Result<authority::KeyRingOptions> key_ring_options(const config::Settings& settings);
// The key that signs the tenants' logs (Ed25519), wherever keys.log says it is; that in our own directory; and the public half alone.
Result<std::shared_ptr<const crypto::Ed25519Signer>> open_log_key(const config::Settings& settings);
Result<std::shared_ptr<crypto::Ed25519KeyPair>> load_log_key(const config::Settings& settings);
Result<crypto::Ed25519PublicKey> log_public_key(const config::Settings& settings);
// The public halves of those that signed before (keys/log-*.pub).
Result<std::vector<crypto::Ed25519PublicKey>> former_log_keys(const config::Settings& settings);
// Whether evidence.encryption says so; kInvalid for another word.
Result<bool> encrypts(const config::Settings& settings);
// The tenants' keys; null where there are none (encryption was never on). `make`: an empty keyring where none is.
Result<std::shared_ptr<crypto::Kms>> open_tenant_keys(const config::Settings& settings, bool make = false);
// What new objects are locked with, and the object store of the driver that the settings name.
Result<objects::LockDefault> lock_default(const config::Settings& settings);
Result<std::unique_ptr<objects::Store>> open_store(const config::Settings& settings);
// The time authorities that the settings name; null where they name none.
Result<std::shared_ptr<evidence::Stamper>> open_stamper(const config::Settings& settings);
std::string public_url(const config::Settings& settings);
// Issuer of our tokens.
std::string issuer(const config::Settings& settings);

// Database, migrations, keys, first tenant, operators: idempotent. Prints one JSON line.
Result<void> init(const config::Settings& settings, const Arguments& arguments);
// Writes nats-server.conf (0600) from the settings and the password files.
Result<void> write_nats_config(const config::Settings& settings, const Arguments& arguments);
// A fresh telemetry token into `path` (0640: its group may read it, e.g. the runner's), replacing the older one in one step.
Result<void> write_telemetry_token(const config::Settings& settings, const std::string& path);
// Plans the end of a tenant's encryption key; the role `locker` carries it out once a checkpoint covers the plan. Prints one JSON line. kConflict
// where a hold or a retention needs the key.
Result<void> plan_key_destruction(const config::Settings& settings, const Arguments& arguments);
// A new key that signs tokens or checkpoints, beside the one before, which is kept; used from the next start on. Prints one JSON line.
Result<void> rotate_key(const config::Settings& settings, const Arguments& arguments);
// A new version of a tenant's encryption key for what comes from now on. Prints one JSON line.
Result<void> rotate_tenant_key(const config::Settings& settings, const Arguments& arguments);
// Serves the roles until a stop is requested.
Result<void> serve(const config::Settings& settings);

}  // namespace stella::stellad
