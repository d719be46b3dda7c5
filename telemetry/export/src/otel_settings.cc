// The OTEL_* environment variables into OtelSettings.
#include "stella/telemetry/otel_settings.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <initializer_list>
#include <set>

#include "stella/base/encoding.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry {
namespace {

using std::chrono::milliseconds;

constexpr std::uint32_t kMostInteger = 2'147'483'647;

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; }
std::string lower(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), [](char c) { return lower(c); });
  return out;
}
std::string_view trim(std::string_view text) {
  const auto blank = [](char c) { return c == ' ' || c == '\t'; };
  while (!text.empty() && blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && blank(text.back())) text.remove_suffix(1);
  return text;
}
std::vector<std::string_view> split(std::string_view list) {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; at <= list.size();) {
    const std::size_t end = std::min(list.find(',', at), list.size());
    if (const std::string_view part = trim(list.substr(at, end - at)); !part.empty()) out.push_back(part);
    at = end + 1;
  }
  return out;
}

// RFC 9110 field names.
bool is_token(std::string_view text) {
  constexpr std::string_view kMarks = "!#$%&'*+-.^_`|~";
  return !text.empty() && std::all_of(text.begin(), text.end(), [&](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || kMarks.find(c) != std::string_view::npos;
  });
}
bool has_control(std::string_view text) {
  return std::any_of(text.begin(), text.end(), [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; });
}

class Reader {
 public:
  Reader(const OtelSettings::Lookup& lookup, std::vector<std::string>& warnings) : lookup_(lookup), warnings_(warnings) {}

  // Unset where empty.
  std::optional<std::string> text(const std::string& name) const {
    std::optional<std::string> value = lookup_(name);
    if (value && trim(*value).empty()) value.reset();
    return value;
  }
  void boolean(const std::string& name, bool& out) {
    const auto value = text(name);
    if (!value) return;
    const std::string word = lower(trim(*value));
    out = word == "true";
    if (!out && word != "false") warn(name, *value, "true or false; taken as false");
  }
  void integer(const std::string& name, std::uint32_t& out, std::uint32_t least = 0) {
    const auto value = text(name);
    if (!value) return;
    const std::string_view digits = trim(*value);
    std::int64_t number = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), number);
    if (error != std::errc() || end != digits.data() + digits.size() || number < least || number > kMostInteger) {
      return warn(name, *value, "a whole number from " + std::to_string(least) + " to " + std::to_string(kMostInteger) + "; ignored");
    }
    out = static_cast<std::uint32_t>(number);
  }
  void duration(const std::string& name, milliseconds& out, std::uint32_t least = 0) {
    auto number = static_cast<std::uint32_t>(out.count());
    integer(name, number, least);
    out = milliseconds(number);
  }
  // The index of the word among `words`; nothing where unset or unknown.
  std::optional<std::size_t> word(const std::string& name, std::initializer_list<std::string_view> words) {
    const auto value = text(name);
    if (!value) return std::nullopt;
    const auto at = std::find(words.begin(), words.end(), lower(trim(*value)));
    if (at != words.end()) return static_cast<std::size_t>(at - words.begin());
    std::string expected;
    for (const std::string_view w : words) expected.append(expected.empty() ? "" : ", ").append(w);
    warn(name, *value, expected + "; ignored");
    return std::nullopt;
  }
  void warn(const std::string& name, std::string_view value, const std::string& expected) {
    warnings_.push_back(name + "=" + std::string(clip_utf8(is_utf8(value) ? value : "?", 100)) + ": expected " + expected);
  }
  void say(std::string sentence) { warnings_.push_back(std::move(sentence)); }

 private:
  const OtelSettings::Lookup& lookup_;
  std::vector<std::string>& warnings_;
};

// key1=value1,key2=value2 with percent-encoded values (W3C baggage without properties). The value never appears in the error.
Result<std::vector<std::pair<std::string, std::string>>> pairs(const std::string& variable, std::string_view list) {
  std::vector<std::pair<std::string, std::string>> out;
  for (const std::string_view part : split(list)) {
    const std::size_t equals = part.find('=');
    const std::string_view key = trim(part.substr(0, equals));
    if (equals == std::string_view::npos || key.empty()) {
      return Error(base_errors::kInvalid, "an OTEL_* variable cannot be decoded").with("variable", variable).with("expected", "key=value,key=value");
    }
    auto name = percent_decode(key);
    auto value = percent_decode(trim(part.substr(equals + 1)));
    if (!name || !value) {
      return Error(base_errors::kInvalid, "an OTEL_* variable cannot be decoded").with("variable", variable).with("expected", "percent-encoded values");
    }
    const auto same = std::find_if(out.begin(), out.end(), [&](const auto& p) { return p.first == *name; });
    if (same != out.end()) same->second = std::move(*value);
    else out.emplace_back(std::move(*name), std::move(*value));
  }
  return out;
}

