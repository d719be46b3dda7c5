// From a log call to its line, from a field to its JSON.
#pragma once

#include <initializer_list>
#include <string>
#include <string_view>

#include "stella/base/time.h"
#include "stella/telemetry/context.h"
#include "stella/telemetry/field.h"
#include "stella/telemetry/sink.h"

namespace stella::telemetry::detail {

// Everything of one record; views are borrowed.
struct Event {
  Level level = Level::kInfo;
  std::string_view module, message;
  Timestamp ts;
};

// The scrubbed NDJSON line with its index columns. Fields in the order of contracts/fields.json, at most kLineBytes.
LogRecord encode_log(const Event& event, const Context& context, std::initializer_list<Field> fields);

// The scrubbed JSON value of a field; text is cut at kTextBytes (then `cut` becomes true). Not for errors.
std::string encode_value(const Field& field, bool& cut);
inline constexpr std::size_t kTextBytes = 16 * 1024;

// Appends `"key":"value",` for each common field of `context` that is not empty, besides tenant, trace and span.
void append_common(std::string& out, const Context& context);
void append_resource(std::string& out);

// The ids under which records outside of any request or job stand: one trace and request per process.
const Context& process_context();

// The first bytes of `text` up to `most`, at a character boundary.
std::string_view cut_utf8(std::string_view text, std::size_t most);

}  // namespace stella::telemetry::detail
