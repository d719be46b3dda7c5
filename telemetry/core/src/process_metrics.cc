// CPU, memory, descriptors, threads, switches and faults of this process, from /proc and getrusage.
#include "process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdint>
#include <mutex>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/time.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/metrics.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry {
namespace {

constexpr Gauge kStart{contracts::metrics::kProcessStartTimeSeconds};
constexpr Gauge kUptime{contracts::metrics::kProcessUptimeSeconds};
constexpr Gauge kResident{contracts::metrics::kProcessResidentMemoryBytes};
constexpr Gauge kVirtual{contracts::metrics::kProcessVirtualMemoryBytes};
constexpr Counter kCpu{contracts::metrics::kProcessCpuSeconds};
constexpr Gauge kFds{contracts::metrics::kProcessOpenFds};
constexpr Gauge kMaxFds{contracts::metrics::kProcessMaxFds};
constexpr Gauge kThreads{contracts::metrics::kProcessThreads};
constexpr Counter kSwitches{contracts::metrics::kProcessContextSwitches};
constexpr Counter kFaults{contracts::metrics::kProcessPageFaults};
constexpr Counter kMasked{contracts::metrics::kTelemetryMasked};

int entries(const char* directory) {
  DIR* dir = opendir(directory);
  if (dir == nullptr) return 0;
  int count = -2;  // . and ..
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

void read_memory() {
  const auto statm = read_file("/proc/self/statm", 4096);  // size resident shared …, in pages
  if (!statm) return;
  std::array<double, 2> pages{};
  const char* at = statm->data();
  const char* const end = at + statm->size();
  for (double& value : pages) {
    long number = 0;
    at = std::from_chars(at, end, number).ptr;
    if (at != end) ++at;
    value = static_cast<double>(number);
  }
  const auto page = static_cast<double>(sysconf(_SC_PAGESIZE));
  kVirtual.set(pages[0] * page);
  kResident.set(pages[1] * page);
}

// Seconds since the epoch at which the kernel started the process: field 22 of stat, in ticks since boot.
double started_at() {
  const double now = static_cast<double>(Timestamp::now().micros()) / 1e6;
  const auto stat = read_file("/proc/self/stat", 4096);
  const auto uptime = read_file("/proc/uptime", 256);
  if (!stat || !uptime) return now;
  std::string_view rest(*stat);
  const std::size_t name_end = rest.rfind(')');  // the name may hold blanks
  if (name_end == rest.npos) return now;
  rest.remove_prefix(name_end + 2);
  for (int field = 3; field < 22; ++field) rest.remove_prefix(std::min(rest.find(' ') + 1, rest.size()));
  long long ticks = 0;
  double up = 0;
  std::from_chars(rest.data(), rest.data() + rest.size(), ticks);
  std::from_chars(uptime->data(), uptime->data() + uptime->size(), up);
  if (ticks <= 0 || up <= 0) return now;
  return now - up + static_cast<double>(ticks) / static_cast<double>(sysconf(_SC_CLK_TCK));
}

// Adds what a total of somebody else grew by since the last read.
template <class V>
class Growth {
 public:
  V since_last(V total) {
    const V grown = total > last_ ? total - last_ : V{};
    last_ = total;
    return grown;
  }

 private:
  V last_{};
};

// Collections come one at a time, but from any thread.
struct Totals {
  std::mutex mutex;
  Growth<double> cpu;
  Growth<std::uint64_t> voluntary, involuntary, minor, major, secrets, pii;
  double started = 0;
};

void read_usage(Totals& totals) {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  const auto count = [](long n) { return static_cast<std::uint64_t>(n); };
  kCpu.add(totals.cpu.since_last(seconds(usage.ru_utime) + seconds(usage.ru_stime)));
  kSwitches.add(totals.voluntary.since_last(count(usage.ru_nvcsw)), "voluntary");
  kSwitches.add(totals.involuntary.since_last(count(usage.ru_nivcsw)), "involuntary");
  kFaults.add(totals.minor.since_last(count(usage.ru_minflt)), "minor");
  kFaults.add(totals.major.since_last(count(usage.ru_majflt)), "major");
}

void read_process() {
  static Totals* const totals = new Totals;
  const std::lock_guard lock(totals->mutex);
  if (totals->started == 0) totals->started = started_at();
  kStart.set(totals->started);
  kUptime.set(static_cast<double>(Timestamp::now().micros()) / 1e6 - totals->started);
  read_memory();
  kFds.set(entries("/proc/self/fd") - 1);  // the directory's own
  rlimit limit{};
  if (getrlimit(RLIMIT_NOFILE, &limit) == 0) kMaxFds.set(static_cast<double>(limit.rlim_cur));
  kThreads.set(entries("/proc/self/task"));
  read_usage(*totals);
  const ScrubTotals masked = scrub_totals();
  kMasked.add(totals->secrets.since_last(masked.secrets), "secret");
  kMasked.add(totals->pii.since_last(masked.pii), "pii");
}

}  // namespace

void watch_process() {
  static std::once_flag once;
  std::call_once(once, [] {
    declare_series(*contracts::metrics::kTelemetryDropped.spec);
    declare_series(*contracts::metrics::kMetricOverflow.spec);
    on_collect(read_process);
  });
}

}  // namespace stella::telemetry
