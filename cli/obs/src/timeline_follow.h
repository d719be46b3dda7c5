// The live stream of events and its reader.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/cli/api.h"
#include "stella/cli/session.h"

namespace stella::cli {

// Puts server-sent events together from pieces. Each event is given out once, whatever is sent again after a broken connection.
class EventReader {
 public:
  // A connection begins: what the one before left unfinished is forgotten.
  void begin() { text_.clear(); }
  // False once the server said that it ends the stream for good.
  bool take(std::string_view bytes, const std::function<void(const json::Value&)>& event);
  // The log index to go on from: behind what came, or where the server said that it begins or is; nullopt before it said anything.
  std::optional<std::int64_t> next() const { return next_; }

 private:
  std::string text_;
  std::optional<std::int64_t> next_;
};

// Follows until the server ends the stream for good or refuses it, or, before it was ever open, the API's budget for retries is spent; returns why.
// A connection that breaks later is made anew, however long that takes, and goes on where it was.
Error follow(const Api& api, const Query& query, const std::function<void(const json::Value&)>& event);

// Shows events until the user ends it or the token is over. `query`: kind, resource, project, actor, trace.
Result<int> follow_timeline(Session& session, Query query);

}  // namespace stella::cli
