// The reports afterwards: found at the next start, moved to where they outlive a reboot, told, and the old ones removed.
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <charconv>
#include <cstdint>
#include <ctime>
#include <map>
#include <utility>
#include <vector>

#include "crash.h"
#include "instance.h"
#include "stella/base/file.h"
#include "stella/telemetry/log.h"

namespace stella::telemetry {
namespace {

constexpr Logger kLog{"telemetry"};
constexpr std::size_t kReports = 16;
constexpr std::string_view kReported = "reported-";  // before the name of one that was told and could not be moved

std::vector<std::string> names_with(const std::string& dir, std::string_view prefix) {
  std::vector<std::string> names;
  DIR* const entries = opendir(dir.c_str());
  if (entries == nullptr) return names;
  while (const dirent* entry = readdir(entries)) {
    if (std::string_view(entry->d_name).starts_with(prefix)) names.emplace_back(entry->d_name);
  }
  closedir(entries);
  return names;
}

// Piece by piece: a report may be as large as all rings together. It keeps the time of the crash.
Result<void> copy(const std::string& from, const std::string& to) {
  const Fd in(::open(from.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  const Fd out(::open(to.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600));
  struct stat status {};
  if (!in || !out || fstat(in.get(), &status) != 0) return io_error("cannot copy a crash report", !in ? from : to);
  std::string piece(64 * 1024, '\0');
  while (true) {
    const ssize_t n = ::read(in.get(), piece.data(), piece.size());
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot read a crash report", from);
    if (n == 0) break;
    STELLA_TRY_VOID(write_all(out.get(), std::string_view(piece).substr(0, static_cast<std::size_t>(n))));
  }
  const timespec times[] = {status.st_atim, status.st_mtim};
  futimens(out.get(), times);
  if (fsync(out.get()) != 0) return io_error("cannot write a crash report", to);
  return {};
}

// The rings lie in memory, mostly, and the directory of the reports on a disk.
Result<void> move(const std::string& from, const std::string& to) {
  if (rename(from.c_str(), to.c_str()) == 0) return {};
  if (errno != EXDEV) return io_error("cannot move a crash report", to);
  const std::string part = to + ".part";
  const auto copied = copy(from, part);
  if (!copied || rename(part.c_str(), to.c_str()) != 0) {
    unlink(part.c_str());
    return copied ? io_error("cannot move a crash report", to) : copied;
  }
  unlink(from.c_str());
  return sync_parent_dir(to);
}

// A process that is being reported on right now, perhaps this one: it crashes while it starts. `tail` is "<pid>-<start>.ndjson".
bool lives(std::string_view tail) {
  int pid = 0;
  std::uint64_t start = 0;
  const char* const end = tail.data() + tail.size();
  const auto number = std::from_chars(tail.data(), end, pid);
  if (number.ec != std::errc() || number.ptr == end || *number.ptr != '-') return false;
  if (std::from_chars(number.ptr + 1, end, start).ec != std::errc()) return false;
  return start != 0 && static_cast<std::uint64_t>(process_start(pid)) == start;
}

std::int64_t signal_of(const std::string& path) {
  std::string first(256, '\0');
  std::int64_t signal = 0;
  if (const Fd fd(open(path.c_str(), O_RDONLY | O_CLOEXEC)); fd) {
    const ssize_t n = read(fd.get(), first.data(), first.size());
    first.resize(n > 0 ? static_cast<std::size_t>(n) : 0);
    constexpr std::string_view kSignal = "{\"signal\":";
    if (first.starts_with(kSignal)) std::from_chars(first.data() + kSignal.size(), first.data() + first.size(), signal);
  }
  return signal;
}

void keep_newest(const std::string& dir, std::string_view prefix) {
  std::vector<std::pair<std::int64_t, std::string>> by_age;
  for (const std::string& name : names_with(dir, prefix)) {
    struct stat status {};
    if (stat((dir + "/" + name).c_str(), &status) == 0) by_age.emplace_back(status.st_mtim.tv_sec, name);
  }
  std::sort(by_age.begin(), by_age.end());
  for (std::size_t i = 0; i + kReports < by_age.size(); ++i) unlink((dir + "/" + by_age[i].second).c_str());
}

// Reports whose names begin with `fresh`, and those of them that were told before and could not be moved.
void announce(const std::string& dir, const std::string& fresh, const CrashReports& place) {
  const std::string known = std::string(kReported) + fresh;
  for (const std::string& name : names_with(dir, fresh)) {
    const std::string from = dir + "/" + name, told = dir + "/" + std::string(kReported) + name;
    struct stat status {};
    if (lives(std::string_view(name).substr(fresh.size()))) continue;
    if (stat(from.c_str(), &status) != 0 || rename(from.c_str(), told.c_str()) != 0) continue;  // another process was faster
    const std::int64_t signal = signal_of(told);
    const Error died(base_errors::kInternal, "the process died of a signal");
    if (place.dir.empty()) {
      kLog.error("an earlier process crashed; its report is kept", {f::error(died), f::path(told), f::signal(signal), f::bytes(status.st_size)});
      continue;
    }
    auto moved = make_dirs(place.dir, 0700);
    if (moved) moved = move(told, place.dir + "/" + name);
    // Relative to a directory that the reader knows: of an absolute path the line would show the last part alone.
    if (moved) kLog.error("an earlier process crashed; its report lies below the data directory", {f::error(died), f::path(place.shown + "/" + name), f::signal(signal), f::bytes(status.st_size)});
    else kLog.error("an earlier process crashed; its report could not be moved and lies with the telemetry rings", {f::path(told), f::signal(signal), f::bytes(status.st_size), f::error(moved.error())});
  }
  // Told before, by one that could not move them.
  if (!place.dir.empty()) {
    for (const std::string& name : names_with(dir, known)) {
      if (make_dirs(place.dir, 0700)) (void)move(dir + "/" + name, place.dir + "/" + name.substr(kReported.size()));
    }
    keep_newest(place.dir, fresh);
  }
  keep_newest(dir, known);
}

// "crash-<service>-" of "crash-<service>-<pid>-<start>.ndjson", also behind "reported-"; "" where it is no such name.
std::string prefix_of(std::string_view name) {
  if (name.starts_with(kReported)) name.remove_prefix(kReported.size());
  const std::size_t last = name.rfind('-');
  if (!name.starts_with("crash-") || !name.ends_with(".ndjson") || last == name.npos || last == 0) return "";
  const std::size_t before = name.rfind('-', last - 1);
  return before == name.npos || before < 6 ? "" : std::string(name.substr(0, before + 1));
}

}  // namespace

std::string crash_report_prefix(const std::string& service) {
  std::string text = service.substr(0, 64);
  std::replace_if(text.begin(), text.end(), [](char c) { return !(std::isalnum(static_cast<unsigned char>(c)) || c == '_'); }, '_');
  return "crash-" + text + "-";
}

void announce_crash_reports(const std::string& dir, const std::string& service, const CrashReports& place) {
  announce(dir, crash_report_prefix(service), place);
}

void announce_others_crash_reports(const std::string& dir, const std::string& service, const CrashReports& place, std::chrono::seconds grace) {
  std::map<std::string, std::int64_t> newest;  // by prefix, unix seconds
  for (const std::string& name : names_with(dir, "")) {
    const std::string prefix = prefix_of(name);
    struct stat status {};
    if (prefix.empty() || prefix == crash_report_prefix(service) || lstat((dir + "/" + name).c_str(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    std::int64_t& time = newest[prefix];
    time = std::max<std::int64_t>(time, status.st_mtim.tv_sec);
  }
  for (const auto& [prefix, time] : newest) {
    if (std::time(nullptr) - time >= grace.count()) announce(dir, prefix, place);
  }
}

}  // namespace stella::telemetry
