// For the tests of this module: a directory that goes, records as a thread would push them, lines of a file.
#pragma once

#include <gtest/gtest.h>
#include <stdlib.h>

#include <sstream>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/json.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/sink.h"
#include "stella/testing/temp_dir.h"

namespace stella::telemetry {

using testing::TempDir;

inline const Resource kTestResource{"stellad", "0.1.0", "test", "here", "unit:1"};

inline std::vector<std::string> lines_of(const std::string& path) {
  std::vector<std::string> out;
  const auto text = read_file(path, 1u << 30);
  std::istringstream in(text ? *text : "");
  for (std::string line; std::getline(in, line);) out.push_back(line);
  return out;
}

// A log record with `count` in its fields and as its time.
inline RecordBuilder log_builder(Level level, std::int64_t count, std::string_view text = "") {
  RecordBuilder b;
  b.head.kind = RecordKind::kLog;
  b.head.level = level;
  b.head.ns = 1'795'000'000'000'000'000 + count * 1000;
  b.head.trace_id.fill(0x11);
  b.head.span_id.fill(0x22);
  b.head.request_id.fill(0x33);
  b.tenant = "acme";
  b.module = "unit";
  b.message = "something happened";
  b.add(f::count(count));
  if (!text.empty()) b.add(f::reason(text));
  return b;
}
inline std::string log_bytes(Level level, std::int64_t count, std::string_view text = "") { return log_builder(level, count, text).build(); }

struct SpanSpec {
  std::uint8_t trace = 1, span = 1;
  bool root = false, error = false, keep = false;
  std::int64_t start_ns = 0, ns = 1'000'000;
  SamplingReason sampling = SamplingReason::kUndecided;
  std::string route = "/sboms/:id", name = "unit";
  std::size_t padding = 0;
};
inline std::string span_bytes(const SpanSpec& s) {
  RecordBuilder b;
  b.head.kind = RecordKind::kSpan;
  b.head.ns = 1'795'000'000'000'000'000 + s.start_ns;
  b.head.end_ns = b.head.ns + s.ns;
  b.head.trace_id.fill(s.trace);
  b.head.span_id.fill(s.span);
  b.head.flags = static_cast<std::uint8_t>((s.root ? RecordHead::kLocalRoot : 0) | (s.keep ? RecordHead::kKeep : 0));
  b.head.status = s.error ? SpanStatus::kError : SpanStatus::kUnset;
  b.head.sampling = s.sampling;
  b.tenant = "acme";
  b.route = s.route;
  b.message = s.name;
  if (s.padding > 0) b.add(f::reason(std::string(s.padding, 'x')));
  return b.build();
}

inline std::int64_t count_of(const RecordView& record) {
  std::int64_t count = -1;
  record.each_field([&](const FieldView& field) {
    if (field.key == "count") count = field.integer();
  });
  return count;
}

}  // namespace stella::telemetry
