// vex.ingest and vex.reconcile.
#include <deque>

#include "kinds.h"
#include "stella/base/tar.h"
#include "stella/contracts/components.h"
#include "stella/contracts/exposures.h"
#include "stella/contracts/vex_result.h"
#include "stella/pipeline/excitator/ingest.h"
#include "stella/pipeline/excitator/openvex.h"
#include "stella/pipeline/excitator/reconcile.h"

namespace stella::pipeline {

Result<void> vex_ingest(const json::Value&, JobIo& io) {
  const auto batch = STELLA_TRY(io.bytes("batch.tar"));
  auto read = STELLA_TRY(read_tar(batch));
  std::vector<VexFile> files;
  files.reserve(read.size());
  for (auto& document : read) files.push_back({std::move(document.path), document.bytes});
  return io.put("observations.ndjson", kNdjson, ingest_vex(files).observations);
}

// `rule`: a precedence rule other than today's, for replaying what was decided under it.
Result<void> vex_reconcile(const json::Value& params, JobIo& io) {
  const std::string rule(params.find("rule") == nullptr ? kVexPrecedenceRule : params.str("rule"));
  const auto table = STELLA_TRY(io.bytes("components.ndjson"));
  const auto components = STELLA_TRY(contracts::decode_components(table));
  const auto exposure_lines = STELLA_TRY(io.bytes("exposures.ndjson"));
  const auto exposures = STELLA_TRY(contracts::decode_exposures(exposure_lines));
  std::deque<VexDocument> documents;
  std::vector<VexSource> sources;
  for (auto* input : io.matching("vex-", ".json")) {
    const auto bytes = STELLA_TRY(input->bytes());
    auto document = parse_vex(bytes);
    if (!document) {
      document.error().add("input", input->name());
      return std::move(document.error());
    }
    input->release();
    documents.push_back(std::move(*document));
    sources.push_back({&documents.back(), 0});
  }
  const auto result = STELLA_TRY(reconcile(components, exposures, sources, rule));
  return io.put("vex.ndjson", kNdjson, contracts::encode(result));
}

}  // namespace stella::pipeline
