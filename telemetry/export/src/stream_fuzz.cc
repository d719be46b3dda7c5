// A spool that an earlier process, or somebody else, left: whatever its bytes are, it is opened, drained and appended to.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdlib>
#include <string>

#include "stream.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella;
  using namespace stella::telemetry;
  static const std::string dir = [] {
    std::string name = "/tmp/stella-stream-fuzz-XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) std::abort();
    return name;
  }();
  // First byte: how much of the rest is the cursor.
  if (size == 0) return 0;
  const std::size_t cursor = std::min<std::size_t>(data[0], size - 1);
  const auto put = [&](const char* name, const std::uint8_t* bytes, std::size_t n) {
    std::string path = dir + name;
    ::unlink(path.c_str());
    const Fd file(::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!write_all(file.get(), std::string_view(reinterpret_cast<const char*>(bytes), n))) std::abort();
  };
  put("/cursor", data + 1, cursor);
  put("/0000000000000001.seg", data + 1 + cursor, size - 1 - cursor);
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
    payload = stream.reading(stream.front()).run();
    stream.settle(stream.front().key).run();
  }
  while (!stream.aside().empty()) stream.settle(stream.aside().front().key).run();
  if (stream.items_on_disk_only() + stream.items_in_memory() + stream.memory_bytes() != 0) std::abort();
  if (!payload || *payload != "last") std::abort();
  return 0;
}
