// Reading the archive once, then the checks; and reading single files for replay.
#include "stella/evidence/format/bundle_verify.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "contents.h"
#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/gzip.h"

namespace stella::evidence {
namespace {

// What verification keeps in memory of one bundle: items.jsonl takes about 400 bytes a leaf.
constexpr std::uint64_t kMaxKept = 512u << 20;

constexpr std::string_view kParts[] = {"evidence/seal.json", "evidence/items.jsonl", "evidence/root.merkle", "attest/seal.dsse.json"};

Result<Fd> open_bundle(const std::string& path) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd) return fd;
  if (errno == ENOENT) return Error(base_errors::kNotFound, "no such file").with("path", path);
  return io_error("cannot open", path);
}

// Tells how far reading is.
class CountingSource final : public ByteSource {
 public:
  CountingSource(ByteSource& in, std::uint64_t size, const std::function<void(std::uint64_t, std::uint64_t)>& each) : in_(in), size_(size), each_(each) {}
  Result<std::size_t> read(char* out, std::size_t size) override {
    const std::size_t n = STELLA_TRY(in_.read(out, size));
    each_(read_ += n, size_);
    return n;
  }

 private:
  ByteSource& in_;
  std::uint64_t size_, read_ = 0;
  const std::function<void(std::uint64_t, std::uint64_t)>& each_;
};

}  // namespace

Result<void> for_each_file(ByteSource& tgz, const TarLimits& limits, const std::function<Result<bool>(const TarEntry&, TarReader&)>& each) {
  // Headers and padding are less than 1 KiB a file, and the end marker.
  const std::uint64_t framing = 1024ull * limits.max_entries + (2u << 20);
  GunzipSource gunzip(tgz, limits.max_total_bytes + std::min(framing, ~limits.max_total_bytes));
  TarReader tar(gunzip, limits);
  for (;;) {
    const auto entry = tar.next();
    if (!entry) return entry.error();
    if (!*entry) break;
    const bool more = STELLA_TRY(each(**entry, tar));
    if (!more) return {};
  }
  char rest = 0;
  const std::size_t n = STELLA_TRY(gunzip.read(&rest, 1));  // lets the checksum be compared
  if (n != 0) return Error(base_errors::kMalformed, "bytes behind the archive");
  return {};
}

Result<Contents> read_contents(ByteSource& tgz, const VerifyOptions& options) {
  Contents out;
  crypto::Hasher hasher;
  std::uint64_t kept = 0, done = 0;
  STELLA_TRY_VOID(for_each_file(tgz, options.limits, [&](const TarEntry& entry, TarReader& tar) -> Result<bool> {
    std::string* keep = nullptr;
    if (!is_leaf_path(entry.path)) {
      kept += entry.size;
      if (kept > kMaxKept) return Error(base_errors::kLimit, "too much beside the leaves").with("limit", kMaxKept).with("path", entry.path);
      keep = &out.kept[entry.path];
    }
    for (;;) {
      const auto piece = STELLA_TRY(tar.read());
      if (piece.empty()) break;
      hasher.update(piece);
      if (keep != nullptr) keep->append(piece);
      done += piece.size();
      if (options.on_progress) options.on_progress(done);
    }
    out.files[entry.path] = {.size = entry.size, .sha256 = hasher.finish()};
    return true;
  }));
  for (const auto part : kParts)
    if (!out.files.contains(part)) return Error(base_errors::kMalformed, "not an evidence bundle").with("expected", std::string(part));
  return out;
}

Result<Verdict> verify_bundle(ByteSource& tgz, const VerifyOptions& options) {
  const Contents contents = STELLA_TRY(read_contents(tgz, options));
  Verdict verdict;
  check_integrity(contents, verdict);
  check_authenticity(contents, options, verdict);
  check_time(contents, options, verdict);
  const LogEvidence log = check_log(contents, options, verdict);
  const auto enclosed = check_key_status(contents, options, log, verdict);
  check_completeness(contents, options, log, enclosed, verdict);
  check_retention(options, verdict);
  for (const auto& [path, bytes] : contents.kept) verdict.hints += path.starts_with("trust-hints/") ? 1u : 0u;
  return verdict;
}

