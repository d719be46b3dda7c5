// An OTLP request, message by message along the table, into a scrubbed one.
#include "stella/telemetry/otlp_scrub.h"

#include <algorithm>
#include <array>
#include <deque>
#include <protozero/pbf_reader.hpp>
#include <protozero/pbf_writer.hpp>
#include <vector>

#include "decode.h"
#include "schema.h"
#include "stella/base/encoding.h"
#include "stella/telemetry/scrub.h"
#include "wire.h"

namespace stella::telemetry {
namespace {

using otlp_detail::OverLimit;
using otlp_detail::Reader;
using otlp_detail::reader_of;
using otlp_detail::view;
using otlp_detail::Wire;
using otlp_schema::Message;
using otlp_schema::Type;
using OtlpField = otlp_schema::Field;

constexpr std::string_view kTenantKey = "tenant_id";
constexpr std::array<std::string_view, 8> kNameKeys{"user.name", "user.full_name", "enduser.id", "enduser.name", "login_name", "username", "user", "usr.name"};

void put_tag(std::string& out, std::uint32_t number, Wire type) { protozero::write_varint(std::back_inserter(out), (number << 3) | static_cast<std::uint32_t>(type)); }
void put_text(std::string& out, std::uint32_t number, std::string_view text) {
  put_tag(out, number, Wire::length_delimited);
  protozero::write_varint(std::back_inserter(out), text.size());
  out.append(text);
}

// Writes a length-delimited field whose content f(out) appends; `expected` is its likely size.
template <class F>
void put_message(std::string& out, std::uint32_t number, std::size_t expected, F&& f) {
  put_tag(out, number, Wire::length_delimited);
  const std::size_t at = out.size(), room = wire::varint_size(expected);
  out.append(room, '\0');
  f(out);
  const std::size_t size = out.size() - at - room, needed = wire::varint_size(size);
  if (needed > room) out.insert(at, needed - room, '\0');
  if (needed < room) out.erase(at, room - needed);
  wire::put_varint(out.data() + at, size);
}

// `[kind:12345678]`, as mask() writes it.
bool is_mask(std::string_view text) {
  if (text.size() < 11 || text.size() > 64 || text.front() != '[' || text.back() != ']') return false;
  const std::size_t colon = text.find(':');
  if (colon == std::string_view::npos || colon < 2 || text.size() - colon != 10) return false;
  const auto kind = text.substr(1, colon - 1), print = text.substr(colon + 1, 8);
  return std::all_of(kind.begin(), kind.end(), [](char c) { return (c >= 'a' && c <= 'z') || c == '_'; }) &&
         std::all_of(print.begin(), print.end(), [](char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f'); });
}

bool is_printable(char c) { return (c >= 0x20 && c < 0x7f) || c == '\n' || c == '\t' || c == '\r'; }

class Scrubber {
 public:
  explicit Scrubber(const OtlpScrubOptions& options) : options_(options) {}

  void message(Message message, std::string_view bytes, std::string& out, int depth) {
    if (message == Message::kKeyValue) return key_value(bytes, out, depth);
    if (message == Message::kResourceSpans || message == Message::kResourceLogs || message == Message::kResourceMetrics) return layer(message, bytes, out, depth);
    const std::uint32_t list = list_of(message);
    const std::vector<bool> parts = list == 0 ? std::vector<bool>{} : parts_of_secrets(message, list, bytes);
    std::size_t element = 0;
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      if (!parts.empty() && reader.tag_and_type() == otlp_detail::text(list) && parts[element++])
        hidden(*otlp_schema::find(message, list), view(reader), out, depth);
      else
        field(otlp_schema::find(message, reader.tag()), reader, out, depth);
    }
  }

 private:
  // The field of `message` that holds a list of values, mostly attributes; 0: it has none.
  static std::uint32_t list_of(Message message) {
    static const auto numbers = [] {
      std::array<std::uint8_t, static_cast<std::size_t>(Message::kExemplar) + 1> out{};
      for (std::size_t m = 0; m < out.size(); ++m) {
        for (const OtlpField& f : otlp_schema::fields(static_cast<Message>(m))) {
          if (f.repeated && f.type == Type::kMessage && (f.message == Message::kKeyValue || f.message == Message::kAnyValue)) out[m] = f.number;
        }
      }
      return out;
    }();
    return numbers[static_cast<std::size_t>(message)];
  }

  // The text of an AnyValue; empty where it is none.
  static std::string_view text_of(std::string_view any) {
    std::string_view text;
    Reader reader = reader_of(any);
    while (reader.next()) {
      if (reader.tag_and_type() == otlp_detail::text(1) || reader.tag_and_type() == otlp_detail::text(7))
        text = view(reader);
      else
        reader.skip();
    }
    return text;
  }
  struct Pair {
    std::string_view key, text;
  };
  static Pair pair_of(std::string_view bytes) {
    Pair pair;
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      if (reader.tag_and_type() == otlp_detail::text(1))
        pair.key = view(reader);
      else if (reader.tag_and_type() == otlp_detail::text(2))
        pair.text = text_of(view(reader));
      else
        reader.skip();
    }
    return pair;
  }

  // The integer of an AnyValue in decimal, in `room`; empty where it is none.
  static std::string_view number_of(std::string_view any, std::string& room) {
    room.clear();
    Reader reader = reader_of(any);
    while (reader.next()) {
      if (reader.tag() == 3 && reader.wire_type() == Wire::varint)
        room = std::to_string(reader.get_int64());
      else
        reader.skip();
    }
    return room;
  }

  // Which elements of the list are parts of a secret that lies over several of them: its name in one and its value in the next, or a token in
  // two parts. Empty: none. Looked for in the texts as they came, which hardly ever finds anything, and then in what each leaves when scrubbed alone.
  std::vector<bool> parts_of_secrets(Message message, std::uint32_t list, std::string_view bytes) {
    texts_.clear();
    numbers_.clear();
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      if (reader.tag_and_type() != otlp_detail::text(list)) {
        reader.skip();
      } else if (message != Message::kArrayValue) {
        texts_.push_back(pair_of(view(reader)));
      } else {
        const std::string_view any = view(reader);
        Pair pair{{}, text_of(any)};
        // Arguments of a program: --pin 123456
        if (pair.text.empty() && !texts_.empty() && texts_.back().text.starts_with('-')) pair.text = number_of(any, numbers_.emplace_back());
        texts_.push_back(pair);
      }
    }
    neighbours_.clear();
    for (const Pair& pair : texts_) {
      if (!pair.text.empty()) neighbours_.push_back(pair.text);
    }
    if (neighbours_.size() < 2 || !split_secret(neighbours_, whole_)) return {};
    std::vector<std::string> scrubbed;
    for (const Pair& pair : texts_) {
      if (!pair.text.empty()) scrubbed.push_back(is_secret_key(pair.key) ? std::string() : text(pair.text));
    }
    const std::vector<std::string_view> left(scrubbed.begin(), scrubbed.end());
    if (!split_secret(left, whole_)) return {};
    std::vector<bool> out(texts_.size());
    for (std::size_t i = 0, n = 0; i < texts_.size(); ++i) {
      if (!texts_[i].text.empty()) out[i] = whole_[n++];
    }
    return out;
  }

