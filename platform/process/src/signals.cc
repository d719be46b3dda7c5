// SIGTERM and SIGINT: a handler that writes to an eventfd, so that any number of threads can wait for it.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>

#include "stella/platform/process.h"

namespace stella::process {
namespace {

std::atomic<bool> requested{false};
std::atomic<int> wake_fd{-1};
static_assert(std::atomic<bool>::is_always_lock_free && std::atomic<int>::is_always_lock_free);

void on_signal(int) {
  const int saved = errno;
  requested = true;
  const std::uint64_t one = 1;
  // Never read again: it stays readable, so that every waiter sees it.
  [[maybe_unused]] const auto written = ::write(wake_fd, &one, sizeof one);
  errno = saved;
}

}  // namespace

void install_stop_signals() {
  if (wake_fd >= 0) return;
  wake_fd = ::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGTERM, &action, nullptr);
  ::sigaction(SIGINT, &action, nullptr);
  action.sa_handler = SIG_IGN;  // a peer that is gone is an error of that write, not the end of the program
  ::sigaction(SIGPIPE, &action, nullptr);
}

void stop_on_hangup() {
  struct sigaction action {};
  if (::sigaction(SIGHUP, nullptr, &action) != 0 || action.sa_handler == SIG_IGN) return;
  action = {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  ::sigemptyset(&action.sa_mask);
  ::sigaction(SIGHUP, &action, nullptr);
}

bool stop_requested() { return requested; }

bool wait_for_stop(Deadline deadline) {
  while (!requested && !deadline.passed()) {
    struct pollfd entry {wake_fd, POLLIN, 0};
    const auto left = static_cast<int>(std::min<std::int64_t>(deadline.left().count() + 1, 60'000));
    ::poll(&entry, 1, left);
  }
  return requested;
}

}  // namespace stella::process
