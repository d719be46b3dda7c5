// Where bytes come from and go to: bundles are read and written as streams, so a large one needs no more memory than a small one.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella::evidence {

// Gives bytes, once, in order. Not thread-safe.
class ByteSource {
 public:
  virtual ~ByteSource() = default;
  // Up to `size` bytes into `out`; 0 at the end.
  virtual Result<std::size_t> read(char* out, std::size_t size) = 0;
};

// Takes bytes. Not thread-safe.
class ByteSink {
 public:
  virtual ~ByteSink() = default;
  virtual Result<void> write(std::string_view bytes) = 0;
};

// Reads a file descriptor (which it does not own) from where it stands: pipes and sockets too.
class FdSource final : public ByteSource {
 public:
  explicit FdSource(int fd) : fd_(fd) {}
  Result<std::size_t> read(char* out, std::size_t size) override;

 private:
  int fd_;
};

// Reads a regular file from its beginning without moving its offset: several can read one descriptor.
class FileSource final : public ByteSource {
 public:
  explicit FileSource(int fd) : fd_(fd) {}
  Result<std::size_t> read(char* out, std::size_t size) override;

 private:
  int fd_;
  std::uint64_t offset_ = 0;
};

class StringSource final : public ByteSource {
 public:
  explicit StringSource(std::string_view bytes) : bytes_(bytes) {}
  Result<std::size_t> read(char* out, std::size_t size) override;

 private:
  std::string_view bytes_;
};

class FdSink final : public ByteSink {
 public:
  explicit FdSink(int fd) : fd_(fd) {}
  Result<void> write(std::string_view bytes) override;

 private:
  int fd_;
};

class StringSink final : public ByteSink {
 public:
  Result<void> write(std::string_view bytes) override {
    text.append(bytes);
    return {};
  }
  std::string text;
};

}  // namespace stella::evidence
