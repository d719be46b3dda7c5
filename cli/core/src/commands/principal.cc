// stella principal: users and service accounts.
#include <stdlib.h>

#include "common.h"

namespace stella::cli {
namespace {

struct Args {
  std::string login;
  std::string kind = "user";
  std::string name;
  std::string secret_file;
  std::vector<std::string> scopes;
  std::vector<std::string> platform_scopes;
  std::vector<std::string> names;  // of scopes
  std::int64_t limit = 100;
};

Result<std::string> secret(const Args& args) {
  if (args.secret_file.empty()) {
    auto first = ask("Password of " + printable(args.login) + ": ", false);
    if (!first) return Error(base_errors::kInvalid, "there is no terminal to ask on").with("field", "secret").with("remedy", "Give --secret-file FILE.");
    const std::string again = STELLA_TRY(ask("Again: ", false));
    if (again != *first) return Error(base_errors::kInvalid, "the two passwords differ").with("remedy", "Type the same password twice.");
    return first;
  }
  std::string text = STELLA_TRY(read_document(args.secret_file, 4096));
  while (text.ends_with('\n') || text.ends_with('\r')) text.pop_back();
  return text;
}

Result<int> create(Session& session, const Args& args) {
  const std::string text = STELLA_TRY(secret(args));
  Api* api = STELLA_TRY(session.api());
  json::Value body = json::Value::object({{"kind", args.kind}, {"login", args.login}, {"display_name", args.name}, {"secret", text}, {"scopes", json::Array(args.scopes.begin(), args.scopes.end())}});
  if (!args.platform_scopes.empty()) body.set("platform_scopes", json::Array(args.platform_scopes.begin(), args.platform_scopes.end()));
  const json::Value made = STELLA_TRY(api->post("/principals", body));
  session.show(made, [&] { return std::string(made.str("kind")) + " " + printable(made.str("login")) + " created  " + std::string(made.str("principal_id")) + "\n"; });
  return kExitDone;
}

Result<int> list(Session& session, const Args& args) {
  return show_rows(session, "/principals", {}, args.limit, {{"LOGIN"}, {"KIND"}, {"STATE"}, {"NAME", false, true}, {"SCOPES", true}, {"SINCE"}},
                   [](const json::Value& p) -> std::vector<Cell> {
                     return {p.str("login"), p.str("kind"), word(p.str("state")), p.str("display_name"), std::to_string(p.items("scopes").size()), short_time(p.str("created_at"), Timestamp::now())};
                   },
                   "no principals");
}

// The id of a login; an id is one already.
Result<std::string> id_of(Api& api, const std::string& login) {
  if (Uuid::parse(login)) return login;
  const json::Value all = STELLA_TRY(api.list("/principals", {}, 0));
  for (const json::Value& p : all.items("items"))
    if (p.str("login") == login) return std::string(p.str("principal_id"));
  return Error(base_errors::kNotFound, "nobody of your tenant has this login").with("login", login).with("remedy", "See `stella principal list`.");
}

void show_state(Session& session, const Args& args, const json::Value& now) {
  session.show(now, [&] { return printable(args.login) + " is " + std::string(now.str("state")) + " with " + counted(static_cast<std::int64_t>(now.items("scopes").size()), "scope") + ended_tokens(now) + "\n"; });
}

Result<int> change(Session& session, const Args& args, std::string_view field, const std::string& value) {
  Api* api = STELLA_TRY(session.api());
  const std::string id = STELLA_TRY(id_of(*api, args.login));
  show_state(session, args, STELLA_TRY(api->json({.method = "PATCH", .path = "/principals/" + id, .body = json::dump(json::Value::object({{std::string(field), value}})), .content_type = "application/json"})));
  return kExitDone;
}

Result<int> change_scopes(Session& session, const Args& args, std::string_view action) {
  Api* api = STELLA_TRY(session.api());
  const std::string id = STELLA_TRY(id_of(*api, args.login));
  const json::Value body = json::Value::object({{"action", action}, {"scopes", json::Array(args.names.begin(), args.names.end())}, {"platform_scopes", json::Array(args.platform_scopes.begin(), args.platform_scopes.end())}});
  show_state(session, args, STELLA_TRY(api->post("/principals/" + id + "/scopes", body)));
  return kExitDone;
}

}  // namespace

void register_principal(App& app) {
  auto args = std::make_shared<Args>();
  app.command("principal", "Users and service accounts of your tenant.");
  add_limit(app.command("principal list", "All users and service accounts.").run([args](Session& s) { return list(s, *args); }), &args->limit);
  app.command("principal create", "A new user or service account.")
      .argument("LOGIN", &args->login, "The name to log in with.")
      .option("--kind", &args->kind, "What it is (default: user).", {.choices = {"user", "service"}})
      .option("--name", &args->name, "Its name for people.")
      .option("--scope", &args->scopes, "A scope of the tenant, for example sbom:read; may be repeated.", {.value = "SCOPE"})
      .option("--platform-scope", &args->platform_scopes, "A scope of the platform, for example kb:write; may be repeated.", {.value = "SCOPE"})
      .option("--secret-file", &args->secret_file, "File with the password or secret; - is stdin (default: a question).", {.value = "FILE"})
      .run([args](Session& s) { return create(s, *args); });
  for (const auto& [action, help] : {std::pair<std::string, const char*>{"grant", "Give scopes; they are in the next token."}, {"revoke", "Take scopes away; tokens that were issued before end."}})
    app.command("principal " + action, help)
        .argument("LOGIN", &args->login, "Whose, by login or id.")
        .option("--scope", &args->names, "A scope of the tenant, for example sbom:read; may be repeated.", {.value = "SCOPE"})
        .option("--platform-scope", &args->platform_scopes, "A scope of the platform; may be repeated.", {.value = "SCOPE"})
        .run([args, action](Session& s) { return change_scopes(s, *args, action); });
  app.command("principal disable", "Out at once: no login, and tokens that were issued end.")
      .argument("LOGIN", &args->login, "Who, by login or id.")
      .run([args](Session& s) { return change(s, *args, "state", "disabled"); });
  app.command("principal enable", "May log in again.")
      .argument("LOGIN", &args->login, "Who, by login or id.")
      .run([args](Session& s) { return change(s, *args, "state", "active"); });
  app.command("principal rename", "Another name for people.")
      .argument("LOGIN", &args->login, "Who, by login or id.")
      .argument("NAME", &args->name, "The new name.")
      .run([args](Session& s) { return change(s, *args, "display_name", args->name); });
}

}  // namespace stella::cli
