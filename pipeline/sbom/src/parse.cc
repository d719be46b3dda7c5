// Walks the top level of an SBOM, decides its format, hands its parts to the readers and builds the table.
#include "stella/pipeline/sbom/parse.h"

#include <algorithm>
#include <array>

#include "readers.h"
#include "table_builder.h"

namespace stella::pipeline {
namespace {

using namespace sbom;  // NOLINT(google-build-using-namespace): this file is the front of that namespace

constexpr std::string_view kSupported = "CycloneDX 1.4, 1.5 or 1.6 JSON, or SPDX 2.2 or 2.3 JSON";
constexpr std::array<std::string_view, 3> kCycloneDxVersions = {"1.4", "1.5", "1.6"};
constexpr std::array<std::string_view, 2> kSpdxVersions = {"SPDX-2.2", "SPDX-2.3"};

// The members of the top level that we interpret, of either format.
enum Member : unsigned {
  kBomFormat, kSpecVersion, kSerialNumber, kVersion, kMetadata, kComponents, kDependencies, kServices,
  kSpdxVersion, kSpdxId, kName, kNamespace, kPackages, kRelationships, kFiles, kSnippets, kDescribes, kGraph, kOther
};
constexpr std::array<std::string_view, kOther> kMembers = {
    "bomFormat", "specVersion", "serialNumber", "version", "metadata", "components", "dependencies", "services",
    "spdxVersion", "SPDXID", "name", "documentNamespace", "packages", "relationships", "files", "snippets", "documentDescribes", "@graph"};

Member member_of(std::string_view name) {
  for (unsigned i = 0; i < kOther; ++i)
    if (kMembers[i] == name) return static_cast<Member>(i);
  return kOther;
}

struct Document {
  CycloneDxHead cyclonedx;
  SpdxHead spdx;
  RawDocument raw;
  Seen seen;
};

bool read_member(Walker& in, const ParseLimits& limits, Member member, Document& d) {
  switch (member) {
    case kBomFormat: return in.string(d.cyclonedx.bom_format);
    case kSpecVersion: return in.string(d.cyclonedx.spec_version);
    case kSerialNumber: return in.string(d.cyclonedx.serial_number);
    case kVersion: return in.string_or_number(d.cyclonedx.version);
    case kMetadata: return read_cyclonedx_metadata(in, limits, d.cyclonedx, d.raw);
    case kComponents: return read_cyclonedx_components(in, limits, d.raw);
    case kDependencies: return read_cyclonedx_dependencies(in, limits, d.raw);
    case kServices: return read_cyclonedx_services(in, d.raw);
    case kSpdxVersion: return in.string(d.spdx.spdx_version);
    case kSpdxId: return in.string(d.spdx.document_ref);
    case kName: return in.string(d.spdx.name);
    case kNamespace: return in.string(d.spdx.document_namespace);
    case kPackages: return read_spdx_packages(in, limits, d.raw);
    case kRelationships: return read_spdx_relationships(in, limits, d.spdx, d.raw);
    case kFiles:
    case kSnippets: return read_spdx_elements(in, d.raw);
    case kDescribes: return read_spdx_described(in, d.spdx);
    default: return in.skip();
  }
}

// A version is shown; other text could be anything, and errors go into logs and onto the timeline.
bool shows_as_version(std::string_view text) {
  return !text.empty() && text.size() <= 12 && text.find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789.-") == text.npos;
}

Error unsupported(Literal message, std::string_view actual) {
  auto error = Error(base_errors::kInvalid, message).with("field", std::string("format")).with("expected", std::string(kSupported));
  if (shows_as_version(actual)) error.add("actual", std::string(actual));
  return error;
}

// The document's format, from members that were all read.
Result<std::string> format_of(const Document& d) {
  const bool cyclonedx = d.seen.has(kBomFormat);
  const bool spdx = d.seen.has(kSpdxVersion);
  if (cyclonedx && spdx) return unsupported("document claims to be CycloneDX and SPDX at once", "");
  if (cyclonedx) {
    if (d.cyclonedx.bom_format != "CycloneDX") return unsupported("bomFormat is not CycloneDX", d.cyclonedx.bom_format);
    const auto version = d.cyclonedx.spec_version;
    if (std::find(kCycloneDxVersions.begin(), kCycloneDxVersions.end(), version) == kCycloneDxVersions.end())
      return unsupported("CycloneDX version is not supported", version);
    return std::string("CycloneDX ").append(version);
  }
  if (spdx) {
    const auto version = d.spdx.spdx_version;
    if (std::find(kSpdxVersions.begin(), kSpdxVersions.end(), version) == kSpdxVersions.end()) return unsupported("SPDX version is not supported", version);
    return std::string(version);
  }
  if (d.seen.has(kGraph)) return unsupported("SPDX 3 is not supported yet", "@graph");
  return unsupported("not an SBOM that we know", "");
}

// The format by those members alone that tell it. Fails where the grammar does.
Result<std::string> read_format(const Tape& tape, const ParseLimits& limits) {
  Walker in(tape, limits.max_depth, limits.max_string_bytes);
  Document d;
  const auto on_member = [&](std::string_view name, std::size_t at) {
    const Member member = member_of(name);
    if (member != kOther && !d.seen.first(member)) return in.duplicate(at);
    const bool tells = member == kBomFormat || member == kSpecVersion || member == kSpdxVersion;
    return tells && in.peek() == '"' ? read_member(in, limits, member, d) : in.skip();
  };
  if (!in.object(on_member) || !in.finish()) {
    if (in.failed_on_shape()) return unsupported("not an SBOM that we know", "");
    return in.take_failure();
  }
  return format_of(d);
}

Result<Tape> tape_of(std::string_view bytes, const ParseLimits& limits) {
  if (bytes.size() > limits.max_bytes || bytes.size() >= 0xffff'ff00u)
    return Error(base_errors::kLimit, "SBOM is too large").with("limit", limits.max_bytes).with("actual", bytes.size());
  return Tape::build(bytes);
}

void describe_cyclonedx(const Document& d, contracts::ComponentTable& table) {
  if (d.cyclonedx.subject != kNoEntry) {
    const RawEntry& subject = d.raw.entries[d.cyclonedx.subject];
    if (!subject.group.empty()) table.document_name.append(subject.group).append("/");
    table.document_name.append(subject.name);
    table.document_version = subject.version;
  }
  if (d.cyclonedx.serial_number.empty()) return;
  table.document_id.append(d.cyclonedx.serial_number).append("#").append(d.cyclonedx.version.empty() ? "1" : d.cyclonedx.version);
}

void describe_spdx(Document& d, contracts::ComponentTable& table) {
  table.document_name = d.spdx.name;
  table.document_id = d.spdx.document_namespace;
  auto& described = d.spdx.described;
  std::sort(described.begin(), described.end());
  described.erase(std::unique(described.begin(), described.end()), described.end());
  if (described.size() == 1)
    for (const RawEntry& entry : d.raw.entries)
      if (entry.ref == described.front()) {
        table.document_name = entry.name;
        table.document_version = entry.version;
        break;
      }
  d.raw.array_pointer = "/packages";
  d.raw.other_refs.push_back(d.spdx.document_ref.empty() ? std::string_view("SPDXRef-DOCUMENT") : d.spdx.document_ref);
}

// A document that holds parts of the other format would be read differently by different readers.
Result<void> refuse_mixture(const Document& d, bool cyclonedx) {
  for (const Member foreign : cyclonedx ? std::array{kPackages, kRelationships} : std::array{kComponents, kDependencies})
    if (d.seen.has(foreign)) return unsupported("document mixes CycloneDX and SPDX", kMembers[foreign]);
  return {};
}

}  // namespace

Result<std::string> sniff_format(std::string_view bytes, const ParseLimits& limits) {
  const Tape tape = STELLA_TRY(tape_of(bytes, limits));
  return read_format(tape, limits);
}

Result<contracts::ComponentTable> parse_sbom(std::string_view bytes, const ParseLimits& limits) {
  const Tape tape = STELLA_TRY(tape_of(bytes, limits));
  Walker in(tape, limits.max_depth, limits.max_string_bytes);
  Document d;
  d.raw.entries.reserve(bytes.size() / 512);  // real documents spend 600 to 2,000 bytes on an entry
  const auto on_member = [&](std::string_view name, std::size_t at) {
    const Member member = member_of(name);
    if (member != kOther && !d.seen.first(member)) return in.duplicate(at);
    return read_member(in, limits, member, d);
  };
  if (!in.object(on_member) || !in.finish()) {
    // "Wrong type" means little in a document that is no SBOM at all (a package-lock.json has "packages" too): say that instead.
    if (in.failed_on_shape()) STELLA_TRY_VOID(read_format(tape, limits));
    return in.take_failure();
  }
  contracts::ComponentTable table;
  table.source_format = STELLA_TRY(format_of(d));
  const bool cyclonedx = d.seen.has(kBomFormat);
  STELLA_TRY_VOID(refuse_mixture(d, cyclonedx));
  if (cyclonedx) describe_cyclonedx(d, table);
  else describe_spdx(d, table);
  build_table(d.raw, limits, table);
  return table;
}

}  // namespace stella::pipeline
