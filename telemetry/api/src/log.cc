// The log call: from typed fields to a record in the thread's scratch, and out.
#include "stella/telemetry/log.h"

#include <algorithm>

#include "field_writer.h"
#include "levels.h"
#include "producer.h"
#include "stella/telemetry/clock.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry {
namespace detail {
namespace {

constexpr std::size_t kModuleBytes = 128, kMessageBytes = 2048;

void set_ids(RecordHead& head, const Context& context) {
  // Outside of any span the process itself is the work.
  const Context& ids = no_id(context.trace_id) ? process_context() : context;
  head.trace_flags = ids.flags;
  head.trace_id = ids.trace_id.bytes();
  head.span_id = (no_id(ids.span_id) ? process_context() : ids).span_id.bytes();
  head.parent_span_id = ids.parent_span_id.bytes();
}

}  // namespace

void emit(Level level, std::string_view module, std::string_view message, std::initializer_list<Field> fields) {
  Producer& p = producer();
  const Context& context = *p.context;
  if (level != Level::kError && g_level_rules.load(std::memory_order_relaxed)) [[unlikely]] {
    if (!passes_rules(level, module, context.tenant_id.str())) return;
  }
  p.prepare();
  const std::string_view tenant = context.tenant_id.str();
  module = module.substr(0, kModuleBytes);
  message = message.substr(0, kMessageBytes);
  char* q = copy_text(p.scratch + sizeof(RecordHead) + p.texts, module);
  q = copy_text(q, message);
  FieldArea area{q, p.scratch + kRecordBytes - 16};
  const Field* field = fields.begin();
  const Field* const end = field + std::min<std::size_t>(fields.size(), kLineFields);
  for (; field != end; ++field) put_field(area, *field, tenant, p.scrubbing);
  if (fields.size() > kLineFields) [[unlikely]] {
    area.dropped = static_cast<std::uint16_t>(area.dropped + (fields.size() - kLineFields));
    area.cut = true;
  }
  if (area.seams) [[unlikely]] mask_split_secrets(q, area, tenant, p.scrubbing.known);

  std::memset(area.at, 0, 8);
  const std::size_t size = (static_cast<std::size_t>(area.at - p.scratch) + 7) & ~std::size_t{7};
  RecordHead& head = p.head();
  head.size = static_cast<std::uint32_t>(size);
  head.kind = RecordKind::kLog;
  head.level = level;
  head.flags = area.cut ? RecordHead::kTruncated : 0;
  head.ns = now_ns();
  head.end_ns = 0;
  head.threshold = context.threshold;
  head.sampling = context.sampling;
  set_ids(head, context);
  head.field_count = area.count;
  head.dropped_fields = area.dropped;
  head.module = static_cast<std::uint16_t>(module.size());
  head.message = static_cast<std::uint16_t>(message.size());
  push({p.scratch, size});
}

}  // namespace detail

std::string_view to_string(Level level) {
  switch (level) {
    case Level::kTrace: return "trace";
    case Level::kDebug: return "debug";
    case Level::kInfo: return "info";
    case Level::kWarn: return "warn";
    case Level::kError: return "error";
  }
  return "error";
}

std::optional<Level> parse_level(std::string_view text) {
  for (const Level level : {Level::kTrace, Level::kDebug, Level::kInfo, Level::kWarn, Level::kError}) {
    if (text == to_string(level)) return level;
  }
  return std::nullopt;
}

}  // namespace stella::telemetry
