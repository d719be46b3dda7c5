// stella job: list, show, cancel, retry.
#include "common.h"

namespace stella::cli {
namespace {

struct Args {
  std::string id;
  std::string state;
  std::string kind;
  std::string resource;
  std::string trace;
  std::int64_t limit = 50;
};

std::string took(const json::Value& row, std::string_view from, std::string_view to) {
  const auto begin = Timestamp::parse(row.str(from));
  const auto end = Timestamp::parse(row.str(to));
  return begin && end ? human_duration((*end - *begin).count()) : "";
}

Result<int> list(Session& session, const Args& args) {
  Query query;
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"state", args.state}, {"kind", args.kind}, {"resource_id", args.resource}, {"trace", args.trace}})
    if (!value.empty()) query.emplace_back(name, value);
  return show_rows(session, "/jobs", std::move(query), args.limit, {{"JOB"}, {"KIND"}, {"STATE"}, {"TRY", true}, {"TOOK", true}, {"CREATED"}, {"WHY", false, true}},
                   [](const json::Value& j) -> std::vector<Cell> {
                     const bool cached = j.find("cached_from") != nullptr && !j.find("cached_from")->is_null();
                     return {j.str("job_id"), j.str("kind"), word(j.str("state")), std::to_string(j.integer("attempt")) + "/" + std::to_string(j.integer("max_attempts")),
                             cached ? "reused" : took(j, "started_at", "finished_at"), short_time(j.str("created_at"), Timestamp::now()), j.str("root_cause")};
                   },
                   "no jobs");
}

std::string digests(std::string_view title, const json::Array& refs, const Palette& paint) {
  if (refs.empty()) return "";
  Table table({{std::string(title)}, {"SHA256"}, {"SIZE", true}});
  for (const json::Value& r : refs) table.row({r.str("name"), r.str("sha256"), r.find("size") != nullptr ? human_bytes(static_cast<std::uint64_t>(r.integer("size"))) : ""});
  return "\n" + table.render(paint, 0);
}

std::string job_text(const json::Value& j, const Palette& paint) {
  Facts facts;
  facts.add("works for", std::string(j.str("resource_type")) + " " + std::string(j.str("resource_id"))).add("engine", j.str("engine_version")).add("attempt", std::to_string(j.integer("attempt")) + " of " + std::to_string(j.integer("max_attempts")));
  facts.add("created", long_time(j.str("created_at"))).add("took", took(j, "started_at", "finished_at")).add("reused from", j.str("cached_from")).add("trace", j.str("trace_id"));
  if (!j.str("error_code").empty()) facts.add("error", Cell(std::string(j.str("error_code")) + ": " + std::string(j.str("error_message")), Style::kRed));
  facts.add("root cause", j.str("root_cause"));
  std::string out = "job " + paint(Style::kBold, j.str("job_id")) + "  " + std::string(j.str("kind")) + "  " + paint(style_of(j.str("state")), j.str("state")) + "\n" + facts.render(paint, 2);
  out += digests("INPUT", j.items("inputs"), paint) + digests("OUTPUT", j.items("outputs"), paint);
  if (j.items("runs").empty()) return out;
  Table runs({{"TRY", true}, {"STATE"}, {"RUNNER", false, true}, {"TOOK", true}, {"ROOT CAUSE", false, true}});
  for (const json::Value& r : j.items("runs")) runs.row({std::to_string(r.integer("attempt")), word(r.str("state")), r.str("runner_id"), took(r, "started_at", "finished_at"), r.str("root_cause")});
  return out + "\n" + runs.render(paint, 0);
}

Result<int> show(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  const json::Value job = STELLA_TRY(api->get("/jobs/" + path_segment(args.id)));
  session.show(job, [&] { return job_text(job, session.console().out_palette()); });
  return kExitDone;
}

Result<int> act(Session& session, const Args& args, const std::string& verb, const std::string& said) {
  Api* api = STELLA_TRY(session.api());
  const json::Value answer = STELLA_TRY(api->post("/jobs/" + path_segment(args.id) + "/" + verb, json::Value::object()));
  session.show(answer, [&] { return "job " + std::string(answer.str("job_id")) + " " + said + "\n"; });
  return kExitDone;
}

}  // namespace

void register_job(App& app) {
  auto args = std::make_shared<Args>();
  app.command("job", "Jobs: the work behind every result.");
  add_limit(app.command("job list", "Jobs, newest first.")
                .option("--state", &args->state, "Only these.", {.choices = {"queued", "running", "finished", "failed", "cancelled", "dead"}})
                .option("--kind", &args->kind, "Only these, for example advisory.link.", {.value = "KIND"})
                .option("--resource", &args->resource, "Only for this SBOM, batch, evaluation, export or bundle.", {.value = "ID"})
                .option("--trace", &args->trace, "Only of this trace.", {.value = "TRACE"})
                .run([args](Session& s) { return list(s, *args); }),
            &args->limit);
  app.command("job show", "One job with its inputs, outputs and runs.").argument("JOB", &args->id, "Its id.").run([args](Session& s) { return show(s, *args); });
  app.command("job cancel", "Ask a waiting or running job to end.").argument("JOB", &args->id, "Its id.").run([args](Session& s) { return act(s, *args, "cancel", "is asked to end"); });
  app.command("job retry", "Give a failed or dead job a new attempt.").argument("JOB", &args->id, "Its id.").run([args](Session& s) { return act(s, *args, "retry", "waits for a runner again"); });
}

}  // namespace stella::cli
