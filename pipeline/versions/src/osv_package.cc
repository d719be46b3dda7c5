// From a package URL to the package of an OSV index: ecosystem (with the release for distributions), name and version.
#include <algorithm>
#include <array>
#include <string>

#include "stella/pipeline/versions/ecosystem.h"
#include "stella/pipeline/versions/purl.h"

namespace stella::pipeline {
namespace {

char lower(char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + ('a' - 'A')) : c; }

std::string lower_case(std::string_view text) {
  std::string out(text);
  std::transform(out.begin(), out.end(), out.begin(), lower);
  return out;
}

// Types that need no release: (purl type, OSV ecosystem, what joins namespace and name, whether a component is called as index_name spells
// it). A Go module keeps its case for people; the index finds it in any.
struct LanguageType {
  std::string_view type;
  std::string_view ecosystem;
  char joiner;
  bool names_differ = true;
};
constexpr std::array kLanguageTypes{
    LanguageType{"npm", "npm", '/', false},           LanguageType{"golang", "Go", '/', false},         LanguageType{"pypi", "PyPI", '/'},
    LanguageType{"maven", "Maven", ':', false},       LanguageType{"cargo", "crates.io", '/', false},   LanguageType{"gem", "RubyGems", '/', false},
    LanguageType{"nuget", "NuGet", '/'},       LanguageType{"composer", "Packagist", '/'}, LanguageType{"hex", "Hex", '/'},
    LanguageType{"pub", "Pub", '/'},           LanguageType{"swift", "SwiftURL", '/'},    LanguageType{"conan", "ConanCenter", '/'},
    LanguageType{"cran", "CRAN", '/'},         LanguageType{"hackage", "Hackage", '/'},   LanguageType{"githubactions", "GitHub Actions", '/'},
    LanguageType{"bitnami", "Bitnami", '/'},
};

// Tools write these where they found no version.
bool is_no_version(std::string_view version) {
  static constexpr std::array<std::string_view, 7> kNone{"unknown", "devel", "none", "null", "undefined", "n/a", "latest"};
  if (version.empty() || (version.front() >= '0' && version.front() <= '9')) return false;
  if (version.starts_with('(') && version.ends_with(')')) return true;  // "(devel)", "(unknown)"
  const std::string text = lower_case(version);
  return std::find(kNone.begin(), kNone.end(), text) != kNone.end();
}

std::string joined(const Purl& purl, char joiner) {
  return purl.namespace_.empty() ? purl.name : purl.namespace_ + joiner + purl.name;
}

// A Go version as OSV writes it.
std::string_view go_version(std::string_view name, std::string_view version) {
  if (version.starts_with('v')) version.remove_prefix(1);
  return go_standard_version(name, version);
}

OsvPackage language_package(const Purl& purl, const LanguageType& row, std::string_view document_name) {
  OsvPackage out{std::string(row.ecosystem), joined(purl, row.joiner), purl.version};
  if (purl.type == "golang") {
    // syft writes module "…/consul/api" as "…/consul#api": the document's own name tells it from a package inside "…/consul".
    out.name = std::string(go_module(out.name));
    if (!purl.subpath.empty() && out.name != "stdlib" && document_name == out.name + "/" + purl.subpath) out.name = document_name;
    out.version = std::string(go_version(out.name, out.version));
  }
  if (row.names_differ) out.name = index_name(row.ecosystem, out.name);
  return out;
}

// "debian-11.6" → ("debian", "11.6"); a bare "jammy" or "11" has no name.
struct Distro {
  std::string name;
  std::string release;
};
Distro split_distro(std::string_view text) {
  // The release begins at the last '-' before a digit: "opensuse-leap-15.5", "openeuler-22.03-LTS-SP1" begins at "22.03".
  for (std::size_t i = 0; i + 1 < text.size(); ++i)
    if (text[i] == '-' && text[i + 1] >= '0' && text[i + 1] <= '9') return {lower_case(text.substr(0, i)), std::string(text.substr(i + 1))};
  if (!text.empty() && text.front() >= '0' && text.front() <= '9') return {"", std::string(text)};
  return {lower_case(text), ""};
}

std::string_view first_part(std::string_view release) { return release.substr(0, release.find('.')); }
std::string_view first_two_parts(std::string_view release) {
  const std::size_t dot = release.find('.');
  return dot == std::string_view::npos ? release : release.substr(0, release.find('.', dot + 1));
}

struct Codename {
  std::string_view name;
  std::string_view release;
};
constexpr std::array kDebianCodenames{
    Codename{"squeeze", "6"},  Codename{"wheezy", "7"},    Codename{"jessie", "8"}, Codename{"stretch", "9"}, Codename{"buster", "10"},
    Codename{"bullseye", "11"}, Codename{"bookworm", "12"}, Codename{"trixie", "13"}, Codename{"forky", "14"},
};
constexpr std::array kUbuntuCodenames{
    Codename{"trusty", "14.04"}, Codename{"xenial", "16.04"},  Codename{"bionic", "18.04"}, Codename{"focal", "20.04"},
    Codename{"jammy", "22.04"},  Codename{"kinetic", "22.10"}, Codename{"lunar", "23.04"},  Codename{"mantic", "23.10"},
    Codename{"noble", "24.04"},  Codename{"oracular", "24.10"}, Codename{"plucky", "25.04"}, Codename{"questing", "25.10"},
};

template <std::size_t N>
std::string release_of(const Distro& distro, const std::array<Codename, N>& names) {
  if (!distro.release.empty()) return distro.release;
  for (const auto& row : names)
    if (row.name == distro.name) return std::string(row.release);
  return {};
}

bool is_lts(std::string_view release) {
  return release.size() == 5 && release.ends_with(".04") && (release[1] - '0') % 2 == 0;
}

std::string scoped(std::string_view ecosystem, std::string_view release) {
  return release.empty() ? std::string(ecosystem) : std::string(ecosystem) + ":" + std::string(release);
}

std::string deb_ecosystem(const Purl& purl, const Distro& distro) {
  if (purl.namespace_ == "ubuntu" || (purl.namespace_.empty() && distro.name == "ubuntu")) {
    const std::string release(first_two_parts(release_of(distro, kUbuntuCodenames)));
    return scoped("Ubuntu", is_lts(release) ? release + ":LTS" : release);
  }
  if (purl.namespace_ == "debian" || (purl.namespace_.empty() && distro.name == "debian"))
    return scoped("Debian", first_part(release_of(distro, kDebianCodenames)));
  return {};
}

std::string apk_ecosystem(const Purl& purl, const Distro& distro) {
  const std::string_view space = purl.namespace_.empty() ? std::string_view(distro.name) : std::string_view(purl.namespace_);
  if (space == "wolfi") return "Wolfi";
  if (space == "chainguard") return "Chainguard";
  if (space == "alpine" || purl.type == "alpine") {
    std::string_view release = first_two_parts(distro.release);
    return scoped("Alpine", release.empty() ? std::string() : "v" + std::string(release));
  }
  return {};
}

// sles-15.3 is "Linux Enterprise Server 15 SP3".
std::string sles_ecosystem(std::string_view release) {
  if (release.empty()) return "SUSE";
  std::string out = "SUSE:Linux Enterprise Server " + std::string(first_part(release));
  const std::size_t dot = release.find('.');
  if (dot != std::string_view::npos && release.substr(dot + 1) != "0") out += " SP" + std::string(release.substr(dot + 1));
  return out;
}

std::string rpm_ecosystem(const Purl& purl, const Distro& distro) {
  const std::string& space = purl.namespace_;
  const std::string& name = distro.name;
  if (space == "redhat" || space == "rhel" || name == "rhel") return "Red Hat";
  if (space == "almalinux" || name == "almalinux") return scoped("AlmaLinux", first_part(distro.release));
  if (space == "rocky" || space == "rockylinux" || name == "rocky") return scoped("Rocky Linux", first_part(distro.release));
  if (name.starts_with("opensuse-leap")) return scoped("openSUSE", "Leap " + distro.release);
  if (name.starts_with("opensuse-tumbleweed")) return "openSUSE:Tumbleweed";
  if (space == "opensuse" || name.starts_with("opensuse")) return "openSUSE";
  if (space == "sles" || space == "suse" || name == "sles") return sles_ecosystem(distro.release);
  if (space == "photon") return scoped("Photon OS", first_two_parts(distro.release));
  if (space == "mageia") return scoped("Mageia", first_part(distro.release));
  if (space == "openeuler") return scoped("openEuler", distro.release);
  if (space == "azurelinux" || space == "mariner") return scoped("Azure Linux", first_part(distro.release));
  return {};
}

// "acl-2.2.53-1.el8.src.rpm" → "acl".
std::string_view source_rpm_name(std::string_view file) {
  if (!file.ends_with(".src.rpm")) return file;
  file.remove_suffix(8);
  for (int i = 0; i < 2; ++i) {
    const std::size_t dash = file.rfind('-');
    if (dash == std::string_view::npos || dash == 0) return file;
    file = file.substr(0, dash);
  }
  return file;
}

// Distributions' records name source packages; syft says which in `upstream`, with its version where it differs.
void apply_upstream(const Purl& purl, OsvPackage& out) {
  std::string_view upstream = purl.qualifier("upstream");
  if (upstream.empty()) return;
  if (purl.type == "rpm") {
    if (!out.ecosystem.starts_with("Red Hat")) out.name = source_rpm_name(upstream);
    return;
  }
  const std::size_t at = upstream.find('@');
  out.name = upstream.substr(0, at);
  if (at != std::string_view::npos && at + 1 < upstream.size()) out.version = upstream.substr(at + 1);
}

OsvPackage distribution_package(const Purl& purl) {
  const Distro distro = split_distro(purl.qualifier("distro"));
  OsvPackage out{{}, purl.name, purl.version};
  if (purl.type == "deb") out.ecosystem = deb_ecosystem(purl, distro);
  if (purl.type == "apk" || purl.type == "alpine") out.ecosystem = apk_ecosystem(purl, distro);
  if (purl.type == "rpm") out.ecosystem = rpm_ecosystem(purl, distro);
  const std::string_view epoch = purl.qualifier("epoch");
  if (purl.type == "rpm" && !epoch.empty() && !out.version.empty()) out.version = std::string(epoch) + ":" + out.version;
  apply_upstream(purl, out);
  return out;
}

void write_joined(const PlainPurl& purl, char joiner, std::string& out) {
  out.clear();
  out.reserve(purl.namespace_.size() + 1 + purl.name.size());
  if (!purl.namespace_.empty()) out.append(purl.namespace_).push_back(joiner);
  out.append(purl.name);
}

}  // namespace

