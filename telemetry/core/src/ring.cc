// Making, mapping and checking ring files.
#include "ring.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <bit>

#include "stella/base/file.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {
constexpr char kMagic[8] = {'S', 'T', 'L', 'R', 'I', 'N', 'G', '1'};
constexpr std::size_t kLeast = 128 * 1024, kMost = 64u << 20;
static_assert(kLeast >= 2 * kRecordBytes);
}  // namespace

Result<void> Ring::map(int fd) {
  const std::size_t whole = kRingHeader + 2 * size_;
  void* const base = mmap(nullptr, whole, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (base == MAP_FAILED) return io_error("cannot map a telemetry ring", path_);
  mapping_ = static_cast<char*>(base);
  // Populated for reading: the kernel does not make pages of a shared file writable before they are written to (see make_writable).
  const int flags = MAP_SHARED | MAP_FIXED | MAP_POPULATE;
  if (mmap(mapping_, kRingHeader + size_, PROT_READ | PROT_WRITE, flags, fd, 0) == MAP_FAILED ||
      mmap(mapping_ + kRingHeader + size_, size_, PROT_READ | PROT_WRITE, flags, fd, kRingHeader) == MAP_FAILED) {
    return io_error("cannot map a telemetry ring", path_);
  }
  header_ = reinterpret_cast<RingHeader*>(mapping_);
  data_ = mapping_ + kRingHeader;
  return {};
}

// MAP_POPULATE leaves the pages of a shared file write-protected: the first store into each would be a fault in which the file system
// takes its locks, in the middle of a push. The second mapping is written only by a record that crosses the ring's end. Where the kernel
// is too old (before 5.14) or refuses, the faults happen as they would have.
void Ring::make_writable() noexcept {
  madvise(mapping_, kRingHeader + size_ + kRecordBytes, MADV_POPULATE_WRITE);
}

Result<std::unique_ptr<Ring>> Ring::create(const std::string& path, std::size_t bytes) {
  std::unique_ptr<Ring> ring(new Ring);
  ring->size_ = std::bit_ceil(std::clamp(bytes, kLeast, kMost));
  const auto file_bytes = static_cast<off_t>(kRingHeader + ring->size_);
  Fd fd;
  if (!path.empty()) {
    fd = Fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
    // Reserved, not only promised: a store into a hole of a full disk would be a SIGBUS.
    if (fd && posix_fallocate(fd.get(), 0, file_bytes) != 0) {
      fd.reset();
      unlink(path.c_str());
    }
  }
  if (fd) {
    ring->path_ = path;
  } else {
    fd = Fd(memfd_create("stella-telemetry-ring", MFD_CLOEXEC));
    if (!fd || ftruncate(fd.get(), file_bytes) != 0) return io_error("cannot make a telemetry ring", path);
  }
  STELLA_TRY_VOID(ring->map(fd.get()));
  ring->make_writable();
  RingHeader& h = *ring->header_;
  h.header_bytes = kRingHeader;
  h.data_bytes = static_cast<std::uint32_t>(ring->size_);
  for (auto& place : h.recent) place.store(~std::uint64_t{0}, std::memory_order_relaxed);
  std::atomic_signal_fence(std::memory_order_seq_cst);
  std::memcpy(h.magic, kMagic, sizeof kMagic);  // last: without it the file is none
  return ring;
}

Result<std::unique_ptr<Ring>> Ring::open(const std::string& path) {
  const Error broken = Error(contracts::errors::kMalformed, "not a telemetry ring").with("path", path);
  const Fd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
  if (!fd) return io_error("cannot open a telemetry ring", path);
  struct stat status {};
  if (fstat(fd.get(), &status) != 0 || !S_ISREG(status.st_mode)) return broken;
  RingHeader h;
  if (status.st_size < static_cast<off_t>(kRingHeader) || pread(fd.get(), static_cast<void*>(&h), sizeof h, 0) != static_cast<ssize_t>(sizeof h)) return broken;
  if (std::memcmp(h.magic, kMagic, sizeof kMagic) != 0 || h.header_bytes != kRingHeader) return broken;
  if (!std::has_single_bit(h.data_bytes) || h.data_bytes < kLeast || h.data_bytes > kMost) return broken;
  if (status.st_size != static_cast<off_t>(kRingHeader + h.data_bytes)) return broken;
  std::unique_ptr<Ring> ring(new Ring);
  ring->size_ = h.data_bytes;
  ring->path_ = path;
  STELLA_TRY_VOID(ring->map(fd.get()));
  const std::uint64_t head = ring->header_->head, tail = ring->header_->tail, done = ring->header_->done;
  if (done < tail || head < done || head - tail > ring->size_ || head % 8 != 0 || tail % 8 != 0 || done % 8 != 0) return broken;
  return ring;
}

Ring::~Ring() {
  if (mapping_ != nullptr) munmap(mapping_, kRingHeader + 2 * size_);
}

std::string_view Ring::at(std::uint64_t place) const noexcept {
  const std::uint64_t head = header_->head.load(std::memory_order_acquire);
  if (place >= head || head - place > size_ || place % 8 != 0) return {};
  return {data_ + (place & (size_ - 1)), head - place};
}

const std::string& catalogue_text() {
  static const std::string* const text = [] {
    auto* out = new std::string;
    for (std::size_t id = 0; id < kForeignField; ++id) {
      const std::string_view key = field_key(static_cast<std::uint8_t>(id));
      if (key.empty()) break;
      out->append(key).push_back('\n');
    }
    return out;
  }();
  return *text;
}

}  // namespace stella::telemetry
