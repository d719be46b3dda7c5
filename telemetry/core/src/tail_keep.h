// Spans of traces that the head did not choose, until their local root ends: then all of them are kept, or all are forgotten.
#pragma once

#include <cstdint>
#include <functional>
#include <list>
#include <string>
#include <string_view>
#include <unordered_map>

#include "stella/telemetry/backend.h"
#include "stella/telemetry/record.h"

namespace stella::telemetry {

// One thread.
class TailKeep {
 public:
  // Slowest local root of `route` that is still forgotten, in ns; negative: latency never keeps.
  using Threshold = std::function<std::int64_t(std::string_view route)>;
  // A span that is kept, and why: `record.head().sampling` says it, too.
  using Keep = std::function<void(const RecordView& record, SamplingReason reason)>;
  struct Totals {
    std::uint64_t kept = 0;       // spans
    std::uint64_t forgotten = 0;  // spans of traces that nothing spoke for
    std::uint64_t dropped = 0;    // spans that a limit cost, undecided
  };

  TailKeep(TailKeepOptions options, Threshold threshold, Keep keep) : options_(options), threshold_(std::move(threshold)), keep_(std::move(keep)) {}

  // A span record with SamplingReason::kUndecided. `now_ns` (here and below) is a clock that never jumps, not the time of the record: a
  // job's child hands over at its end what it did long before, and its root is still to come.
  void add(const RecordView& span, std::int64_t now_ns);
  // Traces of which no span came for options.max_age.
  void expire(std::int64_t now_ns);
  // All that wait are kept: their process is gone, their roots will not come.
  void keep_all(SamplingReason reason);
  const Totals& totals() const { return totals_; }
  std::size_t traces() const { return traces_.size(); }
  std::size_t bytes() const { return bytes_; }

 private:
  struct Id {
    std::uint64_t high = 0, low = 0;
    friend bool operator==(const Id&, const Id&) = default;
  };
  struct Hash {
    std::size_t operator()(const Id& id) const { return id.low * 0x9e3779b97f4a7c15u ^ id.high; }
  };
  struct Trace {
    std::string records;
    std::uint32_t spans = 0;
    bool error = false, wanted = false;
    std::int64_t last_ns = 0;  // when its last span came
    std::list<Id>::iterator age;
  };
  using Traces = std::unordered_map<Id, Trace, Hash>;

  void decide(const Id& id, const RecordView& root);
  void emit(std::string& records, SamplingReason reason);
  void drop(Traces::iterator trace);

  const TailKeepOptions options_;
  const Threshold threshold_;
  const Keep keep_;
  Traces traces_;
  std::list<Id> ages_;  // oldest first, by last span
  std::size_t bytes_ = 0;
  std::unordered_map<Id, SamplingReason, Hash> kept_;  // so that late spans follow their trace
  std::list<Id> kept_ages_;
  Totals totals_;
};

}  // namespace stella::telemetry
