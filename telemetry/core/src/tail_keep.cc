// Buffers per trace and the decision.
#include "tail_keep.h"

#include <cstddef>
#include <cstring>
#include <optional>

namespace stella::telemetry {
namespace {
constexpr std::size_t kKeptTraces = 16 * 1024;
}

void TailKeep::emit(std::string& records, SamplingReason reason) {
  std::size_t at = 0;
  while (at < records.size()) {
    std::memcpy(records.data() + at + offsetof(RecordHead, sampling), &reason, sizeof reason);
    const auto view = RecordView::parse(std::string_view(records).substr(at));
    if (!view) return;  // never: only whole records were put in
    ++totals_.kept;
    keep_(*view, reason);
    at += view->head().size;
  }
}

void TailKeep::drop(Traces::iterator trace) {
  totals_.dropped += trace->second.spans;
  bytes_ -= trace->second.records.size();
  ages_.erase(trace->second.age);
  traces_.erase(trace);
}

void TailKeep::decide(const Id& id, const RecordView& root) {
  const auto found = traces_.find(id);
  const RecordHead& h = root.head();
  const bool error = h.status == SpanStatus::kError || (found != traces_.end() && found->second.error);
  const bool wanted = (h.flags & RecordHead::kKeep) != 0 || (found != traces_.end() && found->second.wanted);
  const std::int64_t threshold = threshold_ ? threshold_(root.route()) : -1;
  std::optional<SamplingReason> reason;
  if (error) reason = SamplingReason::kError;
  else if (threshold >= 0 && h.end_ns - h.ns > threshold) reason = SamplingReason::kLatency;
  else if (wanted) reason = SamplingReason::kIncident;

  std::string records;
  std::uint32_t spans = 1;
  if (found != traces_.end()) {
    records = std::move(found->second.records);
    spans += found->second.spans;
    bytes_ -= records.size();
    ages_.erase(found->second.age);
    traces_.erase(found);
  }
  if (!reason) {
    totals_.forgotten += spans;
    return;
  }
  records.append(root.bytes());
  emit(records, *reason);
  if (kept_.emplace(id, *reason).second) kept_ages_.push_back(id);
  if (kept_.size() > kKeptTraces) {
    kept_.erase(kept_ages_.front());
    kept_ages_.pop_front();
  }
}

void TailKeep::add(const RecordView& span, std::int64_t now_ns) {
  const RecordHead& h = span.head();
  Id id;
  std::memcpy(&id.high, h.trace_id.data(), 8);
  std::memcpy(&id.low, h.trace_id.data() + 8, 8);
  if (const auto kept = kept_.find(id); kept != kept_.end()) {
    std::string one(span.bytes());
    emit(one, kept->second);
    return;
  }
  if ((h.flags & RecordHead::kLocalRoot) != 0) return decide(id, span);

  const std::size_t size = span.bytes().size();
  auto found = traces_.find(id);
  if (found == traces_.end()) {
    // Room for a new trace is made by the oldest ones.
    while (!traces_.empty() && (traces_.size() >= options_.max_traces || bytes_ + size > options_.max_bytes)) drop(traces_.find(ages_.front()));
    found = traces_.try_emplace(id).first;
    found->second.age = ages_.insert(ages_.end(), id);
  } else {
    ages_.splice(ages_.end(), ages_, found->second.age);
  }
  Trace& trace = found->second;
  trace.error = trace.error || h.status == SpanStatus::kError;
  trace.wanted = trace.wanted || (h.flags & RecordHead::kKeep) != 0;
  trace.last_ns = now_ns;
  if (trace.records.size() + size > options_.max_trace_bytes) {
    ++totals_.dropped;
    return;
  }
  while (bytes_ + size > options_.max_bytes && ages_.front() != id) drop(traces_.find(ages_.front()));
  if (bytes_ + size > options_.max_bytes) {
    ++totals_.dropped;
    return;
  }
  trace.records.append(span.bytes());
  ++trace.spans;
  bytes_ += size;
}

void TailKeep::keep_all(SamplingReason reason) {
  for (auto& [id, trace] : traces_) emit(trace.records, reason);
  traces_.clear();
  ages_.clear();
  bytes_ = 0;
}

void TailKeep::expire(std::int64_t now_ns) {
  while (!ages_.empty()) {
    const auto oldest = traces_.find(ages_.front());
    if (now_ns - oldest->second.last_ns < options_.max_age.count() * 1'000'000'000) return;
    drop(oldest);
  }
}

}  // namespace stella::telemetry
