// vex.ingest: a batch of documents becomes observations. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace stella::pipeline {

struct VexFile {
  std::string path;        // as the batch names it; goes into the observation, never opened
  std::string_view bytes;  // as received
};

struct IngestedVex {
  // One line per document, in the order given:
  // {"path","sha256","size","status":"parsed","id","format","timestamp","author",
  //  "statements":[{"pointer","vulnerabilities":[…],"status","products":[…]}],"deviations":[{"code","pointer"}],"error":null}
  // {"path","sha256","size","status":"rejected","error":{"code","message","line","column","expected",…}}
  std::string observations;
  std::uint64_t parsed = 0;
  std::uint64_t rejected = 0;
};

// A document that is no VEX document we know is rejected, and nothing else happens to the batch.
IngestedVex ingest_vex(std::span<const VexFile> documents);

}  // namespace stella::pipeline
