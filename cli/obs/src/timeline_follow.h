// The live stream of events and its reader.
#pragma once

#include <cstdint>
#include <functional>
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
  // False once the server said that it ends the stream for good.
  bool take(std::string_view bytes, const std::function<void(const json::Value&)>& event);
  // The log index to go on from; 0 before the first.
  std::int64_t next() const { return next_; }

 private:
  std::string text_;
  std::int64_t next_ = 0;
};

// Shows events until the user ends it or the token is over. `query`: kind, resource, project, actor, trace.
Result<int> follow_timeline(Session& session, Query query);

}  // namespace stella::cli
