// The orchestrator: jobs rows → bus → runner → results → state. Rows remember, the bus only tells (architecture.md §2).
//
//   queued ──dispatch──► queued (dispatched until lease_until) ──started──► running ──result──► finished | failed
//     ▲                        │ nobody started it and its message is gone: the next attempt       │ errored, lease lost
//     └────────────────────────┴──────────────────── backoff ◄─────────────────────────────────────┘ → dead after max attempts
//
// `attempt` is the fencing token: what an older attempt says is dropped.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <string>

#include "stella/crypto/keys.h"
#include "stella/platform/bus.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"
#include "stella/services/jobs.h"

namespace stella::orchestrator {

struct Options {
  std::string jobs_dir;                              // one directory per attempt; readable by the runner's group
  std::chrono::milliseconds lease{30'000};           // a runner that is silent for so long has lost its job
  std::chrono::milliseconds dispatch_timeout{30'000};// a job that no runner began for so long is sent again where its message is gone
  int in_flight = 32;                                // dispatched and running jobs at once: the queue waits in rows, not on the bus
  std::chrono::milliseconds poll{250};               // backstop for lost wake-ups
  std::string environment_key;                       // values of a job's environment are recorded as HMACs: short ones could be guessed from hashes
  std::chrono::milliseconds retry_base{500};         // backoff: base * 2^failures with jitter, at most retry_max
  std::chrono::milliseconds retry_max{60'000};
  int per_tenant = 16;                               // of in_flight, for one tenant: nobody starves the others
  std::chrono::milliseconds sweep{60'000};           // between looks at directories of attempts that are over
};

using Handlers = std::map<std::string, std::shared_ptr<jobs::KindHandler>, std::less<>>;

class Orchestrator {
 public:
  Orchestrator(pg::SystemPool<pg::OrchestratorRole>& pool, bus::Connection& bus, objects::Store& store,
               std::shared_ptr<const crypto::Signer> signer, Handlers handlers, Options options);
  ~Orchestrator();
  // Starts the dispatch and result threads.
  Result<void> start();
  // Ends them after what they are doing; what was fetched and not acknowledged comes again.
  void stop();
  // New work may be there. Any thread; never blocks.
  void wake();
  // Signs attestations with this key from the next one on. Thread-safe.
  void use(std::shared_ptr<const crypto::Signer> signer);

  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

}  // namespace stella::orchestrator
