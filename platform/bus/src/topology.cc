// The streams of the platform as values.
#include "stella/platform/bus_topology.h"

#include "stella/tenancy/paths.h"

namespace stella::bus {
namespace {

using std::chrono::hours;
using std::chrono::seconds;

Topology work_queue(std::string_view stream, std::string_view subjects, std::string_view consumer, std::chrono::milliseconds ack_wait) {
  Topology out;
  out.stream.name = stream;
  out.stream.subjects = {std::string(subjects)};
  out.stream.work_queue = true;
  out.stream.dedupe_window = seconds(120);
  ConsumerSpec spec;
  spec.stream = stream;
  spec.durable = consumer;
  spec.filter_subject = subjects;
  spec.ack_wait = ack_wait;
  spec.max_ack_pending = 1024;
  out.consumers.push_back(std::move(spec));
  return out;
}

Topology news(std::string_view stream, std::string_view subjects) {
  Topology out;
  out.stream.name = stream;
  out.stream.subjects = {std::string(subjects)};
  out.stream.max_age = hours(24);
  out.stream.dedupe_window = seconds(120);
  return out;
}

}  // namespace

ConnectOptions login(std::string url, std::string_view user, std::string password) {
  ConnectOptions out;
  out.url = std::move(url);
  out.user = user;
  out.password = std::move(password);
  if (user == user::kRunner) out.api_prefix = kRunnerApiPrefix;
  return out;
}

Topology jobs_topology(std::chrono::milliseconds ack_wait) {
  Topology out = work_queue(kJobsStream, subject::kJobsAll, kRunnerConsumer, ack_wait);
  out.stream.max_age = kJobAge;
  return out;
}
Topology results_topology() { return work_queue(kResultsStream, subject::kResultsAll, kOrchestratorConsumer, seconds(30)); }
Topology timeline_topology() { return news(kTimelineStream, subject::kTimelineAll); }
Topology kb_topology() { return news(kKbStream, subject::kKbAll); }
std::string probe_subject(std::string_view stream) { return "stellaprobe." + std::string(stream); }

}  // namespace stella::bus
