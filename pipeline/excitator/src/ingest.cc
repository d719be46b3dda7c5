// A batch of documents as received becomes one observation line each.
#include "stella/pipeline/excitator/ingest.h"

#include <set>

#include "stella/base/json.h"
#include "stella/contracts/observations.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/excitator/openvex.h"

namespace stella::pipeline {
namespace {

void write_statement(json::Writer& out, const VexStatement& statement) {
  out.begin_object();
  out.member("pointer", std::string_view(statement.pointer));
  out.key("vulnerabilities").begin_array();
  for (const auto& id : statement.vulnerabilities) out.value(std::string_view(id));
  out.end_array();
  out.member("status", contracts::to_string(statement.status));
  std::set<std::string_view> products;
  for (const auto& product : statement.products)
    for (const auto& id : product.ids) products.insert(id);
  out.key("products").begin_array();
  for (const auto product : products) out.value(product);
  out.end_array();
  out.end_object();
}

void write_parsed(json::Writer& out, const VexDocument& document) {
  out.member("status", std::string_view("parsed"));
  out.member("id", std::string_view(document.id));
  out.member("format", std::string_view(document.format));
  out.member("timestamp", std::string_view(document.timestamp));
  out.member("author", std::string_view(document.author));
  out.key("statements").begin_array();
  for (const auto& statement : document.statements) write_statement(out, statement);
  out.end_array();
  out.key("deviations").begin_array();
  for (const auto& deviation : document.deviations) {
    out.begin_object();
    out.member("code", std::string_view(deviation.code));
    out.member("pointer", std::string_view(deviation.pointer));
    out.end_object();
  }
  out.end_array();
  out.key("error").null();
}

}  // namespace

IngestedVex ingest_vex(std::span<const VexFile> documents) {
  IngestedVex out;
  for (const auto& file : documents) {
    auto document = parse_vex(file.bytes);
    std::string line;
    json::Writer writer(line);
    writer.begin_object();
    contracts::write_document(writer, file.path, document ? document->sha256 : crypto::sha256(file.bytes), file.bytes.size());
    if (document) {
      write_parsed(writer, *document);
      ++out.parsed;
    } else {
      contracts::write_rejected(writer, document.error());
      ++out.rejected;
    }
    writer.end_object();
    out.observations.append(line).append("\n");
  }
  return out;
}

}  // namespace stella::pipeline
