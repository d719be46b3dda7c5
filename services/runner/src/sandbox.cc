// Isolation of a job's child. Each layer alone would do against most attacks; together they leave a process that can compute, read and
// write the descriptors it was given, ask its parent for more over one socket, and end.
//
// Landlock guards files (also against what an allowed system call might do in a future kernel), seccomp guards everything else: no
// sockets, no exec, no fork, no open, no ptrace. Resource limits guard the machine. The wall clock is the parent's.
#include "sandbox.h"

#include <fcntl.h>
#include <linux/landlock.h>
#include <sched.h>
#include <seccomp.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <memory>

#include "stella/contracts/errors.h"

namespace stella::runner {
namespace {

constexpr std::uint64_t kMega = 1u << 20;
constexpr std::uint64_t kOwnMegabytes = 256;  // the program itself, its libraries and stack
constexpr rlim_t kDescriptors = 64;

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
constexpr bool kSanitizer = true;  // shadow memory: no limit of address space, more system calls
#else
constexpr bool kSanitizer = false;
#endif

Error refused(Literal message, int code) {
  errno = code;
  return io_error(message, "");
}

Result<void> limit(__rlimit_resource resource, rlim_t soft, rlim_t hard) {
  const rlimit value{soft, hard};
  if (::setrlimit(resource, &value) != 0) return io_error("cannot set a resource limit", "");
  return {};
}

Result<void> set_limits(const Limits& limits) {
  STELLA_TRY_VOID(limit(RLIMIT_CORE, 0, 0));
  STELLA_TRY_VOID(limit(RLIMIT_CPU, limits.cpu_s, limits.cpu_s + 2));  // SIGXCPU, and SIGKILL should that be survived
  STELLA_TRY_VOID(limit(RLIMIT_FSIZE, limits.output_mb * kMega, limits.output_mb * kMega));
  STELLA_TRY_VOID(limit(RLIMIT_NOFILE, kDescriptors, kDescriptors));
  STELLA_TRY_VOID(limit(RLIMIT_NPROC, 0, 0));
  STELLA_TRY_VOID(limit(RLIMIT_MEMLOCK, 0, 0));
  const rlim_t memory = (limits.memory_mb + kOwnMegabytes) * kMega;
  if (!kSanitizer) STELLA_TRY_VOID(limit(RLIMIT_AS, memory, memory));
  return {};
}

// Everything that the running kernel can deny; bits beyond the header's knowledge stay unhandled.
std::uint64_t handled_access(int abi) {
  std::uint64_t bits = (1ull << 13) - 1;  // ABI 1: LANDLOCK_ACCESS_FS_EXECUTE … MAKE_SYM
  if (abi >= 2) bits |= 1ull << 13;       // REFER
  if (abi >= 3) bits |= 1ull << 14;       // TRUNCATE
  if (abi >= 5) bits |= 1ull << 15;       // IOCTL_DEV
  return bits;
}

class Filter {
 public:
  explicit Filter(std::uint32_t default_action) : context_(::seccomp_init(default_action), ::seccomp_release) {
    if (context_ == nullptr) code_ = ENOMEM;
  }
  void allow(int call) { add(SCMP_ACT_ALLOW, call); }
  void refuse(int call, int error) { add(SCMP_ACT_ERRNO(static_cast<std::uint32_t>(error)), call); }
  void allow_if(int call, const scmp_arg_cmp& condition) {
    if (code_ == 0) code_ = ::seccomp_rule_add_array(context_.get(), SCMP_ACT_ALLOW, call, 1, &condition);
  }
  Result<void> load() {
    if (code_ == 0) code_ = ::seccomp_load(context_.get());
    if (code_ != 0) return refused("cannot load the system call filter", code_ < 0 ? -code_ : code_);
    return {};
  }

