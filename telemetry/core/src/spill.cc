// Frames of the spill file.
#include "spill.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>

#include "stella/base/crc32c.h"
#include "stella/telemetry/record.h"

namespace stella::telemetry {
namespace {

constexpr std::uint32_t kMagic = 0x4c4c5053;  // "SPLL"
constexpr char kFileMagic[8] = {'S', 'T', 'L', 'S', 'P', 'I', 'L', '1'};
constexpr std::uint64_t kRecoverBytes = 1u << 30;

struct FrameHead {
  std::uint32_t magic = kMagic, size = 0, crc = 0, ring = 0;
};

// Takes whole frames off `bytes`; returns the bytes used. A frame that does not check is skipped by its size, or byte by byte where
// even that is wrong. `begin` is the place of the first byte.
std::size_t take_frames(std::string_view bytes, std::vector<Spill::Frame>& out, std::uint64_t& broken, std::uint64_t begin = 0) {
  std::size_t used = 0;
  bool lost = false;  // inside of garbage that is counted already
  while (bytes.size() - used >= sizeof(FrameHead)) {
    FrameHead head;
    std::memcpy(&head, bytes.data() + used, sizeof head);
    if (head.magic != kMagic || head.size > kRecordBytes || head.size < sizeof(RecordHead)) {
      if (!lost) ++broken;
      lost = true;
      ++used;
      continue;
    }
    if (bytes.size() - used - sizeof head < head.size) break;
    const std::string_view record = bytes.substr(used + sizeof head, head.size);
    if (crc32c(0, record) != head.crc) {
      if (!lost) ++broken;
      lost = true;
      ++used;
      continue;
    }
    lost = false;
    used += sizeof head + head.size;
    out.push_back({std::string(record), head.ring, false, begin + used});
  }
  return used;
}

}  // namespace

bool Spill::begin() noexcept {
  if (file_) return true;
  file_ = Fd(::open(path_.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!file_) return false;
  if (pwrite(file_.get(), kFileMagic, sizeof kFileMagic, 0) == static_cast<ssize_t>(sizeof kFileMagic)) {
    note(kHead, kHead);
    return true;
  }
  file_.reset();
  unlink(path_.c_str());
  return false;
}

void Spill::note(std::uint64_t released, std::uint64_t done) noexcept {
  const std::uint64_t places[] = {released, done};
  released_ = released;
  [[maybe_unused]] const ssize_t n = pwrite(file_.get(), places, sizeof places, sizeof kFileMagic);
}

std::uint64_t Spill::append(std::string_view record, std::uint64_t sequence, std::uint32_t ring, bool always) noexcept {
  if (record.size() < sizeof(RecordHead) || record.size() > kRecordBytes) return 0;
  // The sequence belongs into the record: three pieces instead of a copy.
  constexpr std::size_t kAt = offsetof(RecordHead, sequence);
  FrameHead head;
  head.size = static_cast<std::uint32_t>(record.size());
  head.ring = ring;
  char front[sizeof(RecordHead)];
  std::memcpy(front, record.data(), sizeof front);
  std::memcpy(front + kAt, &sequence, sizeof sequence);
  const std::string_view rest = record.substr(sizeof front);
  head.crc = crc32c(crc32c(0, {front, sizeof front}), rest);

  Lock lock(mutex_);
  if (!always && size_ >= max_bytes_) return 0;
  if (!begin()) return 0;
  const iovec parts[] = {{&head, sizeof head}, {front, sizeof front}, {const_cast<char*>(rest.data()), rest.size()}};
  const auto whole = static_cast<ssize_t>(sizeof head + record.size());
  if (pwritev(file_.get(), parts, 3, static_cast<off_t>(size_)) != whole) {
    // A torn frame at the end would hide the next one.
    [[maybe_unused]] const int back = ftruncate(file_.get(), static_cast<off_t>(size_));
    return 0;
  }
  size_ += static_cast<std::uint64_t>(whole);
  return ++appended_;
}

std::uint64_t Spill::written() {
  Lock lock(mutex_);
  return size_;
}

std::vector<Spill::Frame> Spill::read(std::uint64_t end, std::size_t max_bytes, std::uint64_t& broken) {
  std::vector<Frame> frames;
  int fd = -1;
  {
    Lock lock(mutex_);
    fd = file_.get();
  }
  if (fd < 0 || read_ >= end) return frames;
  std::string bytes(std::min<std::uint64_t>(end - read_, std::max(max_bytes, kRecordBytes + sizeof(FrameHead))), '\0');
  std::size_t got = 0;
  while (got < bytes.size()) {
    const ssize_t n = pread(fd, bytes.data() + got, bytes.size() - got, static_cast<off_t>(read_ + got));
    if (n < 0 && errno == EINTR) continue;
    if (n <= 0) break;
    got += static_cast<std::size_t>(n);
  }
  bytes.resize(got);
  const std::size_t used = take_frames(bytes, frames, broken);
  read_ += used;
  // Nothing more can be made of an end that is no frame.
  if (used == 0 && got > 0) read_ = end;
  Lock lock(mutex_);
  // Broken frames have no number: once everything is read, everything is taken.
  const std::uint64_t taken = taken_.load(std::memory_order_relaxed) + frames.size();
  taken_.store(read_ >= size_ ? appended_ : std::min(taken, appended_), std::memory_order_release);
  return frames;
}

void Spill::done() {
  Lock lock(mutex_);
  if (file_) note(released_, read_);
}

void Spill::release() {
  Lock lock(mutex_);
  if (!file_) return;
  if (read_ >= size_ && size_ > kHead && ftruncate(file_.get(), kHead) == 0) size_ = read_ = kHead;
  note(read_, read_);
}

std::vector<Spill::Frame> Spill::recover(const std::string& path, std::uint64_t& broken, bool& unread) {
  std::vector<Frame> frames;
  const auto bytes = read_file(path, kRecoverBytes);
  if (!bytes) {
    if (bytes.error().code() == base_errors::kIo) unread = true;
    else if (bytes.error().code() != base_errors::kNotFound) ++broken;
    return frames;
  }
  if (bytes->size() < kHead) return frames;
  std::uint64_t places[2];  // released, written
  std::memcpy(places, bytes->data() + sizeof kFileMagic, sizeof places);
  if (!bytes->starts_with(std::string_view(kFileMagic, sizeof kFileMagic)) || places[0] < kHead || places[0] > bytes->size()) {
    // Killed between the cut and the note of it, or no spill at all: what checks is taken.
    if (bytes->size() > kHead) ++broken;
    places[0] = places[1] = kHead;
  }
  places[1] = std::clamp<std::uint64_t>(places[1], places[0], bytes->size());
  const std::string_view whole = *bytes;
  take_frames(whole.substr(places[0], places[1] - places[0]), frames, broken, places[0]);
  for (Frame& frame : frames) frame.written = true;
  const std::string_view rest = whole.substr(places[1]);
  const std::size_t used = take_frames(rest, frames, broken, places[1]);
  if (used < rest.size()) ++broken;  // the frame that was being written
  return frames;
}

void Spill::note_recovered(const std::string& path, std::optional<std::uint64_t> released, std::uint64_t written) noexcept {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return;
  const std::uint64_t places[] = {released.value_or(0), written};
  const std::size_t from = released ? 0 : 1;  // that one alone
  [[maybe_unused]] const ssize_t n = pwrite(file.get(), places + from, (2 - from) * sizeof *places, static_cast<off_t>(sizeof kFileMagic + from * sizeof *places));
}

}  // namespace stella::telemetry
