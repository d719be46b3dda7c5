// What differs between two JSON documents, for people: the path, the value that was sealed, the value that was made again. Pure and bounded.
#pragma once

#include <cstddef>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/json.h"

namespace stella::evidence {

inline constexpr std::size_t kMaxDifferences = 50;       // listed; all are counted
inline constexpr std::size_t kMaxDifferenceBytes = 400;  // of one value's text

struct JsonDifference {
  std::string record;  // of NDJSON: "<purl> <advisory id>", "header", or "line <number>"; "" for a plain document
  std::string path;    // JSON Pointer (RFC 6901) within the document or the record; "" is the whole. An index counts in the sealed array, or in
                       // the other one where only that has the element
  std::optional<std::string> sealed, replayed;  // compact JSON, cut with "…" after kMaxDifferenceBytes; nullopt: not there
};

struct JsonDiff {
  std::vector<JsonDifference> differences;  // the first ones, in the order of the sealed document, what was added after it
  std::size_t total = 0;
  std::string note;  // why there are none though the bytes differ: another layout, or no JSON; else ""
  std::size_t more() const { return total - differences.size(); }
  // {"total", "note"?, "differences":[{"record"?, "path", "sealed"?, "replayed"?}]}
  json::Value json() const;
};

// Members are compared by name, elements by position between the common beginning and the common end, numbers by value. At most `most` are listed.
JsonDiff json_diff(const json::Value& sealed, const json::Value& replayed, std::size_t most = kMaxDifferences);

// The same for the bytes of an output. `ndjson`: one record per line, matched by package URL and advisory wherever it has them (not by position:
// one record more does not shift the others). Memory grows with the lines that differ, and values are parsed one pair at a time.
JsonDiff document_diff(std::string_view sealed, std::string_view replayed, bool ndjson, std::size_t most = kMaxDifferences);

}  // namespace stella::evidence
