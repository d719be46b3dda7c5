// Controls as values: JSON in and out, and into force in this process.
#include "stella/telemetry/controls.h"

#include <algorithm>

#include "stella/base/encoding.h"

namespace stella::controls {
namespace {

using telemetry::Level;
using telemetry::PiiKind;

// The words of the API; telemetry's own names may change without it.
constexpr std::string_view kind_name(PiiKind kind) {
  switch (kind) {
    case PiiKind::kEmail: return "email";
    case PiiKind::kIp: return "ip";
    case PiiKind::kPhone: return "phone";
    case PiiKind::kCard: return "card";
    case PiiKind::kIban: return "iban";
  }
  return "";
}

std::optional<PiiKind> parse_kind(std::string_view name) {
  for (std::size_t i = 0; i < telemetry::kPiiKinds; ++i)
    if (name == kind_name(static_cast<PiiKind>(i))) return static_cast<PiiKind>(i);
  return std::nullopt;
}

bool is_module(std::string_view name) {
  return name == kEveryModule || (!name.empty() && name.size() <= 64 && std::all_of(name.begin(), name.end(), [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_'; }));
}

Error wrong(std::string field, std::string expected) { return Error(base_errors::kInvalid, "a member of the body is not acceptable").with("field", std::move(field)).with("expected", std::move(expected)); }

Result<std::map<std::string, Level, std::less<>>> parse_levels(const json::Value& value, const std::string& field = "levels") {
  std::map<std::string, Level, std::less<>> out;
  if (!value.is_object()) return wrong(field, "an object of modules");
  if (value.as_object().size() > kMostModules) return wrong(field, "at most " + std::to_string(kMostModules) + " modules");
  for (const auto& [module, text] : value.as_object()) {
    const auto level = text.is_string() ? telemetry::parse_level(text.as_string()) : std::nullopt;
    if (!is_module(module)) return wrong(field, "names of modules ([a-z0-9._], or * for all)");
    if (!level) return wrong(field, "trace, debug, info, warn or error");
    out.emplace(module, *level);
  }
  return out;
}

Result<std::chrono::seconds> parse_ttl(const json::Value& value, std::string field) {
  const json::Value* ttl = value.find("ttl_seconds");
  const std::int64_t longest = std::chrono::seconds(kLongestDebug).count();
  if (ttl == nullptr || !ttl->is_int() || ttl->as_int() < 1 || ttl->as_int() > longest) return wrong(std::move(field), "a number from 1 to " + std::to_string(longest));
  return std::chrono::seconds(ttl->as_int());
}

Result<Change::Temporary> parse_temporary(const json::Value& value) {
  Change::Temporary out;
  if (!value.is_object()) return wrong("temporary_levels", "an object, or null to end them");
  for (const auto& [name, member] : value.as_object())
    if (name != "levels" && name != "ttl_seconds") return wrong("temporary_levels", "levels, ttl_seconds");
  const json::Value* levels = value.find("levels");
  if (levels == nullptr || !levels->is_object() || levels->as_object().empty()) return wrong("temporary_levels.levels", "an object of modules");
  auto parsed = parse_levels(*levels, "temporary_levels.levels");
  if (!parsed) return std::move(parsed.error());
  out.levels = std::move(*parsed);
  out.ttl = STELLA_TRY(parse_ttl(value, "temporary_levels.ttl_seconds"));
  return out;
}

Result<Change::Debug> parse_debug(const json::Value& value) {
  Change::Debug out;
  if (!value.is_object()) return wrong("deep_debug", "an object, or null to end it");
  for (const auto& [name, member] : value.as_object())
    if (name != "classes" && name != "ttl_seconds" && name != "reason") return wrong("deep_debug", "classes, ttl_seconds, reason");
  if (value.items("classes").empty()) return wrong("deep_debug.classes", "some of email, ip, phone, card, iban");
  for (const json::Value& item : value.items("classes")) {
    const auto kind = item.is_string() ? parse_kind(item.as_string()) : std::nullopt;
    if (!kind) return wrong("deep_debug.classes", "some of email, ip, phone, card, iban");
    out.kinds.add(*kind);
  }
  out.ttl = STELLA_TRY(parse_ttl(value, "deep_debug.ttl_seconds"));
  out.reason = std::string(value.str("reason"));
  if (out.reason.empty() || out.reason.size() > 200) return wrong("deep_debug.reason", "1 to 200 bytes of text: it stands on the timeline");
  return out;
}

}  // namespace

json::Array class_names(telemetry::PiiSet kinds) {
  json::Array out;
  for (std::size_t i = 0; i < telemetry::kPiiKinds; ++i)
    if (kinds.has(static_cast<PiiKind>(i))) out.push_back(kind_name(static_cast<PiiKind>(i)));
  return out;
}

json::Value temporary_json(const Controls& controls) {
  json::Value out = json::Value::object();
  for (const auto& [module, one] : controls.temporary_levels) out.set(module, json::Value::object({{"level", telemetry::to_string(one.level)}, {"until", one.until.rfc3339()}}));
  return out;
}

json::Value to_json(const Controls& controls) {
  json::Value levels = json::Value::object();
  for (const auto& [module, level] : controls.levels) levels.set(module, telemetry::to_string(level));
  json::Value debug;
  if (controls.deep_debug) debug = json::Value::object({{"classes", class_names(controls.deep_debug->kinds)}, {"until", controls.deep_debug->until.rfc3339()}});
  json::Value out = json::Value::object({{"levels", std::move(levels)}});
  out.set("temporary_levels", temporary_json(controls));
  out.set("sampling", controls.sampling ? json::Value(*controls.sampling) : json::Value());
  out.set("deep_debug", std::move(debug));
  return out;
}

Controls from_json(const json::Value& value) {
  Controls out;
  if (const json::Value* levels = value.find("levels"); levels != nullptr && levels->is_object())
    for (const auto& [module, text] : levels->as_object())
      if (const auto level = text.is_string() ? telemetry::parse_level(text.as_string()) : std::nullopt; level && is_module(module)) out.levels.emplace(module, *level);
  if (const json::Value* levels = value.find("temporary_levels"); levels != nullptr && levels->is_object())
    for (const auto& [module, one] : levels->as_object()) {
      const auto level = telemetry::parse_level(one.str("level"));
      const auto until = Timestamp::parse(one.str("until"));
      if (level && until && is_module(module)) out.temporary_levels.emplace(module, TemporaryLevel{*level, *until});
    }
  if (const json::Value* rate = value.find("sampling"); rate != nullptr && rate->is_number() && rate->as_double() >= 0 && rate->as_double() <= 1) out.sampling = rate->as_double();
  if (const json::Value* debug = value.find("deep_debug"); debug != nullptr && debug->is_object()) {
    DeepDebug d;
    for (const json::Value& item : debug->items("classes"))
      if (const auto kind = item.is_string() ? parse_kind(item.as_string()) : std::nullopt) d.kinds.add(*kind);
    if (const auto until = Timestamp::parse(debug->str("until")); until && !d.kinds.empty()) {
      d.until = *until;
      out.deep_debug = d;
    }
  }
  return out;
}

Result<Change> parse_change(const json::Value& body) {
  Change out;
  if (const json::Value* levels = body.find("levels"); levels != nullptr && !levels->is_null()) {
    auto parsed = parse_levels(*levels);
    if (!parsed) return std::move(parsed.error());
    out.levels.emplace(std::move(*parsed));
  }
  if (const json::Value* levels = body.find("temporary_levels"); levels != nullptr) {
    if (levels->is_null()) {
      out.temporary_levels.emplace();
    } else {
      auto parsed = parse_temporary(*levels);
      if (!parsed) return std::move(parsed.error());
      out.temporary_levels.emplace(std::move(*parsed));
    }
  }
  if (const json::Value* rate = body.find("sampling"); rate != nullptr) {
    if (!rate->is_null() && (!rate->is_number() || !(rate->as_double() >= 0 && rate->as_double() <= 1))) return wrong("sampling", "a number from 0 to 1, or null for the deployment's rate");
    out.sampling.emplace(rate->is_null() ? std::nullopt : std::optional<double>(rate->as_double()));
  }
  if (const json::Value* debug = body.find("deep_debug"); debug != nullptr) {
    if (debug->is_null()) {
      out.deep_debug.emplace();
    } else {
      auto parsed = parse_debug(*debug);
      if (!parsed) return std::move(parsed.error());
      out.deep_debug.emplace(std::move(*parsed));
    }
  }
  if (!out.levels && !out.temporary_levels && !out.sampling && !out.deep_debug) return wrong("levels", "at least one of levels, temporary_levels, sampling, deep_debug");
  return out;
}

}  // namespace stella::controls