  // An element whose text is a part of a secret.
  void hidden(const OtlpField& known, std::string_view bytes, std::string& out, int depth) {
    put_message(out, known.number, bytes.size(), [&](std::string& inner) {
      if (known.message == Message::kKeyValue)
        key_value(bytes, inner, depth, true);
      else
        put_text(inner, 1, mask("secret", text_of(bytes).empty() ? number_of(bytes, number_) : text_of(bytes), options_.policy.tenant));
    });
  }

  void append_text(std::string& out, std::string_view text) const {
    std::string redacted;
    if (text.find('=') != std::string_view::npos) text = redacted = redact_query(text);
    if (certainly_clean(text))
      out.append(text);
    else
      scrub_append(out, text, options_.policy);
  }
  std::string text(std::string_view text) const {
    std::string out;
    append_text(out, text);
    return out;
  }

  // Text inside, and what is not text as it is: a stray byte must not hide what lies around it.
  std::string bytes_value(std::string_view bytes) const {
    if (is_utf8(bytes)) return text(bytes);
    std::string out;
    while (!bytes.empty()) {
      const auto stop = std::find_if_not(bytes.begin(), bytes.end(), is_printable);
      const std::string_view run(bytes.begin(), stop);
      out += run.size() < 4 ? std::string(run) : text(run);
      bytes.remove_prefix(run.size());
      const auto next = std::find_if(bytes.begin(), bytes.end(), is_printable);
      out.append(bytes.begin(), next);
      bytes.remove_prefix(static_cast<std::size_t>(next - bytes.begin()));
    }
    return out;
  }