Result<std::vector<std::pair<std::string, Secret<std::string>>>> headers(const std::string& variable, std::string_view list) {
  auto decoded = pairs(variable, list);
  if (!decoded) return std::move(decoded.error());
  std::vector<std::pair<std::string, Secret<std::string>>> out;
  for (auto& [name, value] : *decoded) {
    if (!is_token(name) || has_control(value) || !is_utf8(value)) {
      return Error(base_errors::kInvalid, "an OTEL_* variable names a header that cannot be sent").with("variable", variable).with("expected", "RFC 9110 names and values");
    }
    out.emplace_back(lower(name), Secret<std::string>(std::move(value)));
  }
  return out;
}

std::string_view upper(Signal signal) { return signal == Signal::kTraces ? "TRACES" : signal == Signal::kMetrics ? "METRICS" : "LOGS"; }

// Scheme, host and optionally path of an http(s) URL; nothing for other texts.
struct Url {
  std::string_view before_path, path, rest;  // rest: from '?'
};
std::optional<Url> parse_url(std::string_view text) {
  const std::string scheme = lower(text.substr(0, 8));
  const std::size_t start = scheme.starts_with("https://") ? 8 : scheme.starts_with("http://") ? 7 : 0;
  if (start == 0) return std::nullopt;
  const std::size_t path = std::min(text.find_first_of("/?#", start), text.size());
  const std::size_t query = std::min(text.find_first_of("?#", path), text.size());
  if (path == start) return std::nullopt;
  for (const char c : text) {
    if (static_cast<unsigned char>(c) <= 0x20 || c == 0x7f) return std::nullopt;
  }
  return Url{text.substr(0, path), text.substr(path, query - path), text.substr(query)};
}

Error bad_endpoint(const std::string& variable, std::string_view expected) {
  return Error(base_errors::kInvalid, "an OTLP endpoint is no URL").with("variable", variable).with("expected", std::string(expected));
}

// "host:port" or a name scheme of gRPC's own ("dns:///host:port", "unix:/path").
bool is_grpc_name(std::string_view text) {
  if (text.find("://") != std::string_view::npos) return text.starts_with("dns://") || text.starts_with("unix://") || text.starts_with("ipv4://") || text.starts_with("ipv6://");
  return !text.empty() && text.find_first_of("/?# ") == std::string_view::npos ? true : text.starts_with("unix:");
}

class Targets {
 public:
  Targets(Reader& reader, OtelSettings& settings) : reader_(reader), settings_(settings) {}

  Result<void> read(Signal signal) {
    TargetOptions& target = settings_.exporter.target(signal);
    const std::string own = "OTEL_EXPORTER_OTLP_" + std::string(upper(signal)) + "_";
    const std::string common = "OTEL_EXPORTER_OTLP_";
    exporter(signal, target);
    protocol(own + "PROTOCOL", target) || protocol(common + "PROTOCOL", target);
    STELLA_TRY_VOID(endpoint(signal, own + "ENDPOINT", common + "ENDPOINT", target));
    reader_.boolean(reader_.text(own + "INSECURE") ? own + "INSECURE" : common + "INSECURE", target.insecure);
    const auto gzip = reader_.word(reader_.text(own + "COMPRESSION") ? own + "COMPRESSION" : common + "COMPRESSION", {"none", "gzip"});
    target.gzip = gzip.value_or(0) == 1;
    reader_.duration(common + "TIMEOUT", target.timeout);
    reader_.duration(own + "TIMEOUT", target.timeout);
    target.ca_file = either(own + "CERTIFICATE", common + "CERTIFICATE");
    target.cert_file = either(own + "CLIENT_CERTIFICATE", common + "CLIENT_CERTIFICATE");
    target.key_file = either(own + "CLIENT_KEY", common + "CLIENT_KEY");
    if (target.cert_file.empty() != target.key_file.empty()) {
      return Error(base_errors::kInvalid, "a client certificate and its key go together")
          .with("variable", target.cert_file.empty() ? own + "CLIENT_CERTIFICATE" : own + "CLIENT_KEY").with("expected", "both, or none");
    }
    const std::string name = reader_.text(own + "HEADERS") ? own + "HEADERS" : common + "HEADERS";
    if (const auto list = reader_.text(name)) {
      auto parsed = headers(name, *list);
      if (!parsed) return std::move(parsed.error());
      target.headers = std::move(*parsed);
    }
    return {};
  }

