// Parameters and result rows: between C++ values and PostgreSQL's text and binary forms.
#include <libpq-fe.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdlib>
#include <cstring>

#include "stella/base/encoding.h"
#include "stella/platform/pg.h"

namespace stella::pg {
namespace {

PGresult* as_result(void* p) { return static_cast<PGresult*>(p); }

// One dimension in binary form (array_recv): dimensions, null flag, element type, length and lower bound, then each item with its
// length. The server reads it about twice as fast as an array literal.
class BinaryArray {
 public:
  BinaryArray(std::uint32_t element_oid, std::size_t items, std::size_t bytes) {
    out_.reserve(20 + 4 * items + bytes);
    put(items == 0 ? 0 : 1);
    put(0);
    put(element_oid);
    if (items == 0) return;
    put(static_cast<std::uint32_t>(items));
    put(1);
  }
  void add(std::string_view item) {
    put(static_cast<std::uint32_t>(item.size()));
    out_ += item;
  }
  Param take() { return Param::bytes(out_); }

 private:
  void put(std::uint32_t v) {
    for (int shift = 24; shift >= 0; shift -= 8) out_ += static_cast<char>((v >> shift) & 0xff);
  }
  std::string out_;
};

constexpr std::uint32_t kByteaOid = 17, kTextOid = 25, kTimestamptzOid = 1184, kUuidOid = 2950, kJsonbOid = 3802;
constexpr std::int64_t kPostgresEpoch = 946'684'800'000'000;  // 2000-01-01 in microseconds since 1970

std::size_t total_bytes(std::span<const std::string> items) {
  std::size_t total = 0;
  for (const auto& item : items) total += item.size();
  return total;
}

}  // namespace

Param::Param(double d) {
  if (std::isnan(d)) {
    text_ = "NaN";
  } else if (std::isinf(d)) {
    text_ = d > 0 ? "Infinity" : "-Infinity";
  } else {
    char buffer[32];
    const auto end = std::to_chars(buffer, buffer + sizeof buffer, d);
    text_ = std::string(buffer, end.ptr);
  }
}

std::string Param::without_nul(std::string_view text) {
  std::string out;
  for (std::size_t at = text.find('\0'); at != text.npos; at = text.find('\0')) {
    out.append(text.substr(0, at)).append("\xef\xbf\xbd");
    text.remove_prefix(at + 1);
  }
  return out.append(text);
}

Param Param::bytes(std::string_view raw) {
  Param p{nullptr};
  p.text_ = std::string(raw);
  p.binary_ = true;
  return p;
}

namespace {

// Appends JSON text, with U+FFFD for NUL's escape.
void append_json(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const std::size_t plain = std::min(text.find('\\'), text.size());
    out += text.substr(0, plain);
    text.remove_prefix(plain);
    if (text.empty()) break;
    const bool nul = text.starts_with("\\u0000");
    out += nul ? std::string_view("\\ufffd") : text.substr(0, 2);  // an escaped backslash takes its partner along
    text.remove_prefix(std::min(text.size(), nul ? std::size_t{6} : std::size_t{2}));
  }
}

}  // namespace

Param Param::json(std::string_view text) {
  Param p{nullptr};
  std::string& out = p.text_.emplace();
  out.reserve(text.size());
  append_json(out, text);
  return p;
}

Param Param::json_array(std::span<const std::string> items) {
  BinaryArray out(kJsonbOid, items.size(), items.size() + total_bytes(items));
  std::string item;
  for (const auto& text : items) {
    item = "\1";  // the version of jsonb's binary form
    append_json(item, text);
    out.add(item);
  }
  return out.take();
}

Param Param::text_array(std::span<const std::string> items) {
  BinaryArray out(kTextOid, items.size(), total_bytes(items));
  for (const auto& item : items) {
    if (item.find('\0') == item.npos) {
      out.add(item);
    } else {
      out.add(without_nul(item));
    }
  }
  return out.take();
}

