// The OpenTelemetry Collector beside the platform: found or built, its configuration laid out, its ports chosen, started.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "files.h"
#include "layout.h"
#include "stella/base/result.h"
#include "stella/platform/process.h"

namespace stella::cli::up {

// How the start of the Collector was asked for; `program` "" means without.
struct CollectorChoice {
  std::string program;
  std::string config_dir;  // config.yaml, exporters/, feature-gates
};

// The program beside stella, else the one that tools/build-collector of the source tree has built or builds now (minutes; it tells on stderr).
// kUnavailable with remedy where there is neither.
Result<CollectorChoice> find_or_build_collector(const Layout& layout);
// For the process that starts it, if this is not the one; and back. Nothing in the environment is an empty choice.
std::vector<std::pair<std::string, std::string>> collector_environment(const CollectorChoice& choice);
CollectorChoice collector_from_environment();

// Its user, directories, a fresh copy of the configuration, and free ports near the usual ones (STELLA_COLLECTOR_OTLP_HTTP and _GRPC decide where given).
Result<void> prepare_collector(Layout& layout, const CollectorChoice& choice, Ports& ports);
// What stellad and runner get, so that they send through it; nothing where `ports` has no Collector.
std::vector<std::pair<std::string, std::string>> sender_environment(const Layout& layout, const Ports& ports);
// "its own log …" or the URL of STELLA_COLLECTOR_TARGET.
std::string collector_target();
process::Service collector_service(const Layout& layout, const CollectorChoice& choice, const Ports& ports, const std::string& issuer);
// After a start that failed with `error`: true where its queue was torn and has been set aside (collector.torn-…), so that another try is worth it.
// While it runs the service does the same by itself.
bool mend_collector(const Layout& layout, const Error& error);
// Issuer of our tokens as stellad will name it.
Result<std::string> token_issuer(const Layout& layout, const std::string& url);

}  // namespace stella::cli::up
