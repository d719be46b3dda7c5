// The handlers. Everything below report() is async-signal-safe: no allocation, no lock, open and write alone. But for the call stack, which asks
// the unwinder and the dynamic linker: it comes last, and a process that hangs in it is ended by an alarm.
#include "crash.h"

#include <dlfcn.h>
#include <execinfo.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <charconv>
#include <cstring>
#include <vector>

#include "instance.h"
#include "outlet.h"
#include "stella/telemetry/active_span.h"
#include "stella/telemetry/lines.h"

namespace stella::telemetry {
namespace {

constexpr int kSignals[] = {SIGSEGV, SIGBUS, SIGABRT, SIGILL, SIGFPE};
constexpr std::size_t kStack = 64 * 1024;

struct Target {
  char path[512];
  char members[2048];
  std::size_t members_size;
};
// Replaced whole; the old one stays, since a handler may be reading it.
std::atomic<const Target*> g_target{nullptr};
struct sigaction g_before[std::size(kSignals)];
std::atomic<std::int64_t> g_reporter{0};  // thread that writes, or wrote, the report
std::atomic<bool> g_reported{false};
char g_line[kLineBytes + 256];

void write_text(int fd, std::string_view text) noexcept {
  while (!text.empty()) {
    const ssize_t n = write(fd, text.data(), text.size());
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

// One short line of the report.
struct Text {
  char text[512];
  char* p = text;
  Text& operator<<(std::string_view s) noexcept {
    std::memcpy(p, s.data(), s.size());
    p += s.size();
    return *this;
  }
  Text& operator<<(std::int64_t n) noexcept {
    p = std::to_chars(p, text + sizeof text, n).ptr;
    return *this;
  }
  Text& address(std::uintptr_t n) noexcept {
    *this << "0x";
    p = std::to_chars(p, text + sizeof text, n, 16).ptr;
    return *this;
  }
  // A name as it stands in a JSON string: what would end it becomes a dot.
  Text& name(std::string_view s) noexcept {
    for (const char c : s.substr(0, 160)) *p++ = c >= 0x20 && c < 0x7f && c != '"' && c != '\\' ? c : '.';
    return *this;
  }
  std::string_view view() const noexcept { return {text, static_cast<std::size_t>(p - text)}; }
};

void write_records(int fd, const Ring& ring, std::string_view members) noexcept {
  const RingHeader& h = ring.header();
  const std::uint64_t next = h.next_sequence.load(std::memory_order_relaxed);
  for (std::uint64_t n = next > kRecent ? next - kRecent : 0; n < next; ++n) {
    const std::string_view bytes = ring.at(h.recent[n % kRecent].load(std::memory_order_relaxed));
    RecordHead head;
    if (bytes.size() < sizeof head) continue;
    std::memcpy(&head, bytes.data(), sizeof head);
    if (head.sequence != n) continue;  // dropped, spilled or overwritten
    const auto view = RecordView::parse(bytes);
    if (!view) continue;
    std::size_t size = detail::put_line(g_line, *view, members);
    g_line[size++] = '\n';
    std::string_view line(g_line, size);
    if (head.kind == RecordKind::kSpan) {  // has the members of a line, its name where the message stands; no reader may take it for one
      write_text(fd, "{\"record\":\"span\",");
      line.remove_prefix(1);
    }
    write_text(fd, line);
  }
}

// What this thread was doing: its open spans, the innermost first. Names are literals and route templates.
void write_open_spans(int fd) noexcept {
  constexpr int kMost = 64;
  const ActiveSpan* span = innermost_span();
  for (int i = 0; span != nullptr && i < kMost; ++i, span = span->outer) {
    Text line;
    const auto hex = [&line](const auto& id) {
      for (const std::uint8_t byte : id) {
        *line.p++ = "0123456789abcdef"[byte >> 4];
        *line.p++ = "0123456789abcdef"[byte & 15];
      }
    };
    const auto text = [](const char* p, std::size_t size) { return std::string_view(p, std::min<std::size_t>(size, 96)); };
    line << "{\"open_span\":\"" << text(span->prefix, span->prefix_size) << text(span->name, span->name_size) << "\",\"trace_id\":\"";
    hex(span->trace_id);
    line << "\",\"span_id\":\"";
    hex(span->span_id);
    line << "\",\"start_ns\":" << span->start_ns << "}\n";
    write_text(fd, {line.text, static_cast<std::size_t>(line.p - line.text)});
  }
}

// The calls that led here, the innermost first: file and offset in it, which addr2line reads, and the name where the file has it.
void write_calls(int fd) noexcept {
  constexpr unsigned kPatience = 5;  // seconds; what holds the linker's lock may be the thread that died
  struct sigaction fatal {};
  fatal.sa_handler = SIG_DFL;
  sigaction(SIGALRM, &fatal, nullptr);
  sigset_t alarms;
  sigemptyset(&alarms);
  sigaddset(&alarms, SIGALRM);
  pthread_sigmask(SIG_UNBLOCK, &alarms, nullptr);
  alarm(kPatience);
  void* frames[64];
  const int count = backtrace(frames, 64);
  for (int i = 0; i < count; ++i) {
    Text line;
    const auto at = reinterpret_cast<std::uintptr_t>(frames[i]);
    line << "{\"call\":" << std::int64_t{i} << ",\"address\":\"";
    line.address(at) << "\"";
    Dl_info info{};
    if (dladdr(frames[i], &info) != 0 && info.dli_fname != nullptr) {
      const std::string_view path(info.dli_fname);
      line << ",\"file\":\"";
      line.name(path.substr(path.rfind('/') + 1)) << "\",\"offset\":\"";
      line.address(at - reinterpret_cast<std::uintptr_t>(info.dli_fbase)) << "\"";
      if (info.dli_sname != nullptr) {
        line << ",\"symbol\":\"";
        line.name(info.dli_sname) << "\"";
      }
    }
    line << "}\n";
    write_text(fd, line.view());
  }
  alarm(0);
}

// Another thread crashed while the report is written: whoever goes on ends the process, and the report with it.
void wait_for_report() noexcept {
  constexpr timespec kTick{.tv_sec = 0, .tv_nsec = 10'000'000};
  for (int i = 0; i < 200 && !g_reported.load(std::memory_order_acquire); ++i) nanosleep(&kTick, nullptr);
}

void write_report(const Target* target, std::int64_t thread, int signal, const siginfo_t* info) noexcept {
  const int fd = open(target->path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return;
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  Text head;
  head << "{\"signal\":" << std::int64_t{signal} << ",\"code\":" << std::int64_t{info != nullptr ? info->si_code : 0} << ",\"pid\":"
       << std::int64_t{getpid()} << ",\"thread\":" << thread << ",\"second\":" << static_cast<std::int64_t>(now.tv_sec) << ",\"thread_name\":\"";
  char name[16] = {};
  prctl(PR_GET_NAME, name);
  head.name(name) << "\"";
  if (info != nullptr && info->si_code > 0 && signal != SIGABRT) {  // of the kernel: where the access went, or the instruction was
    head << ",\"fault_address\":\"";
    head.address(reinterpret_cast<std::uintptr_t>(info->si_addr)) << "\"";
  }
  head << "}\n";
  write_text(fd, head.view());
  const std::string_view members(target->members, target->members_size);
  RingOutlet::each([&](RingOutlet& outlet) {
    const std::size_t own = outlet.own_ring();
    if (own != RingOutlet::kRings) write_records(fd, outlet.ring(own), members);
    for (std::size_t i = 0; i < outlet.rings() && i < 256; ++i) {
      if (i != own) write_records(fd, outlet.ring(i), members);
    }
  });
  write_open_spans(fd);  // late: it follows pointers of a process that is broken
  write_calls(fd);
  close(fd);
}

void report(int signal, const siginfo_t* info) noexcept {
  const Target* const target = g_target.load(std::memory_order_acquire);
  if (target == nullptr) return;
  const auto thread = static_cast<std::int64_t>(syscall(SYS_gettid));
  std::int64_t reporter = 0;
  if (g_reporter.compare_exchange_strong(reporter, thread)) {
    write_report(target, thread, signal, info);
    g_reported.store(true, std::memory_order_release);
  } else if (reporter != thread) {  // the same: the report itself crashed, and nobody is to be waited for
    wait_for_report();
  }
}

void on_signal(int signal, siginfo_t* info, void*) noexcept {
  const int error = errno;
  report(signal, info);
  for (std::size_t i = 0; i < std::size(kSignals); ++i) {
    if (kSignals[i] == signal) sigaction(signal, &g_before[i], nullptr);
  }
  errno = error;
  // A fault happens again when this returns, now under the handler of before. What was sent by somebody has to be sent again.
  if (info == nullptr || info->si_code <= 0) syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), signal);
}

struct SignalStack {
  void* memory = nullptr;
  ~SignalStack() {
    if (memory == nullptr) return;
    stack_t none{};
    none.ss_flags = SS_DISABLE;
    sigaltstack(&none, nullptr);
    munmap(memory, kStack);
  }
};

}  // namespace

void arm_signal_stack() noexcept {
  thread_local SignalStack stack;
  if (stack.memory != nullptr || g_target.load(std::memory_order_relaxed) == nullptr) return;
  stack_t known{};
  if (sigaltstack(nullptr, &known) != 0 || (known.ss_flags & SS_DISABLE) == 0) return;  // somebody else's
  void* const memory = mmap(nullptr, kStack, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_STACK, -1, 0);
  if (memory == MAP_FAILED) return;
  stack_t mine{};
  mine.ss_sp = memory;
  mine.ss_size = kStack;
  if (sigaltstack(&mine, nullptr) == 0) stack.memory = memory;
  else munmap(memory, kStack);
}

void install_crash_handler(const std::string& dir, const Resource& resource) {
  auto* const target = new Target{};
  const std::string path = dir + "/" + crash_report_prefix(resource.service) + std::to_string(getpid()) + "-" + std::to_string(process_start(getpid())) + ".ndjson";
  const std::string members = detail::resource_members(resource);
  if (path.size() >= sizeof target->path || members.size() > sizeof target->members) {
    delete target;
    return;
  }
  std::memcpy(target->path, path.c_str(), path.size() + 1);
  std::memcpy(target->members, members.data(), members.size());
  target->members_size = members.size();
  // Loads the unwinder now: its first call allocates.
  void* frame[1];
  [[maybe_unused]] const int warm = backtrace(frame, 1);
  const Target* const before = g_target.exchange(target, std::memory_order_acq_rel);
  arm_signal_stack();
  if (before != nullptr) {
    static std::vector<const Target*>* const old = new std::vector<const Target*>;  // reachable, for whoever looks for leaks
    old->push_back(before);
    return;
  }
  for (std::size_t i = 0; i < std::size(kSignals); ++i) {
    struct sigaction action {};
    action.sa_sigaction = on_signal;
    action.sa_flags = SA_SIGINFO | SA_ONSTACK;
    sigemptyset(&action.sa_mask);
    sigaction(kSignals[i], &action, &g_before[i]);
  }
}

}  // namespace stella::telemetry
