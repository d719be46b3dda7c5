// zlib and temporary files behind BodySink.
#include "body_sink.h"

#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

#include <cstring>

#include "stella/base/unnamed_file.h"

namespace stella::http {
namespace {

constexpr std::size_t kStepBytes = 128 << 10;  // output per step: about 0.3 ms of an I/O thread
constexpr std::uint64_t kUncountedBytes = 64 << 10;  // what a request may have in memory whatever the others have
constexpr std::uint64_t kFileStepBytes = 8 << 20;    // and how often the room on the disk is looked at

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

bool has_room(const std::string& dir, std::uint64_t bytes) {
  struct statvfs fs {};
  return ::statvfs(dir.c_str(), &fs) == 0 && fs.f_bavail * fs.f_frsize > bytes;
}

BodySink::BodySink(BodySinkOptions options) : options_(std::move(options)), text_share_(options_.memory), file_share_(options_.disk) {
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
  // Where the memory of all is used up, the disk takes it.
  if (!file_ && size_ <= options_.memory_bytes && (size_ <= kUncountedBytes || text_share_.cover(size_, kUncountedBytes))) {
    text_.append(bytes);
    return {};
  }
  if (!room_on_disk()) return Error(base_errors::kIo, "there is no room for the body");
  if (!file_) {
    file_ = STELLA_TRY(unnamed_file(options_.temp_dir));
    STELLA_TRY_VOID(write_all(file_.get(), text_));
    std::string().swap(text_);
    text_share_.reset();
  }
  return write_all(file_.get(), bytes);
}

// A full disk stops every tenant, also those who send nothing: the file grows only while enough is left.
bool BodySink::room_on_disk() {
  if (size_ <= covered_) return true;
  if (!file_share_.cover(size_, kFileStepBytes)) return false;
  covered_ = (size_ + kFileStepBytes - 1) / kFileStepBytes * kFileStepBytes;
  return options_.keep_free == 0 || has_room(options_.temp_dir, options_.keep_free);
}

Result<void> BodySink::finish() {
  if (inflater_ && (inflater_->member_open || !input_.empty()) && wire_bytes_ > 0) {
    return Error(base_errors::kMalformed, "the compressed body is truncated").with("expected", "complete gzip or zlib data");
  }
  if (file_ && ::lseek(file_.get(), 0, SEEK_SET) != 0) return io_error("cannot rewind the request body", "");
  return {};
}

}  // namespace stella::http
