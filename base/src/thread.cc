// The loop of Rounds.
#include "stella/base/thread.h"

namespace stella {

void Rounds::start(ThreadName name, std::function<std::chrono::milliseconds()> round) {
  thread_ = start_thread(name, [this, round = std::move(round)] {
    while (!stopping_) {
      const Deadline deadline = Deadline::after(round());
      const Lock lock(mutex_);
      while (!woken_ && !stopping_ && changed_.wait_until(mutex_, deadline)) {
      }
      woken_ = false;
    }
  });
}

void Rounds::stop() {
  stopping_ = true;
  {
    const Lock lock(mutex_);
    changed_.notify_all();
  }
  if (thread_.joinable()) thread_.join();
}

void Rounds::wake() {
  const Lock lock(mutex_);
  woken_ = true;
  changed_.notify_all();
}

}  // namespace stella
