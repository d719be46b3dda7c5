// vex.reconcile: which status the statements give each (component, advisory) pair, and why. Pure and thread-safe.
#pragma once

#include <span>
#include <string_view>

#include "stella/base/result.h"
#include "stella/contracts/components.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/vex_result.h"
#include "stella/pipeline/excitator/openvex.h"

namespace stella::pipeline {

// The precedence rule, version 2:
//  1. Considered is every statement of every document that names the vulnerability (the advisory's id, an alias of it, or its only
//     `upstream`) and the package: the component itself, a subcomponent, or a product of the SBOM. Silence is not a statement. Names of
//     NuGet packages and Go modules are the same in any case. A Go purl with a subpath whose document calls the component by the joined
//     path is the module of that path: a statement names it so, or spells the same purl; one about the module around it does not.
//     Go's `std` is `stdlib`, whose version may begin with `go`.
//  2. A statement applies where it names the component as product; or as subcomponent of a product that the SBOM is or contains,
//     with the component inside that product; or where it names such a product without subcomponents. Versions that the statement
//     gives must be the SBOM's; so must the qualifiers it gives. "Inside" follows contains and depends_on edges; parts that one
//     static binary (Go, Rust) holds side by side with the product count as inside. A component that also lies, or is used, outside
//     of the product stays open: nothing that suppresses applies where any path leads to the component past the product, through
//     whatever the product shares with others. affected and under_investigation apply to such a component: part of it is inside.
//  3. Rank: 4 exact purl with version and qualifiers, 3 exact version, 2 version range (no format read today has one), 1 no version;
//     with a product and a subcomponent the lower of the two. 0 does not apply.
//  4. The highest rank wins; then the highest trust tier; then the newest time (statement, else document; none counts as oldest).
//  5. What is left and disagrees is a conflict: affected before under_investigation before fixed before not_affected.
//  Statements of one document that do not apply for the same reason are listed by the first of them, which counts the others.
//  A statement whose status is missing or unknown, or not_affected without justification and impact statement, never applies.
inline constexpr std::string_view kVexPrecedenceRule = "stella.vex-precedence/2";

// Version 1, for results that were sealed under it. It looked for uses outside of the product at the component's own holders alone, and
// took no statement at all for a component that also lies outside; Go modules that differ in case were two, and so were `std` and `stdlib`; a Go
// component with a subpath was the module around it.
inline constexpr std::string_view kVexPrecedenceRule1 = "stella.vex-precedence/1";

struct VexSource {
  const VexDocument* document = nullptr;
  int tier = 0;  // source trust; all equal until policy assigns them
};

// One outcome per pair with a considered statement, sorted by (component, advisory id); considered statements by (document digest,
// position). The order of `sources` and documents without a considered statement do not matter. Each document once.
// `rule` is one of the versions above: kInvalid for any other.
Result<contracts::VexResultSet> reconcile(const contracts::ComponentTable& components, const contracts::ExposureSet& exposures,
                                          std::span<const VexSource> sources, std::string_view rule = kVexPrecedenceRule);

}  // namespace stella::pipeline
