// Does a statement's purl name this component, and how exactly?
#pragma once

#include <string>
#include <string_view>

#include "stella/pipeline/versions/purl.h"

namespace stella::pipeline::vex {

enum class Match : int {
  kOtherPackage = -3,
  kOtherVersion = -2,
  kOtherQualifiers = -1,
  kNoVersion = 1,   // the statement gives none: any version
  kVersion = 3,     // exact version
  kExact = 4,       // exact version and the same qualifiers
};

// The key by which statements and components find each other: type, namespace and name. `go_case`: as version 1 of the precedence rule
// had it, which told Go modules apart that differ in case alone; tools that write purls drop it.
std::string package_key(const Purl& purl, bool go_case = false);

// Go's own packages in one spelling, OSV's: "std" is "stdlib", and its versions have no "go". Version 1 of the precedence rule has it not.
void spell_go_standard(Purl& purl);

// Both must have the same package_key (else kOtherPackage).
Match match(const Purl& statement, const Purl& component);

}  // namespace stella::pipeline::vex