std::string_view go_module(std::string_view name) { return name == "std" ? "stdlib" : name; }

std::string_view go_standard_version(std::string_view name, std::string_view version) {
  if ((name == "stdlib" || name == "toolchain") && version.starts_with("go")) version.remove_prefix(2);
  return version;
}

bool plain_osv_package(const PlainPurl& purl, std::string& ecosystem, std::string& name, std::string& version) {
  if (purl.type == "rpm") {  // Red Hat's records name binary packages and carry no release; the rest of the family needs `distro`
    if ((purl.namespace_ != "redhat" && purl.namespace_ != "rhel") || purl.qualifiers.find("epoch=") != std::string_view::npos) return false;
    ecosystem = "Red Hat";
    name = purl.name;
    version = purl.version;
    if (is_no_version(version)) version.clear();
    return true;
  }
  for (const auto& row : kLanguageTypes) {
    if (row.type != purl.type) continue;
    ecosystem = row.ecosystem;
    write_joined(purl, row.joiner, name);
    if (row.type == "golang") name = go_module(name);
    version = row.type == "golang" ? go_version(name, purl.version) : purl.version;
    if (row.names_differ) name = index_name(row.ecosystem, name);
    if (is_no_version(version)) version.clear();
    return true;
  }
  return false;
}

OsvPackage osv_package(const Purl& purl, std::string_view document_name) {
  OsvPackage out;
  if (purl.type == "deb" || purl.type == "apk" || purl.type == "alpine" || purl.type == "rpm") {
    out = distribution_package(purl);
  } else {
    out.name = joined(purl, '/');
    out.version = purl.version;
    for (const auto& row : kLanguageTypes)
      if (row.type == purl.type) out = language_package(purl, row, document_name);
  }
  if (is_no_version(out.version)) out.version.clear();
  return out;
}

}  // namespace stella::pipeline
