// Batches of documents as uploaded: a tar of ustar, GNU or pax flavour, read where it lies.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/limits.h"
#include "stella/base/result.h"

namespace stella::pipeline {

struct BatchDocument {
  std::string path;        // as the archive names it; UTF-8, never opened as a file
  std::string_view bytes;  // view into the archive
};

struct BatchLimits {
  std::uint64_t max_bytes = limits::kIngestBatchBytes;
  std::size_t max_documents = limits::kIngestBatchDocuments;
};

// Regular files in archive order; directories are passed over. kMalformed with offset and expected for links, devices, sparse files,
// bad checksums, truncation; kLimit over a limit.
Result<std::vector<BatchDocument>> read_batch(std::string_view tar, const BatchLimits& limits = {});

}  // namespace stella::pipeline
