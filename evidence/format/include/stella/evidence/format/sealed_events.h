// The events of a log that were there when a seal was signed. The seal names them, so that none of them can be left out of a bundle, or exchanged,
// although each would still be proved to be in the log. What happened later is enclosed behind them, and only the log vouches for it.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/crypto/digest.h"

namespace stella::evidence {

// Of one log: the first lines of its events.jsonl.
struct SealedEvents {
  std::uint64_t count = 0;
  Sha256 lines;                                // over those lines, each with its newline: `head -n COUNT events.jsonl | sha256sum`
  std::string entries;                         // where they are in the log, ascending: "0-16,18". Names what is missing; the digest decides
  std::map<std::string, std::uint64_t> kinds;  // how many of each; the same
  bool operator==(const SealedEvents&) const = default;

  json::Value json() const;
};
// What a seal says of the logs that it was told of.
struct SealedCustody {
  SealedEvents tenant;
  SealedEvents knowledge_base;  // count 0: nothing was taken from it
  bool operator==(const SealedCustody&) const = default;
};

// Of the first `count` lines (or as many as there are), whose places in the log are `indexes`. kMalformed where a line is no event.
Result<SealedEvents> sealed_events(std::string_view lines, std::span<const std::uint64_t> indexes, std::uint64_t count = ~std::uint64_t{0});
// The member of a seal. kMalformed.
Result<SealedEvents> parse_sealed_events(const json::Value& member);

// Whether a log's events.jsonl begins with what was sealed.
bool begins_with(std::string_view lines, const SealedEvents& sealed);
// "" where it does; else what is missing or too many: "policy.evaluated (entry 17 of the log)". `indexes`: where
// the proofs claim each line is; nullopt where one says nothing.
std::string differs_from_sealed(const SealedEvents& sealed, std::string_view lines, std::span<const std::optional<std::uint64_t>> indexes);

}  // namespace stella::evidence
