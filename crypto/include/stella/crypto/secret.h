// Secret bytes in memory: erased when they go, printed by nobody.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "stella/base/result.h"

namespace stella::crypto {

// Movable, not copyable: a secret lies in one place. Not locked into memory; the operator decides about swap.
class SecretBytes {
 public:
  SecretBytes() = default;
  // Copies `bytes`; what the caller holds is the caller's to erase.
  explicit SecretBytes(std::string_view bytes) : bytes_(bytes.begin(), bytes.end()) {}
  SecretBytes(SecretBytes&& other) noexcept : bytes_(std::move(other.bytes_)) { other.bytes_.clear(); }
  SecretBytes& operator=(SecretBytes&& other) noexcept;
  SecretBytes(const SecretBytes&) = delete;
  SecretBytes& operator=(const SecretBytes&) = delete;
  ~SecretBytes();

  // `size` bytes of the operating system's randomness.
  static SecretBytes random(std::size_t size);

  std::string_view view() const { return {bytes_.data(), bytes_.size()}; }
  bool empty() const { return bytes_.empty(); }
  std::size_t size() const { return bytes_.size(); }

 private:
  std::vector<char> bytes_;
};

// Overwrites the text in a way that the compiler cannot leave out.
void erase_secret(std::string& text);

// A passphrase or PIN from a file: its content without one line end. kInvalid where the file is empty or everybody may read it.
Result<SecretBytes> read_secret_file(const std::string& path);

}  // namespace stella::crypto
