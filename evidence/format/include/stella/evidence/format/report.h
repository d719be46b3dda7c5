// report.html: what a person reads first. One self-contained page without script; everything in it is escaped. Pure and deterministic: the
// report is a leaf, so it may contain no bundle id, no time of sealing and nothing else that differs between two bundles of the same thing.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stella::evidence {

enum class ReportTone { kNeutral, kGood, kWarn, kBad };

struct ReportStep {
  std::string title;                                          // "policy.evaluate"
  std::string detail;                                         // a sentence
  std::vector<std::pair<std::string, std::string>> inputs;   // name, sha256
  std::vector<std::pair<std::string, std::string>> outputs;  // name, sha256
};

struct ReportTable {
  std::string title;
  std::string note;
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;
};

struct Report {
  std::string title;    // "Evaluation of app.cdx.json"
  std::string outcome;  // "deny": shown as a badge
  ReportTone tone = ReportTone::kNeutral;
  std::string summary;                                       // the story in a few sentences; line breaks make paragraphs
  std::vector<std::pair<std::string, std::string>> facts;   // name, value
  std::vector<ReportTable> tables;                           // findings, counts …
  std::vector<ReportStep> chain;                             // from source to decision, in order
  bool replayable = false;                                   // an evaluation: its outputs can be made again from its inputs
  std::vector<std::string> bundles;                          // paths of the bundles of evaluations inside of this one
};

// Escapes &, <, >, " and '; control characters become U+FFFD.
std::string escape_html(std::string_view text);

// The page ends with the claims of such a bundle, each beside the command that checks it: those that hold for each bundle of its kind.
std::string build_report(const Report& report);

}  // namespace stella::evidence
