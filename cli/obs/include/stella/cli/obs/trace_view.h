// One trace on one screen: span tree, log lines in place, decisions, events, jobs, evidence and attestations, oldest first. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/time.h"
#include "stella/cli/console.h"

namespace stella::cli {

// What GET /obs/trace/:id says, joined: every item stands below the span it belongs to, by span id or, where it has none, by time.
struct TraceNode {
  enum class Kind { kSpan, kLog, kDecision, kEvent, kJob, kEvidence, kAttestation };
  Kind kind = Kind::kSpan;
  Timestamp at;
  Timestamp end;                         // spans only
  std::string title;                     // what the line says first
  std::string note;                      // the rest, dim
  Style style = Style::kPlain;           // of the title
  bool failed = false;
  std::string span_id;                   // spans only
  std::string parent_id;
  std::vector<std::size_t> children;     // in time order
};

struct Trace {
  std::string id;
  std::vector<TraceNode> nodes;
  std::vector<std::size_t> roots;        // in time order: spans whose parent is not here, and what no span covers
  std::size_t spans = 0, logs = 0, events = 0, decisions = 0, jobs = 0, evidence = 0, attestations = 0;
  std::vector<std::string> truncated;    // lists of the answer that have more than it holds
  Timestamp begin;
  Timestamp end;
};

Trace join_trace(const json::Value& answer);

// `width` 0: not cut. Bars are drawn where there is room.
std::string render_trace(const Trace& trace, const Palette& palette, std::size_t width);

// The chain of spans that the trace's end waited for, oldest first, with the time that each alone accounts for. Time in which no span was
// under way (a queue, a bus) is nobody's own: it stands between them.
struct CriticalStep {
  std::size_t node;      // of a wait: what began at its end
  std::int64_t own_us;
  Timestamp at;
  bool waiting = false;
};
std::vector<CriticalStep> critical_path(const Trace& trace);
std::string render_critical_path(const Trace& trace, const Palette& palette, std::size_t width);

}  // namespace stella::cli
