// A statement on one screen.
#include "stella/cli/forensics/attestation_view.h"

#include "stella/cli/format.h"
#include "stella/cli/table.h"

namespace stella::cli {
namespace {

std::string digest_of(const json::Value& resource) {
  const json::Value* digest = resource.find("digest");
  return digest == nullptr ? "" : std::string(digest->str("sha256"));
}

std::string name_of(const json::Value& resource) {
  const std::string_view name = resource.str("name");
  return std::string(name.empty() ? resource.str("uri") : name);
}

std::string resources(std::string_view title, const json::Array& list, const Palette& paint, std::size_t width) {
  if (list.empty()) return "";
  Table table({{std::string(title), false, true}, {"SHA256", false, true}});
  for (const json::Value& r : list) table.row({name_of(r), digest_of(r)});
  return "\n" + table.render(paint, width);
}

const json::Value& child(const json::Value& v, std::string_view name) {
  static const json::Value kNone;
  const json::Value* found = v.find(name);
  return found == nullptr ? kNone : *found;
}

void provenance(const json::Value& predicate, Facts& facts) {
  const json::Value& definition = child(predicate, "buildDefinition");
  const json::Value& details = child(predicate, "runDetails");
  const json::Value& metadata = child(details, "metadata");
  facts.add("made by", child(details, "builder").str("id")).add("build type", definition.str("buildType")).add("run", metadata.str("invocationId"));
  facts.add("started", long_time(metadata.str("startedOn"))).add("finished", long_time(metadata.str("finishedOn")));
  for (const char* which : {"externalParameters", "internalParameters"})
    if (const json::Value& p = child(definition, which); p.is_object())
      for (const auto& [name, value] : p.as_object()) facts.add(name, value.is_string() ? value.as_string() : json::dump(value));
}

}  // namespace

std::string attestation_text(const json::Value& statement, const json::Value& verdict, const Palette& paint, std::size_t width) {
  const json::Value& predicate = child(statement, "predicate");
  Facts facts;
  facts.add("says", statement.str("predicateType"));
  if (verdict.is_object()) {
    facts.add("verified", word(verdict.str("result"))).add("why", verdict.str("reason"));
    for (const json::Value& key : verdict.items("signers")) facts.add("signed by", key.is_string() ? key.as_string() : "");
    for (const json::Value& what : verdict.items("not_checked")) facts.add("not checked", Cell(what.is_string() ? what.as_string() : "", Style::kYellow));
  }
  if (statement.str("predicateType") == "https://slsa.dev/provenance/v1") provenance(predicate, facts);
  std::string out;
  for (const json::Value& s : statement.items("subject")) out += paint(Style::kBold, printable(name_of(s))) + "  sha256:" + printable(digest_of(s)) + "\n";
  out += facts.render(paint, 2);
  out += resources("MADE FROM", child(predicate, "buildDefinition").items("resolvedDependencies"), paint, width);
  out += resources("BESIDE IT", child(predicate, "runDetails").items("byproducts"), paint, width);
  return out;
}

}  // namespace stella::cli
