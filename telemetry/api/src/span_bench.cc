// G1, G2, G4: a span with eight attributes from its beginning to its OTLP bytes, on the thread that makes it. The opentelemetry-cpp figures
// of the quality document were measured on another machine and are printed without verdict.
//
// Every text is scrubbed in each of these; G1 has four texts of eight attributes, G2 eight. Programs say nearly the same texts again and
// again (kinds, states, operations); the lines "new texts" are spans of which no text was ever said before.
#include <ctime>

#include <cstdio>
#include <cstdlib>
#include <string>
#include <vector>

#include "api_bench.h"
#include "bench_report.h"
#include "stella/telemetry/clock.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/otlp.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/sampler.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry {
namespace {

constexpr std::size_t kSpans = 1000;

class Forget final : public Outlet {
 public:
  void push(std::string_view record) noexcept override { asm volatile("" : : "g"(&record) : "memory"); }
};

// Does the backend's part at once.
class Encode final : public Outlet {
 public:
  void push(std::string_view record) noexcept override { batch_.add(*RecordView::parse(record)); }
  std::size_t take() { return batch_.take(resource()).size(); }

 private:
  TraceBatch batch_;
};

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

const SbomId kSbom = *SbomId::parse("0190a5c8-1c2d-7e3f-8a4b-5c6d7e8f9012");

void mixed_span() {
  Span span("policy.evaluate", SpanKind::kInternal,
            {f::sbom_id(kSbom), f::operation("evaluate"), f::job_kind("policy.evaluate"), f::policy_version("baseline@4f2a91c07d13"), f::decision_effect("deny"), f::component_count(5356),
             f::finding_count(17), f::cached(false)});
}

void text_span() {
  Span span("policy.evaluate", SpanKind::kInternal,
            {f::operation("evaluate"), f::job_kind("policy.evaluate"), f::policy_version("baseline@4f2a91c07d13"), f::decision_effect("deny"), f::format("cyclonedx"), f::ecosystem("npm"),
             f::state("running"), f::purl("pkg:npm/lodash@4.17.21")});
}

// Texts of which each is said once.
class NewTexts {
 public:
  NewTexts() {
    for (std::size_t i = 0; i < kRounds * kSpans * 8; ++i) texts_.push_back("part " + std::to_string(i) + " of the work");
  }
  static constexpr int kRounds = 30;
  void span() {
    if (next_ + 8 > texts_.size()) std::abort();
    const std::string* t = &texts_[next_];
    next_ += 8;
    Span span("policy.evaluate", SpanKind::kInternal,
              {f::operation(t[0]), f::job_kind(t[1]), f::policy_version(t[2]), f::decision_effect(t[3]), f::format(t[4]), f::ecosystem(t[5]), f::state(t[6]), f::purl(t[7])});
  }

 private:
  std::vector<std::string> texts_;
  std::size_t next_ = 0;
};

template <class F>
void repeat(F&& span) {
  for (std::size_t i = 0; i < kSpans; ++i) span();
}

struct Cost {
  double record, whole;  // ns up to the record, and up to the OTLP bytes
};
template <class F>
Cost cost(int rounds, F&& span) {
  const ContextScope scope(request());
  static Forget forget;
  static Encode encode;
  Cost out{};
  install_outlet(&forget);
  out.record = bench::best_ns(rounds, kSpans, [&] { repeat(span); });
  install_outlet(&encode);
  out.whole = bench::best_ns(rounds, kSpans, [&] {
    repeat(span);
    if (encode.take() == 0) std::abort();
  });
  install_outlet(nullptr);
  return out;
}

// CPU ns of a span that the head did not choose.
double unsampled(bool kept, Outlet& outlet) {
  set_tail_keep(kept);
  const ContextScope scope(request(0));
  install_outlet(&outlet);
  const double ns = bench::best_ns(200, kSpans, [] { repeat(mixed_span); });
  install_outlet(nullptr);
  set_tail_keep(true);
  return ns;
}

void line(const char* what, const Cost& cost, double peer, double must, double stretch) {
  std::printf("%-4s span of eight attributes to OTLP bytes%s: %.0f ns, of them up to the record %.0f; oc %.0f ns (other machine): 1/%.1f (must 1/%.0f, stretch 1/%.0f)\n", what[1] == '1' ? "G1" : "G2", what + 2, cost.whole,
              cost.record, peer, peer / cost.whole, must, stretch);
}

}  // namespace

void report_spans() {
  detail::recalibrate();
  const timespec pause{0, 30'000'000};
  ::nanosleep(&pause, nullptr);  // the clock knows its ticks only some time after its first reading
  detail::recalibrate();
  const Cost mixed = cost(300, mixed_span);
  line("G1", mixed, 880, 6, 8);
  line("G2, all of them texts", cost(300, text_span), 880, 4, 6);
  NewTexts texts;
  line("G2, all of them new texts", cost(NewTexts::kRounds / 2, [&] { texts.span(); }), 880, 4, 6);
  Forget forget;
  const double off = unsampled(false, forget), kept = unsampled(true, forget);
  std::printf("G4   span of an unsampled trace, eight attributes, tail keep off: %.1f ns; oc 72-92 ns (other machine): 1/%.1f (must 1/8, stretch 1/16)\n", off, 82 / off);
  std::printf("G4   recorded for tail keep: %.0f ns up to the record, sampled %.0f: %.2fx (must 1.1)\n", kept, mixed.record, kept / mixed.record);
}

}  // namespace stella::telemetry
