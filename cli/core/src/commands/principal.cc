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
}

}  // namespace stella::cli
