// CPU, memory, descriptors and threads of this process, from /proc and getrusage.
#include "process_metrics.h"

#include <dirent.h>
#include <sys/resource.h>
#include <unistd.h>

#include <charconv>
#include <mutex>
#include <string>

#include "stella/base/file.h"
#include "stella/base/time.h"
#include "stella/contracts/metrics.h"
#include "stella/telemetry/metrics.h"

namespace stella::telemetry {
namespace {

constexpr Gauge kStart{contracts::metrics::kProcessStartTimeSeconds};
constexpr Gauge kResident{contracts::metrics::kProcessResidentMemoryBytes};
constexpr Counter kCpu{contracts::metrics::kProcessCpuSeconds};
constexpr Gauge kFds{contracts::metrics::kProcessOpenFds};
constexpr Gauge kThreads{contracts::metrics::kProcessThreads};

double cpu_seconds() {
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  const auto seconds = [](const timeval& t) { return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_usec) / 1e6; };
  return seconds(usage.ru_utime) + seconds(usage.ru_stime);
}

int entries(const char* directory) {
  DIR* dir = opendir(directory);
  if (dir == nullptr) return 0;
  int count = -2;  // . and ..
  while (readdir(dir) != nullptr) ++count;
  closedir(dir);
  return count;
}

void read_process() {
  static std::mutex mutex;
  static double counted = 0;
  if (auto statm = read_file("/proc/self/statm", 4096)) {
    // size resident shared …, in pages
    const std::size_t space = statm->find(' ');
    long pages = 0;
    if (space != std::string::npos) std::from_chars(statm->data() + space + 1, statm->data() + statm->size(), pages);
    kResident.set(static_cast<double>(pages) * static_cast<double>(sysconf(_SC_PAGESIZE)));
  }
  kFds.set(entries("/proc/self/fd") - 1);  // the directory's own
  kThreads.set(entries("/proc/self/task"));
  const double now = cpu_seconds();
  const std::lock_guard lock(mutex);
  if (now > counted) kCpu.add(now - counted);
  counted = now;
}

}  // namespace

void watch_process() {
  static std::once_flag once;
  std::call_once(once, [] {
    kStart.set(static_cast<double>(Timestamp::now().micros()) / 1e6);
    on_collect(read_process);
  });
}

}  // namespace stella::telemetry
