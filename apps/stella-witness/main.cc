// stella-witness: cosigns checkpoints of the logs it knows (C2SP tlog-witness), and remembers each log's last one.
//
//   stella-witness --init  --config FILE     makes the key and the state of every log that has none; prints the verifier key
//   stella-witness [--ready-file FILE] --config FILE
//
// The ready file holds the port once it listens. Exit: 0 after SIGTERM or SIGINT, 1 where it could not start, 2 for bad arguments.
#include <sys/stat.h>

#include <algorithm>
#include <cstdio>
#include <iterator>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"
#include "stella/contracts/settings.h"
#include "stella/platform/config.h"
#include "stella/platform/process.h"
#include "stella/timeline/witness_service.h"
#include "telemetry.h"

namespace stella {
namespace {

// Its own, and those by which every program of ours says what it does.
std::vector<config::SettingSpec> known_settings() {
  std::vector<config::SettingSpec> out(contracts::kWitnessSettings.begin(), contracts::kWitnessSettings.end());
  constexpr std::string_view kShared[] = {"env", "region", "instance_id"};
  for (const config::SettingSpec& row : contracts::kSettings)
    if (row.name.starts_with("log.") || row.name.starts_with("telemetry.") || std::find(std::begin(kShared), std::end(kShared), row.name) != std::end(kShared)) out.push_back(row);
  return out;
}

struct Arguments {
  std::string config;
  std::string ready_file;
  bool init = false;
};

int usage() {
  std::fputs("usage: stella-witness [--init] [--ready-file FILE] --config FILE\n"
             "  cosigns checkpoints of the logs that it knows; its settings: witness.* in docs/reference/settings.md\n"
             "  --init  makes its key and the state of every log that has none, prints its verifier key, and ends\n", stderr);
  return 2;
}

Result<std::string> passphrase(const config::Settings& settings) {
  std::string text = STELLA_TRY(read_file(settings.text("witness.passphrase_file"), 4096));
  while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
  return text;
}

Result<std::shared_ptr<crypto::Ed25519KeyPair>> load_key(const config::Settings& settings) {
  const std::string secret = STELLA_TRY(passphrase(settings));
  auto key = STELLA_TRY(crypto::Ed25519KeyPair::load(settings.text("witness.key_file"), secret));
  return std::make_shared<crypto::Ed25519KeyPair>(std::move(key));
}

// A key that is there stays: another one would be another witness.
Result<void> init(const config::Settings& settings, const timeline::LogPolicy& logs) {
  struct stat there {};
  if (::stat(settings.text("witness.key_file").c_str(), &there) != 0) {
    const auto fresh = STELLA_TRY(crypto::Ed25519KeyPair::generate());
    const std::string secret = STELLA_TRY(passphrase(settings));
    STELLA_TRY_VOID(fresh.save(settings.text("witness.key_file"), secret));
  }
  const auto key = STELLA_TRY(load_key(settings));
  const auto vkey = STELLA_TRY(timeline::VerifierKey::cosigner(settings.text("witness.name"), key->public_key()));
  STELLA_TRY_VOID(timeline::WitnessStore::init(settings.text("witness.state_dir"), logs));
  std::printf("%s\n", vkey.str().c_str());
  return {};
}

Result<void> run(const Arguments& arguments) {
  const auto settings = STELLA_TRY(config::Settings::load(arguments.config, {}, known_settings()));
  for (const char* needed : {"witness.name", "witness.logs", "witness.state_dir", "witness.key_file", "witness.passphrase_file"})
    if (settings.text(needed).empty()) return Error(base_errors::kInvalid, "a setting is missing").with("field", std::string(needed)).with("path", arguments.config);
  const std::string policy = STELLA_TRY(read_file(settings.text("witness.logs"), timeline::kPolicyFileBytes));
  const auto logs = STELLA_TRY(timeline::LogPolicy::parse(policy));
  if (arguments.init) return init(settings, logs);
  const auto telemetry = STELLA_TRY(apps::Telemetry::start(settings, "stella-witness"));
  const auto key = STELLA_TRY(load_key(settings));
  const auto store = STELLA_TRY(timeline::WitnessStore::open(settings.text("witness.state_dir"), logs, settings.text("witness.name"), key));
  http::ServerOptions http;
  http.address = settings.text("witness.address");
  http.port = static_cast<std::uint16_t>(settings.integer("witness.port"));
  http.workers = 2;
  const auto server = STELLA_TRY(timeline::serve_witness(http, *store));
  if (!arguments.ready_file.empty()) STELLA_TRY_VOID(write_file_durable(arguments.ready_file, std::to_string(server->port()) + "\n"));
  while (!process::wait_for_stop(Deadline::after(std::chrono::hours(1)))) {
  }
  server->drain(Deadline::after(std::chrono::seconds(5)));
  return {};
}

}  // namespace
}  // namespace stella

int main(int argc, char** argv) {
  using namespace stella;
  process::install_stop_signals();
  Arguments arguments;
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--init") arguments.init = true;
    else if (name == "--config" && i + 1 < argc) arguments.config = argv[++i];
    else if (name == "--ready-file" && i + 1 < argc) arguments.ready_file = argv[++i];
    else return usage();
  }
  if (arguments.config.empty()) return usage();
  const auto done = run(arguments);
  if (done) return 0;
  std::fprintf(stderr, "stella-witness: %s\n", done.error().describe().c_str());
  return 1;
}
