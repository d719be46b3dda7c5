// What the decoders of the three signals share.
#pragma once

#include <cstring>
#include <protozero/pbf_reader.hpp>
#include <string_view>
#include <vector>

#include "stella/telemetry/otlp_rows.h"

namespace stella::telemetry::otlp_detail {

using Reader = protozero::pbf_reader;
using Wire = protozero::pbf_wire_type;
constexpr std::uint32_t tag(std::uint32_t field, Wire type) { return protozero::tag_and_type(field, type); }
constexpr std::uint32_t text(std::uint32_t field) { return tag(field, Wire::length_delimited); }
constexpr std::uint32_t varint(std::uint32_t field) { return tag(field, Wire::varint); }
constexpr std::uint32_t fixed64(std::uint32_t field) { return tag(field, Wire::fixed64); }
constexpr std::uint32_t fixed32(std::uint32_t field) { return tag(field, Wire::fixed32); }

inline std::string_view view(Reader& reader) {
  const protozero::data_view v = reader.get_view();
  return {v.data(), v.size()};
}
inline Reader reader_of(std::string_view bytes) { return {bytes.data(), bytes.size()}; }

// Thrown inside the decoders, like protozero's own exceptions; caught by guarded().
struct OverLimit {
  const char* what;
  std::size_t limit;
};

// Rows that all signals have. Not copyable: it refers to its rows.
class Common {
 public:
  Common(OtlpRows& rows, const OtlpLimits& limits) : rows_(rows), limits_(limits) {}
  Common(const Common&) = delete;
  Common& operator=(const Common&) = delete;

  // A KeyValue into the pool.
  void attribute(std::string_view bytes) {
    if (rows_.attributes.size() >= limits_.attributes) throw OverLimit{"attributes", limits_.attributes};
    Attribute& out = rows_.attributes.emplace_back();
    if (!simple(bytes, out)) out = key_value(bytes, 0);
  }
  Attribute key_value(std::string_view bytes, int depth);
  AnyValue any(std::string_view bytes, int depth = 0);
  Range attributes_since(std::size_t first) const { return {static_cast<std::uint32_t>(first), static_cast<std::uint32_t>(rows_.attributes.size() - first)}; }
  std::size_t attributes() const { return rows_.attributes.size(); }

  // Adds a row; its index.
  template <class Row>
  std::uint32_t add(std::vector<Row>& rows, const char* what) {
    if (rows.size() >= limits_.records) throw OverLimit{what, limits_.records};
    rows.emplace_back();
    return static_cast<std::uint32_t>(rows.size() - 1);
  }
  template <class T>
  void add_value(std::vector<T>& values, T value) {
    if (values.size() >= limits_.attributes) throw OverLimit{"values", limits_.attributes};
    values.push_back(value);
  }

  // ResourceSpans, ResourceLogs, ResourceMetrics of a request; record(scope row, bytes) for each of field 2 of their scopes.
  template <class Record>
  void request(std::string_view bytes, Record&& record) {
    Reader request = reader_of(bytes);
    while (request.next()) {
      if (request.tag_and_type() == text(1))
        resource_records(view(request), record);
      else
        request.skip();
    }
  }

 private:
  // A key and a text, a small number or a bool, all lengths in one byte: what nearly every attribute is.
  static bool simple(std::string_view bytes, Attribute& out) {
    const auto byte = [&](std::size_t i) { return static_cast<std::uint8_t>(bytes[i]); };
    if (bytes.size() < 6 || byte(0) != 0x0a || byte(1) >= 0x80) return false;
    const std::size_t any = std::size_t{4} + byte(1);  // where the value begins
    if (any + 2 > bytes.size() || byte(any - 2) != 0x12 || byte(any - 1) >= 0x80 || any + byte(any - 1) != bytes.size()) return false;
    const std::size_t size = bytes.size() - any, first = byte(any + 1);
    if (byte(any) == 0x0a && first < 0x80 && size == first + 2)
      out.value = AnyValue::of_text(AnyValue::Kind::kString, bytes.substr(any + 2));
    else if (byte(any) == 0x18 && first < 0x80 && size == 2)
      out.value = AnyValue::of_int(static_cast<std::int64_t>(first));
    else if (byte(any) == 0x10 && first < 0x80 && size == 2)
      out.value = AnyValue::of_bool(first != 0);
    else
      return false;
    out.key = bytes.substr(2, byte(1));
    return true;
  }

  template <class Record>
  void resource_records(std::string_view bytes, Record& record) {
    const std::uint32_t index = add(rows_.resources, "resources");
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case text(1): resource(view(reader), rows_.resources[index]); break;
        case text(2): scope_records(view(reader), index, record); break;
        case text(3): rows_.resources[index].schema_url = view(reader); break;
        default: reader.skip();
      }
    }
  }
  template <class Record>
  void scope_records(std::string_view bytes, std::uint32_t resource, Record& record) {
    const std::uint32_t index = add(rows_.scopes, "scopes");
    rows_.scopes[index].resource = resource;
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case text(1): scope(view(reader), rows_.scopes[index]); break;
        case text(2): record(index, view(reader)); break;
        case text(3): rows_.scopes[index].schema_url = view(reader); break;
        default: reader.skip();
      }
    }
  }
  void resource(std::string_view bytes, ResourceRow& row);
  void scope(std::string_view bytes, ScopeRow& row);
  void entity_ref(std::string_view bytes, EntityRefRow& row);
  // A message that is there twice is one: its list goes on at the end of the pool.
  std::size_t reopen(Range range);

  OtlpRows& rows_;
  const OtlpLimits& limits_;
};

template <class... T>
void clear(std::vector<T>&... pools) {
  (pools.clear(), ...);
}
inline void clear_common(OtlpRows& rows) {
  clear(rows.resources, rows.entity_refs, rows.scopes, rows.attributes, rows.nested, rows.texts);
  rows.owned.reset();
}

// Runs a decoder over `request`; exceptions become errors.
template <class F>
Result<void> guarded(std::string_view request, const OtlpLimits& limits, F&& decode) {
  if (request.size() > limits.bytes) return Error(base_errors::kLimit, "OTLP request is too large").with("limit", limits.bytes).with("actual", request.size());
  try {
    decode();
  } catch (const OverLimit& over) {
    return Error(base_errors::kLimit, "OTLP request has too many parts").with("what", std::string(over.what)).with("limit", over.limit);
  } catch (const protozero::exception& e) {
    return Error(base_errors::kMalformed, "not an OTLP request in protocol buffers").with("reason", std::string(e.what()));
  }
  return {};
}

}  // namespace stella::telemetry::otlp_detail
