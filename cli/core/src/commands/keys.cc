// stella keys: the keys that a server signs with, and their lives.
#include "stella/cli/keys.h"

#include "common.h"
#include "stella/base/file.h"
#include "stella/crypto/key_log.h"

namespace stella::cli {

Result<bool> evidence_key_signs(Api& api) {
  const json::Value keys = STELLA_TRY(api.get("/keys"));
  for (const json::Value& key : keys.items("items"))
    if (key.str("purpose") == "evidence" && key.str("state") == "active") return true;
  return false;
}

namespace {

struct Args {
  std::int64_t limit = 100;
  std::string key;
  std::string since;
  std::string reason;
  std::string out;
  bool tenants = false;
};

Result<int> list(Session& session, const Args& args) {
  return show_rows(session, "/keys", {}, args.limit, {{"KEY", false, true}, {"PURPOSE"}, {"STATE"}, {"SINCE"}},
                   [](const json::Value& k) -> std::vector<Cell> { return {k.str("key_id"), k.str("purpose"), word(k.str("state")), short_time(k.str("introduced_at"), Timestamp::now())}; },
                   "no keys");
}

// Platform operators: which keys the contents of tenants are encrypted under.
Result<int> list_of_tenants(Session& session, const Args& args) {
  return show_rows(session, "/keys/tenants", {}, args.limit, {{"TENANT"}, {"KEY", false, true}, {"PROVIDER"}, {"STATE"}, {"SINCE"}},
                   [](const json::Value& k) -> std::vector<Cell> { return {k.str("tenant_id"), k.str("key_id"), k.str("provider"), word(k.str("state")), short_time(k.str("created_at"), Timestamp::now())}; },
                   "no tenant's contents are encrypted");
}

Result<int> history(Session& session, const Args& args) {
  Api api = STELLA_TRY(session.anonymous_api());
  const http::ClientResponse answer = STELLA_TRY(api.send({.path = "/keys/history"}));
  if (!args.out.empty()) {
    STELLA_TRY_VOID(write_file_durable(args.out, answer.body, 0644));
    session.show(json::Value::object({{"path", args.out}}), [&] { return "written to " + args.out + "\n"; });
    return kExitDone;
  }
  const auto entries = STELLA_TRY(crypto::parse_key_log(answer.body));
  json::Array rows;
  Table table({{"AT"}, {"EVENT"}, {"KEY", false, true}, {"SUCCESSOR"}});
  for (const auto& entry : entries) {
    const json::Value event = STELLA_TRY(json::parse(entry.event.payload));
    rows.push_back(json::Value::object({{"at", entry.at.rfc3339()}, {"event", event}}));
    table.row({short_time(entry.at.rfc3339(), Timestamp::now()), word(event.str("kind")), event.str("key"), event.str("successor")});
  }
  session.show(json::Value::object({{"items", std::move(rows)}}), [&] { return table.render(session.console().out_palette(), session.console().width()); });
  return kExitDone;
}

Result<int> change(Session& session, std::string_view action, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  json::Value body = json::Value::object({{"action", action}});
  for (const auto& [name, value] : {std::pair<std::string_view, const std::string*>{"key_id", &args.key}, {"since", &args.since}, {"reason", &args.reason}})
    if (!value->empty()) body.set(std::string(name), *value);
  const json::Value done = STELLA_TRY(api->post("/keys", body));
  session.show(done, [&] { return std::string(action == "rotate" ? "new key " : "key ") + std::string(done.str("key_id")) + " " + std::string(done.str("state")) + "\n"; });
  if (action == "rotate") session.console().note("`stella login` keeps the new key and the history; publish its fingerprint over another channel.\n");
  if (action != "compromise") return kExitDone;
  if (const auto signs = evidence_key_signs(*api); signs && !*signs)
    session.console().err("No evidence key signs now: no bundle is sealed until one does.\n  to do  stella keys rotate\n");
  session.console().note("whoever verifies: `stella login` takes the key away and keeps the history that says since when it does not count\n");
  return kExitDone;
}

}  // namespace

void register_keys(App& app) {
  auto args = std::make_shared<Args>();
  app.command("keys", "The keys that the server signs with.");
  add_limit(app.command("keys list", "All public keys, with their states; or those that tenants' contents are encrypted under.")
                .option("--tenants", &args->tenants, "The tenants' encryption keys: versions, states and where they are kept (platform operators).")
                .run([args](Session& s) { return args->tenants ? list_of_tenants(s, *args) : list(s, *args); }),
            &args->limit);
  app.command("keys history", "The life of the evidence keys: signed events, oldest first.")
      .option("--out", &args->out, "Write them there as they are, for `stella forensic verify --keys`.", {.value = "FILE"})
      .run([args](Session& s) { return history(s, *args); });
  app.command("keys rotate", "A new evidence key, signed in by the one before; seals are signed with it from now on (platform operators).")
      .run([args](Session& s) { return change(s, "rotate", *args); });
  app.command("keys retire", "An evidence key that does not sign any more is not to sign again (platform operators).")
      .argument("KEY", &args->key, "Its id, SHA256:…")
      .option("--reason", &args->reason, "Why; stands in the record.", {.value = "TEXT"})
      .run([args](Session& s) { return change(s, "retire", *args); });
  app.command("keys compromise", "Signatures of a key do not count from an instant on (platform operators).")
      .argument("KEY", &args->key, "Its id, SHA256:…")
      .option("--since", &args->since, "When it may have been in other hands at the earliest, RFC 3339.", {.required = true, .value = "TIME"})
      .option("--reason", &args->reason, "Why; stands in the record.", {.value = "TEXT"})
      .note("If it is the evidence key that signs now, rotate it at once: the next one begins anew, and whoever verifies logs in again. A key of tokens or logs that signs now is refused: rotate it first (stellad --rotate-key).")
      .run([args](Session& s) { return change(s, "compromise", *args); });
}

}  // namespace stella::cli
