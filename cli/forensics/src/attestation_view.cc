// A statement on one screen.
#include "stella/cli/forensics/attestation_view.h"

#include <map>

#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/evidence/format/predicates.h"

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
  facts.add("made by", child(details, "builder").str("id")).add("build type", definition.str("buildType"));
  const std::string_view reused = child(definition, "internalParameters").str("reused_from_job");
  facts.add(reused.empty() ? "run" : "reused, made by the run", metadata.str("invocationId"));
  facts.add("started", long_time(metadata.str("startedOn"))).add("finished", long_time(metadata.str("finishedOn")));
  for (const char* which : {"externalParameters", "internalParameters"})
    if (const json::Value& p = child(definition, which); p.is_object())
      for (const auto& [name, value] : p.as_object()) facts.add(name, value.is_string() ? value.as_string() : json::dump(value));
}

constexpr std::size_t kVulnerabilityRows = 20;

std::string joined(const json::Array& list) {
  std::string out;
  for (const json::Value& v : list) out += (out.empty() ? "" : ", ") + (v.is_string() ? std::string(v.as_string()) : json::dump(v));
  return out;
}

// Decisions are said in their own words and colours: a signature that verifies does not make a failed policy green.
Cell result_word(std::string_view text, bool good) { return {std::string(text), good ? Style::kGreen : Style::kRed}; }

void policies(const json::Array& list, Facts& facts) {
  for (const json::Value& p : list) {
    facts.add("policy", name_of(p));
    facts.add("policy digest", digest_of(p));
  }
}

void summary(const json::Value& predicate, Facts& facts) {
  const std::string_view result = predicate.str("verificationResult");
  facts.add("policy result", result_word(result, result == "PASSED")).add("levels", joined(predicate.items("verifiedLevels")));
  facts.add("about", predicate.str("resourceUri")).add("decided by", child(predicate, "verifier").str("id")).add("decided", long_time(predicate.str("timeVerified")));
  policies({child(predicate, "policy")}, facts);
}

void verification_result(const json::Value& predicate, Facts& facts) {
  const json::Value& verifier = child(predicate, "verifier");
  facts.add("properties", joined(predicate.items("properties"))).add("found by", verifier.str("id")).add("created", long_time(predicate.str("timeCreated")));
  policies(verifier.items("policies"), facts);
}

std::string rating_of(const json::Value& vulnerability) {
  std::string out;
  for (const json::Value& s : vulnerability.items("severity"))
    if (s.str("method") == "rating" || out.empty()) out = std::string(s.str("score"));
  return out.empty() ? "unrated" : out;
}

void vulnerabilities(const json::Value& predicate, Facts& facts) {
  const json::Value& scanner = child(predicate, "scanner");
  const json::Value& db = child(scanner, "db");
  std::map<std::string, int> by_rating;
  for (const json::Value& v : scanner.items("result")) ++by_rating[rating_of(v)];
  std::string counts = std::to_string(scanner.items("result").size());
  for (const auto& [rating, count] : by_rating) counts += (&rating == &by_rating.begin()->first ? ": " : ", ") + std::to_string(count) + " " + rating;
  facts.add("vulnerabilities", counts).add("scanner", scanner.str("uri")).add("scanner version", scanner.str("version")).add("advisories", db.str("uri"));
  facts.add("advisories of", long_time(db.str("lastUpdate")));
  facts.add("started", long_time(child(predicate, "metadata").str("scanStartedOn"))).add("finished", long_time(child(predicate, "metadata").str("scanFinishedOn")));
}

std::string vulnerability_table(const json::Array& list, const Palette& paint, std::size_t width) {
  if (list.empty()) return "";
  Table table({{"VULNERABILITY", false, true}, {"SEVERITY"}, {"EFFECT"}, {"IN", false, true}});
  std::size_t rows = 0;
  for (const json::Value& v : list) {
    if (++rows > kVulnerabilityRows) break;
    const json::Array& notes = v.items("annotations");
    const json::Value& note = notes.empty() ? json::Value() : notes.front();
    const json::Array purls = note.is_object() ? note.items("purls") : json::Array();
    const std::size_t more = purls.size() + static_cast<std::size_t>(note.is_object() ? note.integer("more") : 0);
    table.row({std::string(v.str("id")), word(rating_of(v)), word(note.is_object() ? note.str("effect") : std::string_view()),
               (purls.empty() ? std::string() : std::string(purls.front().as_string())) + (more > 1 ? " and " + std::to_string(more - 1) + " more" : "")});
  }
  std::string out = "\n" + table.render(paint, width);
  if (list.size() > kVulnerabilityRows) out += paint(Style::kDim, std::to_string(list.size() - kVulnerabilityRows) + " more: -o json has all") + "\n";
  return out;
}

}  // namespace

std::string attestation_text(const json::Value& statement, const json::Value& verdict, const Palette& paint, std::size_t width) {
  const json::Value& predicate = child(statement, "predicate");
  Facts facts;
  facts.add("says", statement.str("predicateType"));
  if (verdict.is_object()) {
    facts.add("verified", word(verdict.str("result"))).add("why", verdict.str("reason")).add("verified at", long_time(verdict.str("verified_at")));
    for (const json::Value& key : verdict.items("signers")) facts.add("signed by", key.is_string() ? key.as_string() : "");
    for (const json::Value& what : verdict.items("not_checked")) facts.add("not checked", Cell(what.is_string() ? what.as_string() : "", Style::kYellow));
  }
  const std::string_view type = statement.str("predicateType");
  if (type == evidence::kProvenancePredicate) provenance(predicate, facts);
  if (type == evidence::kVsaPredicate) summary(predicate, facts);
  if (type == evidence::kSvrPredicate) verification_result(predicate, facts);
  if (type == evidence::kVulnsPredicate) vulnerabilities(predicate, facts);
  std::string out;
  for (const json::Value& s : statement.items("subject")) out += paint(Style::kBold, printable(name_of(s))) + "  sha256:" + printable(digest_of(s)) + "\n";
  out += facts.render(paint, 2);
  out += resources("MADE FROM", child(predicate, "buildDefinition").items("resolvedDependencies"), paint, width);
  if (type == evidence::kVulnsPredicate) out += vulnerability_table(child(predicate, "scanner").items("result"), paint, width);
  out += resources("BESIDE IT", child(predicate, "runDetails").items("byproducts"), paint, width);
  return out;
}

}  // namespace stella::cli
