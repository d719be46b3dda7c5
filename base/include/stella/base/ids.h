// Identifiers as distinct types: no id converts into another, and each prints and parses in exactly one way.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella {

// 128 bits. Text form 8-4-4-4-12 lower case.
class Uuid {
 public:
  constexpr Uuid() = default;
  constexpr explicit Uuid(const std::array<std::uint8_t, 16>& bytes) : bytes_(bytes) {}
  // RFC 9562 version 7: millisecond time, then random bits (monotonic per process within a millisecond).
  static Uuid v7();
  static Result<Uuid> parse(std::string_view text);

  std::string str() const;
  const std::array<std::uint8_t, 16>& bytes() const { return bytes_; }
  bool is_nil() const { return bytes_ == std::array<std::uint8_t, 16>{}; }
  friend auto operator<=>(const Uuid&, const Uuid&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

template <class Tag>
class UuidId {
 public:
  constexpr UuidId() = default;
  constexpr explicit UuidId(Uuid uuid) : uuid_(uuid) {}
  static UuidId generate() { return UuidId(Uuid::v7()); }
  static Result<UuidId> parse(std::string_view text) {
    auto uuid = Uuid::parse(text);
    if (!uuid) return std::move(uuid.error());
    return UuidId(*uuid);
  }
  std::string str() const { return uuid_.str(); }
  const Uuid& uuid() const { return uuid_; }
  bool is_nil() const { return uuid_.is_nil(); }
  friend auto operator<=>(const UuidId&, const UuidId&) = default;

 private:
  Uuid uuid_;
};

using EventId = UuidId<struct EventIdTag>;
using BundleId = UuidId<struct BundleIdTag>;
using JobId = UuidId<struct JobIdTag>;
using RunId = UuidId<struct RunIdTag>;
using EvaluationId = UuidId<struct EvaluationIdTag>;
using DecisionId = UuidId<struct DecisionIdTag>;
using FindingId = UuidId<struct FindingIdTag>;
using SbomId = UuidId<struct SbomIdTag>;
using ExportId = UuidId<struct ExportIdTag>;
using AttestationId = UuidId<struct AttestationIdTag>;
using ProjectId = UuidId<struct ProjectIdTag>;
using PrincipalId = UuidId<struct PrincipalIdTag>;
using RequestId = UuidId<struct RequestIdTag>;

// A validated text id. `Tag::valid(text)` says what is acceptable.
template <class Tag>
class TextId {
 public:
  TextId() = default;
  static Result<TextId> parse(std::string_view text) {
    if (!Tag::valid(text)) return Error(base_errors::kInvalid, Tag::kMessage).with("expected", std::string(Tag::kPattern));
    return TextId(std::string(text));
  }
  const std::string& str() const { return text_; }
  bool empty() const { return text_.empty(); }
  friend auto operator<=>(const TextId&, const TextId&) = default;

 private:
  explicit TextId(std::string text) : text_(std::move(text)) {}
  std::string text_;
};

// Immutable slug of a tenant. `global` and `platform` are reserved (tenancy says who may use them).
struct TenantIdTag {
  static constexpr Literal kMessage{"not a tenant id"};
  static constexpr std::string_view kPattern = "[a-z0-9][a-z0-9-]{0,62}";
  static bool valid(std::string_view text);
};
using TenantId = TextId<TenantIdTag>;

// Case ids are chosen by users and become path segments.
struct CaseIdTag {
  static constexpr Literal kMessage{"not a case id"};
  static constexpr std::string_view kPattern = "[A-Za-z0-9][A-Za-z0-9._-]{0,63} without '..'";
  static bool valid(std::string_view text);
};
using CaseId = TextId<CaseIdTag>;

// Fingerprint of a signing key in OpenSSH form: "SHA256:" and unpadded base64.
struct KeyIdTag {
  static constexpr Literal kMessage{"not a key id"};
  static constexpr std::string_view kPattern = "SHA256:<base64>";
  static bool valid(std::string_view text);
};
using KeyId = TextId<KeyIdTag>;

// W3C trace id: 16 bytes, not all zero; text is 32 lower-case hex digits.
class TraceId {
 public:
  constexpr TraceId() = default;
  constexpr explicit TraceId(const std::array<std::uint8_t, 16>& bytes) : bytes_(bytes) {}
  static TraceId generate();
  static Result<TraceId> parse(std::string_view hex);
  std::string hex() const;
  const std::array<std::uint8_t, 16>& bytes() const { return bytes_; }
  bool empty() const { return bytes_ == std::array<std::uint8_t, 16>{}; }
  friend auto operator<=>(const TraceId&, const TraceId&) = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

// W3C span id: 8 bytes, not all zero; text is 16 lower-case hex digits.
class SpanId {
 public:
  constexpr SpanId() = default;
  constexpr explicit SpanId(const std::array<std::uint8_t, 8>& bytes) : bytes_(bytes) {}
  static SpanId generate();
  static Result<SpanId> parse(std::string_view hex);
  std::string hex() const;
  const std::array<std::uint8_t, 8>& bytes() const { return bytes_; }
  bool empty() const { return bytes_ == std::array<std::uint8_t, 8>{}; }
  friend auto operator<=>(const SpanId&, const SpanId&) = default;

 private:
  std::array<std::uint8_t, 8> bytes_{};
};

// A SHA-256 digest as a value; crypto/digest.h computes it.
class Sha256 {
 public:
  static constexpr std::size_t kSize = 32;
  constexpr Sha256() = default;
  constexpr explicit Sha256(const std::array<std::uint8_t, kSize>& bytes) : bytes_(bytes) {}
  // 64 lower-case hex digits; upper case is refused, so that a digest has one spelling.
  static Result<Sha256> parse(std::string_view hex);
  // Exactly 32 raw bytes.
  static Result<Sha256> from_bytes(std::string_view bytes);
  std::string hex() const;
  std::string_view view() const { return {reinterpret_cast<const char*>(bytes_.data()), kSize}; }
  std::array<std::uint8_t, kSize>& mutable_bytes() { return bytes_; }
  const std::array<std::uint8_t, kSize>& bytes() const { return bytes_; }
  friend auto operator<=>(const Sha256&, const Sha256&) = default;

 private:
  std::array<std::uint8_t, kSize> bytes_{};
};

// Fills `out` with operating-system randomness; aborts where the system has none (nothing safe can go on then).
void fill_random(void* out, std::size_t size);

}  // namespace stella

template <>
struct std::hash<stella::Sha256> {
  std::size_t operator()(const stella::Sha256& d) const noexcept {
    std::size_t h = 0;
    __builtin_memcpy(&h, d.bytes().data(), sizeof h);
    return h;
  }
};
