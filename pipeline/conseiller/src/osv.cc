// Reads one OSV record with simdjson. What linking does not need is passed over; what it needs is checked.
#include "stella/pipeline/conseiller/osv.h"

#include <simdjson.h>

#include <algorithm>

#include "json_locate.h"
#include "stella/base/json.h"
#include "stella/base/limits.h"
#include "stella/base/time.h"

namespace stella::pipeline {
namespace {

using simdjson::dom::element;
using simdjson::dom::element_type;

constexpr std::size_t kSummaryBytes = 200;

// simdjson says what is wrong with a text but not where; the strict parser does.
Error syntax_error(std::string_view document) {
  auto parsed = json::parse(document, {.max_bytes = limits::kAdvisoryBytes, .max_depth = limits::kJsonDepth});
  if (!parsed) return std::move(parsed.error());
  return Error(base_errors::kMalformed, "not JSON").with("line", 1).with("column", 1).with("expected", "one JSON value");
}

// Walks the document and knows where it is.
class RecordReader {
 public:
  explicit RecordReader(std::string_view document) : document_(document) {}

  Result<AdvisoryRecord> read(element root) {
    if (root.type() == element_type::ARRAY) return wrong("one OSV record, not an array of them: send each as a document of its own");
    if (root.type() != element_type::OBJECT) return wrong("an OSV record (a JSON object)");
    STELLA_TRY_VOID(read_members(root));
    if (record_.ref.id.empty()) return wrong("an OSV record: member 'id' is missing");
    if (record_.ref.modified.empty()) return wrong("an OSV record: member 'modified' is missing");
    return std::move(record_);
  }

 private:
  // Keeps the path while a member or an element is read.
  class Step {
   public:
    Step(RecordReader& reader, std::string_view name) : path_(reader.path_) { path_.emplace_back(name); }
    Step(RecordReader& reader, std::size_t index) : path_(reader.path_) { path_.emplace_back(index); }
    ~Step() { path_.pop_back(); }
    Step(const Step&) = delete;
    Step& operator=(const Step&) = delete;

   private:
    JsonPath& path_;
  };

  Error wrong(std::string expected) const {
    const JsonPlace place = locate(document_, path_);
    return Error(base_errors::kMalformed, "not an OSV record")
        .with("line", place.line)
        .with("column", place.column)
        .with("pointer", to_pointer(path_))
        .with("expected", std::move(expected));
  }

  // Moves a good result into `out` and says that the member was known.
  template <class T>
  static Result<bool> take(Result<T> result, T& out) {
    if (!result) return std::move(result.error());
    out = std::move(*result);
    return true;
  }
  static Result<bool> known(Result<void> result) {
    if (!result) return std::move(result.error());
    return true;
  }

  Result<std::string> string(element value, std::string_view expected) const {
    std::string_view text;
    if (value.get_string().get(text) != simdjson::SUCCESS) return wrong(std::string(expected));
    return std::string(text);
  }

  Result<std::string> non_empty(element value, std::string_view expected) const {
    auto text = string(value, expected);
    if (text && text->empty()) return wrong(std::string(expected));
    return text;
  }

  Result<std::string> timestamp(element value) const {
    auto text = string(value, "a time (RFC 3339)");
    if (text && !Timestamp::parse(*text)) return wrong("a time (RFC 3339)");
    return text;
  }

  // Calls read(index, element) for each element of an array; null is an empty one.
  template <class Read>
  Result<void> each(element value, std::string_view expected, Read read) {
    if (value.type() == element_type::NULL_VALUE) return {};
    simdjson::dom::array array;
    if (value.get_array().get(array) != simdjson::SUCCESS) return wrong(std::string(expected));
    std::size_t index = 0;
    for (element item : array) {
      const Step step(*this, index);
      STELLA_TRY_VOID(read(index, item));
      ++index;
    }
    return {};
  }

  // Calls read(name, element) for each member of an object; a name that `read` knows (returns true for) may come once.
  template <class Read>
  Result<void> members(element value, std::string_view expected, Read read) {
    simdjson::dom::object object;
    if (value.get_object().get(object) != simdjson::SUCCESS) return wrong(std::string(expected));
    std::vector<std::string_view> known;
    for (const auto& member : object) {
      const Step step(*this, member.key);
      const bool used = STELLA_TRY(read(member.key, member.value));
      if (!used) continue;
      if (std::find(known.begin(), known.end(), member.key) != known.end()) return wrong("each member once");
      known.push_back(member.key);
    }
    return {};
  }

