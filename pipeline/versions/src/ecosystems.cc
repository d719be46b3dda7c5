// The table of ecosystems. To support another one: give its row an order (and add the comparator where the order is new).
#include "stella/pipeline/versions/ecosystem.h"

#include <algorithm>
#include <array>

namespace stella::pipeline {
namespace {

constexpr auto kNoOrderYet = VersionOrder::kNone;
constexpr bool kDistribution = true;

constexpr std::array kTable{
    Ecosystem{"npm", VersionOrder::kSemver, NameRule::kExact},
    Ecosystem{"Go", VersionOrder::kSemver, NameRule::kLowerCase},
    Ecosystem{"crates.io", VersionOrder::kSemver, NameRule::kExact},
    Ecosystem{"PyPI", VersionOrder::kPep440, NameRule::kPep503},
    Ecosystem{"Maven", VersionOrder::kMaven, NameRule::kExact},
    Ecosystem{"RubyGems", kNoOrderYet, NameRule::kExact},
    Ecosystem{"NuGet", kNoOrderYet, NameRule::kLowerCase},
    Ecosystem{"Packagist", kNoOrderYet, NameRule::kLowerCase},
    Ecosystem{"Hex", kNoOrderYet, NameRule::kLowerCase},
    Ecosystem{"Pub", kNoOrderYet, NameRule::kLowerCase},
    Ecosystem{"SwiftURL", kNoOrderYet, NameRule::kLowerCase},
    Ecosystem{"ConanCenter", kNoOrderYet, NameRule::kExact},
    Ecosystem{"CRAN", kNoOrderYet, NameRule::kExact},
    Ecosystem{"Hackage", kNoOrderYet, NameRule::kExact},
    Ecosystem{"GitHub Actions", kNoOrderYet, NameRule::kLowerCase},
    Ecosystem{"Bitnami", kNoOrderYet, NameRule::kLowerCase},
    Ecosystem{"Debian", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"Ubuntu", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"Alpine", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"Wolfi", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"Chainguard", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"Red Hat", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"AlmaLinux", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"Rocky Linux", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"SUSE", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"openSUSE", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"Photon OS", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"Mageia", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"openEuler", kNoOrderYet, NameRule::kExact, kDistribution},
    Ecosystem{"Azure Linux", kNoOrderYet, NameRule::kExact, kDistribution},
};

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

std::string lower_case(std::string_view name) {
  std::string out(name);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

std::string pep503(std::string_view name) {
  std::string out;
  out.reserve(name.size());
  bool dash = false;
  for (char c : name) {
    if (c == '-' || c == '_' || c == '.') {
      dash = true;
      continue;
    }
    if (dash) out += '-';
    dash = false;
    out += lower(c);
  }
  if (dash) out += '-';
  return out;
}

}  // namespace

std::span<const Ecosystem> ecosystems() { return kTable; }

const Ecosystem* find_ecosystem(std::string_view ecosystem) {
  ecosystem = ecosystem.substr(0, ecosystem.find(':'));
  for (const auto& row : kTable)
    if (row.name == ecosystem) return &row;
  return nullptr;
}

std::string_view index_ecosystem(std::string_view ecosystem) {
  const Ecosystem* row = find_ecosystem(ecosystem);
  return row == nullptr || row->distribution ? ecosystem : row->name;
}

std::string index_name(std::string_view ecosystem, std::string_view name) {
  const Ecosystem* row = find_ecosystem(ecosystem);
  switch (row == nullptr ? NameRule::kExact : row->names) {
    case NameRule::kLowerCase: return lower_case(name);
    case NameRule::kPep503: return pep503(name);
    case NameRule::kExact: break;
  }
  return std::string(name);
}

}  // namespace stella::pipeline
