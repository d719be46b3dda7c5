// CRC-32C (Castagnoli; RFC 3720 B.4): finds damage, proves nothing. The checksum that CPUs have an instruction for.
#pragma once

#include <cstdint>
#include <string_view>

namespace stella {

// Of `bytes`, going on from `crc`, that of the bytes before them (0: there are none). Thread-safe.
std::uint32_t crc32c(std::uint32_t crc, std::string_view bytes);

}  // namespace stella
