// Errors for people: what, why, where, what to do; and the exit code of each. Pure but for reading the document that an error points into.
#pragma once

#include <string>
#include <string_view>

#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/cli/console.h"

namespace stella::cli {

// Exit codes of every command; --help and the docs say the same.
inline constexpr int kExitDone = 0;         // done, or the verdict is good
inline constexpr int kExitFailed = 1;       // it failed, was refused, or a document was rejected; verification: FAIL
inline constexpr int kExitNotChecked = 2;   // verification: something required could not be checked
inline constexpr int kExitDecision = 3;     // evaluate --fail-on: the decision is at or above it; verification: malformed
inline constexpr int kExitNotAllowed = 4;   // no valid login, or a scope is missing
inline constexpr int kExitUnavailable = 5;  // the server or a part of it does not answer
inline constexpr int kExitUsage = 64;       // the command line cannot be understood

int exit_code(const Error& error);

// The same error, about a local document: rendering shows FILE:LINE:COLUMN and the line itself.
Error about_document(Error error, std::string_view path);

// What the server said (RFC 9457) as an Error: code by `code`, fields detail, remedy, trace_id, missing_scope, part, state and the members of
// errors[0]. `status` decides where the body is no problem document.
Error problem_error(int status, std::string_view body);
// {"code","message","root_cause","fields":{…}} as rows carry it (a rejected SBOM, a failed evaluation, a rejected document).
Error recorded_error(const json::Value& recorded);

// Lines that end with a newline.
std::string render_error(const Error& error, const Palette& palette);

// "FILE:LINE:COLUMN", the line, and a caret below the column; only the first line where the file or the line does not exist.
// Long lines are cut around the column. Columns count bytes from 1.
std::string render_position(std::string_view path, std::int64_t line, std::int64_t column, const Palette& palette);
// The same over text in memory.
std::string render_position_in(std::string_view text, std::string_view name, std::int64_t line, std::int64_t column, const Palette& palette);

}  // namespace stella::cli
