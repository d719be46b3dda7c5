// What a command gets when it runs.
#include "stella/cli/session.h"

#include <stdlib.h>

#include "stella/cli/format.h"
#include "stella/contracts/errors.h"

namespace stella::cli {
namespace {

std::string environment(const char* name) {
  const char* value = ::getenv(name);
  return value == nullptr ? "" : value;
}

}  // namespace

Session::Session(Globals globals, Console console, ProfileStore store) : globals_(std::move(globals)), console_(console), store_(std::move(store)) {}

Result<std::string> Session::url() {
  std::string text = globals_.url.empty() ? environment("STELLA_URL") : globals_.url;
  if (text.empty()) {
    const Profile profile = STELLA_TRY(store_.load());
    text = profile.url;
  }
  if (text.empty())
    return Error(base_errors::kInvalid, "no server is known").with("remedy", "`stella up` starts one on this machine; for another one give --url, or set STELLA_URL.");
  std::string url = STELLA_TRY(normalized_url(text));
  if (!is_private_channel(url))
    return Error(base_errors::kInvalid, "a token would travel unencrypted").with("field", "url").with("expected", "https://, or http:// on this machine").with("remedy", "Use https, or a tunnel to a local port.");
  return url;
}

ApiOptions Session::api_options(std::string url, std::string token) {
  spoke_ = true;
  ApiOptions options;
  options.url = std::move(url);
  options.token = std::move(token);
  options.tenant = globals_.tenant.empty() ? environment("STELLA_TENANT") : globals_.tenant;
  options.ca_file = globals_.ca_file.empty() ? environment("STELLA_CA_FILE") : globals_.ca_file;
  options.trace = trace_;
  options.on_retry = [this, told = std::string()](std::string_view part) mutable {
    if (told == part) return;
    told = part;
    console_.note(printable(part) + " does not answer; trying again for half a minute\n");
  };
  return options;
}

Result<Api*> Session::api() {
  if (api_) return api_.get();
  std::string server = STELLA_TRY(url());
  if (std::string token = environment("STELLA_TOKEN"); !token.empty()) {
    login_.access_token = std::move(token);
  } else {
    auto stored = STELLA_TRY(store_.credentials(server));
    if (!stored) return Error(contracts::errors::kUnauthenticated, "nobody is logged in at this server").with("field", server).with("remedy", "stella login");
    if (stored->expires_at <= Timestamp::now())
      return Error(contracts::errors::kUnauthenticated, "the login has expired").with("field", server).with("remedy", "stella login");
    login_ = std::move(*stored);
  }
  api_ = std::make_unique<Api>(api_options(std::move(server), login_.access_token));
  return api_.get();
}

Result<Api> Session::anonymous_api() {
  std::string server = STELLA_TRY(url());
  return Api(api_options(std::move(server), ""));
}

void Session::show(const json::Value& value, const std::function<std::string()>& table) {
  if (globals_.output == "json") console_.out(json::pretty(value));
  else if (globals_.output == "ndjson") console_.out(json::dump(value) + "\n");
  else console_.out(table());
}

void Session::show_list(const json::Value& list, const std::function<std::string()>& table) {
  if (globals_.output != "ndjson") return show(list, table);
  std::string out;
  for (const json::Value& item : list.items("items")) out += json::dump(item) + "\n";
  console_.out(out);
}

void Session::finish() {
  if (!spoke_ || globals_.quiet) return;
  spoke_ = false;
  if (machine()) console_.err("trace_id " + trace_.hex() + "\n");
  else console_.out(console_.out_palette()(Style::kDim, "trace_id  " + trace_.hex()) + "\n");
}

}  // namespace stella::cli
