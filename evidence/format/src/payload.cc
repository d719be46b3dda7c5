// build_payload: leaf files to payload.tar.
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <optional>
#include <set>
#include <string>

#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/tar.h"
#include "stella/evidence/format/verify_script.h"

namespace stella::evidence {
namespace {

constexpr std::size_t kChunk = 256u << 10;

// Copies `size` bytes of `source` into the archive while hashing; a source that is shorter or longer by now is an error.
Result<Sha256> copy_entry(TarWriter& tar, ByteSource& source, std::uint64_t size, const std::string& path, char* buffer) {
  crypto::Hasher hasher;
  for (std::uint64_t left = size;;) {
    const std::size_t n = STELLA_TRY(source.read(buffer, kChunk));
    if (n > left || (n == 0 && left > 0)) return Error(base_errors::kInvalid, "a file changed while it was packed").with("path", path);
    if (n == 0) return hasher.finish();
    hasher.update({buffer, n});
    STELLA_TRY_VOID(tar.write({buffer, n}));
    left -= n;
  }
}

Result<std::uint64_t> size_of(int fd, const std::string& path) {
  struct stat st {};
  if (::fstat(fd, &st) != 0) return io_error("cannot look at", path);
  if (!S_ISREG(st.st_mode)) return Error(base_errors::kInvalid, "not a regular file").with("path", path);
  return static_cast<std::uint64_t>(st.st_size);
}

Result<void> add_view(TarWriter& tar, const LeafFile& file, Item& item) {
  item.size = file.view_size;
  STELLA_TRY_VOID(tar.begin(file.path, item.size));
  crypto::Hasher hasher;
  for (std::uint64_t done = 0; done < item.size;) {
    const auto piece = STELLA_TRY(file.view(done));
    if (piece.empty() || piece.size() > item.size - done) return Error(base_errors::kInvalid, "a file changed while it was packed").with("path", file.path);
    hasher.update(piece);
    STELLA_TRY_VOID(tar.write(piece));
    done += piece.size();
  }
  item.sha256 = hasher.finish();
  return {};
}

Result<void> add_leaf(TarWriter& tar, const LeafFile& file, Item& item, char* buffer) {
  const auto from_fd = [&](int fd) -> Result<void> {
    item.size = STELLA_TRY(size_of(fd, file.path));
    STELLA_TRY_VOID(tar.begin(file.path, item.size));
    FileSource source(fd);
    item.sha256 = STELLA_TRY(copy_entry(tar, source, item.size, file.path, buffer));
    return {};
  };
  if (file.view) return add_view(tar, file, item);
  if (!file.source_path.empty()) {
    const Fd fd(::open(file.source_path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) return io_error("cannot open", file.source_path);
    return from_fd(fd.get());
  }
  if (file.source_fd >= 0) return from_fd(file.source_fd);
  item.size = file.bytes.size();
  item.sha256 = crypto::sha256(file.bytes);
  return tar.add(file.path, file.bytes);
}

LeafFile guide(std::string path, std::string media_type, std::string_view text) {
  return {.path = std::move(path), .media_type = std::move(media_type), .role = "guide", .source_path = {}, .source_fd = -1, .bytes = std::string(text)};
}

// Two paths that are one file where letter case does not count: readers of bundles refuse them, so none is made.
Result<void> check_letter_case(const std::vector<LeafFile>& files) {
  std::set<std::string> seen;
  for (const auto& file : files) {
    std::string lower = file.path;
    for (char& c : lower)
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + 32);
    if (!seen.insert(std::move(lower)).second) return Error(base_errors::kInvalid, "a path twice, also by letter case").with("path", file.path);
  }
  return {};
}

}  // namespace

Result<std::vector<Item>> build_payload(std::vector<LeafFile> files, ByteSink& out) {
  files.push_back(guide("verify.sh", "application/x-sh", verify_sh()));
  files.push_back(guide("VERIFY.md", "text/markdown", verify_md()));
  std::sort(files.begin(), files.end(), [](const LeafFile& a, const LeafFile& b) { return a.path < b.path; });
  STELLA_TRY_VOID(check_letter_case(files));
  TarWriter tar(out);
  std::vector<Item> items;
  items.reserve(files.size());
  const auto buffer = std::make_unique<char[]>(kChunk);
  for (const auto& file : files) {
    Item item{.path = file.path, .size = 0, .sha256 = {}, .media_type = file.media_type, .role = file.role};
    STELLA_TRY_VOID(check_item(item));
    STELLA_TRY_VOID(add_leaf(tar, file, item, buffer.get()));
    items.push_back(std::move(item));
  }
  STELLA_TRY_VOID(tar.finish());
  return items;
}

std::string items_ndjson(const std::vector<Item>& items) {
  std::string out;
  for (const auto& item : items) out.append(item.canonical()).append("\n");
  return out;
}

Result<std::vector<Item>> parse_items_ndjson(std::string_view text) {
  std::vector<Item> items;
  while (!text.empty()) {
    const auto end = text.find('\n');
    if (end == std::string_view::npos) return Error(base_errors::kMalformed, "items end within a line").with("line", items.size() + 1);
    auto item = parse_item(text.substr(0, end));
    if (!item) return std::move(item.error()).with("line", items.size() + 1);
    if (!items.empty() && item->path <= items.back().path)
      return Error(base_errors::kInvalid, "items must ascend by path").with("line", items.size() + 1).with("path", item->path);
    items.push_back(std::move(*item));
    text.remove_prefix(end + 1);
  }
  return items;
}

}  // namespace stella::evidence
