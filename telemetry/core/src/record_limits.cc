// A record within the limits of the environment.
#include "record_limits.h"

#include <algorithm>
#include <cstring>
#include <limits>
#include <optional>

#include "stella/base/encoding.h"

namespace stella::telemetry {
namespace {

bool continues(char c) { return (static_cast<unsigned char>(c) & 0xc0) == 0x80; }

template <class T>
void append(std::string& out, T value) {
  out.append(reinterpret_cast<const char*>(&value), sizeof value);
}

void add_to(std::uint16_t& count, std::size_t more) {
  constexpr std::size_t kMost = std::numeric_limits<std::uint16_t>::max();
  count = static_cast<std::uint16_t>(std::min(count + more, kMost));
}

// Characters of the text form of an id; 0 for other kinds.
std::size_t id_chars(Field::Kind kind) {
  switch (kind) {
    case Field::Kind::kUuid: return 36;
    case Field::Kind::kSha256: return 64;
    case Field::Kind::kTraceId: return 32;
    case Field::Kind::kSpanId: return 16;
    default: return 0;
  }
}
std::string id_text(const FieldView& field) {
  std::string text = hex_encode(field.value);
  if (field.kind != Field::Kind::kUuid) return text;
  for (const std::size_t dash : {8u, 13u, 18u, 23u}) text.insert(dash, 1, '-');
  return text;
}

// Which attributes stay: the first `most` keys, with all that is said of them.
class Keys {
 public:
  explicit Keys(std::uint32_t most) : most_(most) {}
  bool take(const FieldView& field) {
    if (std::find(keys_.begin(), keys_.end(), field.key) != keys_.end()) return true;
    if (keys_.size() >= most_) return false;
    keys_.push_back(field.key);
    return true;
  }

 private:
  const std::uint32_t most_;
  std::vector<std::string_view> keys_;
};

bool any_below(const OtelLimits& l) {
  return std::min({l.span_attribute_count, l.log_attribute_count, l.event_attributes, l.link_attributes}) < OtelLimits::kMostAttributes ||
         l.span_events < OtelLimits::kMostEvents || l.span_links < OtelLimits::kMostLinks || std::min(l.span_text_chars, l.log_text_chars) < OtelLimits::kMostChars;
}

}  // namespace

std::string_view clip_chars(std::string_view text, std::size_t chars) {
  if (text.size() <= chars) return text;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (continues(text[i])) continue;
    if (chars == 0) return text.substr(0, i);
    --chars;
  }
  return text;
}

RecordLimits::RecordLimits(const OtelLimits& limits) : limits_(limits), on_(any_below(limits)) {}

bool RecordLimits::text_within(const FieldView& field, std::uint32_t chars) const {
  if (field.kind <= Field::Kind::kPii) return clip_chars(field.value, chars).size() == field.value.size();
  if (field.kind != Field::Kind::kError) return id_chars(field.kind) <= chars;
  const auto error = error_view(field);
  std::string_view rest = error ? error->rest : std::string_view(), name, value;
  while (next_error_field(rest, name, value)) {
    if (clip_chars(value, chars).size() != value.size()) return false;
  }
  return true;
}

// Most records are, and are not copied.
bool RecordLimits::within(const RecordView& record) const {
  const RecordHead& h = record.head();
  const bool span = h.kind == RecordKind::kSpan;
  if (h.field_count > (span ? limits_.span_attribute_count : limits_.log_attribute_count) || h.event_count > limits_.span_events || h.link_count > limits_.span_links) return false;
  const std::uint32_t chars = span ? limits_.span_text_chars : limits_.log_text_chars;
  bool fits = true;
  const auto look = [&](const FieldView& field) { fits = fits && text_within(field, chars); };
  record.each_field(look);
  record.each_event([&](std::int64_t, std::string_view, auto&& fields) {
    std::uint32_t count = 0;
    fields([&](const FieldView& field) {
      ++count;
      look(field);
    });
    fits = fits && count <= limits_.event_attributes;
  });
  return fits;
}

