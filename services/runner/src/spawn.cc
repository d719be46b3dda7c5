// fork and exec with nothing in between that is not safe after a fork of a threaded process: no allocation, no locks.
#include "spawn.h"

#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "stella/base/file.h"

namespace stella::runner {
namespace {

constexpr int kParking = 500;  // descriptors are moved out of each other's way first
constexpr int kMaxFds = 16;

struct Failure {
  int step;
  int code;
};

constexpr Literal kSteps[] = {"descriptors", "user", "signals", "program"};

// In the child. Everything it needs was prepared by the parent.
struct Plan {
  int program, null_fd, stdout_fd, failure_fd;
  int fds[kMaxFds];
  int fd_count;
  bool change_user;
  unsigned uid, gid;
  pid_t parent;
  char* const* argv;
  char* const* envp;
};

[[noreturn]] void fail(const Plan& plan, int step) {
  const Failure failure{step, errno};
  [[maybe_unused]] const ssize_t n = ::write(plan.failure_fd, &failure, sizeof failure);
  ::_exit(127);
}

bool arrange_descriptors(Plan& plan) {
  // All sources above the targets, then each to its place.
  for (int* fd : {&plan.program, &plan.null_fd, &plan.stdout_fd, &plan.failure_fd}) {
    if ((*fd = ::fcntl(*fd, F_DUPFD_CLOEXEC, kParking)) < 0) return false;
  }
  for (int i = 0; i < plan.fd_count; ++i) {
    if ((plan.fds[i] = ::fcntl(plan.fds[i], F_DUPFD_CLOEXEC, kParking)) < 0) return false;
  }
  if (::dup2(plan.null_fd, 0) < 0 || ::dup2(plan.stdout_fd, 1) < 0 || ::dup2(plan.stdout_fd, 2) < 0) return false;
  for (int i = 0; i < plan.fd_count; ++i) {
    if (::dup2(plan.fds[i], 3 + i) < 0) return false;
  }
  // The rest closes at exec; close_range also covers what others opened without the flag.
  return ::syscall(SYS_close_range, 3u + static_cast<unsigned>(plan.fd_count), ~0u, 1u << 2 /* CLOSE_RANGE_CLOEXEC */) == 0;
}

[[noreturn]] void run_child(Plan plan) {
  if (!arrange_descriptors(plan)) fail(plan, 0);
  if (plan.change_user && (::syscall(SYS_setgroups, 0, nullptr) != 0 || ::setresgid(plan.gid, plan.gid, plan.gid) != 0 || ::setresuid(plan.uid, plan.uid, plan.uid) != 0)) fail(plan, 1);
  sigset_t none;
  sigemptyset(&none);
  if (::sigprocmask(SIG_SETMASK, &none, nullptr) != 0) fail(plan, 2);
  for (int number = 1; number < 32; ++number) ::signal(number, SIG_DFL);
  // After the change of user, which clears it.
  if (::prctl(PR_SET_PDEATHSIG, SIGKILL) != 0) fail(plan, 2);
  if (::getppid() != plan.parent) ::_exit(127);
  if (::chdir("/") != 0) fail(plan, 2);
  ::syscall(SYS_execveat, plan.program, "", plan.argv, plan.envp, 0x1000 /* AT_EMPTY_PATH */);
  fail(plan, 3);
}

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const auto& text : texts) out.push_back(const_cast<char*>(text.c_str()));
  out.push_back(nullptr);
  return out;
}

}  // namespace

Result<int> spawn_child(const Spawn& spawn) {
  const Fd null_fd(::open("/dev/null", O_RDWR | O_CLOEXEC));
  int ends[2];
  if (!null_fd || ::pipe2(ends, O_CLOEXEC) != 0) return io_error("cannot prepare a child", "");
  const Fd failure_read(ends[0]);
  Fd failure_write(ends[1]);
  if (spawn.fds.size() > kMaxFds) return Error(base_errors::kInternal, "too many descriptors for a child");
  const auto argv = pointers(spawn.argv);
  const auto envp = pointers(spawn.environment);
  Plan plan{spawn.program, null_fd.get(), spawn.stdout_fd, failure_write.get(), {}, static_cast<int>(spawn.fds.size()), spawn.user.has_value(),
            spawn.user ? spawn.user->uid : 0, spawn.user ? spawn.user->gid : 0, ::getpid(), argv.data(), envp.data()};
  for (std::size_t i = 0; i < spawn.fds.size(); ++i) plan.fds[i] = spawn.fds[i];
  const pid_t pid = ::fork();
  if (pid < 0) return io_error("cannot fork", "");
  if (pid == 0) run_child(plan);
  failure_write.reset();
  Failure failure{};
  ssize_t n = 0;
  do n = ::read(failure_read.get(), &failure, sizeof failure);
  while (n < 0 && errno == EINTR);
  if (n == 0) return pid;  // the pipe closed at exec
  ::waitpid(pid, nullptr, 0);
  errno = n == sizeof failure ? failure.code : EIO;
  const std::size_t step = n == sizeof failure && failure.step >= 0 && failure.step < 4 ? static_cast<std::size_t>(failure.step) : 3;
  return io_error("cannot start a job's child", "").with("step", std::string(kSteps[step].view()));
}

}  // namespace stella::runner