std::vector<std::string> nested_bundles(const Verdict& outer) {
  std::vector<std::string> out;
  for (const Item& item : outer.items)
    if (item.role == kBundleRole) out.push_back(item.path);
  return out;
}

namespace {

// The rest of an archive's current file.
class EntrySource final : public ByteSource {
 public:
  explicit EntrySource(TarReader& tar) : tar_(tar) {}
  Result<std::size_t> read(char* out, std::size_t size) override {
    if (left_.empty()) left_ = STELLA_TRY(tar_.read());
    const std::size_t n = std::min(size, left_.size());
    std::copy_n(left_.data(), n, out);
    left_.remove_prefix(n);
    return n;
  }

 private:
  TarReader& tar_;
  std::string_view left_;
};

// Whoever signed the outer seal named the bundles it encloses: another one in their place, however whole, is not what was vouched for.
void check_named(const Verdict& outer, Verdict& inner) {
  if (!outer.seal || !inner.seal) return;
  const auto& named = outer.seal->facts.parents;
  const BundleId id = inner.seal->facts.bundle_id;
  const auto found = std::find_if(named.begin(), named.end(), [&](const SealFacts::Parent& p) { return p.bundle_id == id; });
  if (found != named.end() && found->root == inner.seal->head.root) return;
  inner.of(Dimension::kIntegrity) = {Outcome::kFail, found == named.end() ? "the seal of the enclosing bundle does not name " + id.str()
                                                                          : "the seal of the enclosing bundle names " + id.str() + " with root " + found->root.hex() + ", this is " + inner.seal->head.root.hex(), ""};
}

// `use(source)` with the file's bytes, counted where somebody wants to know.
template <class Use>
auto with_file(const std::string& path, const VerifyOptions& options, const Use& use) -> decltype(use(std::declval<ByteSource&>())) {
  const Fd fd = STELLA_TRY(open_bundle(path));
  FdSource source(fd.get());
  if (!options.on_read) return use(source);
  struct stat st {};
  const bool sized = ::fstat(fd.get(), &st) == 0 && S_ISREG(st.st_mode);
  CountingSource counting(source, sized ? static_cast<std::uint64_t>(st.st_size) : 0, options.on_read);
  return use(counting);
}

}  // namespace

Result<std::vector<NestedVerdict>> verify_nested(ByteSource& tgz, const Verdict& outer, const VerifyOptions& options) {
  const std::vector<std::string> wanted = nested_bundles(outer);
  VerifyOptions inner = options;
  inner.store = nullptr;
  inner.kept = nullptr;
  inner.renewals = {};
  const bool dated = outer.of(Dimension::kTime).outcome == Outcome::kPass && outer.of(Dimension::kIntegrity).outcome == Outcome::kPass && outer.of(Dimension::kAuthenticity).outcome == Outcome::kPass;
  if (dated) inner.at = options.at ? std::min(*options.at, outer.proven_at) : outer.proven_at;
  std::vector<NestedVerdict> out;
  if (wanted.empty()) return out;
  STELLA_TRY_VOID(for_each_file(tgz, options.limits, [&](const TarEntry& entry, TarReader& tar) -> Result<bool> {
    if (std::find(wanted.begin(), wanted.end(), entry.path) == wanted.end()) return true;
    EntrySource source(tar);
    out.push_back({entry.path, verify_bundle(source, inner)});
    if (auto& verdict = out.back().verdict) check_named(outer, *verdict);
    return out.size() < wanted.size();
  }));
  return out;
}

Result<std::vector<NestedVerdict>> verify_nested_file(const std::string& path, const Verdict& outer, const VerifyOptions& options) {
  return with_file(path, options, [&](ByteSource& source) { return verify_nested(source, outer, options); });
}

Result<Verdict> verify_bundle_file(const std::string& path, const VerifyOptions& options) {
  return with_file(path, options, [&](ByteSource& source) { return verify_bundle(source, options); });
}

