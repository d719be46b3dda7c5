// Which hashes stand for entries that were lawfully deleted.
#include "timeline_expiry.h"

#include <algorithm>
#include <charconv>
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

}  // namespace

void Expiry::expired(std::int64_t index) {
  if (!expired_.empty() && expired_.back().second == index) ++expired_.back().second;
  else expired_.emplace_back(index, index + 1);
}

void Expiry::entry(std::int64_t index, const json::Value& entry) {
  const json::Value* details = entry.find("details");
  if (entry.str("kind") != contracts::events::kDispositionExecuted || details == nullptr || details->str("what") != "timeline_entries") return;
  const auto from = integer(*details, "from_index"), below = integer(*details, "below_index");
  // A deletion is recorded after what it deletes.
  if (!from || !below || *below > index) return;
  std::vector<Run> deleted;
  std::int64_t at = *from;
  for (const json::Value& kept : details->items("kept")) {
    const auto run = kept.is_string() ? run_of(kept.as_string()) : std::nullopt;
    if (!run || run->first < at || run->second > *below) return;  // not what this platform writes: it covers nothing
    if (at < run->first) deleted.emplace_back(at, run->first);
    at = run->second;
  }
  if (at < *below) deleted.emplace_back(at, *below);
  deleted_.insert(deleted_.end(), deleted.begin(), deleted.end());
}

std::int64_t Expiry::count() const {
  std::int64_t out = 0;
  for (const auto& [first, end] : expired_) out += end - first;
  return out;
}

std::vector<Expiry::Run> Expiry::uncovered() const {
  std::vector<Run> sorted = deleted_, out;
  std::sort(sorted.begin(), sorted.end());
  auto next = sorted.begin();
  for (auto [first, end] : expired_) {
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

}  // namespace stella::cli
