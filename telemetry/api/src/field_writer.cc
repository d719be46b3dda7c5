// The slow ways of a field into a record: long, suspicious or confidential text, paths, errors, foreign keys; and secrets over two fields.
#include "field_writer.h"

#include <algorithm>
#include <array>
#include <vector>

#include "stella/base/encoding.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry::detail {
namespace {

constexpr std::size_t kSeamWindow = 64;  // of each text at a seam
constexpr std::size_t kSeamTexts = 192;  // of one record

// The last part of a key as the name of a mask: client.address -> client_address.
std::string mask_kind(std::string_view key) {
  std::string kind(key);
  std::replace(kind.begin(), kind.end(), '.', '_');
  return kind;
}

bool let_through(std::string_view key, const ScrubPolicy& policy) {
  if (policy.let_through.empty()) return false;
  if (key == "email") return policy.let_through.has(PiiKind::kEmail);
  return key == "client.address" && policy.let_through.has(PiiKind::kIp);
}

// Redacted `text` of at most `most` bytes, in `masked` or as it was. Scrubbed before it is cut, so that a secret cannot lose the end by
// which it is known.
std::string_view redacted(std::string_view text, std::size_t most, const ScrubPolicy& policy, std::string& masked, bool& cut) {
  if (text.size() > kScrubBytes) {
    text = clip_utf8(text, kScrubBytes);
    cut = true;
  }
  if (!certainly_clean(text)) {
    masked.clear();
    scrub_append(masked, text, policy);
    text = masked;
  }
  if (text.size() > most) {
    text = clip_utf8(text, most);
    cut = true;
  }
  return text;
}

void drop(FieldArea& area) {
  ++area.dropped;
  area.cut = true;
}

// Head and key. False (and counted) where they and `size` bytes do not fit.
bool begin_field(FieldArea& area, const Field& field, std::size_t size, std::size_t keep_free) {
  const std::string_view key = field.order() == kForeignField ? field.key().substr(0, 255) : std::string_view{};
  const std::size_t head = 4 + (key.empty() ? 0 : 1 + key.size());
  if (static_cast<std::size_t>(area.end - area.at) < head + size + keep_free) {
    drop(area);
    return false;
  }
  put_field_head(area.at, field.order(), field.kind(), size);
  area.at += 4;
  if (!key.empty()) {
    *area.at++ = static_cast<char>(key.size());
    area.at = copy_text(area.at, key);
  }
  ++area.count;
  return true;
}

void put_text(FieldArea& area, const Field& field, std::string_view text) {
  const std::size_t head = 4 + (field.order() == kForeignField ? 256 : 0);
  const std::size_t room = static_cast<std::size_t>(area.end - area.at);
  // What is left is shared: a text takes at most half of it, so that the ones behind it have a place, too.
  const std::size_t free = room > head + kErrorReserve ? room - head - kErrorReserve : 0;
  if (text.size() > 64 && text.size() > free / 2) {
    text = clip_utf8(text, std::max<std::size_t>(free / 2, std::min<std::size_t>(64, free)));
    area.cut = true;
  }
  if (begin_field(area, field, text.size(), 0)) area.at = copy_text(area.at, text);
}

void put_error(FieldArea& area, const Field& field, const ScrubPolicy& policy, std::string& masked) {
  area.seams = true;  // its own texts are neighbours, too
  area.last_text = KnownTexts::kUnknown;
  const Error& error = field.error();
  const std::string_view code = contracts::error_info(error.code()).wire;
  const std::string_view message = clip_utf8(error.message(), kErrorTextBytes);
  const std::size_t least = 1 + code.size() + 2 + message.size();
  char* const head = area.at;
  if (!begin_field(area, field, least, 0)) return;
  char* const value = area.at;
  char* p = value;
  *p++ = static_cast<char>(code.size());
  p = copy_text(p, code);
  const auto message_size = static_cast<std::uint16_t>(message.size());
  std::memcpy(p, &message_size, 2);
  p = copy_text(p + 2, message);
  for (const ErrorField& f : error.fields()) {
    const std::string_view name = f.name.substr(0, 255);
    std::string path;
    std::string_view text = f.value;
    if (f.name == "path") text = path = trim_path(clip_utf8(text, kScrubBytes));
    text = redacted(text, kErrorTextBytes, policy, masked, area.cut);
    const std::size_t more = 1 + name.size() + 2 + text.size();
    if (static_cast<std::size_t>(area.end - p) < more || static_cast<std::size_t>(p - value) + more > 0xffff) {
      area.cut = true;
      continue;
    }
    *p++ = static_cast<char>(name.size());
    p = copy_text(p, name);
    const auto size = static_cast<std::uint16_t>(text.size());
    std::memcpy(p, &size, 2);
    p = copy_text(p + 2, text);
  }
  put_field_head(head, field.order(), field.kind(), static_cast<std::size_t>(p - value));
  area.at = p;
}

std::string_view window_end(std::string_view text) { return text.substr(text.size() - std::min(text.size(), kSeamWindow)); }

// Texts of the fields that may be parts of one secret. Views into the record.
std::size_t collect(const char* begin, const FieldArea& area, std::span<std::string_view> texts, std::span<std::uint16_t> fields) {
  std::size_t n = 0;
  const char* p = begin;
  for (std::uint16_t i = 0; i < area.count && n < texts.size(); ++i) {
    FieldView view;
    p += field_at(p, view);
    if (view.kind == Field::Kind::kText) {
      fields[n] = i;
      texts[n++] = view.value;
    } else if (view.kind == Field::Kind::kError) {
      auto error = error_view(view);
      std::string_view name, value;
      while (error && n < texts.size() && next_error_field(error->rest, name, value)) {
        fields[n] = i;
        texts[n++] = value;
      }
    }
  }
  return n;
}

// Looks at what is left as split_secret() would, and only once at two known texts: "valid token" names a secret and its neighbour is none.
bool known_pairs_are_clean(std::span<const std::string_view> texts, std::span<const KnownTexts::Id> ids, KnownTexts& known) {
  std::vector<bool> whole;
  for (std::size_t i = 0; i + 1 < texts.size(); ++i) {
    if (known.harmless(ids[i], ids[i + 1])) continue;
    if (ids[i] == KnownTexts::kUnknown || ids[i + 1] == KnownTexts::kUnknown || split_secret(texts.subspan(i, 2), whole)) return false;
    known.remember_harmless(ids[i], ids[i + 1]);
  }
  return true;
}

// True where the seams hold nothing: each pair of neighbours is read once as one word and once as name and value, all in one pass. Such pairs
// of known texts are known from then on.
bool seams_are_clean(std::span<const std::string_view> texts, KnownTexts& known) {
  static_assert(KnownTexts::kMost <= kSeamWindow);  // of a known text nothing is left out
  char joined[4096];
  char* p = joined;
  std::array<KnownTexts::Id, kSeamTexts> ids;
  for (std::size_t i = 0; i < texts.size(); ++i) ids[i] = known.find(texts[i]);
  for (std::size_t i = 0; i + 1 < texts.size(); ++i) {
    if (known.harmless(ids[i], ids[i + 1])) continue;
    const std::string_view a = window_end(texts[i]), b = texts[i + 1].substr(0, kSeamWindow);
    if (a.size() < 3 || b.size() < 3) continue;
    if (joined + sizeof joined - p < 4 * static_cast<std::ptrdiff_t>(kSeamWindow) + 4) return false;
    p = copy_text(copy_text(p, a), b);
    *p++ = '\n';
    p = copy_text(p, a);
    *p++ = '=';
    p = copy_text(p, b);
    *p++ = '\n';
  }
  if (p != joined && !certainly_clean({joined, static_cast<std::size_t>(p - joined)})) return known_pairs_are_clean(texts, {ids.data(), texts.size()}, known);
  for (std::size_t i = 0; i + 1 < texts.size(); ++i) known.remember_harmless(ids[i], ids[i + 1]);
  return true;
}

}  // namespace

