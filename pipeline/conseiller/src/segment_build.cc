// Writes segments: sorts what was added, so that the same records give the same bytes however they came.
#include <algorithm>
#include <limits>
#include <map>

#include "segment_layout.h"
#include "segment_records.h"
#include "stella/pipeline/conseiller/segment.h"
#include "stella/pipeline/versions/ecosystem.h"

namespace stella::pipeline {
namespace {

// Ecosystems without a row in the table share one segment: a hostile record cannot ask for ten thousand files.
std::string_view base_of(std::string_view ecosystem) {
  const Ecosystem* row = find_ecosystem(ecosystem);
  return row == nullptr ? kOtherEcosystems : row->name;
}

std::string slug_of(std::string_view ecosystem) {
  std::string out;
  for (char c : ecosystem) {
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
    const bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
    if (plain) {
      out += c;
    } else if (!out.empty() && out.back() != '-') {
      out += '-';
    }
  }
  return out;
}

// The tables of one ecosystem's segment while it is put together.
class Writer {
 public:
  explicit Writer(std::string ecosystem) : ecosystem_(std::move(ecosystem)) {}

  // Records come in ascending order of their digests.
  void add(const AdvisoryRecord& record) {
    const std::uint64_t index = record_count_++;
    records_ += record.ref.sha256.view();
    const std::size_t from = heap_.size();
    append_record(heap_, record.ref);
    append_u32(records_, from);
    append_u32(records_, heap_.size() - from);
    for (const auto& package : record.affected) {
      if (base_of(package.ecosystem) != ecosystem_) continue;
      postings_[segment_layout::filed_key(package.ecosystem, package.name)].push_back({index, heap_.size()});
      append_affected(heap_, package);
    }
  }

  Result<std::string> finish() {
    using namespace segment_layout;
    std::string names;
    std::string postings;
    std::uint64_t posting_count = 0;
    for (const auto& [name, list] : postings_) {
      append_u32(names, heap_.size());
      append_u32(names, name.size());
      append_u32(names, posting_count);
      append_u32(names, list.size());
      heap_ += name;
      posting_count += list.size();
      for (const auto& [record, entry] : list) {
        append_u32(postings, record);
        append_u32(postings, entry);
      }
    }
    const std::uint64_t size = kHeaderSize + padded(ecosystem_.size()) + names.size() + postings.size() + records_.size() + heap_.size();
    if (size > std::numeric_limits<std::uint32_t>::max())
      return Error(base_errors::kLimit, "index segment too large").with("limit", std::numeric_limits<std::uint32_t>::max()).with("actual", size);
    std::string out(kMagic);
    out.reserve(size);
    for (const std::uint64_t number : {size, std::uint64_t{postings_.size()}, posting_count, record_count_, std::uint64_t{ecosystem_.size()},
                                       std::uint64_t{heap_.size()}})
      append_u32(out, number);
    out.resize(kHeaderSize, '\0');
    out += ecosystem_;
    out.resize(kHeaderSize + padded(ecosystem_.size()), '\0');
    out.append(names).append(postings).append(records_).append(heap_);
    return out;
  }

 private:
  struct Posting {
    std::uint64_t record;
    std::uint64_t entry;
  };
  std::string ecosystem_;
  std::map<std::string, std::vector<Posting>> postings_;
  std::string records_;
  std::string heap_;
  std::uint64_t record_count_ = 0;
};

}  // namespace

void SegmentBuilder::add(AdvisoryRecord record, const Sha256& document) {
  record.ref.sha256 = document;
  records_.push_back(std::move(record));
}

Result<std::vector<BuiltSegment>> SegmentBuilder::finish() {
  auto records = std::move(records_);
  records_.clear();
  std::sort(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.ref.sha256 < b.ref.sha256; });
  records.erase(std::unique(records.begin(), records.end(), [](const auto& a, const auto& b) { return a.ref.sha256 == b.ref.sha256; }),
                records.end());
  std::map<std::string, Writer, std::less<>> writers;
  for (const auto& record : records) {
    std::vector<std::string_view> bases;
    for (const auto& package : record.affected) bases.push_back(base_of(package.ecosystem));
    std::sort(bases.begin(), bases.end());
    bases.erase(std::unique(bases.begin(), bases.end()), bases.end());
    for (const auto base : bases) writers.try_emplace(std::string(base), std::string(base)).first->second.add(record);
  }
  std::vector<BuiltSegment> out;
  for (auto& [ecosystem, writer] : writers) {
    auto bytes = STELLA_TRY(writer.finish());
    out.push_back({ecosystem, slug_of(ecosystem), std::move(bytes)});
  }
  return out;
}

}  // namespace stella::pipeline
