// libFuzzer entry: any bytes as each document of a bundle: seal, item, item line, root, statement, attestation.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/item.h"
#include "stella/evidence/format/seal.h"
#include "stella/evidence/format/statement.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::evidence;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)parse_seal(bytes);
  if (const auto item = parse_item(bytes)) {
    const auto again = parse_item(item->canonical());
    if (!again || *again != *item) std::abort();
  }
  if (const auto items = parse_items_ndjson(bytes))
    if (const auto again = parse_items_ndjson(items_ndjson(*items)); !again || *again != *items) std::abort();
  if (const auto line = parse_item_line(bytes)) {
    const std::string written = line->item ? item_line(line->index, line->commitment, line->salt, line->item_text) : withheld_line(line->index, line->commitment);
    if (written != bytes) std::abort();
  }
  if (const auto head = parse_root_text(bytes); head && root_text(head->size, head->root) != bytes) std::abort();
  if (const auto statement = parse_statement(bytes)) (void)check_provenance(statement->predicate);
  (void)parse_attestation(bytes);
  (void)verify_statement(bytes, {});
  return 0;
}
