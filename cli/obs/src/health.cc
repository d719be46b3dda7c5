// stella obs health: the parts of the platform, and what waits.
#include "register.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/obs/commands.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

Result<int> run(Session& session) {
  Api* api = STELLA_TRY(session.api());
  const json::Value health = STELLA_TRY(api->get("/obs/health"));
  session.show(health, [&] {
    const Palette& paint = session.console().out_palette();
    Table table({{"PART"}, {"STATE"}, {"PROBLEM", false, true}});
    for (const json::Value& p : health.items("parts")) table.row({p.str("part"), word(p.boolean("healthy") ? "ok" : "down"), p.str("problem")});
    std::string out = (health.boolean("healthy") ? paint(Style::kGreen, "healthy") : paint(Style::kRed, "not healthy")) + "  stella " + printable(health.str("version")) + " at " + api->options().url + "\n" +
                      table.render(paint, session.console().width());
    if (const json::Value* jobs = health.find("jobs"))
      out += "jobs  " + with_commas(jobs->integer("queued")) + " queued, " + with_commas(jobs->integer("running")) + " running, " +
             paint(jobs->integer("dead") > 0 ? Style::kRed : Style::kPlain, with_commas(jobs->integer("dead")) + " dead") + "\n";
    return out;
  });
  return health.boolean("healthy") ? kExitDone : kExitUnavailable;
}

}  // namespace

void register_obs_health(App& app) {
  app.command("obs health", "Whether every part answers, and how many jobs wait.").note("Exit code 5 where a part does not answer.").run(run);
}

void register_obs(App& app) {
  app.command("obs", "What the platform does, and how well.");
  register_obs_trace(app);
  register_obs_health(app);
  register_obs_settings(app);
  register_timeline(app);
  register_timeline_log(app);
  register_timeline_export(app);
}

}  // namespace stella::cli
