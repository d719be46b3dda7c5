// zlib and temporary files behind BodySink.
#include "body_sink.h"

#include <unistd.h>
#include <zlib.h>

#include <cstring>

#include "stella/base/unnamed_file.h"

namespace stella::http {
namespace {

constexpr std::size_t kStepBytes = 128 << 10;  // output per step: about 0.3 ms of an I/O thread

}  // namespace

struct BodySink::Inflater {
  Inflater() { ready = ::inflateInit2(&stream, 15 + 32) == Z_OK; }  // 32: gzip or zlib, by its header
  ~Inflater() {
    if (ready) ::inflateEnd(&stream);
  }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  z_stream stream{};
  bool ready = false;
  bool member_open = true;  // inside a member: the end of the body is not allowed here
  char out[kStepBytes];
};

BodySink::BodySink(BodySinkOptions options) : options_(std::move(options)) {
  if (options_.compressed) inflater_ = std::make_unique<Inflater>();
}

BodySink::~BodySink() = default;

Result<void> BodySink::feed(std::string_view bytes) {
  wire_bytes_ += bytes.size();
  // Incompressible data grows a little when compressed; anything beyond that cannot be within max_bytes decoded, or is padding.
  const auto wire_max = options_.compressed ? options_.max_bytes + options_.max_bytes / 1000 + 1024 : options_.max_bytes;
  if (wire_bytes_ > wire_max) return Error(base_errors::kLimit, "the body is too large").with("limit", options_.max_bytes);
  if (!inflater_) return store(bytes);
  input_ = bytes;
  return {};
}

Result<bool> BodySink::step() {
  if (!inflater_ || input_.empty()) return false;
  if (!inflater_->ready) return Error(base_errors::kInternal, "cannot set up the decompressor");
  z_stream& z = inflater_->stream;
  if (!inflater_->member_open) {  // bytes after the end of a member: the next member (RFC 1952 §2.2)
    if (::inflateReset(&z) != Z_OK) return Error(base_errors::kInternal, "cannot reset the decompressor");
    inflater_->member_open = true;
  }
  z.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(input_.data()));
  z.avail_in = static_cast<uInt>(input_.size());
  z.next_out = reinterpret_cast<Bytef*>(inflater_->out);
  z.avail_out = kStepBytes;
  const int status = ::inflate(&z, Z_NO_FLUSH);
  input_.remove_prefix(input_.size() - z.avail_in);
  if (status == Z_STREAM_END) {
    inflater_->member_open = false;
  } else if (status != Z_OK && !(status == Z_BUF_ERROR && input_.empty())) {
    return Error(base_errors::kMalformed, "the body is not valid compressed data").with("expected", "gzip or zlib");
  }
  STELLA_TRY_VOID(store({inflater_->out, kStepBytes - z.avail_out}));
  // A full output buffer may hide more output that needs no more input.
  return !input_.empty() || (z.avail_out == 0 && status == Z_OK);
}

Result<void> BodySink::store(std::string_view bytes) {
  if (bytes.size() > options_.max_bytes - size_) {
    return Error(base_errors::kLimit, "the body is too large").with("limit", options_.max_bytes);
  }
  size_ += bytes.size();
  if (!file_ && size_ <= options_.memory_bytes) {
    text_.append(bytes);
    return {};
  }
  if (!file_) {
    file_ = STELLA_TRY(unnamed_file(options_.temp_dir));
    STELLA_TRY_VOID(write_all(file_.get(), text_));
    std::string().swap(text_);
  }
  return write_all(file_.get(), bytes);
}

Result<void> BodySink::finish() {
  if (inflater_ && (inflater_->member_open || !input_.empty()) && wire_bytes_ > 0) {
    return Error(base_errors::kMalformed, "the compressed body is truncated").with("expected", "complete gzip or zlib data");
  }
  if (file_ && ::lseek(file_.get(), 0, SEEK_SET) != 0) return io_error("cannot rewind the request body", "");
  return {};
}

}  // namespace stella::http
