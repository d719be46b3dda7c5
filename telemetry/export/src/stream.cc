// Segment files, their recovery, and the cache in front of them.
#include "stream.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cinttypes>
#include <cstdio>
#include <cstring>

#include "stella/base/crc32c.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

constexpr std::uint32_t kMagic = 0x31505253;  // "SRP1"
constexpr std::uint32_t kDone = 0x454e4f44;   // "DONE"
constexpr std::uint64_t kMostSegment = std::uint64_t{1} << 62;  // a name beyond is none of ours
constexpr std::uint32_t kMostPayload = 64u << 20;
constexpr std::uint32_t kMostItems = 100'000;  // a number beyond is damage, too

struct RecordFront {
  std::uint32_t magic = kMagic, size = 0, items = 0, errors = 0;
  std::uint64_t order = 0;
  std::uint32_t crc = 0, state = 0;
};
constexpr std::uint64_t kStateAt = 28;
static_assert(sizeof(RecordFront) == 32);

std::uint32_t crc_of(const RecordFront& front, std::string_view payload) {
  return crc32c(crc32c(0, {reinterpret_cast<const char*>(&front), 24}), payload);
}

struct Cursor {
  std::uint64_t segment = 0, offset = 0;
  std::uint32_t crc = 0, zero = 0;
};
std::uint32_t crc_of(const Cursor& cursor) { return crc32c(7, {reinterpret_cast<const char*>(&cursor), 16}); }

std::string path_in(const std::string& dir, std::uint64_t number) {
  char name[32];
  std::snprintf(name, sizeof name, "/%016" PRIx64 ".seg", number);
  return dir + name;
}

// A stretch of a file that holds no record any more. What was found once is not found, and counted, again by the next start: an end that was
// torn goes, and a damaged stretch in the middle becomes a record of nothing that is settled, whose bytes stay for whoever wants to look at
// them. Where the disk refuses it, the next start counts again.
void mark_damage(const std::string& path, std::string_view all, std::size_t at, std::size_t end) {
  const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return;
  RecordFront front;
  if (end == all.size()) {
    if (::ftruncate(file.get(), static_cast<off_t>(at)) != 0) return;
  } else {
    if (end - at < sizeof front || end - at - sizeof front > kMostPayload) return;
    front.size = static_cast<std::uint32_t>(end - at - sizeof front);
    front.state = kDone;
    front.crc = crc_of(front, all.substr(at + sizeof front, front.size));
    if (::pwrite(file.get(), &front, sizeof front, static_cast<off_t>(at)) != static_cast<ssize_t>(sizeof front)) return;
  }
  ::fdatasync(file.get());
}

// Takes in one file from `from` on. An error: it cannot be read now, which says nothing of what is in it.
Result<void> read_segment(Stream::Opened& into, std::uint64_t number, std::uint64_t from, bool last) {
  Stream::Recovered& found = into.found;
  const std::string path = path_in(into.dir, number);
  errno = 0;
  auto bytes = read_file(path, std::uint64_t{1} << 31);
  if (!bytes) {
    if (bytes.error().code() != base_errors::kLimit && errno != EIO) return std::move(bytes.error());
    ++found.damaged_records;  // none of ours, or a bad sector
    return {};
  }
  struct stat about {};
  const std::int64_t written = ::stat(path.c_str(), &about) == 0 ? about.st_mtim.tv_sec : 0;
  Stream::Segment segment{number, bytes->size(), 0};
  std::size_t at = from <= bytes->size() ? from : 0;
  const std::string_view all = *bytes;
  const std::string magic(reinterpret_cast<const char*>(&kMagic), sizeof kMagic);
  while (at < all.size()) {
    RecordFront front;
    const std::size_t left = all.size() - at;
    if (left >= sizeof front) std::memcpy(&front, all.data() + at, sizeof front);
    const bool whole = left >= sizeof front && front.magic == kMagic && front.size <= kMostPayload && front.size <= left - sizeof front;
    if (whole && front.crc == crc_of(front, all.substr(at + sizeof front, front.size))) {
      const std::uint64_t begin = std::exchange(at, at + sizeof front + front.size);
      found.last_order = std::max(found.last_order, front.order);
      if (front.state == kDone) continue;
      into.entries.push_back({.order = front.order, .items = front.items, .errors = front.errors, .size = front.size, .segment = number, .offset = begin,
                              .on_disk = true, .payload = nullptr, .taken = written});
      found.items += front.items;
      ++segment.entries;
      continue;
    }
    // Damaged, or torn at the end: on to the next beginning of a record, if there is one.
    const std::size_t next = all.find(magic, at + 1);
    const std::size_t end = next == all.npos ? all.size() : next;
    const std::uint32_t items = left >= sizeof front && front.magic == kMagic && front.items <= kMostItems ? front.items : 0;
    if (next == all.npos && last && (left < sizeof front || (front.magic == kMagic && !whole))) {  // the write that the end interrupted
      ++found.torn_records;
      found.torn_items += items;
    } else {
      ++found.damaged_records;
      if (whole) found.damaged_items += items;
    }
    mark_damage(path, all, at, end);
    if (next == all.npos) segment.bytes = at;
    at = end;
  }
  if (segment.entries == 0) ::unlink(path.c_str());
  else into.segments.push_back(segment);
  return {};
}

}  // namespace

