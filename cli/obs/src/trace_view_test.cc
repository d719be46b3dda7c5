// One recorded trace: a request, the job that it caused, and everything that was noted on the way.
#include "stella/cli/obs/trace_view.h"

#include "register.h"
#include "stella/cli/format.h"
#include "stella/testing/shared_data.h"

namespace stella::cli {
namespace {

constexpr std::string_view kAnswer = R"({
 "trace_id":"4bf92f3577b34da6a3ce929d0e0e4736",
 "spans":[
  {"span_id":"00f067aa0ba902b7","parent_span_id":"aaaaaaaaaaaaaaaa","name":"api POST /evaluations","kind":"server","service":"stella-web","start_ts":"2026-11-24T17:07:00.000000Z","end_ts":"2026-11-24T17:07:00.020000Z","duration_us":20000,"status":"ok","attributes":{}},
  {"span_id":"00f067aa0ba902b8","parent_span_id":"00f067aa0ba902b7","name":"runner.execute","kind":"consumer","service":"stella-runner","start_ts":"2026-11-24T17:07:00.050000Z","end_ts":"2026-11-24T17:07:00.450000Z","duration_us":400000,"status":"unset","attributes":{}},
  {"span_id":"00f067aa0ba902b9","parent_span_id":"00f067aa0ba902b8","name":"policy.evaluate","kind":"internal","service":"stella-runner","start_ts":"2026-11-24T17:07:00.100000Z","end_ts":"2026-11-24T17:07:00.400000Z","duration_us":300000,"status":"error","attributes":{"error_code":"limit","sbom_id":"x"}},
  {"span_id":"00f067aa0ba902ba","parent_span_id":"00f067aa0ba902b8","name":"store.put","kind":"internal","service":"stella-runner","start_ts":"2026-11-24T17:07:00.060000Z","end_ts":"2026-11-24T17:07:00.090000Z","duration_us":30000,"status":"ok","attributes":{}}],
 "logs":[
  {"ts":"2026-11-24T17:07:00.015000Z","level":"info","service":"stella-web","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b7","module":"web","message":"request served","http_status":202},
  {"ts":"2026-11-24T17:07:00.390000Z","level":"error","service":"stella-runner","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","span_id":"00f067aa0ba902b9","module":"policy","message":"evil \u001b[2J name"}],
 "events":[{"event_id":"0193","ts":"2026-11-24T17:07:00.300000Z","kind":"job.started","actor":"runner","resource_type":"job","resource_id":"j1","details":{},"digest":"00"},
           {"event_id":"0194","ts":"2026-11-24T17:07:09.000000Z","kind":"policy.evaluated","actor":"runner","resource_type":"evaluation","resource_id":"e1","details":{},"digest":"00"}],
 "decisions":[{"decision_id":"d","timestamp":"2026-11-24T17:07:00.002000Z","path":"stella/authz","input":{"route":"/evaluations","method":"POST","scope":"stella:evaluation:write#tenant/demo"},"decision_effect":"allow","decision_reason":"scope held"}],
 "jobs":[{"job_id":"j1","kind":"policy.evaluate","state":"failed","attempt":2,"root_cause":"over a limit","created_at":"2026-11-24T17:07:00.010000Z","finished_at":"2026-11-24T17:07:00.460000Z"}],
 "evidence":[],
 "attestations":[{"attestation_id":"a1","predicate_type":"https://slsa.dev/provenance/v1","subject_name":"decision.json","subject_digest":"00","job_id":"j1","signer_key_id":"SHA256:x"}]})";

Trace recorded() {
  auto answer = json::parse(kAnswer);
  EXPECT_TRUE(answer) << answer.error().describe();
  return join_trace(*answer);
}

std::vector<std::string> titles(const Trace& t, const std::vector<std::size_t>& list) {
  std::vector<std::string> out;
  for (const std::size_t i : list) out.push_back(t.nodes[i].title);
  return out;
}

TEST(TraceView, EverythingStandsWhereItHappened) {
  const Trace t = recorded();
  // The caller's own span is not recorded: its child is a root. What no span covers stands beside it, in time order.
  EXPECT_EQ(titles(t, t.roots), (std::vector<std::string>{"api POST /evaluations", "decision.json", "policy.evaluated"}));
  const TraceNode& api = t.nodes[t.roots[0]];
  EXPECT_EQ(titles(t, api.children), (std::vector<std::string>{"allow", "policy.evaluate", "info", "runner.execute"}));
  const TraceNode& runner = t.nodes[api.children[3]];
  EXPECT_EQ(titles(t, runner.children), (std::vector<std::string>{"store.put", "policy.evaluate"}));
  const TraceNode& evaluate = t.nodes[runner.children[1]];
  EXPECT_EQ(titles(t, evaluate.children), (std::vector<std::string>{"job.started", "error"}));  // by time, by span id
  EXPECT_TRUE(evaluate.failed);
  EXPECT_NE(evaluate.note.find("error_code=limit"), std::string::npos);
}

