// Joining and drawing one trace.
#include "stella/cli/obs/trace_view.h"

#include <algorithm>
#include <array>
#include <cstdio>
#include <map>
#include <optional>

#include "stella/cli/format.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

using Kind = TraceNode::Kind;
constexpr std::size_t kBar = 16;
constexpr std::size_t kWide = 100;  // from here on there is room for bars

constexpr std::array<std::string_view, 7> kLists = {"spans", "logs", "events", "decisions", "jobs", "evidence", "attestations"};

// What every line of a log carries: shown elsewhere or the same on all of them.
constexpr std::array<std::string_view, 22> kCommonFields = {"ts", "level", "service", "version", "env", "region", "instance_id", "tenant_id", "project_id", "actor", "route",
                                                            "method", "action", "trace_id", "span_id", "parent_span_id", "request_id", "job_id", "run_id", "module", "message", "dropped_fields"};

std::string scalar(const json::Value& v) { return v.is_string() ? v.as_string() : json::dump(v); }

void add_note(std::string& note, std::string_view text) {
  if (text.empty()) return;
  note.append(note.empty() ? "" : "  ").append(text);
}

std::optional<Timestamp> time_of(const json::Value& v, std::string_view name) {
  const auto parsed = Timestamp::parse(v.str(name));
  return parsed ? std::optional<Timestamp>(*parsed) : std::nullopt;
}

TraceNode span_node(const json::Value& s) {
  TraceNode n;
  n.kind = Kind::kSpan;
  n.at = time_of(s, "start_ts").value_or(Timestamp());
  n.end = time_of(s, "end_ts").value_or(n.at + std::chrono::microseconds(s.integer("duration_us")));
  n.span_id = std::string(s.str("span_id"));
  n.parent_id = std::string(s.str("parent_span_id"));
  n.title = std::string(s.str("name"));
  n.failed = s.str("status") == "error";
  n.style = n.failed ? Style::kRed : Style::kBold;
  add_note(n.note, s.str("service"));
  if (const json::Value* attributes = s.find("attributes"); attributes != nullptr && attributes->is_object())
    for (const auto& [name, value] : attributes->as_object())
      if (n.failed && name.find("error") != std::string::npos) add_note(n.note, name + "=" + scalar(value));
  return n;
}

TraceNode log_node(const json::Value& l) {
  TraceNode n;
  n.kind = Kind::kLog;
  n.at = time_of(l, "ts").value_or(Timestamp());
  n.parent_id = std::string(l.str("span_id"));
  n.title = std::string(l.str("level"));
  n.style = n.title == "error" ? Style::kRed : n.title == "warn" ? Style::kYellow : Style::kDim;
  n.failed = n.title == "error";
  n.note = std::string(l.str("message"));
  if (l.is_object())
    for (const auto& [name, value] : l.as_object())
      if (std::find(kCommonFields.begin(), kCommonFields.end(), name) == kCommonFields.end()) add_note(n.note, name + "=" + scalar(value));
  return n;
}

TraceNode event_node(const json::Value& e) {
  TraceNode n;
  n.kind = Kind::kEvent;
  n.at = time_of(e, "ts").value_or(Timestamp());
  n.title = std::string(e.str("kind"));
  n.style = Style::kCyan;
  add_note(n.note, std::string(e.str("resource_type")) + " " + std::string(e.str("resource_id")));
  return n;
}

TraceNode decision_node(const json::Value& d) {
  TraceNode n;
  n.kind = Kind::kDecision;
  n.at = time_of(d, "timestamp").value_or(Timestamp());
  n.title = std::string(d.str("decision_effect"));
  n.style = style_of(n.title);
  const json::Value* input = d.find("input");
  if (input != nullptr && !input->str("scope").empty()) {
    add_note(n.note, std::string(input->str("scope")) + "  for " + std::string(input->str("method")) + " " + std::string(input->str("route")));
  } else {
    add_note(n.note, d.str("decision_reason"));
    add_note(n.note, d.str("policy_version"));
  }
  return n;
}

