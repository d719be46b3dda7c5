// libFuzzer entry: any bytes as the text of a checkpoint (one spelling each) and as a cosignature.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/timeline/log/checkpoint.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::timeline;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto time = cosignature_time(bytes); time && (*time >> 63) != 0) std::abort();
  const auto checkpoint = parse_checkpoint_text(bytes);
  if (!checkpoint) return 0;
  const auto text = checkpoint_text(*checkpoint);
  if (!text || *text != bytes) std::abort();
  // It continues itself, and nothing larger without a proof.
  if (!verify_growth(*checkpoint, *checkpoint, {})) std::abort();
  Checkpoint next = *checkpoint;
  next.size += 1;
  if (checkpoint->size != 0 && next.size != 0 && verify_growth(*checkpoint, next, {})) std::abort();
  return 0;
}
