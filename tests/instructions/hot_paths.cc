// Runs one hot path of the telemetry library N times, so that instructions.py can count what one of them costs.
//   stella_hot_paths --list        one name a line
//   stella_hot_paths --cpu         the vector instructions that the scrubber uses here, and the clock of records
//   stella_hot_paths NAME N
#include <time.h>

#include <cstdio>
#include <cstdlib>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/telemetry/clock.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/fields.h"
#include "stella/telemetry/lines.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/otlp.h"
#include "stella/telemetry/propagation.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/sampler.h"
#include "stella/telemetry/scrub.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

template <class T>
void keep(const T& value) {
  asm volatile("" : : "g"(&value) : "memory");
}

class NullOutlet final : public Outlet {
 public:
  void push(std::string_view record) noexcept override { keep(record); }
};

constexpr Logger kLog{"hot_paths"};
constexpr Counter kRequests{contracts::metrics::kHttpRequests};
constexpr Histogram kDuration{contracts::metrics::kHttpRequestDurationSeconds};

const SbomId kSbom = *SbomId::parse("0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012");

// A request of a tenant, inside its server span.
Context request(std::uint8_t flags = TraceParent::kSampled) {
  Context context;
  context.trace_id = TraceId::generate();
  context.span_id = SpanId::generate();
  context.tenant_id = *TenantId::parse("acme");
  context.actor = "user:0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9099";
  context.route = "/sboms/:id";
  context.method = "GET";
  context.flags = flags;
  return context;
}

void log_3_fields(long n) {
  const ContextScope scope(request());
  for (long i = 0; i < n; ++i) kLog.info("sbom accepted", {f::sbom_id(kSbom), f::component_count(i), f::format("cyclonedx")});
}

// Known texts of which one names a secret ("token"): the neighbour is looked at once, not every time.
void log_decision(long n) {
  const ContextScope scope(request());
  for (long i = 0; i < n; ++i) kLog.info("request", {f::decision_effect("allow"), f::decision_reason("valid token"), f::action("own token")});
}

void work_span() {
  Span span("policy.evaluate", SpanKind::kInternal,
            {f::sbom_id(kSbom), f::operation("evaluate"), f::job_kind("policy.evaluate"), f::policy_version("baseline@4f2a91c07d13"),
             f::decision_effect("deny"), f::component_count(5356), f::finding_count(17), f::cached(false)});
}

void span_8_attributes(long n) {
  const ContextScope scope(request());
  for (long i = 0; i < n; ++i) work_span();
}

// Two of the four texts were never said before.
void span_8_attributes_new_texts(long n) {
  const ContextScope scope(request());
  char version[] = "baseline@00000000", part[] = "part 00000000";
  const auto count = [](char* digit) {
    while (*digit == '9') *digit-- = '0';
    ++*digit;
  };
  for (long i = 0; i < n; ++i) {
    count(version + sizeof version - 2);
    count(part + sizeof part - 2);
    Span span("policy.evaluate", SpanKind::kInternal,
              {f::sbom_id(kSbom), f::operation("evaluate"), f::job_kind(part), f::policy_version(version), f::decision_effect("deny"), f::component_count(5356), f::finding_count(17),
               f::cached(false)});
  }
}

void span_unsampled(long n) {
  set_tail_keep(false);
  const ContextScope scope(request(0));
  for (long i = 0; i < n; ++i) work_span();
}

void counter_bound(long n) {
  const ContextScope scope(request());
  const BoundCounter handle = kRequests.bind("GET", "/sboms/:id", "2xx");
  for (long i = 0; i < n; ++i) handle.add();
}

void counter_dynamic_3_labels(long n) {
  const ContextScope scope(request());
  const std::string route = "/sboms/:id";
  for (long i = 0; i < n; ++i) kRequests.add(1, "GET", route, "2xx");
}

void histogram_record(long n) {
  const ContextScope scope(request());
  const BoundHistogram handle = kDuration.bind("GET", "/sboms/:id");
  for (long i = 0; i < n; ++i) handle.record(0.0123);
}

