// Recording: series are found by their label values in a cache of the thread, and counted in a cell of the thread.
#include "stella/telemetry/metrics.h"

#include <cmath>
#include <cstring>

#include "metrics_registry.h"
#include "metrics_series.h"
#include "stella/telemetry/context.h"

namespace stella::telemetry::detail {
namespace {

// Cells of this thread by series id. Trivial, so that the fast path needs no initialisation check and outlives every destructor.
struct Thread {
  Cell** cells = nullptr;
  std::uint32_t size = 0;
  bool ended = false;
};
constinit thread_local Thread t_thread;

// Series that this thread looked up by labels: sets of four, found by hash.
struct CacheSet {
  std::uint32_t tags[4];
  Series* ways[4];
};
constexpr std::size_t kSets = 128;
constinit thread_local CacheSet t_cache[kSets]{};

std::atomic<std::uint32_t> g_epoch{1};

// Gives the cells back when the thread ends; what destructors record later takes the slow way.
struct Guard {
  ~Guard() {
    release_cells({t_thread.cells, t_thread.size});
    delete[] t_thread.cells;
    t_thread = {nullptr, 0, true};
  }
  void touch() {}
};
thread_local Guard t_guard;

Cell& adopt_cell(Series& series) {
  t_guard.touch();
  if (series.id >= t_thread.size) {
    const std::uint32_t size = std::max<std::uint32_t>(64, (series.id + 1) * 2);
    Cell** const grown = new Cell*[size]();
    std::copy_n(t_thread.cells, t_thread.size, grown);
    delete[] t_thread.cells;
    t_thread.cells = grown;
    t_thread.size = size;
  }
  Lock lock(registry().mutex);
  return *(t_thread.cells[series.id] = &take_cell(series));
}

template <class Write>
[[gnu::noinline, gnu::cold]] void write_slowly(Series& series, Write write) {
  if (!t_thread.ended) return write(adopt_cell(series));
  Lock lock(registry().mutex);
  Cell& cell = take_cell(series);
  write(cell);
  series.free.push_back(&cell);
}

[[gnu::noinline, gnu::cold]] void count_overflow() {
  static Series& overflow = find(contracts::metrics::kMetricOverflow.spec);
  add(overflow, std::int64_t{1});
}

template <class Write>
inline void write_cell(Series& series, Write write) {
  if (series.overflow) [[unlikely]] count_overflow();
  if (series.id < t_thread.size) [[likely]] {
    if (Cell* const cell = t_thread.cells[series.id]) [[likely]] return write(*cell);
  }
  write_slowly(series, write);
}

// False where this thread does no sampled work now.
[[gnu::noinline]] bool keep_exemplar(Cell& cell, std::size_t slot, double value) {
  const Context& context = Context::current();
  if ((context.flags & TraceParent::kSampled) == 0 || context.trace_id.empty() || context.span_id.empty()) return false;
  if (cell.busy.test_and_set(std::memory_order_acquire)) return true;
  if (!cell.exemplars) cell.exemplars = std::make_unique<MetricExemplar[]>(std::max<std::size_t>(1, cell.buckets.size()));
  cell.exemplars[slot] = {context.trace_id, context.span_id, value, wall_ns()};
  cell.busy.clear(std::memory_order_release);
  return true;
}

inline void offer_exemplar(Cell& cell, std::uint32_t& epoch, std::size_t slot, double value) {
  const std::uint32_t now = g_epoch.load(std::memory_order_relaxed);
  if (epoch != now && keep_exemplar(cell, slot, value)) epoch = now;
}

inline std::uint64_t mix(std::uint64_t a, std::uint64_t b) {
  const unsigned __int128 product = static_cast<unsigned __int128>(a) * b;
  return static_cast<std::uint64_t>(product) ^ static_cast<std::uint64_t>(product >> 64);
}

template <class T>
inline std::uint64_t load(const char* p) {
  T word;
  std::memcpy(&word, p, sizeof word);
  return word;
}

inline std::uint64_t hash_text(std::uint64_t seed, std::string_view text) {
  const char* p = text.data();
  std::size_t n = text.size();
  seed ^= n;
  while (n > 16) {
    seed = mix(seed ^ load<std::uint64_t>(p), 0x9e3779b97f4a7c15u ^ load<std::uint64_t>(p + 8));
    p += 16, n -= 16;
  }
  std::uint64_t a = 0, b = 0;
  if (n >= 8) {
    a = load<std::uint64_t>(p), b = load<std::uint64_t>(p + n - 8);
  } else if (n >= 4) {
    a = load<std::uint32_t>(p), b = load<std::uint32_t>(p + n - 4);
  } else if (n > 0) {
    a = static_cast<std::uint64_t>(static_cast<unsigned char>(p[0])) << 16 | static_cast<std::uint64_t>(static_cast<unsigned char>(p[n / 2])) << 8 |
        static_cast<unsigned char>(p[n - 1]);
  }
  return mix(seed ^ a, 0xd6e8feb86659fd93u ^ b);
}

inline bool same_labels(const Series& series, const std::string_view* labels, std::size_t count) {
  for (std::size_t i = 0; i < count; ++i) {
    if (series.values[i] != labels[i]) return false;
  }
  return true;
}

}  // namespace

std::uint64_t hash_labels(const contracts::MetricSpec& spec, const std::string_view* labels, std::size_t count) {
  std::uint64_t hash = reinterpret_cast<std::uintptr_t>(&spec);
  for (std::size_t i = 0; i < count; ++i) hash = hash_text(hash, labels[i]);
  return mix(hash, 0x9e3779b97f4a7c15u);
}

Series& series(const contracts::MetricSpec& spec, const std::string_view* labels, std::size_t count) {
  const std::uint64_t hash = hash_labels(spec, labels, count);
  CacheSet& set = t_cache[hash % kSets];
  const auto tag = static_cast<std::uint32_t>(hash >> 32);
  for (std::size_t i = 0; i < 4; ++i) {
    Series* const hit = set.ways[i];
    if (set.tags[i] == tag && hit != nullptr && &hit->spec == &spec && same_labels(*hit, labels, count)) return *hit;
  }
  Series& found = register_series(spec, labels, count, hash);
  // Strangers and surplus have other values than the series they go to: they must not fill the cache.
  if (found.hash == hash && !found.overflow && same_labels(found, labels, count)) {
    for (std::size_t i = 3; i > 0; --i) set.tags[i] = set.tags[i - 1], set.ways[i] = set.ways[i - 1];
    set.tags[0] = tag, set.ways[0] = &found;
  }
  return found;
}

constinit std::atomic<bool> g_metrics_on{true};

namespace {
bool off() { return !g_metrics_on.load(std::memory_order_relaxed); }
}  // namespace

void add(Series& series, std::int64_t value) {
  if (off()) [[unlikely]] return;
  write_cell(series, [value](Cell& cell) {
    bump(cell.whole, value);
    offer_exemplar(cell, cell.epoch, 0, static_cast<double>(value));
  });
}

void add(Series& series, double value) {
  if (value == std::floor(value) && std::abs(value) < 9e15) return add(series, static_cast<std::int64_t>(value));
  if (!std::isfinite(value) || off()) return;
  write_cell(series, [value](Cell& cell) {
    bump(cell.real, value);
    offer_exemplar(cell, cell.epoch, 0, value);
  });
}

void set(Series& series, double value) {
  if (off()) [[unlikely]] return;
  if (series.overflow) count_overflow();
  series.gauge.store(value, std::memory_order_relaxed);
}

void change(Series& series, double delta) {
  if (off()) [[unlikely]] return;
  if (series.overflow) count_overflow();
  series.gauge.fetch_add(delta, std::memory_order_relaxed);
}

void observe(Series& series, double value) {
  if (!std::isfinite(value) || off()) return;  // one infinity would make every later sum of it meaningless
  std::size_t slot = 0;  // without branches: bounds are few, values unforeseeable
  for (const double bound : series.spec.buckets) slot += value > bound ? 1 : 0;
  write_cell(series, [slot, value](Cell& cell) {
    Bucket& bucket = cell.buckets[slot];
    const std::uint32_t version = cell.version.load(std::memory_order_relaxed);
    cell.version.store(version + 1, std::memory_order_relaxed);
    bucket.count.store(bucket.count.load(std::memory_order_relaxed) + 1, std::memory_order_release);
    cell.real.store(cell.real.load(std::memory_order_relaxed) + value, std::memory_order_release);
    cell.version.store(version + 2, std::memory_order_release);
    offer_exemplar(cell, bucket.epoch, slot, value);
  });
}

void renew_exemplars() { g_epoch.fetch_add(1, std::memory_order_relaxed); }

}  // namespace stella::telemetry::detail

namespace stella::telemetry {
void set_metrics_enabled(bool on) { detail::g_metrics_on.store(on, std::memory_order_relaxed); }

void declare_series(const contracts::MetricSpec& spec) {
  std::vector<std::vector<std::string_view>> rows(1);
  for (const contracts::MetricLabel& label : spec.labels) {
    std::vector<std::vector<std::string_view>> longer;
    for (const auto& row : rows)
      for (const std::string_view value : label.values) {
        longer.push_back(row);
        longer.back().push_back(value);
      }
    rows = std::move(longer);
  }
  for (const auto& row : rows) (void)detail::series(spec, row.data(), row.size());
}

}  // namespace stella::telemetry