  Result<std::vector<std::string>> sorted_ids(element value) {
    std::vector<std::string> out;
    STELLA_TRY_VOID(each(value, "an array of ids", [&](std::size_t, element item) -> Result<void> {
      auto id = STELLA_TRY(non_empty(item, "an id"));
      out.push_back(std::move(id));
      return {};
    }));
    std::sort(out.begin(), out.end());
    out.erase(std::unique(out.begin(), out.end()), out.end());
    return out;
  }

  Result<std::vector<contracts::SeverityVector>> severity(element value) {
    std::vector<contracts::SeverityVector> out;
    STELLA_TRY_VOID(each(value, "an array of severities", [&](std::size_t, element item) -> Result<void> {
      contracts::SeverityVector one;
      STELLA_TRY_VOID(members(item, "{\"type\", \"score\"}", [&](std::string_view name, element member) -> Result<bool> {
        if (name == "type") return take(string(member, "a severity type"), one.type);
        if (name == "score") return take(string(member, "a severity score"), one.score);
        return false;
      }));
      out.push_back(std::move(one));
      return {};
    }));
    return out;
  }

  Result<void> read_members(element root) {
    std::string details;
    STELLA_TRY_VOID(members(root, "an object", [&](std::string_view name, element value) -> Result<bool> {
      auto& ref = record_.ref;
      if (name == "id") return take(non_empty(value, "an id"), ref.id);
      if (name == "modified") return take(timestamp(value), ref.modified);
      if (name == "published") return take(optional_timestamp(value), ref.published);
      if (name == "withdrawn") return take(optional_timestamp(value), ref.withdrawn);
      if (name == "aliases") return take(sorted_ids(value), ref.aliases);
      if (name == "upstream") return take(sorted_ids(value), ref.upstream);
      if (name == "severity") return take(severity(value), ref.severity);
      if (name == "summary") return take(string(value, "text"), ref.summary);
      if (name == "details") return take(string(value, "text"), details);
      if (name == "database_specific") return read_database_specific(value), true;
      if (name != "affected") return false;
      return known(each(value, "an array of affected packages",
                        [&](std::size_t index, element item) { return read_affected(index, item); }));
    }));
    auto& summary = record_.ref.summary;
    summary = first_line(std::move(summary));
    if (summary.empty()) summary = first_line(std::move(details));
    return {};
  }

  Result<std::string> optional_timestamp(element value) const {
    if (value.type() == element_type::NULL_VALUE) return std::string();
    return timestamp(value);
  }

  // Databases write here what they like; only GitHub's `severity` is of use.
  void read_database_specific(element value) {
    std::string_view text;
    if (value["severity"].get_string().get(text) == simdjson::SUCCESS) record_.ref.database_severity = text;
  }

  // The first line, at most kSummaryBytes, whole characters.
  static std::string first_line(std::string text) {
    const std::size_t start = text.find_first_not_of(" \t\r\n#");
    text.erase(0, std::min(start, text.size()));
    text.resize(std::min(text.size(), text.find_first_of("\r\n")));
    std::size_t end = std::min(text.size(), kSummaryBytes);
    while (end > 0 && end < text.size() && (static_cast<unsigned char>(text[end]) & 0xC0) == 0x80) --end;
    text.resize(end);
    return text;
  }

  Result<void> read_affected(std::size_t index, element item) {
    AffectedPackage out;
    out.index = static_cast<std::uint32_t>(index);
    bool package = false;
    STELLA_TRY_VOID(members(item, "an affected package (an object)", [&](std::string_view name, element value) -> Result<bool> {
      if (name == "severity") return take(severity(value), out.severity);
      if (name == "ranges")
        return known(each(value, "an array of ranges", [&](std::size_t i, element range) { return read_range(i, range, out); }));
      if (name == "versions")
        return known(each(value, "an array of versions", [&](std::size_t, element version) -> Result<void> {
          auto text = STELLA_TRY(string(version, "a version (a string)"));
          out.versions.push_back(std::move(text));
          return {};
        }));
      if (name != "package") return false;
      if (value.type() == element_type::NULL_VALUE) return true;
      package = true;
      return known(read_package(value, out));
    }));
    if (package) record_.affected.push_back(std::move(out));
    return {};
  }

