// SHA-256 and HMAC over OpenSSL's EVP: the algorithm is fetched once, contexts are reused (a one-shot call costs four times as much).
#include "stella/crypto/digest.h"

#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "stella/base/file.h"

namespace stella::crypto {
namespace {

constexpr std::size_t kBlock = 64;
constexpr std::size_t kFileChunk = 256u << 10;

// A hash that cannot be computed leaves nothing that could go on safely (only memory exhaustion gets here).
void must(bool ok) {
  if (ok) return;
  std::fputs("stella: SHA-256 is not available from OpenSSL\n", stderr);
  std::abort();
}

const EVP_MD* algorithm() {
  static EVP_MD* const md = EVP_MD_fetch(nullptr, "SHA256", nullptr);  // lives as long as the process
  must(md != nullptr);
  return md;
}

EVP_MD_CTX* ctx(void* context) { return static_cast<EVP_MD_CTX*>(context); }

Hasher& local_hasher() {
  thread_local Hasher hasher;
  return hasher;
}

}  // namespace

Hasher::Hasher() : context_(EVP_MD_CTX_new()) {
  must(context_ != nullptr);
  must(EVP_DigestInit_ex2(ctx(context_), algorithm(), nullptr) == 1);
}

Hasher::~Hasher() { EVP_MD_CTX_free(ctx(context_)); }

void Hasher::update(std::string_view bytes) { must(EVP_DigestUpdate(ctx(context_), bytes.data(), bytes.size()) == 1); }

Sha256 Hasher::finish() {
  Sha256 out;
  must(EVP_DigestFinal_ex(ctx(context_), out.mutable_bytes().data(), nullptr) == 1);
  must(EVP_DigestInit_ex2(ctx(context_), nullptr, nullptr) == 1);
  return out;
}

Sha256 sha256(std::string_view bytes) {
  Hasher& hasher = local_hasher();
  hasher.update(bytes);
  return hasher.finish();
}

Sha256 sha256(std::string_view a, std::string_view b) {
  Hasher& hasher = local_hasher();
  hasher.update(a);
  hasher.update(b);
  return hasher.finish();
}

// RFC 2104 by hand: EVP_MAC costs a fetch and a context per call.
Sha256 hmac_sha256(std::string_view key, std::string_view message) {
  std::array<char, kBlock> inner{};
  std::array<char, kBlock> outer{};
  Sha256 hashed;
  if (key.size() > kBlock) {
    hashed = sha256(key);
    key = hashed.view();
  }
  for (std::size_t i = 0; i < kBlock; ++i) {
    const char k = i < key.size() ? key[i] : '\0';
    inner[i] = static_cast<char>(k ^ 0x36);
    outer[i] = static_cast<char>(k ^ 0x5c);
  }
  const Sha256 digest = sha256({inner.data(), kBlock}, message);
  const Sha256 out = sha256({outer.data(), kBlock}, digest.view());
  OPENSSL_cleanse(inner.data(), kBlock);
  OPENSSL_cleanse(outer.data(), kBlock);
  return out;
}

Result<FileDigest> sha256_file(const std::string& path) {
  const Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd) {
    if (errno == ENOENT) return Error(base_errors::kNotFound, "no such file").with("path", path);
    return io_error("cannot open", path);
  }
  Hasher hasher;
  FileDigest out;
  const auto buffer = std::make_unique<char[]>(kFileChunk);
  for (;;) {
    const ssize_t n = ::read(fd.get(), buffer.get(), kFileChunk);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return io_error("cannot read", path);
    if (n == 0) break;
    hasher.update({buffer.get(), static_cast<std::size_t>(n)});
    out.size += static_cast<std::uint64_t>(n);
  }
  out.sha256 = hasher.finish();
  return out;
}

bool equal_constant_time(std::string_view a, std::string_view b) {
  return a.size() == b.size() && CRYPTO_memcmp(a.data(), b.data(), a.size()) == 0;
}

}  // namespace stella::crypto
