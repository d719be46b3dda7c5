// Writing, rotating and syncing the log file.
#include "log_file.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <vector>

#include "stella/base/thread.h"

namespace stella::telemetry {
namespace {

constexpr std::int64_t kSecond = 1'000'000'000;
constexpr std::chrono::seconds kSyncEvery{1};
constexpr std::size_t kBusyWrite = 64 * 1024;       // a write of at least this says that more will follow
constexpr std::uint64_t kReserve = 1024 * 1024;

std::int64_t file_ns(const timespec& t) { return static_cast<std::int64_t>(t.tv_sec) * kSecond + t.tv_nsec; }

// `20261124T170700.123456Z`: sorts by time.
std::string stamp(std::int64_t ns) {
  std::string text = Timestamp::from_micros(ns / 1000).rfc3339();
  std::erase_if(text, [](char c) { return c == '-' || c == ':'; });
  return text;
}

// False: not within a second.
bool wait_writable(int fd) noexcept {
  pollfd one{fd, POLLOUT, 0};
  return ::poll(&one, 1, 1000) > 0 && (one.revents & POLLOUT) != 0;
}

// `patient`: somebody who shares standard error may have made it non-blocking, and a slow reader is no failure. False where there seems to be
// no reader: then nobody waits for it again until it has taken something.
bool write_fully(int fd, std::string_view bytes, std::size_t& written, bool* patient = nullptr) noexcept {
  written = 0;
  while (written < bytes.size()) {
    const ssize_t n = ::write(fd, bytes.data() + written, bytes.size() - written);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN && patient != nullptr && *patient) {
      if (wait_writable(fd)) continue;
      *patient = false;
    }
    if (n <= 0) return false;
    if (patient != nullptr) *patient = true;
    written += static_cast<std::size_t>(n);
  }
  return true;
}

// A process died in the middle of it. False also where the file may not be read, or is no file.
bool ends_within_a_line(int fd) {
  struct stat status {};
  char last = '\n';
  return fstat(fd, &status) == 0 && S_ISREG(status.st_mode) && status.st_size > 0 && pread(fd, &last, 1, status.st_size - 1) == 1 && last != '\n';
}
bool ends_within_a_line(const std::string& path) {
  const Fd reader(path.empty() ? -1 : ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
  return reader && ends_within_a_line(reader.get());
}

}  // namespace

Result<std::unique_ptr<LogFile>> LogFile::open(std::string path, RotationOptions rotation) {
  std::unique_ptr<LogFile> log(new LogFile(std::move(path), rotation));
  if (log->path_.empty()) {
    log->torn_ = ends_within_a_line(STDERR_FILENO) || ends_within_a_line(log->name());
    return log;
  }
  if (!log->open_file()) return io_error("cannot open the log file", log->path_);
  log->syncer_ = start_thread("log-sync", [raw = log.get()] { raw->run_sync(); });
  return log;
}

LogFile::~LogFile() {
  if (!syncer_.joinable()) return;
  {
    Lock lock(mutex_);
    stop_ = true;
    changed_.notify_all();
  }
  syncer_.join();
  sync();
}

bool LogFile::open_file() noexcept {
  Fd file(::open(path_.c_str(), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0640));
  if (!file) return false;
  struct stat status {};
  if (fstat(file.get(), &status) == 0 && S_ISREG(status.st_mode)) {
    size_ = static_cast<std::uint64_t>(status.st_size);
    // The age of a file that was there before: since it was last written at the latest.
    opened_ns_ = size_ > 0 ? file_ns(status.st_mtim) : 0;
    torn_ = ends_within_a_line(path_);
  } else {
    size_ = 0;
    opened_ns_ = 0;
    torn_ = false;
  }
  Lock lock(mutex_);
  if (file_ && dirty_) fdatasync(file_.get());
  // One number for good: who writes beside the owner (write_late) has the old file or the new one, never a descriptor of somebody else.
  if (!file_) file_ = std::move(file);
  else if (::dup3(file.get(), file_.get(), O_CLOEXEC) < 0) return false;
  reserved_ = 0;
  dirty_ = false;
  fd_number_.store(file_.get(), std::memory_order_relaxed);
  return true;
}

bool LogFile::due(std::size_t more, std::int64_t now_ns) const {
  if (size_ == 0) return false;
  if (rotation_.max_bytes > 0 && size_ + more > rotation_.max_bytes) return true;
  return rotation_.max_age.count() > 0 && opened_ns_ > 0 && now_ns - opened_ns_ >= rotation_.max_age.count() * kSecond;
}

void LogFile::rotate(std::int64_t now_ns) noexcept {
  std::string target = path_ + "." + stamp(now_ns);
  // Two rotations within a microsecond, or a clock that went back: never over an older file.
  for (int i = 1; access(target.c_str(), F_OK) == 0 && i < 1000; ++i) target = path_ + "." + stamp(now_ns) + "-" + std::to_string(i);
  // Where somebody else moved it there is nothing to rename. Any other failure: on in the old file, tried again with the next write.
  if (rename(path_.c_str(), target.c_str()) != 0 && errno != ENOENT) return;
  if (!open_file()) return reopen();
  drop_old(now_ns);
}

void LogFile::drop_old(std::int64_t now_ns) noexcept {
  if (rotation_.keep_files == 0 && rotation_.keep_age.count() == 0) return;
  const std::size_t slash = path_.rfind('/');
  const std::string dir = slash == path_.npos ? "." : path_.substr(0, slash + 1), prefix = path_.substr(slash + 1) + ".";
  struct Old {
    std::string name;
    std::int64_t ns;
  };
  std::vector<Old> old;
  DIR* const entries = opendir(dir.c_str());
  if (entries == nullptr) return;
  while (const dirent* entry = readdir(entries)) {
    const std::string name = entry->d_name;
    // Only what rotate() named: prefix, then date T time.
    if (!name.starts_with(prefix) || name.size() < prefix.size() + 23 || name[prefix.size() + 8] != 'T' || name[prefix.size() + 22] != 'Z') continue;
    const std::string when = name.substr(prefix.size(), 23);
    const auto time = Timestamp::parse(when.substr(0, 4) + "-" + when.substr(4, 2) + "-" + when.substr(6, 5) + ":" + when.substr(11, 2) + ":" + when.substr(13));
    if (time) old.push_back({dir + (slash == path_.npos ? "/" : "") + name, time->micros() * 1000});
  }
  closedir(entries);
  std::sort(old.begin(), old.end(), [](const Old& a, const Old& b) { return a.name > b.name; });  // newest first
  for (std::size_t i = 0; i < old.size(); ++i) {
    const bool many = rotation_.keep_files > 0 && i >= rotation_.keep_files;
    const bool aged = rotation_.keep_age.count() > 0 && now_ns - old[i].ns > rotation_.keep_age.count() * kSecond;
    if (many || aged) unlink(old[i].name.c_str());
  }
}

// The file system gives a busy file its blocks in one piece, which costs the writer a third less than block by block. The size stays as it
// is; where it cannot be done the write itself will ask.
void LogFile::reserve(std::size_t more) noexcept {
  if (path_.empty() || more < kBusyWrite || size_ + more <= reserved_) return;
  const std::uint64_t bytes = std::max<std::uint64_t>(kReserve, more);
  reserved_ = size_ + bytes;
  [[maybe_unused]] const int done = fallocate(fd(), FALLOC_FL_KEEP_SIZE, static_cast<off_t>(size_), static_cast<off_t>(bytes));
}

// What a full disk took of a line is no line: back to the end of the last one. Only where nobody wrote behind it.
std::size_t LogFile::cut(std::string_view lines, std::size_t written) noexcept {
  const std::size_t whole = written == 0 ? 0 : lines.rfind('\n', written - 1) + 1;  // npos + 1 is 0
  struct stat status {};
  if (path_.empty() || whole == written || fstat(fd(), &status) != 0 || static_cast<std::uint64_t>(status.st_size) != size_ + written) return written;
  return ::ftruncate(fd(), static_cast<off_t>(size_ + whole)) == 0 ? whole : written;
}

std::size_t LogFile::write(std::string_view lines, std::int64_t now_ns) noexcept {
  if (lines.empty()) return 0;
  if (!path_.empty()) {
    if (reopen_.exchange(false, std::memory_order_relaxed) && !open_file()) reopen();  // what was asked for once holds until it is done
    if (due(lines.size(), now_ns)) rotate(now_ns);
  }
  std::size_t written = 0;
  if (torn_) {
    if (!write_fully(fd(), "\n", written, &patient_)) return 0;
    torn_ = false;
    ++size_;
  }
  if (size_ == 0) opened_ns_ = now_ns;
  reserve(lines.size());
  if (!write_fully(fd(), lines, written, &patient_)) written = cut(lines, written);
  size_ += written;
  torn_ = written > 0 && lines[written - 1] != '\n';
  if (!path_.empty()) {
    Lock lock(mutex_);
    if (!dirty_) changed_.notify_all();
    dirty_ = true;
  }
  return written;
}

bool LogFile::write_late(std::string_view line) noexcept {
  std::size_t written = 0;
  return write_fully(fd(), line, written);
}

std::string LogFile::name() const {
  if (!path_.empty()) return path_;
  char name[4096];  // standard error, which a supervisor has put into a file, perhaps
  const ssize_t n = readlink(("/proc/self/fd/" + std::to_string(fd())).c_str(), name, sizeof name);
  return n > 0 && name[0] == '/' ? std::string(name, static_cast<std::size_t>(n)) : std::string();
}

std::optional<LogPlace> LogFile::place() const noexcept {
  struct stat status {};
  if (fstat(fd(), &status) != 0 || !S_ISREG(status.st_mode)) return std::nullopt;
  return LogPlace{status.st_dev, status.st_ino, static_cast<std::uint64_t>(status.st_size)};
}

void LogFile::sync() noexcept {
  if (!path_.empty()) fdatasync(fd());
}

void LogFile::run_sync() {
  while (true) {
    Fd copy;
    {
      Lock lock(mutex_);
      while (!dirty_ && !stop_) changed_.wait_until(mutex_, Deadline::after(std::chrono::hours(1)));
      if (stop_) return;
    }
    {
      // A second passes from the first unsynced byte to the sync, never more.
      Lock lock(mutex_);
      const Deadline at = Deadline::after(kSyncEvery);
      while (!stop_ && !at.passed()) changed_.wait_until(mutex_, at);
      dirty_ = false;
      copy = Fd(fcntl(file_.get(), F_DUPFD_CLOEXEC, 0));
    }
    if (copy) fdatasync(copy.get());
  }
}

}  // namespace stella::telemetry
