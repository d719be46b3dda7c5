// What a command gets when it runs: global options, the console, the server, one trace. One per program run, one thread.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/cli/api.h"
#include "stella/cli/console.h"
#include "stella/cli/profile.h"

namespace stella::cli {

struct Globals {
  std::string url;     // --url, STELLA_URL, config.json
  std::string tenant;  // --tenant, STELLA_TENANT; "" is the token's own
  std::string output = "table";
  std::string ca_file;
  bool no_color = false;
  bool quiet = false;
};

class Session {
 public:
  Session(Globals globals, Console console, ProfileStore store);

  Console& console() { return console_; }
  const ProfileStore& store() const { return store_; }
  const Globals& globals() const { return globals_; }
  bool machine() const { return globals_.output != "table"; }
  TraceId trace() const { return trace_; }

  // The server's URL; kInvalid with a remedy where none is known.
  Result<std::string> url();
  // With the user's token; kUnauthenticated where nobody is logged in.
  Result<Api*> api();
  // Without a token, for public routes.
  Result<Api> anonymous_api();
  // The login that api() uses; empty before it.
  const Credentials& login() const { return login_; }

  // One result: pretty JSON, one line of JSON, or what `table` makes of it.
  void show(const json::Value& value, const std::function<std::string()>& table);
  // A list with "items": ndjson prints a line for each.
  void show_list(const json::Value& list, const std::function<std::string()>& table);
  // Prints the trace id once, if the server was spoken to: on stdout below tables, on stderr beside JSON.
  void finish();

 private:
  ApiOptions api_options(std::string url, std::string token);
  Globals globals_;
  Console console_;
  ProfileStore store_;
  TraceId trace_ = TraceId::generate();
  std::unique_ptr<Api> api_;
  Credentials login_;
  bool spoke_ = false;
};

}  // namespace stella::cli
