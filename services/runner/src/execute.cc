// The parent's side of an attempt. The child is trusted until it has isolated itself and not at all afterwards: it may ask for inputs by
// number and for new outputs by name, it may write a bounded report, and it may end.
#include "execute.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "spawn.h"
#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/jobs/jobs.h"
#include "stella/telemetry/log.h"

namespace stella::runner {
namespace {

constexpr telemetry::Logger kLog{"runner"};
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

constexpr std::int64_t kMostDropped = 1 << 30;  // a child may say anything
constexpr std::size_t kTailBytes = 4096;
constexpr std::size_t kCauseBytes = 500;
constexpr auto kTick = milliseconds(100);
constexpr int kDrainRounds = 64;  // of a pipe between two looks at the clock
constexpr const char* kEnvironment[] = {"LC_ALL=C", "TZ=UTC"};

// Why the parent ended a child.
enum class Kill { kNone, kWall, kOutput, kReport, kRequests, kGone, kAbort };

struct Ending {
  Kill kill = Kill::kNone;
  int status = 0;
  rusage usage{};
};

Result<Sha256> digest_of(int fd) {
  crypto::Hasher hasher;
  std::string buffer(256 * 1024, '\0');
  off_t at = 0;
  for (;;) {
    const ssize_t n = ::pread(fd, buffer.data(), buffer.size(), at);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot read", "");
    if (n == 0) return hasher.finish();
    hasher.update({buffer.data(), static_cast<std::size_t>(n)});
    at += n;
  }
}

// The job's directory, its inputs and what the child made in `out`.
class JobFiles {
 public:
  static Result<JobFiles> open(const JobMessage& job) {
    JobFiles files;
    files.job_ = &job;
    files.dir_ = Fd(::open(job.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!files.dir_) return io_error("cannot open the job's directory", job.dir);
    files.out_ = Fd(::openat(files.dir_.get(), "out", O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!files.out_) return io_error("cannot open the job's output directory", job.dir);
    return files;
  }

  // Inputs are what the orchestrator said they are.
  Result<void> verify_inputs() const {
    for (std::size_t i = 0; i < job_->inputs.size(); ++i) {
      const Fd fd = STELLA_TRY(open_input(i));
      struct stat st {};
      if (::fstat(fd.get(), &st) != 0) return io_error("cannot read an input", job_->inputs[i].file);
      const auto digest = STELLA_TRY(digest_of(fd.get()));
      if (digest != job_->inputs[i].sha256 || static_cast<std::uint64_t>(st.st_size) != job_->inputs[i].size) {
        return Error(contracts::errors::kIntegrity, "an input is not what its digest says").with("input", job_->inputs[i].name).with("expected", job_->inputs[i].sha256.hex()).with("actual", digest.hex());
      }
    }
    return {};
  }

  Result<Fd> open_input(std::size_t index) const {
    const auto& file = job_->inputs[index].file;
    Fd fd(::openat(dir_.get(), file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return io_error("cannot open an input", file);
    struct stat st {};
    if (::fstat(fd.get(), &st) != 0 || !S_ISREG(st.st_mode)) return Error(base_errors::kIo, "an input is no file").with("path", file);
    return fd;
  }

  // What an earlier child of this attempt left: a message can be delivered twice.
  void clear_outputs() {
    for (std::size_t i = 0; i < kMaxOutputs; ++i) {
      if (::unlinkat(out_.get(), file_name(i).c_str(), 0) != 0 && i > 0) break;
    }
  }

  // Whoever gave the attempt its directory has taken it away: the attempt is over.
  bool gone() const {
    struct stat st {};
    return ::fstat(out_.get(), &st) != 0 || st.st_nlink == 0;
  }

  struct Made {
    std::string name;
    std::string media_type;
    Fd fd;
  };
  // kInvalid for a bad or repeated name, kLimit beyond kMaxOutputs, kIo.
  Result<int> create_output(std::string name, std::string media_type) {
    const bool known = std::any_of(made_.begin(), made_.end(), [&](const Made& m) { return m.name == name; });
    if (known || !pipeline::is_job_file_name(name)) return Error(base_errors::kInvalid, "not a new output name");
    if (made_.size() == kMaxOutputs) return Error(base_errors::kLimit, "too many outputs");
    Fd fd(::openat(out_.get(), file_name(made_.size()).c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0644));
    if (!fd) return io_error("cannot create an output", file_name(made_.size()));
    made_.push_back({std::move(name), std::move(media_type), std::move(fd)});
    return made_.back().fd.get();
  }

  std::uint64_t output_bytes() const {
    std::uint64_t total = 0;
    for (const auto& made : made_) {
      struct stat st {};
      if (::fstat(made.fd.get(), &st) == 0) total += static_cast<std::uint64_t>(st.st_size);
    }
    return total;
  }

  Result<std::vector<Output>> outputs() const {
    std::vector<Output> out;
    for (std::size_t i = 0; i < made_.size(); ++i) {
      struct stat st {};
      if (::fstat(made_[i].fd.get(), &st) != 0) return io_error("cannot read an output", file_name(i));
      const auto digest = STELLA_TRY(digest_of(made_[i].fd.get()));
      out.push_back({made_[i].name, "out/" + file_name(i), made_[i].media_type, digest, static_cast<std::uint64_t>(st.st_size)});
    }
    return out;
  }

 private:
  static std::string file_name(std::size_t index) { return std::to_string(index); }
  const JobMessage* job_ = nullptr;
  Fd dir_;
  Fd out_;
  std::vector<Made> made_;
};

void set_error(Outcome& outcome, std::string status, const Error& error, std::string cause) {
  outcome.status = std::move(status);
  outcome.error = error_json(error);
  outcome.cause = std::move(cause);
}

// The three ways out of a child: socket, report, standard error.
struct Channels {
  Fd socket, report, tail;
  std::string report_text, tail_text;

  bool drain(Fd& fd, std::string& into, std::size_t limit, bool keep_tail) {
    char buffer[16384];
    for (int round = 0; round < kDrainRounds;) {  // bounded: a child can write without a pause
      const ssize_t n = ::read(fd.get(), buffer, sizeof buffer);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0) return true;  // nothing now
      if (n == 0) {
        fd.reset();
        return true;
      }
      into.append(buffer, static_cast<std::size_t>(n));
      ++round;
      if (into.size() <= limit) continue;
      if (!keep_tail) return false;
      into.erase(0, into.size() - limit);
    }
    return true;
  }
};

class Attempt {
 public:
  Attempt(const JobMessage& job, const ExecuteOptions& options, Outcome& outcome) : job_(job), options_(options), outcome_(outcome) {}

  Result<void> run() {
    outcome_.environment = json::Value::object();
    for (const std::string_view entry : kEnvironment) outcome_.environment.set(std::string(entry.substr(0, entry.find('='))), entry.substr(entry.find('=') + 1));
    files_ = STELLA_TRY(JobFiles::open(job_));
    STELLA_TRY_VOID(files_.verify_inputs());
    step("verify_inputs", json::Value::object({{"count", static_cast<std::int64_t>(job_.inputs.size())}}));
    files_.clear_outputs();
    const Fd spec = STELLA_TRY(make_spec());
    const auto begin = Clock::now();
    const int pid = STELLA_TRY(start(spec.get()));
    const std::string limits = "cpu " + std::to_string(job_.limits.cpu_s) + " s, wall " + std::to_string(job_.limits.wall_s) + " s, memory " + std::to_string(job_.limits.memory_mb) + " MiB, output " + std::to_string(job_.limits.output_mb) + " MiB";
    kLog.debug("child started", {f::pid(pid), f::job_kind(job_.kind), f::detail(limits), f::sandbox(options_.landlock ? "landlock" : "no landlock")});
    const Ending ending = watch(pid, begin);
    outcome_.wall_ms = static_cast<std::uint64_t>(std::chrono::duration_cast<milliseconds>(Clock::now() - begin).count());
    outcome_.cpu_ms = static_cast<std::uint64_t>(ending.usage.ru_utime.tv_sec + ending.usage.ru_stime.tv_sec) * 1000 +
                      static_cast<std::uint64_t>(ending.usage.ru_utime.tv_usec + ending.usage.ru_stime.tv_usec) / 1000;
    outcome_.max_rss_kb = static_cast<std::uint64_t>(ending.usage.ru_maxrss);
    account(ending);
    kLog.debug("child ended", {f::pid(pid), f::state(outcome_.status), f::exit_code(WIFEXITED(ending.status) ? WEXITSTATUS(ending.status) : -1), f::signal(WIFSIGNALED(ending.status) ? WTERMSIG(ending.status) : 0),
                               f::bytes(static_cast<std::int64_t>(outcome_.max_rss_kb) * 1024), f::duration(milliseconds(outcome_.wall_ms))});
    json::Value exit = json::Value::object({{"status", outcome_.status}, {"cause", outcome_.cause}});
    if (WIFEXITED(ending.status)) exit.set("exit_code", WEXITSTATUS(ending.status));
    if (WIFSIGNALED(ending.status)) exit.set("signal", WTERMSIG(ending.status));
    if (!channels_.tail_text.empty()) exit.set("stderr", is_utf8(channels_.tail_text) ? channels_.tail_text : base64_encode(channels_.tail_text));
    step("exit", std::move(exit));
    return {};
  }

 private:
  void step(std::string_view name, json::Value facts) {
    facts.set("step", name);
    facts.set("ts", Timestamp::now().rfc3339());
    outcome_.transcript.push(std::move(facts));
  }

  Result<Fd> make_spec() const {
    json::Value inputs = json::Value::array();
    for (const auto& input : job_.inputs) inputs.push(json::Value::object({{"name", input.name}, {"size", input.size}}));
    const auto spec = json::dump(json::Value::object({{"kind", job_.kind},
                                                      {"params", job_.params},
                                                      {"landlock", options_.landlock},
                                                      {"cpu_s", job_.limits.cpu_s},
                                                      {"memory_mb", job_.limits.memory_mb},
                                                      {"output_mb", job_.limits.output_mb},
                                                      {"context", options_.context.to_json()},
                                                      {"inputs", std::move(inputs)}}));
    Fd fd(::memfd_create("stella-job", MFD_CLOEXEC));
    if (!fd) return io_error("cannot make the child's specification", "");
    STELLA_TRY_VOID(write_all(fd.get(), spec));
    if (::lseek(fd.get(), 0, SEEK_SET) != 0) return io_error("cannot make the child's specification", "");
    return fd;
  }

  Result<int> start(int spec) {
    int sockets[2], report[2], tail[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, sockets) != 0) return io_error("cannot prepare a child", "");
    channels_.socket = Fd(sockets[0]);
    const Fd child_socket(sockets[1]);
    ::fcntl(channels_.socket.get(), F_SETFL, O_NONBLOCK);  // this end alone: a child that reads no answers must not hold us
    if (::pipe2(report, O_CLOEXEC) != 0) return io_error("cannot prepare a child", "");
    channels_.report = Fd(report[0]);
    const Fd child_report(report[1]);
    if (::pipe2(tail, O_CLOEXEC) != 0) return io_error("cannot prepare a child", "");
    channels_.tail = Fd(tail[0]);
    const Fd child_tail(tail[1]);
    ::fcntl(channels_.report.get(), F_SETFL, O_NONBLOCK);
    ::fcntl(channels_.tail.get(), F_SETFL, O_NONBLOCK);
    Spawn spawn;
    spawn.program = options_.program;
    spawn.argv = {"stella-runner", "--child"};
    for (const auto* entry : kEnvironment) spawn.environment.emplace_back(entry);
    spawn.stdout_fd = child_tail.get();
    spawn.fds = {child_socket.get(), child_report.get(), spec};
    spawn.user = options_.user;
    const int pid = STELLA_TRY(spawn_child(spawn));
    step("exec", json::Value::object({{"argv", json::Value::array({"stella-runner", "--child"})},
                                      {"kind", job_.kind},
                                      {"params", job_.params},
                                      {"landlock", options_.landlock},
                                      {"limits", json::Value::object({{"cpu_s", job_.limits.cpu_s},
                                                                      {"memory_mb", job_.limits.memory_mb},
                                                                      {"wall_s", job_.limits.wall_s},
                                                                      {"output_mb", job_.limits.output_mb}})}}));
    return pid;
  }

  Ending watch(int pid, Clock::time_point begin) {
    Ending ending;
    const auto wall = begin + std::chrono::seconds(job_.limits.wall_s);
    const Fd process(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    bool ended = false;
    while (!ended) {
      pollfd polls[] = {{channels_.socket.get(), POLLIN, 0}, {channels_.report.get(), POLLIN, 0}, {channels_.tail.get(), POLLIN, 0}, {process.get(), POLLIN, 0}};
      const auto left = std::clamp(std::chrono::duration_cast<milliseconds>(wall - Clock::now()), milliseconds(0), milliseconds(kTick));
      ::poll(polls, 4, static_cast<int>(left.count()) + 1);
      Kill kill = Kill::kNone;
      if (channels_.report && !channels_.drain(channels_.report, channels_.report_text, kReportBytes, false)) kill = Kill::kReport;
      if (channels_.tail) channels_.drain(channels_.tail, channels_.tail_text, kTailBytes, true);
      if (polls[0].revents != 0 && channels_.socket && !serve()) kill = Kill::kRequests;
      if (files_.output_bytes() > job_.limits.output_mb << 20) kill = Kill::kOutput;
      if (Clock::now() >= wall) kill = Kill::kWall;
      if (files_.gone()) kill = Kill::kGone;
      if (options_.abort != nullptr && *options_.abort) kill = Kill::kAbort;
      if (kill != Kill::kNone && ending.kill == Kill::kNone) {
        ending.kill = kill;
        ::kill(pid, SIGKILL);
      }
      const pid_t reaped = ::wait4(pid, &ending.status, WNOHANG, &ending.usage);
      ended = reaped == pid || (reaped < 0 && errno != EINTR);
    }
    if (channels_.report) channels_.drain(channels_.report, channels_.report_text, kReportBytes, false);
    if (channels_.tail) channels_.drain(channels_.tail, channels_.tail_text, kTailBytes, true);
    return ending;
  }

  // One request of the child. False where it does not read the answers.
  bool serve() {
    const auto text = receive_request(channels_.socket.get());
    if (!text || text->empty()) {
      channels_.socket.reset();
      return true;
    }
    const auto answer = [&](const json::Value& what, int fd = -1) {
      const auto sent = send_packet(channels_.socket.get(), json::dump(what), fd);
      if (!sent && sent.error().code() != base_errors::kLimit) channels_.socket.reset();  // the child is gone
      return sent || sent.error().code() != base_errors::kLimit;
    };
    const auto refuse = [&](std::string_view reason) { return answer(json::Value::object({{"reason", reason}})); };
    const auto request = json::parse(*text);
    if (!request) return refuse("protocol");
    if (const auto* open = request->find("open"); open != nullptr && open->is_int()) {
      if (open->as_int() < 0 || open->as_int() >= static_cast<std::int64_t>(job_.inputs.size())) return refuse("protocol");
      const auto fd = files_.open_input(static_cast<std::size_t>(open->as_int()));
      if (!fd) return refuse("input");
      return answer(json::Value::object(), fd->get());
    }
    const auto fd = files_.create_output(std::string(request->str("create")), std::string(clip_utf8(request->str("media_type"), 100)));
    if (fd) return answer(json::Value::object(), *fd);
    const auto code = fd.error().code();
    return refuse(code == base_errors::kLimit ? "output_limit" : code == base_errors::kInvalid ? "name" : "output");
  }

  // Status, cause, outputs from how the child ended and what it reported.
  void account(const Ending& ending) {
    const auto failed = [&](ErrorCode code, std::string cause) {
      set_error(outcome_, "failed", Error(code, "the job was stopped").with("limit", cause), cause);
    };
    if (ending.kill == Kill::kAbort) return set_error(outcome_, "errored", Error(contracts::errors::kCancelled, "the runner is shutting down"), "the runner is shutting down");
    if (ending.kill == Kill::kGone) return set_error(outcome_, "errored", Error(contracts::errors::kCancelled, "the attempt's directory was taken away"), "the attempt is over");
    if (ending.kill == Kill::kWall) return failed(base_errors::kLimit, "wall clock limit");
    if (ending.kill == Kill::kOutput) return failed(base_errors::kLimit, "output limit");
    if (ending.kill == Kill::kReport) return failed(base_errors::kLimit, "report limit");
    if (ending.kill == Kill::kRequests) return failed(base_errors::kLimit, "request limit");
    if (WIFSIGNALED(ending.status)) return account_signal(WTERMSIG(ending.status));
    const int code = WEXITSTATUS(ending.status);
    if (code == kExitMemory) return failed(base_errors::kLimit, "memory limit");
    const auto report = json::parse(channels_.report_text, {.max_bytes = kReportBytes, .max_depth = 32});
    if (!report || !report->is_object()) {
      const std::string cause = "crashed (exit " + std::to_string(code) + ")";
      return set_error(outcome_, "failed", Error(contracts::errors::kJobFailed, "the job ended without a report").with("exit_code", std::to_string(code)), cause);
    }
    take_report(*report);
  }

  void account_signal(int number) {
    const bool cpu = number == SIGXCPU || (number == SIGKILL && outcome_.cpu_ms >= job_.limits.cpu_s * 1000);
    std::string cause = "crashed (signal " + std::to_string(number) + ")";
    if (cpu) cause = "cpu limit";
    else if (number == SIGXFSZ) cause = "output limit";
    else if (number == SIGSYS) cause = "forbidden system call";
    else if (number == SIGKILL) {
      // The kernel ends whom it likes where the machine is out of memory: a child within its own limit is another's victim.
      if (outcome_.max_rss_kb < job_.limits.memory_mb * 1024) {
        const Error error = Error(contracts::errors::kUnavailable, "the job was killed from outside").with("part", std::string("runner")).with("reason", std::string("memory"));
        return set_error(outcome_, "errored", error, "killed (out of memory on the machine)");
      }
      cause = "memory limit";
    }
    const bool limit = cpu || number == SIGXFSZ || number == SIGKILL;
    set_error(outcome_, "failed", Error(limit ? base_errors::kLimit : contracts::errors::kJobFailed, "the job was stopped").with("signal", std::to_string(number)), cause);
  }

  void take_report(const json::Value& report) {
    if (const auto* spans = report.find("spans"); spans != nullptr && spans->is_array()) outcome_.spans = *spans;
    if (const auto* logs = report.find("logs"); logs != nullptr && logs->is_array()) outcome_.logs = *logs;
    if (const auto* dropped = report.find("dropped"); dropped != nullptr) {
      const auto number = [&](std::string_view name) { return static_cast<std::uint64_t>(std::clamp<std::int64_t>(dropped->integer(name), 0, kMostDropped)); };
      outcome_.dropped = {number("logs"), number("spans")};
    }
    const auto status = report.str("status");
    if (status == "finished") {
      auto outputs = files_.outputs();
      if (!outputs) return set_error(outcome_, "errored", outputs.error(), std::string(clip_utf8(outputs.error().describe(), kCauseBytes)));
      outcome_.status = status;
      outcome_.outputs = std::move(*outputs);
      return;
    }
    outcome_.status = status == "failed" ? "failed" : "errored";
    if (const auto* error = report.find("error")) outcome_.error = *error;
    outcome_.cause = clip_utf8(report.str("cause"), kCauseBytes);
  }

  const JobMessage& job_;
  const ExecuteOptions& options_;
  Outcome& outcome_;
  JobFiles files_;
  Channels channels_;
};

}  // namespace

Outcome execute(const JobMessage& job, const ExecuteOptions& options) {
  Outcome outcome;
  Attempt attempt(job, options, outcome);
  if (auto done = attempt.run(); !done) set_error(outcome, "errored", done.error(), std::string(clip_utf8(done.error().describe(), kCauseBytes)));
  return outcome;
}

}  // namespace stella::runner