TraceNode job_node(const json::Value& j) {
  TraceNode n;
  n.kind = Kind::kJob;
  n.at = time_of(j, "created_at").value_or(Timestamp());
  n.title = std::string(j.str("kind"));
  n.style = style_of(j.str("state")) == Style::kGreen ? Style::kPlain : style_of(j.str("state"));
  add_note(n.note, j.str("state"));
  if (j.integer("attempt") > 1) add_note(n.note, "attempt " + std::to_string(j.integer("attempt")));
  if (const auto end = time_of(j, "finished_at")) add_note(n.note, human_duration((*end - n.at).count()));
  add_note(n.note, j.str("root_cause"));
  n.failed = style_of(j.str("state")) == Style::kRed;
  return n;
}

TraceNode evidence_node(const json::Value& b) {
  TraceNode n;
  n.kind = Kind::kEvidence;
  n.at = time_of(b, "sealed_at").value_or(Timestamp());
  n.title = "bundle " + std::string(b.str("bundle_id"));
  n.style = style_of(b.str("state"));
  add_note(n.note, std::string(b.str("state")) + "  case " + std::string(b.str("case_id")));
  return n;
}

TraceNode attestation_node(const json::Value& a, const std::map<std::string, Timestamp, std::less<>>& job_ends) {
  TraceNode n;
  n.kind = Kind::kAttestation;
  const auto job = job_ends.find(a.str("job_id"));
  n.at = job == job_ends.end() ? Timestamp() : job->second;
  n.title = std::string(a.str("subject_name"));
  n.style = Style::kBlue;
  const std::string_view type = a.str("predicate_type");
  add_note(n.note, type.starts_with("https://") ? type.substr(8) : type);
  return n;
}

std::string_view word_of(Kind kind) {
  switch (kind) {
    case Kind::kSpan: return "";
    case Kind::kLog: return "log";
    case Kind::kDecision: return "decision";
    case Kind::kEvent: return "event";
    case Kind::kJob: return "job";
    case Kind::kEvidence: return "evidence";
    case Kind::kAttestation: return "attested";
  }
  return "";
}

// The span that starts latest among those that cover `at`: the innermost one.
std::optional<std::size_t> covering(const std::vector<TraceNode>& nodes, Timestamp at) {
  std::optional<std::size_t> best;
  for (std::size_t i = 0; i < nodes.size(); ++i) {
    if (nodes[i].kind != Kind::kSpan || nodes[i].at > at || nodes[i].end < at) continue;
    if (!best || nodes[i].at > nodes[*best].at) best = i;
  }
  return best;
}

void sort_by_time(const std::vector<TraceNode>& nodes, std::vector<std::size_t>& list) {
  std::stable_sort(list.begin(), list.end(), [&](std::size_t a, std::size_t b) { return nodes[a].at < nodes[b].at; });
}

// Spans that name each other as parents would hang in no tree: they become roots, too.
void break_cycles(Trace& trace) {
  std::vector<bool> seen(trace.nodes.size());
  std::vector<std::size_t> work = trace.roots;
  const auto visit = [&] {
    while (!work.empty()) {
      const std::size_t i = work.back();
      work.pop_back();
      if (seen[i]) continue;
      seen[i] = true;
      work.insert(work.end(), trace.nodes[i].children.begin(), trace.nodes[i].children.end());
    }
  };
  visit();
  for (std::size_t i = 0; i < trace.nodes.size(); ++i) {
    if (seen[i]) continue;
    for (TraceNode& n : trace.nodes) std::erase(n.children, i);
    trace.roots.push_back(i);
    work.push_back(i);
    visit();
  }
}

