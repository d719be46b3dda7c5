// Fields into record form, scrubbed on the way.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <string>
#include <string_view>

#include "known_texts.h"
#include "stella/telemetry/field.h"
#include "stella/telemetry/record.h"
#include "stella/telemetry/scrub.h"

namespace stella::telemetry::detail {

inline constexpr std::size_t kTextBytes = 16 * 1024;    // most of one text, after scrubbing
inline constexpr std::size_t kStackBytes = 8 * 1024;
inline constexpr std::size_t kScrubBytes = 64 * 1024;   // longer texts are cut before they are scrubbed: never work without bound
inline constexpr std::size_t kErrorTextBytes = 2048;
inline constexpr std::size_t kErrorReserve = 6 * 1024;  // of a record, kept free for its error

// Sizes of values in a record by Field::Kind; 0 is free.
inline constexpr std::array<std::size_t, 10> kValueSizes{0, 0, 0, 8, 8, 16, 32, 16, 8, 0};
static_assert(static_cast<std::size_t>(Field::Kind::kError) + 1 == kValueSizes.size());
constexpr std::size_t value_size(Field::Kind kind) { return kValueSizes[static_cast<std::size_t>(kind)]; }

// memcpy without the call for the sizes that fields have.
inline char* copy_text(char* to, const char* from, std::size_t size) {
  if (size <= 16) {
    if (size >= 8) {
      std::uint64_t a, b;
      std::memcpy(&a, from, 8);
      std::memcpy(&b, from + size - 8, 8);
      std::memcpy(to, &a, 8);
      std::memcpy(to + size - 8, &b, 8);
    } else if (size >= 4) {
      std::uint32_t a, b;
      std::memcpy(&a, from, 4);
      std::memcpy(&b, from + size - 4, 4);
      std::memcpy(to, &a, 4);
      std::memcpy(to + size - 4, &b, 4);
    } else if (size != 0) {
      to[0] = from[0];
      to[size / 2] = from[size / 2];
      to[size - 1] = from[size - 1];
    }
  } else if (size <= 32) {
    struct Pair { std::uint64_t low, high; } a, b;
    std::memcpy(&a, from, 16);
    std::memcpy(&b, from + size - 16, 16);
    std::memcpy(to, &a, 16);
    std::memcpy(to + size - 16, &b, 16);
  } else {
    std::memcpy(to, from, size);
  }
  return to + size;
}
inline char* copy_text(char* to, std::string_view text) { return copy_text(to, text.data(), text.size()); }

// What scrubbing needs beside the text.
struct Scrubbing {
  std::string masked;  // where slow paths put a redacted text
  KnownTexts known;
};

// Where fields go. `end` leaves slack of 8 bytes for padding.
struct FieldArea {
  static constexpr KnownTexts::Id kNoText = KnownTexts::kNone;

  char* at;
  char* end;
  std::uint16_t count = 0, dropped = 0;
  bool cut = false;
  bool seams = false;                  // neighbouring texts may share a secret: mask_split_secrets() has to look
  KnownTexts::Id last_text = kNoText;  // the text before

  // A text stands here that could be a part of a secret.
  void text(KnownTexts::Id id, const KnownTexts& known) {
    if (last_text != kNoText && !known.harmless(last_text, id)) seams = true;
    last_text = id;
  }
};

// The text's number where it is clean and short; kUnknown with `clean` false where something may have to be masked.
inline KnownTexts::Id check_text(std::string_view text, KnownTexts& known, bool& clean) {
  clean = true;
  if (const KnownTexts::Id id = known.find(text); id != KnownTexts::kUnknown) [[likely]] return id;
  clean = certainly_clean(text);
  return clean ? known.remember(text) : KnownTexts::kUnknown;
}

inline void put_field_head(char* to, std::uint8_t id, Field::Kind kind, std::size_t size) {
  const std::uint32_t head = id | static_cast<std::uint32_t>(kind) << 8 | static_cast<std::uint32_t>(size) << 16;
  std::memcpy(to, &head, 4);
}

// Both leave out an empty text: it says nothing, in lines and rows as in OTLP.
//
// Everything but short clean text and fixed sizes: foreign keys, long, suspicious or confidential text, errors.
void put_field_slow(FieldArea& area, const Field& field, std::string_view tenant, Scrubbing& scrubbing);

inline constexpr std::size_t kFastText = 512;

[[gnu::always_inline]] inline void put_field(FieldArea& area, const Field& field, std::string_view tenant, Scrubbing& scrubbing) {
  char* const p = area.at;
  if (field.order() == kForeignField || static_cast<std::size_t>(area.end - p) < kFastText + 8) [[unlikely]] {
    return put_field_slow(area, field, tenant, scrubbing);
  }
  switch (field.kind()) {
    case Field::Kind::kText: {
      const std::string_view text = field.text();
      if (text.empty()) return;
      if (text.size() > kFastText) [[unlikely]] return put_field_slow(area, field, tenant, scrubbing);
      bool clean;
      const KnownTexts::Id id = check_text(text, scrubbing.known, clean);
      if (!clean) [[unlikely]] return put_field_slow(area, field, tenant, scrubbing);
      put_field_head(p, field.order(), Field::Kind::kText, text.size());
      area.at = copy_text(p + 4, text);
      area.text(id, scrubbing.known);
      break;
    }
    case Field::Kind::kInt:
    case Field::Kind::kBool: {
      const std::int64_t value = field.integer();
      put_field_head(p, field.order(), field.kind(), 8);
      std::memcpy(p + 4, &value, 8);
      area.at = p + 12;
      break;
    }
    case Field::Kind::kSpanId:
      put_field_head(p, field.order(), field.kind(), 8);
      std::memcpy(p + 4, field.raw().data(), 8);
      area.at = p + 12;
      break;
    case Field::Kind::kUuid:
    case Field::Kind::kTraceId:
      put_field_head(p, field.order(), field.kind(), 16);
      std::memcpy(p + 4, field.raw().data(), 16);
      area.at = p + 20;
      break;
    case Field::Kind::kSha256:
      put_field_head(p, field.order(), field.kind(), 32);
      std::memcpy(p + 4, field.raw().data(), 32);
      area.at = p + 36;
      break;
    default: return put_field_slow(area, field, tenant, scrubbing);
  }
  ++area.count;
}

// Masks what is a secret only together: a token cut in two, a name in one text and its value in the next. Rewrites the fields at `begin`
// in place where it finds one; they never grow beyond area.end. Call where area.seams says so.
void mask_split_secrets(char* begin, FieldArea& area, std::string_view tenant, KnownTexts& known);

// Bytes of the well-formed field at `p`, with its parts.
std::size_t field_at(const char* p, FieldView& view);

}  // namespace stella::telemetry::detail
