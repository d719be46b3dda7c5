// advisory.ingest: a batch of documents becomes observations and index segments. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"
#include "stella/pipeline/conseiller/segment.h"

namespace stella::pipeline {

struct AdvisoryDocument {
  std::string path;        // as the batch names it; goes into the observation, never opened
  std::string_view bytes;  // as received
};

struct IngestedAdvisories {
  // One line per document, in the order given:
  // {"path","sha256","size","status":"parsed","id","modified","withdrawn","aliases":[…],"ecosystems":[…],"git_ranges":n}
  // {"path","sha256","size","status":"rejected","error":{"code","message","line","column","expected",…}}
  std::string observations;
  std::vector<BuiltSegment> segments;
  std::uint64_t parsed = 0;
  std::uint64_t rejected = 0;
};

// A document that is no OSV record is rejected, and nothing else happens to the batch. kLimit where a segment would pass 4 GiB.
Result<IngestedAdvisories> ingest_advisories(std::span<const AdvisoryDocument> documents);

}  // namespace stella::pipeline
