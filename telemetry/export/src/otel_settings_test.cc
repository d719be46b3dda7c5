// The OTEL_* variables, a table of what the OpenTelemetry specification says about each.
#include "stella/telemetry/otel_settings.h"

#include <cstdlib>

namespace stella::telemetry {
namespace {

using std::chrono::milliseconds;
using Variables = std::map<std::string, std::string>;

Result<OtelSettings> read(const Variables& variables) {
  return OtelSettings::from([&](const std::string& name) -> std::optional<std::string> {
    const auto it = variables.find(name);
    return it == variables.end() ? std::nullopt : std::optional<std::string>(it->second);
  });
}

TEST(OtelSettings, DefaultsAreThoseOfTheSpecification) {
  const auto s = read({});
  ASSERT_TRUE(s.has_value());
  EXPECT_FALSE(s->disabled);
  EXPECT_FALSE(s->export_named);
  EXPECT_FALSE(s->service_name);
  EXPECT_TRUE(s->trace_context && s->baggage);
  EXPECT_TRUE(s->parent_based);
  EXPECT_EQ(s->sampler, OtelSampler::kAlwaysOn);
  EXPECT_FALSE(s->sampler_set);
  EXPECT_EQ(s->spans.schedule_delay, milliseconds(5000));
  EXPECT_EQ(s->logs.schedule_delay, milliseconds(1000));
  EXPECT_EQ(s->spans.max_queue_size, 2048u);
  EXPECT_EQ(s->spans.max_export_batch_size, 512u);
  EXPECT_EQ(s->spans.export_timeout, milliseconds(30000));
  EXPECT_EQ(s->metric_interval, milliseconds(60000));
  EXPECT_EQ(s->metric_timeout, milliseconds(30000));
  EXPECT_EQ(s->limits.span_attribute_count, 128u);
  EXPECT_EQ(s->limits.span_events, 32u);
  EXPECT_EQ(s->limits.span_text_chars, 16u * 1024);
  EXPECT_EQ(s->temporality, OtelTemporality::kCumulative);
  EXPECT_EQ(s->exemplars, OtelExemplarFilter::kTraceBased);
  for (const Signal signal : kAllSignals) {
    const TargetOptions& t = s->exporter.target(signal);
    EXPECT_TRUE(t.enabled);
    EXPECT_EQ(t.protocol, OtlpProtocol::kHttpProtobuf);
    EXPECT_EQ(t.endpoint, "http://localhost:4318/v1/" + std::string(to_string(signal)));
    EXPECT_FALSE(t.gzip || t.insecure);
    EXPECT_EQ(t.timeout, milliseconds(10000));
    EXPECT_TRUE(t.headers.empty() && t.ca_file.empty() && t.cert_file.empty() && t.key_file.empty());
  }
  EXPECT_TRUE(s->warnings.empty());
}

struct EndpointCase {
  const char* what;
  Variables variables;
  std::string traces;  // endpoint of traces; "!": refused
  std::string logs;
};

TEST(OtelSettings, Endpoints) {
  const std::string e = "OTEL_EXPORTER_OTLP_ENDPOINT", t = "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", p = "OTEL_EXPORTER_OTLP_PROTOCOL";
  const std::vector<EndpointCase> cases{
      {"a base gets the path of its signal", {{e, "http://c:4318"}}, "http://c:4318/v1/traces", "http://c:4318/v1/logs"},
      {"no double slash", {{e, "http://c:4318/"}}, "http://c:4318/v1/traces", "http://c:4318/v1/logs"},
      {"a path of the base stays", {{e, "https://c/otlp/"}}, "https://c/otlp/v1/traces", "https://c/otlp/v1/logs"},
      {"a query stays behind the path", {{e, "https://c/otlp?k=1"}}, "https://c/otlp/v1/traces?k=1", "https://c/otlp/v1/logs?k=1"},
      {"a signal's own is used as it is", {{t, "http://c:1/custom"}}, "http://c:1/custom", "http://localhost:4318/v1/logs"},
      {"without a path it is /", {{t, "http://c:1"}}, "http://c:1/", "http://localhost:4318/v1/logs"},
      {"own wins over base", {{e, "http://b"}, {t, "http://c/x/"}}, "http://c/x/", "http://b/v1/logs"},
      {"empty is unset", {{e, ""}, {t, "  "}}, "http://localhost:4318/v1/traces", "http://localhost:4318/v1/logs"},
      {"white space around", {{e, " http://c "}}, "http://c/v1/traces", "http://c/v1/logs"},
      {"schemes in any case", {{e, "HTTPS://c"}}, "https://c/v1/traces", "https://c/v1/logs"},
      {"gRPC's default port", {{p, "grpc"}}, "http://localhost:4317", "http://localhost:4317"},
      {"gRPC has no path", {{p, "grpc"}, {e, "https://c:4317/x"}}, "https://c:4317", "https://c:4317"},
      {"gRPC without a scheme", {{p, "grpc"}, {e, "c:4317"}}, "c:4317", "c:4317"},
      {"gRPC's own names", {{p, "grpc"}, {e, "dns:///c:4317"}}, "dns:///c:4317", "dns:///c:4317"},
      {"gRPC over a socket file", {{p, "grpc"}, {e, "unix:/run/otel.sock"}}, "unix:/run/otel.sock", "unix:/run/otel.sock"},
      {"one signal over gRPC", {{"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"}}, "http://localhost:4317", "http://localhost:4318/v1/logs"},
      {"HTTP needs a scheme", {{e, "c:4318"}}, "!", "!"},
      {"other schemes", {{e, "ftp://c"}}, "!", "!"},
      {"no host", {{e, "http:///v1"}}, "!", "!"},
      {"a blank inside", {{e, "http://a b"}}, "!", "!"},
      {"a line break", {{t, "http://a\r\nX: y"}}, "!", "!"},
      {"gRPC: other schemes", {{p, "grpc"}, {e, "ftp://c"}}, "!", "!"},
  };
  for (const EndpointCase& c : cases) {
    SCOPED_TRACE(c.what);
    const auto s = read(c.variables);
    ASSERT_EQ(s.has_value(), c.traces != "!");
    if (!s) {
      EXPECT_EQ(s.error().code(), base_errors::kInvalid);
      EXPECT_TRUE(s.error().field("variable").starts_with("OTEL_EXPORTER_OTLP_"));
      continue;
    }
    EXPECT_EQ(s->exporter.target(Signal::kTraces).endpoint, c.traces);
    EXPECT_EQ(s->exporter.target(Signal::kLogs).endpoint, c.logs);
  }
}

TEST(OtelSettings, HeadersArePercentDecodedAndStaySecret) {
  const auto s = read({{"OTEL_EXPORTER_OTLP_HEADERS", "Api-Key=a%20b%3D, x=1,x=2 ,"}, {"OTEL_EXPORTER_OTLP_LOGS_HEADERS", "only=logs%2Cand"}});
  ASSERT_TRUE(s.has_value());
  const auto& headers = s->exporter.target(Signal::kTraces).headers;
  ASSERT_EQ(headers.size(), 2u);
  EXPECT_EQ(headers[0].first, "api-key");
  EXPECT_EQ(headers[0].second.expose(), "a b=");
  EXPECT_EQ(headers[1].second.expose(), "2");
  ASSERT_EQ(s->exporter.target(Signal::kLogs).headers.size(), 1u);  // a signal's own replace, they do not add
  EXPECT_EQ(s->exporter.target(Signal::kLogs).headers[0].second.expose(), "logs,and");
  for (const char* bad : {"novalue", "=v", "a b=v", "k=%0d%0aX:y", "k=%zz", "k=%ff", "k=\x01"}) {
    const auto refused = read({{"OTEL_EXPORTER_OTLP_HEADERS", std::string(bad) + ",secret=hunter2"}});
    ASSERT_FALSE(refused.has_value()) << bad;
    EXPECT_EQ(refused.error().describe().find("hunter2"), std::string::npos);
  }
}

TEST(OtelSettings, BooleansNumbersAndNamesThatAreNoneWarnAndCountAsUnset) {
  const struct {
    const char *name, *value;
    bool warns;
    std::function<bool(const OtelSettings&)> holds;
  } cases[] = {
      {"OTEL_SDK_DISABLED", "TRUE", false, [](const auto& s) { return s.disabled && !s.exporter.target(Signal::kLogs).enabled; }},
      {"OTEL_SDK_DISABLED", "False", false, [](const auto& s) { return !s.disabled; }},
      {"OTEL_SDK_DISABLED", "1", true, [](const auto& s) { return !s.disabled; }},
      {"OTEL_SDK_DISABLED", "yes", true, [](const auto& s) { return !s.disabled; }},
      {"OTEL_SDK_DISABLED", "", false, [](const auto& s) { return !s.disabled; }},
      {"OTEL_EXPORTER_OTLP_INSECURE", "true", false, [](const auto& s) { return s.exporter.target(Signal::kMetrics).insecure; }},
      {"OTEL_EXPORTER_OTLP_METRICS_INSECURE", "true", false, [](const auto& s) { return s.exporter.target(Signal::kMetrics).insecure && !s.exporter.target(Signal::kLogs).insecure; }},
      {"OTEL_EXPORTER_OTLP_TIMEOUT", "2500", false, [](const auto& s) { return s.exporter.target(Signal::kTraces).timeout == milliseconds(2500); }},
      {"OTEL_EXPORTER_OTLP_TIMEOUT", "0", false, [](const auto& s) { return s.exporter.target(Signal::kTraces).timeout == milliseconds(30000); }},
      {"OTEL_EXPORTER_OTLP_TIMEOUT", "-1", true, [](const auto& s) { return s.exporter.target(Signal::kTraces).timeout == milliseconds(10000); }},
      {"OTEL_EXPORTER_OTLP_TIMEOUT", "10s", true, [](const auto& s) { return s.exporter.target(Signal::kTraces).timeout == milliseconds(10000); }},
      {"OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "7", false, [](const auto& s) { return s.exporter.target(Signal::kTraces).timeout == milliseconds(7) && s.exporter.target(Signal::kLogs).timeout == milliseconds(10000); }},
      {"OTEL_EXPORTER_OTLP_COMPRESSION", "GZIP", false, [](const auto& s) { return s.exporter.target(Signal::kTraces).gzip; }},
      {"OTEL_EXPORTER_OTLP_COMPRESSION", "none", false, [](const auto& s) { return !s.exporter.target(Signal::kTraces).gzip; }},
      {"OTEL_EXPORTER_OTLP_COMPRESSION", "zstd", true, [](const auto& s) { return !s.exporter.target(Signal::kTraces).gzip; }},
      {"OTEL_EXPORTER_OTLP_PROTOCOL", "http/json", true, [](const auto& s) { return s.exporter.target(Signal::kTraces).protocol == OtlpProtocol::kHttpProtobuf; }},
      {"OTEL_EXPORTER_OTLP_PROTOCOL", "carrier-pigeon", true, [](const auto& s) { return s.exporter.target(Signal::kTraces).protocol == OtlpProtocol::kHttpProtobuf; }},
      {"OTEL_TRACES_EXPORTER", "none", false, [](const auto& s) { return !s.exporter.target(Signal::kTraces).enabled && s.exporter.target(Signal::kLogs).enabled && !s.export_named; }},
      {"OTEL_LOGS_EXPORTER", "otlp", false, [](const auto& s) { return s.exporter.target(Signal::kLogs).enabled && s.export_named; }},
      {"OTEL_METRICS_EXPORTER", "prometheus", true, [](const auto& s) { return s.exporter.target(Signal::kMetrics).enabled; }},
      {"OTEL_METRICS_EXPORTER", "prometheus,none", true, [](const auto& s) { return !s.exporter.target(Signal::kMetrics).enabled; }},
      {"OTEL_PROPAGATORS", "baggage,baggage", false, [](const auto& s) { return !s.trace_context && s.baggage; }},
      {"OTEL_PROPAGATORS", "none", false, [](const auto& s) { return !s.trace_context && !s.baggage; }},
      {"OTEL_PROPAGATORS", "b3", true, [](const auto& s) { return s.trace_context && s.baggage; }},
      {"OTEL_PROPAGATORS", "TraceContext,b3", true, [](const auto& s) { return s.trace_context && !s.baggage; }},
      {"OTEL_TRACES_SAMPLER", "always_off", true, [](const auto& s) { return s.sampler == OtelSampler::kAlwaysOff && !s.parent_based && s.sampler_set; }},
      {"OTEL_TRACES_SAMPLER", "parentbased_traceidratio", false, [](const auto& s) { return s.sampler == OtelSampler::kTraceIdRatio && s.parent_based && s.sampling_ratio == 1; }},
      {"OTEL_TRACES_SAMPLER", "jaeger_remote", true, [](const auto& s) { return s.sampler == OtelSampler::kAlwaysOn && s.parent_based && !s.sampler_set; }},
      {"OTEL_BSP_SCHEDULE_DELAY", "100", false, [](const auto& s) { return s.spans.schedule_delay == milliseconds(100) && s.logs.schedule_delay == milliseconds(1000); }},
      {"OTEL_BSP_MAX_QUEUE_SIZE", "0", true, [](const auto& s) { return s.spans.max_queue_size == 2048; }},
      {"OTEL_BSP_MAX_QUEUE_SIZE", "100", true, [](const auto& s) { return s.spans.max_queue_size == 100 && s.spans.max_export_batch_size == 100; }},
      {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "64", false, [](const auto& s) { return s.logs.max_export_batch_size == 64; }},
      {"OTEL_METRIC_EXPORT_INTERVAL", "0", true, [](const auto& s) { return s.metric_interval == milliseconds(60000); }},
      {"OTEL_METRIC_EXPORT_INTERVAL", "99999999999999999999", true, [](const auto& s) { return s.metric_interval == milliseconds(60000); }},
      {"OTEL_ATTRIBUTE_COUNT_LIMIT", "7", false, [](const auto& s) { return s.limits.span_attribute_count == 7 && s.limits.log_attribute_count == 7; }},
      {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "9", false, [](const auto& s) { return s.limits.span_attribute_count == 9 && s.limits.log_attribute_count == 128; }},
      {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "5", false, [](const auto& s) { return s.limits.log_text_chars == 5 && s.limits.span_text_chars == 5; }},
      {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "16385", true, [](const auto& s) { return s.limits.log_text_chars == 16384 && s.limits.span_text_chars == 16384; }},
      {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "129", true, [](const auto& s) { return s.limits.span_attribute_count == 128; }},
      {"OTEL_SPAN_EVENT_COUNT_LIMIT", "128", true, [](const auto& s) { return s.limits.span_events == 32; }},
      {"OTEL_SPAN_LINK_COUNT_LIMIT", "33", true, [](const auto& s) { return s.limits.span_links == 32; }},
      {"OTEL_SPAN_LINK_COUNT_LIMIT", "0", false, [](const auto& s) { return s.limits.span_links == 0; }},
      {"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "x", true, [](const auto& s) { return s.limits.link_attributes == 128; }},
      {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "Delta", false, [](const auto& s) { return s.temporality == OtelTemporality::kDelta; }},
      {"OTEL_METRICS_EXEMPLAR_FILTER", "always_off", false, [](const auto& s) { return s.exemplars == OtelExemplarFilter::kAlwaysOff; }},
  };
  for (const auto& c : cases) {
    SCOPED_TRACE(std::string(c.name) + "=" + c.value);
    const auto s = read({{c.name, c.value}});
    ASSERT_TRUE(s.has_value());
    EXPECT_TRUE(c.holds(*s));
    EXPECT_EQ(!s->warnings.empty(), c.warns);
    for (const std::string& w : s->warnings) EXPECT_TRUE(w.starts_with(c.name) || w.find("MAX_EXPORT_BATCH_SIZE") != std::string::npos) << w;
  }
}

// Each variable that is read either changes what the exporter or the backend is given, or says at the start that it does not.
TEST(OtelSettings, EveryVariableHasAnEffectOrSaysThatItHasNone) {
  const auto timeout = [](const OtelSettings& s, Signal signal) { return s.exporter.target(signal).timeout; };
  const struct {
    const char *name, *value;
    std::function<bool(const OtelSettings&)> holds;
  } effective[] = {
      {"OTEL_BSP_SCHEDULE_DELAY", "100", [](const auto& s) { return s.spans.schedule_delay == milliseconds(100); }},
      {"OTEL_BLRP_SCHEDULE_DELAY", "100", [](const auto& s) { return s.logs.schedule_delay == milliseconds(100); }},
      {"OTEL_BSP_EXPORT_TIMEOUT", "70", [&](const auto& s) { return timeout(s, Signal::kTraces) == milliseconds(70) && timeout(s, Signal::kLogs) == milliseconds(10'000); }},
      {"OTEL_BLRP_EXPORT_TIMEOUT", "70", [&](const auto& s) { return timeout(s, Signal::kLogs) == milliseconds(70) && timeout(s, Signal::kTraces) == milliseconds(10'000); }},
      {"OTEL_METRIC_EXPORT_TIMEOUT", "70", [&](const auto& s) { return timeout(s, Signal::kMetrics) == milliseconds(70) && timeout(s, Signal::kLogs) == milliseconds(10'000); }},
      {"OTEL_METRIC_EXPORT_INTERVAL", "70", [](const auto& s) { return s.metric_interval == milliseconds(70); }},
      {"OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "7", [](const auto& s) { return s.spans.size_set && s.spans.max_export_batch_size == 7 && !s.logs.size_set; }},
      {"OTEL_BLRP_MAX_EXPORT_BATCH_SIZE", "7", [](const auto& s) { return s.logs.size_set && s.logs.max_export_batch_size == 7 && !s.spans.size_set; }},
      {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "delta", [](const auto& s) { return s.temporality == OtelTemporality::kDelta; }},
      {"OTEL_METRICS_EXEMPLAR_FILTER", "trace_based", [](const auto& s) { return s.exemplars == OtelExemplarFilter::kTraceBased; }},
      {"OTEL_METRICS_EXEMPLAR_FILTER", "always_off", [](const auto& s) { return s.exemplars == OtelExemplarFilter::kAlwaysOff; }},
      {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "explicit_bucket_histogram", [](const auto&) { return true; }},
      {"OTEL_PROPAGATORS", "tracecontext,baggage", [](const auto& s) { return s.trace_context && s.baggage; }},
      {"OTEL_PROPAGATORS", "tracecontext", [](const auto& s) { return s.trace_context && !s.baggage; }},
      {"OTEL_PROPAGATORS", "baggage", [](const auto& s) { return !s.trace_context && s.baggage; }},
      {"OTEL_ATTRIBUTE_COUNT_LIMIT", "7", [](const auto& s) { return s.limits.span_attribute_count == 7 && s.limits.log_attribute_count == 7 && s.limits.event_attributes == 128; }},
      {"OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7", [](const auto& s) { return s.limits.span_text_chars == 7 && s.limits.log_text_chars == 7; }},
      {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "7", [](const auto& s) { return s.limits.span_attribute_count == 7 && s.limits.log_attribute_count == 128; }},
      {"OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7", [](const auto& s) { return s.limits.span_text_chars == 7 && s.limits.log_text_chars == 16384; }},
      {"OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT", "7", [](const auto& s) { return s.limits.log_attribute_count == 7 && s.limits.span_attribute_count == 128; }},
      {"OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT", "7", [](const auto& s) { return s.limits.log_text_chars == 7 && s.limits.span_text_chars == 16384; }},
      {"OTEL_SPAN_EVENT_COUNT_LIMIT", "7", [](const auto& s) { return s.limits.span_events == 7; }},
      {"OTEL_SPAN_LINK_COUNT_LIMIT", "7", [](const auto& s) { return s.limits.span_links == 7; }},
      {"OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT", "7", [](const auto& s) { return s.limits.event_attributes == 7; }},
      {"OTEL_LINK_ATTRIBUTE_COUNT_LIMIT", "7", [](const auto& s) { return s.limits.link_attributes == 7; }},
      {"OTEL_TRACES_SAMPLER", "parentbased_always_off", [](const auto& s) { return s.sampler == OtelSampler::kAlwaysOff && s.sampler_set; }},
  };
  for (const auto& c : effective) {
    SCOPED_TRACE(std::string(c.name) + "=" + c.value);
    const auto s = read({{c.name, c.value}});
    ASSERT_TRUE(s.has_value());
    EXPECT_TRUE(c.holds(*s));
    EXPECT_TRUE(s->warnings.empty()) << s->warnings.front();
  }
  const std::pair<const char*, const char*> none[] = {
      {"OTEL_BSP_MAX_QUEUE_SIZE", "5000"}, {"OTEL_BLRP_MAX_QUEUE_SIZE", "5000"}, {"OTEL_LOG_LEVEL", "debug"}, {"OTEL_CONFIG_FILE", "/etc/otel.yaml"},
      {"OTEL_EXPERIMENTAL_CONFIG_FILE", "/etc/otel.yaml"}, {"OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"},
      {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "cumulative"},
      {"OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "lowmemory"}, {"OTEL_METRICS_EXEMPLAR_FILTER", "always_on"}, {"OTEL_TRACES_SAMPLER", "traceidratio"}};
  for (const auto& [name, value] : none) {
    SCOPED_TRACE(std::string(name) + "=" + value);
    const auto s = read({{name, value}});
    ASSERT_TRUE(s.has_value());
    ASSERT_EQ(s->warnings.size(), 1u);
    EXPECT_TRUE(s->warnings[0].starts_with(name)) << s->warnings[0];
  }
  // The special name wins over the general one, also with a larger limit.
  EXPECT_EQ(read({{"OTEL_ATTRIBUTE_COUNT_LIMIT", "3"}, {"OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "9"}})->limits.span_attribute_count, 9u);
  // An attempt is bounded by the shorter of its two times; 0 bounds nothing.
  EXPECT_EQ(timeout(*read({{"OTEL_EXPORTER_OTLP_TIMEOUT", "0"}, {"OTEL_BSP_EXPORT_TIMEOUT", "0"}}), Signal::kTraces), milliseconds(0));
  EXPECT_EQ(timeout(*read({{"OTEL_EXPORTER_OTLP_TIMEOUT", "50"}, {"OTEL_BSP_EXPORT_TIMEOUT", "70"}}), Signal::kTraces), milliseconds(50));
}

TEST(OtelSettings, SamplerArgument) {
  const auto ratio = [](const char* sampler, const char* argument) { return read({{"OTEL_TRACES_SAMPLER", sampler}, {"OTEL_TRACES_SAMPLER_ARG", argument}}).value(); };
  EXPECT_EQ(ratio("traceidratio", "0.25").sampling_ratio, 0.25);
  EXPECT_EQ(ratio("traceidratio", "0").sampling_ratio, 0);
  for (const char* bad : {"1.1", "-0.1", "nan", "x", "0.5x"}) {
    EXPECT_EQ(ratio("parentbased_traceidratio", bad).sampling_ratio, 1) << bad;
    EXPECT_EQ(ratio("parentbased_traceidratio", bad).warnings.size(), 1u) << bad;
  }
  EXPECT_EQ(ratio("always_on", "0.25").sampling_ratio, 1);
  EXPECT_EQ(read({{"OTEL_TRACES_SAMPLER_ARG", "0.25"}})->sampling_ratio, 1);
}

TEST(OtelSettings, ServiceAndResource) {
  const auto a = read({{"OTEL_RESOURCE_ATTRIBUTES", "service.name=from%20list,k=v%2Cw, team = a "}});
  EXPECT_EQ(a->service_name, "from list");
  const std::vector<std::pair<std::string, std::string>> rest{{"k", "v,w"}, {"team", "a"}};
  EXPECT_EQ(a->resource_attributes, rest);
  const auto b = read({{"OTEL_RESOURCE_ATTRIBUTES", "service.name=x"}, {"OTEL_SERVICE_NAME", "y"}});
  EXPECT_EQ(b->service_name, "y");
  EXPECT_TRUE(b->resource_attributes.empty());
  const auto c = read({{"OTEL_RESOURCE_ATTRIBUTES", "k=v,broken"}});  // the whole value is discarded, and said
  EXPECT_TRUE(c->resource_attributes.empty());
  EXPECT_EQ(c->warnings.size(), 1u);
}

TEST(OtelSettings, WhatTheApplicationSaysItselfIsFilledOrSaidToHaveNoEffect) {
  auto s = read({{"OTEL_RESOURCE_ATTRIBUTES", "cloud.region=eu,deployment.environment.name=of ann%40example.org,service.version=9,team=blue"}});
  ASSERT_TRUE(s);
  std::string region = "local", env = "local", instance = "host:1";
  s->take({{"cloud.region", "the setting region holds"}, {"deployment.environment.name", "", &env}, {"service.instance.id", "", &instance}, {"service.version", "it is the program's"}});
  EXPECT_EQ(region, "local");
  EXPECT_TRUE(env.starts_with("of [")) << env;
  EXPECT_EQ(instance, "host:1") << "the environment says nothing of it";
  EXPECT_EQ(s->resource_attributes, (std::vector<std::pair<std::string, std::string>>{{"team", "blue"}}));
  ASSERT_EQ(s->warnings.size(), 2u);
  EXPECT_EQ(s->warnings[0], "OTEL_RESOURCE_ATTRIBUTES: cloud.region has no effect; the setting region holds");
  EXPECT_TRUE(s->warnings[1].find("service.version") != std::string::npos);
}

TEST(OtelSettings, ClientCertificateNeedsItsKey) {
  EXPECT_FALSE(read({{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"}}).has_value());
  const auto s = read({{"OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/c.pem"}, {"OTEL_EXPORTER_OTLP_CLIENT_KEY", "/k.pem"},
                       {"OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"}, {"OTEL_EXPORTER_OTLP_LOGS_CERTIFICATE", "/logs-ca.pem"}});
  ASSERT_TRUE(s.has_value());
  EXPECT_EQ(s->exporter.target(Signal::kTraces).cert_file, "/c.pem");
  EXPECT_EQ(s->exporter.target(Signal::kTraces).key_file, "/k.pem");
  EXPECT_EQ(s->exporter.target(Signal::kTraces).ca_file, "/ca.pem");
  EXPECT_EQ(s->exporter.target(Signal::kLogs).ca_file, "/logs-ca.pem");
}

TEST(OtelSettings, TheEnvironmentItself) {
  ::setenv("OTEL_SERVICE_NAME", "from the environment", 1);
  const auto s = OtelSettings::from_environment();
  ::unsetenv("OTEL_SERVICE_NAME");
  ASSERT_TRUE(s.has_value());
  EXPECT_EQ(s->service_name, "from the environment");
}

}  // namespace
}  // namespace stella::telemetry
