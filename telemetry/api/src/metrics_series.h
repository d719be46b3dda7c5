// One series and its per-thread cells: the storage behind recording and snapshots.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/sync.h"
#include "stella/contracts/catalogue.h"
#include "stella/telemetry/metric_snapshot.h"

namespace stella::telemetry::detail {

// Words that one thread writes and any thread reads.
template <class T>
void bump(std::atomic<T>& word, T by) {
  word.store(word.load(std::memory_order_relaxed) + by, std::memory_order_relaxed);
}

struct Bucket {
  std::atomic<std::uint64_t> count{0};
  std::uint32_t epoch = 0;  // of the last exemplar; the writer's alone
};

// The part of a series that one thread writes: a cache line of its own, no atomic read-modify-write. When its thread ends, the cell keeps
// what it counted and the next thread that records the series goes on with it.
struct alignas(64) Cell {
  explicit Cell(std::size_t buckets) : buckets(buckets) {}

  // Counter: the whole part and the rest. Histogram: the sum is in `real`.
  std::atomic<std::int64_t> whole{0};
  std::atomic<double> real{0};
  std::atomic<std::uint32_t> version{0};  // odd while a histogram's count and sum do not fit each other
  std::uint32_t epoch = 0;                // of a counter's last exemplar
  std::vector<Bucket> buckets;
  // Exemplars by bucket: the writer gives way (its exemplar is lost), the reader waits.
  std::atomic_flag busy = ATOMIC_FLAG_INIT;
  std::unique_ptr<MetricExemplar[]> exemplars;
};

class Series {
 public:
  Series(const contracts::MetricSpec& spec, std::uint32_t id, std::string label_text, std::vector<std::string> values, std::uint64_t hash,
         bool overflow, std::int64_t now_ns)
      : spec(spec), id(id), label_text(std::move(label_text)), values(std::move(values)), hash(hash), overflow(overflow), start_ns(now_ns) {}

  const contracts::MetricSpec& spec;
  const std::uint32_t id;
  const std::string label_text;  // `a="x",b="y"`
  const std::vector<std::string> values;
  const std::uint64_t hash;      // of spec and values
  const bool overflow;
  const std::int64_t start_ns;
  std::atomic<double> gauge{0};
  // Under the registry's mutex.
  std::vector<std::unique_ptr<Cell>> cells;
  std::vector<Cell*> free;       // of threads that ended
};

std::uint64_t hash_labels(const contracts::MetricSpec& spec, const std::string_view* labels, std::size_t count);

}  // namespace stella::telemetry::detail
