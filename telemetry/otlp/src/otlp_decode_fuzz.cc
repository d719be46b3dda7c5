// Any bytes as each kind of request, in both encodings, and as a receiver's answer: rows refer only to what is there.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/telemetry/otlp_response.h"
#include "stella/telemetry/otlp_rows.h"

namespace {

using namespace stella::telemetry;  // NOLINT: a program

template <class T>
void inside(const std::vector<T>& pool, Range range) {
  if (std::size_t{range.first} + range.count > pool.size() && range.count != 0) std::abort();
}
void check(const OtlpRows& rows) {
  for (const auto& r : rows.resources) inside(rows.attributes, r.attributes), inside(rows.entity_refs, r.entity_refs);
  for (const auto& r : rows.entity_refs) inside(rows.texts, r.id_keys), inside(rows.texts, r.description_keys);
  for (const auto& s : rows.scopes) {
    if (s.resource >= rows.resources.size()) std::abort();
    inside(rows.attributes, s.attributes);
  }
  for (const auto* pool : {&rows.attributes, &rows.nested})
    for (const Attribute& a : *pool) inside(rows.nested, a.value.items());
}
void check(const TraceRows& rows) {
  check(static_cast<const OtlpRows&>(rows));
  for (const auto& s : rows.spans) {
    if (s.scope >= rows.scopes.size()) std::abort();
    inside(rows.attributes, s.attributes), inside(rows.events, s.events), inside(rows.links, s.links);
  }
}
void check(const LogRows& rows) {
  check(static_cast<const OtlpRows&>(rows));
  for (const auto& l : rows.records) inside(rows.attributes, l.attributes), inside(rows.nested, l.body.items());
}
void check(const MetricRows& rows) {
  check(static_cast<const OtlpRows&>(rows));
  for (const auto& m : rows.metrics) inside(rows.points, m.points), inside(rows.attributes, m.metadata);
  for (const auto& p : rows.points) {
    inside(rows.attributes, p.attributes), inside(rows.exemplars, p.exemplars), inside(rows.counts, p.bucket_counts), inside(rows.bounds, p.explicit_bounds);
    inside(rows.counts, p.positive.counts), inside(rows.counts, p.negative.counts), inside(rows.quantiles, p.quantiles);
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto rows = decode_traces(text)) check(*rows);
  if (const auto rows = decode_logs(text)) check(*rows);
  if (const auto rows = decode_metrics(text)) check(*rows);
  if (const auto rows = decode_traces_json(text)) check(*rows);
  if (const auto rows = decode_logs_json(text)) check(*rows);
  if (const auto rows = decode_metrics_json(text)) check(*rows);
  if (const auto response = decode_response(text)) {
    const auto again = decode_response(encode_response(*response));
    if (!again || again->rejected != response->rejected) std::abort();
  }
  if (const auto status = decode_status(text); status && !decode_status(encode_status(*status))) std::abort();
  (void)decode_status_json(text);
  return 0;
}
