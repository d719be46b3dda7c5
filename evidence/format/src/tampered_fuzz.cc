// libFuzzer entry: a whole sealed bundle with one edit in one of its files, its lists of digests made anew: what is signed for, or counted in
// the tree, cannot be changed without a failing verdict, and a redaction of it, where there is one, is a bundle again.
//
//   input  file u8 (modulo their number) | place u16, little endian (modulo its size) | bytes to remove u8 | bytes to insert
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <iterator>
#include <map>
#include <span>
#include <string>
#include <string_view>

#include "bag.h"
#include "stella/base/file.h"
#include "stella/crypto/digest.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/bundle_writer.h"
#include "stella/evidence/format/gzip.h"
#include "stella/evidence/format/redact.h"
#include "stella/evidence/format/tar.h"

namespace {

using namespace stella;
using namespace stella::evidence;

using Files = std::map<std::string, std::string>;

template <class T>
T must(Result<T> result) {
  if (!result) std::abort();
  return std::move(*result);
}
void must(Result<void> result) {
  if (!result) std::abort();
}

Fd file_with(std::string_view bytes) {
  Fd fd(::memfd_create("bundle", MFD_CLOEXEC));
  must(write_all(fd.get(), bytes));
  if (::lseek(fd.get(), 0, SEEK_SET) != 0) std::abort();
  return fd;
}

const crypto::KeyPair& key() {
  static const crypto::KeyPair pair = must(crypto::KeyPair::generate());
  return pair;
}

std::string sealed() {
  const auto leaf = [](std::string path, std::string role, std::string bytes) {
    return LeafFile{.path = std::move(path), .media_type = "application/json", .role = std::move(role), .source_path = {}, .source_fd = -1, .bytes = std::move(bytes)};
  };
  StringSink payload;
  const auto items = must(build_payload({leaf("data/inputs/a.json", "input", R"({"a":1})"), leaf("data/outputs/b.json", "output", R"({"b":[true,null]})")}, payload));
  const Fd fd = file_with(payload.text);
  const std::string lines = items_ndjson(items);
  const crypto::Signer* signer = &key();
  SealInput input;
  input.payload_fd = fd.get();
  input.items_ndjson = lines;
  const std::string salts = bundle_key("tenant secret", R"({"case_id":"CASE-1"})");
  input.bundle_key = salts;
  input.signers = std::span(&signer, 1);
  input.facts.bundle_id = must(BundleId::parse("0193f0a2-7d5c-7000-8000-00000000000a"));
  input.facts.tenant_id = must(TenantId::parse("acme"));
  input.facts.case_id = must(CaseId::parse("CASE-1"));
  input.facts.kind = "eval";
  input.facts.resource_id = "0193f0a2-7d5c-7000-8000-00000000000b";
  input.facts.sealed_at = Timestamp::from_micros(1'764'000'000'000'000);
  input.custody_events = "{\"event_id\":\"0193f0a2-7d5c-7000-8000-00000000000c\",\"kind\":\"sbom.received\"}\n";
  StringSink out;
  (void)must(seal_bundle(input, out));
  return std::move(out.text);
}

Files files_of(const std::string& tgz) {
  Files out;
  StringSource source(tgz);
  GunzipSource gunzip(source, 1u << 24);
  TarReader tar(gunzip);
  while (const auto entry = must(tar.next())) {
    std::string& bytes = out[entry->path];
    for (std::string_view piece; !(piece = must(tar.read())).empty();) bytes.append(piece);
  }
  return out;
}

std::string packed(Files files) {
  files.erase(std::string(kManifest));
  files.erase(std::string(kTagManifest));
  DigestByPath payload, tags;
  for (const auto& [name, bytes] : files) (is_bag_payload(name) ? payload : tags).emplace(name, crypto::sha256(bytes));
  std::string text = manifest_text(payload);
  tags.emplace(kManifest, crypto::sha256(text));
  files[std::string(kManifest)] = std::move(text);
  files[std::string(kTagManifest)] = manifest_text(tags);
  StringSink out;
  GzipSink gzip(out);
  TarWriter tar(gzip);
  for (const auto& [name, bytes] : files) must(tar.add(name, bytes));
  must(tar.finish());
  must(gzip.finish());
  return std::move(out.text);
}

Result<Verdict> verdict_on(const std::string& tgz) {
  static const crypto::PublicKey trusted[] = {key().public_key()};
  StringSource source(tgz);
  VerifyOptions options;
  options.trust = trusted;
  options.trust_source = "the fuzzer";
  return verify_bundle(source, options);
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const Files good = [] {
    const std::string tgz = sealed();
    if (exit_code(must(verdict_on(tgz))) != kExitPass) std::abort();
    return files_of(tgz);
  }();
  if (size < 4) return 0;
  Files files = good;
  const auto edited = std::next(files.begin(), static_cast<std::ptrdiff_t>(data[0] % files.size()));
  std::string& bytes = edited->second;
  bytes.replace((data[1] | data[2] << 8) % (bytes.size() + 1), data[3], std::string_view(reinterpret_cast<const char*>(data) + 4, size - 4));
  const std::string& name = edited->first;
  const std::string tgz = packed(files);
  const auto verdict = verdict_on(tgz);
  const bool same = bytes == good.at(name) || name == kManifest || name == kTagManifest;
  const bool sealed_by_tree = name.starts_with("data/") || name.starts_with("evidence/");
  if (same && (!verdict || exit_code(*verdict) != kExitPass)) std::abort();
  if (!same && sealed_by_tree && verdict && exit_code(*verdict) == kExitPass) std::abort();

  const Fd fd = file_with(tgz);
  StringSink copy;
  Redaction redaction;
  redaction.withhold = {"data/inputs/*"};
  redaction.reason = "fuzzing";
  redaction.at = Timestamp::from_micros(1'764'000'000'000'000);
  const auto redacted = redact_bundle(fd.get(), redaction, &key(), copy);
  if (redacted && !verdict_on(copy.text)) std::abort();
  if (same && (!redacted || exit_code(must(verdict_on(copy.text))) != kExitPass)) std::abort();
  return 0;
}