void traceparent_extract(long n) {
  const std::vector<std::pair<std::string_view, std::string_view>> headers = {
      {"host", "localhost"}, {"traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}, {"accept", "*/*"}};
  for (long i = 0; i < n; ++i) keep(Extractor(headers).remote().has_value());
}

void traceparent_format(long n) {
  const TraceParent parent = request().parent();
  for (long i = 0; i < n; ++i) keep(format_traceparent(parent));
}

// 150 bytes each.
constexpr std::string_view kClean =
    "INFO [http-12] o.e.web.RequestLog - GET /api/v1/projects/0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012/components?limit=100 200 48213 bytes in 12 ms, cached no";
constexpr std::string_view kToken =
    "WARN [http-12] o.e.web.RequestLog - refused eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jk9rBzT0iYlZx0uQ3wKq1vLm5sN7a";
static_assert(kClean.size() == 150 && kToken.size() == 150);

void certainly_clean_150(long n) {
  if (!certainly_clean(kClean)) std::abort();
  for (long i = 0; i < n; ++i) keep(certainly_clean(kClean));
}

void scrub(long n, std::string_view line, bool masks) {
  std::string out;
  scrub_append(out, line);
  if ((out != line) != masks) std::abort();
  for (long i = 0; i < n; ++i) {
    out.clear();
    scrub_append(out, line);
    keep(out);
  }
}
void scrub_clean_150(long n) { scrub(n, kClean, false); }
void scrub_jwt_150(long n) { scrub(n, kToken, true); }

// What the producer pushes, as the backend finds it.
class OneRecord final : public Outlet {
 public:
  void push(std::string_view record) noexcept override { bytes = record; }
  std::string bytes;
};

std::string pushed(void (*make)(long)) {
  static OneRecord one;
  Outlet* const before = install_outlet(&one);
  make(1);
  install_outlet(before);
  return one.bytes;
}

void trace_batch(long n) {
  const std::string bytes = pushed(span_8_attributes);
  TraceBatch batch;
  for (long i = 0; i < n; ++i) {
    batch.add(*RecordView::parse(bytes));
    if (batch.spans() == 512) keep(batch.take(resource()));
  }
}

void line_of_log(long n) {
  const std::string bytes = pushed(log_3_fields);
  std::string out;
  for (long i = 0; i < n; ++i) {
    out.clear();
    append_line(out, *RecordView::parse(bytes), resource());
    keep(out);
  }
}

struct Path {
  std::string_view name;
  void (*run)(long);
};
constexpr Path kPaths[] = {
    {"log_3_fields", log_3_fields},
    {"log_decision", log_decision},
    {"span_8_attributes", span_8_attributes},
    {"span_8_attributes_new_texts", span_8_attributes_new_texts},
    {"span_unsampled", span_unsampled},
    {"counter_bound", counter_bound},
    {"counter_dynamic_3_labels", counter_dynamic_3_labels},
    {"histogram_record", histogram_record},
    {"traceparent_extract", traceparent_extract},
    {"traceparent_format", traceparent_format},
    {"certainly_clean_150", certainly_clean_150},
    {"scrub_clean_150", scrub_clean_150},
    {"scrub_jwt_150", scrub_jwt_150},
    {"trace_batch_add", trace_batch},
    {"append_line", line_of_log},
};

// The clock knows its ticks only some time after its first reading and asks the kernel until then.
void warm_clock() {
  detail::recalibrate();
  const timespec pause{0, 30'000'000};
  ::nanosleep(&pause, nullptr);
  detail::recalibrate();
}

int run(std::span<char*> arguments) {
  if (arguments.size() == 2 && std::string_view(arguments[1]) == "--list") {
    for (const Path& path : kPaths) std::printf("%s\n", path.name.data());
    return 0;
  }
  if (arguments.size() == 2 && std::string_view(arguments[1]) == "--cpu") {
    std::printf("%s %s\n", __builtin_cpu_supports("avx2") && __builtin_cpu_supports("bmi2") ? "avx2" : "scalar", detail::clock_uses_tsc() ? "tsc" : "kernel");
    return 0;
  }
  if (arguments.size() == 3) {
    static NullOutlet outlet;
    install_outlet(&outlet);
    warm_clock();
    for (const Path& path : kPaths) {
      if (path.name != arguments[1]) continue;
      path.run(std::strtol(arguments[2], nullptr, 10));
      return 0;
    }
  }
  std::fputs("usage: stella_hot_paths --list | --cpu | NAME N\n", stderr);
  return 64;
}

}  // namespace
}  // namespace stella::telemetry

int main(int argc, char** argv) { return stella::telemetry::run({argv, static_cast<std::size_t>(argc)}); }
