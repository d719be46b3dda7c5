// The table of ecosystems: what an OSV ecosystem's records are called by, and how its names are compared. Pure and thread-safe.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "stella/pipeline/versions/version.h"

namespace stella::pipeline {

// How two spellings of one package name are recognised as the same.
enum class NameRule : unsigned char {
  kExact,      // case matters: npm, Maven, crates.io, distributions
  kLowerCase,  // NuGet, Packagist, Hex, Pub, and Go: its modules have case, but tools that write purls drop it
  kPep503,     // PyPI: lower case, runs of '-', '_' and '.' are one '-'
};

struct Ecosystem {
  std::string_view name;  // as OSV records spell it, without a release
  VersionOrder order;     // kNone: known, but not supported yet
  NameRule names;
  bool distribution = false;  // its records are about packages of a release, each of several vulnerabilities
};

// Every ecosystem we know by name, supported or not.
std::span<const Ecosystem> ecosystems();
// The row of `ecosystem` (a release behind ':' does not matter), nullptr where there is none.
const Ecosystem* find_ecosystem(std::string_view ecosystem);
// What an index files the ecosystem under: a distribution's release stays, the address of a repository ("Maven:https://…") does not,
// because no component says which one it came from.
std::string_view index_ecosystem(std::string_view ecosystem);
// The key under which an index files the package: equal for all spellings of one name.
std::string index_name(std::string_view ecosystem, std::string_view name);

}  // namespace stella::pipeline