 private:
  std::string either(const std::string& own, const std::string& common) const {
    auto value = reader_.text(own);
    if (!value) value = reader_.text(common);
    return value ? std::string(trim(*value)) : std::string();
  }

  // OTEL_{TRACES,METRICS,LOGS}_EXPORTER: a list, of which we have otlp and none.
  void exporter(Signal signal, TargetOptions& target) {
    const std::string name = "OTEL_" + std::string(upper(signal)) + "_EXPORTER";
    const auto value = reader_.text(name);
    if (!value) return;
    bool otlp = false, none = false;
    for (const std::string_view part : split(*value)) {
      const std::string word = lower(part);
      otlp |= word == "otlp";
      none |= word == "none";
      if (word != "otlp" && word != "none") reader_.warn(name, part, "otlp or none; ignored");
    }
    if (otlp && none) reader_.say(name + ": none beside otlp is ignored");
    if (!otlp && !none) return;  // nothing known: as if unset
    target.enabled = otlp;
    settings_.export_named |= otlp;
  }

  bool protocol(const std::string& name, TargetOptions& target) {
    const auto value = reader_.text(name);
    if (!value) return false;
    if (lower(trim(*value)) == "http/json") {
      reader_.say(name + "=http/json: this library writes protobuf only; http/protobuf is used");
      target.protocol = OtlpProtocol::kHttpProtobuf;
      return true;
    }
    const auto at = reader_.word(name, {"http/protobuf", "grpc"});
    if (at) target.protocol = *at == 1 ? OtlpProtocol::kGrpc : OtlpProtocol::kHttpProtobuf;
    return at.has_value();
  }

  Result<void> endpoint(Signal signal, const std::string& own, const std::string& common, TargetOptions& target) {
    const bool grpc = target.protocol == OtlpProtocol::kGrpc;
    const auto specific = reader_.text(own);
    const auto base = specific ? std::nullopt : reader_.text(common);
    settings_.export_named |= specific || base;
    const std::string& variable = specific ? own : common;
    std::string given(trim(specific ? *specific : base ? *base : grpc ? "http://localhost:4317" : "http://localhost:4318"));
    if (parse_url(given)) given.replace(0, given.find(':'), lower(given.substr(0, given.find(':'))));  // what dials compares it as it stands
    const auto url = parse_url(given);
    if (grpc) {
      if (!url && !is_grpc_name(given)) return bad_endpoint(variable, "http://host:port, https://host:port or host:port");
      target.endpoint = url ? std::string(url->before_path) : given;
      if (url && url->path.size() > 1) reader_.say(variable + ": the path of a gRPC endpoint is ignored");
      return {};
    }
    if (!url) return bad_endpoint(variable, "http://host:port or https://host:port");
    if (specific) {
      target.endpoint = url->path.empty() ? std::string(url->before_path) + "/" + std::string(url->rest) : given;
      return {};
    }
    std::string_view path = url->path;
    while (path.ends_with('/')) path.remove_suffix(1);
    target.endpoint = std::string(url->before_path).append(path).append("/v1/").append(to_string(signal)).append(url->rest);
    return {};
  }

  Reader& reader_;
  OtelSettings& settings_;
};

Result<void> resource(Reader& reader, OtelSettings& out) {
  if (const auto list = reader.text("OTEL_RESOURCE_ATTRIBUTES")) {
    auto attributes = pairs("OTEL_RESOURCE_ATTRIBUTES", *list);
    // "In case of any error, the entire value is discarded and an error reported": what is missing is said, telemetry goes on.
    if (!attributes) reader.say("OTEL_RESOURCE_ATTRIBUTES: expected key=value,key=value with percent-encoded values; all of it is ignored");
    else out.resource_attributes = std::move(*attributes);
  }
  for (auto it = out.resource_attributes.begin(); it != out.resource_attributes.end(); ++it) {
    if (it->first != "service.name") continue;
    out.service_name = it->second;
    out.resource_attributes.erase(it);
    break;
  }
  if (auto name = reader.text("OTEL_SERVICE_NAME")) out.service_name = std::move(name);
  return {};
}

