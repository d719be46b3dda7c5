// Purl matching for VEX: versions exactly, demanded qualifiers, registry names that mean the same.
#include "product_match.h"

#include <algorithm>

namespace stella::pipeline::vex {
namespace {

// Go writes versions with and without 'v'.
std::string_view bare_version(const Purl& purl) {
  std::string_view version = purl.version;
  if (purl.type == "golang" && version.starts_with('v')) version.remove_prefix(1);
  return version;
}

// Where an image lies: one registry goes by several names, and some writers put a scheme before it.
std::string repository(std::string_view url) {
  for (const std::string_view scheme : {"https://", "http://", "docker://", "oci://"})
    if (url.starts_with(scheme)) url.remove_prefix(scheme.size());
  while (url.ends_with('/')) url.remove_suffix(1);
  for (const std::string_view alias : {"index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"})
    if (url.starts_with(alias) && (url.size() == alias.size() || url[alias.size()] == '/')) return "docker.io" + std::string(url.substr(alias.size()));
  return std::string(url);
}

bool same_qualifier(std::string_view key, std::string_view a, std::string_view b) {
  return a == b || (key == "repository_url" && repository(a) == repository(b));
}

}  // namespace

std::string package_key(const Purl& purl, bool go_case) {
  std::string key = purl.package();
  // NuGet's registry knows no case.
  if (purl.type == "nuget" || (purl.type == "golang" && !go_case))
    std::transform(key.begin(), key.end(), key.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return key;
}

void spell_go_standard(Purl& purl) {
  if (purl.type != "golang" || !purl.namespace_.empty()) return;
  purl.name = std::string(go_module(purl.name));
  purl.version = std::string(go_standard_version(purl.name, purl.version));
}

Match match(const Purl& statement, const Purl& component) {
  if (package_key(statement) != package_key(component)) return Match::kOtherPackage;
  if (!statement.subpath.empty() && statement.subpath != component.subpath) return Match::kOtherPackage;
  const bool versioned = !statement.version.empty();
  if (versioned && bare_version(statement) != bare_version(component)) return Match::kOtherVersion;
  for (const auto& [key, value] : statement.qualifiers)
    if (!same_qualifier(key, value, component.qualifier(key))) return Match::kOtherQualifiers;
  if (!versioned) return Match::kNoVersion;
  return statement.qualifiers.size() == component.qualifiers.size() ? Match::kExact : Match::kVersion;
}

}  // namespace stella::pipeline::vex
