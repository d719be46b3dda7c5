// Streams, their owners and their consumers: the one place that knows which exist. Only a stream's owner creates or rebuilds it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "stella/platform/bus.h"

namespace stella::bus {

// The users of the server's roles and of the runner. Names are also the stems of password files (`<secrets>/nats/<user>`).
namespace user {
inline constexpr std::string_view kOrchestrator = "orchestrator";
inline constexpr std::string_view kIndexer = "indexer";
inline constexpr std::string_view kWeb = "web";
inline constexpr std::string_view kLocker = "locker";
inline constexpr std::string_view kRunner = "runner";
inline constexpr std::string_view kAll[] = {kOrchestrator, kIndexer, kWeb, kLocker, kRunner};
}  // namespace user

inline constexpr std::string_view kJobsStream = "STELLA_JOBS";
inline constexpr std::string_view kResultsStream = "STELLA_RESULTS";
inline constexpr std::string_view kTimelineStream = "STELLA_TIMELINE";
inline constexpr std::string_view kKbStream = "STELLA_KB";
// Durable consumers: runners share one on the jobs, orchestrators one on the results.
inline constexpr std::string_view kRunnerConsumer = "runner";
inline constexpr std::string_view kOrchestratorConsumer = "orchestrator";

// The runner lives in an account of its own, where JetStream's API has this prefix.
inline constexpr std::string_view kRunnerApiPrefix = "stellajs";

// How `user` connects; sets what that user needs beyond its password.
ConnectOptions login(std::string url, std::string_view user, std::string password);

struct Topology {
  StreamSpec stream;
  std::vector<ConsumerSpec> consumers;
};

// How long a job's message waits for a runner before it is dropped; its row brings the next.
inline constexpr std::chrono::minutes kJobAge{10};
// Owner orchestrator; subjects stellajobs.>, a work queue: a message is gone once it was acknowledged, or after kJobAge.
// `ack_wait`: a job taken from the queue and not acknowledged for so long is delivered again.
Topology jobs_topology(std::chrono::milliseconds ack_wait = std::chrono::seconds(30));
// Owner orchestrator; subjects stellaresults.>, a work queue.
Topology results_topology();
// Owner indexer; subjects stella.*.timeline.*, kept for a day: subscribers that were away longer ask the log.
Topology timeline_topology();
// Owner indexer; subjects stella.global.kb.*, kept for a day.
Topology kb_topology();

// `stellaprobe.<stream>`: ensure_stream() gives it to every stream, no consumer of ours listens to it.
std::string probe_subject(std::string_view stream);

}  // namespace stella::bus
