// Collecting documents and planning upload batches.
#include "stella/cli/documents.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <memory>
#include <set>

#include "stella/base/file.h"
#include "stella/base/tar.h"

namespace stella::cli {
namespace {

constexpr int kDepth = 32;
constexpr std::size_t kFiles = 1'000'000;

// What a tar entry may be called: relative, no empty or dot segments, printable ASCII.
std::string safe_name(std::string_view path) {
  std::string out;
  while (!path.empty()) {
    const std::size_t end = std::min(path.find('/'), path.size());
    std::string segment(path.substr(0, end));
    path.remove_prefix(std::min(end + 1, path.size()));
    if (segment.empty() || segment == "." || segment == "..") continue;
    for (char& c : segment)
      if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) >= 0x7f || c == '\\') c = '_';
    out += (out.empty() ? "" : "/") + segment;
  }
  return out.empty() ? "document.json" : out;
}

struct Found {
  std::string path;
  std::string name;
  std::uint64_t size;
};

Result<void> walk(const std::string& directory, const std::string& below, int depth, std::vector<Found>& out) {
  if (depth > kDepth) return Error(base_errors::kLimit, "directories are nested too deep").with("path", directory).with("limit", static_cast<std::uint64_t>(kDepth));
  const std::unique_ptr<DIR, int (*)(DIR*)> dir(::opendir(directory.c_str()), ::closedir);
  if (!dir) return io_error("cannot read the directory", directory);
  std::vector<std::string> names;
  while (const dirent* entry = ::readdir(dir.get())) names.emplace_back(entry->d_name);
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    if (name.starts_with('.')) continue;
    const std::string path = directory + "/" + name;
    const std::string relative = below.empty() ? name : below + "/" + name;
    struct stat info {};
    if (::lstat(path.c_str(), &info) != 0) return io_error("cannot look at the file", path);
    if (S_ISDIR(info.st_mode)) {
      STELLA_TRY_VOID(walk(path, relative, depth + 1, out));
      continue;
    }
    if (S_ISLNK(info.st_mode) && ::stat(path.c_str(), &info) != 0) continue;
    if (!S_ISREG(info.st_mode) || !name.ends_with(".json")) continue;
    if (out.size() >= kFiles) return Error(base_errors::kLimit, "too many files at once").with("limit", static_cast<std::uint64_t>(kFiles));
    out.push_back({path, relative, static_cast<std::uint64_t>(info.st_size)});
  }
  return {};
}

std::string base_name(std::string_view path) {
  while (path.ends_with('/')) path.remove_suffix(1);
  return std::string(path.substr(path.rfind('/') == std::string_view::npos ? 0 : path.rfind('/') + 1));
}

}  // namespace

Result<std::vector<LocalDocument>> collect_documents(const std::vector<std::string>& paths) {
  std::vector<LocalDocument> out;
  std::set<std::string> names;
  for (std::string path : paths) {
    while (path.size() > 1 && path.ends_with('/')) path.pop_back();
    struct stat info {};
    if (::stat(path.c_str(), &info) != 0)
      return errno == ENOENT ? Error(base_errors::kNotFound, "no such file or directory").with("path", path).with("remedy", "Check the path.") : io_error("cannot look at the file", path);
    std::vector<Found> found;
    if (S_ISDIR(info.st_mode)) STELLA_TRY_VOID(walk(path, "", 0, found));
    else found.push_back({path, base_name(path), static_cast<std::uint64_t>(info.st_size)});
    for (Found& f : found) {
      std::string name = safe_name(f.name);
      for (int n = 2; !names.insert(name).second; ++n) name = std::to_string(n) + "/" + safe_name(f.name);
      out.push_back({std::move(f.path), std::move(name), f.size});
    }
  }
  if (out.empty()) return Error(base_errors::kInvalid, "no documents there").with("expected", "*.json files").with("remedy", "Name files, or a directory that holds .json files.");
  return out;
}

std::uint64_t tar_bytes(std::uint64_t size, std::string_view name) {
  const auto blocks = [](std::uint64_t bytes) { return (bytes + 511) / 512 * 512; };
  // A long name takes a pax header of its own; a kilobyte more never hurts.
  return 512 + blocks(size) + (name.size() > 90 ? 1024 + blocks(name.size() + 64) : 0);
}

BatchPlan plan_batches(const std::vector<LocalDocument>& documents, const BatchBounds& bounds) {
  constexpr std::uint64_t kEnd = 1024;
  BatchPlan plan;
  std::uint64_t used = 0;
  for (std::size_t i = 0; i < documents.size(); ++i) {
    const std::uint64_t need = tar_bytes(documents[i].size, documents[i].name);
    if (documents[i].size > bounds.document_bytes || need + kEnd > bounds.batch_bytes) {
      plan.too_large.push_back(i);
      continue;
    }
    if (plan.batches.empty() || used + need + kEnd > bounds.batch_bytes || plan.batches.back().size() >= bounds.batch_documents) {
      plan.batches.emplace_back();
      used = 0;
    }
    plan.batches.back().push_back(i);
    used += need;
  }
  return plan;
}

}  // namespace stella::cli
