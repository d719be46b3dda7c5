// What every ingest says of every document of a batch. Wire form (`observations.ndjson`): one line a document, its path, digest and size, and then
// either what was read of it ("status":"parsed", with members of its kind) or why nothing was.
#pragma once

#include <cstdint>
#include <string_view>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"

namespace stella::contracts {

// "path", "sha256", "size". Names in a tar are bytes: one that is not UTF-8 stands percent-encoded.
void write_document(json::Writer& out, std::string_view path, const Sha256& sha256, std::uint64_t size);
// "status":"rejected" and "error": code, message and the error's fields, of which whole numbers (line, column) are numbers.
void write_rejected(json::Writer& out, const Error& error);

}  // namespace stella::contracts
