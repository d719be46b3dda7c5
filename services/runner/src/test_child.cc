// A runner's child whose job kinds are hostile or plain: what the tests execute in the product's sandbox.
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cstring>
#include <string>
#include <vector>

#include "stella/base/ids.h"
#include "stella/contracts/errors.h"
#include "stella/pipeline/jobs/jobs.h"
#include "stella/services/runner.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/log.h"
#include "stella/telemetry/span.h"

namespace stella::runner {
namespace {

using pipeline::JobIo;
using Params = json::Value;

// Says what the attempt gave: the test reads the output "result".
Result<void> say(JobIo& io, bool refused, int code) { return io.put("result", "text/plain", refused ? "refused " + std::to_string(code) : "succeeded"); }

Result<void> copy(const Params& params, JobIo& io) {
  for (auto* input : io.inputs()) {
    const auto bytes = STELLA_TRY(input->bytes());
    auto output = STELLA_TRY(io.create("copy-" + input->name(), "application/octet-stream"));
    const std::size_t half = bytes.size() / 2;
    STELLA_TRY_VOID(output->write(bytes.substr(0, half)));
    STELLA_TRY_VOID(output->write(bytes.substr(half)));
    input->release();
  }
  return io.put("params", "application/json", json::dump(params));
}

Result<void> refuse(const Params& params, JobIo&) {
  const Error error = Error(base_errors::kMalformed, "input is not what it claims").with("line", std::string("7"));
  if (params.boolean("transient")) return Error(contracts::errors::kUnavailable, "machine is in trouble").with("reason", std::string("disk_full"));
  return error;
}

Result<void> spin(const Params&, JobIo&) {
  volatile std::uint64_t n = 0;
  for (;;) n = n + 1;
}

Result<void> sleep_forever(const Params&, JobIo&) {
  for (;;) ::usleep(100'000);
}

Result<void> allocate(const Params&, JobIo&) {
  std::vector<std::string> all;
  for (;;) all.push_back(std::string(16u << 20, 'x'));
}

Result<void> write_without_end(const Params& params, JobIo& io) {
  const std::string block(1u << 20, 'x');
  const auto files = params.integer("files", 1);
  for (std::int64_t i = 0; i < files; ++i) {
    auto output = STELLA_TRY(io.create("big-" + std::to_string(i), "application/octet-stream"));
    for (int n = 0; n < params.integer("megabytes", 1 << 20); ++n) STELLA_TRY_VOID(output->write(block));
  }
  for (;;) ::usleep(100'000);
}

Result<void> crash(const Params& params, JobIo&) {
  if (params.boolean("abort")) std::abort();
  if (params.boolean("exit")) ::_exit(3);
  *reinterpret_cast<volatile int*>(8) = 1;
  return {};
}

Result<void> open_file(const Params& params, JobIo& io) {
  const std::string path(params.str("path"));
  const int fd = ::open(path.c_str(), params.boolean("write") ? O_WRONLY | O_CREAT : O_RDONLY, 0600);
  return say(io, fd < 0, errno);
}

// Around the filter's list of refused calls: the kernel's own file calls that are not in it.
Result<void> system_call(const Params& params, JobIo& io) {
  const auto name = params.str("name");
  long result = 0;
  if (name == "fork") result = ::fork();
  else if (name == "vfork") result = ::syscall(SYS_vfork);
  else if (name == "socket") result = ::socket(AF_INET, SOCK_STREAM, 0);
  else if (name == "socketpair") result = ::syscall(SYS_socketpair, AF_UNIX, SOCK_STREAM, 0, nullptr);
  else if (name == "connect") result = ::connect(3, nullptr, 0);
  else if (name == "execve") result = ::execl("/bin/sh", "sh", "-c", "id", nullptr);
  else if (name == "ptrace") result = ::ptrace(PTRACE_ATTACH, ::getppid(), nullptr, nullptr);
  else if (name == "kill") result = ::syscall(SYS_kill, static_cast<pid_t>(params.integer("pid")), SIGKILL);
  else if (name == "tgkill") result = ::syscall(SYS_tgkill, static_cast<pid_t>(params.integer("pid")), static_cast<pid_t>(params.integer("pid")), SIGKILL);
  else if (name == "mmap_exec") result = reinterpret_cast<long>(::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0));
  else if (name == "memfd_create") result = ::memfd_create("x", 0);
  else if (name == "openat2") result = ::syscall(SYS_openat2, AT_FDCWD, "/etc/passwd", nullptr, 0);
  else if (name == "unlink") result = ::unlink("/tmp/x");
  else if (name == "mkdir") result = ::mkdir("/tmp/stella-escape", 0700);
  else if (name == "chroot") result = ::chroot("/");
  else if (name == "mount") result = ::syscall(SYS_mount, "none", "/tmp", "tmpfs", 0, nullptr);
  else if (name == "bpf") result = ::syscall(SYS_bpf, 0, nullptr, 0);
  else if (name == "io_uring_setup") result = ::syscall(SYS_io_uring_setup, 1, nullptr);
  else if (name == "setrlimit") result = ::syscall(SYS_setrlimit, 0, nullptr);
  else if (name == "prlimit_set") result = ::syscall(SYS_prlimit64, 0, 0, "0123456789abcdef", nullptr);
  else if (name == "clone3") result = ::syscall(SYS_clone3, nullptr, 0);
  else return Error(base_errors::kInvalid, "test does not know the call");
  return say(io, result < 0, errno);
}

// Floods the report and the standard error.
Result<void> flood(const Params& params, JobIo&) {
  const std::string block(65536, 'x');
  const int fd = params.boolean("stderr") ? 2 : 4;
  for (int i = 0; i < 1024; ++i) {
    if (::write(fd, block.data(), block.size()) < 0) break;
  }
  return {};
}

Result<void> bad_names(const Params&, JobIo& io) {
  for (const std::string_view name : {"../escape", "/etc/x", "", ".hidden"}) {
    if (io.create(name, "text/plain")) return Error(base_errors::kInternal, "a bad name was accepted");
  }
  auto first = STELLA_TRY(io.create("same", "text/plain"));
  if (io.create("same", "text/plain")) return Error(base_errors::kInternal, "a repeated name was accepted");
  return io.put("result", "text/plain", "good");
}

// Speaks to the parent past the library: garbage on the socket, inputs that do not exist.
Result<void> bad_requests(const Params&, JobIo& io) {
  for (const std::string_view text : {std::string_view("garbage"), std::string_view("{\"open\":99}"), std::string_view("{\"open\":-1}"), std::string_view("{\"create\":\"../x\"}"), std::string_view("{}"),
                                      std::string_view("\xff\x00", 2)}) {
    iovec part{const_cast<char*>(text.data()), text.size()};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (::sendmsg(3, &message, 0) < 0) return Error(base_errors::kIo, "cannot send");
    char answer[512];
    iovec in{answer, sizeof answer};
    msghdr reply{};
    reply.msg_iov = &in;
    reply.msg_iovlen = 1;
    char control[64];
    reply.msg_control = control;
    reply.msg_controllen = sizeof control;
    if (::recvmsg(3, &reply, 0) <= 0) return Error(base_errors::kIo, "cannot receive");
    if (reply.msg_controllen != 0) return Error(base_errors::kInternal, "a bad request was answered with a descriptor");
  }
  return io.put("result", "text/plain", "good");
}

Result<void> send_raw(std::string_view text, const std::vector<int>& fds) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(4 * sizeof(int))] = {};
  if (!fds.empty()) {
    message.msg_control = control;
    message.msg_controllen = CMSG_SPACE(fds.size() * sizeof(int));
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(fds.size() * sizeof(int));
    std::memcpy(CMSG_DATA(header), fds.data(), fds.size() * sizeof(int));
  }
  if (::sendmsg(3, &message, MSG_NOSIGNAL) < 0) return Error(base_errors::kIo, "cannot send");
  return {};
}

// Asks and asks, reads no answer, and stays.
Result<void> unread_requests(const Params&, JobIo&) {
  for (int i = 0; i < 1000; ++i) {
    if (!send_raw("{\"open\":0}", {})) break;
  }
  for (;;) ::usleep(100'000);
}

// Hands its parent descriptors of its own, as many as fit where one is expected.
Result<void> give_descriptors(const Params&, JobIo&) {
  for (int i = 0; i < 50; ++i) {
    if (!send_raw("{\"open\":0}", {1, 2})) break;
  }
  return {};
}

// Tries to write into its input.
Result<void> write_input(const Params&, JobIo& io) {
  const auto bytes = STELLA_TRY(io.inputs()[0]->bytes());
  const bool writable = ::mprotect(const_cast<char*>(bytes.data()), bytes.size(), PROT_READ | PROT_WRITE) == 0;
  if (writable) const_cast<char*>(bytes.data())[0] = 'X';  // its own copy, the file stays as it is
  return io.put("result", "text/plain", "done");
}

// Reads what a curious program reads about itself.
Result<void> look_around(const Params&, JobIo& io) {
  json::Value seen = json::Value::object();
  json::Value environment = json::Value::array();
  for (char** entry = environ; *entry != nullptr; ++entry) environment.push(std::string(*entry));
  seen.set("environment", std::move(environment));
  json::Value open = json::Value::array();
  for (int fd = 0; fd < 1024; ++fd) {
    if (::lseek(fd, 0, SEEK_CUR) >= 0 || errno != EBADF) open.push(fd);
  }
  seen.set("fds", std::move(open));
  return io.put("result", "application/json", json::dump(seen));
}

Result<void> long_report(const Params& params, JobIo& io) {
  Error error(base_errors::kMalformed, "input is not what it claims");
  error.add("detail", std::string(static_cast<std::size_t>(params.integer("bytes")), 'y') + std::string(params.str("last")));
  return error;
  (void)io;
}

// Work under a span of its own.
Result<void> with_span(const Params&, JobIo&) {
  telemetry::Span span("selftest.span");
  return {};
}

// More than a job's telemetry may be; what matters comes last.
Result<void> chatter(const Params&, JobIo&) {
  static constexpr telemetry::Logger kLog{"selftest"};
  telemetry::Span outer("selftest.outer");
  for (int i = 0; i < 2000; ++i) {
    kLog.info("again");
    telemetry::Span inner("selftest.inner");
  }
  kLog.error("it matters", {f::error(Error(base_errors::kInternal, "for the test"))});
  return {};
}

// A report of its own making, with an address wherever there is room for one.
Result<void> rogue(const Params&, JobIo&) {
  const telemetry::Context& context = telemetry::Context::current();
  const std::string address = "ann@example.org";
  json::Value attributes = json::Value::object({{"reason", address}, {address, json::Value::object({{address, 1}})}});
  json::Value span = json::Value::object({{"trace_id", context.trace_id.hex()}, {"span_id", "00f067aa0ba902b7"}, {"parent_span_id", "53995c3f42cd8ad8"}, {"name", "mail " + address}, {"kind", "internal"},
                                          {"start_ts", "2026-11-24T17:07:00.100000Z"}, {"end_ts", "2026-11-24T17:07:00.400000Z"}, {"status", "ok"}, {"links", json::Value::array()}});
  span.set("attributes", std::move(attributes));
  json::Value line = json::Value::object({{"ts", "2026-11-24T17:07:00.100000Z"}, {"level", "error"}, {"service", "of " + address}, {"tenant_id", context.tenant_id.str()}, {"trace_id", context.trace_id.hex()},
                                          {"span_id", "00f067aa0ba902b7"}, {"message", "mail " + address}, {address, "x"}});
  const std::string report = json::dump(json::Value::object({{"status", "finished"}, {"spans", json::Value::array({std::move(span)})}, {"logs", json::Value::array({std::move(line)})},
                                                             {"dropped", json::Value::object({{"logs", -5}, {"spans", "many"}})}}));
  [[maybe_unused]] const ssize_t written = ::write(4, report.data(), report.size());
  ::_exit(0);
}

constexpr std::array kKinds = {
    pipeline::JobKind{"selftest.chatter", chatter},
    pipeline::JobKind{"selftest.rogue", rogue},
    pipeline::JobKind{"selftest.span", with_span},
    pipeline::JobKind{"selftest.copy", copy},
    pipeline::JobKind{"selftest.refuse", refuse},
    pipeline::JobKind{"selftest.spin", spin},
    pipeline::JobKind{"selftest.sleep", sleep_forever},
    pipeline::JobKind{"selftest.allocate", allocate},
    pipeline::JobKind{"selftest.write", write_without_end},
    pipeline::JobKind{"selftest.crash", crash},
    pipeline::JobKind{"selftest.open", open_file},
    pipeline::JobKind{"selftest.call", system_call},
    pipeline::JobKind{"selftest.flood", flood},
    pipeline::JobKind{"selftest.names", bad_names},
    pipeline::JobKind{"selftest.requests", bad_requests},
    pipeline::JobKind{"selftest.unread_requests", unread_requests},
    pipeline::JobKind{"selftest.give_descriptors", give_descriptors},
    pipeline::JobKind{"selftest.write_input", write_input},
    pipeline::JobKind{"selftest.look", look_around},
    pipeline::JobKind{"selftest.long_report", long_report},
};

const pipeline::JobKind* find_kind(std::string_view kind) {
  for (const auto& known : kKinds) {
    if (known.kind == kind) return &known;
  }
  return pipeline::find_job_kind(kind);
}

}  // namespace
}  // namespace stella::runner

int main() { return stella::runner::child_main(stella::runner::find_kind); }