void propagators(Reader& reader, OtelSettings& out) {
  const auto list = reader.text("OTEL_PROPAGATORS");
  if (!list) return;
  bool trace_context = false, baggage = false, none = false;
  for (const std::string_view part : split(*list)) {
    const std::string word = lower(part);
    trace_context |= word == "tracecontext";
    baggage |= word == "baggage";
    none |= word == "none";
    if (word != "tracecontext" && word != "baggage" && word != "none") reader.warn("OTEL_PROPAGATORS", part, "tracecontext, baggage or none; ignored");
  }
  if (!trace_context && !baggage && !none) return;
  out.trace_context = trace_context;
  out.baggage = baggage;
}

void read_sampler(Reader& reader, OtelSettings& out) {
  const auto at = reader.word("OTEL_TRACES_SAMPLER", {"always_on", "always_off", "traceidratio", "parentbased_always_on", "parentbased_always_off", "parentbased_traceidratio"});
  if (!at) return;
  out.sampler_set = true;
  out.parent_based = *at >= 3;
  out.sampler = static_cast<OtelSampler>(*at % 3);
  const auto value = reader.text("OTEL_TRACES_SAMPLER_ARG");
  if (!value || out.sampler != OtelSampler::kTraceIdRatio) return;
  const std::string_view digits = trim(*value);
  double ratio = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), ratio);
  if (error != std::errc() || end != digits.data() + digits.size() || !std::isfinite(ratio) || ratio < 0 || ratio > 1) {
    return reader.warn("OTEL_TRACES_SAMPLER_ARG", *value, "a number from 0 to 1; ignored");
  }
  out.sampling_ratio = ratio;
}

void batching(Reader& reader, const std::string& prefix, OtelBatching& out) {
  out.size_set = reader.text(prefix + "MAX_EXPORT_BATCH_SIZE").has_value();
  reader.duration(prefix + "SCHEDULE_DELAY", out.schedule_delay);
  reader.duration(prefix + "EXPORT_TIMEOUT", out.export_timeout);
  reader.integer(prefix + "MAX_QUEUE_SIZE", out.max_queue_size, 1);
  reader.integer(prefix + "MAX_EXPORT_BATCH_SIZE", out.max_export_batch_size, 1);
  if (out.max_export_batch_size > out.max_queue_size) {
    reader.say(prefix + "MAX_EXPORT_BATCH_SIZE: larger than the queue of " + std::to_string(out.max_queue_size) + "; that is used");
    out.max_export_batch_size = out.max_queue_size;
  }
}

// Of two names of one limit the second, special one wins.
void read_limit(Reader& reader, std::initializer_list<const char*> names, std::uint32_t most, std::uint32_t& out) {
  for (const char* name : names) {
    std::uint32_t value = out;
    reader.integer(name, value);
    if (value > most) reader.say(std::string(name) + "=" + std::to_string(value) + ": more than a record holds; " + std::to_string(most) + " is used");
    out = std::min(value, most);
  }
}

