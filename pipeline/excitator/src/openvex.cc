// OpenVEX 0.2.0 (openvex/spec: OPENVEX-SPEC.md), read with every deviation recorded.
#include "stella/pipeline/excitator/openvex.h"

#include <algorithm>
#include <array>

#include "stella/base/json.h"
#include "stella/base/limits.h"
#include "stella/crypto/digest.h"

namespace stella::pipeline {
namespace {

using contracts::VexStatus;

constexpr std::size_t kMaxDeviations = 1000;
constexpr std::array<std::string_view, 5> kJustifications = {"component_not_present", "vulnerable_code_not_present", "vulnerable_code_not_in_execute_path",
                                                             "vulnerable_code_cannot_be_controlled_by_adversary", "inline_mitigations_already_exist"};

bool is_url(std::string_view text) { return text.starts_with("https://") || text.starts_with("http://"); }

struct Instant {
  std::string text;
  std::optional<Timestamp> time;
};

// RFC 3339, or one of the spellings seen in real documents: "2023-01-05 15:15:00 UTC", a space for the 'T', no offset (UTC).
Instant read_time(std::string_view text, bool& deviates) {
  deviates = false;
  if (auto exact = Timestamp::parse(text)) return {std::string(text), *exact};
  deviates = true;
  std::string mended(text);
  if (mended.size() > 10 && mended[10] == ' ') mended[10] = 'T';
  for (const std::string_view zone : {" UTC", " GMT", "UTC"})
    if (mended.ends_with(zone)) {
      mended.resize(mended.size() - zone.size());
      mended += 'Z';
      break;
    }
  for (const auto& candidate : {mended, mended + "Z"})
    if (auto time = Timestamp::parse(candidate)) return {time->rfc3339_seconds(), *time};
  return {};
}

class Reader {
 public:
  explicit Reader(const json::Value& root) : root_(root), metadata_(root.find("metadata")) {
    if (metadata_ != nullptr && !metadata_->is_object()) metadata_ = nullptr;
  }

  Result<VexDocument> read() {
    STELLA_TRY_VOID(read_header());
    const json::Value* statements = root_.find("statements");
    if (statements == nullptr || !statements->is_array()) return shape("/statements", "an array of statements");
    const auto products = STELLA_TRY(read_products(root_, ""));
    for (std::size_t i = 0; i < statements->as_array().size(); ++i) {
      const std::string pointer = "/statements/" + std::to_string(i);
      const json::Value& statement = statements->as_array()[i];
      if (!statement.is_object()) return shape(pointer, "an object");
      auto read = STELLA_TRY(read_statement(statement, pointer, products));
      out_.statements.push_back(std::move(read));
    }
    if (more_deviations_) out_.deviations.push_back({"more_deviations", ""});
    return std::move(out_);
  }

 private:
  static Error shape(std::string pointer, std::string_view expected) {
    return Error(base_errors::kMalformed, "not an OpenVEX document").with("pointer", std::move(pointer)).with("expected", std::string(expected));
  }
  void deviate(std::string_view code, std::string pointer) {
    if (out_.deviations.size() < kMaxDeviations) out_.deviations.push_back({std::string(code), std::move(pointer)});
    else more_deviations_ = true;
  }

  // A header field stands at the root; some writers wrap the header in "metadata".
  std::string_view header(std::string_view name) {
    if (const auto text = root_.str(name); !text.empty()) return text;
    if (metadata_ == nullptr) return {};
    const auto text = metadata_->str(name);
    if (!text.empty()) wrapped_ = true;
    return text;
  }

  Result<void> read_header() {
    const auto context = header("@context");
    constexpr std::string_view kNamespace = "https://openvex.dev/ns";
    if (!context.starts_with(kNamespace))
      return Error(base_errors::kInvalid, "not a VEX document that we know").with("field", std::string("@context")).with("expected", std::string("OpenVEX 0.2.0 JSON"));
    const auto version = context.substr(kNamespace.size());
    out_.format = version.starts_with("/v") ? "OpenVEX " + std::string(version.substr(2)) : "OpenVEX";
    out_.id = header("@id");
    out_.author = header("author");
    read_document_time();
    if (out_.id.empty()) deviate("id_missing", "/@id");
    if (out_.author.empty()) deviate("author_missing", "/author");
    if (wrapped_) deviate("metadata_wrapper", "/metadata");
    return {};
  }

  void read_document_time() {
    const std::string pointer = root_.find("timestamp") == nullptr && metadata_ != nullptr ? "/metadata/timestamp" : "/timestamp";
    const auto text = header("timestamp");
    if (text.empty()) return deviate("timestamp_missing", pointer);
    bool deviates = false;
    time_ = read_time(text, deviates);
    if (deviates) deviate("timestamp_format", pointer);
    out_.timestamp = time_.text;
  }

  // A product or subcomponent: an object with @id and identifiers, or (older drafts) just a text.
  Result<std::vector<std::string>> read_ids(const json::Value& value, const std::string& pointer) {
    std::vector<std::string> ids;
    if (value.is_string()) {
      deviate("product_is_text", pointer);
      ids.push_back(value.as_string());
      return ids;
    }
    if (!value.is_object()) return shape(pointer, "a product object");
    if (const auto id = value.str("@id"); !id.empty()) ids.emplace_back(id);
    if (const auto* identifiers = value.find("identifiers"); identifiers != nullptr && identifiers->is_object())
      for (const auto& [name, identifier] : identifiers->as_object())
        if (identifier.is_string() && std::find(ids.begin(), ids.end(), identifier.as_string()) == ids.end()) ids.push_back(identifier.as_string());
    if (std::none_of(ids.begin(), ids.end(), [](const std::string& id) { return id.starts_with("pkg:"); })) deviate("product_without_purl", pointer);
    return ids;
  }

