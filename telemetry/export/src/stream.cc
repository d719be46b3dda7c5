// Segment files, their recovery, and the cache in front of them.
#include "stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "stella/base/crc32c.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

constexpr std::uint32_t kMagic = 0x31505253;  // "SRP1"
constexpr std::uint32_t kMostPayload = 64u << 20;

struct RecordFront {
  std::uint32_t magic = kMagic, size = 0, items = 0, errors = 0;
  std::uint64_t order = 0;
  std::uint32_t crc = 0, zero = 0;
};
static_assert(sizeof(RecordFront) == 32);

std::uint32_t crc_of(const RecordFront& front, std::string_view payload) {
  return crc32c(crc32c(0, {reinterpret_cast<const char*>(&front), 24}), payload);
}

struct Cursor {
  std::uint64_t segment = 0, offset = 0;
  std::uint32_t crc = 0, zero = 0;
};
std::uint32_t crc_of(const Cursor& cursor) { return crc32c(7, {reinterpret_cast<const char*>(&cursor), 16}); }

}  // namespace

std::string Stream::path_of(std::uint64_t number) const {
  char name[32];
  std::snprintf(name, sizeof name, "/%016" PRIx64 ".seg", number);
  return dir_ + name;
}

Result<Stream::Recovered> Stream::open(const std::string& dir) {
  STELLA_TRY_VOID(make_dirs(dir, 0700));
  Fd lock(::open((dir + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock) return io_error("cannot open the lock of the telemetry spool", dir);
  if (::flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return Error(contracts::errors::kConflict, "another process uses this telemetry spool").with("path", dir);
  Fd cursor_file(::open((dir + "/cursor").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!cursor_file) return io_error("cannot open the cursor of the telemetry spool", dir);
  dir_ = dir;
  lock_ = std::move(lock);
  cursor_ = std::move(cursor_file);

  Cursor cursor;
  if (::pread(cursor_.get(), &cursor, sizeof cursor, 0) != static_cast<ssize_t>(sizeof cursor) || cursor.crc != crc_of(cursor)) cursor = {};
  std::vector<std::uint64_t> numbers;
  if (DIR* const listing = ::opendir(dir.c_str())) {
    while (const dirent* entry = ::readdir(listing)) {
      const std::string_view name = entry->d_name;
      std::uint64_t number = 0;
      if (name.size() == 20 && name.ends_with(".seg") && std::sscanf(entry->d_name, "%16" SCNx64, &number) == 1) numbers.push_back(number);
    }
    ::closedir(listing);
  }
  std::sort(numbers.begin(), numbers.end());
  Recovered found;
  std::uint64_t next = cursor.segment;
  for (const std::uint64_t number : numbers) {
    next = std::max(next, number);
    if (number < cursor.segment) {
      ::unlink(path_of(number).c_str());
      continue;
    }
    read_segment(number, number == cursor.segment ? cursor.offset : 0, number == numbers.back(), found);
  }
  // What was in memory alone is older than nothing on disk: it was taken while there was no disk.
  segments_.push_back({next + 1, 0, 0});
  return found;
}

void Stream::read_segment(std::uint64_t number, std::uint64_t from, bool last, Recovered& found) {
  auto bytes = read_file(path_of(number), std::uint64_t{1} << 31);
  if (!bytes) {
    ++found.damaged_records;
    return;
  }
  Segment segment{number, bytes->size(), 0};
  std::size_t at = from <= bytes->size() ? from : 0;
  const std::string_view all = *bytes;
  const std::string magic(reinterpret_cast<const char*>(&kMagic), sizeof kMagic);
  while (at < all.size()) {
    RecordFront front;
    const std::size_t left = all.size() - at;
    if (left >= sizeof front) std::memcpy(&front, all.data() + at, sizeof front);
    const bool whole = left >= sizeof front && front.magic == kMagic && front.size <= kMostPayload && front.size <= left - sizeof front;
    if (whole && front.crc == crc_of(front, all.substr(at + sizeof front, front.size))) {
      Entry entry{front.order, front.items, front.errors, front.size, number, at, true, nullptr};
      entries_.push_back(entry);
      items_on_disk_only_ += entry.items;
      found.items += entry.items;
      found.last_order = std::max(found.last_order, entry.order);
      ++segment.entries;
      at += sizeof front + front.size;
      continue;
    }
    // Damaged, or torn at the end: on to the next beginning of a record, if there is one.
    const std::size_t next = all.find(magic, at + 1);
    if (next == all.npos && last && (left < sizeof front || (front.magic == kMagic && !whole))) break;  // the write that the end interrupted
    ++found.damaged_records;
    if (whole && front.items <= 100'000) found.damaged_items += front.items;
    if (next == all.npos) break;
    at = next;
  }
  if (segment.entries == 0) {
    ::unlink(path_of(number).c_str());
    return;
  }
  disk_bytes_ += segment.bytes;
  segments_.push_back(segment);
}

void Stream::write_cursor(std::uint64_t segment, std::uint64_t offset) {
  Cursor cursor{segment, offset, 0, 0};
  cursor.crc = crc_of(cursor);
  [[maybe_unused]] const ssize_t written = ::pwrite(cursor_.get(), &cursor, sizeof cursor, 0);  // an old cursor only repeats
}

bool Stream::write(Entry& entry, const std::string& payload) {
  if (segments_.back().bytes >= limits_.segment_bytes) {
    file_.reset();
    segments_.push_back({segments_.back().number + 1, 0, 0});
  }
  Segment& segment = segments_.back();
  if (!file_) {
    auto file = std::make_shared<Fd>(::open(path_of(segment.number).c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!*file) return false;
    file_ = std::move(file);
  }
  RecordFront front;
  front.size = static_cast<std::uint32_t>(payload.size());
  front.items = entry.items;
  front.errors = entry.errors;
  front.order = entry.order;
  front.crc = crc_of(front, payload);
  std::string record(reinterpret_cast<const char*>(&front), sizeof front);
  record.append(payload);
  if (!write_all(file_->get(), record)) {
    // Half a record goes again; where even that fails, the reader skips it.
    if (::ftruncate(file_->get(), static_cast<off_t>(segment.bytes)) != 0) {
      file_.reset();
      segments_.push_back({segment.number + 1, 0, 0});
    }
    return false;
  }
  entry.segment = segment.number;
  entry.offset = segment.bytes;
  entry.on_disk = true;
  segment.bytes += record.size();
  ++segment.entries;
  disk_bytes_ += record.size();
  dirty_ = true;
  return true;
}

Stream::Taken Stream::append(std::uint64_t order, Batch&& batch, bool& disk_failed) {
  Entry entry{order, batch.items, batch.errors, static_cast<std::uint32_t>(batch.payload.size()), 0, 0, false, nullptr};
  disk_failed = on_disk() && !write(entry, batch.payload);
  const bool cached = memory_bytes_ + batch.payload.size() <= limits_.memory_bytes;
  if (!entry.on_disk && !cached) return Taken::kNoRoom;
  if (cached) {
    memory_bytes_ += batch.payload.size();
    items_in_memory_ += entry.items;
    entry.payload = std::make_shared<const std::string>(std::move(batch.payload));
  } else {
    items_on_disk_only_ += entry.items;
  }
  entries_.push_back(std::move(entry));
  return entries_.back().on_disk ? Taken::kDisk : Taken::kMemory;
}

std::shared_ptr<const std::string> Stream::load_front() {
  const Entry& entry = entries_.front();
  if (entry.payload) return entry.payload;
  const Fd file(::open(path_of(entry.segment).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return nullptr;
  RecordFront front;
  std::string payload(entry.size, '\0');
  if (::pread(file.get(), &front, sizeof front, static_cast<off_t>(entry.offset)) != static_cast<ssize_t>(sizeof front)) return nullptr;
  if (::pread(file.get(), payload.data(), payload.size(), static_cast<off_t>(entry.offset + sizeof front)) != static_cast<ssize_t>(payload.size())) return nullptr;
  if (front.magic != kMagic || front.size != entry.size || front.crc != crc_of(front, payload)) return nullptr;
  return std::make_shared<const std::string>(std::move(payload));
}

void Stream::forget(const Entry& entry) {
  if (entry.payload) {
    memory_bytes_ -= entry.size;
    items_in_memory_ -= entry.items;
  } else {
    items_on_disk_only_ -= entry.items;
  }
}

void Stream::remove_segment(std::deque<Segment>::iterator at) {
  ::unlink(path_of(at->number).c_str());
  disk_bytes_ -= at->bytes;
  segments_.erase(at);
}

void Stream::pop() {
  const Entry gone = std::move(entries_.front());
  entries_.pop_front();
  forget(gone);
  if (!gone.on_disk) return;
  const auto segment = std::find_if(segments_.begin(), segments_.end(), [&](const Segment& s) { return s.number == gone.segment; });
  if (segment == segments_.end()) return;
  --segment->entries;
  if (segment->entries > 0) return write_cursor(gone.segment, gone.offset + sizeof(RecordFront) + gone.size);
  // All of the file is sent: it goes, and the cursor before it.
  const bool current = segment + 1 == segments_.end();
  const std::uint64_t number = segment->number;
  write_cursor(number + 1, 0);
  remove_segment(segment);
  if (!current) return;
  file_.reset();
  dirty_ = false;
  segments_.push_back({number + 1, 0, 0});
}

std::vector<Stream::Entry> Stream::drop_oldest(bool front_under_way) {
  std::vector<Entry> gone;
  const std::uint64_t spared = front_under_way && !entries_.empty() && entries_.front().on_disk ? entries_.front().segment : 0;
  for (auto segment = segments_.begin(); segment != segments_.end(); ++segment) {
    if (segment->entries == 0 || segment->number == spared) continue;
    const std::uint64_t number = segment->number;
    std::deque<Entry> kept;
    for (Entry& entry : entries_) {
      if (!entry.on_disk || entry.segment != number) {
        kept.push_back(std::move(entry));
        continue;
      }
      forget(entry);
      gone.push_back(std::move(entry));
    }
    entries_ = std::move(kept);
    const bool current = segment + 1 == segments_.end();
    remove_segment(segment);
    if (current) {
      file_.reset();
      segments_.push_back({number + 1, 0, 0});
    }
    return gone;
  }
  return gone;
}

std::shared_ptr<const Fd> Stream::take_dirty() {
  if (!std::exchange(dirty_, false)) return nullptr;
  return file_;
}

}  // namespace stella::telemetry
