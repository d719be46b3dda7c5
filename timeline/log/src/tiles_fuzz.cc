// libFuzzer entry: any bytes as the path of a tile, as a tile, as an entry bundle, and as everything that a hostile server gives out.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <string_view>

#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/tile_check.h"

namespace {

using namespace stella;
using namespace stella::timeline;

// Serves the input's bytes one tile after the other, over and over; what is left at the end is a tile of the wrong length.
class HostileSource final : public TileSource {
 public:
  explicit HostileSource(std::string_view bytes) : bytes_(bytes) {}
  Result<std::string> read(const TileId& id) override {
    if (bytes_.empty() || ++reads_ > 2'000) return Error(base_errors::kNotFound, "no such tile");
    const std::size_t want = id.kind == TileKind::kEntries ? bytes_.size() : id.width * Sha256::kSize;
    std::string out(bytes_.substr(at_, want));
    at_ = at_ + want >= bytes_.size() ? 0 : at_ + want;
    return out;
  }

 private:
  std::string_view bytes_;
  std::size_t at_ = 0;
  int reads_ = 0;
};

void hostile_log(std::string_view bytes) {
  std::uint64_t size = 0;
  if (bytes.size() < sizeof size) return;
  std::memcpy(&size, bytes.data(), sizeof size);
  HostileSource source(bytes.substr(sizeof size));
  const Checkpoint checkpoint{"log", size, leaf_hash(bytes), {}};
  if (prove_inclusion(source, checkpoint, size / 3)) std::abort();
  if (size != 0 && check_log(source, size, checkpoint.root)) std::abort();
  (void)TileEdge::load(source, size);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  if (const auto id = TileId::parse(bytes); id && id->path() != bytes) std::abort();
  hostile_log(bytes);
  if (bytes.empty()) return 0;
  const unsigned width = data[0] + 1u;
  const std::string_view rest = bytes.substr(1);
  if (const auto hashes = decode_tile(rest, width); hashes && encode_tile(*hashes) != rest) std::abort();
  if (const auto entries = decode_bundle(rest, width); entries && (entries->size() != width || encode_bundle(*entries).value() != rest)) std::abort();
  return 0;
}
