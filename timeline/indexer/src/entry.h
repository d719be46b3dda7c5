// What the tables of the timeline hold of an entry, read from its canonical bytes (encode_entry() of timeline/emit.h).
#pragma once

#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella::timeline {

struct EntryColumns {
  std::string actor;
  std::string details;  // JSON text
  std::string kind;
  std::string project_id;  // "": of no project
  std::string resource_id;
  std::string resource_type;
  std::string trace_id;
};

// Errors: kMalformed where the bytes are not those of encode_entry().
Result<EntryColumns> read_entry(std::string_view entry);

// The top-level member `name` ("kind", "event_id", "tenant_id" …) of an entry, for values that have no escapes. "" where absent.
std::string_view entry_member(std::string_view entry, std::string_view name);

}  // namespace stella::timeline