Param Param::uuid_array(std::span<const Uuid> items) {
  BinaryArray out(kUuidOid, items.size(), 16 * items.size());
  for (const Uuid& item : items) out.add({reinterpret_cast<const char*>(item.bytes().data()), item.bytes().size()});
  return out.take();
}

Param Param::uuid_array(std::span<const std::string> items) {
  BinaryArray out(kUuidOid, items.size(), 16 * items.size());
  for (const auto& item : items) {
    const auto uuid = Uuid::parse(item);
    // An empty item is no uuid either: the server refuses it, as it would the text.
    out.add(uuid ? std::string_view(reinterpret_cast<const char*>(uuid->bytes().data()), uuid->bytes().size()) : std::string_view());
  }
  return out.take();
}

Param Param::timestamp_array(std::span<const Timestamp> items) {
  BinaryArray out(kTimestamptzOid, items.size(), 8 * items.size());
  for (const Timestamp item : items) {
    const auto value = static_cast<std::uint64_t>(item.micros() - kPostgresEpoch);
    char bytes[8];
    for (int i = 0; i < 8; ++i) bytes[i] = static_cast<char>(value >> (56 - 8 * i));
    out.add({bytes, sizeof bytes});
  }
  return out.take();
}

Param Param::bytes_array(std::span<const std::string> items) {
  BinaryArray out(kByteaOid, items.size(), total_bytes(items));
  for (const auto& item : items) out.add(item);
  return out.take();
}

Rows::Rows() = default;
Rows::Rows(void* pg_result) : result_(pg_result) {}
Rows::Rows(Rows&& other) noexcept : result_(std::exchange(other.result_, nullptr)) {}
Rows& Rows::operator=(Rows&& other) noexcept {
  if (this != &other) {
    PQclear(as_result(result_));
    result_ = std::exchange(other.result_, nullptr);
  }
  return *this;
}
Rows::~Rows() { PQclear(as_result(result_)); }

int Rows::size() const { return result_ == nullptr ? 0 : PQntuples(as_result(result_)); }
int Rows::columns() const { return result_ == nullptr ? 0 : PQnfields(as_result(result_)); }
bool Rows::is_null(int row, int column) const { return PQgetisnull(as_result(result_), row, column) != 0; }

std::string_view Rows::text(int row, int column) const {
  if (row >= size() || column >= columns()) return {};
  return {PQgetvalue(as_result(result_), row, column), static_cast<std::size_t>(PQgetlength(as_result(result_), row, column))};
}

std::int64_t Rows::integer(int row, int column) const {
  const auto t = text(row, column);
  std::int64_t value = 0;
  std::from_chars(t.data(), t.data() + t.size(), value);
  return value;
}

double Rows::number(int row, int column) const {
  const auto t = text(row, column);
  if (t == "NaN") return std::nan("");
  double value = 0;
  std::from_chars(t.data(), t.data() + t.size(), value);
  return value;
}

bool Rows::boolean(int row, int column) const { return text(row, column) == "t"; }

std::string Rows::bytes(int row, int column) const {
  auto t = text(row, column);
  if (!t.starts_with("\\x")) return {};
  auto raw = hex_decode(t.substr(2));
  return raw ? std::move(*raw) : std::string();
}

Result<Sha256> Rows::sha256(int row, int column) const { return Sha256::from_bytes(bytes(row, column)); }

Timestamp Rows::timestamp(int row, int column) const {
  std::string t(text(row, column));  // "2026-11-24 17:07:00.123456+00"
  if (t.size() < 22 || t[10] != ' ' || !t.ends_with("+00")) return {};
  t[10] = 'T';
  t.resize(t.size() - 3);
  t += 'Z';
  auto parsed = Timestamp::parse(t);
  return parsed ? *parsed : Timestamp();
}

std::int64_t Rows::affected() const {
  if (result_ == nullptr) return 0;
  const char* text = PQcmdTuples(as_result(result_));
  std::int64_t value = 0;
  std::from_chars(text, text + std::strlen(text), value);
  return value;
}

}  // namespace stella::pg