Result<Stream::Opened> Stream::open(const std::string& dir) {
  STELLA_TRY_VOID(make_dirs(dir, 0700));
  Opened out;
  out.dir = dir;
  out.lock = Fd(::open((dir + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!out.lock) return io_error("cannot open the lock of the telemetry spool", dir);
  if (::flock(out.lock.get(), LOCK_EX | LOCK_NB) != 0) return Error(contracts::errors::kConflict, "another process uses this telemetry spool").with("path", dir);
  out.cursor = Fd(::open((dir + "/cursor").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!out.cursor) return io_error("cannot open the cursor of the telemetry spool", dir);

  out.directory = Fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!out.directory) return io_error("cannot open the telemetry spool", dir);

  Cursor cursor;
  if (::pread(out.cursor.get(), &cursor, sizeof cursor, 0) != static_cast<ssize_t>(sizeof cursor) || cursor.crc != crc_of(cursor) || cursor.segment > kMostSegment) cursor = {};
  std::vector<std::uint64_t> numbers;
  DIR* const listing = ::opendir(dir.c_str());
  if (listing == nullptr) return io_error("cannot list the telemetry spool", dir);
  errno = 0;
  while (const dirent* entry = ::readdir(listing)) {
    const std::string_view name = entry->d_name;
    std::uint64_t number = 0;
    if (name.size() == 20 && name.ends_with(".seg") && std::sscanf(entry->d_name, "%16" SCNx64, &number) == 1 && number <= kMostSegment) numbers.push_back(number);
    errno = 0;
  }
  const int trouble = errno;
  ::closedir(listing);
  if (trouble != 0) return Error(base_errors::kIo, "cannot list the telemetry spool").with("path", dir).with("errno", std::string(std::strerror(trouble)));
  std::sort(numbers.begin(), numbers.end());
  std::uint64_t next = cursor.segment;
  for (const std::uint64_t number : numbers) {
    next = std::max(next, number);
    if (number < cursor.segment) {
      ::unlink(path_in(dir, number).c_str());
      continue;
    }
    auto read = read_segment(out, number, number == cursor.segment ? cursor.offset : 0, number == numbers.back());
    if (!read) return std::move(read.error());
  }
  out.segments.push_back({next + 1, 0, 0});
  // What a full disk took later lies behind what is younger.
  std::stable_sort(out.entries.begin(), out.entries.end(), [](const Entry& a, const Entry& b) { return a.order < b.order; });
  return out;
}

Stream::Recovered Stream::adopt(Opened opened) {
  dir_ = std::move(opened.dir);
  lock_ = std::move(opened.lock);
  cursor_ = std::make_shared<const Fd>(std::move(opened.cursor));
  directory_ = std::make_shared<const Fd>(std::move(opened.directory));
  segments_ = std::move(opened.segments);
  for (const Segment& segment : segments_) disk_bytes_ += segment.bytes;
  const auto position = [](const Entry& e) { return std::pair(e.segment, e.offset); };
  shuffled_ = shuffled_ || !std::is_sorted(opened.entries.begin(), opened.entries.end(), [&](const Entry& a, const Entry& b) { return position(a) < position(b); });
  for (Entry& entry : opened.entries) {
    entry.key = ++next_key_;
    count(entry);
    entries_.push_back(std::move(entry));
  }
  return opened.found;
}

std::string Stream::path_of(std::uint64_t number) const { return path_in(dir_, number); }

void Stream::next_segment() {
  if (dirty_) dirty_more_.push_back(file_);
  dirty_ = false;
  file_.reset();
  segments_.push_back({segments_.back().number + 1, 0, 0});
}

SpoolWrite Stream::begin(std::uint64_t order, Batch&& batch, std::int64_t unix_seconds) {
  SpoolWrite write;
  write.entry_ = {.key = ++next_key_, .order = order, .items = batch.items, .errors = batch.errors, .size = static_cast<std::uint32_t>(batch.payload.size()),
                  .payload = nullptr, .taken = unix_seconds};
  write.payload_ = std::make_shared<const std::string>(std::move(batch.payload));
  write.cached_ = memory_bytes_ + write.entry_.size <= limits_.memory_bytes;
  if (write.cached_) memory_bytes_ += write.entry_.size;
  if (on_disk()) place(write);
  return write;
}

// Where the record goes.
void Stream::place(SpoolWrite& write) {
  if (const Segment full = segments_.back(); full.bytes >= limits_.segment_bytes) {
    next_segment();
    if (full.entries == 0) {  // emptied while a write that failed held it
      write.stale_ = path_of(full.number);
      disk_bytes_ -= full.bytes;
      segments_.erase(segments_.end() - 2);
    }
  }
  Segment& segment = segments_.back();
  ++segment.entries;
  segment.writing = true;
  write.to_disk_ = true;
  write.path_ = path_of(segment.number);
  write.file_ = file_;
  write.entry_.segment = segment.number;
  write.offset_ = segment.bytes;
}

const Stream::Entry* Stream::memory_only() const {
  if (!on_disk() || items_in_memory_only_ == 0) return nullptr;
  const auto only = [](const Entry& e) { return !e.on_disk; };
  const auto front = std::find_if(entries_.begin(), entries_.end(), only), aside = std::find_if(aside_.begin(), aside_.end(), only);
  if (front != entries_.end() && (aside == aside_.end() || front->key < aside->key)) return &*front;
  return aside != aside_.end() ? &*aside : nullptr;
}

std::uint64_t Stream::late_bytes() const {
  const Entry* const entry = memory_only();
  return entry != nullptr ? sizeof(RecordFront) + entry->size : 0;
}

std::optional<SpoolWrite> Stream::begin_late() {
  const Entry* const entry = memory_only();
  if (entry == nullptr) return std::nullopt;
  SpoolWrite write;
  write.entry_ = *entry;
  write.entry_.payload.reset();
  write.payload_ = entry->payload;
  place(write);
  return write;
}

void SpoolWrite::run() {
  if (!to_disk_) return;
  if (!stale_.empty()) ::unlink(stale_.c_str());
  if (!file_) {
    auto file = std::make_shared<const Fd>(::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600));
    if (!*file) return;
    file_ = std::move(file);
  }
  RecordFront front;
  front.size = entry_.size;
  front.items = entry_.items;
  front.errors = entry_.errors;
  front.order = entry_.order;
  front.crc = crc_of(front, *payload_);
  written_ = write_all(file_->get(), {reinterpret_cast<const char*>(&front), sizeof front}).has_value() && write_all(file_->get(), *payload_).has_value();
  // Half a record goes again; where even that fails, the reader skips it.
  if (!written_) torn_ = ::ftruncate(file_->get(), static_cast<off_t>(offset_)) != 0;
}

Stream::Taken Stream::finish(SpoolWrite write, bool& disk_failed) {
  Entry entry = std::move(write.entry_);
  disk_failed = write.to_disk_ && !written(write, entry);
  if (write.cached_) memory_bytes_ -= entry.size;  // count() adds it again
  if (!entry.on_disk && !write.cached_) return Taken::kNoRoom;
  if (write.cached_) entry.payload = std::move(write.payload_);
  count(entry);
  entries_.push_back(std::move(entry));
  return entries_.back().on_disk ? Taken::kDisk : Taken::kMemory;
}

// Takes note of what became of the record; true where the disk has it.
bool Stream::written(SpoolWrite& write, Entry& entry) {
  Segment& segment = segments_.back();  // which cannot have been closed meanwhile: it was being written to
  segment.writing = false;
  file_ = write.file_;
  crowded_ = !write.written_;
  if (!write.written_) {
    --segment.entries;
    if (write.torn_) next_segment();
    return false;
  }
  const std::uint64_t bytes = sizeof(RecordFront) + entry.size;
  entry.on_disk = true;
  entry.offset = write.offset_;
  segment.bytes += bytes;
  disk_bytes_ += bytes;
  dirty_ = true;
  if (write.offset_ == 0) dirty_more_.push_back(directory_);
  return true;
}

std::uint64_t Stream::finish_late(SpoolWrite write, bool& disk_failed, SpoolWork& work) {
  Entry at = std::move(write.entry_);
  disk_failed = !written(write, at);
  if (disk_failed) return 0;
  shuffled_ = true;
  Entry* const entry = find(at.key);
  if (entry == nullptr) {  // it was sent, or dropped, in the meantime
    work.add(released(at));
    return 0;
  }
  forget(*entry);
  entry->on_disk = true;
  entry->segment = at.segment;
  entry->offset = at.offset;
  if (std::any_of(aside_.begin(), aside_.end(), [&](const Entry& e) { return &e == entry; })) entry->payload.reset();  // as set_aside() does
  count(*entry);
  return entry->items;
}

SpoolRead Stream::reading(const Entry& entry) const {
  SpoolRead read;
  read.entry_ = entry;
  if (!entry.payload) read.path_ = path_of(entry.segment);
  return read;
}

SpoolBytes SpoolRead::run() const {
  if (entry_.payload) return {entry_.payload};
  const Fd file(::open(path_.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
  if (!file) return {nullptr, errno == ENOENT ? 0 : errno};
  RecordFront front;
  std::string payload(entry_.size, '\0');
  const auto read = [&file](void* to, std::size_t size, std::uint64_t offset) { return ::pread(file.get(), to, size, static_cast<off_t>(offset)); };
  for (const ssize_t got : {read(&front, sizeof front, entry_.offset), read(payload.data(), payload.size(), entry_.offset + sizeof front)})
    if (got < 0) return {nullptr, errno};
  if (front.magic != kMagic || front.size != entry_.size || front.crc != crc_of(front, payload)) return {};
  return {std::make_shared<const std::string>(std::move(payload))};
}

void Stream::count(const Entry& entry) {
  waiting_bytes_ += entry.on_disk ? sizeof(RecordFront) + entry.size : 0;
  if (!entry.payload) {
    items_on_disk_only_ += entry.items;
    return;
  }
  memory_bytes_ += entry.size;
  items_in_memory_ += entry.items;
  items_in_memory_only_ += entry.on_disk ? 0 : entry.items;
}

void Stream::forget(const Entry& entry) {
  waiting_bytes_ -= entry.on_disk ? sizeof(RecordFront) + entry.size : 0;
  if (!entry.payload) {
    items_on_disk_only_ -= entry.items;
    return;
  }
  memory_bytes_ -= entry.size;
  items_in_memory_ -= entry.items;
  items_in_memory_only_ -= entry.on_disk ? 0 : entry.items;
}

std::uint64_t Stream::aside_memory_bytes() const {
  std::uint64_t sum = 0;
  for (const Entry& entry : aside_) sum += entry.payload ? entry.size : 0;
  return sum;
}

Stream::Entry* Stream::find(std::uint64_t key) {
  for (std::deque<Entry>* const list : {&entries_, &aside_}) {
    // Keys grow along `entries_`, and nearly always it is the first.
    for (Entry& entry : *list) {
      if (entry.key == key) return &entry;
      if (list == &entries_ && entry.key > key) break;
    }
  }
  return nullptr;
}

// Nothing that waits lies before it on the disk.
bool Stream::lowest(const Entry& gone) const {
  const auto before = [&](const Entry& e) { return e.on_disk && std::pair(e.segment, e.offset) < std::pair(gone.segment, gone.offset); };
  if (std::any_of(aside_.begin(), aside_.end(), before)) return false;
  if (shuffled_) return std::none_of(entries_.begin(), entries_.end(), before);
  const auto first = std::find_if(entries_.begin(), entries_.end(), [](const Entry& e) { return e.on_disk; });
  return first == entries_.end() || !before(*first);
}

SpoolWork Stream::settle(std::uint64_t key) {
  SpoolWork work;
  Entry* const found = find(key);
  if (found == nullptr) return work;
  const Entry gone = std::move(*found);
  for (std::deque<Entry>* const list : {&entries_, &aside_}) {
    const auto at = std::find_if(list->begin(), list->end(), [&](const Entry& e) { return &e == found; });
    if (at == list->end()) continue;
    list->erase(at);
    break;
  }
  forget(gone);
  if (entries_.empty() && aside_.empty()) shuffled_ = false;
  return gone.on_disk ? released(gone) : SpoolWork();
}

// An entry that is on the disk and in no list any more.
SpoolWork Stream::released(const Entry& gone) {
  SpoolWork work;
  const auto segment = std::find_if(segments_.begin(), segments_.end(), [&](const Segment& s) { return s.number == gone.segment; });
  if (segment == segments_.end()) return work;
  --segment->entries;
  const bool lowest_of_all = lowest(gone);
  // The file that is written to stays until it is full: a new one for every batch costs more than its records (ext4 looks for an inode that
  // was not freed just now). Not on a disk that refused a write: there its space is wanted.
  const bool stays = segment + 1 == segments_.end() && segment->bytes < limits_.segment_bytes && !crowded_;
  if (segment->entries > 0 || stays) {
    if (lowest_of_all) work.cursors_.push_back({cursor_, gone.segment, gone.offset + sizeof(RecordFront) + gone.size});
    else work.done_.emplace_back(path_of(gone.segment), gone.offset);
    return work;
  }
  // All of the file is settled: it goes, and the cursor before it.
  if (lowest_of_all) work.cursors_.push_back({cursor_, segment->number + 1, 0});
  work.unlinked_.push_back(path_of(segment->number));
  if (segment + 1 == segments_.end()) {
    dirty_ = false;
    next_segment();
  }
  const auto again = std::find_if(segments_.begin(), segments_.end(), [&](const Segment& s) { return s.number == gone.segment; });
  disk_bytes_ -= again->bytes;
  segments_.erase(again);
  return work;
}

void Stream::set_aside(std::uint64_t key, std::chrono::steady_clock::time_point not_before) {
  for (std::deque<Entry>* const list : {&entries_, &aside_}) {
    const auto at = std::find_if(list->begin(), list->end(), [&](const Entry& e) { return e.key == key; });
    if (at == list->end()) continue;
    Entry entry = std::move(*at);
    list->erase(at);
    forget(entry);
    if (entry.on_disk) entry.payload.reset();
    entry.not_before = not_before;
    entry.failures = 0;
    ++entry.rounds;
    count(entry);
    aside_.push_back(std::move(entry));
    return;
  }
}

std::pair<std::vector<Stream::Entry>, SpoolWork> Stream::drop_oldest(std::optional<std::uint64_t> under_way) {
  std::pair<std::vector<Entry>, SpoolWork> out;
  const Entry* const busy = under_way ? find(*under_way) : nullptr;
  const std::uint64_t spared = busy != nullptr && busy->on_disk ? busy->segment : 0;
  const auto segment = std::find_if(segments_.begin(), segments_.end(), [&](const Segment& s) { return s.entries > 0 && !s.writing && s.number != spared; });
  if (segment == segments_.end()) return out;
  const std::uint64_t number = segment->number;
  for (std::deque<Entry>* const list : {&entries_, &aside_}) {
    std::deque<Entry> kept;
    for (Entry& entry : *list) {
      if (!entry.on_disk || entry.segment != number) {
        kept.push_back(std::move(entry));
        continue;
      }
      forget(entry);
      out.first.push_back(std::move(entry));
    }
    *list = std::move(kept);
  }
  out.second.unlinked_.push_back(path_of(number));
  disk_bytes_ -= segment->bytes;
  const bool current = segment + 1 == segments_.end();
  if (current) {
    dirty_ = false;
    next_segment();
  }
  segments_.erase(std::find_if(segments_.begin(), segments_.end(), [&](const Segment& s) { return s.number == number; }));
  return out;
}

bool Stream::drop_settled(SpoolWork& work) {
  Segment& last = segments_.back();
  if (last.entries > 0 || last.bytes == 0) return false;
  work.unlinked_.push_back(path_of(last.number));
  disk_bytes_ -= last.bytes;
  dirty_ = false;
  next_segment();
  segments_.erase(segments_.end() - 2);
  return true;
}

std::vector<std::shared_ptr<const Fd>> Stream::take_dirty() {
  if (std::exchange(dirty_, false)) dirty_more_.push_back(file_);
  return std::exchange(dirty_more_, {});
}

void SpoolWork::add(SpoolWork more) {
  for (Place& place : more.cursors_) {
    const auto own = std::find_if(cursors_.begin(), cursors_.end(), [&](const Place& p) { return p.file == place.file; });
    if (own == cursors_.end()) cursors_.push_back(std::move(place));
    else *own = std::move(place);
  }
  done_.insert(done_.end(), more.done_.begin(), more.done_.end());
  unlinked_.insert(unlinked_.end(), more.unlinked_.begin(), more.unlinked_.end());
}

void SpoolWork::run() const {
  for (const Place& place : cursors_) {
    Cursor cursor{place.segment, place.offset, 0, 0};
    cursor.crc = crc_of(cursor);
    [[maybe_unused]] const ssize_t written = ::pwrite(place.file->get(), &cursor, sizeof cursor, 0);  // an old cursor only repeats
  }
  for (const auto& [path, offset] : done_) {
    const Fd file(::open(path.c_str(), O_WRONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!file) continue;
    [[maybe_unused]] const ssize_t written = ::pwrite(file.get(), &kDone, sizeof kDone, static_cast<off_t>(offset + kStateAt));
  }
  for (const std::string& path : unlinked_) ::unlink(path.c_str());
}

}  // namespace stella::telemetry
