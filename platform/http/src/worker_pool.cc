// The worker loop.
#include "worker_pool.h"

#include "stella/base/thread.h"
#include "stella/telemetry/metrics.h"

namespace stella::http {
namespace {

const telemetry::BoundGauge& waiting() {
  static const auto gauge = telemetry::Gauge{contracts::metrics::kHttpQueueDepth}.bind();
  return gauge;
}

}  // namespace

WorkerPool::WorkerPool(int workers, std::size_t queue) : capacity_(queue) {
  for (int i = 0; i < (workers < 1 ? 1 : workers); ++i) {
    threads_.push_back(start_thread("http-worker", [this] { run(); }));
  }
}

WorkerPool::~WorkerPool() { stop(); }

bool WorkerPool::try_push(std::function<void()> job) {
  {
    Lock lock(mutex_);
    // A job for which a worker is free does not wait, so it does not count as queued.
    if (stopping_ || queue_.size() >= capacity_ + idle_) return false;
    queue_.push_back(std::move(job));
    waiting().add(1);
  }
  work_.notify_one();
  return true;
}

bool WorkerPool::push(std::function<void()> job) {
  {
    Lock lock(mutex_);
    if (stopping_) return false;
    queue_.push_back(std::move(job));
    waiting().add(1);
  }
  work_.notify_one();
  return true;
}

std::size_t WorkerPool::queued() const {
  Lock lock(mutex_);
  return queue_.size();
}

void WorkerPool::run() {
  for (;;) {
    std::function<void()> job;
    {
      Lock lock(mutex_);
      ++idle_;
      while (queue_.empty() && !stopping_) work_.wait_until(mutex_, Deadline::after(std::chrono::hours(1)));
      --idle_;
      if (stopping_) return;
      job = std::move(queue_.front());
      queue_.pop_front();
      waiting().add(-1);
    }
    job();
  }
}

void WorkerPool::stop() {
  std::deque<std::function<void()>> dropped;
  {
    Lock lock(mutex_);
    stopping_ = true;
    dropped.swap(queue_);
    waiting().add(-static_cast<double>(dropped.size()));
  }
  work_.notify_all();
  for (auto& thread : threads_) thread.join();
  threads_.clear();
}

}  // namespace stella::http
