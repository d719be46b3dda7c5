// Limits that hold everywhere, each with the reason it has. Limits of one module stand in that module.
#pragma once

#include <cstddef>
#include <cstdint>

namespace stella::limits {

inline constexpr std::size_t kEventBytes = 65'535;            // C2SP tlog-tiles: uint16 length prefix of an entry
inline constexpr int kJsonDepth = 64;                         // hostile nesting; real documents stay under 20
inline constexpr std::uint64_t kSbomBytes = 256u << 20;       // largest SBOM accepted, decompressed
inline constexpr std::uint64_t kAdvisoryBytes = 16u << 20;    // largest single advisory document
inline constexpr std::uint64_t kVexBytes = 16u << 20;         // largest single VEX document
inline constexpr std::uint64_t kPolicyBytes = 1u << 20;       // largest policy set
inline constexpr std::uint64_t kIngestBatchBytes = 64u << 20; // one upload of many documents (a tar)
inline constexpr std::size_t kIngestBatchDocuments = 10'000;
inline constexpr std::uint64_t kJsonBodyBytes = 1u << 20;     // API bodies that are no documents
inline constexpr std::uint64_t kBundleBytes = 64ull << 30;    // largest bundle that is sealed, and so the largest that is fetched, uploaded and verified
inline constexpr std::size_t kStringBytes = 1u << 20;         // longest single string kept from an SBOM

}  // namespace stella::limits
