// stella obs settings: show, set.
#include "settings.h"

#include <charconv>
#include <memory>

#include "register.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

constexpr const char* kPath = "/obs/settings/telemetry";
constexpr std::string_view kDefault = "default";

Error wrong(std::string_view option, std::string_view expected) {
  return Error(base_errors::kInvalid, "an option is not acceptable").with("field", std::string(option)).with("expected", std::string(expected));
}

Result<json::Value> levels_change(const std::vector<std::string>& wanted, const json::Value& in_force) {
  json::Value out = json::Value::object();
  const auto is_named = [&](std::string_view module) {
    for (const std::string& one : wanted)
      if (std::string_view(one).substr(0, one.find('=')) == module) return true;
    return false;
  };
  if (in_force.is_object())
    for (const auto& [module, level] : in_force.as_object())
      if (!is_named(module)) out.set(module, level);
  for (const std::string& one : wanted) {
    const std::size_t at = one.find('=');
    if (at == std::string::npos || at == 0 || at + 1 == one.size()) return wrong("--level", "MODULE=LEVEL, as in web=debug, '*=warn' or web=default");
    if (std::string_view(one).substr(at + 1) != kDefault) out.set(one.substr(0, at), one.substr(at + 1));
  }
  return out;
}

Result<json::Value> sampling_change(std::string_view text) {
  if (text == kDefault) return json::Value();
  const bool percent = text.ends_with('%');
  if (percent) text.remove_suffix(1);
  double rate = -1;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), rate);
  if (percent) rate /= 100;
  if (r.ec != std::errc() || r.ptr != text.data() + text.size() || !(rate >= 0 && rate <= 1)) return wrong("--sampling", "a share of the traces from 0 to 1, a percentage (10%), or default");
  return json::Value(rate);
}

Result<std::int64_t> seconds_of(std::string_view text, std::string_view option) {
  std::int64_t n = 0;
  const std::int64_t unit = text.empty() ? 0 : text.back() == 's' ? 1 : text.back() == 'm' ? 60 : text.back() == 'h' ? 3600 : text.back() == 'd' ? 86'400 : 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size() - (unit == 0 ? 0 : 1), n);
  if (unit == 0 || r.ec != std::errc() || r.ptr != text.data() + text.size() - 1 || n < 1 || n > 86'400 / unit) return wrong(option, "how long, at most a day: 90s, 15m, 2h, 1d");
  return n * unit;
}

// For a time: those that are named, beside the others that hold.
Result<json::Value> temporary_change(const SettingsArgs& args) {
  json::Value levels = json::Value::object();
  for (const std::string& one : args.levels) {
    const std::size_t at = one.find('=');
    if (at == std::string::npos || at == 0 || at + 1 == one.size() || std::string_view(one).substr(at + 1) == kDefault) return wrong("--level", "MODULE=LEVEL with --level-for, as in web=debug or '*=warn'");
    levels.set(one.substr(0, at), one.substr(at + 1));
  }
  const std::int64_t ttl = STELLA_TRY(seconds_of(args.level_for, "--level-for"));
  return json::Value::object({{"levels", std::move(levels)}, {"ttl_seconds", ttl}});
}

Result<json::Value> debug_change(const SettingsArgs& args) {
  if (args.end_debug) {
    if (!args.debug.empty()) return wrong("--end-debug", "it alone, without --debug");
    return json::Value();
  }
  if (args.reason.empty()) return wrong("--reason", "why this tenant is debugged: it stands on the timeline");
  json::Array classes;
  for (const std::string& one : args.debug) classes.emplace_back(one);
  const std::int64_t ttl = STELLA_TRY(seconds_of(args.debug_for.empty() ? "1h" : args.debug_for, "--for"));
  return json::Value::object({{"classes", std::move(classes)}, {"ttl_seconds", ttl}, {"reason", args.reason}});
}

// "12.5 %", without digits that say nothing.
std::string percent_text(double rate) {
  char buffer[32];
  const auto r = std::to_chars(buffer, buffer + sizeof buffer, rate * 100, std::chars_format::general, 6);
  return std::string(buffer, r.ptr) + " % of the traces";
}

}  // namespace

Result<json::Value> settings_change(const SettingsArgs& args, const json::Value& levels) {
  json::Value out = json::Value::object();
  if (args.end_levels) {
    if (!args.level_for.empty()) return wrong("--end-levels", "it without --level-for");
    out.set("temporary_levels", json::Value());
  }
  if (!args.level_for.empty()) {
    if (args.levels.empty()) return wrong("--level", "the levels that --level-for is about");
    json::Value temporary = STELLA_TRY(temporary_change(args));
    out.set("temporary_levels", std::move(temporary));
  } else if (!args.levels.empty()) {
    json::Value all = STELLA_TRY(levels_change(args.levels, levels));
    out.set("levels", std::move(all));
  }
  if (!args.sampling.empty()) {
    json::Value rate = STELLA_TRY(sampling_change(args.sampling));
    out.set("sampling", std::move(rate));
  }
  if (!args.debug.empty() || args.end_debug) {
    json::Value debug = STELLA_TRY(debug_change(args));
    out.set("deep_debug", std::move(debug));
  } else if (!args.debug_for.empty() || !args.reason.empty()) {
    return wrong("--debug", "the kinds that --for and --reason are about");
  }
  if (out.as_object().empty()) return wrong("options", "at least one of --level, --end-levels, --sampling, --debug, --end-debug");
  return out;
}

