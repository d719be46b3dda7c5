// Settings as the things that are made of them: paths, secrets, pools, keys.
#include <dirent.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "stella/base/file.h"
#include "stella/base/file_owner.h"
#include "stella/crypto/ed25519_provider.h"
#include "stella/crypto/key_provider.h"
#include "stella/crypto/pkcs11.h"
#include "stella/platform/encrypted_objects.h"
#include "stella/platform/exposure.h"
#include "stella/services/authority.h"
#include "stella/tenancy/contents.h"
#include "stellad.h"

namespace stella::stellad {

std::string path_of(const config::Settings& settings, std::string_view name, std::string_view below) {
  const std::string& text = settings.text(name);
  return text.empty() ? settings.text("data_dir") + "/" + std::string(below) : text;
}

Result<std::string> read_secret(const std::string& path) {
  std::string text = STELLA_TRY(read_file(path, 4096));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  if (text.empty()) return Error(base_errors::kInvalid, "a secret file is empty").with("path", path);
  return text;
}

Result<std::string> database_server(const config::Settings& settings) {
  const std::string host = settings.text("pg.host").empty() ? settings.text("data_dir") + "/run" : settings.text("pg.host");
  const std::string tls = STELLA_TRY(config::database_tls(host, settings.text("pg.ca_file")));
  return "host='" + host + "' port=" + std::to_string(settings.integer("pg.port")) + tls;
}

Result<pg::PoolOptions> pool_options(const config::Settings& settings, std::string_view login) {
  pg::PoolOptions options;
  options.conninfo = STELLA_TRY(database_server(settings));
  options.conninfo += " dbname='" + settings.text("pg.database") + "' user='" + std::string(login) + "'";
  options.password = STELLA_TRY(read_secret(path_of(settings, "pg.password_dir", "secrets/pg") + "/" + std::string(login)));
  options.application_name = std::string(login);
  options.max_connections = static_cast<int>(settings.integer("pg.pool.size"));
  options.acquire_timeout = std::chrono::milliseconds(settings.integer("pg.pool.wait"));
  options.statement_timeout = std::chrono::milliseconds(settings.integer("pg.statement_timeout"));
  return options;
}

Result<std::string> key_passphrase(const config::Settings& settings) { return read_secret(path_of(settings, "secrets.dir", "secrets") + "/key_passphrase"); }

Result<std::shared_ptr<crypto::KeyPair>> load_key(const config::Settings& settings, std::string_view purpose) {
  const std::string passphrase = STELLA_TRY(key_passphrase(settings));
  auto key = STELLA_TRY(crypto::KeyPair::load(settings.text("data_dir") + "/keys/" + std::string(purpose) + ".pem", passphrase));
  return std::make_shared<crypto::KeyPair>(std::move(key));
}

namespace {

// What opens the key of a URI: nothing here where the URI names a file of its own, else a file among our secrets.
Result<crypto::SecretBytes> pin_of(const config::Settings& settings, const crypto::KeyUri& uri, std::string_view token_pin) {
  if (!uri.pin_source.empty()) return crypto::SecretBytes();
  const bool file = uri.scheme == crypto::KeyUri::Scheme::kFile;
  return crypto::read_secret_file(path_of(settings, "secrets.dir", "secrets") + "/" + std::string(file ? "key_passphrase" : token_pin));
}

Result<std::shared_ptr<const crypto::Signer>> open_signer(const config::Settings& settings, std::string_view setting) {
  const std::string& text = settings.text(setting);
  const auto opened = [&]() -> Result<std::shared_ptr<const crypto::Signer>> {
    const crypto::KeyUri uri = STELLA_TRY(crypto::KeyUri::parse(text));
    crypto::SecretBytes pin = STELLA_TRY(pin_of(settings, uri, "evidence_pin"));
    auto signer = STELLA_TRY(crypto::open_signer(text, std::move(pin)));
    return std::shared_ptr<const crypto::Signer>(std::move(signer));
  }();
  if (!opened) return Error(opened.error()).with("setting", std::string(setting));
  return opened;
}

}  // namespace

Result<std::shared_ptr<const crypto::Signer>> open_evidence_key(const config::Settings& settings) {
  if (!settings.text("keys.evidence").empty()) return open_signer(settings, "keys.evidence");
  auto key = STELLA_TRY(load_key(settings, "evidence"));
  return std::shared_ptr<const crypto::Signer>(std::move(key));
}

Result<std::shared_ptr<const crypto::Signer>> open_previous_evidence_key(const config::Settings& settings) {
  if (settings.text("keys.evidence_previous").empty()) return std::shared_ptr<const crypto::Signer>();
  return open_signer(settings, "keys.evidence_previous");
}

Result<bool> encrypts(const config::Settings& settings) {
  const std::string& word = settings.text("evidence.encryption");
  if (word == "off" || word == "tenant") return word == "tenant";
  return Error(base_errors::kInvalid, "no such encryption at rest").with("field", std::string("evidence.encryption")).with("expected", std::string("off or tenant"));
}

Result<std::shared_ptr<crypto::Kms>> open_tenant_keys(const config::Settings& settings, bool make) {
  if (const std::string& text = settings.text("keys.tenants"); !text.empty()) {
    const auto opened = [&]() -> Result<std::shared_ptr<crypto::Kms>> {
      const crypto::KeyUri uri = STELLA_TRY(crypto::KeyUri::parse(text));
      crypto::SecretBytes pin = STELLA_TRY(pin_of(settings, uri, "tenants_pin"));
      auto token = STELLA_TRY(crypto::Pkcs11Kms::open(uri, std::move(pin)));
      return std::shared_ptr<crypto::Kms>(std::move(token));
    }();
    if (!opened) return Error(opened.error()).with("setting", std::string("keys.tenants"));
    return opened;
  }
  const std::string path = settings.text("data_dir") + "/keys/tenants.json";
  const bool there = ::access(path.c_str(), F_OK) == 0;
  if (!there && !make && !STELLA_TRY(encrypts(settings))) return std::shared_ptr<crypto::Kms>();
  if (!there && !make) return Error(base_errors::kNotFound, "there is no keyring of the tenants' keys; stellad --init makes an empty one, unless it was lost: then restore it").with("path", path);
  const std::string passphrase = STELLA_TRY(key_passphrase(settings));
  auto ring = STELLA_TRY(there ? crypto::FileKeyring::open(path, passphrase) : crypto::FileKeyring::create(path, passphrase));
  return std::shared_ptr<crypto::Kms>(std::move(ring));
}

Result<authority::KeyRingOptions> key_ring_options(const config::Settings& settings) {
  authority::KeyRingOptions options;
  if (!settings.text("keys.evidence").empty()) options.signer = STELLA_TRY(open_evidence_key(settings));
  options.directory = settings.text("data_dir") + "/keys";
  options.passphrase = STELLA_TRY(key_passphrase(settings));
  return options;
}

Result<std::shared_ptr<const crypto::Ed25519Signer>> open_log_key(const config::Settings& settings) {
  const std::string& text = settings.text("keys.log");
  if (text.empty()) {
    auto key = STELLA_TRY(load_log_key(settings));
    return std::shared_ptr<const crypto::Ed25519Signer>(std::move(key));
  }
  const auto opened = [&]() -> Result<std::shared_ptr<const crypto::Ed25519Signer>> {
    const crypto::KeyUri uri = STELLA_TRY(crypto::KeyUri::parse(text));
    crypto::SecretBytes pin = STELLA_TRY(pin_of(settings, uri, "log_pin"));
    auto signer = STELLA_TRY(crypto::open_ed25519_signer(text, std::move(pin)));
    return std::shared_ptr<const crypto::Ed25519Signer>(std::move(signer));
  }();
  if (!opened) return Error(opened.error()).with("setting", std::string("keys.log"));
  return opened;
}

Result<std::shared_ptr<crypto::Ed25519KeyPair>> load_log_key(const config::Settings& settings) {
  const std::string passphrase = STELLA_TRY(key_passphrase(settings));
  auto key = STELLA_TRY(crypto::Ed25519KeyPair::load(settings.text("data_dir") + "/keys/log.pem", passphrase));
  return std::make_shared<crypto::Ed25519KeyPair>(std::move(key));
}

Result<crypto::Ed25519PublicKey> log_public_key(const config::Settings& settings) {
  return crypto::Ed25519PublicKey::from_pem(STELLA_TRY(read_file(settings.text("data_dir") + "/keys/log.pub", 4096)));
}

Result<std::vector<crypto::Ed25519PublicKey>> former_log_keys(const config::Settings& settings) {
  const std::string directory = settings.text("data_dir") + "/keys";
  const std::unique_ptr<DIR, int (*)(DIR*)> keys(::opendir(directory.c_str()), ::closedir);
  if (!keys) return io_error("the directory of keys cannot be read", directory);
  std::vector<crypto::Ed25519PublicKey> out;
  while (const dirent* entry = ::readdir(keys.get())) {
    const std::string name = entry->d_name;
    if (!name.starts_with("log-") || !name.ends_with(".pub")) continue;
    const std::string pem = STELLA_TRY(read_file(directory + "/" + name, 4096));
    out.push_back(STELLA_TRY(crypto::Ed25519PublicKey::from_pem(pem)));
  }
  return out;
}

Result<objects::LockDefault> lock_default(const config::Settings& settings) {
  objects::LockDefault lock;
  lock.mode = STELLA_TRY(objects::parse_lock_mode(settings.text("objects.lock_mode")));
  lock.keep = std::chrono::seconds(settings.integer("objects.lock_for") / 1000);
  if (lock.mode != objects::LockMode::kNone && lock.keep.count() == 0) {
    return Error(base_errors::kInvalid, "a lock needs an end").with("field", std::string("objects.lock_for")).with("expected", std::string("a duration, like 365d"));
  }
  return lock;
}

namespace {

Result<std::unique_ptr<objects::Store>> open_driver(const config::Settings& settings) {
  const objects::LockDefault lock = STELLA_TRY(lock_default(settings));
  const std::string& driver = settings.text("objects.driver");
  if (driver == "posix") return objects::open_posix_store(path_of(settings, "objects.root", "objects"), {lock, settings.boolean("objects.immutable")});
  if (driver != "s3") return Error(base_errors::kInvalid, "no such driver of the object store").with("field", std::string("objects.driver")).with("expected", std::string("posix or s3"));
  objects::S3Options options;
  options.endpoint = settings.text("objects.s3.endpoint");
  options.region = settings.text("objects.s3.region");
  options.bucket = settings.text("objects.s3.bucket");
  options.path_style = settings.boolean("objects.s3.path_style");
  options.ca_file = settings.text("objects.s3.ca_file");
  options.credentials_file = settings.text("objects.s3.credentials_file");
  options.timeout = std::chrono::milliseconds(settings.integer("objects.s3.timeout"));
  options.spool_dir = settings.text("data_dir") + "/tmp";
  options.lock = lock;
  options.second_domain = settings.text("objects.second_domain");
  return objects::open_s3_store(options);
}

}  // namespace

Result<std::unique_ptr<objects::Store>> open_store(const config::Settings& settings) {
  auto driver = STELLA_TRY(open_driver(settings));
  objects::EncryptionOptions options;
  options.encrypt = STELLA_TRY(encrypts(settings));
  options.kms = STELLA_TRY(open_tenant_keys(settings));
  if (!options.kms) return driver;
  options.rule = [](std::string_view key) -> std::optional<objects::Encryption> {
    const auto contents = object_key::contents_of(key);
    if (!contents) return std::nullopt;
    return objects::Encryption{object_key::wrapping_key_id(contents->tenant), contents->content};
  };
  options.spool_dir = settings.text("data_dir") + "/tmp";
  return objects::open_encrypted_store(std::move(driver), std::move(options));
}

Result<std::shared_ptr<evidence::Stamper>> open_stamper(const config::Settings& settings) {
  evidence::StamperOptions options;
  options.authorities = STELLA_TRY(evidence::parse_authorities(settings.text("time.authorities")));
  options.required = static_cast<std::size_t>(settings.integer("time.required"));
  if (options.authorities.empty() && options.required == 0) return std::shared_ptr<evidence::Stamper>();
  if (settings.text("time.roots").empty()) return Error(base_errors::kInvalid, "time authorities need roots that their certificates lead to").with("field", std::string("time.roots")).with("expected", std::string("a PEM file"));
  options.roots_pem = STELLA_TRY(read_file(settings.text("time.roots"), 1 << 20));
  options.timeout = std::chrono::milliseconds(settings.integer("time.timeout"));
  return evidence::Stamper::make(std::move(options));
}

std::string public_url(const config::Settings& settings) {
  if (!settings.text("http.public_url").empty()) return settings.text("http.public_url");
  return "http://" + settings.text("http.address") + ":" + std::to_string(settings.integer("http.port"));
}

std::string issuer(const config::Settings& settings) { return settings.text("auth.issuer").empty() ? public_url(settings) : settings.text("auth.issuer"); }

Result<void> write_telemetry_token(const config::Settings& settings, const std::string& path) {
  const auto key = STELLA_TRY(load_key(settings, "token"));
  const std::chrono::seconds ttl(settings.integer("auth.token_ttl") / 1000);
  const std::string token = STELLA_TRY(authority::telemetry_token(*key, issuer(settings), ttl, Timestamp::now()));
  return replace_file(path, token + "\n", 0640);
}

}  // namespace stella::stellad
