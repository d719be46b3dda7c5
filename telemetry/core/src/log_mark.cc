// The page of a mark, and reading the log files behind it.
#include "log_mark.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstring>
#include <functional>
#include <tuple>
#include <utility>

#include "instance.h"
#include "stella/base/file.h"

namespace stella::telemetry {

struct LogMarkPage {
  char magic[8];
  std::atomic<std::uint64_t> valid;  // what follows belongs together
  std::uint64_t device, inode;
  std::int64_t ns;                   // wall clock, of the first mark in this file
  std::atomic<std::uint64_t> offset;
  std::uint32_t path_size;
  char path[4000];
};

namespace {

constexpr char kMagic[8] = {'S', 'T', 'L', 'M', 'A', 'R', 'K', '1'};
constexpr std::string_view kName = "written-";
constexpr std::uint64_t kMostBytes = 4ull << 30;  // of a log that is compared
static_assert(sizeof(LogMarkPage) <= 4096);

std::int64_t wall_ns() {
  timespec now{};
  clock_gettime(CLOCK_REALTIME, &now);
  return static_cast<std::int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

}  // namespace

LogMark::LogMark(const std::string& instance, std::string_view log) {
  if (log.empty()) return;
  const std::string path = absolute_path(log);
  if (path.empty() || path.size() > sizeof LogMarkPage::path) return;
  Fd file;
  for (int n = 0; n < 100 && !file; ++n) {
    file = Fd(::open((instance + "/" + std::string(kName) + std::to_string(n)).c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!file && errno != EEXIST) return;
  }
  // Reserved: a store into a hole of a full disk would be a SIGBUS.
  if (!file || posix_fallocate(file.get(), 0, sizeof(LogMarkPage)) != 0) return;
  void* const at = mmap(nullptr, sizeof(LogMarkPage), PROT_READ | PROT_WRITE, MAP_SHARED, file.get(), 0);
  if (at == MAP_FAILED) return;
  page_ = static_cast<LogMarkPage*>(at);
  std::memcpy(page_->magic, kMagic, sizeof kMagic);
  page_->path_size = static_cast<std::uint32_t>(path.size());
  std::memcpy(page_->path, path.data(), path.size());
}

LogMark::LogMark(LogMark&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}

LogMark& LogMark::operator=(LogMark&& other) noexcept {
  std::swap(page_, other.page_);
  return *this;
}

LogMark::~LogMark() {
  if (page_ != nullptr) munmap(page_, sizeof *page_);
}

void LogMark::set(const std::optional<LogPlace>& place) noexcept {
  if (page_ == nullptr) return;
  const bool same = place && page_->valid.load(std::memory_order_relaxed) != 0 && page_->device == place->device && page_->inode == place->inode;
  if (same) {
    page_->offset.store(place->offset, std::memory_order_relaxed);
    return;
  }
  // Another file. Whoever dies in between has written nothing that is not noted in the rings.
  page_->valid.store(0, std::memory_order_seq_cst);
  if (!place) return;
  page_->device = place->device;
  page_->inode = place->inode;
  page_->ns = wall_ns();
  page_->offset.store(place->offset, std::memory_order_relaxed);
  page_->valid.store(1, std::memory_order_seq_cst);
}

WrittenLines::WrittenLines(const std::string& instance, int log) {
  for (const std::string& name : names_in(instance)) {
    if (!name.starts_with(kName)) continue;
    const auto bytes = read_file(instance + "/" + name, sizeof(LogMarkPage));
    if (!bytes || bytes->size() != sizeof(LogMarkPage)) continue;
    LogMarkPage page;
    std::memcpy(static_cast<void*>(&page), bytes->data(), sizeof page);
    if (std::memcmp(page.magic, kMagic, sizeof kMagic) != 0 || page.valid != 1 || page.path_size > sizeof page.path) continue;
    marks_.push_back({{page.device, page.inode, page.offset}, page.ns, std::string(page.path, page.path_size)});
  }
  // Of one file the longer stretch alone: a line is not to count twice.
  std::sort(marks_.begin(), marks_.end(), [](const Marked& a, const Marked& b) {
    return std::tie(a.place.device, a.place.inode, a.place.offset) < std::tie(b.place.device, b.place.inode, b.place.offset);
  });
  const auto again = [](const Marked& a, const Marked& b) { return a.place.device == b.place.device && a.place.inode == b.place.inode; };
  marks_.erase(std::unique(marks_.begin(), marks_.end(), again), marks_.end());
  for (const Marked& mark : marks_) read(mark, log);
}

bool WrittenLines::covers(const LogPlace& place) const {
  return std::any_of(marks_.begin(), marks_.end(), [&](const Marked& m) { return m.place.device == place.device && m.place.inode == place.inode && m.place.offset <= place.offset; });
}

// The file itself, or, where it was renamed meanwhile, what it is called now and those that came after it.
void WrittenLines::read(const Marked& mark, int log) {
  struct stat own {};
  if (fstat(log, &own) == 0 && own.st_dev == mark.place.device && own.st_ino == mark.place.inode && (fcntl(log, F_GETFL) & O_ACCMODE) == O_RDWR) {
    const auto size = static_cast<std::uint64_t>(own.st_size);
    return read(log, mark.place.offset <= size ? mark.place.offset : 0, size);
  }
  const std::size_t slash = mark.log.rfind('/');
  if (slash == mark.log.npos) return;
  const std::string dir = mark.log.substr(0, slash + 1), base = mark.log.substr(slash + 1);
  std::vector<std::string> names{base};
  for (const std::string& name : names_in(dir)) {
    if (name.starts_with(base + ".")) names.push_back(name);
  }
  for (const std::string& name : names) {
    const Fd file(::open((dir + name).c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    struct stat status {};
    if (!file || fstat(file.get(), &status) != 0 || !S_ISREG(status.st_mode)) continue;
    const bool marked = status.st_dev == mark.place.device && status.st_ino == mark.place.inode;
    const auto size = static_cast<std::uint64_t>(status.st_size);
    // Of others only what was written to since; the clock of files may be a little behind.
    const auto elsewhere = [&] { return std::any_of(marks_.begin(), marks_.end(), [&](const Marked& m) { return m.place.device == status.st_dev && m.place.inode == status.st_ino; }); };
    if (marked) read(file.get(), mark.place.offset <= size ? mark.place.offset : 0, size);
    else if (status.st_mtim.tv_sec + 1 >= mark.ns / 1'000'000'000 && !elsewhere()) read(file.get(), 0, size);
    if (marked && name == base) return;
  }
}

void WrittenLines::read(int fd, std::uint64_t offset, std::uint64_t size) {
  if (size - offset > kMostBytes) return;
  std::string text;  // from the beginning of a line
  std::string piece(1 << 20, '\0');
  while (offset < size) {
    const ssize_t n = ::pread(fd, piece.data(), piece.size(), static_cast<off_t>(offset));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    offset += static_cast<std::uint64_t>(n);
    text.append(piece, 0, static_cast<std::size_t>(n));
    std::size_t from = 0;
    for (std::size_t to; (to = text.find('\n', from)) != text.npos; from = to + 1) ++lines_[std::hash<std::string_view>()(std::string_view(text).substr(from, to - from))];
    text.erase(0, from);
  }
  // Perhaps all of a line but its end, which the next write brings.
  if (!text.empty()) ++lines_[std::hash<std::string_view>()(text)];
}

bool WrittenLines::take(std::string_view line) {
  if (lines_.empty()) return false;
  const auto found = lines_.find(std::hash<std::string_view>()(line));
  if (found == lines_.end()) return false;
  if (--found->second == 0) lines_.erase(found);
  return true;
}

}  // namespace stella::telemetry
