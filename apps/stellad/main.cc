// stellad: the server, in any subset of its roles.
//
//   stellad [--config FILE]                                    serves until SIGTERM
//   stellad [--config FILE] --init [--superuser NAME] [--superuser-password-file F] [--tenant ID] [--tenant-name TEXT] [--operators F]
//   stellad [--config FILE] --nats-config FILE [--nats-store DIR]
//   stellad [--config FILE] --rotate-key token|log              a new key of that purpose, from the next start on; the one before is kept
//   stellad [--config FILE] --rotate-tenant-key ID [--reason TEXT]  a new key for what is encrypted from now on; older ones stay, and read
//   stellad [--config FILE] --destroy-tenant-key ID --reason TEXT  plans the end of everything that is encrypted under it; no way back
//   stellad [--config FILE] --telemetry-token FILE             for processes on machines without a stellad; it lives auth.token_ttl
//
// Exit: 0, 1 where it could not start or initialise, 2 for wrong arguments.
#include <sys/stat.h>

#include <cstdio>
#include <string_view>

#include "stella/platform/process.h"
#include "stellad.h"

namespace {

int usage() {
  std::fputs("usage: stellad [--config FILE] [--init [--superuser NAME] [--superuser-password-file F] [--tenant ID] [--tenant-name TEXT] [--operators F]]\n"
             "               [--nats-config FILE [--nats-store DIR]] [--telemetry-token FILE] [--destroy-tenant-key ID --reason TEXT] [--rotate-tenant-key ID [--reason TEXT]] [--rotate-key token|log]\n", stderr);
  return 2;
}

bool parse(int argc, char** argv, stella::stellad::Arguments& out) {
  for (int i = 1; i < argc; ++i) {
    const std::string_view name = argv[i];
    if (name == "--init") {
      out.init = true;
      continue;
    }
    std::string* target = name == "--config"                    ? &out.config
                          : name == "--superuser"               ? &out.superuser
                          : name == "--superuser-password-file" ? &out.superuser_password_file
                          : name == "--tenant"                  ? &out.tenant
                          : name == "--tenant-name"             ? &out.tenant_name
                          : name == "--operators"               ? &out.operators
                          : name == "--nats-config"             ? &out.nats_config
                          : name == "--nats-store"              ? &out.nats_store
                          : name == "--telemetry-token"         ? &out.telemetry_token
                          : name == "--destroy-tenant-key"      ? &out.destroy_tenant_key
                          : name == "--rotate-key"              ? &out.rotate_key
                          : name == "--rotate-tenant-key"       ? &out.rotate_tenant_key
                          : name == "--reason"                  ? &out.reason
                                                                : nullptr;
    if (target == nullptr || ++i == argc) return false;
    *target = argv[i];
  }
  return true;
}

stella::Result<void> run(const stella::stellad::Arguments& arguments) {
  const auto settings = STELLA_TRY(stella::config::Settings::load_with_process_environment(arguments.config));
  if (!arguments.nats_config.empty()) return stella::stellad::write_nats_config(settings, arguments);
  if (!arguments.telemetry_token.empty()) return stella::stellad::write_telemetry_token(settings, arguments.telemetry_token);
  if (!arguments.destroy_tenant_key.empty()) return stella::stellad::plan_key_destruction(settings, arguments);
  if (!arguments.rotate_key.empty()) return stella::stellad::rotate_key(settings, arguments);
  if (!arguments.rotate_tenant_key.empty()) return stella::stellad::rotate_tenant_key(settings, arguments);
  if (arguments.init) return stella::stellad::init(settings, arguments);
  return stella::stellad::serve(settings);
}

}  // namespace

int main(int argc, char** argv) {
  stella::process::keep_freed_memory();
  stella::process::install_stop_signals();
  stella::stellad::Arguments arguments;
  if (!parse(argc, argv, arguments)) return usage();
  ::umask(0027);
  if (auto done = run(arguments); !done) {
    std::fprintf(stderr, "stellad: %s\n", done.error().describe().c_str());
    return 1;
  }
  return 0;
}
