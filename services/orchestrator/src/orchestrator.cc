// Construction and threads.
#include "stella/services/orchestrator.h"

#include "state.h"
#include "stella/platform/bus_topology.h"

namespace stella::orchestrator {

Orchestrator::Orchestrator(pg::SystemPool<pg::OrchestratorRole>& pool, bus::Connection& bus, objects::Store& store,
                           std::shared_ptr<const crypto::Signer> signer, Handlers handlers, Options options)
    : impl_(new Impl{pool, bus, store, std::move(signer), std::move(handlers), std::move(options)}) {}

Orchestrator::~Orchestrator() { stop(); }

Result<void> Orchestrator::start() {
  for (const bus::Topology& topology : {bus::jobs_topology(), bus::results_topology()}) {
    STELLA_TRY_VOID(impl_->bus.ensure_stream(topology.stream));
    for (const bus::ConsumerSpec& consumer : topology.consumers) STELLA_TRY_VOID(impl_->bus.ensure_consumer(consumer));
  }
  impl_->last_message_micros = Timestamp::now().micros();
  impl_->dispatcher = std::thread([this] { impl_->dispatch_loop(); });
  impl_->receiver = std::thread([this] { impl_->receive_loop(); });
  return {};
}

void Orchestrator::stop() {
  impl_->stopping = true;
  wake();
  if (impl_->dispatcher.joinable()) impl_->dispatcher.join();
  if (impl_->receiver.joinable()) impl_->receiver.join();
}

void Orchestrator::wake() {
  const Lock lock(impl_->mutex);
  impl_->woken = true;
  impl_->changed.notify_all();
}

}  // namespace stella::orchestrator
