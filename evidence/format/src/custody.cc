// The walk: one pass over the events, remembering who put out which digest.
#include "stella/evidence/format/custody.h"

#include <algorithm>
#include <unordered_map>
#include <unordered_set>

#include "stella/base/limits.h"
#include "stella/crypto/digest.h"

namespace stella::evidence {
namespace {

// What is received or written by people, and what a feed gave.
constexpr std::string_view kOrigins[] = {"source.fetched", "sbom.received", "policy.published"};

using Objects = std::vector<std::pair<std::string, Sha256>>;

Result<Objects> parse_objects(const json::Array& objects, std::string_view member) {
  Objects out;
  for (const auto& object : objects) {
    const auto digest = Sha256::parse(object.str("sha256"));
    if (!digest) return Error(base_errors::kMalformed, "an object of an event has no digest").with("field", std::string(member)).with("expected", "sha256 in hex");
    out.emplace_back(std::string(object.str("name")), *digest);
  }
  return out;
}

json::Value objects_json(const Objects& objects) {
  json::Array out;
  for (const auto& [name, digest] : objects) out.push_back(json::Value::object({{"name", name}, {"sha256", digest.hex()}}));
  return out;
}

constexpr std::string_view kListName = "list:", kListPath = "custody/list-", kListEnd = ".json";

bool is_list(std::string_view name) {
  return name.size() > kListName.size() && name.starts_with(kListName) && name.find_first_not_of("0123456789", kListName.size()) == std::string_view::npos;
}

Result<Objects> parse_list(const std::string& name, const Sha256& digest, std::string_view text) {
  const std::string path = custody_list_path(digest);
  if (crypto::sha256(text) != digest) return Error(base_errors::kInvalid, "a list of custody is not what the event names").with("path", path);
  const json::Value list = STELLA_TRY(json::parse(text));
  if (!list.is_array() || std::string(kListName) + std::to_string(list.as_array().size()) != name)
    return Error(base_errors::kMalformed, "a list of custody has another length than the event says").with("path", path).with("expected", name);
  return parse_objects(list.as_array(), path);
}

}  // namespace

std::string custody_list_path(const Sha256& list) { return std::string(kListPath) + list.hex() + std::string(kListEnd); }

bool is_custody_list_path(std::string_view path) {
  if (!path.starts_with(kListPath) || !path.ends_with(kListEnd) || path.size() != kListPath.size() + 2 * Sha256::kSize + kListEnd.size()) return false;
  return Sha256::parse(path.substr(kListPath.size(), 2 * Sha256::kSize)).has_value();
}

std::vector<Sha256> custody_lists(std::span<const CustodyEvent> events) {
  std::vector<Sha256> out;
  std::unordered_set<Sha256> seen;
  for (const CustodyEvent& event : events) {
    if (event.outputs.empty()) continue;
    for (const Objects* objects : {&event.inputs, &event.outputs})
      for (const auto& [name, digest] : *objects)
        if (is_list(name) && seen.insert(digest).second) out.push_back(digest);
  }
  return out;
}

Result<void> expand_custody_lists(std::span<CustodyEvent> events, const std::function<std::string_view(const Sha256&)>& find) {
  std::unordered_map<Sha256, Objects> known;
  std::size_t listed = 0;
  for (CustodyEvent& event : events) {
    if (event.outputs.empty()) continue;
    for (Objects* objects : {&event.inputs, &event.outputs}) {
      if (std::none_of(objects->begin(), objects->end(), [](const auto& o) { return is_list(o.first); })) continue;
      Objects expanded;
      for (auto& [name, digest] : *objects) {
        const std::string_view text = is_list(name) ? find(digest) : std::string_view();
        if (text.empty()) {
          expanded.emplace_back(std::move(name), digest);
          continue;
        }
        if (!known.contains(digest)) known[digest] = STELLA_TRY(parse_list(name, digest, text));
        const Objects& entries = known[digest];
        if ((listed += entries.size()) > kMaxListed) return Error(base_errors::kLimit, "the lists of custody name too many objects").with("limit", std::uint64_t{kMaxListed});
        expanded.insert(expanded.end(), entries.begin(), entries.end());
      }
      *objects = std::move(expanded);
    }
  }
  return {};
}

std::string_view custody_prefix(CustodyLog log) {
  switch (log) {
    case CustodyLog::kTenant: return "custody/";
    case CustodyLog::kKnowledgeBase: return "custody/kb-";
    case CustodyLog::kKeys: return "custody/keys-";
  }
  return {};
}

std::string custody_proof_path(CustodyLog log, std::size_t number) {
  std::string digits = std::to_string(number);
  digits.insert(0, digits.size() < 6 ? 6 - digits.size() : 0, '0');
  return std::string(custody_prefix(log)) + digits + ".tlog-proof";
}

std::string custody_deployment_path(CustodyLog log) { return std::string(custody_prefix(log)) + "deployment.tlog-proof"; }

bool is_custody_origin(std::string_view kind) { return std::find(std::begin(kOrigins), std::end(kOrigins), kind) != std::end(kOrigins); }

Result<CustodyEvent> parse_custody_event(std::string_view entry) {
  const json::Value doc = STELLA_TRY(json::parse(entry, {.max_bytes = limits::kEventBytes, .max_depth = limits::kJsonDepth}));
  CustodyEvent out;
  const std::pair<std::string_view, std::string*> texts[] = {{"event_id", &out.event_id}, {"ts", &out.ts},       {"kind", &out.kind}, {"tenant_id", &out.tenant_id},
                                                             {"actor", &out.actor},       {"resource_type", &out.resource_type}, {"resource_id", &out.resource_id}};
  for (const auto& [name, text] : texts) *text = doc.str(name);
  if (out.event_id.empty() || out.kind.empty()) return Error(base_errors::kMalformed, "not an event").with("field", std::string(out.event_id.empty() ? "event_id" : "kind"));
  const json::Value* details = doc.find("details");
  if (details == nullptr) return out;
  out.job_id = details->str("job_id");
  out.job_kind = details->str("job_kind");
  out.cached = details->boolean("cached");
  out.inputs = STELLA_TRY(parse_objects(details->items("inputs"), "inputs"));
  out.outputs = STELLA_TRY(parse_objects(details->items("outputs"), "outputs"));
  return out;
}

Custody walk_custody(std::span<const CustodyEvent> events, std::span<const Sha256> known) {
  Custody out;
  std::unordered_map<Sha256, std::size_t> produced;
  const std::unordered_set<Sha256> vouched(known.begin(), known.end());
  for (std::size_t i = 0; i < events.size(); ++i) {
    const CustodyEvent& event = events[i];
    if (event.outputs.empty()) continue;  // announcements (scheduled, started) make nothing
    out.steps.push_back(i);
    const bool origin = is_custody_origin(event.kind);
    for (const auto& [name, digest] : event.inputs) {
      if (origin) {  // came in with it
        produced[digest] = i;
        continue;
      }
      CustodyLink link{.consumer = i, .name = name, .sha256 = digest, .producer = {}};
      if (const auto found = produced.find(digest); found != produced.end()) link.producer = found->second;
      else if (!vouched.contains(digest)) out.broken.push_back(link);
      out.links.push_back(std::move(link));
    }
    for (const auto& [name, digest] : event.outputs) produced[digest] = i;
  }
  return out;
}

namespace {

constexpr std::string_view kScheduled = "job.scheduled", kStarted = "job.started", kFinished = "job.finished", kSnapshot = "evidence.snapshot";
constexpr std::string_view kOtherEnds[] = {"job.failed", "job.cancelled", "job.dead_lettered"};
// Enclosed for a digest alone, whatever trace brought it in.
constexpr std::string_view kBroughtIn[] = {"source.fetched", "advisory.ingested", "vex.ingested"};

template <std::size_t N>
bool one_of(std::string_view kind, const std::string_view (&kinds)[N]) {
  return std::find(std::begin(kinds), std::end(kinds), kind) != std::end(kinds);
}

// What the events tell of one job.
struct JobRecord {
  std::string id;
  std::optional<std::size_t> scheduled, started, finished, ended, named, first;  // positions
  bool cached = false, whole_trace = false, of_seal = false;

