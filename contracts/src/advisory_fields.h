// Members that exposures and findings share in their wire forms: texts, lists, digests and the deciding clause.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "line_reader.h"
#include "stella/contracts/exposures.h"

namespace stella::contracts {

// `,"name":["a","b"]` unless empty; `prefix` holds everything up to the bracket.
inline void append_list(std::string& out, std::string_view prefix, const std::vector<std::string>& list) {
  if (list.empty()) return;
  out.append(prefix).append("[");
  for (std::size_t i = 0; i < list.size(); ++i) {
    if (i != 0) out += ',';
    json::append_quoted(out, list[i]);
  }
  out += ']';
}

inline bool read_list(LineReader& in, std::string_view prefix, std::vector<std::string>& list) {
  list.clear();
  if (!in.accept(prefix)) return true;
  if (!in.expect("[")) return false;
  while (list.empty() || !in.accept("]")) {
    if (!list.empty() && !in.expect(",")) return false;
    if (!in.string(list.emplace_back())) return false;
  }
  return true;
}

inline bool read_digest(LineReader& in, Sha256& out) {
  std::string hex;
  if (!in.string(hex)) return false;
  auto digest = Sha256::parse(hex);
  if (!digest) return in.fail("a SHA-256 in hex");
  out = *digest;
  return true;
}

inline bool read_verdict(LineReader& in, Verdict& out) {
  std::string text;
  if (!in.expect(",\"verdict\":") || !in.string(text)) return false;
  auto verdict = parse_verdict(text);
  if (!verdict) return in.fail("a verdict");
  out = *verdict;
  return true;
}

inline void append_clause(std::string& out, const Clause& c) {
  out += ",\"clause\":{\"by\":";
  json::append_quoted(out, c.by);
  if (c.affected_index >= 0) out.append(",\"affected\":").append(std::to_string(c.affected_index));
  if (c.range_index >= 0) out.append(",\"range\":").append(std::to_string(c.range_index));
  append_optional(out, ",\"range_type\":", c.range_type);
  append_optional(out, ",\"introduced\":", c.introduced);
  append_optional(out, ",\"fixed\":", c.fixed);
  append_optional(out, ",\"last_affected\":", c.last_affected);
  out += '}';
}

inline bool read_index(LineReader& in, std::string_view prefix, int& out) {
  out = -1;
  if (!in.accept(prefix)) return true;
  return in.integer(out) && (out >= 0 || in.fail("an index from 0"));
}

inline bool read_clause(LineReader& in, Clause& c) {
  return in.expect(",\"clause\":{\"by\":") && in.string(c.by) && read_index(in, ",\"affected\":", c.affected_index) &&
         read_index(in, ",\"range\":", c.range_index) && in.optional(",\"range_type\":", c.range_type) &&
         in.optional(",\"introduced\":", c.introduced) && in.optional(",\"fixed\":", c.fixed) &&
         in.optional(",\"last_affected\":", c.last_affected) && in.expect("}");
}

}  // namespace stella::contracts
