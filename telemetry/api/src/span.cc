// Spans: ids and times at the beginning, fields in record form on the way, one record at the end.
#include "stella/telemetry/span.h"

#include <algorithm>

#include "field_writer.h"
#include "producer.h"
#include "sampling_policy.h"
#include "stella/telemetry/clock.h"

namespace stella::telemetry {
namespace {
constinit thread_local const ActiveSpan* t_innermost = nullptr;
}

const ActiveSpan* innermost_span() noexcept { return t_innermost; }

std::string_view to_string(SpanKind kind) {
  switch (kind) {
    case SpanKind::kInternal: return "internal";
    case SpanKind::kServer: return "server";
    case SpanKind::kClient: return "client";
    case SpanKind::kProducer: return "producer";
    case SpanKind::kConsumer: return "consumer";
  }
  return "internal";
}

namespace detail {
namespace {

// Tail keep for the route of the ambient context; looked up once per context and policy.
bool tail_keep_of(Producer& p, const Context& context) {
  const bool ambient = &context == p.context;
  if (!ambient) return tail_keep(context.route);
  const std::uint32_t generation = g_sampling_generation.load(std::memory_order_acquire);
  if (p.tail_generation != generation) [[unlikely]] {
    p.tail_keep = tail_keep(context.route);
    p.tail_generation = generation;
  }
  return p.tail_keep;
}

// Takes an earlier field of the same key out.
void remove_field(SpanBuffer& b, const Field& field) {
  char* p = b.fields();
  for (std::uint16_t i = 0; i < b.area.count; ++i) {
    FieldView view;
    const std::size_t size = field_at(p, view);
    if (view.id == field.order() && (view.id != kForeignField || view.key == field.key())) {
      std::memmove(p, p + size, static_cast<std::size_t>(b.area.at - (p + size)));
      b.area.at -= size;
      --b.area.count;
      b.area.seams = true;  // others are neighbours now
      b.area.last_text = KnownTexts::kUnknown;
      return;
    }
    p += size;
  }
}

// True where a field of this key may be there already; marks it.
bool seen_before(SpanBuffer& b, const Field& field) {
  if (field.order() != kForeignField) [[likely]] {
    std::uint64_t& word = b.seen[field.order() >> 6];
    const std::uint64_t bit = std::uint64_t{1} << (field.order() & 63);
    const bool seen = (word & bit) != 0;
    word |= bit;
    return seen;
  }
  std::uint32_t hash = 0;
  for (const char c : field.key()) hash = hash * 31 + static_cast<unsigned char>(c);
  const std::uint64_t bit = std::uint64_t{1} << (hash & 63);
  const bool seen = (b.seen_foreign & bit) != 0;
  b.seen_foreign |= bit;
  return seen;
}

// Bytes that a field may need; a text is scrubbed on the way and may grow a little.
std::size_t room_for(const Field& field) {
  if (field.kind() == Field::Kind::kError) return 2 * kErrorReserve;
  if (field.kind() > Field::Kind::kPii || field.text().size() <= kFastText) return kFastText + 8 + 256;
  return 2 * std::min(field.text().size(), kTextBytes) + kErrorReserve + 512;
}

}  // namespace

[[gnu::always_inline]] inline void SpanCore::begin(Producer& p, Context& context) {
  if (no_id(context.trace_id)) [[unlikely]] {
    context.trace_id = p.random.trace_id();
    context.span_id = SpanId();
    context.started_here = true;
    new_trace_ = local_root_ = true;
    decide(context);
    p.stale = p.stale || &context == p.context;
  } else if (context.remote) [[unlikely]] {
    local_root_ = remote_parent_ = true;
    context.remote = false;
    if ((context.flags & TraceParent::kSampled) == 0 && g_sampling_incidents.load(std::memory_order_relaxed)) boost(context);
  }
  context.parent_span_id = context.span_id;
  context.span_id = p.random.span_id();
  if ((context.flags & TraceParent::kSampled) == 0) {
    // A local root may be chosen yet, when its tenant becomes known.
    if (!tail_keep_of(p, context) && !(new_trace_ && g_sampling_by_tenant.load(std::memory_order_relaxed))) return;
  }
  buffer_ = p.take_buffer();
  const Instant now = instant();
  buffer_->start_ns = now.epoch;
  buffer_->start_mono = now.mono;
}

void SpanCore::add(const Field& field) {
  SpanBuffer& b = *buffer_;
  if (field.kind() == Field::Kind::kError) status_ = 2;
  if (seen_before(b, field)) [[unlikely]] remove_field(b, field);
  if (b.area.count >= kAttributes && field.kind() != Field::Kind::kError) [[unlikely]] {
    ++b.area.dropped;
    return;
  }
  const std::size_t room = room_for(field);
  if (static_cast<std::size_t>(b.area.end - b.area.at) < room) [[unlikely]] {
    if (!b.reserve(room)) b.reserve(kRecordBytes - SpanBuffer::kSlack - static_cast<std::size_t>(b.area.at - b.data));
  }
  Producer& p = producer();
  put_field(b.area, field, p.context->tenant_id.str(), p.scrubbing);
}

void SpanCore::add_link(const TraceParent& other) {
  SpanBuffer& b = *buffer_;
  if (b.links == kLinks) {
    ++b.dropped_links;
    return;
  }
  char* const p = b.link_bytes + 24 * b.links++;
  std::memcpy(p, other.trace_id.bytes().data(), 16);
  std::memcpy(p + 16, other.span_id.bytes().data(), 8);
}

void SpanCore::add_event(std::string_view name, std::initializer_list<Field> fields) {
  SpanBuffer& b = *buffer_;
  if (b.events == kEvents) {
    ++b.dropped_events;
    return;
  }
  Producer& p = producer();
  // Laid out behind the context in the thread's scratch, kept in the span's own buffer.
  p.prepare();
  char* const at = p.scratch + sizeof(RecordHead) + p.texts;
  name = name.substr(0, 256);
  const std::int64_t ns = now_ns();
  const auto name_size = static_cast<std::uint16_t>(name.size());
  std::memcpy(at, &ns, 8);
  std::memcpy(at + 8, &name_size, 2);
  char* const first = copy_text(at + 12, name);
  FieldArea area{first, at + kTextBytes + 512};
  for (const Field& field : fields) {
    if (area.count < 32) put_field(area, field, p.context->tenant_id.str(), p.scrubbing);
    else area.cut = true;
  }
  if (area.seams) mask_split_secrets(first, area, p.context->tenant_id.str(), p.scrubbing.known);
  std::memcpy(at + 10, &area.count, 2);
  const auto size = static_cast<std::size_t>(area.at - at);
  b.area.cut |= area.cut;
  if (b.event_bytes.size() + size > kRecordBytes / 2) {
    ++b.dropped_events;
    b.area.cut = true;
    return;
  }
  b.event_bytes.append(at, size);
  ++b.events;
}

void SpanCore::fail(const Error& error) {
  status_ = 2;
  if (buffer_ != nullptr) add(f::error(error));
}

void SpanCore::keep() {
  keep_ = true;
  producer().context->keep = true;
  if (buffer_ != nullptr) buffer_->keep = true;
}

void SpanCore::started_at(Timestamp start) {
  if (buffer_ == nullptr) return;
  const std::int64_t back = buffer_->start_ns - start.micros() * 1000;
  if (back <= 0) return;
  buffer_->start_ns -= back;
  buffer_->start_mono -= back;
}

void SpanCore::forget(Producer& p) { p.give_buffer(std::exchange(buffer_, nullptr)); }

void SpanCore::finish(Producer& p, const Context& context, bool ambient) {
  if (dropped_) [[unlikely]] return forget(p);
  SpanBuffer& b = *buffer_;
  const Instant now = instant();
  const bool sampled = (context.flags & TraceParent::kSampled) != 0;
  if (!sampled && !tail_keep_of(p, context)) return forget(p);  // was open only because its tenant might have chosen it

  if (b.area.seams) [[unlikely]] mask_split_secrets(b.fields(), b.area, context.tenant_id.str(), p.scrubbing.known);
  // Right in front of the fields: head, texts of the context, name.
  const std::string_view prefix = name_.prefix(), name = name_.text().substr(0, kNameBytes - prefix.size());
  const std::size_t name_size = prefix.size() + name.size();
  char* const name_at = b.fields() - name_size;
  copy_text(copy_text(name_at, prefix), name);
  char* record;
  if (ambient) {
    p.prepare();
    record = name_at - p.texts - sizeof(RecordHead);
    copy_text(record, p.scratch, sizeof(RecordHead) + p.texts);
  } else {
    RecordHead head;
    char texts[kContextBytes];
    const std::size_t size = lay_out_context(context, head, texts, p.scrubbing);
    record = name_at - size - sizeof(RecordHead);
    std::memcpy(record, &head, sizeof head);
    copy_text(record + sizeof head, texts, size);
  }
  if (const std::size_t more = b.links * std::size_t{24} + b.event_bytes.size(); more != 0) [[unlikely]] {
    const std::ptrdiff_t offset = record - b.data;
    if (b.reserve(more)) {
      char* const q = b.area.at;
      std::memcpy(q, b.link_bytes, b.links * std::size_t{24});
      std::memcpy(q + b.links * std::size_t{24}, b.event_bytes.data(), b.event_bytes.size());
      b.area.at += more;
      record = b.data + offset;
    } else {
      b.dropped_links = static_cast<std::uint16_t>(b.dropped_links + std::exchange(b.links, std::uint16_t{0}));
      b.dropped_events = static_cast<std::uint16_t>(b.dropped_events + std::exchange(b.events, std::uint16_t{0}));
      b.area.cut = true;
    }
  }
  char* const end = b.area.at;
  std::memset(end, 0, 8);
  const std::size_t size = (static_cast<std::size_t>(end - record) + 7) & ~std::size_t{7};
  // Written in its place: a copy of what was just written in parts would have to wait for all of them.
  using LooseHead [[gnu::aligned(1)]] = RecordHead;
  LooseHead& head = *reinterpret_cast<LooseHead*>(record);
  head.size = static_cast<std::uint32_t>(size);
  head.kind = RecordKind::kSpan;
  head.level = Level::kInfo;
  head.flags = static_cast<std::uint8_t>((b.area.cut ? RecordHead::kTruncated : 0) | (local_root_ ? RecordHead::kLocalRoot : 0) |
                                         (remote_parent_ ? RecordHead::kRemoteParent : 0) | (b.keep ? RecordHead::kKeep : 0));
  head.trace_flags = context.flags;
  head.ns = b.start_ns;
  head.end_ns = b.start_ns + std::max<std::int64_t>(0, now.mono - b.start_mono);
  head.threshold = context.threshold;
  if (ambient) head.request_id = context.request_id.uuid().bytes();
  head.trace_id = context.trace_id.bytes();
  head.span_id = context.span_id.bytes();
  head.parent_span_id = context.parent_span_id.bytes();
  head.span_kind = kind_;
  head.status = static_cast<SpanStatus>(status_);
  head.sampling = sampled ? context.sampling : SamplingReason::kUndecided;
  head.field_count = b.area.count;
  head.link_count = b.links;
  head.event_count = b.events;
  head.dropped_fields = b.area.dropped;
  head.dropped_links = b.dropped_links;
  head.dropped_events = b.dropped_events;
  head.module = 0;
  head.message = static_cast<std::uint16_t>(name_size);
  push({record, size});
  forget(p);
}

}  // namespace detail

ManualSpan::ManualSpan(SpanName name, SpanKind kind, const Context& parent, std::initializer_list<Field> fields)
    : SpanCore(name, kind), context_(parent) {
  begin(detail::producer(), context_);
  for (const Field& field : fields) set(field);
}

ManualSpan::ManualSpan(ManualSpan&& other) noexcept
    : SpanCore(static_cast<SpanCore&>(other)), open_(std::exchange(other.open_, false)), context_(std::move(other.context_)) {
  other.buffer_ = nullptr;
}

void ManualSpan::end() {
  if (!std::exchange(open_, false) || buffer_ == nullptr) return;
  if (context_.started_here && local_root_) detail::decide_again(context_);
  finish(detail::producer(), context_, false);
}

void Span::begin_quiet() noexcept {
  detail::Producer& p = *detail::t_producer;  // who found out that it is quiet
  ambient_ = p.context;
  saved_span_ = ambient_->span_id;
  saved_parent_ = ambient_->parent_span_id;
  ambient_->parent_span_id = saved_span_;
  ambient_->span_id = p.random.span_id();
}

void Span::begin_ambient(const Field* fields, std::size_t count) {
  detail::Producer& p = detail::producer();
  Context& ambient = *p.context;
  ambient_ = &ambient;
  saved_span_ = ambient.span_id;
  saved_parent_ = ambient.parent_span_id;
  saved_flags_ = ambient.flags;
  begin(p, ambient);
  if (buffer_ == nullptr) {
    // Holds for its children until the context, the policy or this trace is another one.
    detail::t_quiet_generation = p.tail_generation;
    return;
  }
  const std::string_view prefix = name_.prefix(), text = name_.text();
  buffer_->active = {t_innermost, prefix.data(), text.data(), static_cast<std::uint16_t>(prefix.size()), static_cast<std::uint16_t>(text.size()),
                     buffer_->start_ns, ambient.trace_id.bytes(), ambient.span_id.bytes()};
  t_innermost = &buffer_->active;
  for (const Field* field = fields; field != fields + count; ++field) set(*field);
}

void Span::end_ambient() {
  detail::Producer& p = detail::producer();
  Context& ambient = *p.context;
  // What became known on the way (tenant, actor …) belongs to this span, too.
  if (buffer_ != nullptr) {
    t_innermost = buffer_->active.outer;
    finish(p, ambient, true);
  }
  ambient.span_id = saved_span_;
  ambient.parent_span_id = saved_parent_;
  if (local_root_) [[unlikely]] {
    detail::t_quiet_generation = 0;
    ambient.remote = remote_parent_;
    ambient.flags = saved_flags_;
    ambient.keep = false;
    if (new_trace_) {
      ambient.trace_id = TraceId();
      ambient.started_here = false;
      ambient.threshold = kSampleAll;
      ambient.sampling = SamplingReason::kHead;
      if (!ambient.tracestate.empty()) {
        ambient.tracestate.clear();
        p.stale = true;
      }
    }
  }
}

}  // namespace stella::telemetry
