// advisory.ingest and advisory.link.
#include "kinds.h"
#include "stella/base/tar.h"
#include "stella/contracts/components.h"
#include "stella/contracts/exposures.h"
#include "stella/pipeline/conseiller/active_set.h"
#include "stella/pipeline/conseiller/ingest.h"
#include "stella/pipeline/conseiller/link.h"
#include "stella/pipeline/conseiller/segment.h"

namespace stella::pipeline {

Result<void> advisory_ingest(const json::Value&, JobIo& io) {
  const auto batch = STELLA_TRY(io.bytes("batch.tar"));
  auto read = STELLA_TRY(read_tar(batch));
  std::vector<AdvisoryDocument> documents;
  documents.reserve(read.size());
  for (auto& document : read) documents.push_back({std::move(document.path), document.bytes});
  const auto ingested = STELLA_TRY(ingest_advisories(documents));
  STELLA_TRY_VOID(io.put("observations.ndjson", kNdjson, ingested.observations));
  for (const auto& segment : ingested.segments) STELLA_TRY_VOID(io.put("segment-" + segment.slug + ".idx", kSegment, segment.bytes));
  return {};
}

Result<void> advisory_link(const json::Value&, JobIo& io) {
  const auto table = STELLA_TRY(io.bytes("components.ndjson"));
  const auto components = STELLA_TRY(contracts::decode_components(table));
  const auto active_bytes = STELLA_TRY(io.bytes("active.bin"));
  const auto active = STELLA_TRY(ActiveSet::parse(active_bytes));
  std::vector<Segment> segments;
  for (auto* input : io.matching("segment-", ".idx")) {
    const auto bytes = STELLA_TRY(input->bytes());
    auto segment = Segment::open(bytes);
    if (!segment) {
      segment.error().add("input", input->name());
      return std::move(segment.error());
    }
    segments.push_back(std::move(*segment));
  }
  const auto exposures = STELLA_TRY(link(components, segments, active));
  return io.put("exposures.ndjson", kNdjson, contracts::encode(exposures));
}

}  // namespace stella::pipeline