 private:
  void add(std::uint32_t action, int call) {
    if (code_ == 0) code_ = ::seccomp_rule_add_array(context_.get(), action, call, 0, nullptr);
  }
  std::unique_ptr<void, void (*)(void*)> context_;
  int code_ = 0;
};

Result<void> deny_system_calls() {
  Filter filter(SCMP_ACT_KILL_PROCESS);
  for (const int call : {SCMP_SYS(read), SCMP_SYS(readv), SCMP_SYS(pread64), SCMP_SYS(write), SCMP_SYS(writev), SCMP_SYS(pwrite64), SCMP_SYS(lseek), SCMP_SYS(close),
                         SCMP_SYS(fstat), SCMP_SYS(brk), SCMP_SYS(munmap), SCMP_SYS(mremap), SCMP_SYS(madvise), SCMP_SYS(futex), SCMP_SYS(rt_sigaction),
                         SCMP_SYS(rt_sigprocmask), SCMP_SYS(rt_sigreturn), SCMP_SYS(sigaltstack), SCMP_SYS(getrandom), SCMP_SYS(clock_gettime), SCMP_SYS(gettimeofday),
                         SCMP_SYS(time), SCMP_SYS(clock_nanosleep), SCMP_SYS(nanosleep), SCMP_SYS(sched_yield), SCMP_SYS(sched_getaffinity), SCMP_SYS(getrusage),
                         SCMP_SYS(sysinfo), SCMP_SYS(getpid), SCMP_SYS(gettid), SCMP_SYS(exit), SCMP_SYS(exit_group), SCMP_SYS(restart_syscall)}) {
    filter.allow(call);
  }
  // Memory may be written or executed, never made executable here.
  filter.allow_if(SCMP_SYS(mmap), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  filter.allow_if(SCMP_SYS(mprotect), SCMP_A2(SCMP_CMP_MASKED_EQ, PROT_EXEC, 0));
  // Descriptors come over this one socket.
  filter.allow_if(SCMP_SYS(sendmsg), SCMP_A0(SCMP_CMP_EQ, kSocketFd));
  filter.allow_if(SCMP_SYS(recvmsg), SCMP_A0(SCMP_CMP_EQ, kSocketFd));
  // abort() and limits that are only read.
  filter.allow_if(SCMP_SYS(tgkill), SCMP_A0(SCMP_CMP_EQ, static_cast<scmp_datum_t>(::getpid())));
  filter.allow_if(SCMP_SYS(prlimit64), SCMP_A2(SCMP_CMP_EQ, 0));
  filter.allow_if(SCMP_SYS(fcntl), SCMP_A1(SCMP_CMP_EQ, F_GETFL));
  // What libraries try and can do without: an error, so that they go on.
  for (const int call : {SCMP_SYS(open), SCMP_SYS(openat), SCMP_SYS(stat), SCMP_SYS(lstat), SCMP_SYS(newfstatat), SCMP_SYS(statx), SCMP_SYS(access), SCMP_SYS(faccessat),
                         SCMP_SYS(faccessat2), SCMP_SYS(readlink), SCMP_SYS(readlinkat)}) {
    filter.refuse(call, EACCES);
  }
  filter.refuse(SCMP_SYS(ioctl), ENOTTY);
  // How the sanitizers find out whether an address can be read.
  if (kSanitizer)
    for (const int call : {SCMP_SYS(mincore), SCMP_SYS(pipe), SCMP_SYS(pipe2)}) filter.allow(call);
  return filter.load();
}

}  // namespace

int landlock_abi() {
  const long abi = ::syscall(SYS_landlock_create_ruleset, nullptr, 0, LANDLOCK_CREATE_RULESET_VERSION);
  return abi < 0 ? 0 : static_cast<int>(abi);
}

Result<void> deny_files() {
  const int abi = landlock_abi();
  if (abi == 0) return Error(contracts::errors::kUnavailable, "the kernel has no Landlock").with("part", std::string("runner"));
  // The ABI 4 layout: file and network rights. An older kernel takes the first member alone.
  struct {
    std::uint64_t fs;
    std::uint64_t net;
  } attributes{handled_access(abi), abi >= 4 ? 3ull : 0ull};
  const std::size_t size = abi >= 4 ? sizeof attributes : sizeof attributes.fs;
  const Fd ruleset(static_cast<int>(::syscall(SYS_landlock_create_ruleset, &attributes, size, 0)));
  if (!ruleset) return io_error("cannot create a Landlock ruleset", "");
  if (::syscall(SYS_landlock_restrict_self, ruleset.get(), 0) != 0) return io_error("cannot enforce Landlock", "");
  return {};
}

Result<void> enter_sandbox(const Limits& limits, bool landlock) {
  if (::prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) != 0) return io_error("cannot renounce new privileges", "");
  if (::prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) != 0) return io_error("cannot become undumpable", "");
  STELLA_TRY_VOID(set_limits(limits));
  if (landlock) STELLA_TRY_VOID(deny_files());
  return deny_system_calls();
}

}  // namespace stella::runner
