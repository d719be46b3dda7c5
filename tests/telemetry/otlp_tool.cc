// What telemetry/otlp does, for tests in other languages. Reads standard input, writes standard output.
//
//   otlp_tool spans SEED FILE    random span records as a request on standard output, what went in as JSON into FILE
//   otlp_tool logs SEED FILE     the same with log records
//   otlp_tool metrics SEED FILE  the same with a snapshot of metrics
//   otlp_tool rows SIGNAL        a request (protobuf) becomes rows, and those the JSON of protocol buffers
//   otlp_tool json SIGNAL        an OTLP/JSON request becomes one in protobuf
//   otlp_tool scrub SIGNAL       a request, scrubbed
//   otlp_tool response N TEXT    an Export…ServiceResponse
#include <cstdio>
#include <cstdlib>
#include <map>
#include <random>

#include "otlp_metrics_sample.h"
#include "otlp_rows_json.h"
#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"
#include "stella/telemetry/otlp.h"
#include "stella/telemetry/otlp_response.h"
#include "stella/telemetry/otlp_scrub.h"

namespace stella::telemetry {
namespace {

std::string read_all() {
  std::string out;
  char buffer[65536];
  for (std::size_t n; (n = std::fread(buffer, 1, sizeof buffer, stdin)) > 0;) out.append(buffer, n);
  return out;
}
int write_out(const Result<std::string>& bytes) {
  if (!bytes) {
    std::fprintf(stderr, "%s\n", bytes.error().describe().c_str());
    return 1;
  }
  std::fwrite(bytes->data(), 1, bytes->size(), stdout);
  return 0;
}

// A random record, and what must be found of it.
class Sample {
 public:
  Sample(std::mt19937_64& random, RecordKind kind) : random_(random) {
    builder.head.kind = kind;
    builder.head.ns = 1'700'000'000'000'000'000 + static_cast<std::int64_t>(below(1'000'000'000));
    for (auto& b : builder.head.trace_id) b = byte();
    for (auto& b : builder.head.span_id) b = byte();
    builder.tenant = below(3) == 0 ? "" : "tenant-" + std::to_string(below(4));
    builder.message = text();
    expected.set("trace_id", hex(builder.head.trace_id)).set("span_id", hex(builder.head.span_id));
    expected.set("start", std::to_string(builder.head.ns)).set("text", builder.message);
    attributes_["tenant_id"] = builder.tenant.empty() ? "platform" : builder.tenant;
    expected.set("tenant", attributes_["tenant_id"]);
    context();
    const std::size_t fields = below(12);
    for (std::size_t i = 0; i < fields; ++i) field();
    builder.head.dropped_fields = static_cast<std::uint16_t>(below(3) * 77);
    expected.set("dropped", static_cast<int>(builder.head.dropped_fields));
    if (below(4) == 0) {
      builder.head.flags |= RecordHead::kTruncated;
      attributes_["truncated"] = true;
    }
  }

  void span() {
    RecordHead& head = builder.head;
    head.end_ns = head.ns + static_cast<std::int64_t>(below(1ull << 40));
    head.span_kind = static_cast<SpanKind>(below(5));
    head.status = error_.empty() ? static_cast<SpanStatus>(below(2)) : SpanStatus::kError;
    head.trace_flags = static_cast<std::uint8_t>(below(4));
    head.threshold = below(2) == 0 ? 0 : below(1ull << 56);
    head.sampling = static_cast<SamplingReason>(below(4));
    if (below(2) == 0) {
      for (auto& b : head.parent_span_id) b = byte();
      if (below(2) == 0) head.flags |= RecordHead::kRemoteParent;
    }
    head.dropped_events = static_cast<std::uint16_t>(below(2) * 9);
    head.dropped_links = static_cast<std::uint16_t>(below(2) * 65535);
    static constexpr const char* kReasons[] = {"head", "error", "latency", "incident"};
    attributes_["sampling.reason"] = kReasons[static_cast<int>(head.sampling)];
    if (head.span_kind == SpanKind::kServer && !builder.method.empty()) {
      attributes_["http.request.method"] = builder.method;
      if (!builder.route.empty()) attributes_["http.route"] = builder.route;
    }
    expected.set("parent", head.parent_span_id == std::array<std::uint8_t, 8>{} ? "" : hex(head.parent_span_id));
    expected.set("end", std::to_string(head.end_ns)).set("kind", static_cast<int>(head.span_kind) + 1);
    expected.set("status", static_cast<int>(head.status)).set("status_message", error_);
    expected.set("flags", head.trace_flags + 256 + (head.flags & RecordHead::kRemoteParent ? 512 : 0));
    expected.set("dropped_events", static_cast<int>(head.dropped_events)).set("dropped_links", static_cast<int>(head.dropped_links));
    char threshold[20];
    std::snprintf(threshold, sizeof threshold, "%014llx", static_cast<unsigned long long>(head.sampling == SamplingReason::kHead ? head.threshold : 0));
    expected.set("threshold", threshold);
    events_and_links();
  }

  void log() {
    builder.head.level = static_cast<Level>(below(5));
    builder.module = "module-" + std::to_string(below(3));
    builder.head.trace_flags = static_cast<std::uint8_t>(below(4));
    expected.set("severity", 1 + 4 * static_cast<int>(builder.head.level)).set("scope", builder.module).set("flags", static_cast<int>(builder.head.trace_flags));
  }

  json::Value finish() {
    json::Value all = json::Value::object();
    for (auto& [key, value] : attributes_) all.set(key, value);
    expected.set("attributes", std::move(all));
    return expected;
  }

  RecordBuilder builder;
  json::Value expected = json::Value::object();

 private:
  std::uint64_t below(std::uint64_t n) { return random_() % n; }
  std::uint8_t byte() { return static_cast<std::uint8_t>(below(256)); }
  template <std::size_t N>
  static std::string hex(const std::array<std::uint8_t, N>& bytes) { return hex_encode({reinterpret_cast<const char*>(bytes.data()), N}); }
  std::string text() {
    static constexpr const char* kPieces[] = {"a", "word", "Größe ", "\"quoted\" ", "line\n", "日本 ", "0123456789abcdef", "\\"};
    std::string out;
    const std::size_t pieces = below(20) == 0 ? 1000 : 1 + below(20);  // sometimes a length of three bytes
    for (std::size_t i = 0; i < pieces; ++i) out += kPieces[below(8)];
    return out;
  }
  // Integers are strings here, so that nothing is rounded on the way.
  static json::Value integer(std::int64_t value) { return json::Value::object({{"int", std::to_string(value)}}); }

  template <std::size_t N>
  void context_id(std::array<std::uint8_t, N>& id, const char* key) {
    if (below(2) == 0) return;
    for (auto& b : id) b = byte();
    attributes_[key] = Uuid(id).str();
  }
  void context() {
    context_id(builder.head.project_id, "project_id");
    context_id(builder.head.request_id, "request_id");
    context_id(builder.head.job_id, "job_id");
    context_id(builder.head.run_id, "run_id");
    if (below(2) == 0) attributes_["actor"] = builder.actor = "user:" + text();
    if (below(2) == 0) attributes_["route"] = builder.route = "/a/:id/" + std::to_string(below(100));
    if (below(2) == 0) attributes_["method"] = builder.method = below(2) == 0 ? "GET" : "POST";
  }

  void field() {
    switch (below(10)) {
      case 0: put([](std::string_view v) { return f::operation(v); }, "operation"); break;
      case 1: put([](std::string_view v) { return f::reason(v); }, "reason"); break;
      case 2: put([](std::string_view v) { return f::stack(v); }, "details.stack"); break;
      case 3: {
        const auto n = static_cast<std::int64_t>(random_());
        builder.add(f::count(n));
        attributes_["count"] = integer(n);
        break;
      }
      case 4: {
        const bool b = below(2) == 0;
        builder.add(f::cached(b));
        attributes_["cached"] = b;
        break;
      }
      case 5: {
        const SbomId id = SbomId::generate();
        builder.add(f::sbom_id(id));
        attributes_["sbom_id"] = id.str();
        break;
      }
      case 6: {
        std::array<std::uint8_t, 32> digest;
        for (auto& b : digest) b = byte();
        builder.add(f::sha256(Sha256(digest)));
        attributes_["sha256"] = hex(digest);
        break;
      }
      case 7: {
        const TraceId id = TraceId::generate();
        builder.add(f::linked_trace_id(id));
        attributes_["linked_trace_id"] = id.hex();
        break;
      }
      case 8: {
        const std::string value = text();
        builder.add(detail::FieldMaker::text("foreign.key", kForeignField, Field::Kind::kText, value));
        attributes_["foreign.key"] = value;
        break;
      }
      default: {
        if (!error_.empty()) return;  // of two errors the last counts, fields of both would be mixed in what is expected
        const std::string detail = std::to_string(below(1000));
        builder.add(f::error(Error(contracts::errors::kMalformed, "not an SBOM").with("line", detail)));
        error_ = "not an SBOM";
        attributes_["error_code"] = attributes_["error.type"] = "malformed";
        attributes_["error_message"] = error_;
        attributes_["error.line"] = detail;
      }
    }
  }
  template <class Make>
  void put(Make make, const char* key) {
    const std::string value = text();
    builder.add(make(std::string_view(value)));
    attributes_[key] = value;
  }

  void events_and_links() {
    json::Value events = json::Value::array(), links = json::Value::array();
    for (std::size_t n = below(3); n > 0; --n) {
      const std::string name = text(), value = text();
      const auto ns = static_cast<std::int64_t>(below(1ull << 60)), attempt = static_cast<std::int64_t>(below(10));
      builder.event(ns, name, {f::attempt(attempt), f::state(value)});
      events.push(json::Value::object({{"time", std::to_string(ns)}, {"name", name}, {"attributes", json::Value::object({{"attempt", integer(attempt)}, {"state", value}})}}));
    }
    for (std::size_t n = below(3); n > 0; --n) {
      const TraceParent other{TraceId::generate(), SpanId::generate(), 1};
      builder.link(other);
      links.push(json::Value::object({{"trace_id", other.trace_id.hex()}, {"span_id", other.span_id.hex()}}));
    }
    expected.set("events", std::move(events)).set("links", std::move(links));
  }

  std::mt19937_64& random_;
  std::map<std::string, json::Value> attributes_;
  std::string error_;
};

Resource who() { return {.service = "stellad", .version = "1.2", .env = "prod", .region = "eu", .instance_id = "i-1"}; }

bool keep(const json::Value& expected, const char* path) {
  const std::string text = json::dump(expected);
  std::FILE* const file = std::fopen(path, "wb");
  if (file != nullptr && std::fwrite(text.data(), 1, text.size(), file) == text.size() && std::fclose(file) == 0) return true;
  std::perror(path);
  return false;
}

int metrics(const char* seed, const char* path) {
  std::mt19937_64 random(std::strtoull(seed, nullptr, 10));
  const MetricsSample sample(random);
  if (!keep(sample.expected, path)) return 1;
  return write_out(encode_metrics(sample.snapshot, who()));
}

template <class Batch>
int batch(RecordKind kind, const char* seed, const char* path) {
  std::mt19937_64 random(std::strtoull(seed, nullptr, 10));
  Batch out;
  json::Value expected = json::Value::array();
  for (int i = 0; i < 60; ++i) {
    Sample sample(random, kind);
    if (kind == RecordKind::kSpan)
      sample.span();
    else
      sample.log();
    expected.push(sample.finish());
    const std::string record = sample.builder.build();
    const auto view = RecordView::parse(record);
    if (!view) return std::fputs("the record is too large\n", stderr), 1;
    out.add(*view);
  }
  if (!keep(expected, path)) return 1;
  return write_out(out.take(who()));
}

template <class Rows>
int rows(const Result<Rows>& decoded) {
  if (!decoded) return write_out(decoded.error());
  return write_out(json::dump(to_json(*decoded)));
}

std::optional<Signal> signal_of(std::string_view name) {
  for (const Signal signal : {Signal::kTraces, Signal::kMetrics, Signal::kLogs})
    if (to_string(signal) == name) return signal;
  return std::nullopt;
}

int run(int argc, char** argv) {
  const std::string_view command = argc > 1 ? argv[1] : "";
  if (argc == 4 && command == "spans") return batch<TraceBatch>(RecordKind::kSpan, argv[2], argv[3]);
  if (argc == 4 && command == "logs") return batch<LogBatch>(RecordKind::kLog, argv[2], argv[3]);
  if (argc == 4 && command == "metrics") return metrics(argv[2], argv[3]);
  if (argc == 4 && command == "response") return write_out(encode_response({.rejected = std::atol(argv[2]), .error_message = argv[3]}));
  const auto signal = argc == 3 ? signal_of(argv[2]) : std::nullopt;
  if (!signal) return std::fputs("usage: see the first lines of otlp_tool.cc\n", stderr), 64;
  const std::string input = read_all();
  if (command == "json") return write_out(otlp_from_json(*signal, input));
  if (command == "scrub") return write_out(scrub_otlp(*signal, input));
  if (command == "rows" && *signal == Signal::kTraces) return rows(decode_traces(input));
  if (command == "rows" && *signal == Signal::kLogs) return rows(decode_logs(input));
  if (command == "rows" && *signal == Signal::kMetrics) return rows(decode_metrics(input));
  return 64;
}

}  // namespace
}  // namespace stella::telemetry

int main(int argc, char** argv) { return stella::telemetry::run(argc, argv); }