void read_limits(Reader& reader, OtelLimits& out) {
  constexpr const char *kCount = "OTEL_ATTRIBUTE_COUNT_LIMIT", *kLength = "OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT";
  read_limit(reader, {kLength, "OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT"}, OtelLimits::kMostChars, out.span_text_chars);
  read_limit(reader, {kLength, "OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT"}, OtelLimits::kMostChars, out.log_text_chars);
  read_limit(reader, {kCount, "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT"}, OtelLimits::kMostAttributes, out.span_attribute_count);
  read_limit(reader, {kCount, "OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT"}, OtelLimits::kMostAttributes, out.log_attribute_count);
  read_limit(reader, {"OTEL_SPAN_EVENT_COUNT_LIMIT"}, OtelLimits::kMostEvents, out.span_events);
  read_limit(reader, {"OTEL_SPAN_LINK_COUNT_LIMIT"}, OtelLimits::kMostLinks, out.span_links);
  read_limit(reader, {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT"}, OtelLimits::kMostAttributes, out.event_attributes);
  read_limit(reader, {"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT"}, OtelLimits::kMostAttributes, out.link_attributes);
}

// Variables that this library reads and does not follow: whoever sets one is told at the start what holds in its place.
void say_what_has_no_effect(Reader& reader, const OtelSettings& out) {
  const auto fixed = [&reader](const std::string& name, const char* instead) {
    if (reader.text(name)) reader.say(name + ": has no effect; " + instead);
  };
  fixed("OTEL_BSP_MAX_QUEUE_SIZE", "what waits is bounded in bytes, in memory and in the spool on disk");
  fixed("OTEL_BLRP_MAX_QUEUE_SIZE", "what waits is bounded in bytes, in memory and in the spool on disk");
  fixed("OTEL_LOG_LEVEL", "the library logs like everything else, at the level that the service sets (of the platform: log.level)");
  for (const char* name : {"OTEL_CONFIG_FILE", "OTEL_EXPERIMENTAL_CONFIG_FILE"}) fixed(name, "no file of declarative configuration is read; the other variables hold");
  if (const auto at = reader.word("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", {"explicit_bucket_histogram", "base2_exponential_bucket_histogram"}); at && *at == 1) {
    reader.say("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION: has no effect; every histogram has the explicit buckets that it is declared with");
  }
  if (out.temporality != OtelTemporality::kDelta && reader.text("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE")) {
    reader.say("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: has no effect; metrics are exported as deltas, which the receiver adds up");
  }
  if (out.exemplars == OtelExemplarFilter::kAlwaysOn) reader.say("OTEL_METRICS_EXEMPLAR_FILTER=always_on: has no effect; trace_based holds: an exemplar points to a trace that is kept");
  if (out.sampler_set && !out.parent_based) reader.say("OTEL_TRACES_SAMPLER: the decision of a parent that is trusted is always followed; the parentbased form is used");
}

// Of two bounds of one attempt the shorter one; 0 is none.
void bound(milliseconds& timeout, milliseconds other) {
  if (other.count() > 0 && (timeout.count() == 0 || other < timeout)) timeout = other;
}

void dedupe(std::vector<std::string>& sentences) {
  std::set<std::string> seen;
  std::erase_if(sentences, [&](const std::string& s) { return !seen.insert(s).second; });
}

}  // namespace

Result<OtelSettings> OtelSettings::from(const Lookup& lookup) {
  OtelSettings out;
  Reader reader(lookup, out.warnings);
  reader.boolean("OTEL_SDK_DISABLED", out.disabled);
  STELLA_TRY_VOID(resource(reader, out));
  propagators(reader, out);
  read_sampler(reader, out);
  batching(reader, "OTEL_BSP_", out.spans);
  batching(reader, "OTEL_BLRP_", out.logs);
  reader.duration("OTEL_METRIC_EXPORT_INTERVAL", out.metric_interval, 1);
  reader.duration("OTEL_METRIC_EXPORT_TIMEOUT", out.metric_timeout);
  if (const auto at = reader.word("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", {"cumulative", "delta", "lowmemory"})) out.temporality = static_cast<OtelTemporality>(*at);
  if (const auto at = reader.word("OTEL_METRICS_EXEMPLAR_FILTER", {"always_on", "always_off", "trace_based"})) out.exemplars = static_cast<OtelExemplarFilter>(*at);
  read_limits(reader, out.limits);
  Targets targets(reader, out);
  for (const Signal signal : kAllSignals) {
    STELLA_TRY_VOID(targets.read(signal));
    if (out.disabled) out.exporter.target(signal).enabled = false;
  }
  bound(out.exporter.target(Signal::kTraces).timeout, out.spans.export_timeout);
  bound(out.exporter.target(Signal::kLogs).timeout, out.logs.export_timeout);
  bound(out.exporter.target(Signal::kMetrics).timeout, out.metric_timeout);
  say_what_has_no_effect(reader, out);
  dedupe(out.warnings);
  return out;
}

void OtelSettings::take(std::initializer_list<OwnAttribute> own) {
  for (const OwnAttribute& field : own) {
    const auto found = std::find_if(resource_attributes.begin(), resource_attributes.end(), [&](const auto& p) { return p.first == field.key; });
    if (found == resource_attributes.end()) continue;
    if (field.value != nullptr) *field.value = scrub(found->second);
    else warnings.push_back("OTEL_RESOURCE_ATTRIBUTES: " + std::string(field.key) + " has no effect; " + std::string(field.instead));
    resource_attributes.erase(found);
  }
}

Result<OtelSettings> OtelSettings::from_environment() {
  return from([](const std::string& name) -> std::optional<std::string> {
    const char* value = std::getenv(name.c_str());
    return value != nullptr ? std::optional<std::string>(value) : std::nullopt;
  });
}

Result<ExporterOptions> ExporterOptions::from_environment() {
  auto settings = OtelSettings::from_environment();
  if (!settings) return std::move(settings.error());
  return std::move(settings->exporter);
}

}  // namespace stella::telemetry