  // One field, known or not, from `reader` to `out`.
  void field(const OtlpField* known, Reader& reader, std::string& out, int depth) {
    protozero::pbf_writer writer(out);
    const std::uint32_t number = reader.tag();  // reading a value forgets it
    switch (reader.wire_type()) {
      case Wire::varint: writer.add_uint64(number, reader.get_uint64()); break;
      case Wire::fixed64: writer.add_fixed64(number, reader.get_fixed64()); break;
      case Wire::fixed32: writer.add_fixed32(number, reader.get_fixed32()); break;
      case Wire::length_delimited:
        if (known == nullptr)
          reader.skip();
        else
          delimited(*known, view(reader), out, depth);
        break;
      default: reader.skip();  // throws
    }
  }

  void delimited(const OtlpField& known, std::string_view bytes, std::string& out, int depth) {
    switch (known.type) {
      case Type::kString: put_message(out, known.number, bytes.size(), [&](std::string& inner) { append_text(inner, bytes); }); break;
      case Type::kBytes: put_text(out, known.number, bytes_value(bytes)); break;
      case Type::kTraceId:
        if (bytes.size() == 16) put_text(out, known.number, bytes);
        break;
      case Type::kSpanId:
        if (bytes.size() == 8) put_text(out, known.number, bytes);
        break;
      case Type::kFixed64:
      case Type::kDouble:  // packed
        if (known.repeated && bytes.size() % 8 == 0) put_text(out, known.number, bytes);
        break;
      case Type::kUint64:
        if (known.repeated) packed_varints(known.number, bytes, out);
        break;
      case Type::kMessage:
        if (known.message == Message::kArrayValue || known.message == Message::kKeyValueList) ++depth;
        if (depth > options_.limits.depth) throw OverLimit{"depth", static_cast<std::size_t>(options_.limits.depth)};
        put_message(out, known.number, bytes.size(), [&](std::string& inner) { message(known.message, bytes, inner, depth); });
        break;
      default: break;  // a number that is no number: not known in this form
    }
  }

  static void packed_varints(std::uint32_t number, std::string_view bytes, std::string& out) {
    const char* p = bytes.data();
    const char* const end = p + bytes.size();
    std::string clean;
    while (p != end) protozero::write_varint(std::back_inserter(clean), protozero::decode_varint(&p, end));
    put_text(out, number, clean);
  }

  // Resource and scopes. All `resource` messages become one, so that the tenant is there once.
  void layer(Message message, std::string_view bytes, std::string& out, int depth) {
    std::string resource;
    bool there = false;
    Reader first = reader_of(bytes);
    while (first.next()) {
      if (first.tag_and_type() == otlp_detail::text(1)) {
        resource.append(view(first));
        there = true;
      } else {
        first.skip();
      }
    }
    if (there || !options_.tenant.empty()) {
      put_message(out, 1, resource.size() + options_.tenant.size(), [&](std::string& inner) {
        const std::vector<bool> parts = parts_of_secrets(Message::kResource, 1, resource);
        std::size_t element = 0;
        Reader reader = reader_of(resource);
        while (reader.next()) {
          if (reader.tag_and_type() == otlp_detail::text(1)) {
            const std::string_view pair = view(reader);
            const bool part = !parts.empty() && parts[element++];
            if (!options_.tenant.empty() && is_tenant(pair)) continue;
            const OtlpField& known = *otlp_schema::find(Message::kResource, 1);
            part ? hidden(known, pair, inner, depth) : delimited(known, pair, inner, depth);
          } else {
            field(otlp_schema::find(Message::kResource, reader.tag()), reader, inner, depth);
          }
        }
        if (options_.tenant.empty()) return;
        put_message(inner, 1, options_.tenant.size() + 16, [&](std::string& pair) {
          put_text(pair, 1, kTenantKey);
          put_message(pair, 2, options_.tenant.size() + 2, [&](std::string& any) { put_text(any, 1, options_.tenant); });
        });
      });
    }
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      if (reader.tag_and_type() == otlp_detail::text(1))
        reader.skip();
      else
        field(otlp_schema::find(message, reader.tag()), reader, out, depth);
    }
  }

