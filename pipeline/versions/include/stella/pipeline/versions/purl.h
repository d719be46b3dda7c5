// Package URLs (ECMA-427): parsing, the canonical spelling, and the OSV package that a purl names. Pure and thread-safe.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"

namespace stella::pipeline {

// pkg:type/namespace/name@version?qualifiers#subpath, parts percent-decoded and normalised as the type's definition demands.
struct Purl {
  std::string type;           // lower case
  std::string namespace_;     // segments joined by '/'; "" where none
  std::string name;
  std::string version;        // "" where none
  std::vector<std::pair<std::string, std::string>> qualifiers;  // sorted by key, keys lower case, empty values dropped
  std::string subpath;

  // The value of the qualifier, "" where absent.
  std::string_view qualifier(std::string_view key) const;
  // Canonical text: parse(str()) gives this again.
  std::string str() const;
  // Canonical text without version, qualifiers and subpath: the package, not a release of it.
  std::string package() const;
  friend bool operator==(const Purl&, const Purl&) = default;
};

// kMalformed with `expected` where the text is no purl. Never throws, at most one pass over the text.
Result<Purl> parse_purl(std::string_view text);

// A purl that is its own canonical spelling and holds no escapes and no subpath (nearly every purl of nearly every document): views into
// the text. Everything said of it is what parse_purl would say, without an allocation.
struct PlainPurl {
  std::string_view type;
  std::string_view namespace_;
  std::string_view name;
  std::string_view version;
  std::string_view qualifiers;  // "key=value&…", sorted
};
// nullopt where the text is no purl or not of that kind: ask parse_purl.
std::optional<PlainPurl> plain_purl(std::string_view text);

// What an OSV index is asked about.
struct OsvPackage {
  std::string ecosystem;  // "npm", "Go", "PyPI", "Maven", "crates.io", "RubyGems", "Debian:11", "Ubuntu:22.04:LTS", "Alpine:v3.16", …; "" where the type has none
  std::string name;       // as that ecosystem's records spell it (PEP 503 for PyPI, group:artifact for Maven, source package for distributions)
  std::string version;    // as given, Go without leading 'v'; "" where missing or no version ("(devel)")
};

// Go's own packages as OSV has them: what Go's tools and some scanners call "std" is "stdlib", and its versions, like those of "toolchain", have no "go".
std::string_view go_module(std::string_view name);
std::string_view go_standard_version(std::string_view name, std::string_view version);

// `document_name` is the component's name in its document: it decides whether a Go subpath belongs to the module path.
OsvPackage osv_package(const Purl& purl, std::string_view document_name = {});

// The same answer for a plain purl, written into strings that may hold anything; false (and nothing written) for types whose
// answer needs the whole Purl.
bool plain_osv_package(const PlainPurl& purl, std::string& ecosystem, std::string& name, std::string& version);

}  // namespace stella::pipeline