namespace {

// Items by path, from the stored lines.
Result<std::map<std::string, Item, std::less<>>> items_by_path(std::string_view jsonl) {
  std::map<std::string, Item, std::less<>> out;
  while (!jsonl.empty()) {
    const auto end = std::min(jsonl.find('\n'), jsonl.size());
    auto line = STELLA_TRY(parse_item_line(jsonl.substr(0, end)));
    if (line.item) out.emplace(line.item->path, *line.item);
    jsonl.remove_prefix(std::min(end + 1, jsonl.size()));
  }
  return out;
}

Result<std::string> slurp_entry(TarReader& tar, const TarEntry& entry, std::uint64_t max_bytes) {
  if (entry.size > max_bytes) return Error(base_errors::kLimit, "file of the bundle is too large").with("path", entry.path).with("limit", max_bytes);
  std::string bytes;
  bytes.reserve(entry.size);
  for (;;) {
    const auto piece = STELLA_TRY(tar.read());
    if (piece.empty()) return bytes;
    bytes.append(piece);
  }
}

}  // namespace

// The items come behind data/ in the archive, so leaves are kept until they are known; `data/` in memory is bounded by max_bytes.
Result<std::vector<BundleFile>> read_bundle_items(ByteSource& tgz, const std::function<bool(const Item&)>& wanted, std::uint64_t max_bytes) {
  std::map<std::string, std::string, std::less<>> leaves;
  std::string jsonl;
  std::uint64_t total = 0;
  STELLA_TRY_VOID(for_each_file(tgz, {}, [&](const TarEntry& entry, TarReader& tar) -> Result<bool> {
    if (entry.path == "evidence/items.jsonl") {
      jsonl = STELLA_TRY(slurp_entry(tar, entry, kMaxKept));
    } else if (is_leaf_path(entry.path) && wanted(Item{.path = entry.path, .size = entry.size})) {
      leaves[entry.path] = STELLA_TRY(slurp_entry(tar, entry, max_bytes - std::min(total, max_bytes)));
      total += entry.size;
    }
    return true;
  }));
  const auto read = items_by_path(jsonl);  // GCC 12 warns about STELLA_TRY on a map
  if (!read) return read.error();
  std::vector<BundleFile> out;
  for (auto& [path, bytes] : leaves) {
    const auto item = read->find(path);
    if (item == read->end() || item->second.size != bytes.size() || item->second.sha256 != crypto::sha256(bytes))
      return Error(base_errors::kInvalid, "not the file that was sealed").with("path", path);
    out.push_back({.item = item->second, .bytes = std::move(bytes)});
  }
  return out;
}

Result<std::vector<BundleFile>> read_bundle_items_file(const std::string& path, const std::function<bool(const Item&)>& wanted,
                                                       std::uint64_t max_bytes) {
  const Fd fd = STELLA_TRY(open_bundle(path));
  FdSource source(fd.get());
  return read_bundle_items(source, wanted, max_bytes);
}

Result<std::vector<std::string>> read_bundle_members(ByteSource& tgz, std::span<const std::string_view> paths, std::uint64_t max_bytes) {
  std::vector<std::optional<std::string>> found(paths.size());
  std::size_t missing = paths.size();
  STELLA_TRY_VOID(for_each_file(tgz, {}, [&](const TarEntry& entry, TarReader& tar) -> Result<bool> {
    const auto wanted = std::find(paths.begin(), paths.end(), entry.path);
    if (wanted == paths.end()) return true;
    found[static_cast<std::size_t>(wanted - paths.begin())] = STELLA_TRY(slurp_entry(tar, entry, max_bytes));
    return --missing > 0;
  }));
  std::vector<std::string> out;
  for (std::size_t i = 0; i < paths.size(); ++i) {
    if (!found[i]) return Error(base_errors::kNotFound, "no such file in the bundle").with("path", std::string(paths[i]));
    out.push_back(std::move(*found[i]));
  }
  return out;
}

Result<std::string> read_bundle_member(ByteSource& tgz, std::string_view path, std::uint64_t max_bytes) {
  return std::move(STELLA_TRY(read_bundle_members(tgz, std::span(&path, 1), max_bytes)).front());
}

}  // namespace stella::evidence
