// libFuzzer entry: any bytes as each document of a bundle: seal, item, item line, root, statement, attestation, custody event,
// member of a batch. What is accepted is written again as it was read; a seal by the writer of seals.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/crypto/digest.h"
#include "stella/evidence/format/batch.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/custody.h"
#include "stella/evidence/format/item.h"
#include "stella/evidence/format/seal.h"
#include "stella/evidence/format/statement.h"

namespace {

using namespace stella::evidence;

// The reader takes more than the writer writes (kinds it does not know, parts of seconds): what the writer makes of a seal once, it makes
// of its own work again. The digests of items are not in the facts.
void check_seal(std::string_view bytes) {
  const auto seal = parse_seal(bytes);
  if (!seal) return;
  const auto made = make_seal(seal->facts, seal->head, {});
  if (!made) return;
  const auto again = parse_seal(*made);
  if (!again || again->head != seal->head || again->subject != stella::crypto::sha256(root_text(seal->head.size, seal->head.root))) std::abort();
  if (again->facts.retain_until.micros() == 0 && seal->facts.retain_until.micros() != 0) return;  // the first second of 1970 reads as no time
  const auto twice = make_seal(again->facts, again->head, {});
  if (!twice || *twice != *made) std::abort();
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_seal(bytes);
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
  (void)parse_custody_event(bytes);
  (void)parse_batch_member(bytes);
  return 0;
}