std::size_t field_at(const char* p, FieldView& view) {
  const auto* bytes = reinterpret_cast<const std::uint8_t*>(p);
  std::uint16_t size;
  std::memcpy(&size, p + 2, 2);
  view.id = bytes[0];
  view.kind = static_cast<Field::Kind>(bytes[1]);
  std::size_t head = 4;
  if (view.id == kForeignField) {
    view.key = {p + 5, bytes[4]};
    head += 1 + view.key.size();
  } else {
    view.key = field_key(view.id);
  }
  view.value = {p + head, size};
  return head + size;
}

void put_field_slow(FieldArea& area, const Field& field, std::string_view tenant, Scrubbing& scrubbing) {
  std::string& masked = scrubbing.masked;
  const bool has_text = field.kind() == Field::Kind::kText || field.kind() == Field::Kind::kPath || field.kind() == Field::Kind::kPii;
  if (has_text && field.text().empty()) return;
  switch (field.kind()) {
    case Field::Kind::kText: {
      const ScrubPolicy policy = ScrubPolicy::for_tenant(tenant);
      put_text(area, field, redacted(field.text(), field.order() == kOrderStack ? kStackBytes : kTextBytes, policy, masked, area.cut));
      area.text(KnownTexts::kUnknown, scrubbing.known);
      return;
    }
    case Field::Kind::kPath: {
      const std::string path = trim_path(clip_utf8(field.text(), kScrubBytes));
      return put_text(area, field, redacted(path, 4096, ScrubPolicy::for_tenant(tenant), masked, area.cut));
    }
    case Field::Kind::kPii: {
      const ScrubPolicy policy = ScrubPolicy::for_tenant(tenant);
      if (let_through(field.key(), policy)) return put_text(area, field, redacted(field.text(), kTextBytes, policy, masked, area.cut));
      return put_text(area, field, mask(mask_kind(field.key()), field.text(), tenant));
    }
    case Field::Kind::kError: return put_error(area, field, ScrubPolicy::for_tenant(tenant), masked);
    case Field::Kind::kInt:
    case Field::Kind::kBool: {
      const std::int64_t value = field.integer();
      if (!begin_field(area, field, 8, 0)) return;
      std::memcpy(area.at, &value, 8);
      area.at += 8;
      return;
    }
    default: {
      const std::size_t size = value_size(field.kind());
      if (!begin_field(area, field, size, 0)) return;
      std::memcpy(area.at, field.raw().data(), size);
      area.at += size;
    }
  }
}