  static bool is_tenant(std::string_view pair) {
    Reader reader = reader_of(pair);
    std::string_view key;
    while (reader.next(1, Wire::length_delimited)) {
      key = view(reader);
      if (key == kTenantKey) return true;  // even where another key comes later
    }
    return false;
  }

  // `part`: the text is a part of a secret.
  void key_value(std::string_view bytes, std::string& out, int depth, bool part = false) {
    bool secret = part, name = false, has_value = false;
    std::string value;  // a message that is there twice is one
    Reader first = reader_of(bytes);
    while (first.next()) {
      if (first.tag_and_type() == otlp_detail::text(1)) {
        const std::string_view key = view(first);
        secret = secret || is_secret_key(key);
        name = name || std::find(kNameKeys.begin(), kNameKeys.end(), key) != kNameKeys.end();
      } else if (first.tag_and_type() == otlp_detail::text(2)) {
        value.append(view(first));
        has_value = true;
      } else {
        first.skip();
      }
    }
    Reader reader = reader_of(bytes);
    while (reader.next()) {
      if (reader.tag_and_type() == otlp_detail::text(2))
        reader.skip();
      else
        field(otlp_schema::find(Message::kKeyValue, reader.tag()), reader, out, depth);
    }
    if (!has_value) return;
    put_message(out, 2, value.size(), [&](std::string& any) {
      if (!((secret || name) && masked(value, secret ? "secret" : "name", any))) message(Message::kAnyValue, value, any, depth);
    });
  }

  // The value as one mask; false where there is nothing to mask: no value, an empty text, a bool, a mask.
  bool masked(std::string_view value, std::string_view kind, std::string& out) const {
    std::string_view content = value;
    bool worth = false, is_number = false;
    Reader reader = reader_of(value);
    while (reader.next()) {
      switch (reader.tag_and_type()) {
        case otlp_detail::text(1):
        case otlp_detail::text(7):
          content = view(reader);
          worth = !content.empty();
          break;
        case otlp_detail::text(5):
        case otlp_detail::text(6):
          content = value;
          worth = !view(reader).empty();
          break;
        case otlp_detail::varint(3):
        case otlp_detail::fixed64(4):
          content = value;
          is_number = true;
          reader.skip();
          break;
        default: reader.skip();
      }
    }
    if (is_number && kind == "secret") worth = true;
    if (!worth || is_mask(content)) return false;
    put_text(out, 1, mask(kind, content, options_.policy.tenant));
    return true;
  }

  const OtlpScrubOptions& options_;
  // Of the list that is looked at; kept for their memory.
  std::vector<Pair> texts_;
  std::vector<std::string_view> neighbours_;
  std::vector<bool> whole_;
  std::deque<std::string> numbers_;  // written out, of the list that is looked at
  std::string number_;
};

}  // namespace

Result<std::string> scrub_otlp(Signal signal, std::string_view request, const OtlpScrubOptions& options) {
  std::string out;
  out.reserve(request.size() + request.size() / 16 + 256);
  STELLA_TRY_VOID(otlp_detail::guarded(request, options.limits, [&] { Scrubber(options).message(otlp_schema::request_of(signal), request, out, 0); }));
  return out;
}

}  // namespace stella::telemetry
