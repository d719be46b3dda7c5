// stella timeline list --follow: the live stream, one line per event, each once although the connection may break.
#include "timeline_follow.h"

#include <charconv>
#include <thread>

#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/contracts/errors.h"

namespace stella::cli {
namespace {

constexpr std::string_view kBegin = "following from ";

std::optional<std::int64_t> number(std::string_view text) {
  std::int64_t value = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), value);
  if (r.ec != std::errc() || value < 0 || value == INT64_MAX) return std::nullopt;
  return value;
}

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
    if (block.starts_with(": ") && block.substr(2).starts_with(kBegin)) {
      if (const auto from = number(block.substr(2 + kBegin.size())); from && !next_) next_ = *from;
      continue;
    }
    const auto index = number(field(block, "id"));
    if (index && next_ && *index < *next_) continue;
    if (field(block, "event") == "end") return false;
    const std::string_view data = field(block, "data");
    if (!data.empty()) {
      const auto item = json::parse(data);
      if (item) event(*item);
    }
    if (index) next_ = *index + 1;  // without data: so far was read, and nothing fitted
  }
  return true;
}

namespace {

// What passes by itself: no answer, a server that restarts or has too many streams, a proxy before it.
bool passes(const Error& error) {
  return error.code() == contracts::errors::kUnavailable || error.code() == contracts::errors::kRateLimited || error.code() == contracts::errors::kTimeout;
}

void wait(const ApiOptions& options, const Error& why, std::chrono::milliseconds time) {
  if (options.on_retry) options.on_retry(why.field("part").empty() ? std::string_view("the server") : why.field("part"));
  if (options.sleep) options.sleep(time);
  else std::this_thread::sleep_for(time);
}

}  // namespace

Error follow(const Api& api, const Query& query, const std::function<void(const json::Value&)>& event) {
  // The tries are made here: each asks for what comes behind the last event, where one inside the call would ask again for what the first did.
  ApiOptions options = api.options();
  options.retry_budget = std::chrono::milliseconds(-1);
  Api once(options);
  EventReader reader;
  std::chrono::milliseconds waited(0);
  bool ended = false, ever = false;
  for (int tries = 0;; ++tries) {
    Call call{.path = "/timeline/stream", .query = query};
    if (reader.next()) call.query.emplace_back("from_index", std::to_string(*reader.next()));
    call.timeout = std::chrono::milliseconds(0);
    bool heard = false;
    call.on_body = [&](std::string_view bytes) {
      heard = true;
      ended = !reader.take(bytes, event);
      return !ended;
    };
    reader.begin();
    const auto response = once.send(call);
    if (ended) return Error(contracts::errors::kUnauthenticated, "the token is no longer valid").with("remedy", "stella login, then follow again.");
    const Error why = response ? Error(contracts::errors::kUnavailable, "the stream was closed") : response.error();
    if (!passes(why)) return why;
    ever = ever || heard;
    if (heard) tries = 0;
    const auto pause = ever ? retry_pause(tries, "", {}, std::chrono::milliseconds::max()) : retry_pause(tries, "", waited, api.options().retry_budget);
    if (!pause) return why;
    waited += *pause;
    wait(options, why, *pause);
  }
}

Result<int> follow_timeline(Session& session, Query query) {
  Api* api = STELLA_TRY(session.api());
  const Palette& paint = session.console().out_palette();
  return follow(*api, query, [&](const json::Value& e) {
    if (session.machine()) return session.console().out(json::dump(e) + "\n");
    const std::string state = e.str("state") == "ok" ? std::string() : "  " + paint(Style::kRed, e.str("state"));
    session.console().out(short_time(e.str("ts"), Timestamp::now()) + "  " + paint(Style::kCyan, printable(std::string(e.str("kind")))) + "  " + printable(std::string(e.str("resource_type")) + " " + std::string(e.str("resource_id"))) + state + "\n");
  });
}

}  // namespace stella::cli