void RecordLimits::put_error(const FieldView& field, std::uint32_t chars) {
  const auto error = error_view(field);
  if (!error) return;
  value_.assign(field.value.substr(0, field.value.size() - error->rest.size()));
  std::string_view rest = error->rest, name, value;
  while (next_error_field(rest, name, value)) {
    const std::string_view kept = clip_chars(value, chars);
    append(value_, static_cast<std::uint8_t>(name.size()));
    value_.append(name);
    append(value_, static_cast<std::uint16_t>(kept.size()));
    value_.append(kept);
  }
}

void RecordLimits::put(const FieldView& field, std::uint32_t chars) {
  Field::Kind kind = field.kind;
  if (kind <= Field::Kind::kPii) {
    value_.assign(clip_chars(field.value, chars));
  } else if (kind == Field::Kind::kError) {
    put_error(field, chars);
  } else if (cut_ids_ && id_chars(kind) > chars) {
    value_.assign(id_text(field), 0, chars);
    kind = Field::Kind::kText;
  } else {
    value_.assign(field.value);
  }
  append(out_, field.id);
  append(out_, static_cast<std::uint8_t>(kind));
  append(out_, static_cast<std::uint16_t>(value_.size()));
  if (field.id == kForeignField) {
    append(out_, static_cast<std::uint8_t>(field.key.size()));
    out_.append(field.key);
  }
  out_.append(value_);
}

void RecordLimits::put_fields(const RecordView& record, std::uint32_t most, std::uint32_t chars, RecordHead& head) {
  Keys keys(most);
  head.field_count = 0;
  record.each_field([&](const FieldView& field) {
    if (!keys.take(field)) return add_to(head.dropped_fields, 1);
    put(field, chars);
    ++head.field_count;
  });
}

void RecordLimits::put_links(const RecordView& record, RecordHead& head) {
  head.link_count = 0;
  record.each_link([&](std::span<const std::uint8_t, 16> trace, std::span<const std::uint8_t, 8> span) {
    if (head.link_count >= limits_.span_links) return add_to(head.dropped_links, 1);
    out_.append(reinterpret_cast<const char*>(trace.data()), trace.size());
    out_.append(reinterpret_cast<const char*>(span.data()), span.size());
    ++head.link_count;
  });
}

void RecordLimits::put_events(const RecordView& record, RecordHead& head) {
  head.event_count = 0;
  bool any = false;
  record.each_event([&](std::int64_t ns, std::string_view name, auto&& fields) {
    if (head.event_count >= limits_.span_events) return add_to(head.dropped_events, 1);
    append(out_, ns);
    append(out_, static_cast<std::uint16_t>(name.size()));
    const std::size_t place = out_.size();
    std::uint16_t count = 0;
    append(out_, count);
    out_.append(name);
    Keys keys(limits_.event_attributes);
    std::uint32_t dropped = 0;
    fields([&](const FieldView& field) {
      if (!keys.take(field)) {
        ++dropped;
        return;
      }
      put(field, limits_.span_text_chars);
      ++count;
    });
    std::memcpy(out_.data() + place, &count, sizeof count);
    event_drops_.push_back(dropped);
    any = any || dropped > 0;
    ++head.event_count;
  });
  if (!any) event_drops_.clear();
}

void RecordLimits::rewrite(const RecordView& record) {
  RecordHead head = record.head();
  const bool span = head.kind == RecordKind::kSpan;
  const std::size_t texts = std::size_t{head.tenant} + head.actor + head.route + head.method + head.tracestate + head.module + head.message;
  event_drops_.clear();
  out_.assign(record.bytes().substr(0, sizeof head + texts));
  put_fields(record, span ? limits_.span_attribute_count : limits_.log_attribute_count, span ? limits_.span_text_chars : limits_.log_text_chars, head);
  put_links(record, head);
  put_events(record, head);
  out_.resize((out_.size() + 7) / 8 * 8);
  head.size = static_cast<std::uint32_t>(out_.size());
  std::memcpy(out_.data(), &head, sizeof head);
}

RecordView RecordLimits::apply(const RecordView& record) {
  event_drops_.clear();
  if (!on_ || within(record)) return record;
  cut_ids_ = true;
  rewrite(record);
  if (out_.size() > kRecordBytes) {  // an id is longer as text: a record full of them keeps them whole
    cut_ids_ = false;
    rewrite(record);
  }
  const auto limited = RecordView::parse(out_);
  if (limited) return *limited;
  event_drops_.clear();
  return record;  // never: the parts are those of a record
}

}  // namespace stella::telemetry
