// Looks every component up in the segments of its ecosystem and evaluates what it finds.
#include "stella/pipeline/conseiller/link.h"

#include <algorithm>

#include "clause.h"
#include "segment_records.h"
#include "stella/pipeline/versions/ecosystem.h"

namespace stella::pipeline {
namespace {

using contracts::Component;
using contracts::Exposure;
using contracts::Verdict;

// Why no index can be asked about the component; "" where one can.
std::string_view component_reason(const Component& component, VersionOrder order) {
  if (!component.problem.empty()) return component.problem;
  if (component.purl.empty()) return "no purl";
  if (order == VersionOrder::kNone) return "ecosystem not supported yet";
  if (component.version.empty()) return "no version";
  return {};
}

// Of several outcomes for one record the worst counts; of equals the first.
int weight(Verdict verdict) { return verdict == Verdict::kAffected ? 2 : verdict == Verdict::kUnknown ? 1 : 0; }

class Linker {
 public:
  Linker(std::span<const Segment> segments, const ActiveSet& active) : segments_(segments), active_(active) {}

  Result<void> link(std::uint32_t index, const Component& component) {
    const VersionOrder order = version_order(component.ecosystem);
    if (const auto reason = component_reason(component, order); !reason.empty()) {
      Exposure& exposure = start(index, component);
      exposure.verdict = Verdict::kUnknown;
      exposure.clause.by = "reason";
      exposure.reason = reason;
      return {};
    }
    STELLA_TRY_VOID(collect(component));
    const std::size_t first = out_.exposures.size();
    for (std::size_t from = 0; from < found_.size();) {
      std::size_t to = from;
      while (to < found_.size() && found_[to].candidate.sha256 == found_[from].candidate.sha256) ++to;
      STELLA_TRY_VOID(judge(index, component, order, from, to));
      from = to;
    }
    std::sort(out_.exposures.begin() + static_cast<std::ptrdiff_t>(first), out_.exposures.end(), [](const Exposure& a, const Exposure& b) {
      const int by_id = a.advisory.id.compare(b.advisory.id);
      return by_id != 0 ? by_id < 0 : a.advisory.sha256 < b.advisory.sha256;
    });
    return {};
  }

  contracts::ExposureSet take() { return std::move(out_); }

 private:
  struct Found {
    Candidate candidate;
    std::size_t segment;
    std::size_t position;  // among the candidates of the segment: ascending by affected entry
  };

  Exposure& start(std::uint32_t index, const Component& component) {
    Exposure& exposure = out_.exposures.emplace_back();
    exposure.component = index;
    exposure.purl = component.purl.empty() ? component.raw_purl : component.purl;
    exposure.ecosystem = component.ecosystem;
    exposure.name = component.name;
    exposure.version = component.version;
    return exposure;
  }

  // Candidates in force, by document; a document that lies in several segments counts once.
  Result<void> collect(const Component& component) {
    found_.clear();
    const Ecosystem* row = find_ecosystem(component.ecosystem);
    const std::string name = index_name(component.ecosystem, component.name);
    for (std::size_t s = 0; s < segments_.size(); ++s) {
      const auto ecosystem = segments_[s].ecosystem();
      if (ecosystem != row->name && ecosystem != kOtherEcosystems) continue;
      candidates_.clear();
      STELLA_TRY_VOID(segments_[s].find(component.ecosystem, name, candidates_));
      for (std::size_t i = 0; i < candidates_.size(); ++i)
        if (active_.contains(candidates_[i].sha256)) found_.push_back({candidates_[i], s, i});
    }
    std::sort(found_.begin(), found_.end(), [](const Found& a, const Found& b) {
      const int by_digest = a.candidate.sha256.compare(b.candidate.sha256);
      if (by_digest != 0) return by_digest < 0;
      return a.segment != b.segment ? a.segment < b.segment : a.position < b.position;
    });
    const Found* kept = nullptr;
    std::erase_if(found_, [&kept](const Found& f) {
      if (kept != nullptr && kept->candidate.sha256 == f.candidate.sha256) return kept->segment != f.segment;
      kept = &f;
      return false;
    });
    return {};
  }

  // found_[from, to) are the affected entries of one document that name the package.
  Result<void> judge(std::uint32_t index, const Component& component, VersionOrder order, std::size_t from, std::size_t to) {
    Outcome best;
    std::size_t chosen = from;
    for (std::size_t i = from; i < to; ++i) {
      STELLA_TRY_VOID(decode_affected(found_[i].candidate.affected, entry_));
      Outcome outcome = evaluate(entry_, order, component.version);
      if (i != from && weight(outcome.verdict) <= weight(best.verdict)) continue;
      best = std::move(outcome);
      chosen = i;
      if (best.verdict == Verdict::kAffected) break;
    }
    STELLA_TRY_VOID(decode_affected(found_[chosen].candidate.affected, entry_));
    auto advisory = STELLA_TRY(decode_record(found_[chosen].candidate.record));
    Exposure& exposure = start(index, component);
    exposure.advisory = std::move(advisory);
    auto digest = STELLA_TRY(Sha256::from_bytes(found_[chosen].candidate.sha256));
    exposure.advisory.sha256 = digest;
    if (!entry_.severity.empty()) {
      exposure.advisory.severity.clear();
      for (const auto& one : entry_.severity) exposure.advisory.severity.push_back({std::string(one.type), std::string(one.score)});
    }
    const bool withdrawn = !exposure.advisory.withdrawn.empty();
    exposure.verdict = withdrawn ? Verdict::kWithdrawn : best.verdict;
    if (!withdrawn) exposure.reason = best.reason;
    if (best.verdict == Verdict::kAffected) exposure.fixed_versions = fixed_versions(entry_, order, component.version);
    exposure.clause = std::move(best.clause);
    return {};
  }

  std::span<const Segment> segments_;
  const ActiveSet& active_;
  contracts::ExposureSet out_;
  std::vector<Candidate> candidates_;  // reused
  std::vector<Found> found_;           // reused
  AffectedView entry_;                 // reused
};

}  // namespace

Result<contracts::ExposureSet> link(const contracts::ComponentTable& components, std::span<const Segment> segments, const ActiveSet& active) {
  Linker linker(segments, active);
  for (std::uint32_t i = 0; i < components.components.size(); ++i) STELLA_TRY_VOID(linker.link(i, components.components[i]));
  return linker.take();
}

}  // namespace stella::pipeline
