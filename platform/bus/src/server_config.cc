// The text of nats-server's configuration, and with it who may say and hear what.
#include "stella/platform/bus_server_config.h"

#include <string_view>
#include <vector>

#include "stella/platform/bus_topology.h"
#include "stella/tenancy/paths.h"

namespace stella::bus {
namespace {

using Subjects = std::vector<std::string>;

std::string quoted(std::string_view text) {
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + "\"";
}

std::string list(const Subjects& subjects) {
  std::string out = "[";
  for (const auto& subject : subjects) out += (out.size() > 1 ? ", " : "") + quoted(subject);
  return out + "]";
}

void append(Subjects& to, Subjects more) { to.insert(to.end(), more.begin(), more.end()); }

// Everything the owner of a stream does: create, look at, delete, consume, acknowledge, probe.
Subjects owner_of(std::string_view stream_name) {
  const std::string stream(stream_name);
  return {"$JS.API.STREAM.*." + stream,    "$JS.API.CONSUMER.*." + stream,     "$JS.API.CONSUMER.*." + stream + ".>",
          "$JS.API.CONSUMER.*.*." + stream + ".>", "$JS.ACK." + stream + ".>", probe_subject(stream)};
}

struct Grant {
  std::string_view user;
  Subjects publish;
  Subjects subscribe;
};

std::string user_entry(Grant grant, const std::map<std::string, std::string>& passwords) {
  const auto password = passwords.find(std::string(grant.user));
  if (password == passwords.end()) return "";
  grant.subscribe.push_back("_inbox." + std::string(grant.user) + ".>");
  return "      { user: " + quoted(grant.user) + ", password: " + quoted(password->second) + ", permissions: {\n        publish: " + list(grant.publish) +
         "\n        subscribe: " + list(grant.subscribe) + " } }\n";
}

std::vector<Grant> grants() {
  Grant orchestrator{user::kOrchestrator, {"$JS.API.INFO", std::string(subject::kJobsAll), "stellawake.>"}, {"stellawake.>"}};
  append(orchestrator.publish, owner_of(kJobsStream));
  append(orchestrator.publish, owner_of(kResultsStream));
  Grant indexer{user::kIndexer, {"$JS.API.INFO", std::string(subject::kTimelineAll), std::string(subject::kKbAll), "stellawake.>"}, {"stellawake.>"}};
  append(indexer.publish, owner_of(kTimelineStream));
  append(indexer.publish, owner_of(kKbStream));
  Grant web{user::kWeb, {"stellawake.>"}, {"stellawake.>"}};
  Grant locker{user::kLocker, {"stellawake.>"}, {"stellawake.>"}};
  return {orchestrator, indexer, web, locker};
}

// All that the runner may say: the subject in its own account, and the subject of ours that it leads to.
// The runner sits in an account of its own and reaches these as services. A reply subject that it names is therefore one of its own
// account, and it cannot make the server say anything on a subject of ours. Plain permissions would let it: the server does not check
// reply subjects against them.
struct Service {
  std::string local;
  std::string target;
  bool stream = false;  // one request is answered by many messages
};

std::vector<Service> runner_services() {
  const std::string consumer = std::string(kJobsStream) + "." + std::string(kRunnerConsumer);
  const std::string local(kRunnerApiPrefix);  // `$JS.API` itself is taken in every account
  return {{local + ".CONSUMER.INFO." + consumer, "$JS.API.CONSUMER.INFO." + consumer},
          {local + ".CONSUMER.MSG.NEXT." + consumer, "$JS.API.CONSUMER.MSG.NEXT." + consumer, true},
          {"$JS.ACK." + consumer + ".>", "$JS.ACK." + consumer + ".>"},
          {std::string(subject::kResultsAll), std::string(subject::kResultsAll)}};
}

Grant runner_grant() {
  Grant grant{user::kRunner, {}, {}};
  for (const auto& service : runner_services()) grant.publish.push_back(service.local);
  return grant;
}

}  // namespace

std::string nats_server_config(const ServerConfigOptions& options) {
  std::string out = "# Written by StellaOps; holds passwords.\n";
  out += "server_name: \"stella\"\n";
  out += "listen: " + quoted(options.host + ":" + std::to_string(options.port)) + "\n";
  if (!options.pid_file.empty()) out += "pid_file: " + quoted(options.pid_file) + "\n";
  if (!options.log_file.empty()) out += "log_file: " + quoted(options.log_file) + "\n";
  if (!options.ports_file_dir.empty()) out += "ports_file_dir: " + quoted(options.ports_file_dir) + "\n";
  out += "max_payload: 1048576\n";
  out += "jetstream: { store_dir: " + quoted(options.store_dir) + ", max_memory_store: 67108864, max_file_store: " + std::to_string(options.max_store_bytes) + " }\n";
  out += "accounts: {\n  STELLA: {\n    jetstream: enabled\n    users: [\n";
  for (const auto& grant : grants()) out += user_entry(grant, options.passwords);
  out += "    ]\n    exports: [\n";
  for (const auto& service : runner_services()) {
    out += "      { service: " + quoted(service.target) + (service.stream ? ", response_type: stream" : "") + ", accounts: [RUNNER] }\n";
  }
  out += "    ]\n  }\n  RUNNER: {\n    users: [\n" + user_entry(runner_grant(), options.passwords) + "    ]\n    imports: [\n";
  for (const auto& service : runner_services()) {
    out += "      { service: { account: STELLA, subject: " + quoted(service.target) + " }, to: " + quoted(service.local) + " }\n";
  }
  out += "    ]\n  }\n}\n";
  return out;
}

}  // namespace stella::bus
