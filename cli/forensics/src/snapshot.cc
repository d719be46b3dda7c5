// stella forensic snapshot: create, list.
#include <chrono>

#include "register.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/keys.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

struct Args {
  std::string case_id;
  std::string scope;
  std::string id;
  bool again = false;
  bool embed = false;
  std::int64_t limit = 100;
};

bool ended(const json::Value& b) { return b.str("state") == "sealed" || b.str("state") == "failed"; }

// What a bundle that is built waits for; "" where it is only being sealed.
std::string waits_for(Api& api) {
  const auto signs = evidence_key_signs(api);
  return !signs || *signs ? "" : "no evidence key signs now: stella keys rotate (platform operators)";
}

// Says how far it is while somebody waits: the state on a terminal, and wherever stderr leads, once, what it waits for.
class Waiting {
 public:
  Waiting(Session& session, Api& api) : session_(session), api_(api), progress_(session.console(), "snapshot", 0) {}
  bool operator()(const json::Value& bundle) {
    if (ended(bundle)) return progress_.clear(), true;
    const auto now = std::chrono::steady_clock::now();
    if (bundle.str("state") == "built" && now >= look_) {
      look_ = now + std::chrono::seconds(10);
      const std::string why = waits_for(api_);
      if (!why.empty() && why != why_) {
        progress_.clear();
        session_.console().err("bundle " + std::string(bundle.str("bundle_id")) + " waits to be sealed: " + why + "\n");
      }
      why_ = why;
    }
    progress_.update(0, std::string(bundle.str("state")) + (why_.empty() ? "" : ", " + why_));
    return false;
  }

 private:
  Session& session_;
  Api& api_;
  Progress progress_;
  std::string why_;
  std::chrono::steady_clock::time_point look_{};
};

std::string bundle_text(const json::Value& b, bool existed, const Palette& paint) {
  Facts facts;
  facts.add("case", b.str("case_id")).add("about", std::string(b.str("kind")) + " " + std::string(b.str("resource_id"))).add("sha256", b.str("sha256"));
  if (b.integer("size") > 0) facts.add("size", human_bytes(static_cast<std::uint64_t>(b.integer("size"))));
  facts.add("sealed", long_time(b.str("sealed_at")));
  return "bundle " + paint(Style::kBold, b.str("bundle_id")) + "  " + paint(style_of(b.str("state")), b.str("state")) + (existed ? paint(Style::kDim, "  (was here already; --again makes a new one)") : "") + "\n" + facts.render(paint, 2);
}

Result<int> create(Session& session, const Args& args) {
  if (!CaseId::parse(args.case_id)) return Error(base_errors::kInvalid, "not a case id").with("field", "--case").with("expected", std::string(CaseIdTag::kPattern));
  Api* api = STELLA_TRY(session.api());
  const Timestamp asked = Timestamp::now();
  json::Value body = json::Value::object({{"kind", args.scope}, {"resource_id", args.id}, {"case_id", args.case_id}});
  if (args.again) body.set("again", true);
  if (args.embed) body.set("embed_evaluation", true);
  json::Value bundle = STELLA_TRY(api->post("/evidence/snapshot", body, {{"wait", "20"}}));
  if (!ended(bundle)) {
    Waiting waiting(session, *api);
    bundle = STELLA_TRY(api->poll("/evidence/" + path_segment(bundle.str("bundle_id")), {}, std::chrono::minutes(30), [&](const json::Value& b) { return waiting(b); }));
  }
  const auto requested = Timestamp::parse(bundle.str("requested_at"));
  // A minute of tolerance between two clocks.
  const bool existed = bundle.boolean("existed") || (requested && *requested + std::chrono::minutes(1) < asked);
  session.show(bundle, [&] { return bundle_text(bundle, existed, session.console().out_palette()); });
  if (bundle.str("state") == "failed") {
    const json::Value* error = bundle.find("error");
    return recorded_error(error != nullptr && error->is_object() ? *error : json::Value::object());
  }
  if (!session.machine()) session.console().note("next: stella forensic get " + std::string(bundle.str("bundle_id")) + " --out bundle.tgz\n");
  return kExitDone;
}

Result<int> list(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  Query query;
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"case", args.case_id}, {"kind", args.scope}, {"resource_id", args.id}})
    if (!value.empty()) query.emplace_back(name, value);
  const json::Value page = STELLA_TRY(api->list("/evidence", std::move(query), static_cast<int>(args.limit)));
  session.show_list(page, [&] {
    if (page.items("items").empty()) return std::string("no bundles yet: stella forensic snapshot create --case CASE --scope eval --id ID\n");
    Table table({{"BUNDLE"}, {"STATE"}, {"CASE", false, true}, {"ABOUT"}, {"RESOURCE", false, true}, {"SIZE", true}, {"SEALED"}});
    const Timestamp now = Timestamp::now();
    for (const json::Value& b : page.items("items"))
      table.row({b.str("bundle_id"), word(b.str("state")), b.str("case_id"), std::string(b.str("kind")) + (b.str("derived_from").empty() ? "" : ", redacted"), b.str("resource_id"), b.integer("size") > 0 ? human_bytes(static_cast<std::uint64_t>(b.integer("size"))) : "-", short_time(b.str("sealed_at"), now)});
    return table.render(session.console().out_palette(), session.console().width());
  });
  return kExitDone;
}

}  // namespace

void register_snapshot(App& app) {
  auto args = std::make_shared<Args>();
  app.command("forensic snapshot", "Evidence bundles in the locker.");
  app.command("forensic snapshot create", "Preserve everything under an evaluation, a job or an export as one sealed bundle; wait for the seal.")
      .option("--case", &args->case_id, "The case that it belongs to.", {.required = true, .value = "CASE"})
      .option("--scope", &args->scope, "What is preserved.", {.required = true, .choices = {"eval", "job", "export"}})
      .option("--id", &args->id, "The id of the evaluation, job or export.", {.required = true, .value = "ID"})
      .option("--again", &args->again, "Make a new bundle although there is one of this case and id.")
      .option("--embed-evaluation", &args->embed, "Scope export: put the sealed bundle of the evaluation, of this case, inside; verify looks into it with --nested.")
      .run([args](Session& s) { return create(s, *args); });
  app.command("forensic snapshot list", "Bundles, newest first.")
      .option("--case", &args->case_id, "Only of this case.", {.value = "CASE"})
      .option("--scope", &args->scope, "Only these.", {.choices = {"eval", "job", "export"}})
      .option("--id", &args->id, "Only about this evaluation, job or export.", {.value = "ID"})
      .option("--limit", &args->limit, "How many to show; 0 shows all.", {.value = "N"})
      .run([args](Session& s) { return list(s, *args); });
}

}  // namespace stella::cli
