// What one thread needs to make records: its ambient context, the scratch that records are laid out in, spare span buffers, random bits.
//
// The scratch begins with a head and the texts of the ambient context, scrubbed, which are re-made only when the context changed; a log
// call adds the rest behind them. Nothing here is locked, and after a thread's first record nothing is allocated.
#pragma once

#include <cstdint>
#include <cstring>
#include <memory>
#include <string>

#include "field_writer.h"
#include "random.h"
#include "span_buffer.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/span.h"

namespace stella::telemetry::detail {

struct Producer {
  Producer();
  ~Producer();
  Producer(const Producer&) = delete;
  Producer& operator=(const Producer&) = delete;

  Context base;                // ambient outside of any ContextScope
  Context* context = &base;
  bool stale = true;           // the context changed since it was laid out
  bool tail_keep = true;       // holds for the context's route, as of
  std::uint32_t tail_generation = 0;  // of the sampling policy; 0: not looked up
  Random random;

  char* scratch = nullptr;     // kRecordBytes and slack
  std::size_t texts = 0;       // bytes of the context's texts behind the head
  Scrubbing scrubbing;

  static constexpr std::size_t kSpare = 32;
  SpanBuffer* spare[kSpare] = {};
  std::size_t spares = 0;

  RecordHead& head() { return *reinterpret_cast<RecordHead*>(scratch); }
  // Lays out the context where it changed.
  void prepare() {
    if (stale) [[unlikely]] lay_out();
  }
  void lay_out();
  void changed() {
    stale = true;
    tail_generation = 0;
    t_quiet_generation = 0;
  }
  SpanBuffer* take_buffer();
  void give_buffer(SpanBuffer* buffer);
};

extern constinit thread_local Producer* t_producer;
Producer& make_producer();
inline Producer& producer() {
  if (t_producer != nullptr) [[likely]] return *t_producer;
  return make_producer();
}

// Head (ids and sizes) and texts of a context, scrubbed; at most kContextBytes. Returns the bytes of the texts.
inline constexpr std::size_t kTenantBytes = 64, kActorBytes = 128, kRouteBytes = 256, kMethodBytes = 16, kTracestateBytes = 512;
inline constexpr std::size_t kContextBytes = kTenantBytes + kActorBytes + kRouteBytes + kMethodBytes + kTracestateBytes;
std::size_t lay_out_context(const Context& context, RecordHead& head, char* texts, Scrubbing& scrubbing);

// The ids under which records outside of any request or job stand: one trace and request per process.
const Context& process_context();

void push(std::string_view record) noexcept;

// An id of zeros alone: as its empty() says, without a call.
template <class Id>
bool no_id(const Id& id) {
  const auto& bytes = id.bytes();
  static_assert(sizeof bytes == 8 || sizeof bytes == 16);
  std::uint64_t first, last;
  std::memcpy(&first, bytes.data(), 8);
  std::memcpy(&last, bytes.data() + sizeof bytes - 8, 8);
  return (first | last) == 0;
}

}  // namespace stella::telemetry::detail
