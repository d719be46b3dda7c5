// sbom.compute: SBOM bytes to the component table.
#include "kinds.h"
#include "stella/contracts/components.h"
#include "stella/pipeline/sbom/parse.h"

namespace stella::pipeline {

Result<void> sbom_compute(const json::Value&, JobIo& io) {
  const auto document = STELLA_TRY(io.bytes("sbom"));
  const auto table = STELLA_TRY(parse_sbom(document));
  return io.put("components.ndjson", kNdjson, contracts::encode(table));
}

}  // namespace stella::pipeline