std::string bar(const Trace& trace, const TraceNode& n) {
  const double whole = std::max<double>(1, static_cast<double>((trace.end - trace.begin).count()));
  const auto place = [&](Timestamp t) { return std::clamp(static_cast<double>((t - trace.begin).count()) / whole * kBar, 0.0, static_cast<double>(kBar)); };
  const auto from = std::min<std::size_t>(static_cast<std::size_t>(place(n.at)), kBar - 1);
  const auto to = std::max<std::size_t>(from + 1, static_cast<std::size_t>(place(n.end) + 0.5));
  std::string out;
  for (std::size_t i = 0; i < kBar; ++i) out += i >= from && i < to ? "▬" : "·";
  return out;
}

std::string offset_text(const Trace& trace, Timestamp at) {
  const std::string text = at.micros() == 0 ? "" : "+" + human_duration((at - trace.begin).count());
  return std::string(9 - std::min<std::size_t>(9, display_width(text)), ' ') + text;
}

class Drawer {
 public:
  Drawer(const Trace& trace, const Palette& palette, std::size_t width) : trace_(trace), paint_(palette), width_(width), bars_(width == 0 || width >= kWide) {}

  std::string draw() {
    for (std::size_t i = 0; i < trace_.roots.size(); ++i) node(trace_.roots[i], "", true, true);
    return std::move(out_);
  }

 private:
  void node(std::size_t index, const std::string& guides, bool last, bool root) {
    const TraceNode& n = trace_.nodes[index];
    const std::string branch = root ? "" : last ? "└ " : "├ ";
    std::string left = offset_text(trace_, n.at) + " ";
    const std::string blank(kBar, ' ');
    if (bars_) left += (n.kind == Kind::kSpan ? bar(trace_, n) : blank) + " ";
    const std::size_t used = display_width(left) + display_width(guides) + display_width(branch);
    const std::size_t room = width_ == 0 ? 4096 : width_ > used + 16 ? width_ - used : 16;
    out_ += paint_(Style::kDim, left + guides + branch) + text(n, room) + "\n";
    const std::string below = guides + (root ? "" : last ? "  " : "│ ");
    for (std::size_t i = 0; i < n.children.size(); ++i) node(n.children[i], below, i + 1 == n.children.size(), false);
  }

  // The title stays whole as long as it can; the note gives way.
  std::string text(const TraceNode& n, std::size_t room) const {
    const bool span = n.kind == Kind::kSpan;
    const std::string lead = span ? "● " : n.kind == Kind::kLog ? "" : std::string(word_of(n.kind)) + " ";
    const std::string took = span ? "  " + human_duration((n.end - n.at).count()) : "";
    const std::size_t title_room = room - std::min(room, display_width(lead) + display_width(took));
    const std::string title = ellipsized(printable(n.title), title_room);
    const std::size_t used = display_width(lead) + display_width(title) + display_width(took) + 2;
    const std::string note = used < room ? ellipsized(printable(n.note), room - used) : "";
    std::string out = (span ? paint_(n.failed ? Style::kRed : Style::kGreen, lead) : paint_(Style::kDim, lead)) + paint_(n.style, title) + took;
    if (!note.empty()) out += "  " + (n.kind == Kind::kLog ? note : paint_(Style::kDim, note));
    return out;
  }

  const Trace& trace_;
  const Palette& paint_;
  std::size_t width_;
  bool bars_;
  std::string out_;
};

// End of a span together with everything below it: work that a request caused ends after the request.
Timestamp whole_end(const Trace& trace, std::size_t index) {
  Timestamp end = trace.nodes[index].end;
  for (const std::size_t child : trace.nodes[index].children)
    if (trace.nodes[child].kind == Kind::kSpan) end = std::max(end, whole_end(trace, child));
  return end;
}

