// Encodes and decodes the heap of a segment. Decoding trusts nothing: every length is held against what is left.
#include "segment_records.h"

#include <algorithm>

namespace stella::pipeline {
namespace {

void append_severity(std::string& out, const std::vector<contracts::SeverityVector>& list) {
  append_number(out, list.size());
  for (const auto& one : list) {
    append_text(out, one.type);
    append_text(out, one.score);
  }
}

void read_severity(HeapReader& in, std::vector<SeverityView>& list) {
  list.resize(in.count());
  for (auto& one : list) {
    one.type = in.text();
    one.score = in.text();
  }
}

void append_texts(std::string& out, const std::vector<std::string>& list) {
  append_number(out, list.size());
  for (const auto& text : list) append_text(out, text);
}

std::vector<std::string> read_texts(HeapReader& in) {
  std::vector<std::string> out(in.count());
  for (auto& text : out) text = in.text();
  return out;
}

void read_range(HeapReader& in, RangeView& range) {
  range.index = static_cast<std::uint32_t>(in.number());
  const std::uint64_t type = in.number();
  if (type > static_cast<std::uint64_t>(RangeType::kEcosystem)) in.fail();
  range.type = static_cast<RangeType>(type);
  range.events.resize(in.count());
  for (auto& event : range.events) {
    const std::uint64_t kind = in.number();
    if (kind > static_cast<std::uint64_t>(EventKind::kLimit)) in.fail();
    event.kind = static_cast<EventKind>(kind & 3);
    event.version = in.text();
  }
}

}  // namespace

Error malformed_segment(std::string expected) {
  return Error(base_errors::kMalformed, "not an index segment").with("expected", std::move(expected));
}

void append_number(std::string& out, std::uint64_t value) {
  while (value >= 0x80) {
    out += static_cast<char>(0x80 | (value & 0x7F));
    value >>= 7;
  }
  out += static_cast<char>(value);
}

void append_text(std::string& out, std::string_view text) {
  append_number(out, text.size());
  out += text;
}

std::uint64_t HeapReader::number() {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < rest_.size() && i < 10; ++i) {
    const auto byte = static_cast<unsigned char>(rest_[i]);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << (7 * i);
    if (byte < 0x80) {
      rest_.remove_prefix(i + 1);
      return value;
    }
  }
  fail();
  return 0;
}

std::string_view HeapReader::text() {
  const std::uint64_t size = number();
  if (size > rest_.size()) {
    fail();
    return {};
  }
  const std::string_view out = rest_.substr(0, size);
  rest_.remove_prefix(size);
  return out;
}

std::size_t HeapReader::count() {
  constexpr std::uint64_t kMost = 1u << 23;  // more than a document of limits::kAdvisoryBytes can hold
  const std::uint64_t value = number();
  if (value > rest_.size() || value > kMost) {
    fail();
    return 0;
  }
  return value;
}

void append_affected(std::string& out, const AffectedPackage& package) {
  append_number(out, package.index);
  append_severity(out, package.severity);
  std::vector<std::string> versions = package.versions;
  std::sort(versions.begin(), versions.end());
  versions.erase(std::unique(versions.begin(), versions.end()), versions.end());
  append_texts(out, versions);
  append_number(out, package.ranges.size());
  for (const auto& range : package.ranges) {
    append_number(out, range.index);
    append_number(out, static_cast<std::uint64_t>(range.type));
    append_number(out, range.events.size());
    for (const auto& event : range.events) {
      append_number(out, static_cast<std::uint64_t>(event.kind));
      append_text(out, event.version);
    }
  }
}

void append_record(std::string& out, const contracts::AdvisoryRef& ref) {
  for (const auto* text : {&ref.id, &ref.summary, &ref.published, &ref.modified, &ref.withdrawn, &ref.database_severity}) append_text(out, *text);
  append_texts(out, ref.aliases);
  append_texts(out, ref.upstream);
  append_severity(out, ref.severity);
}

Result<void> decode_affected(std::string_view bytes, AffectedView& out) {
  HeapReader in(bytes);
  out.index = static_cast<std::uint32_t>(in.number());
  read_severity(in, out.severity);
  out.versions.resize(in.count());
  for (auto& version : out.versions) version = in.text();
  out.ranges.resize(in.count());
  for (auto& range : out.ranges) read_range(in, range);
  out.has_clauses = !out.versions.empty() || !out.ranges.empty();
  if (!in.ok()) return malformed_segment("an affected entry");
  return {};
}

Result<contracts::AdvisoryRef> decode_record(std::string_view bytes) {
  HeapReader in(bytes);
  contracts::AdvisoryRef ref;
  for (auto* text : {&ref.id, &ref.summary, &ref.published, &ref.modified, &ref.withdrawn, &ref.database_severity}) *text = in.text();
  ref.aliases = read_texts(in);
  ref.upstream = read_texts(in);
  std::vector<SeverityView> severity;
  read_severity(in, severity);
  for (const auto& one : severity) ref.severity.push_back({std::string(one.type), std::string(one.score)});
  if (!in.ok() || ref.id.empty()) return malformed_segment("a record");
  return ref;
}

}  // namespace stella::pipeline
