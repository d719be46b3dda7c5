// stella login: a token for this user, and the server's evidence keys for verifying offline.
#include <stdlib.h>

#include "common.h"
#include "stella/base/encoding.h"
#include "stella/crypto/ed25519.h"
#include "stella/crypto/keys.h"

namespace stella::cli {
namespace {

constexpr std::uint64_t kPasswordBytes = 4096;

struct Args {
  std::string username;
  std::string password_file;
  bool service = false;
};

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

Error no_terminal(std::string_view what, std::string_view remedy) {
  return Error(base_errors::kInvalid, "there is no terminal to ask on").with("field", std::string(what)).with("remedy", std::string(remedy));
}

Result<std::string> user_name(const Args& args, const Profile& profile) {
  if (!args.username.empty()) return args.username;
  if (std::string name = environment("STELLA_USERNAME"); !name.empty()) return name;
  if (!profile.username.empty()) return profile.username;
  auto answer = ask("User name: ", true);
  if (!answer) return no_terminal("username", "Give --username, or set STELLA_USERNAME.");
  return answer;
}

Result<std::string> password(const Args& args, const std::string& user) {
  if (!args.password_file.empty()) {
    std::string text = STELLA_TRY(read_document(args.password_file, kPasswordBytes));
    while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
    return text;
  }
  if (std::string text = environment("STELLA_PASSWORD"); !text.empty()) return text;
  auto answer = ask("Password of " + printable(user) + ": ", false);
  if (!answer) return no_terminal("password", "Give --password-file FILE, or set STELLA_PASSWORD.");
  return answer;
}

struct Trusted {
  std::string what;         // "evidence key"
  std::string fingerprint;
  std::string file;         // in the trust directory
  bool fresh = false;
};

// What the server says of its keys.
struct ServerKeys {
  std::vector<Trusted> trusted;
  std::vector<Trusted> distrusted;  // compromised, and trusted here until now
};

// The public keys that bundles and logs of this server are signed with; what is compromised is taken away again.
Result<ServerKeys> fetch_keys(Api& api, const ProfileStore& store) {
  const json::Value keys = STELLA_TRY(api.get("/keys"));
  ServerKeys out;
  for (const json::Value& item : keys.items("items")) {
    const bool log = item.str("purpose") == "log";
    if (!log && item.str("purpose") != "evidence") continue;
    Trusted key;
    std::string pem;
    if (log) {
      const auto parsed = STELLA_TRY(crypto::Ed25519PublicKey::from_pem(item.str("public_pem")));
      key = {"log key", parsed.id().str(), "log-" + hex_encode(parsed.raw().substr(0, 4)) + ".ed25519", false};
      pem = parsed.pem();
    } else {
      const auto parsed = STELLA_TRY(crypto::PublicKey::from_pem(item.str("public_pem")));
      key = {"evidence key", parsed.id().str(), parsed.keyid8() + ".pub", false};
      pem = parsed.pem();
    }
    const bool compromised = item.str("state") == "compromised";
    if (!compromised) key.fresh = STELLA_TRY(store.trust_key(key.file, pem));
    (compromised ? out.distrusted : out.trusted).push_back(std::move(key));
  }
  const http::ClientResponse history = STELLA_TRY(api.send({.path = "/keys/history"}));
  if (!history.body.empty()) STELLA_TRY_VOID(store.keep_key_history(history.body));
  // Last: what such a key signed before is judged by the history, which must be there then.
  std::vector<Trusted> taken;
  for (Trusted& key : out.distrusted)
    if (STELLA_TRY(store.distrust_key(key.file))) taken.push_back(std::move(key));
  out.distrusted = std::move(taken);
  return out;
}

Result<int> login(Session& session, const Args& args) {
  const std::string url = STELLA_TRY(session.url());
  Profile profile = STELLA_TRY(session.store().load());
  const std::string user = STELLA_TRY(user_name(args, profile));
  const std::string secret = STELLA_TRY(password(args, user));
  Api api = STELLA_TRY(session.anonymous_api());
  const json::Value body = args.service ? json::Value::object({{"grant_type", "client_credentials"}, {"client_id", user}, {"client_secret", secret}})
                                        : json::Value::object({{"grant_type", "password"}, {"username", user}, {"password", secret}});
  auto token = api.post("/tokens", body);
  if (!token) {
    if (exit_code(token.error()) == kExitNotAllowed) token.error().add("remedy", "Check user name and password, then try again.");
    return std::move(token.error());
  }
  Credentials credentials;
  credentials.access_token = STELLA_TRY(token->require_string("access_token"));
  credentials.expires_at = Timestamp::now() + std::chrono::seconds(token->integer("expires_in"));
  credentials.tenant_id = std::string(token->str("tenant_id"));
  credentials.actor = std::string(token->str("actor"));
  credentials.username = user;
  STELLA_TRY_VOID(session.store().save_credentials(url, credentials));
  if (profile.url.empty() || !session.globals().url.empty()) {
    profile.url = url;
    profile.username = user;
    STELLA_TRY_VOID(session.store().save(profile));
  }
  const auto keys = STELLA_TRY(fetch_keys(api, session.store()));
  json::Value shown = json::Value::object({{"url", url}, {"username", user}, {"tenant_id", credentials.tenant_id}, {"actor", credentials.actor}, {"expires_at", credentials.expires_at.rfc3339()}});
  if (const json::Value* scopes = token->find("scopes")) shown.set("scopes", *scopes);
  json::Array trusted;
  for (const Trusted& k : keys.trusted) trusted.push_back(json::Value::object({{"key_id", k.fingerprint}, {"use", k.what}, {"path", session.store().trust_directory() + "/" + k.file}, {"new", k.fresh}}));
  shown.set("evidence_keys", std::move(trusted));
  json::Array distrusted;
  for (const Trusted& k : keys.distrusted) distrusted.push_back(json::Value::object({{"key_id", k.fingerprint}, {"use", k.what}, {"path", session.store().compromised_directory() + "/" + k.file}}));
  shown.set("distrusted_keys", std::move(distrusted));
  session.show(shown, [&] {
    const Palette& paint = session.console().out_palette();
    Facts facts;
    facts.add("tenant", credentials.tenant_id).add("valid for", human_duration(token->integer("expires_in") * 1'000'000));
    for (const Trusted& k : keys.trusted) facts.add(k.what, k.fingerprint + (k.fresh ? "  (new)" : "")).add("  kept in", session.store().trust_directory() + "/" + k.file);
    return "logged in as " + paint(Style::kBold, printable(user)) + " at " + url + "\n" + facts.render(paint, 2);
  });
  for (const Trusted& k : keys.distrusted)
    session.console().err("The " + k.what + " " + k.fingerprint + " is compromised and no longer trusted.\n  moved to  " + session.store().compromised_directory() + "/" + k.file +
                          "\n  to do     give it to nobody who verifies, and verify again what it signed: stella forensic verify knows since when it does not count, verify.sh does not\n");
  for (const Trusted& k : keys.trusted)
    if (k.fresh) session.console().note("`stella forensic verify` trusts the new key: compare its fingerprint with the operator's, over another channel.\n");
  return kExitDone;
}

}  // namespace

void register_login(App& app) {
  auto args = std::make_shared<Args>();
  app.command("login", "Log in, and keep the token and the server's evidence keys for later commands.")
      .option("-u,--username", &args->username, "Who logs in (default: STELLA_USERNAME, then config.json).", {.value = "NAME"})
      .option("--password-file", &args->password_file, "File with the password; - is stdin (default: STELLA_PASSWORD, then a question).", {.value = "FILE"})
      .option("--service", &args->service, "Log in as a service account.")
      .note("Files, in $STELLA_CONFIG_DIR or ~/.config/stella\n  config.json         where the server is\n  credentials.json    the token, readable for you alone\n  trust/<id>.pub      evidence keys; `stella forensic verify` trusts them\n  trust/keys.jsonl    their lives: what was signed when, and what does not count\n  trust/compromised/  keys that do not count from an instant on; no *.pub of trust/ is one\n  trust/log-….ed25519  the key of the logs, likewise")
      .run([args](Session& session) { return login(session, *args); });
}

}  // namespace stella::cli