// Walks back from `until`: what ended last is what was waited for.
void walk_back(const Trace& trace, const std::vector<std::size_t>& children, std::optional<std::size_t> owner, Timestamp from, Timestamp until, std::vector<CriticalStep>& out) {
  std::vector<std::pair<Timestamp, std::size_t>> ends;
  for (const std::size_t child : children)
    if (trace.nodes[child].kind == Kind::kSpan) ends.emplace_back(whole_end(trace, child), child);
  std::sort(ends.begin(), ends.end(), [](const auto& a, const auto& b) { return a.first > b.first; });
  Timestamp cursor = until;
  std::optional<std::size_t> next = owner;  // what begins at the cursor
  std::int64_t own = 0;
  // The owner's own as long as it lasts; what it caused may begin after that.
  const auto between = [&](Timestamp stop) {
    const Timestamp ended = owner ? std::clamp(trace.nodes[*owner].end, stop, std::max(stop, cursor)) : stop;
    own += (ended - stop).count();
    if (cursor > ended && next) out.push_back({*next, (cursor - ended).count(), ended, true});
  };
  for (const auto& [end, child] : ends) {
    const Timestamp begin = trace.nodes[child].at;
    if (begin >= cursor) continue;
    const Timestamp stop = std::min(end, cursor);
    between(stop);
    walk_back(trace, trace.nodes[child].children, child, begin, stop, out);
    cursor = begin;
    next = child;
    if (cursor <= from) break;
  }
  if (cursor > from) between(from);
  if (owner) out.push_back({*owner, own, trace.nodes[*owner].at, false});
}

}  // namespace

Trace join_trace(const json::Value& answer) {
  Trace trace;
  trace.id = std::string(answer.str("trace_id"));
  const auto add = [&](TraceNode node, std::size_t& count) {
    ++count;
    trace.nodes.push_back(std::move(node));
  };
  for (const json::Value& s : answer.items("spans")) add(span_node(s), trace.spans);
  for (const json::Value& l : answer.items("logs")) add(log_node(l), trace.logs);
  for (const json::Value& e : answer.items("events")) add(event_node(e), trace.events);
  for (const json::Value& d : answer.items("decisions")) add(decision_node(d), trace.decisions);
  std::map<std::string, Timestamp, std::less<>> job_ends;
  for (const json::Value& j : answer.items("jobs")) {
    if (const auto end = time_of(j, "finished_at")) job_ends[std::string(j.str("job_id"))] = *end;
    add(job_node(j), trace.jobs);
  }
  for (const json::Value& b : answer.items("evidence")) add(evidence_node(b), trace.evidence);
  for (const json::Value& a : answer.items("attestations")) add(attestation_node(a, job_ends), trace.attestations);

  for (const json::Value& name : answer.items("truncated")) {
    if (name.is_string() && std::find(kLists.begin(), kLists.end(), name.as_string()) != kLists.end()) trace.truncated.emplace_back(name.as_string());
  }

  std::map<std::string, std::size_t, std::less<>> by_span;
  bool first = true;
  for (std::size_t i = 0; i < trace.nodes.size(); ++i) {
    const TraceNode& n = trace.nodes[i];
    if (n.kind == Kind::kSpan) by_span.emplace(n.span_id, i);
    if (n.at.micros() == 0) continue;
    trace.begin = first ? n.at : std::min(trace.begin, n.at);
    trace.end = first ? std::max(n.at, n.end) : std::max({trace.end, n.at, n.end});
    first = false;
  }
  for (std::size_t i = 0; i < trace.nodes.size(); ++i) {
    const TraceNode& n = trace.nodes[i];
    const auto parent = by_span.find(n.parent_id);
    std::optional<std::size_t> under;
    if (parent != by_span.end() && parent->second != i) under = parent->second;
    else if (n.kind != Kind::kSpan && n.at.micros() != 0) under = covering(trace.nodes, n.at);
    if (under) trace.nodes[*under].children.push_back(i);
    else trace.roots.push_back(i);
  }
  break_cycles(trace);
  for (TraceNode& n : trace.nodes) sort_by_time(trace.nodes, n.children);
  sort_by_time(trace.nodes, trace.roots);
  // What has no time stands last.
  std::stable_partition(trace.roots.begin(), trace.roots.end(), [&](std::size_t i) { return trace.nodes[i].at.micros() != 0; });
  return trace;
}

