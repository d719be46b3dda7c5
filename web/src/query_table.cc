// Which query parameters each route takes: contracts/openapi.yaml describes exactly these, a test compares both.
#include <algorithm>
#include <array>

#include "query_parameters.h"
#include "stella/web/router.h"

namespace stella::web {
namespace {

struct Row {
  std::string_view method, path;
  std::string_view names;  // parted by blanks
};

// A route that is not here takes none, and looks at none.
constexpr std::array kRows{
    Row{"GET", "/projects", "limit cursor"},
    Row{"GET", "/principals", "limit cursor"},
    Row{"POST", "/sboms", "project wait"},
    Row{"GET", "/sboms", "limit cursor"},
    Row{"GET", "/sboms/:sbom_id/components", "limit cursor"},
    Row{"POST", "/advisories", "global source complete wait"},
    Row{"GET", "/advisories", "id global limit cursor"},
    Row{"GET", "/advisories/:advisory_id/linkset", "revision global"},
    Row{"POST", "/vex", "global source complete wait"},
    Row{"GET", "/vex", "id global limit cursor"},
    Row{"GET", "/batches/:batch_id", "global"},
    Row{"GET", "/policies", "limit cursor"},
    Row{"POST", "/evaluations", "wait"},
    Row{"GET", "/evaluations", "sbom limit cursor"},
    Row{"GET", "/evaluations/:evaluation_id/comparison", "with"},
    Row{"GET", "/findings", "evaluation effect severity verdict advisory limit cursor"},
    Row{"POST", "/exports", "wait"},
    Row{"GET", "/exports", "limit cursor"},
    Row{"GET", "/jobs", "state kind resource_id trace limit cursor"},
    Row{"GET", "/timeline", "from to kind resource project actor trace q order from_index limit cursor"},
    Row{"GET", "/timeline/stream", "kind resource project actor trace from_index"},
    Row{"GET", "/timeline/checkpoint/deployment", "size"},
    Row{"GET", "/timeline/proof", "log from_size to_size"},
    Row{"GET", "/timeline/:event_id/proof", "log_index"},
    Row{"POST", "/evidence/snapshot", "wait"},
    Row{"GET", "/evidence", "case kind resource_id limit cursor"},
    Row{"POST", "/evidence/:bundle_id/redact", "wait"},
    Row{"GET", "/evidence/dispositions", "case limit cursor"},
    Row{"GET", "/attestations", "subject_id digest limit cursor"},
    Row{"GET", "/attestations/:attestation_id", "form"},
};

bool has(std::string_view names, std::string_view name) {
  while (!names.empty()) {
    const std::size_t end = std::min(names.find(' '), names.size());
    if (names.substr(0, end) == name) return true;
    names.remove_prefix(std::min(end + 1, names.size()));
  }
  return false;
}

}  // namespace

std::string_view known_parameters(std::string_view method, std::string_view path) {
  const auto row = std::find_if(kRows.begin(), kRows.end(), [&](const Row& r) { return r.method == method && r.path == path; });
  return row == kRows.end() ? std::string_view() : row->names;
}

Result<void> no_other_parameters(const Route& route, std::string_view query) {
  const std::string_view names = known_parameters(route.method, route.path);
  if (names.empty() || query.empty()) return {};
  for (const auto& [name, value] : STELLA_TRY(query_parameters(query))) {
    if (has(names, name)) continue;
    // The name is the caller's, and may be anything: it is not repeated.
    return Error(base_errors::kInvalid, "a query parameter is not known here").with("field", std::string("query")).with("expected", "some of: " + std::string(names));
  }
  return {};
}

}  // namespace stella::web