void mask_split_secrets(char* begin, FieldArea& area, std::string_view tenant, KnownTexts& known) {
  union Texts {
    Texts() {}  // only n of them are made
    std::string_view at[kSeamTexts];
  } room;
  const auto& texts = room.at;
  std::array<std::uint16_t, kSeamTexts> fields;
  const std::size_t n = collect(begin, area, room.at, fields);
  if (n < 2 || seams_are_clean({texts, n}, known)) return;
  std::vector<bool> whole;
  if (!split_secret({texts, n}, whole)) return;
  // Anew, with masks in the place of the texts that were found (of an error: all of its texts).
  std::string out;
  const char* p = begin;
  for (std::uint16_t i = 0; i < area.count; ++i) {
    FieldView view;
    const char* const at = p;
    p += field_at(p, view);
    bool hide = false;
    for (std::size_t k = 0; k < n; ++k) hide = hide || (fields[k] == i && whole[k]);
    if (!hide) {
      out.append(at, p);
      continue;
    }
    std::string value;
    if (const auto error = error_view(view)) {
      const auto text = [&value](std::string_view t) {
        const auto size = static_cast<std::uint16_t>(t.size());
        value.append(reinterpret_cast<const char*>(&size), 2).append(t);
      };
      value.push_back(static_cast<char>(error->code.size()));
      value.append(error->code);
      text(error->message);
      std::string_view rest = error->rest, name, old;
      while (next_error_field(rest, name, old)) {
        value.push_back(static_cast<char>(name.size()));
        value.append(name);
        text(mask("secret", old, tenant));
      }
    } else {
      value = mask("secret", view.value, tenant);
    }
    char head[4];
    put_field_head(head, view.id, view.kind, value.size());
    out.append(head, 4);
    if (view.id == kForeignField) out.append(at + 4, 1 + view.key.size());
    out.append(value);
  }
  if (out.size() > static_cast<std::size_t>(area.end - begin)) {  // masks are longer than very short texts: rather no field than a secret
    area.dropped = static_cast<std::uint16_t>(area.dropped + area.count);
    area.count = 0;
    area.cut = true;
    out.clear();
  }
  std::memcpy(begin, out.data(), out.size());
  area.at = begin + out.size();
}

}  // namespace stella::telemetry::detail
