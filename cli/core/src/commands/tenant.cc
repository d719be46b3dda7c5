// stella tenant, stella project.
#include "common.h"

namespace stella::cli {
namespace {

struct Args {
  std::string id;
  std::string name;
  std::int64_t limit = 100;
};

Result<int> list_tenants(Session& session, const Args& args) {
  return show_rows(session, "/tenants", {}, args.limit, {{"TENANT"}, {"NAME", false, true}, {"STATE"}, {"SINCE"}},
                   [](const json::Value& t) -> std::vector<Cell> { return {t.str("tenant_id"), t.str("display_name"), word(t.str("state")), short_time(t.str("created_at"), Timestamp::now())}; },
                   "no tenants");
}

Result<int> create_tenant(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  const json::Value made = STELLA_TRY(api->post("/tenants", json::Value::object({{"tenant_id", args.id}, {"display_name", args.name.empty() ? args.id : args.name}})));
  session.show(made, [&] { return "tenant " + std::string(made.str("tenant_id")) + " created\n"; });
  return kExitDone;
}

Result<int> change_tenant(Session& session, const Args& args, std::string_view field, std::string_view value) {
  Api* api = STELLA_TRY(session.api());
  const json::Value now = STELLA_TRY(api->json({.method = "PATCH", .path = "/tenants/" + path_segment(args.id), .body = json::dump(json::Value::object({{std::string(field), value}})), .content_type = "application/json"}));
  session.show(now, [&] { return "tenant " + printable(args.id) + " is " + std::string(now.str("state")) + ": " + printable(std::string(now.str("display_name"))) + ended_tokens(now) + "\n"; });
  return kExitDone;
}

Result<int> list_projects(Session& session, const Args& args) {
  return show_rows(session, "/projects", {}, args.limit, {{"SLUG"}, {"NAME", false, true}, {"PROJECT"}, {"SINCE"}},
                   [](const json::Value& p) -> std::vector<Cell> { return {p.str("slug"), p.str("name"), p.str("project_id"), short_time(p.str("created_at"), Timestamp::now())}; },
                   "no projects");
}

Result<int> create_project(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  const json::Value made = STELLA_TRY(api->post("/projects", json::Value::object({{"slug", args.id}, {"name", args.name.empty() ? args.id : args.name}})));
  session.show(made, [&] { return "project " + std::string(made.str("slug")) + " created  " + std::string(made.str("project_id")) + "\n"; });
  return kExitDone;
}

}  // namespace

void register_tenant(App& app) {
  auto args = std::make_shared<Args>();
  app.command("tenant", "Tenants of the platform.");
  add_limit(app.command("tenant list", "All tenants (platform administrators).").run([args](Session& s) { return list_tenants(s, *args); }), &args->limit);
  app.command("tenant create", "A new tenant (platform administrators).")
      .argument("TENANT", &args->id, "Its id: a-z, 0-9 and -, for ever.")
      .option("--name", &args->name, "Its name for people.")
      .run([args](Session& s) { return create_tenant(s, *args); });
  app.command("tenant rename", "Another name for people; the id stays (platform administrators).")
      .argument("TENANT", &args->id, "Its id.")
      .argument("NAME", &args->name, "Its new name.")
      .run([args](Session& s) { return change_tenant(s, *args, "display_name", args->name); });
  app.command("tenant suspend", "Nobody of it gets in any more, and who is in is out (platform administrators).")
      .argument("TENANT", &args->id, "Its id.")
      .run([args](Session& s) { return change_tenant(s, *args, "state", "suspended"); });
  app.command("tenant resume", "A suspended tenant may log in again (platform administrators).")
      .argument("TENANT", &args->id, "Its id.")
      .run([args](Session& s) { return change_tenant(s, *args, "state", "active"); });
  app.command("project", "Projects of your tenant.");
  add_limit(app.command("project list", "All projects of your tenant.").run([args](Session& s) { return list_projects(s, *args); }), &args->limit);
  app.command("project create", "A new project.")
      .argument("SLUG", &args->id, "Its short name in commands and URLs.")
      .option("--name", &args->name, "Its name for people.")
      .run([args](Session& s) { return create_project(s, *args); });
}

}  // namespace stella::cli
