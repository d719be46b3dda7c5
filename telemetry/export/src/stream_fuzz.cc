// A spool that an earlier process, or somebody else, left: whatever its bytes are, it is opened, drained and appended to. Once as it is,
// and once with good checksums, so that what the records say is reached.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>
#include <string_view>
#include <utility>

#include "stella/base/crc32c.h"
#include "stream.h"

namespace {

using namespace stella;
using namespace stella::telemetry;

void put(const std::string& path, std::string_view bytes) {
  ::unlink(path.c_str());
  const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!write_all(file.get(), bytes)) std::abort();
}

void drain(const std::string& dir, std::string_view cursor, std::string_view segment) {
  put(dir + "/cursor", cursor);
  put(dir + "/0000000000000001.seg", segment);
  Stream stream({0, 1 << 20});
  auto opened = Stream::open(dir);
  if (!opened) std::abort();
  stream.adopt(std::move(*opened));
  bool failed = false;
  SpoolWrite write = stream.begin(~std::uint64_t{0}, {Signal::kLogs, "last", 1, 0}, 0);
  write.run();
  stream.finish(std::move(write), failed);
  std::shared_ptr<const std::string> payload;
  // One that is set aside and one that is settled out of turn, and then all.
  if (stream.size() > 3) {
    stream.set_aside(stream.front().key, {});
    stream.settle(stream.at(1).key).run();
  }
  while (!stream.empty()) {
    payload = stream.reading(stream.front()).run().payload;
    stream.settle(stream.front().key).run();
  }
  while (!stream.aside().empty()) stream.settle(stream.aside().front().key).run();
  if (stream.items_on_disk_only() + stream.items_in_memory() + stream.memory_bytes() != 0) std::abort();
  if (!payload || *payload != "last") std::abort();
}

std::uint32_t word(std::string_view bytes, std::size_t at) {
  std::uint32_t out;
  std::memcpy(&out, bytes.data() + at, sizeof out);
  return out;
}
void set_word(std::string& bytes, std::size_t at, std::uint32_t value) { std::memcpy(bytes.data() + at, &value, sizeof value); }

// Layouts: stream.h and, of the cursor, stream.cc.
std::string mended_segment(std::string bytes) {
  for (std::size_t at = 0; at + 32 <= bytes.size();) {
    const std::uint32_t size = word(bytes, at + 4);
    if (bytes.compare(at, 4, "SRP1") == 0 && size <= bytes.size() - at - 32) {
      const std::string_view record = std::string_view(bytes).substr(at, 32 + size);
      set_word(bytes, at + 24, crc32c(crc32c(0, record.substr(0, 24)), record.substr(32)));
      at += 32 + size;
    } else {
      ++at;
    }
  }
  return bytes;
}
std::string mended_cursor(std::string bytes) {
  if (bytes.size() >= 24) set_word(bytes, 16, crc32c(7, std::string_view(bytes).substr(0, 16)));
  return bytes;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const std::string dir = [] {
    std::string name = "/tmp/stella-stream-fuzz-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    return name;
  }();
  // First byte: how much of the rest is the cursor.
  if (size == 0) return 0;
  const std::string_view rest(reinterpret_cast<const char*>(data) + 1, size - 1);
  const std::string cursor(rest.substr(0, data[0])), segment(rest.substr(cursor.size()));
  drain(dir, cursor, segment);
  drain(dir, mended_cursor(cursor), mended_segment(segment));
  return 0;
}
