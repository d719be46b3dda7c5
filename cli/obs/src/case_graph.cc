// Nodes of a CASE graph from entries of the log, and entries from its nodes.
#include "case_graph.h"

#include <charconv>
#include <utility>

#include "stella/crypto/digest.h"

namespace stella::cli::case_graph {
namespace {

using json::Value;

constexpr std::size_t kLineBytes = 2u << 20;
constexpr std::size_t kBlockBytes = 8u << 20;  // of an entry: its bytes twice, and a few hundred objects
constexpr int kHeadLines = 3;
constexpr std::string_view kExpired = "EXPIRED";
constexpr std::string_view kBeginning = "{\"@context\":";

// Names end with a UUID of a version below 6, as CASE asks for: the form of a name-based one (5), from a SHA-256. The same thing has one name in
// every export.
std::string uuid_of(const Sha256& digest) {
  std::string hex = digest.hex().substr(0, 32);
  hex[12] = '5';
  hex[16] = "89ab"[static_cast<unsigned>(hex[16] <= '9' ? hex[16] - '0' : hex[16] - 'a' + 10) & 3];
  return hex.substr(0, 8) + "-" + hex.substr(8, 4) + "-" + hex.substr(12, 4) + "-" + hex.substr(16, 4) + "-" + hex.substr(20);
}
std::string id(std::string_view type, std::string_view uuid) { return "kb:" + std::string(type) + "-" + std::string(uuid); }
std::string log_id(std::string_view origin) { return id("EventLog", uuid_of(crypto::sha256(origin))); }
std::string tool_id() { return id("Tool", uuid_of(crypto::sha256("stella timeline export"))); }
std::string object_id(const Sha256& digest) { return id("ObservableObject", uuid_of(digest)); }

Value reference(std::string name) { return Value::object({{"@id", std::move(name)}}); }
Value typed(std::string_view type, std::string value) { return Value::object({{"@type", "xsd:" + std::string(type)}, {"@value", std::move(value)}}); }

std::string line(const Value& node) { return json::dump(node) + ",\n"; }

Value hash_of(const Sha256& digest, std::string_view uuid) {
  return Value::object({{"@id", id("Hash", uuid)}, {"@type", "uco-types:Hash"}, {"uco-types:hashMethod", "SHA256"}, {"uco-types:hashValue", typed("hexBinary", digest.hex())}});
}

// An object known by its digest alone; the names under which events speak of it are tags.
Value object_node(const Sha256& digest, std::string_view name) {
  const std::string uuid = uuid_of(digest);
  return Value::object({{"@id", object_id(digest)},
                        {"@type", "uco-observable:ObservableObject"},
                        {"uco-core:tag", std::string(name)},
                        {"uco-core:hasFacet", Value::object({{"@id", id("ContentDataFacet", uuid)}, {"@type", "uco-observable:ContentDataFacet"}, {"uco-observable:hash", hash_of(digest, uuid)}})}});
}

// details.inputs or outputs: their nodes are appended to `out`, references to them returned.
Result<json::Array> objects(const Value& entry, std::string_view list, std::string& out) {
  json::Array references;
  const Value* details = entry.find("details");
  if (details == nullptr || !details->is_object()) return references;
  for (const Value& item : details->items(list)) {
    const Sha256 digest = STELLA_TRY(Sha256::parse(item.str("sha256")));
    out += line(object_node(digest, item.str("name")));
    references.push_back(reference(object_id(digest)));
  }
  return references;
}

Value record_node(std::string_view origin, std::uint64_t index, const Value& entry, std::string_view bytes) {
  const std::string uuid = uuid_of(crypto::sha256(entry.str("event_id")));
  return Value::object({{"@id", id("EventRecord", uuid)},
                        {"@type", "uco-observable:EventRecord"},
                        {"uco-core:hasFacet", Value::object({{"@id", id("EventRecordFacet", uuid)},
                                                             {"@type", "uco-observable:EventRecordFacet"},
                                                             {"uco-observable:eventRecordID", std::to_string(index)},
                                                             {"uco-observable:eventType", std::string(entry.str("kind"))},
                                                             {"uco-observable:observableCreatedTime", typed("dateTime", std::string(entry.str("ts")))},
                                                             {"uco-observable:eventRecordRaw", std::string(bytes)}})},
                        {"uco-core:externalReference", Value::object({{"@id", id("ExternalReference", uuid)},
                                                                      {"@type", "uco-core:ExternalReference"},
                                                                      {"uco-core:definingContext", std::string(origin)},
                                                                      {"uco-core:externalIdentifier", std::to_string(index)}})}});
}

std::optional<std::uint64_t> number(std::string_view text) {
  std::uint64_t out = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return out;
}

// A node, which its comma may follow.
Result<Value> parse_line(std::string_view text) {
  if (text.ends_with(',')) text.remove_suffix(1);
  return json::parse(text, {.max_bytes = kLineBytes, .max_depth = 64});
}

}  // namespace

std::string head(std::string_view origin) {
  const Value context = Value::object({{"kb", "https://stellaops.dev/kb/"},
                                       {"case-investigation", "https://ontology.caseontology.org/case/investigation/"},
                                       {"uco-action", "https://ontology.unifiedcyberontology.org/uco/action/"},
                                       {"uco-core", "https://ontology.unifiedcyberontology.org/uco/core/"},
                                       {"uco-identity", "https://ontology.unifiedcyberontology.org/uco/identity/"},
                                       {"uco-observable", "https://ontology.unifiedcyberontology.org/uco/observable/"},
                                       {"uco-tool", "https://ontology.unifiedcyberontology.org/uco/tool/"},
                                       {"uco-types", "https://ontology.unifiedcyberontology.org/uco/types/"},
                                       {"xsd", "http://www.w3.org/2001/XMLSchema#"}});
  const Value log = Value::object({{"@id", log_id(origin)}, {"@type", "uco-observable:EventLog"}, {"uco-core:name", std::string(origin)}});
  const Value tool = Value::object({{"@id", tool_id()}, {"@type", "uco-tool:Tool"}, {"uco-core:name", "StellaOps"}, {"uco-tool:version", STELLA_VERSION}});
  return std::string(kBeginning) + json::dump(context) + ",\"@graph\":[\n" + line(log) + line(tool);
}

Result<std::string> entry(std::string_view origin, std::uint64_t index, std::string_view bytes) {
  const Value value = STELLA_TRY(json::parse(bytes, {.max_bytes = kLineBytes, .max_depth = 64}));
  const std::string uuid = uuid_of(crypto::sha256(value.str("event_id"))), actor(value.str("actor"));
  const std::string performer = id("Identity", uuid_of(crypto::sha256(std::string(value.str("tenant_id")) + "/" + actor)));
  std::string out;
  out += line(Value::object({{"@id", performer}, {"@type", "uco-identity:Identity"}, {"uco-core:name", actor}}));
  json::Array consumed = STELLA_TRY(objects(value, "inputs", out));
  json::Array produced = STELLA_TRY(objects(value, "outputs", out));
  out += line(record_node(origin, index, value, bytes));
  if (!produced.empty()) {
    out += line(Value::object({{"@id", id("ProvenanceRecord", uuid)}, {"@type", "case-investigation:ProvenanceRecord"}, {"case-investigation:exhibitNumber", std::to_string(index)}, {"uco-core:object", produced}}));
    produced.push_back(reference(id("ProvenanceRecord", uuid)));
  }
  produced.push_back(reference(id("EventRecord", uuid)));
  Value action = Value::object({{"@id", id("InvestigativeAction", uuid)},
                                {"@type", "case-investigation:InvestigativeAction"},
                                {"uco-core:name", std::string(value.str("kind"))},
                                {"uco-core:description", std::string(value.str("resource_type")) + " " + std::string(value.str("resource_id"))},
                                {"uco-action:startTime", typed("dateTime", std::string(value.str("ts")))},
                                {"uco-action:performer", reference(performer)},
                                {"uco-action:instrument", reference(tool_id())},
                                {"uco-action:environment", reference(log_id(origin))},
                                {"uco-action:result", std::move(produced)}});
  if (!consumed.empty()) action.as_object().set("uco-action:object", std::move(consumed));
  return out + line(action);
}

Result<std::string> expired(std::string_view origin, std::uint64_t index, const Sha256& leaf) {
  const std::string uuid = uuid_of(crypto::sha256(std::string(origin) + "/" + std::to_string(index)));
  return line(Value::object({{"@id", id("EventRecord", uuid)},
                             {"@type", "uco-observable:EventRecord"},
                             {"uco-core:tag", std::string(kExpired)},
                             {"uco-core:description", leaf.hex()},
                             {"uco-core:hasFacet", Value::object({{"@id", id("EventRecordFacet", uuid)}, {"@type", "uco-observable:EventRecordFacet"}, {"uco-observable:eventRecordID", std::to_string(index)}})}}));
}

std::string tail(std::string_view origin, std::string_view note) {
  const std::string uuid = uuid_of(crypto::sha256(note));
  return json::dump(Value::object({{"@id", id("Checkpoint", uuid)},
                                   {"@type", "uco-observable:ObservableObject"},
                                   {"uco-core:name", "signed checkpoint of " + std::string(origin)},
                                   {"uco-core:hasFacet", Value::object({{"@id", id("ContentDataFacet", uuid)},
                                                                        {"@type", "uco-observable:ContentDataFacet"},
                                                                        {"uco-observable:dataPayload", std::string(note)},
                                                                        {"uco-observable:hash", hash_of(crypto::sha256(note), uuid)}})}})) +
         "\n]}\n";
}

bool begins(std::string_view first_line) { return first_line.starts_with(kBeginning); }

Result<void> Reader::head(std::string_view text) {
  if (lines_ == 1) {
    const Value log = STELLA_TRY(parse_line(text));
    origin_ = log.str("uco-core:name");
  }
  block_.append(text).append("\n");
  if (lines_ == 1 && !case_graph::head(origin_).starts_with(block_)) return Error(base_errors::kMalformed, "another beginning than that of a graph of a log");
  if (++lines_ == kHeadLines) block_.clear();  // the third line names the version of who wrote it
  return {};
}

Result<void> Reader::node(std::string_view text) {
  const Value node = STELLA_TRY(parse_line(text));
  const Value* facet = node.is_object() ? node.find("uco-core:hasFacet") : nullptr;
  if (facet == nullptr || !facet->is_object()) return {};
  if (node.str("@type") == "uco-observable:EventRecord") {
    const auto index = number(facet->str("uco-observable:eventRecordID"));
    std::string bytes(facet->str("uco-observable:eventRecordRaw"));
    if (index && bytes.empty() && node.str("uco-core:tag") == kExpired) {
      record_ = {*index, "", STELLA_TRY(Sha256::parse(node.str("uco-core:description")))};
      expected_ = STELLA_TRY(expired(origin_, *index, *record_.expired));
      return {};
    }
    if (!index || bytes.empty()) return Error(base_errors::kMalformed, "a record without index or bytes");
    expected_ = STELLA_TRY(entry(origin_, *index, bytes));
    record_ = {*index, std::move(bytes), std::nullopt};
  } else if (node.str("@id").starts_with("kb:Checkpoint-")) {
    last_ = facet->str("uco-observable:dataPayload");
    expected_ = tail(origin_, last_);
  }
  return {};
}

Result<std::optional<Record>> Reader::line(std::string_view text) {
  if (lines_ < kHeadLines) {
    STELLA_TRY_VOID(head(text));
    return std::optional<Record>();
  }
  if (!note_.empty()) return Error(base_errors::kMalformed, "something behind the checkpoint");
  if (expected_.empty()) STELLA_TRY_VOID(node(text));
  block_.append(text).append("\n");
  if (block_.size() > kBlockBytes) return Error(base_errors::kMalformed, "more nodes than an entry has");
  if (expected_.empty() || block_.size() < expected_.size()) return std::optional<Record>();
  const bool same = std::exchange(block_, {}) == std::exchange(expected_, {});
  if (!last_.empty()) {
    if (!same) return Error(base_errors::kMalformed, "another end than that of a graph of a log");
    note_ = std::exchange(last_, {});
    return std::optional<Record>();
  }
  record_.faithful = same;
  return std::optional<Record>(std::move(record_));
}

}  // namespace stella::cli::case_graph
