// The table of job kinds.
#include "kinds.h"

#include <algorithm>
#include <array>

namespace stella::pipeline {
namespace {

constexpr std::array kKinds = {
    JobKind{"sbom.compute", sbom_compute},
    JobKind{"advisory.ingest", advisory_ingest},
    JobKind{"advisory.link", advisory_link},
    JobKind{"vex.ingest", vex_ingest},
    JobKind{"vex.reconcile", vex_reconcile},
    JobKind{"policy.evaluate", policy_evaluate},
    JobKind{"export.bundle", export_bundle},
    JobKind{"evidence.snapshot", evidence_snapshot},
};

}  // namespace

std::span<const JobKind> job_kinds() { return kKinds; }

const JobKind* find_job_kind(std::string_view kind) {
  const auto found = std::find_if(kKinds.begin(), kKinds.end(), [&](const JobKind& k) { return k.kind == kind; });
  return found == kKinds.end() ? nullptr : &*found;
}

}  // namespace stella::pipeline
