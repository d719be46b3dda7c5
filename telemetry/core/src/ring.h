// One thread's ring of binary records, in a file mapping that outlives the process.
//
// Bytes are counted from the ring's beginning for ever (64 bits); a place in the file is the count modulo the size. The data is mapped
// twice in a row, so that a record is always contiguous and nobody has to think of the wrap. A record is there once `head` says so: a
// process that dies in the middle of a copy leaves the ring as it was.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>

#include "stella/base/result.h"
#include "stella/telemetry/record.h"

namespace stella::telemetry {

inline constexpr std::size_t kRingHeader = 4096;
inline constexpr std::size_t kRecent = 32;  // places of the last records, for the crash report

// The first page of a ring file.
struct RingHeader {
  char magic[8];
  std::uint32_t header_bytes, data_bytes;
  // Written by the thread that owns the ring.
  alignas(64) std::atomic<std::uint64_t> head;
  std::atomic<std::uint64_t> next_sequence;
  std::atomic<std::uint64_t> dropped_logs, dropped_spans, spilled;
  std::atomic<std::int32_t> thread_id;
  // Written by the reader.
  alignas(64) std::atomic<std::uint64_t> tail;  // released
  std::atomic<std::uint64_t> done;              // written as lines; what lies between tail and here is not exported yet
  std::atomic<std::uint64_t> read_records;  // taken by the reader since the beginning
  std::atomic<std::uint64_t> counted_logs, counted_spans;  // of dropped_…, what is in the metrics already
  alignas(64) std::atomic<std::uint64_t> recent[kRecent];  // by sequence: where the record begins
};
static_assert(sizeof(RingHeader) <= kRingHeader);

class Ring {
 public:
  // Makes `path` (mode 0600). `bytes` is rounded up to a power of two, at least 128 KiB. Where the file cannot be made (full disk), a
  // ring in anonymous memory: it works, but does not outlive the process.
  static Result<std::unique_ptr<Ring>> create(const std::string& path, std::size_t bytes);
  // The ring of a process that is gone. kMalformed where it is none.
  static Result<std::unique_ptr<Ring>> open(const std::string& path);
  ~Ring();
  Ring(const Ring&) = delete;
  Ring& operator=(const Ring&) = delete;

  // The owner. False: no room. The record's sequence is filled in.
  bool push(std::string_view record) noexcept {
    const std::uint64_t head = head_, end = head + record.size();
    if (end - seen_tail_ > size_) [[unlikely]] {
      seen_tail_ = header_->tail.load(std::memory_order_acquire);
      if (end - seen_tail_ > size_) return false;
    }
    char* const at = data_ + (head & (size_ - 1));
    std::memcpy(at, record.data(), record.size());
    std::memcpy(at + offsetof(RecordHead, sequence), &sequence_, sizeof sequence_);
    header_->recent[sequence_ % kRecent].store(head, std::memory_order_relaxed);
    head_ = end;
    header_->head.store(end, std::memory_order_release);
    header_->next_sequence.store(++sequence_, std::memory_order_relaxed);
    return true;
  }
  // The owner, after a push: the reader should come soon.
  bool over_half() noexcept {
    if (head_ - seen_tail_ <= size_ / 2) [[likely]] return false;
    seen_tail_ = header_->tail.load(std::memory_order_acquire);
    return head_ - seen_tail_ > size_ / 2;
  }
  // The owner, for a record that did not fit: takes its number and says what became of it.
  std::uint64_t skip_spilled() noexcept { return skip(header_->spilled); }
  std::uint64_t skip_dropped(bool log) noexcept { return skip(log ? header_->dropped_logs : header_->dropped_spans); }
  // Spilled after all not: counts as dropped.
  void spill_failed(bool log) noexcept {
    bump(header_->spilled, static_cast<std::uint64_t>(-1));
    bump(log ? header_->dropped_logs : header_->dropped_spans, 1);
  }
  // Number of the frame that the owner spilled last and that the reader may not have yet; 0: none.
  std::uint64_t spill_mark() const noexcept { return spill_mark_; }
  void set_spill_mark(std::uint64_t number) noexcept { spill_mark_ = number; }
  void set_thread(std::int32_t id) noexcept { header_->thread_id.store(id, std::memory_order_relaxed); }

  // The reader: what is there now, whole records one after the other, in memory that stays until release().
  std::string_view readable() const noexcept {
    const std::uint64_t done = header_->done.load(std::memory_order_relaxed), head = header_->head.load(std::memory_order_acquire);
    return {data_ + (done & (size_ - 1)), head - done};
  }
  // Of what is readable, so much is written. A process that is killed now has it in its ring still, until release().
  void advance(std::size_t bytes, std::uint64_t records) noexcept {
    header_->done.store(header_->done.load(std::memory_order_relaxed) + bytes, std::memory_order_relaxed);
    header_->read_records.store(header_->read_records.load(std::memory_order_relaxed) + records, std::memory_order_relaxed);
  }
  // All that is written is safe elsewhere, too: the owner may use its room.
  void release() noexcept { header_->tail.store(header_->done.load(std::memory_order_relaxed), std::memory_order_release); }
  // Bytes written and not released.
  std::size_t held() const noexcept { return header_->done.load(std::memory_order_relaxed) - header_->tail.load(std::memory_order_relaxed); }
  // For recovery: what is written and was not released.
  std::string_view held_bytes() const noexcept {
    const std::uint64_t tail = header_->tail.load(std::memory_order_relaxed);
    return {data_ + (tail & (size_ - 1)), held()};
  }
  RingHeader& header() noexcept { return *header_; }
  const RingHeader& header() const noexcept { return *header_; }
  // Numbers that neither a record that was read nor a counter accounts for: what waits in the ring, or was lost.
  std::uint64_t unaccounted() const noexcept {
    const RingHeader& h = *header_;
    const std::uint64_t known = h.read_records + h.dropped_logs + h.dropped_spans + h.spilled, next = h.next_sequence;
    return next > known ? next - known : 0;
  }
  // Any thread, also in a signal handler: the bytes from `place` on, where they are still there; else empty.
  std::string_view at(std::uint64_t place) const noexcept;
  std::size_t size() const noexcept { return size_; }
  bool in_memory() const noexcept { return path_.empty(); }
  const std::string& path() const noexcept { return path_; }

 private:
  Ring() = default;
  Result<void> map(int fd);
  void make_writable() noexcept;
  static void bump(std::atomic<std::uint64_t>& counter, std::uint64_t by) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
  }
  std::uint64_t skip(std::atomic<std::uint64_t>& counter) noexcept {
    bump(counter, 1);
    const std::uint64_t number = sequence_;
    header_->next_sequence.store(++sequence_, std::memory_order_relaxed);
    return number;
  }

  // Of the owner, beside the header so that a push reads no line that the reader writes.
  std::uint64_t head_ = 0, sequence_ = 0, seen_tail_ = 0, spill_mark_ = 0;
  std::size_t size_ = 0;
  char* data_ = nullptr;
  RingHeader* header_ = nullptr;
  char* mapping_ = nullptr;
  std::string path_;
};

// The field catalogue of this build as text ("key\n" …), which stands beside the rings for builds that differ.
const std::string& catalogue_text();

}  // namespace stella::telemetry
