// Events of changed settings: whole values, however many modules differ.
#include "config_events.h"

#include <algorithm>
#include <set>

#include "stella/contracts/events.h"

namespace stella::controls::detail {

timeline::Event config_event(const std::string& name, std::string from, std::string to, TraceId trace) {
  return timeline::event_of(contracts::events::kConfigChanged, "setting", name, trace,
                            json::Value::object({{"name", name}, {"from_value", from.substr(0, kValueBytes)}, {"to_value", to.substr(0, kValueBytes)}}));
}

std::vector<std::pair<std::string, std::string>> differing(const json::Value& from, const json::Value& to) {
  std::set<std::string, std::less<>> modules;
  for (const json::Value* side : {&from, &to})
    for (const auto& [module, value] : side->as_object()) modules.insert(module);
  std::vector<std::pair<std::string, std::string>> out;
  json::Value was = json::Value::object(), is = json::Value::object();
  for (const std::string& module : modules) {
    const json::Value *before = from.find(module), *after = to.find(module);
    if (before != nullptr && after != nullptr && *before == *after) continue;
    const auto with = [&](json::Value side, const json::Value* value) {
      if (value != nullptr) side.set(module, *value);
      return side;
    };
    json::Value longer_was = with(was, before), longer_is = with(is, after);
    if (std::max(json::dump(longer_was).size(), json::dump(longer_is).size()) > kValueBytes) {
      out.emplace_back(json::dump(was), json::dump(is));
      longer_was = with(json::Value::object(), before);
      longer_is = with(json::Value::object(), after);
    }
    was = std::move(longer_was);
    is = std::move(longer_is);
  }
  if (!was.as_object().empty() || !is.as_object().empty()) out.emplace_back(json::dump(was), json::dump(is));
  return out;
}

}  // namespace stella::controls::detail
