// Errors for people: what, why, where, what to do.
#include "stella/cli/errors.h"

#include <algorithm>
#include <charconv>

#include "stella/base/file.h"
#include "stella/base/limits.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/contracts/catalogue.h"
#include "stella/contracts/errors.h"

namespace stella::cli {
namespace {

namespace errors = contracts::errors;
constexpr std::size_t kExcerpt = 96;  // columns of a document's line

std::int64_t number(std::string_view text) {
  std::int64_t n = 0;
  const auto r = std::from_chars(text.data(), text.data() + text.size(), n);
  return r.ec == std::errc() && r.ptr == text.data() + text.size() ? n : 0;
}

std::string text_of(const json::Value& v) { return v.is_string() ? v.as_string() : json::dump(v); }

ErrorCode code_of(std::string_view wire, ErrorCode fallback) {
  const contracts::ErrorInfo* info = contracts::find_error(wire);
  return info == nullptr ? fallback : info->code;
}

// Names that problem documents and recorded errors use; anything else becomes part of `more`, so that nothing said is lost.
void take(Error& error, std::string_view name, std::string value) {
  if (value.empty() || value == "null") return;
  if (name == "line") return error.add("line", std::move(value));
  if (name == "column") return error.add("column", std::move(value));
  if (name == "expected") return error.add("expected", std::move(value));
  if (name == "field") return error.add("field", std::move(value));
  if (name == "pointer") return error.add("pointer", std::move(value));
  if (name == "limit") return error.add("limit", std::move(value));
  if (name == "actual") return error.add("actual", std::move(value));
  if (name == "part") return error.add("part", std::move(value));
  if (name == "state") return error.add("state", std::move(value));
  if (name == "reason") return error.add("reason", std::move(value));
  if (name == "missing_scope") return error.add("missing_scope", std::move(value));
  if (name == "decision_id") return error.add("decision_id", std::move(value));
  if (name == "root_cause") return error.add("root_cause", std::move(value));
  error.add("more", std::string(name) + " " + value);
}

struct Label {
  std::string_view field;
  std::string_view shown;
};
constexpr Label kLabels[] = {{"part", "part"}, {"cause", "cause"}, {"state", "state"}, {"root_cause", "why"}, {"reason", "why"}, {"pointer", "at"}, {"field", "field"}, {"expected", "expected"},
                             {"nearest", "near"}, {"actual", "actual"}, {"limit", "limit"}, {"missing_scope", "scope"}, {"path", "path"}, {"errno", "system"}, {"offset", "offset"},
                             {"program", "program"}, {"holder", "held by"}};

ErrorCode code_of_status(int status) {
  switch (status) {
    case 400: return base_errors::kMalformed;
    case 401: return errors::kUnauthenticated;
    case 403: return errors::kForbidden;
    case 404: return base_errors::kNotFound;
    case 409: return errors::kConflict;
    case 413: return errors::kTooLarge;
    case 415: return errors::kUnsupportedMediaType;
    case 422: return base_errors::kInvalid;
    case 429: return errors::kRateLimited;
    case 504: return errors::kTimeout;
    default: return status >= 502 ? errors::kUnavailable : base_errors::kInternal;
  }
}

std::string_view line_of(std::string_view text, std::int64_t line) {
  for (std::int64_t at = 1; at < line; ++at) {
    const std::size_t end = text.find('\n');
    if (end == std::string_view::npos) return {};
    text.remove_prefix(end + 1);
  }
  std::string_view out = text.substr(0, text.find('\n'));
  if (out.ends_with('\r')) out.remove_suffix(1);
  return out;
}

// Leaves bytes of one character together: a cut never falls inside one.
std::size_t character_start(std::string_view text, std::size_t at) {
  while (at > 0 && at < text.size() && (static_cast<unsigned char>(text[at]) & 0xc0) == 0x80) --at;
  return std::min(at, text.size());
}

}  // namespace

int exit_code(const Error& error) {
  if (error.code() == errors::kUnauthenticated || error.code() == errors::kForbidden) return kExitNotAllowed;
  if (error.code() == errors::kUnavailable || error.code() == errors::kRateLimited || error.code() == errors::kTimeout || error.code() == errors::kDiskFull) return kExitUnavailable;
  return kExitFailed;
}

Error about_document(Error error, std::string_view path) {
  if (error.field("document").empty()) error.add("document", std::string(path));
  return error;
}

Error problem_error(int status, std::string_view body) {
  const auto problem = json::parse(body);
  if (!problem || !problem->is_object() || problem->str("code").empty()) {
    Error error(code_of_status(status), "the server answered with an error");
    error.add("cause", "HTTP " + std::to_string(status) + (body.empty() ? "" : ": " + printable(body.substr(0, 200))));
    return error;
  }
  Error error(code_of(problem->str("code"), code_of_status(status)), "the server refused");
  error.add("detail", std::string(problem->str("detail")));
  if (!problem->str("remedy").empty()) error.add("remedy", std::string(problem->str("remedy")));
  error.add("server_trace", std::string(problem->str("trace_id")));
  for (const std::string_view name : {"part", "state", "reason", "missing_scope", "decision_id"}) take(error, name, std::string(problem->str(name)));
  for (const json::Value& where : problem->items("errors"))
    if (where.is_object())
      for (const auto& [name, value] : where.as_object()) take(error, name, text_of(value));
  return error;
}

Error recorded_error(const json::Value& recorded) {
  Error error(code_of(recorded.str("code"), errors::kJobFailed), "it was not accepted");
  if (!recorded.str("message").empty()) error.add("detail", std::string(recorded.str("message")));
  const json::Value* fields = recorded.find("fields");
  const json::Value& source = fields != nullptr && fields->is_object() ? *fields : recorded;
  if (source.is_object())
    for (const auto& [name, value] : source.as_object())
      if (name != "code" && name != "message" && name != "root_cause") take(error, name, text_of(value));
  // "failed: <message> (line=…)" says nothing new.
  const std::string_view message = recorded.str("message");
  if (message.empty() || recorded.str("root_cause").find(message) == std::string_view::npos) take(error, "root_cause", std::string(recorded.str("root_cause")));
  return error;
}

std::string render_position_in(std::string_view text, std::string_view name, std::int64_t line, std::int64_t column, const Palette& palette) {
  std::string head = printable(name) + ":" + std::to_string(line) + (column > 0 ? ":" + std::to_string(column) : "");
  std::string out = palette(Style::kBold, head) + "\n";
  const std::string_view whole = line_of(text, line);
  if (whole.data() == nullptr) return out;  // no such line
  const std::size_t at = column > 0 ? std::min(static_cast<std::size_t>(column - 1), whole.size()) : 0;
  const std::size_t from = at > kExcerpt * 2 / 3 ? character_start(whole, at - kExcerpt / 2) : 0;
  const std::size_t to = character_start(whole, std::min(whole.size(), from + kExcerpt));
  const std::string gutter = "  " + std::to_string(line) + " | ";
  const std::string lead = from > 0 ? "…" : "";
  const std::string before = lead + printable(whole.substr(from, at - from));
  out += palette(Style::kDim, gutter) + lead + printable(whole.substr(from, to - from)) + (to < whole.size() ? "…" : "") + "\n";
  if (column > 0) out += std::string(display_width(gutter) + display_width(before), ' ') + palette(Style::kRed, "^") + "\n";
  return out;
}

std::string render_position(std::string_view path, std::int64_t line, std::int64_t column, const Palette& palette) {
  auto text = read_file(std::string(path), limits::kSbomBytes);
  // Positions count in the document; of a compressed one only they are shown.
  if (text && text->starts_with("\x1f\x8b")) text = std::string();
  return render_position_in(text ? std::string_view(*text) : std::string_view(), path, line, column, palette);
}

std::string render_error(const Error& error, const Palette& palette) {
  const contracts::ErrorInfo& info = contracts::error_info(error.code());
  const std::string_view detail = error.field("detail");
  const std::string what = printable(detail.empty() ? error.message() : detail);
  std::string out = palette(Style::kRed, "error:") + " " + palette(Style::kBold, what) + "\n";
  const std::string_view document = error.field("document");
  const std::int64_t line = number(error.field("line"));
  if (!document.empty() && line > 0) {
    out += render_position(document, line, number(error.field("column")), palette);
  } else if (!document.empty()) {
    out += palette(Style::kBold, printable(document)) + "\n";
  }
  Facts facts;
  for (const Label& label : kLabels) {
    if (label.field == "reason" && error.field(label.field) == what) continue;
    facts.add(label.shown, std::string(error.field(label.field)));
  }
  if (document.empty() && line > 0) facts.add("line", std::string(error.field("line")) + ", column " + std::string(error.field("column")));
  for (const ErrorField& field : error.fields())
    if (field.name == "more") facts.add("", field.value);
  std::string_view remedy;  // the last one: who is nearer to the user knows better
  for (const ErrorField& field : error.fields())
    if (field.name == "remedy") remedy = field.value;
  // Remedies of the catalogue speak to who got a reply; here nobody was asked.
  if (remedy.empty() && detail.empty()) {
    const bool file = !error.field("path").empty() || !document.empty();
    if (error.code() == base_errors::kInvalid) remedy = "Give what is expected.";
    if (error.code() == base_errors::kNotFound && file) remedy = "Check the path.";
    if (error.code() == base_errors::kMalformed && file && line == 0) remedy = "This file is not what the command reads, or was changed: give another one.";
  }
  facts.add("to do", std::string(remedy.empty() ? info.remedy : remedy));
  facts.add("decision", std::string(error.field("decision_id")));
  return out + facts.render(palette, 2);
}

}  // namespace stella::cli
