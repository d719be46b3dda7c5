// Checks the details of a timeline event against the schema of its kind.
#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/time.h"
#include "stella/contracts/catalogue.h"

namespace stella::contracts {
namespace {

const DetailField* find_field(const EventKind& kind, std::string_view name) {
  for (const auto fields : {kind.details, common_details()}) {
    for (const DetailField& field : fields) {
      if (field.name == name) return &field;
    }
  }
  return nullptr;
}

bool is_sha256(const json::Value& value) { return value.is_string() && Sha256::parse(value.as_string()).has_value(); }

bool all_strings(const json::Value& value) {
  if (!value.is_array()) return false;
  for (const json::Value& item : value.as_array()) {
    if (!item.is_string()) return false;
  }
  return true;
}

bool all_digests(const json::Value& value) {
  if (!value.is_array()) return false;
  for (const json::Value& item : value.as_array()) {
    const json::Value* digest = item.find("sha256");
    if (item.str("name").empty() || digest == nullptr || !is_sha256(*digest)) return false;
  }
  return true;
}

bool all_counts(const json::Value& value) {
  if (!value.is_object()) return false;
  for (const auto& [name, count] : value.as_object()) {
    if (!count.is_int()) return false;
  }
  return true;
}

bool has_type(const json::Value& value, DetailType type) {
  switch (type) {
    case DetailType::kString: return value.is_string();
    case DetailType::kInt: return value.is_int();
    case DetailType::kDouble: return value.is_number();
    case DetailType::kBool: return value.is_bool();
    case DetailType::kUuid: return value.is_string() && Uuid::parse(value.as_string()).has_value();
    case DetailType::kSha256: return is_sha256(value);
    case DetailType::kTimestamp: return value.is_string() && Timestamp::parse(value.as_string()).has_value();
    case DetailType::kStrings: return all_strings(value);
    case DetailType::kDigests: return all_digests(value);
    case DetailType::kCounts: return all_counts(value);
    case DetailType::kObject: return value.is_object();
  }
  return false;
}

std::string_view type_name(DetailType type) {
  switch (type) {
    case DetailType::kString: return "a string";
    case DetailType::kInt: return "an integer";
    case DetailType::kDouble: return "a number";
    case DetailType::kBool: return "true or false";
    case DetailType::kUuid: return "a UUID";
    case DetailType::kSha256: return "64 lower-case hex digits";
    case DetailType::kTimestamp: return "an RFC 3339 time";
    case DetailType::kStrings: return "an array of strings";
    case DetailType::kDigests: return "an array of {name, sha256}";
    case DetailType::kCounts: return "an object of integers";
    case DetailType::kObject: return "an object";
  }
  return "";
}

Error wrong(std::string field, std::string_view expected) {
  return Error(base_errors::kInvalid, "event details do not fit their kind").with("field", std::move(field)).with("expected", std::string(expected));
}

}  // namespace

Result<void> check_event_details(const EventKind& kind, const json::Value& details) {
  if (!details.is_object()) return wrong("details", "an object");
  for (const auto& [name, value] : details.as_object()) {
    const DetailField* field = find_field(kind, name);
    if (field == nullptr) return wrong("details." + name, "a field that contracts/events.json declares for this kind");
    if (!has_type(value, field->type)) return wrong("details." + name, type_name(field->type));
  }
  for (const DetailField& field : kind.details) {
    if (field.required && details.find(field.name) == nullptr) return wrong("details." + std::string(field.name), "to be present");
  }
  return {};
}

}  // namespace stella::contracts
