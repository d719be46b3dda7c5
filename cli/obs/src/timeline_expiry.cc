// Which hashes stand for entries that were lawfully deleted.
#include "timeline_expiry.h"

#include <algorithm>
#include <charconv>
#include <chrono>
#include <optional>

#include "stella/contracts/events.h"

namespace stella::cli {
namespace {

std::optional<std::int64_t> integer(const json::Value& details, std::string_view name) {
  const json::Value* value = details.find(name);
  return value != nullptr && value->is_int() && value->as_int() >= 0 ? std::optional(value->as_int()) : std::nullopt;
}

// "7" or "12-40".
std::optional<Expiry::Run> run_of(std::string_view name) {
  Expiry::Run out{0, 0};
  const char* const end = name.data() + name.size();
  auto first = std::from_chars(name.data(), end, out.first);
  if (first.ec != std::errc()) return std::nullopt;
  out.second = out.first;
  if (first.ptr != end) {
    if (*first.ptr != '-') return std::nullopt;
    first = std::from_chars(first.ptr + 1, end, out.second);
    if (first.ec != std::errc() || first.ptr != end) return std::nullopt;
  }
  ++out.second;
  return out.first >= 0 && out.first < out.second ? std::optional(out) : std::nullopt;
}

std::optional<Timestamp> time_of(std::string_view text) {
  const auto out = Timestamp::parse(text);
  return out ? std::optional(*out) : std::nullopt;
}

// What a record says was deleted. nullopt: not what this platform writes.
std::optional<std::vector<Expiry::Run>> deleted_by(const json::Value& details, Expiry::Run range) {
  std::vector<Expiry::Run> out;
  std::int64_t at = range.first;
  for (const json::Value& kept : details.items("kept")) {
    const auto run = kept.is_string() ? run_of(kept.as_string()) : std::nullopt;
    if (!run || run->first < at || run->second > range.second) return std::nullopt;
    if (at < run->first) out.emplace_back(at, run->first);
    at = run->second;
  }
  if (at < range.second) out.emplace_back(at, range.second);
  return out;
}

// Entries come into a log in the order of their times, but for the length of a transaction.
constexpr std::chrono::microseconds kDisorder = std::chrono::hours(1);

}  // namespace

void Expiry::expired(std::int64_t index) {
  if (!expired_.empty() && expired_.back().run.second == index) ++expired_.back().run.second;
  else expired_.push_back({{index, index + 1}, newest_});
}

std::string Expiry::contradiction(const json::Value& entry, Run range) const {
  const json::Value& details = *entry.find("details");
  const auto plan = plans_.find(details.str("disposition_id"));
  if (plan == plans_.end()) return "no plan of it stands before it";
  if (plan->second != range) return "it was planned for other entries";
  if (range.first != decided_) return "it begins at entry " + std::to_string(range.first) + ", but a log is deleted from its beginning on, and the next one was " + std::to_string(decided_);
  const auto at = time_of(entry.str("ts")), until = time_of(details.str("until"));
  if (!at || !until) return "it does not say until when";
  if (*until > *at) return "it says that what was deleted is older than " + until->rfc3339() + ", which is later than the record itself";
  const auto last = std::find_if(expired_.rbegin(), expired_.rend(), [&](const Hidden& hidden) { return hidden.run.first < range.second; });
  if (last != expired_.rend() && last->run.second > range.first && last->newest && *last->newest >= *until + kDisorder)
    return "it says that what was deleted is older than " + until->rfc3339() + ", but an entry before it, which is still there, is of " + last->newest->rfc3339();
  return "";
}

void Expiry::entry(std::int64_t index, const json::Value& entry) {
  if (const auto ts = time_of(entry.str("ts"))) newest_ = newest_ ? std::max(*newest_, *ts) : *ts;
  const json::Value* details = entry.find("details");
  const bool planned = entry.str("kind") == contracts::events::kDispositionPlanned;
  if ((!planned && entry.str("kind") != contracts::events::kDispositionExecuted) || details == nullptr || details->str("what") != "timeline_entries") return;
  const auto from = integer(*details, "from_index"), below = integer(*details, "below_index");
  // Plan and deletion are recorded after what they are about.
  if (!from || !below || *below > index || *from > *below) return;
  const Run range(*from, *below);
  if (planned) {
    plans_.emplace(details->str("disposition_id"), range);
    return;
  }
  const auto deleted = deleted_by(*details, range);
  std::string reason = deleted ? contradiction(entry, range) : "it is not written as this platform writes it";
  if (!reason.empty()) {
    refused_.push_back({index, range, std::move(reason)});
    return;
  }
  deleted_.insert(deleted_.end(), deleted->begin(), deleted->end());
  decided_ = range.second;
  const auto until = time_of(details->str("until"));
  until_ = until_ ? std::max(*until_, *until) : *until;
}

std::int64_t Expiry::count() const {
  std::int64_t out = 0;
  for (const Hidden& hidden : expired_) out += hidden.run.second - hidden.run.first;
  return out;
}

std::vector<Expiry::Run> Expiry::uncovered() const {
  std::vector<Run> sorted = deleted_, out;
  std::sort(sorted.begin(), sorted.end());
  auto next = sorted.begin();
  for (const Hidden& hidden : expired_) {
    auto [first, end] = hidden.run;
    while (next != sorted.end() && next->second <= first) ++next;
    for (auto cover = next; first < end; ++cover) {
      if (cover == sorted.end() || cover->first >= end) {
        out.emplace_back(first, end);
        break;
      }
      if (cover->first > first) out.emplace_back(first, cover->first);
      first = std::max(first, cover->second);
    }
  }
  return out;
}

std::string Expiry::why(Run uncovered) const {
  const auto record = std::find_if(refused_.rbegin(), refused_.rend(), [&](const Refused& r) { return r.range.first < uncovered.second && uncovered.first < r.range.second; });
  if (record != refused_.rend()) return "the disposition that entry " + std::to_string(record->index) + " states does not count: " + record->reason;
  return "no disposition in the log says that it was deleted";
}

}  // namespace stella::cli
