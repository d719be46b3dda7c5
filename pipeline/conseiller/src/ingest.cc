// A batch of documents as received becomes one observation line each, and the segments of those that are OSV records.
#include "stella/pipeline/conseiller/ingest.h"

#include <algorithm>
#include <charconv>

#include "stella/base/encoding.h"
#include "stella/base/json.h"
#include "stella/contracts/catalogue.h"
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

// Fields are texts; line and column are numbers to whoever reads JSON.
void write_rejected(json::Writer& out, const Error& error) {
  out.member("status", std::string_view("rejected"));
  out.key("error").begin_object();
  out.member("code", contracts::error_info(error.code()).wire);
  out.member("message", error.message());
  for (const auto& [name, value] : error.fields()) {
    std::uint64_t number = 0;
    const auto end = value.data() + value.size();
    const auto parsed = std::from_chars(value.data(), end, number);
    out.key(name);
    if (parsed.ec == std::errc() && parsed.ptr == end) {
      out.value(number);
    } else {
      out.value(std::string_view(value));
    }
  }
  out.end_object();
}

// Names in a tar are bytes; a line of JSON holds UTF-8.
std::string printable(std::string_view path) { return is_utf8(path) ? std::string(path) : percent_encode(path); }

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
    writer.member("path", std::string_view(printable(document.path)));
    writer.member("sha256", std::string_view(digest.hex()));
    writer.member("size", std::uint64_t{document.bytes.size()});
    if (record) {
      write_parsed(writer, *record);
      builder.add(std::move(*record), digest);
      ++out.parsed;
    } else {
      write_rejected(writer, record.error());
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
