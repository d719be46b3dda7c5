// Construction and threads.
#include "stella/services/orchestrator.h"

#include "state.h"
#include "stella/base/thread.h"
#include "stella/platform/bus_topology.h"

namespace stella::orchestrator {

Orchestrator::Orchestrator(pg::SystemPool<pg::OrchestratorRole>& pool, bus::Connection& bus, objects::Store& store,
                           std::shared_ptr<const crypto::Signer> signer, Handlers handlers, Options options)
    : impl_(new Impl{pool, bus, store, std::move(signer), std::move(handlers), std::move(options)}) {}

void Orchestrator::use(std::shared_ptr<const crypto::Signer> signer) { impl_->signer = std::move(signer); }

Orchestrator::~Orchestrator() { stop(); }

namespace {

Result<void> ensure(bus::Connection& bus, const bus::Topology& topology) {
  STELLA_TRY_VOID(bus.ensure_stream(topology.stream));
  for (const bus::ConsumerSpec& consumer : topology.consumers) STELLA_TRY_VOID(bus.ensure_consumer(consumer));
  return {};
}

}  // namespace

Result<void> Orchestrator::start() {
  bool rebuilt = false;
  for (const bus::Topology& topology : {bus::jobs_topology(), bus::results_topology()}) {
    auto ensured = ensure(impl_->bus, topology);
    if (ensured) continue;
    if (ensured.error().field("reason") != "refused") return std::move(ensured.error());
    // A store that was deleted under a running server still names its streams and refuses the rest: made again from nothing, rows remember.
    STELLA_TRY_VOID(impl_->bus.rebuild(topology.stream, topology.consumers));
    rebuilt = true;
  }
  if (rebuilt) impl_->tell_again();
  impl_->last_message_micros = Timestamp::now().micros();
  impl_->unsure();  // what was told while nobody listened is read first
  impl_->dispatcher = start_thread("dispatcher", [this] { impl_->dispatch_loop(); });
  impl_->receiver = start_thread("job-results", [this] { impl_->receive_loop(); });
  impl_->finisher = start_thread("job-ends", [this] { impl_->finish_loop(); });
  return {};
}

void Orchestrator::stop() {
  impl_->stopping = true;
  wake();
  if (impl_->dispatcher.joinable()) impl_->dispatcher.join();
  if (impl_->receiver.joinable()) impl_->receiver.join();
  {
    const Lock lock(impl_->results_mutex);
    impl_->results_changed.notify_all();
  }
  if (impl_->finisher.joinable()) impl_->finisher.join();
}

void Orchestrator::wake() {
  const Lock lock(impl_->mutex);
  impl_->woken = true;
  impl_->changed.notify_all();
}

}  // namespace stella::orchestrator
