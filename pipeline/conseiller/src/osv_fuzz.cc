// libFuzzer entry: any bytes as an OSV record, and as an index segment that is verified and linked against.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "stella/pipeline/conseiller/link.h"
#include "stella/pipeline/conseiller/osv.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::pipeline;
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)parse_osv(bytes);
  const auto segment = Segment::open(bytes);
  if (!segment) return 0;
  (void)segment->verify();
  stella::contracts::ComponentTable table;
  auto& component = table.components.emplace_back();
  component.purl = "pkg:npm/a@1.0.0";
  component.ecosystem = "npm";
  component.name = "a";
  component.version = "1.0.0";
  const auto documents = segment->documents();
  if (!documents) return 0;
  const std::string active = ActiveSet::encode(*documents);
  const auto set = ActiveSet::parse(active);
  const Segment segments[] = {*segment};
  if (set) (void)link(table, segments, *set);
  return 0;
}