TEST(TraceView, NothingIsLostAndNothingIsDoubled) {
  const Trace t = recorded();
  std::vector<int> seen(t.nodes.size());
  std::vector<std::size_t> work = t.roots;
  while (!work.empty()) {
    const std::size_t i = work.back();
    work.pop_back();
    ++seen[i];
    work.insert(work.end(), t.nodes[i].children.begin(), t.nodes[i].children.end());
  }
  for (std::size_t i = 0; i < seen.size(); ++i) EXPECT_EQ(seen[i], 1) << t.nodes[i].title;
}

TEST(TraceView, SpansThatNameEachOtherAreStillShown) {
  const auto answer = json::parse(R"({"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","spans":[
    {"span_id":"01","parent_span_id":"02","name":"a","start_ts":"2026-11-24T17:07:00Z","end_ts":"2026-11-24T17:07:01Z"},
    {"span_id":"02","parent_span_id":"01","name":"b","start_ts":"2026-11-24T17:07:00Z","end_ts":"2026-11-24T17:07:01Z"},
    {"span_id":"03","parent_span_id":"03","name":"c","start_ts":"2026-11-24T17:07:00Z","end_ts":"2026-11-24T17:07:01Z"}]})");
  const std::string text = render_trace(join_trace(*answer), Palette(false), 80);
  for (const char* name : {"● a", "● b", "● c"}) EXPECT_NE(text.find(name), std::string::npos) << text;
}

TEST(TraceView, SaysWhatTheServerLeftOut) {
  auto answer = json::parse(kAnswer);
  EXPECT_EQ(render_trace(join_trace(*answer), Palette(false), 80).find("cut:"), std::string::npos);
  answer->set("truncated", json::Value(json::Array{json::Value("logs"), json::Value("events"), json::Value("\x1b[2J")}));
  const std::string text = render_trace(join_trace(*answer), Palette(false), 0);
  EXPECT_NE(text.find("cut: there is more of logs, events than one reply holds"), std::string::npos) << text;
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
}

TEST(TraceView, FitsTheTerminalAndObeysNobody) {
  for (const std::size_t width : {80u, 120u}) {
    const std::string text = render_trace(recorded(), Palette(false), width);
    EXPECT_EQ(text.find('\x1b'), std::string::npos);
    EXPECT_NE(text.find("9.00 s: 4 spans, 2 log lines, 1 decision, 2 events"), std::string::npos) << text;
    EXPECT_NE(text.find("runner.execute  400 ms"), std::string::npos) << text;
    EXPECT_NE(text.find("evil ·[2J name"), std::string::npos) << text;
    std::string_view rest = text;
    while (!rest.empty()) {
      const std::string_view line = rest.substr(0, rest.find('\n'));
      EXPECT_LE(display_width(line), width) << line;
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
    }
  }
}

TEST(TraceView, CriticalPathIsWhatTheEndWaitedFor) {
  const Trace t = recorded();
  const auto steps = critical_path(t);
  std::vector<std::string> names;
  std::map<std::string, std::int64_t> own;
  std::int64_t sum = 0;
  for (const CriticalStep& s : steps) {
    names.push_back((s.waiting ? "waiting for " : "") + t.nodes[s.node].title);
    own[names.back()] = s.own_us;
    sum += s.own_us;
  }
  EXPECT_EQ(names, (std::vector<std::string>{"api POST /evaluations", "waiting for runner.execute", "runner.execute", "store.put", "policy.evaluate"}));
  EXPECT_EQ(sum, 450'000);  // from the first span's start to the last one's end, each microsecond once
  EXPECT_EQ(own["policy.evaluate"], 300'000);
  EXPECT_EQ(own["store.put"], 30'000);
  EXPECT_EQ(own["runner.execute"], 70'000);
  EXPECT_EQ(own["api POST /evaluations"], 20'000) << "no longer than it lasts";
  EXPECT_EQ(own["waiting for runner.execute"], 30'000);
  EXPECT_NE(render_critical_path(t, Palette(false), 80).find("67 %"), std::string::npos);
}

TEST(TraceView, AnEmptyTraceIsNoCrash) {
  const auto answer = json::parse(R"({"trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","spans":[],"logs":[]})");
  const Trace t = join_trace(*answer);
  EXPECT_TRUE(critical_path(t).empty());
  EXPECT_FALSE(render_trace(t, Palette(false), 80).empty());
}

TEST(TimeArgument, AbsoluteAndAgo) {
  const Timestamp now = *Timestamp::parse("2026-11-24T12:00:00Z");
  EXPECT_EQ(*time_argument("15m", now), "2026-11-24T11:45:00.000000Z");
  EXPECT_EQ(*time_argument("2h", now), "2026-11-24T10:00:00.000000Z");
  EXPECT_EQ(*time_argument("7d", now), "2026-11-17T12:00:00.000000Z");
  EXPECT_EQ(*time_argument("2026-01-01T00:00:00Z", now), "2026-01-01T00:00:00Z");
  for (const std::string_view bad : {"", "m", "15", "-5m", "15x", "yesterday", "99999999999999999999d"}) EXPECT_FALSE(time_argument(bad, now)) << bad;
}

}  // namespace
}  // namespace stella::cli
