// SHA-256 of many short messages of one size: Merkle trees and salted commitments are nothing else.
#pragma once

#include <cstddef>

#include "stella/base/ids.h"

namespace stella::crypto {

// out[i] = SHA-256(prefix || item i), items of `item_size` bytes lying one behind the other at `items`.
// `out` may be the same memory as `items` (item_size ≥ 32): every digest is written after its item was read.
// Two messages at a time in the SHA unit of the processor, where it has one; else one reused context. Thread-safe.
void sha256_prefixed(unsigned char prefix, const unsigned char* items, std::size_t item_size, std::size_t count, Sha256* out);

// True where this processor has the SHA instructions: for benchmarks and `stella doctor`.
bool sha256_is_accelerated();

namespace detail {
// The portable path, always available: tests compare the two.
void sha256_prefixed_portable(unsigned char prefix, const unsigned char* items, std::size_t item_size, std::size_t count, Sha256* out);
}  // namespace detail

}  // namespace stella::crypto
