// A batch of documents as received becomes one observation line each, and the segments of those that are OSV records.
#include "stella/pipeline/conseiller/ingest.h"

#include <algorithm>

#include "stella/base/json.h"
#include "stella/contracts/observations.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/conseiller/osv.h"

namespace stella::pipeline {
namespace {

void write_texts(json::Writer& out, std::string_view name, const std::vector<std::string>& texts) {
  out.key(name).begin_array();
  for (const auto& text : texts) out.value(std::string_view(text));
  out.end_array();
}

std::vector<std::string> ecosystems_of(const AdvisoryRecord& record) {
  std::vector<std::string> out;
  for (const auto& package : record.affected) out.push_back(package.ecosystem);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

void write_parsed(json::Writer& out, const AdvisoryRecord& record) {
  out.member("status", std::string_view("parsed"));
  out.member("id", std::string_view(record.ref.id));
  out.member("modified", std::string_view(record.ref.modified));
  out.key("withdrawn");
  if (record.ref.withdrawn.empty()) {
    out.null();
  } else {
    out.value(std::string_view(record.ref.withdrawn));
  }
  write_texts(out, "aliases", record.ref.aliases);
  write_texts(out, "ecosystems", ecosystems_of(record));
  out.member("git_ranges", std::uint64_t{record.git_ranges});
}

}  // namespace

Result<IngestedAdvisories> ingest_advisories(std::span<const AdvisoryDocument> documents) {
  IngestedAdvisories out;
  SegmentBuilder builder;
  for (const auto& document : documents) {
    const Sha256 digest = crypto::sha256(document.bytes);
    auto record = parse_osv(document.bytes);
    std::string line;
    json::Writer writer(line);
    writer.begin_object();
    contracts::write_document(writer, document.path, digest, document.bytes.size());
    if (record) {
      write_parsed(writer, *record);
      builder.add(std::move(*record), digest);
      ++out.parsed;
    } else {
      contracts::write_rejected(writer, record.error());
      ++out.rejected;
    }
    writer.end_object();
    out.observations.append(line).append("\n");
  }
  auto segments = STELLA_TRY(builder.finish());
  out.segments = std::move(segments);
  return out;
}

}  // namespace stella::pipeline
