// stella obs trace.
#include "register.h"
#include "stella/cli/errors.h"
#include "stella/cli/obs/trace_view.h"

namespace stella::cli {
namespace {

struct Args {
  std::string trace;
  bool critical = false;
};

json::Value path_json(const Trace& trace) {
  json::Array steps;
  for (const CriticalStep& s : critical_path(trace)) {
    const TraceNode& n = trace.nodes[s.node];
    steps.push_back(json::Value::object({{"span_id", n.span_id}, {"name", n.title}, {"start_ts", s.at.rfc3339()}, {"own_us", s.own_us}, {"waiting", s.waiting}}));
  }
  return json::Value(std::move(steps));
}

Result<int> run(Session& session, const Args& args) {
  auto id = TraceId::parse(args.trace);
  if (!id) return Error(base_errors::kInvalid, "not a trace id").with("field", args.trace).with("expected", "32 lower-case hex digits, as every command prints them");
  Api* api = STELLA_TRY(session.api());
  json::Value answer = STELLA_TRY(api->get("/obs/trace/" + id->hex()));
  const Trace trace = join_trace(answer);
  if (args.critical) answer.set("critical_path", path_json(trace));
  session.show(answer, [&] {
    const Palette& paint = session.console().out_palette();
    const std::size_t width = session.console().width();
    return render_trace(trace, paint, width) + (args.critical ? "\n" + render_critical_path(trace, paint, width) : "") + "\n";
  });
  return kExitDone;
}

}  // namespace

void register_obs_trace(App& app) {
  auto args = std::make_shared<Args>();
  app.command("obs trace", "One trace on one screen: spans, log lines, decisions, events, jobs, evidence, attestations.")
      .argument("TRACE", &args->trace, "The trace id that a command printed.")
      .option("--critical-path", &args->critical, "Also the chain of spans that the end waited for.")
      .run([args](Session& s) { return run(s, *args); });
}

}  // namespace stella::cli
