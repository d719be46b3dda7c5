// A fixed number of threads and a bounded queue in front of them: where blocking handlers run.
#pragma once

#include <cstddef>
#include <deque>
#include <functional>
#include <thread>
#include <vector>

#include "stella/base/sync.h"

namespace stella::http {

// Thread-safe. Jobs must not throw.
class WorkerPool {
 public:
  WorkerPool(int workers, std::size_t queue);
  ~WorkerPool();  // stop()
  // False, and the job is not kept, where `queue` jobs wait already or the pool stops.
  bool try_push(std::function<void()> job);
  // The same for a job that was let in before: it does not count again. False where the pool stops.
  bool push(std::function<void()> job);
  std::size_t queued() const;
  // Drops what waits, ends what runs, joins.
  void stop();

 private:
  void run();

  const std::size_t capacity_;
  mutable Mutex mutex_;
  CondVar work_;
  std::deque<std::function<void()>> queue_ STELLA_GUARDED_BY(mutex_);
  std::size_t idle_ STELLA_GUARDED_BY(mutex_) = 0;
  bool stopping_ STELLA_GUARDED_BY(mutex_) = false;
  std::vector<std::thread> threads_;
};

}  // namespace stella::http
