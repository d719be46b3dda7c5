// Offsets and widths of a segment's tables (segment.h describes them).
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "stella/pipeline/versions/ecosystem.h"

namespace stella::pipeline::segment_layout {

inline constexpr std::string_view kMagic{"STLIDX\x02\n", 8};        // the seventh byte is the version of the layout
inline constexpr std::string_view kFirstMagic{"STLIDX\x01\n", 8};   // names of Go with their case, of Maven with the repository's address
inline constexpr std::size_t kSizeAt = 8;
inline constexpr std::size_t kNamesAt = 12;
inline constexpr std::size_t kPostingsAt = 16;
inline constexpr std::size_t kRecordsAt = 20;
inline constexpr std::size_t kEcosystemAt = 24;
inline constexpr std::size_t kHeapAt = 28;
inline constexpr std::size_t kHeaderSize = 64;
inline constexpr std::size_t kNameSize = 16;
inline constexpr std::size_t kPostingSize = 8;
inline constexpr std::size_t kRecordSize = 40;

constexpr std::uint64_t padded(std::uint64_t size) { return (size + 3) & ~std::uint64_t{3}; }

inline std::string key(std::string_view ecosystem, std::string_view name) {
  std::string out;
  out.reserve(ecosystem.size() + 1 + name.size());
  out.append(ecosystem).append(1, '\0').append(name);
  return out;
}

// The key of a package as today's layout files it.
inline std::string filed_key(std::string_view ecosystem, std::string_view name) { return key(index_ecosystem(ecosystem), index_name(ecosystem, name)); }

}  // namespace stella::pipeline::segment_layout
