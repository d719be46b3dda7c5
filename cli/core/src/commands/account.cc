// stella logout, stella me.
#include "common.h"

namespace stella::cli {
namespace {

Result<int> logout(Session& session) {
  const std::string url = STELLA_TRY(session.url());
  auto api = session.api();
  bool revoked = false;
  if (api) {
    // The token dies on the server, too; where that fails it still goes from this machine, and ends by itself.
    auto me = (*api)->get("/me");
    if (me) revoked = (*api)->send({.method = "DELETE", .path = "/tokens/" + path_segment(me->str("token_id"))}).has_value();
  }
  const bool had = STELLA_TRY(session.store().forget_credentials(url));
  session.show(json::Value::object({{"url", url}, {"forgotten", had}, {"revoked", revoked}}), [&] {
    if (!had) return "nobody was logged in at " + url + "\n";
    return "logged out of " + url + (revoked ? "\n" : "; the server could not be told, the token ends by itself\n");
  });
  return kExitDone;
}

Result<int> me(Session& session) {
  Api* api = STELLA_TRY(session.api());
  const json::Value me = STELLA_TRY(api->get("/me"));
  session.show(me, [&] {
    Facts facts;
    facts.add("user", session.login().username).add("actor", me.str("actor")).add("tenant", me.str("tenant_id")).add("server", api->options().url);
    if (session.login().expires_at.micros() > 0) facts.add("login until", long_time(session.login().expires_at.rfc3339()));
    std::string out = facts.render(session.console().out_palette());
    out += "scopes\n";
    for (const json::Value& scope : me.items("scopes")) out += "  " + printable(scope.is_string() ? scope.as_string() : "") + "\n";
    return out;
  });
  return kExitDone;
}

}  // namespace

void register_account(App& app) {
  app.command("logout", "Revoke the token and forget it.").run(logout);
  app.command("me", "Who you are for the server, and what you may do.").run(me);
}

}  // namespace stella::cli