std::string settings_text(const json::Value& settings, Timestamp now, const Palette& paint) {
  const std::string deployments = "as the deployment says";
  std::string levels, kinds;
  if (const json::Value* map = settings.find("levels"); map != nullptr && map->is_object())
    for (const auto& [module, level] : map->as_object()) levels += (levels.empty() ? "" : ", ") + module + "=" + (level.is_string() ? level.as_string() : json::dump(level));
  if (const json::Value* map = settings.find("temporary_levels"); map != nullptr && map->is_object())
    for (const auto& [module, one] : map->as_object()) {
      const std::string level(one.str("level"));
      levels += (levels.empty() ? "" : ", ") + module + "=" + level + " until " + short_time(one.str("until"), now) + " UTC";
    }
  const json::Value* rate = settings.find("sampling");
  const json::Value* debug = settings.find("deep_debug");
  const bool on = debug != nullptr && debug->is_object();
  if (on)
    for (const json::Value& kind : debug->items("classes")) kinds += (kinds.empty() ? "" : ", ") + (kind.is_string() ? kind.as_string() : json::dump(kind));
  Facts facts;
  facts.add("levels", levels.empty() ? deployments : levels);
  facts.add("sampling", rate != nullptr && rate->is_number() ? percent_text(rate->as_double()) : deployments);
  facts.add("deep debug", on ? Cell(kinds + " pass until " + short_time(debug->str("until"), now) + " UTC", Style::kYellow) : Cell("off"));
  if (!settings.str("updated_at").empty()) facts.add("changed", short_time(settings.str("updated_at"), now) + " by " + std::string(settings.str("updated_by")));
  return facts.render(paint);
}

namespace {

void show_settings(Session& session, const json::Value& settings) {
  session.show(settings, [&] { return settings_text(settings, Timestamp::now(), session.console().out_palette()); });
}

Result<int> show(Session& session) {
  Api* api = STELLA_TRY(session.api());
  const json::Value settings = STELLA_TRY(api->get(kPath));
  show_settings(session, settings);
  return kExitDone;
}

Result<int> set(Session& session, const SettingsArgs& args) {
  json::Value change = STELLA_TRY(settings_change(args, json::Value()));  // a mistake is said before anybody logs in
  Api* api = STELLA_TRY(session.api());
  if (!args.levels.empty() && args.level_for.empty()) {
    const json::Value before = STELLA_TRY(api->get(kPath));
    const json::Value* levels = before.find("levels");
    change = STELLA_TRY(settings_change(args, levels != nullptr ? *levels : json::Value()));
  }
  const json::Value after = STELLA_TRY(api->json({.method = "PATCH", .path = kPath, .body = json::dump(change), .content_type = "application/json"}));
  show_settings(session, after);
  return kExitDone;
}

}  // namespace

void register_obs_settings(App& app) {
  auto args = std::make_shared<SettingsArgs>();
  app.command("obs settings", "What telemetry records of your tenant: log levels, sampling, deep debug.");
  app.command("obs settings show", "What holds now, beside the deployment's own settings.").run(show);
  app.command("obs settings set", "Changes it for all processes within seconds; each change is on the timeline.")
      .option("--level", &args->levels, "Least level that a module logs (trace, debug, info, warn, error); * is every module without one of its own, default takes it back; may be repeated. bus, pg, web, orchestrator, runner, evidence.locker, … : an unknown one is refused with the list.", {.value = "MODULE=LEVEL"})
      .option("--level-for", &args->level_for, "How long --level holds, at most a day: 90s, 15m, 2h; then what held before holds again. Without it: until it is changed.", {.value = "TIME"})
      .option("--end-levels", &args->end_levels, "Ends the levels that hold for a time now.")
      .option("--sampling", &args->sampling, "Share of the traces that are kept from their beginning (0.1 or 10%); default takes it back.", {.value = "SHARE"})
      .option("--debug", &args->debug, "Kind of personal data that passes the scrubber; may be repeated. Secrets never pass.", {.value = "KIND", .choices = {"email", "ip", "phone", "card", "iban"}})
      .option("--for", &args->debug_for, "How long --debug holds, at most a day: 90s, 15m, 2h; 1h where it is not given.", {.value = "TIME"})
      .option("--reason", &args->reason, "Why --debug is needed: it stands on the timeline.", {.value = "TEXT"})
      .option("--end-debug", &args->end_debug, "Ends deep debug now.")
      .note("Needs the scope obs:write. Example: stella obs settings set --level web=debug --sampling 10%")
      .run([args](Session& s) { return set(s, *args); });
}

}  // namespace stella::cli
