// stella policy: check (offline), publish, activate, list.
#include "common.h"
#include "stella/base/limits.h"
#include "stella/pipeline/policy/policy_set.h"

namespace stella::cli {
namespace {

struct Args {
  std::string file;
  std::string version;
  std::int64_t limit = 100;
};

// Parse errors point into the file; an error from stdin shows the line from memory.
Error located(Error error, const std::string& file) { return file == "-" ? std::move(error) : about_document(std::move(error), file); }

std::string scope_text(const pipeline::RuleScope& scope) {
  std::string out;
  const auto add = [&](std::string_view name, const std::vector<std::string>& values) {
    if (values.empty()) return;
    out += (out.empty() ? "" : "; ") + std::string(name);
    for (const std::string& v : values) out += " " + v;
  };
  add("ecosystems", scope.ecosystems);
  add("packages", scope.packages);
  add("purls", scope.purls);
  add("advisories", scope.advisories);
  return out;
}

json::Value rule_json(const pipeline::Rule& r) {
  json::Value out = json::Value::object({{"id", r.id}, {"priority", r.priority}, {"effect", contracts::to_string(r.effect)}, {"when", r.when}, {"reason", r.reason}});
  if (!r.scope.empty()) out.set("scope", scope_text(r.scope));
  if (r.expires) out.set("expires", r.expires->rfc3339());
  if (!r.owner.empty()) out.set("owner", r.owner);
  return out;
}

Result<int> check(Session& session, const Args& args) {
  const std::string text = STELLA_TRY(read_document(args.file, limits::kPolicyBytes));
  auto set = pipeline::parse_policy_set(text);
  if (!set) return located(std::move(set.error()), args.file);
  json::Array rules;
  for (const pipeline::Rule& r : set->rules) rules.push_back(rule_json(r));
  const json::Value shown = json::Value::object({{"policy_version", set->version}, {"label", set->label}, {"sha256", set->sha256.hex()}, {"default_effect", contracts::to_string(set->default_effect)}, {"rules", std::move(rules)}});
  session.show(shown, [&] {
    const Palette& paint = session.console().out_palette();
    Table table({{"PRIORITY", true}, {"RULE"}, {"EFFECT"}, {"WHEN", false, true}, {"EXPIRES"}});
    const Timestamp now = Timestamp::now();
    for (const pipeline::Rule& r : set->rules) {
      const bool over = r.expires && *r.expires <= now;
      table.row({std::to_string(r.priority), r.id, word(contracts::to_string(r.effect)), r.when, r.expires ? Cell(short_time(*r.expires, now) + (over ? " (over)" : ""), over ? Style::kYellow : Style::kPlain) : Cell()});
    }
    return paint(Style::kGreen, "ok") + "  " + paint(Style::kBold, set->version) + "  " + counted(static_cast<std::int64_t>(set->rules.size()), "rule") + ", else " + std::string(contracts::to_string(set->default_effect)) + "\n" +
           table.render(paint, session.console().width());
  });
  return kExitDone;
}

Result<int> publish(Session& session, const Args& args) {
  const std::string text = STELLA_TRY(read_document(args.file, limits::kPolicyBytes));
  // Checked here first: the position then shows the user's own line.
  if (auto set = pipeline::parse_policy_set(text); !set) return located(std::move(set.error()), args.file);
  Api* api = STELLA_TRY(session.api());
  auto made = api->json({.method = "POST", .path = "/policies", .body = text, .content_type = "application/yaml"});
  if (!made) return located(std::move(made.error()), args.file);
  const std::string version(made->str("policy_version"));
  session.show(*made, [&] {
    const Palette& paint = session.console().out_palette();
    return "policy " + paint(Style::kBold, version) + "  " + counted(made->integer("rules"), "rule") + (made->boolean("existed") ? paint(Style::kDim, "  (was published already)") : "") + "\n";
  });
  if (!session.machine()) session.console().note("next: stella policy activate " + version + "\n");
  return kExitDone;
}

// A label alone stands for its newest version.
Result<std::string> resolve(Api& api, const std::string& version) {
  if (version.find('@') != std::string::npos) return version;
  const json::Value list = STELLA_TRY(api.list("/policies", {}, 0));
  for (const json::Value& p : list.items("items"))
    if (p.str("label") == version) return std::string(p.str("policy_version"));
  return Error(base_errors::kNotFound, "no policy has that label").with("field", version).with("remedy", "`stella policy list` shows what is published.");
}

Result<int> activate(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  const std::string version = STELLA_TRY(resolve(*api, args.version));
  const json::Value done = STELLA_TRY(api->post("/policies/" + path_segment(version) + "/activate", json::Value::object()));
  session.show(done, [&] { return "policy " + session.console().out_palette()(Style::kBold, version) + " decides from now on\n"; });
  return kExitDone;
}

Result<int> list(Session& session, const Args& args) {
  return show_rows(session, "/policies", {}, args.limit, {{"VERSION"}, {""}, {"RULES", true}, {"DESCRIPTION", false, true}, {"PUBLISHED"}},
                   [](const json::Value& p) -> std::vector<Cell> {
                     return {p.str("policy_version"), p.boolean("active") ? word("active") : Cell(), with_commas(p.integer("rules")), p.str("description"), short_time(p.str("published_at"), Timestamp::now())};
                   },
                   "no policies yet: stella policy publish FILE");
}

}  // namespace

void register_policy(App& app) {
  auto args = std::make_shared<Args>();
  app.command("policy", "Policy sets: what is denied, warned about, allowed.");
  app.command("policy check", "Read a policy set and say what is wrong with it, offline.").argument("FILE", &args->file, "YAML or JSON; - is stdin.", {.required = true, .value = "FILE"}).run([args](Session& s) { return check(s, *args); });
  app.command("policy publish", "Store a policy set. Its version is its digest; publishing the same set again changes nothing.")
      .argument("FILE", &args->file, "YAML or JSON; - is stdin.", {.required = true, .value = "FILE"})
      .run([args](Session& s) { return publish(s, *args); });
  app.command("policy activate", "Let a published policy set decide.").argument("VERSION", &args->version, "LABEL@DIGEST, or a label: its newest version.").run([args](Session& s) { return activate(s, *args); });
  add_limit(app.command("policy list", "Published policy sets, newest first.").run([args](Session& s) { return list(s, *args); }), &args->limit);
}

}  // namespace stella::cli
