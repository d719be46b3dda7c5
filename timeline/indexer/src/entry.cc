// The members of an entry in their canonical order. PostgreSQL's own JSON parser took more time than all indexes of the three tables.
#include "entry.h"

#include <algorithm>

#include "stella/base/json.h"

namespace stella::timeline {
namespace {

// Walks over the bytes; the first that is not as expected ends it, and all that follow are empty.
class Cursor {
 public:
  explicit Cursor(std::string_view text) : rest_(text) {}

  Cursor& skip(std::string_view literal) {
    good_ = good_ && rest_.starts_with(literal);
    if (good_) rest_.remove_prefix(literal.size());
    return *this;
  }
  bool skips(std::string_view literal) {
    if (!good_ || !rest_.starts_with(literal)) return false;
    rest_.remove_prefix(literal.size());
    return true;
  }
  // A quoted string, without its escapes.
  std::string string() {
    if (!skips("\"")) return fail();
    std::size_t end = rest_.find_first_of("\"\\");
    const bool escaped = end != rest_.npos && rest_[end] == '\\';
    while (end != rest_.npos && rest_[end] == '\\') end = end + 2 <= rest_.size() ? rest_.find_first_of("\"\\", end + 2) : rest_.npos;
    if (end == rest_.npos) return fail();
    std::string out(rest_.substr(0, end));
    rest_.remove_prefix(end + 1);
    if (!escaped) return out;
    auto value = json::parse("\"" + out + "\"");
    return value ? value->as_string() : fail();
  }
  // Up to the last `end`.
  std::string until(std::string_view end) {
    const std::size_t at = rest_.rfind(end);
    if (!good_ || at == rest_.npos) return fail();
    std::string out(rest_.substr(0, at));
    rest_.remove_prefix(at);
    return out;
  }
  bool at_end() const { return good_ && rest_.empty(); }

 private:
  std::string fail() {
    good_ = false;
    return {};
  }

  std::string_view rest_;
  bool good_ = true;
};

}  // namespace

Result<EntryColumns> read_entry(std::string_view entry) {
  EntryColumns out;
  Cursor at(entry);
  out.actor = at.skip("{\"actor\":").string();
  // Behind the details no string can hold this: in there a quote is escaped.
  out.details = at.skip(",\"details\":").until(",\"event_id\":\"");
  at.skip(",\"event_id\":").string();
  out.kind = at.skip(",\"kind\":").string();
  at.skip(",\"project_id\":");
  if (!at.skips("null")) out.project_id = at.string();
  out.resource_id = at.skip(",\"resource_id\":").string();
  out.resource_type = at.skip(",\"resource_type\":").string();
  at.skip(",\"tenant_id\":").string();
  out.trace_id = at.skip(",\"trace_id\":").string();
  at.skip(",\"ts\":").string();
  if (!at.skip("}").at_end()) return Error(base_errors::kMalformed, "an entry of the timeline is not in its canonical form");
  return out;
}

// Canonical members are sorted and their names quoted, and inside a string every quote is escaped: the last `,"name":"` is ours
// for all members after `details`.
std::string_view entry_member(std::string_view entry, std::string_view name) {
  std::string pattern = ",\"";
  pattern += name;
  pattern += "\":\"";
  const auto at = entry.rfind(pattern);
  if (at == entry.npos) return {};
  entry.remove_prefix(at + pattern.size());
  return entry.substr(0, entry.find('"'));
}

}  // namespace stella::timeline
