// What is made once and then kept: secrets, operators, stella.yaml. Later starts read, and never overwrite what a person may have edited.
#pragma once

#include <string>
#include <vector>

#include "layout.h"
#include "stella/platform/config.h"

namespace stella::cli::up {

inline constexpr std::string_view kFirstTenant = "acme";
inline constexpr std::string_view kFirstTenantName = "Acme";
inline constexpr std::string_view kSuperuser = "postgres";

struct Ports {
  int http = 0;
  int pg = 0;
  int nats = 0;
  // The Collector's; 0 where it does not run.
  int otlp_grpc = 0, otlp_http = 0, collector_health = 0, collector_zpages = 0, collector_metrics = 0;
};

struct Operator {
  std::string login;
  std::string secret;
  std::string display_name;
  bool platform = false;
};

// Passwords, passphrase and salt; only what is missing, each readable for the one user that needs it. kNotFound where lost_secret() names one.
Result<void> make_secrets(const Layout& layout);
// The path of a secret that is not there although the data beside it needs that very one; "" where none is.
std::string lost_secret(const Layout& layout);
std::string operators_path(const Layout& layout);
Result<std::vector<Operator>> read_operators(const Layout& layout);

// stella.yaml where it is missing: free ports near the usual ones. `http_port` 0 leaves the choice; another value is kept in the file, too.
// Ports of database and bus that another program has taken are replaced.
Result<Ports> make_settings(const Layout& layout, int http_port);
// Ports of an existing stella.yaml; kNotFound where there is none.
Result<Ports> read_ports(const Layout& layout);
Result<config::Settings> load_settings(const Layout& layout);
std::string settings_text(const Layout& layout, const Ports& ports);
// The runner's own file, since it cannot read the server's secrets: of stella.yaml what concerns it (for_runner).
Result<void> write_runner_settings(const Layout& layout);

}  // namespace stella::cli::up
