// What tokens that end with something else leave on the timeline.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "stella/contracts/events.h"
#include "stella/timeline/emit.h"

namespace stella::authority {

// One event per token that ended: `rows` are (token_id, principal_id).
inline std::vector<timeline::Event> ended_events(const pg::Rows& rows, std::string_view actor, std::string_view reason, TraceId trace) {
  std::vector<timeline::Event> out;
  for (int i = 0; i < rows.size(); ++i) {
    out.push_back(timeline::event_of(contracts::events::kTokenRevoked, "token", std::string(rows.text(i, 0)), trace,
                                     json::Value::object({{"token_id", rows.text(i, 0)}, {"principal_id", rows.text(i, 1)}, {"reason", reason}})));
    out.back().actor = std::string(actor);
  }
  return out;
}

}  // namespace stella::authority
