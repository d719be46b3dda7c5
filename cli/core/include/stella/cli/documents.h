// Collecting documents from paths and packing them into upload batches under the platform's limits.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/limits.h"
#include "stella/base/result.h"

namespace stella::cli {

struct LocalDocument {
  std::string path;  // where it lies
  std::string name;  // what the archive calls it: unique, relative, safe
  std::uint64_t size = 0;
};

// Files as given, and every *.json below directories, in path order; hidden files and symbolic links to directories are passed over.
// kNotFound for a path that does not exist, kInvalid where nothing is found.
Result<std::vector<LocalDocument>> collect_documents(const std::vector<std::string>& paths);

struct BatchPlan {
  std::vector<std::vector<std::size_t>> batches;  // indices into the documents, in order
  std::vector<std::size_t> too_large;             // over `document_bytes`: never sent
};
struct BatchBounds {
  std::uint64_t batch_bytes = limits::kIngestBatchBytes;       // of the tar, headers included
  std::size_t batch_documents = limits::kIngestBatchDocuments;
  std::uint64_t document_bytes = limits::kAdvisoryBytes;
};
// Pure. No batch is over a bound; documents keep their order.
BatchPlan plan_batches(const std::vector<LocalDocument>& documents, const BatchBounds& bounds);
// Bytes that a document of this size and name may take in the tar.
std::uint64_t tar_bytes(std::uint64_t size, std::string_view name);

}  // namespace stella::cli
