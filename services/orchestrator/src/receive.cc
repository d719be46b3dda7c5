// From the bus: the runners' messages, each to what handles it. `started` and `heartbeat` are short and are handled as they come; results wait
// for a thread of their own, since nobody else's lease may end meanwhile.
#include <algorithm>

#include "state.h"
#include "stella/base/encoding.h"
#include "stella/platform/bus_topology.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/sparing.h"
#include "stella/tenancy/paths.h"

namespace stella::orchestrator {
namespace {

using std::chrono::milliseconds;
using std::chrono::seconds;

constexpr telemetry::Logger kLog{"orchestrator"};
constexpr int kFetch = 16;
constexpr auto kSparing = seconds(10);           // between two lines about what a runner may send without end
constexpr std::size_t kWaitingResults = 64;
constexpr std::uint64_t kDeliveries = 50;         // then a message that fails again and again is given up: the lease brings the next attempt
constexpr auto kHoldEvery = milliseconds(5000);   // well within the results' ack_wait

std::int64_t steady_micros() { return std::chrono::duration_cast<std::chrono::microseconds>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

}  // namespace

void Orchestrator::Impl::unsure() { unsure_until = steady_micros() + std::chrono::duration_cast<std::chrono::microseconds>(options.lease).count(); }

double Orchestrator::Impl::silence_s() const {
  constexpr double kForever = 1e9;
  const std::int64_t now = steady_micros();
  const std::int64_t read = read_up_to;
  if (read == 0 || now < unsure_until) return kForever;
  return static_cast<double>(now - read) / 1e6;
}

void Orchestrator::Impl::receive_loop() {
  std::unique_ptr<bus::PullConsumer> consumer;
  std::int64_t quiet_since = Timestamp::now().micros();
  while (!stopping) {
    if (!consumer) {
      auto bound = bus::PullConsumer::bind(bus, std::string(bus::kResultsStream), std::string(bus::kOrchestratorConsumer));
      if (!bound) {
        unsure();
        kLog.warn("cannot bind to the results", {f::error(bound.error())});
        Lock lock(mutex);
        changed.wait_until(mutex, Deadline::after(seconds(1)));
        continue;
      }
      consumer = std::move(*bound);
    }
    const std::int64_t asked = steady_micros();
    auto fetched = consumer->fetch(kFetch, std::min(milliseconds(500), options.lease / 3));
    // Runners were cut off as we were, and come back in their own time.
    if (!fetched || !bus.connected()) unsure();
    hold_results();
    const std::int64_t now = Timestamp::now().micros();
    if (fetched && !fetched->empty()) {
      quiet_since = now;
      last_message_micros = now;
      bool all = true;
      for (bus::Delivery& delivery : *fetched) all = receive(delivery) && all;
      if (!all) unsure();
    } else if (now - quiet_since > 10'000'000) {
      // A store that was deleted looks like silence: bind again.
      quiet_since = now;
      if (auto again = consumer->rebind(); !again) consumer.reset();
    }
    if (fetched && fetched->size() < kFetch) read_up_to = asked;
  }
}

// Acknowledged where it was handled or would never be; else it comes again, later each time.
bool Orchestrator::Impl::answer(bus::Delivery& delivery, const Result<void>& handled) {
  const std::uint64_t deliveries = delivery.message().deliveries;
  if (handled || !passing(handled.error()) || (deliveries > kDeliveries && !away(handled.error()))) {
    static telemetry::Sparing told{kSparing};
    if (!handled)
      if (const std::int64_t times = told.due(); times > 0) kLog.error("a runner's message could not be handled and is given up", {f::error(handled.error()), f::count(times)});
    (void)delivery.ack().has_value();
    return true;
  }
  kLog.warn("a runner's message could not be handled, it will come again", {f::error(handled.error())});
  (void)delivery.nak(std::min<milliseconds>(seconds(std::clamp<std::uint64_t>(deliveries, 1, 10)), std::max(options.lease / 3, milliseconds(100)))).has_value();
  return false;
}

bool Orchestrator::Impl::is_ending(const Report& report) {
  const Lock lock(results_mutex);
  return std::any_of(results.begin(), results.end(), [&](const Ended& e) { return e.report.job_id == report.job_id && e.report.attempt == report.attempt && e.report.tenant == report.tenant; });
}

bool Orchestrator::Impl::receive(bus::Delivery& delivery) {
  const std::string_view subject = delivery.message().subject;
  const std::size_t dot = subject.find('.');
  const std::string_view what = subject.substr(dot + 1, subject.find('.', dot + 1) - dot - 1);
  auto report = parse_report(delivery.message().payload);
  if (!report) {
    static telemetry::Sparing told{kSparing};
    if (const std::int64_t times = told.due(); times > 0) kLog.error("a runner sent nonsense", {f::error(report.error()), f::count(times)});
    return answer(delivery, {});  // it would not get better
  }
  if (report->tenant.str() != subject.substr(subject.rfind('.') + 1)) return answer(delivery, {});
  const bool ending = is_ending(*report);
  kLog.debug("a runner told", {f::operation(what), f::runner_id(report->runner_id), f::attempt(report->attempt), f::state(report->status), f::detail(report->job_id.str())});
  if (what == "started" && !ending) return answer(delivery, on_started(*report));
  if (what == "heartbeat" && !ending) return answer(delivery, on_heartbeat(*report));
  if (what != "result") return answer(delivery, {});
  if (ending) return true;  // the same again: whatever becomes of the first answers both
  if (auto held = hold(*report); !held) return answer(delivery, held);
  const Lock lock(results_mutex);
  if (results.size() >= kWaitingResults) {
    (void)delivery.nak(seconds(1)).has_value();
    return false;
  }
  results.push_back({std::move(delivery), std::move(*report)});
  results_changed.notify_all();
  return true;
}

void Orchestrator::Impl::hold_results() {
  if (!next_hold.passed()) return;
  next_hold = Deadline::after(std::min<milliseconds>(kHoldEvery, options.lease / 3));
  std::vector<Report> waiting;
  {
    const Lock lock(results_mutex);
    for (Ended& ended : results) {
      (void)ended.delivery.in_progress().has_value();
      Report key;
      key.tenant = ended.report.tenant;
      key.job_id = ended.report.job_id;
      key.attempt = ended.report.attempt;
      waiting.push_back(std::move(key));
    }
  }
  for (const Report& report : waiting)
    if (auto held = hold(report); !held) return;  // the database is away; so is whoever would take the job from us
}

void Orchestrator::Impl::finish_loop() {
  for (;;) {
    const Ended* next = nullptr;
    {
      const Lock lock(results_mutex);
      while (!stopping && results.empty()) results_changed.wait_until(results_mutex, Deadline::after(seconds(1)));
      if (stopping) return;  // what was not handled comes again
      next = &results.front();  // stays where it is: only this thread removes
    }
    const auto handled = on_result(next->report);
    const Lock lock(results_mutex);
    (void)answer(results.front().delivery, handled);
    results.pop_front();
  }
}

}  // namespace stella::orchestrator
