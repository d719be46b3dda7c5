// Loopback is told from spelling alone: a name that would have to be looked up may mean another machine tomorrow.
#include "stella/platform/exposure.h"

#include <arpa/inet.h>

#include <array>

namespace stella::config {

bool is_loopback(std::string_view host) {
  if (host == "localhost") return true;
  const std::string text(host);
  std::array<unsigned char, 16> bytes{};
  if (::inet_pton(AF_INET, text.c_str(), bytes.data()) == 1) return bytes[0] == 127;
  static constexpr std::array<unsigned char, 16> kOne{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
  return ::inet_pton(AF_INET6, text.c_str(), bytes.data()) == 1 && bytes == kOne;
}

Result<void> check_listener(std::string_view address, bool behind_tls_proxy, std::string_view public_url) {
  if (is_loopback(address)) return {};
  if (!behind_tls_proxy)
    return Error(base_errors::kInvalid, "the API speaks no TLS, so it may not be reached from other machines")
        .with("field", std::string("http.address"))
        .with("value", std::string(address))
        .with("expected", std::string("a loopback address, or http.behind_tls_proxy=true where a proxy that speaks TLS is the only one that reaches it"));
  if (public_url.starts_with("https://")) return {};
  return Error(base_errors::kInvalid, "behind a proxy that speaks TLS the API has an https URL").with("field", std::string("http.public_url")).with("expected", std::string("https://…, as clients reach the proxy"));
}

bool proxy_undeclared(bool behind_tls_proxy, std::string_view public_url) { return !behind_tls_proxy && public_url.starts_with("https://"); }

Result<std::string> database_tls(std::string_view hosts, std::string_view ca_file) {
  bool local = true;
  for (std::string_view rest = hosts; !rest.empty();) {
    const std::size_t comma = std::min(rest.find(','), rest.size());
    const std::string_view host = rest.substr(0, comma);
    local = local && (host.empty() || host.front() == '/' || host.front() == '@' || is_loopback(host));
    rest.remove_prefix(std::min(comma + 1, rest.size()));
  }
  if (local) return std::string();
  if (ca_file.empty())
    return Error(base_errors::kInvalid, "a database on another machine must prove who it is")
        .with("field", std::string("pg.ca_file"))
        .with("expected", std::string("a PEM file of the authorities that vouch for the server of pg.host"));
  std::string quoted;
  for (const char c : ca_file) {
    if (c == '\'' || c == '\\') quoted += '\\';
    quoted += c;
  }
  return " sslmode=verify-full sslrootcert='" + quoted + "'";
}

}  // namespace stella::config
