// A thread's producer: made at its first record, gone with the thread.
#include "producer.h"

#include <pthread.h>

#include <mutex>
#include <new>

#include "stella/base/encoding.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry::detail {

constinit thread_local Producer* t_producer = nullptr;
constinit thread_local std::uint32_t t_quiet_generation = 0;

namespace {

constexpr std::size_t kScratchBytes = kRecordBytes + 64;

pthread_key_t g_key;

void once_per_process() {
  // Runs after the destructors of thread_local objects, so that they may still log; what logs later makes a new one, which goes the same way.
  pthread_key_create(&g_key, [](void* p) {
    t_producer = nullptr;
    t_quiet_generation = 0;
    delete static_cast<Producer*>(p);
  });
  // Equal ids in parent and child would mix two traces.
  pthread_atfork(nullptr, nullptr, [] {
    if (t_producer != nullptr) t_producer->random.seed();
  });
}

// Copies a text of the context: scrubbed, at most `most` bytes.
char* put_context_text(char* p, std::string_view text, std::size_t most, std::string_view tenant, Scrubbing& scrubbing, std::uint16_t& size) {
  bool clean = true;
  if (!text.empty()) check_text(text, scrubbing.known, clean);
  if (!clean) {
    scrubbing.masked.clear();
    scrub_append(scrubbing.masked, text, {.let_through = {}, .tenant = tenant});
    text = scrubbing.masked;
  }
  text = clip_utf8(text, most);
  size = static_cast<std::uint16_t>(text.size());
  return copy_text(p, text);
}

}  // namespace

Producer::Producer() : scratch(static_cast<char*>(::operator new(kScratchBytes))) {
  new (scratch) RecordHead;
  random.seed();
}

Producer::~Producer() {
  for (std::size_t i = 0; i < spares; ++i) delete spare[i];
  ::operator delete(scratch);
}

Producer& make_producer() {
  static std::once_flag once;
  std::call_once(once, once_per_process);
  auto* made = new Producer;
  t_producer = made;
  pthread_setspecific(g_key, made);
  return *made;
}

std::size_t lay_out_context(const Context& context, RecordHead& head, char* texts, Scrubbing& scrubbing) {
  head.project_id = context.project_id.uuid().bytes();
  head.request_id = context.request_id.uuid().bytes();
  head.job_id = context.job_id.uuid().bytes();
  head.run_id = context.run_id.uuid().bytes();
  const std::string_view tenant = context.tenant_id.str();
  char* p = texts;
  head.tenant = static_cast<std::uint16_t>(tenant.size());  // a slug by construction
  p = copy_text(p, tenant);
  p = put_context_text(p, context.actor, kActorBytes, tenant, scrubbing, head.actor);
  p = put_context_text(p, context.route, kRouteBytes, tenant, scrubbing, head.route);
  p = put_context_text(p, context.method, kMethodBytes, tenant, scrubbing, head.method);
  p = put_context_text(p, context.tracestate, kTracestateBytes, tenant, scrubbing, head.tracestate);
  return static_cast<std::size_t>(p - texts);
}

void Producer::lay_out() {
  texts = lay_out_context(*context, head(), scratch + sizeof(RecordHead), scrubbing);
  // A line always names a request or a job; outside of both, the process is the request.
  if (no_id(context->request_id.uuid()) && no_id(context->job_id.uuid())) head().request_id = process_context().request_id.uuid().bytes();
  stale = false;
}

SpanBuffer* Producer::take_buffer() {
  if (spares != 0) [[likely]] return spare[--spares];
  return new SpanBuffer;
}

void Producer::give_buffer(SpanBuffer* buffer) {
  if (spares == kSpare || buffer->capacity > 4 * SpanBuffer::kFirstBytes) {
    delete buffer;
    return;
  }
  buffer->reset();
  spare[spares++] = buffer;
}

const Context& process_context() {
  static const Context& context = *[] {  // never destroyed: threads may log while the process ends
    auto* c = new Context;
    c->trace_id = TraceId::generate();
    c->span_id = SpanId::generate();
    c->request_id = RequestId::generate();
    return c;
  }();
  return context;
}

SpanBuffer::SpanBuffer() : data(static_cast<char*>(::operator new(kFirstBytes))), capacity(kFirstBytes) { area = {fields(), data + capacity - kSlack}; }
SpanBuffer::~SpanBuffer() { ::operator delete(data); }

void SpanBuffer::reset() {
  area = {fields(), data + capacity - kSlack};
  seen[0] = seen[1] = seen[2] = seen[3] = seen_foreign = 0;
  links = dropped_links = events = dropped_events = 0;
  keep = false;
  if (event_bytes.capacity() > kFirstBytes) event_bytes = std::string();
  else event_bytes.clear();
}

bool SpanBuffer::reserve(std::size_t more) {
  constexpr std::size_t kMost = kRecordBytes;
  const auto used = static_cast<std::size_t>(area.at - data);
  if (used + more + kSlack <= capacity) return true;
  if (used + more + kSlack > kMost) return false;
  std::size_t bytes = capacity;
  while (bytes < used + more + kSlack) bytes *= 2;
  bytes = bytes < kMost ? bytes : kMost;
  char* const larger = static_cast<char*>(::operator new(bytes));
  std::memcpy(larger, data, used);  // at the end of a span its head is laid out already
  ::operator delete(data);
  data = larger;
  capacity = bytes;
  area.at = data + used;
  area.end = data + capacity - kSlack;
  return true;
}

}  // namespace stella::telemetry::detail