  Result<void> read_package(element value, AffectedPackage& out) {
    STELLA_TRY_VOID(members(value, "{\"ecosystem\", \"name\"}", [&](std::string_view name, element member) -> Result<bool> {
      if (name == "ecosystem") return take(non_empty(member, "an ecosystem"), out.ecosystem);
      if (name == "name") return take(non_empty(member, "a package name"), out.name);
      return false;
    }));
    if (out.ecosystem.empty()) return wrong("member 'ecosystem'");
    if (out.name.empty()) return wrong("member 'name'");
    if (out.ecosystem.find('\0') != std::string::npos || out.name.find('\0') != std::string::npos) return wrong("text without NUL");
    return {};
  }

  Result<void> read_range(std::size_t index, element item, AffectedPackage& out) {
    AffectedRange range;
    range.index = static_cast<std::uint32_t>(index);
    std::string type;
    STELLA_TRY_VOID(members(item, "a range (an object)", [&](std::string_view name, element value) -> Result<bool> {
      if (name == "type") return take(string(value, "SEMVER, ECOSYSTEM or GIT"), type);
      if (name != "events") return false;
      return known(each(value, "an array of events", [&](std::size_t, element event) { return read_event(event, range); }));
    }));
    if (type == "GIT") {
      ++record_.git_ranges;
      return {};
    }
    if (type != "SEMVER" && type != "ECOSYSTEM") return wrong("a range type: SEMVER, ECOSYSTEM or GIT");
    range.type = type == "SEMVER" ? RangeType::kSemver : RangeType::kEcosystem;
    const bool introduced = std::any_of(range.events.begin(), range.events.end(),
                                        [](const RangeEvent& e) { return e.kind == EventKind::kIntroduced; });
    if (!introduced) return wrong("at least one 'introduced' event");
    out.ranges.push_back(std::move(range));
    return {};
  }

  // The schema wants one key an event; older records hold two, which mean the same as two events.
  Result<void> read_event(element item, AffectedRange& range) {
    const std::size_t before = range.events.size();
    STELLA_TRY_VOID(members(item, "an event (an object)", [&](std::string_view name, element value) -> Result<bool> {
      static constexpr std::pair<std::string_view, EventKind> kKinds[] = {{"introduced", EventKind::kIntroduced},
                                                                          {"fixed", EventKind::kFixed},
                                                                          {"last_affected", EventKind::kLastAffected},
                                                                          {"limit", EventKind::kLimit}};
      for (const auto& [key, kind] : kKinds) {
        if (name != key) continue;
        return take(non_empty(value, "a version (a string)"), range.events.emplace_back(RangeEvent{kind, {}}).version);
      }
      return false;
    }));
    if (range.events.size() == before) return wrong("introduced, fixed, last_affected or limit");
    std::sort(range.events.begin() + static_cast<std::ptrdiff_t>(before), range.events.end(),
              [](const RangeEvent& a, const RangeEvent& b) { return a.kind < b.kind; });
    return {};
  }

  std::string_view document_;
  JsonPath path_;
  AdvisoryRecord record_;
};

}  // namespace

Result<AdvisoryRecord> parse_osv(std::string_view document) {
  if (document.size() > limits::kAdvisoryBytes)
    return Error(base_errors::kLimit, "advisory document too large").with("limit", limits::kAdvisoryBytes).with("actual", document.size());
  thread_local simdjson::dom::parser parser(limits::kAdvisoryBytes);
  if (parser.max_depth() != limits::kJsonDepth && parser.allocate(64 << 10, limits::kJsonDepth) != simdjson::SUCCESS)
    return Error(base_errors::kInternal, "no memory for a JSON parser");
  element root;
  if (parser.parse(document.data(), document.size()).get(root) != simdjson::SUCCESS) return syntax_error(document);
  return RecordReader(document).read(root);
}

}  // namespace stella::pipeline