std::string render_trace(const Trace& trace, const Palette& palette, std::size_t width) {
  std::string counts;
  const auto add = [&](std::size_t n, std::string_view noun) {
    if (n > 0) counts += (counts.empty() ? "" : ", ") + counted(static_cast<std::int64_t>(n), noun);
  };
  add(trace.spans, "span");
  add(trace.logs, "log line");
  add(trace.decisions, "decision");
  add(trace.events, "event");
  add(trace.jobs, "job");
  add(trace.evidence, "bundle");
  add(trace.attestations, "attestation");
  std::string out = "trace " + palette(Style::kBold, trace.id) + "  " + long_time(trace.begin.rfc3339()) + "\n" + human_duration((trace.end - trace.begin).count()) + ": ";
  const auto lines = wrapped(counts, (width == 0 ? 100 : width) - 12);
  for (std::size_t i = 0; i < lines.size(); ++i) out += (i == 0 ? "" : "  ") + lines[i] + "\n";
  std::string lists;
  for (const std::string& name : trace.truncated) lists += (lists.empty() ? "" : ", ") + name;
  if (!lists.empty()) {
    for (const std::string& line : wrapped("cut: there is more of " + lists + " than one reply holds (5000 of each, 8 MiB of each); what follows is the oldest part", width == 0 ? 100 : width)) {
      out += palette(Style::kYellow, line) + "\n";
    }
  }
  out += "\n";
  return out + Drawer(trace, palette, width).draw();
}

std::vector<CriticalStep> critical_path(const Trace& trace) {
  std::vector<CriticalStep> out;
  Timestamp begin, end;
  bool first = true;
  for (const std::size_t root : trace.roots) {
    if (trace.nodes[root].kind != Kind::kSpan) continue;
    begin = first ? trace.nodes[root].at : std::min(begin, trace.nodes[root].at);
    end = first ? whole_end(trace, root) : std::max(end, whole_end(trace, root));
    first = false;
  }
  if (first) return out;
  walk_back(trace, trace.roots, std::nullopt, begin, end, out);
  std::stable_sort(out.begin(), out.end(), [](const CriticalStep& a, const CriticalStep& b) { return a.at < b.at; });
  return out;
}

std::string render_critical_path(const Trace& trace, const Palette& palette, std::size_t width) {
  const auto steps = critical_path(trace);
  if (steps.empty()) return "no spans: no critical path\n";
  std::int64_t sum = 0;
  for (const CriticalStep& s : steps) sum += s.own_us;
  Table table({{"START", true}, {"OWN TIME", true}, {"SHARE", true}, {"SPAN"}, {"SERVICE", false, true}});
  for (const CriticalStep& s : steps) {
    const TraceNode& n = trace.nodes[s.node];
    char share[16];
    std::snprintf(share, sizeof share, "%.0f %%", sum == 0 ? 0.0 : 100.0 * static_cast<double>(s.own_us) / static_cast<double>(sum));
    const Cell title = s.waiting ? Cell("waiting for " + n.title, Style::kYellow) : Cell(n.title, n.failed ? Style::kRed : Style::kPlain);
    table.row({"+" + human_duration((s.at - trace.begin).count()), human_duration(s.own_us), share, title, s.waiting ? Cell("") : Cell(n.note, Style::kDim)});
  }
  std::int64_t waited = 0;
  for (const CriticalStep& s : steps) waited += s.waiting ? s.own_us : 0;
  const std::string idle = waited == 0 ? "" : ", " + human_duration(waited) + " of it between spans";
  return palette(Style::kBold, "critical path") + "  " + human_duration(sum) + " that the end waited for" + idle + "\n" + table.render(palette, width);
}

}  // namespace stella::cli