  bool any() const { return scheduled || started || finished || ended; }
  bool asked() const { return of_seal || (named && (whole_trace || any())); }
};

std::vector<JobRecord> job_records(std::span<const CustodyEvent> events, std::string_view bundle, std::string_view of_seal) {
  std::vector<JobRecord> out;
  std::unordered_map<std::string, std::size_t> places;
  const auto record = [&](const std::string& id) -> JobRecord& {
    const auto [at, fresh] = places.emplace(id, out.size());
    if (fresh) out.emplace_back().id = id;
    return out[at->second];
  };
  for (std::size_t i = 0; i < events.size(); ++i) {
    const CustodyEvent& event = events[i];
    if (event.job_id.empty()) continue;
    const bool end = one_of(event.kind, kOtherEnds), about = event.kind == kScheduled || event.kind == kStarted || event.kind == kFinished || end;
    if (!about && (event.outputs.empty() || (event.kind == kSnapshot && event.resource_id != bundle))) continue;
    JobRecord& job = record(event.job_id);
    if (!job.first) job.first = i;
    std::optional<std::size_t>& place = !about ? job.named : end ? job.ended : event.kind == kScheduled ? job.scheduled : event.kind == kStarted ? job.started : job.finished;
    if (!place) place = i;
    if (!about) job.whole_trace = job.whole_trace || !one_of(event.kind, kBroughtIn);
    // The end has the last word: a result that was stored may be gone when the job comes to it.
    if (event.kind == kFinished || (event.kind == kScheduled && !job.finished)) job.cached = event.cached;
  }
  if (!of_seal.empty()) record(std::string(of_seal)).of_seal = true;
  return out;
}

}  // namespace

std::vector<MissingTransition> missing_transitions(std::span<const CustodyEvent> events, std::string_view bundle, std::string_view of_seal) {
  // Of a log everything up to some entry expires, but what stays for good: behind one that can expire nothing has.
  const auto expirable = std::find_if(events.begin(), events.end(), [](const CustodyEvent& event) { return event.kind.starts_with("job."); });
  const auto oldest = static_cast<std::size_t>(expirable - events.begin());
  std::vector<MissingTransition> out;
  for (const JobRecord& job : job_records(events, bundle, of_seal)) {
    if (!job.asked()) continue;
    const auto missing = [&](std::string_view transition) {
      // Before what else is known of the job.
      const bool later = transition == kFinished ? (job.scheduled || job.started) : transition == kStarted && job.scheduled;
      const bool certain = later || (job.first && oldest < *job.first);
      out.push_back({.job_id = job.id, .transition = std::string(transition), .named_by = job.named, .may_have_expired = !certain});
    };
    const bool ended_otherwise = !job.named && job.ended && !job.finished;
    if (!job.scheduled) missing(kScheduled);
    if (!job.started && !job.cached && !ended_otherwise) missing(kStarted);
    if (!job.finished && !ended_otherwise) missing(kFinished);
  }
  return out;
}

std::string MissingTransition::text(std::span<const CustodyEvent> events) const {
  return transition + " of job " + job_id + ", which " + (named_by ? events[*named_by].kind + " (event " + events[*named_by].event_id + ")" : std::string("the seal")) + " names";
}

bool Custody::complete() const {
  return broken.empty() && std::all_of(missing.begin(), missing.end(), [](const MissingTransition& m) { return m.may_have_expired; });
}

json::Value Custody::json(std::span<const CustodyEvent> events) const {
  json::Array shown;
  auto link = links.begin();
  for (const std::size_t step : steps) {
    const CustodyEvent& event = events[step];
    json::Array inputs;
    for (; link != links.end() && link->consumer == step; ++link) {
      json::Value input = json::Value::object({{"name", link->name}, {"sha256", link->sha256.hex()}});
      if (link->producer) input.set("from", events[*link->producer].event_id);
      inputs.push_back(std::move(input));
    }
    shown.push_back(json::Value::object({{"event_id", event.event_id}, {"ts", event.ts}, {"kind", event.kind}, {"actor", event.actor},
                                         {"resource", event.resource_type + "/" + event.resource_id}, {"inputs", std::move(inputs)}, {"outputs", objects_json(event.outputs)}}));
  }
  json::Array gaps;
  for (const auto& b : broken)
    gaps.push_back(json::Value::object({{"event_id", events[b.consumer].event_id}, {"kind", events[b.consumer].kind}, {"name", b.name}, {"sha256", b.sha256.hex()}}));
  json::Array absent;
  for (const auto& m : missing)
    absent.push_back(json::Value::object({{"job_id", m.job_id}, {"transition", m.transition}, {"named_by", m.named_by ? json::Value(events[*m.named_by].event_id) : json::Value()}, {"may_have_expired", m.may_have_expired}}));
  return json::Value::object({{"complete", complete()}, {"missing", std::move(absent)}, {"steps", std::move(shown)}, {"broken", std::move(gaps)}});
}

}  // namespace stella::evidence