  Result<std::vector<VexProduct>> read_products(const json::Value& holder, const std::string& at) {
    std::vector<VexProduct> out;
    const json::Value* products = holder.find("products");
    if (products == nullptr) return out;
    if (!products->is_array()) return shape(at + "/products", "an array");
    for (std::size_t i = 0; i < products->as_array().size(); ++i) {
      const std::string pointer = at + "/products/" + std::to_string(i);
      const json::Value& value = products->as_array()[i];
      VexProduct product;
      product.ids = STELLA_TRY(read_ids(value, pointer));
      if (const auto* parts = value.find("subcomponents"); parts != nullptr && !parts->is_array()) return shape(pointer + "/subcomponents", "an array");
      const auto& parts = value.items("subcomponents");
      for (std::size_t j = 0; j < parts.size(); ++j) {
        auto ids = STELLA_TRY(read_ids(parts[j], pointer + "/subcomponents/" + std::to_string(j)));
        product.subcomponents.push_back(std::move(ids));
      }
      out.push_back(std::move(product));
    }
    return out;
  }

  void add_vulnerability(VexStatement& s, std::string_view text) {
    if (!text.empty() && std::find(s.vulnerabilities.begin(), s.vulnerabilities.end(), text) == s.vulnerabilities.end()) s.vulnerabilities.emplace_back(text);
  }

  void read_vulnerability(const json::Value& value, const std::string& at, VexStatement& s) {
    const json::Value* vulnerability = value.find("vulnerability");
    if (vulnerability != nullptr && vulnerability->is_string()) {
      add_vulnerability(s, vulnerability->as_string());
    } else if (vulnerability != nullptr && vulnerability->is_object()) {
      add_vulnerability(s, vulnerability->str("name"));
      add_vulnerability(s, vulnerability->str("@id"));
      const auto& aliases = vulnerability->items("aliases");
      for (std::size_t i = 0; i < aliases.size(); ++i) {
        if (!aliases[i].is_string()) continue;
        if (is_url(aliases[i].as_string())) deviate("alias_is_url", at + "/vulnerability/aliases/" + std::to_string(i));
        add_vulnerability(s, aliases[i].as_string());
      }
    }
    if (s.vulnerabilities.empty()) deviate("vulnerability_missing", at + "/vulnerability");
  }

  void read_status(const json::Value& value, const std::string& at, VexStatement& s) {
    s.source_label = value.str("status");
    s.justification = value.str("justification");
    auto status = contracts::parse_vex_status(s.source_label);
    s.status = status ? *status : VexStatus::kNone;
    if (s.status == VexStatus::kNone) return deviate("status_unknown", at + "/status");
    if (!s.justification.empty() && std::find(kJustifications.begin(), kJustifications.end(), s.justification) == kJustifications.end())
      deviate("justification_unknown", at + "/justification");
    if (s.status == VexStatus::kNotAffected && s.justification.empty() && value.str("impact_statement").empty()) {
      s.complete = false;
      deviate("justification_missing", at);
    }
    if (s.status == VexStatus::kAffected && value.str("action_statement").empty()) deviate("action_missing", at);
  }

  void read_statement_time(const json::Value& value, const std::string& at, VexStatement& s) {
    Instant time = time_;
    if (const auto text = value.str("timestamp"); !text.empty()) {
      bool deviates = false;
      Instant own = read_time(text, deviates);
      if (deviates) deviate("timestamp_format", at + "/timestamp");
      if (own.time) time = std::move(own);
    }
    s.timestamp = std::move(time.text);
    s.time = time.time;
  }

  Result<VexStatement> read_statement(const json::Value& value, const std::string& at, const std::vector<VexProduct>& inherited) {
    VexStatement s;
    s.pointer = at;
    read_vulnerability(value, at, s);
    read_status(value, at, s);
    read_statement_time(value, at, s);
    s.products = STELLA_TRY(read_products(value, at));
    if (s.products.empty()) s.products = inherited;
    if (s.products.empty()) deviate("products_missing", at + "/products");
    return s;
  }

  const json::Value& root_;
  const json::Value* metadata_;
  bool wrapped_ = false;
  bool more_deviations_ = false;
  Instant time_;
  VexDocument out_;
};

// Formats that a user may well send: said by name.
Result<void> refuse_other_formats(const json::Value& root) {
  const auto unsupported = [](Literal message) { return Error(base_errors::kInvalid, message).with("expected", std::string("OpenVEX 0.2.0 JSON")); };
  if (!root.is_object()) return Error(base_errors::kMalformed, "not a VEX document").with("pointer", std::string()).with("expected", std::string("an object"));
  if (const auto* document = root.find("document"); document != nullptr && !document->str("csaf_version").empty()) return unsupported("CSAF VEX is not supported yet");
  if (!root.str("bomFormat").empty()) return unsupported("CycloneDX VEX is not supported yet");
  return {};
}

}  // namespace

Result<VexDocument> parse_vex(std::string_view bytes) {
  const auto root = STELLA_TRY(json::parse(bytes, {.max_bytes = limits::kVexBytes, .max_depth = limits::kJsonDepth}));
  STELLA_TRY_VOID(refuse_other_formats(root));
  auto document = STELLA_TRY(Reader(root).read());
  document.sha256 = crypto::sha256(bytes);
  return document;
}

}  // namespace stella::pipeline
