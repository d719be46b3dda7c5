// VEX documents as statements: OpenVEX 0.2.0, and what real writers make of it. Pure and thread-safe.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/contracts/vex_result.h"

namespace stella::pipeline {

// A place where the document breaks its specification. It was accepted, not mended.
struct VexDeviation {
  std::string code;     // "metadata_wrapper", "timestamp_format", "timestamp_missing", "id_missing", "author_missing", "alias_is_url",
                        // "vulnerability_missing", "status_unknown", "justification_missing", "justification_unknown",
                        // "action_missing", "products_missing", "product_without_purl", "product_is_text", "more_deviations"
  std::string pointer;  // JSON pointer
};

// A product with the parts of it that a statement names.
struct VexProduct {
  std::vector<std::string> ids;            // @id and identifiers, as the document spells them
  std::vector<std::vector<std::string>> subcomponents;  // the ids of each
};

struct VexStatement {
  std::string pointer;                       // JSON pointer, "/statements/7"
  std::vector<std::string> vulnerabilities;  // name, @id and aliases, distinct, document order
  contracts::VexStatus status = contracts::VexStatus::kNone;  // kNone: the document's word is none that we know
  std::string source_label;                  // the document's word
  std::string justification;
  bool complete = true;                      // false: not_affected with neither justification nor impact_statement
  std::string timestamp;                     // RFC 3339; the statement's, else the document's; "" where neither is usable
  std::optional<Timestamp> time;             // the same, as an instant
  std::vector<VexProduct> products;          // the statement's, else the document's
};

struct VexDocument {
  Sha256 sha256;           // of the bytes as received
  std::string format;      // "OpenVEX 0.2.0"
  std::string id;
  std::string author;
  std::string timestamp;   // RFC 3339, "" where unusable
  std::vector<VexStatement> statements;
  std::vector<VexDeviation> deviations;
};

// kMalformed with line, column, expected (or pointer where the JSON itself is well-formed); kInvalid with expected for formats that
// are not supported yet; kLimit over limits::kVexBytes.
Result<VexDocument> parse_vex(std::string_view bytes);

}  // namespace stella::pipeline
