// Supervisor: one thread spawns, reaps and restarts; callers hand it wishes and wait. All spawning happens in that thread because the
// parent-death signal follows the thread, not the process.
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <list>
#include <thread>

#include "stella/base/sync.h"
#include "stella/base/thread.h"
#include "stella/contracts/errors.h"
#include "stella/platform/process.h"

namespace stella::process {
namespace {

using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr milliseconds kFirstDelay{100};
constexpr milliseconds kLastDelay{5000};
constexpr milliseconds kStable{10000};  // who ran this long starts again with the first delay
constexpr milliseconds kReadyPoll{20};
constexpr std::size_t kLogTail = 2048;

struct Entry {
  explicit Entry(Service s) : service(std::move(s)) {}
  Service service;
  std::optional<Child> child;
  Fd handle;                      // pidfd: readable when it ended
  std::optional<Error> failure;   // it could not be spawned
  std::optional<int> ended;       // status of an end that nobody has answered yet
  bool want_spawn = true;
  bool starting = true;           // not ready yet: no restarts
  bool stopping = false;
  bool removed = false;
  int restarts = 0;
  milliseconds delay = kFirstDelay;
  Clock::time_point started;
  std::optional<Clock::time_point> restart_at;
  off_t log_start = 0;
};
using EntryPtr = std::shared_ptr<Entry>;

const std::string& log_path(const Service& service) {
  return service.options.stderr_path.empty() ? service.options.stdout_path : service.options.stderr_path;
}

off_t file_size(const std::string& path) {
  struct stat info {};
  return !path.empty() && ::stat(path.c_str(), &info) == 0 ? info.st_size : 0;
}

// What the child has written since `from`, at most the last kLogTail bytes.
std::string log_tail(const std::string& path, off_t from) {
  const Fd fd(path.empty() ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) return "";
  from = std::max(from, file_size(path) - static_cast<off_t>(kLogTail));
  std::string text(kLogTail, '\0');
  const auto n = ::pread(fd.get(), text.data(), text.size(), from);
  text.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
  return text;
}

}  // namespace

struct Supervisor::Impl {
  Impl() : wake(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)), thread(start_thread("supervisor", [this] { run(); })) {}
  ~Impl() {
    stop_all();
    {
      Lock lock(mutex);
      quit = true;
    }
    poke();
    thread.join();
  }

  void poke() {
    const std::uint64_t one = 1;
    [[maybe_unused]] const auto n = ::write(wake.get(), &one, sizeof one);
  }

  EntryPtr find(const std::string& name) STELLA_REQUIRES(mutex) {
    for (const auto& entry : entries) {
      if (entry->service.name == name) return entry;
    }
    return nullptr;
  }

  Result<void> start(Service service);
  Error failed(const EntryPtr& entry, std::string cause);
  void stop(const EntryPtr& entry);
  void stop_all(const std::function<void(const std::string&, int)>& stopped = {});
  void run();
  void tend(Entry& entry, std::vector<std::function<void()>>& calls) STELLA_REQUIRES(mutex);
  void spawn(Entry& entry) STELLA_REQUIRES(mutex);

  mutable Mutex mutex;
  CondVar changed;
  std::list<EntryPtr> entries STELLA_GUARDED_BY(mutex);  // oldest first, but for those that outlive one
  bool quit STELLA_GUARDED_BY(mutex) = false;
  Fd wake;
  std::thread thread;
};

void Supervisor::Impl::spawn(Entry& entry) {
  entry.want_spawn = false;
  entry.restart_at.reset();
  entry.log_start = file_size(log_path(entry.service));
  auto child = Child::spawn(entry.service.options);
  if (!child) {
    entry.failure = std::move(child.error());
    if (!entry.starting) entry.restart_at = Clock::now() + kLastDelay;
    return;
  }
  entry.started = Clock::now();
  entry.child = std::move(*child);
  entry.handle = Fd(static_cast<int>(::syscall(SYS_pidfd_open, entry.child->pid(), 0)));
}

// One look at one service. `calls` are made after the lock is gone.
void Supervisor::Impl::tend(Entry& entry, std::vector<std::function<void()>>& calls) {
  const auto now = Clock::now();
  if (entry.child) {
    if (const auto status = entry.child->try_wait()) {
      entry.child.reset();
      entry.handle.reset();
      entry.ended = *status;
    }
  }
  // While it starts, the end is start()'s to answer.
  if (entry.ended && !entry.stopping && !entry.starting) {
    const int status = *entry.ended;
    entry.ended.reset();
    if (now - entry.started >= kStable) entry.delay = kFirstDelay;
    entry.restart_at = now + entry.delay;
    entry.delay = std::min(entry.delay * 2, kLastDelay);
    ++entry.restarts;
    if (entry.service.on_exit) calls.push_back([call = entry.service.on_exit, status] { call(status); });
  }
  if (!entry.stopping && (entry.want_spawn || (entry.restart_at && *entry.restart_at <= now))) spawn(entry);
}

