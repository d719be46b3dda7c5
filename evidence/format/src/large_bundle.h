// Bundles that are large, and what making and verifying one takes: for the test of the bound and for the benchmark. Each step runs in a child,
// so that its peak memory is its own.
#pragma once

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/bundle_writer.h"

namespace stella::evidence {

// What /proc/self/status says under `name`, in bytes; 0 where it says nothing.
inline std::uint64_t memory_of_self(std::string_view name) {
  const std::string status = read_file("/proc/self/status", 1u << 16).value_or(std::string());
  const auto at = status.find(std::string(name) + ":");
  return at == std::string::npos ? 0 : 1024 * std::strtoull(status.c_str() + at + name.size() + 1, nullptr, 10);
}

struct Measured {
  bool ok = false;
  double seconds = 0;
  std::uint64_t peak_bytes = 0;  // VmHWM of the child
};

// Runs `work` in a child. The caller must have no other threads.
inline Measured in_child(const std::function<bool()>& work) {
  Measured out;
  int ends[2];
  if (::pipe(ends) != 0) return out;
  const pid_t child = ::fork();
  if (child == 0) {
    Measured m;
    const auto begin = std::chrono::steady_clock::now();
    m.ok = work();
    m.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    m.peak_bytes = memory_of_self("VmHWM");
    ::_exit(::write(ends[1], &m, sizeof m) == sizeof m ? 0 : 1);
  }
  ::close(ends[1]);
  const bool whole = child > 0 && ::read(ends[0], &out, sizeof out) == sizeof out;
  ::close(ends[0]);
  int status = 0;
  if (child > 0) ::waitpid(child, &status, 0);
  if (!whole) out.ok = false;
  return out;
}

// A directory with one large bundle in it; removed at the end.
class LargeBundle {
 public:
  // `files` leaves of `bytes` in all, which no compression makes smaller.
  LargeBundle(const std::string& below, std::uint64_t bytes, std::size_t files) : bytes_(bytes), files_(files) {
    std::string name = below + "/stella_large_XXXXXX";
    dir_ = ::mkdtemp(name.data());
  }
  ~LargeBundle() {
    for (const char* name : {"/payload.tar", "/bundle.tgz"}) ::unlink((dir_ + name).c_str());
    ::rmdir(dir_.c_str());
  }
  LargeBundle(const LargeBundle&) = delete;
  LargeBundle& operator=(const LargeBundle&) = delete;

  std::string path() const { return dir_ + "/bundle.tgz"; }
  std::uint64_t bytes() const { return bytes_; }
  // Of the archive; 0 where there is none.
  std::uint64_t size() const {
    struct stat st {};
    return ::stat(path().c_str(), &st) == 0 ? static_cast<std::uint64_t>(st.st_size) : 0;
  }

  // Both sides of the wall: leaves to payload.tar, payload.tar to bundle.
  Measured create() const {
    return in_child([this] {
      const auto items = pack();
      return items && seal(*items);
    });
  }
  Measured verify(std::function<void(std::uint64_t, std::uint64_t)> on_read = {}) const {
    const std::vector<crypto::PublicKey> trust = {key_.public_key()};
    return in_child([&] {
      VerifyOptions options;
      options.trust = trust;
      options.on_read = on_read;
      const auto verdict = verify_bundle_file(path(), options);
      return verdict && exit_code(*verdict) == kExitPass;
    });
  }
  // The payload is not needed any more.
  void forget_payload() const { ::unlink((dir_ + "/payload.tar").c_str()); }

 private:
  // A megabyte of noise; pieces of it in ever other order are as incompressible to a window of 32 KiB.
  static const std::string& noise() {
    static const std::string made = [] {
      std::string out(1u << 20, '\0');
      std::uint64_t x = 0x9E3779B97F4A7C15u;
      for (std::size_t i = 0; i < out.size(); i += 8) {
        x ^= x << 13, x ^= x >> 7, x ^= x << 17;
        std::memcpy(out.data() + i, &x, 8);
      }
      return out;
    }();
    return made;
  }

  Result<std::string> pack() const {
    std::vector<LeafFile> leaves;
    leaves.reserve(files_ + 2);
    for (std::size_t i = 0; i < files_; ++i) {
      LeafFile leaf;
      leaf.path = "data/inputs/" + std::to_string(10'000'000 + i) + ".bin";
      leaf.media_type = "application/octet-stream";
      leaf.role = "input";
      leaf.view_size = bytes_ / files_;
      leaf.view = [i, size = leaf.view_size](std::uint64_t offset) -> Result<std::string_view> {
        const std::size_t begin = static_cast<std::size_t>(offset * 7 + i * 4099) % (noise().size() - 4096);
        return std::string_view(noise()).substr(begin, static_cast<std::size_t>(std::min<std::uint64_t>(size - offset, 1u << 19)));
      };
      leaves.push_back(std::move(leaf));
    }
    const Fd out(::open((dir_ + "/payload.tar").c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    FdSink sink(out.get());
    const auto items = STELLA_TRY(build_payload(std::move(leaves), sink));
    return items_ndjson(items);
  }

  bool seal(const std::string& items) const {
    const Fd payload(::open((dir_ + "/payload.tar").c_str(), O_RDONLY | O_CLOEXEC));
    const Fd out(::open(path().c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    FdSink sink(out.get());
    const std::string salts = bundle_key("secret", "{}");
    const crypto::Signer* signer = &key_;
    SealInput input;
    input.payload_fd = payload.get();
    input.items_ndjson = items;
    input.bundle_key = salts;
    input.signers = std::span(&signer, 1);
    input.facts.bundle_id = BundleId::generate();
    input.facts.tenant_id = TenantId::parse("large").value();
    input.facts.case_id = CaseId::parse("LARGE").value();
    input.facts.kind = "eval";
    input.facts.resource_id = "large";
    return seal_bundle(input, sink).has_value();
  }

  std::uint64_t bytes_;
  std::size_t files_;
  std::string dir_;
  crypto::KeyPair key_ = crypto::KeyPair::generate().value();
};

}  // namespace stella::evidence
