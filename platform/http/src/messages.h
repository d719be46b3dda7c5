// Heads without any socket: what a raw request line means, what is refused before any handler sees it, and what an answer begins with.
#pragma once

#include <optional>
#include <string_view>

#include "stella/base/result.h"
#include "stella/platform/http_server.h"

namespace stella::http {

// Fills path and query of `request` from its target (origin-form, absolute-form, or "*"). kMalformed for targets without a path, broken
// escapes, NUL, text that is no UTF-8, and '..' or '.' segments, also where they were escaped.
Result<void> parse_target(Request& request);

enum class Coding { kIdentity, kCompressed, kUnknown };
// Of a Content-Encoding header; "" is identity.
Coding content_coding(std::string_view value);

std::size_t count_headers(const Request& request, std::string_view lower_name);

// What is wrong with a head whose target is well: nobody may guess where its body ends or whom it is for.
struct HeadFault {
  int status;
  Literal detail;
};
std::optional<HeadFault> framing_fault(const Request& request, bool http11);

// The reason phrase of a status line ("OK").
std::string_view reason_phrase(int status);

// Status line and header section, complete with the final empty line. Values that could split the response are cut at the first CR, LF or NUL.
// 1xx, 204 and 304 carry no Content-Length; streams are chunked.
std::string response_head(const Response& response, std::uint64_t body_bytes, bool keep_alive, std::string_view date);

// "Tue, 24 Nov 2026 17:07:00 GMT"; formatted once a second and thread.
std::string_view http_date();

}  // namespace stella::http