void Supervisor::Impl::run() {
  for (;;) {
    std::vector<std::function<void()>> calls;
    std::vector<struct pollfd> waits{{wake.get(), POLLIN, 0}};
    auto next = Clock::now() + milliseconds(60'000);
    {
      Lock lock(mutex);
      if (quit && entries.empty()) return;
      for (const auto& entry : entries) {
        tend(*entry, calls);
        if (entry->child && entry->handle) waits.push_back({entry->handle.get(), POLLIN, 0});
        if (entry->child && !entry->handle) next = std::min(next, Clock::now() + milliseconds(50));
        if (entry->restart_at) next = std::min(next, *entry->restart_at);
      }
      changed.notify_all();
    }
    for (const auto& call : calls) call();
    const auto left = std::chrono::duration_cast<milliseconds>(next - Clock::now()).count();
    ::poll(waits.data(), waits.size(), static_cast<int>(std::max<std::int64_t>(left + 1, 0)));
    std::uint64_t count = 0;
    [[maybe_unused]] const auto n = ::read(wake.get(), &count, sizeof count);
  }
}

Error Supervisor::Impl::failed(const EntryPtr& entry, std::string cause) {
  stop(entry);
  auto error = Error(contracts::errors::kUnavailable, "a service did not start").with("part", entry->service.name).with("cause", std::move(cause));
  if (auto tail = log_tail(log_path(entry->service), entry->log_start); !tail.empty()) error.add("log", std::move(tail));
  return error;
}

Result<void> Supervisor::Impl::start(Service service) {
  const auto deadline = Deadline::after(service.ready_timeout);
  auto entry = std::make_shared<Entry>(std::move(service));
  {
    Lock lock(mutex);
    if (find(entry->service.name)) {
      return Error(contracts::errors::kConflict, "a service of this name runs already").with("part", entry->service.name);
    }
    const EntryPtr first = find(entry->service.outlives);
    entries.insert(first ? std::find(entries.begin(), entries.end(), first) : entries.end(), entry);
  }
  poke();
  for (;;) {
    std::string cause;
    bool running = false;
    {
      Lock lock(mutex);
      // Woken by the thread when something ended; otherwise the time between two looks at ready().
      if (!entry->failure && !entry->ended && (!entry->child || entry->service.ready)) changed.wait_until(mutex, Deadline::after(kReadyPoll));
      if (entry->failure) cause = entry->failure->describe();
      if (entry->ended) cause = "it ended with status " + std::to_string(*entry->ended);
      if (entry->stopping) cause = "it was stopped";
      running = entry->child.has_value();
    }
    if (!cause.empty()) return failed(entry, std::move(cause));
    if (running && (!entry->service.ready || entry->service.ready())) break;
    if (deadline.passed()) return failed(entry, "it was not ready in time");
    if (entry->service.give_up && entry->service.give_up()) return failed(entry, "a stop was asked for");
  }
  {
    Lock lock(mutex);
    entry->starting = false;
  }
  poke();  // ready, and then dead before anybody looked: an ordinary restart, which the thread makes
  return {};
}

void Supervisor::Impl::stop(const EntryPtr& entry) {
  const auto deadline = Deadline::after(entry->service.stop_timeout);
  Lock lock(mutex);
  if (entry->removed) return;
  entry->stopping = true;
  if (entry->child) entry->child->signal(entry->service.stop_signal);
  while (entry->child && !deadline.passed()) changed.wait_until(mutex, deadline);
  if (entry->child) entry->child->signal(SIGKILL);
  while (entry->child) changed.wait_until(mutex, Deadline::after(milliseconds(1000)));
  entry->removed = true;
  entries.remove(entry);
  changed.notify_all();
}

void Supervisor::Impl::stop_all(const std::function<void(const std::string&, int)>& stopped) {
  for (;;) {
    EntryPtr newest;
    {
      Lock lock(mutex);
      for (const auto& entry : entries) entry->stopping = true;  // nothing comes back while its dependencies go
      if (entries.empty()) return;
      newest = entries.back();
    }
    stop(newest);
    int status = 0;
    {
      Lock lock(mutex);
      status = newest->ended.value_or(0);  // nothing: it did not run when it was to be stopped
    }
    if (stopped) stopped(newest->service.name, status);
  }
}

Supervisor::Supervisor() : impl_(std::make_unique<Impl>()) {}
Supervisor::~Supervisor() = default;

Result<void> Supervisor::start(Service service) { return impl_->start(std::move(service)); }

Result<void> Supervisor::stop(const std::string& name) {
  EntryPtr entry;
  {
    Lock lock(impl_->mutex);
    entry = impl_->find(name);
  }
  if (!entry) return Error(base_errors::kNotFound, "no such service").with("part", name);
  impl_->stop(entry);
  return {};
}

void Supervisor::stop_all(const std::function<void(const std::string&, int)>& stopped) { impl_->stop_all(stopped); }

std::vector<Supervisor::Status> Supervisor::status() const {
  std::vector<Status> out;
  Lock lock(impl_->mutex);
  for (const auto& entry : impl_->entries) {
    out.push_back({entry->service.name, entry->child ? entry->child->pid() : 0, entry->restarts});
  }
  return out;
}

}  // namespace stella::process
