// stella timeline list --follow: the live stream, one line per event, each once although the connection may break.
#include "timeline_follow.h"

#include <charconv>

#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/contracts/errors.h"

namespace stella::cli {
namespace {

constexpr std::string_view kBegin = ": following";  // a stream's first line: what stood before it was cut off by a broken connection

// The value of the field in a message's lines; "" where it has none.
std::string_view field(std::string_view block, std::string_view name) {
  while (!block.empty()) {
    const std::string_view line = block.substr(0, block.find('\n'));
    block.remove_prefix(std::min(block.size(), line.size() + 1));
    if (line.starts_with(name) && line.substr(name.size(), 2) == ": ") return line.substr(name.size() + 2);
  }
  return {};
}

}  // namespace

bool EventReader::take(std::string_view bytes, const std::function<void(const json::Value&)>& event) {
  text_ += bytes;
  for (std::size_t end; (end = text_.find("\n\n")) != std::string::npos; text_.erase(0, end + 2)) {
    const std::string_view block(text_.data(), end);
    if (block.ends_with(kBegin)) continue;
    std::int64_t index = -1;
    const std::string_view id = field(block, "id");
    if (std::from_chars(id.data(), id.data() + id.size(), index).ec == std::errc() && index < next_) continue;
    if (field(block, "event") == "end") return false;
    const std::string_view data = field(block, "data");
    if (data.empty()) continue;
    const auto item = json::parse(data);
    if (item) event(*item);
    if (index >= 0) next_ = index + 1;
  }
  return true;
}

Result<int> follow_timeline(Session& session, Query query) {
  Api* api = STELLA_TRY(session.api());
  EventReader reader;
  bool ended = false;
  const Palette& paint = session.console().out_palette();
  const auto show = [&](const json::Value& e) {
    if (session.machine()) return session.console().out(json::dump(e) + "\n");
    const std::string state = e.str("state") == "ok" ? std::string() : "  " + paint(Style::kRed, e.str("state"));
    session.console().out(short_time(e.str("ts"), Timestamp::now()) + "  " + paint(Style::kCyan, printable(std::string(e.str("kind")))) + "  " + printable(std::string(e.str("resource_type")) + " " + std::string(e.str("resource_id"))) + state + "\n");
  };
  while (!ended) {
    Call call{.path = "/timeline/stream", .query = query};
    if (reader.next() > 0) call.query.emplace_back("from_index", std::to_string(reader.next()));
    call.timeout = std::chrono::milliseconds(0);
    call.on_body = [&](std::string_view bytes) {
      ended = !reader.take(bytes, show);
      return !ended;
    };
    STELLA_TRY_VOID(api->send(call));
  }
  return Error(contracts::errors::kUnauthenticated, "the token is no longer valid").with("remedy", "stella login, then follow again.");
}

}  // namespace stella::cli
