// The members that every line of observations.ndjson has, whatever its kind.
#include "stella/contracts/observations.h"

#include <charconv>
#include <string>

#include "stella/base/encoding.h"
#include "stella/contracts/catalogue.h"

namespace stella::contracts {

void write_document(json::Writer& out, std::string_view path, const Sha256& sha256, std::uint64_t size) {
  const std::string printable = is_utf8(path) ? std::string(path) : percent_encode(path);
  out.member("path", std::string_view(printable));
  out.member("sha256", std::string_view(sha256.hex()));
  out.member("size", size);
}

void write_rejected(json::Writer& out, const Error& error) {
  out.member("status", std::string_view("rejected"));
  out.key("error").begin_object();
  out.member("code", error_info(error.code()).wire);
  out.member("message", error.message());
  for (const auto& [name, value] : error.fields()) {
    std::uint64_t number = 0;
    const char* const end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, number);
    out.key(name);
    if (parsed.ec == std::errc() && parsed.ptr == end) {
      out.value(number);
    } else {
      out.value(std::string_view(value));
    }
  }
  out.end_object();
}

}  // namespace stella::contracts
