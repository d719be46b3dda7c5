// gzip over ISA-L.
#include "stella/evidence/format/gzip.h"

#include <isa-l/igzip_lib.h>

#include <algorithm>
#include <limits>
#include <vector>

namespace stella::evidence {
namespace {

constexpr std::size_t kChunk = 256u << 10;
// The library counts input in 32 bits.
constexpr std::size_t kMaxPiece = 1u << 30;

std::uint8_t* writable(std::string_view bytes) { return reinterpret_cast<std::uint8_t*>(const_cast<char*>(bytes.data())); }

Error not_gzip() { return Error(base_errors::kMalformed, "not one whole gzip member").with("expected", "gzip"); }

}  // namespace

struct GzipSink::State {
  isal_zstream stream;
  std::vector<std::uint8_t> level_buffer = std::vector<std::uint8_t>(ISAL_DEF_LVL1_LARGE);
  std::vector<char> out = std::vector<char>(kChunk);
};

GzipSink::GzipSink(ByteSink& out) : state_(std::make_unique<State>()), out_(out) {
  isal_deflate_init(&state_->stream);
  state_->stream.gzip_flag = IGZIP_GZIP;
  state_->stream.level = 1;
  state_->stream.level_buf = state_->level_buffer.data();
  state_->stream.level_buf_size = static_cast<std::uint32_t>(state_->level_buffer.size());
}

GzipSink::~GzipSink() = default;

Result<void> GzipSink::deflate(std::string_view bytes, bool last) {
  auto& s = state_->stream;
  s.next_in = writable(bytes);
  s.avail_in = static_cast<std::uint32_t>(bytes.size());
  s.end_of_stream = last ? 1 : 0;
  do {
    s.next_out = reinterpret_cast<std::uint8_t*>(state_->out.data());
    s.avail_out = static_cast<std::uint32_t>(state_->out.size());
    if (isal_deflate(&s) != COMP_OK) return Error(base_errors::kInternal, "gzip failed");
    const std::size_t made = state_->out.size() - s.avail_out;
    if (made > 0) STELLA_TRY_VOID(out_.write({state_->out.data(), made}));
  } while (s.avail_out == 0 || s.avail_in > 0);
  return {};
}

Result<void> GzipSink::write(std::string_view bytes) {
  while (!bytes.empty()) {
    const auto piece = bytes.substr(0, kMaxPiece);
    STELLA_TRY_VOID(deflate(piece, false));
    bytes.remove_prefix(piece.size());
  }
  return {};
}

Result<void> GzipSink::finish() { return deflate({}, true); }

struct GunzipSource::State {
  inflate_state stream;
  std::vector<char> in = std::vector<char>(kChunk);
  bool input_ended = false;
  bool finished = false;
};

GunzipSource::GunzipSource(ByteSource& in, std::uint64_t max_bytes)
    : state_(std::make_unique<State>()), in_(in), left_(max_bytes), max_bytes_(max_bytes) {
  isal_inflate_init(&state_->stream);
  state_->stream.crc_flag = ISAL_GZIP;
}

GunzipSource::~GunzipSource() = default;

// Nothing may follow the member: neither what the library has read ahead, nor more input.
Result<void> GunzipSource::expect_end() {
  auto& s = state_->stream;
  if (s.avail_in > 0 || s.read_in_length >= 8) return not_gzip();
  if (!state_->input_ended) {
    char more = 0;
    const std::size_t n = STELLA_TRY(in_.read(&more, 1));
    if (n != 0) return not_gzip();
  }
  state_->finished = true;
  return {};
}

Result<std::size_t> GunzipSource::read(char* out, std::size_t size) {
  if (state_->finished || size == 0) return std::size_t{0};
  auto& s = state_->stream;
  // One byte more than is allowed is asked for, so that exactly the limit passes.
  const std::size_t want = std::min<std::uint64_t>({size, left_ == std::numeric_limits<std::uint64_t>::max() ? left_ : left_ + 1, kMaxPiece});
  s.next_out = reinterpret_cast<std::uint8_t*>(out);
  s.avail_out = static_cast<std::uint32_t>(want);
  while (s.avail_out == want && s.block_state != ISAL_BLOCK_FINISH) {
    if (s.avail_in == 0 && !state_->input_ended) {
      const std::size_t n = STELLA_TRY(in_.read(state_->in.data(), state_->in.size()));
      state_->input_ended = n == 0;
      s.next_in = reinterpret_cast<std::uint8_t*>(state_->in.data());
      s.avail_in = static_cast<std::uint32_t>(n);
    }
    const bool starved = s.avail_in == 0 && state_->input_ended;
    if (isal_inflate(&s) < ISAL_DECOMP_OK) return not_gzip();
    if (starved && s.avail_out == want && s.block_state != ISAL_BLOCK_FINISH) return not_gzip();  // truncated
  }
  const std::size_t made = want - s.avail_out;
  if (made > left_) return Error(base_errors::kLimit, "archive inflates beyond the limit").with("limit", max_bytes_);
  left_ -= made;
  if (made == 0) STELLA_TRY_VOID(expect_end());
  return made;
}

}  // namespace stella::evidence
