// Child: clone without copying memory, set the child up with system calls alone, execve; and waiting for it.
//
// Why not fork: between fork and exec a threaded program may only use async-signal-safe functions, and forking copies page tables. Why not
// posix_spawn: it can set neither users, nor the parent-death signal, nor close what it does not know. So: the child shares our memory,
// runs on its own stack while this thread is suspended (CLONE_VFORK) with all signals blocked, and touches nothing but what the parent
// prepared. It reports a failure through shared memory, which is why it must never return or call anything that takes a lock.
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <pwd.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstring>

#include "stella/platform/process.h"

namespace stella::process {
namespace {

constexpr std::size_t kStackBytes = 64 << 10;

// Everything the child needs, in memory that does not move.
struct Plan {
  const char* program = nullptr;
  char* const* argv = nullptr;
  char* const* envp = nullptr;
  const char* directory = nullptr;
  const User* user = nullptr;
  int stdout_fd = -1;
  int stderr_fd = -1;
  std::pair<int, int>* fds = nullptr;
  std::size_t fd_count = 0;
  int first_free = 3;  // above every target number
  bool die_with_parent = false;
  bool new_session = false;
  int parent_pid = 0;
  // written by the child
  int failed_errno = 0;
  const char* failed_step = nullptr;
};

// Direct system calls: glibc's setuid and friends signal all threads of the process, and the child shares its thread list.
long raw(long number, long a = 0, long b = 0, long c = 0, long d = 0) { return ::syscall(number, a, b, c, d); }

[[noreturn]] void fail(Plan& plan, const char* step) {
  plan.failed_errno = errno;
  plan.failed_step = step;
  ::_exit(127);
}

// The same goes for sigaction: ThreadSanitizer's keeps every handler in memory, so the child would take the parent's handlers away.
void reset_signals() {
  constexpr std::size_t kKernelMaskBytes = (_NSIG - 1) / 8;
  alignas(8) constexpr unsigned char kDefault[64] = {};  // the kernel's structure, which differs by architecture: SIG_DFL and no flags are zeros
  for (int number = 1; number < NSIG; ++number) raw(SYS_rt_sigaction, number, reinterpret_cast<long>(kDefault), 0, kKernelMaskBytes);
  sigset_t none;
  ::sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

void place_descriptors(Plan& plan) {
  // First everything out of the way, so that no source is overwritten by another's target; then into place.
  for (std::size_t i = 0; i < plan.fd_count; ++i) {
    plan.fds[i].first = ::fcntl(plan.fds[i].first, F_DUPFD, plan.first_free);
    if (plan.fds[i].first < 0) fail(plan, "descriptors");
  }
  if (plan.stdout_fd >= 0 && ::dup2(plan.stdout_fd, 1) < 0) fail(plan, "stdout");
  if (plan.stderr_fd >= 0 && ::dup2(plan.stderr_fd, 2) < 0) fail(plan, "stderr");
  int next = 3;  // fds are sorted by target: what lies between them is closed
  for (std::size_t i = 0; i < plan.fd_count; ++i) {
    const int target = plan.fds[i].second;
    if (::dup2(plan.fds[i].first, target) < 0) fail(plan, "descriptors");
    if (target < 3) continue;
    if (target > next) raw(SYS_close_range, next, target - 1, 0);
    next = target + 1;
  }
  if (raw(SYS_close_range, next, UINT_MAX, 0) != 0) fail(plan, "close_range");
}

void become_user(Plan& plan) {
  if (plan.user == nullptr) return;
  const gid_t gid = plan.user->gid;
  if (raw(SYS_setgroups, 1, reinterpret_cast<long>(&gid)) != 0) fail(plan, "setgroups");
  if (raw(SYS_setresgid, gid, gid, gid) != 0) fail(plan, "setgid");
  const uid_t uid = plan.user->uid;
  if (raw(SYS_setresuid, uid, uid, uid) != 0) fail(plan, "setuid");
}

int child_main(void* argument) {
  Plan& plan = *static_cast<Plan*>(argument);
  if (plan.new_session && ::setsid() < 0) fail(plan, "setsid");
  place_descriptors(plan);
  become_user(plan);  // clears the parent-death signal, so that comes after it
  if (plan.die_with_parent) {
    if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail(plan, "parent-death signal");
    if (::getppid() != plan.parent_pid) fail(plan, "parent-death signal");  // it died in the meantime
  }
  if (::chdir(plan.directory) != 0) fail(plan, "directory");
  reset_signals();
  ::execve(plan.program, plan.argv, plan.envp);
  fail(plan, "program");
}

Result<Fd> open_log(const std::string& path) {
  if (path.empty()) return Fd();
  // Also to be read: a process looks what an earlier one, that was killed, had written here already, and may not open it by its name.
  Fd fd(::open(path.c_str(), O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0640));
  if (!fd) return io_error("cannot open the log of the child", path);
  return fd;
}

Error spawn_error(const Plan& plan, int error_number) {
  return Error(base_errors::kIo, "cannot start the program")
      .with("program", plan.program)
      .with("step", plan.failed_step != nullptr ? plan.failed_step : "clone")
      .with("errno", ::strerror(error_number));
}

std::vector<char*> pointers(std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (auto& text : texts) out.push_back(text.data());
  out.push_back(nullptr);
  return out;
}

int run_plan(Plan& plan) {
  char* stack = static_cast<char*>(
      ::mmap(nullptr, kStackBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0));
  if (stack == MAP_FAILED) return -1;
  sigset_t all;
  sigset_t before;
  ::sigfillset(&all);
  ::pthread_sigmask(SIG_BLOCK, &all, &before);  // no handler of ours may run in the child on our memory
  const int pid = ::clone(child_main, stack + kStackBytes, CLONE_VM | CLONE_VFORK | SIGCHLD, &plan);
  const int saved = errno;
  ::pthread_sigmask(SIG_SETMASK, &before, nullptr);
  ::munmap(stack, kStackBytes);
  errno = saved;
  return pid;
}

int status_of(int raw_status) { return WIFEXITED(raw_status) ? WEXITSTATUS(raw_status) : 128 + WTERMSIG(raw_status); }

}  // namespace

Result<User> find_user(const std::string& name) {
  std::vector<char> buffer(16 << 10);
  passwd entry{};
  passwd* found = nullptr;
  const int error = ::getpwnam_r(name.c_str(), &entry, buffer.data(), buffer.size(), &found);
  if (found == nullptr) {
    if (error != 0 && error != ENOENT && error != ESRCH) {
      errno = error;
      return io_error("cannot look the user up", name);
    }
    return Error(base_errors::kNotFound, "no such user").with("user", name);
  }
  return User{entry.pw_uid, entry.pw_gid};
}

Result<Child> Child::spawn(const SpawnOptions& options) {
  if (options.argv.empty() || options.argv[0].empty()) return Error(base_errors::kInvalid, "no program").with("field", "argv");
  std::vector<std::string> arguments = options.argv;
  std::vector<std::string> environment;
  for (const auto& [name, value] : options.environment) environment.push_back(name + "=" + value);
  for (const auto* texts : {&arguments, &environment}) {
    for (const auto& text : *texts) {
      if (text.find('\0') != std::string::npos) return Error(base_errors::kInvalid, "arguments hold NUL").with("field", "argv, environment");
    }
  }
  const Fd out = STELLA_TRY(open_log(options.stdout_path));
  const Fd err = STELLA_TRY(open_log(options.stderr_path));
  auto argv = pointers(arguments);
  auto envp = pointers(environment);
  auto fds = options.fds;
  std::sort(fds.begin(), fds.end(), [](const auto& a, const auto& b) { return a.second < b.second; });

  Plan plan;
  plan.program = argv[0];
  plan.argv = argv.data();
  plan.envp = envp.data();
  plan.directory = options.directory.c_str();
  plan.user = options.user ? &*options.user : nullptr;
  plan.stdout_fd = out.get();
  plan.stderr_fd = err.get();
  plan.fds = fds.data();
  plan.fd_count = fds.size();
  for (const auto& [ours, target] : fds) plan.first_free = std::max(plan.first_free, target + 1);
  plan.die_with_parent = options.die_with_parent;
  plan.new_session = options.new_session;
  plan.parent_pid = ::getpid();

  const int pid = run_plan(plan);
  if (pid < 0) return spawn_error(plan, errno);
  if (plan.failed_errno != 0) {
    while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {
    }
    return spawn_error(plan, plan.failed_errno);
  }
  return Child(pid);
}

std::optional<int> Child::try_wait() {
  if (status_) return status_;
  int raw_status = 0;
  const int got = ::waitpid(pid_, &raw_status, WNOHANG);
  if (got == pid_) status_ = status_of(raw_status);
  if (got < 0 && errno == ECHILD) status_ = 128;  // somebody else took the status: it has ended, nobody knows how
  return status_;
}

std::optional<int> Child::wait(Deadline deadline) {
  if (try_wait()) return status_;
  const Fd handle(static_cast<int>(raw(SYS_pidfd_open, pid_, 0)));
  while (!try_wait() && !deadline.passed()) {
    const auto left = static_cast<int>(std::min<std::int64_t>(deadline.left().count() + 1, 60'000));
    struct pollfd entry {handle.get(), POLLIN, 0};
    // Sandboxes without pidfd_open: look every 10 ms.
    ::poll(handle ? &entry : nullptr, handle ? 1 : 0, handle ? left : std::min(left, 10));
  }
  return status_;
}

int Child::stop(Deadline deadline) {
  signal(SIGTERM);
  if (wait(deadline)) return *status_;
  signal(SIGKILL);
  while (!wait(Deadline::after(std::chrono::seconds(60)))) {  // uninterruptible sleep ends some day
  }
  return *status_;
}

void Child::signal(int number) {
  if (!status_ && pid_ > 0) ::kill(pid_, number);
}

}  // namespace stella::process
