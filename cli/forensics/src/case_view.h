// How a case is shown: its state, how long it is kept, its holds. Shared by the commands about holds and about cases.
#pragma once

#include <string>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/cli/app.h"
#include "stella/cli/errors.h"

namespace stella::cli {

// Kept to one spelling before a request is made of it. kInvalid.
inline Result<void> check_case(const std::string& case_id) {
  if (CaseId::parse(case_id)) return {};
  return Error(base_errors::kInvalid, "not a case id").with("field", "--case").with("expected", std::string(CaseIdTag::kPattern));
}

// Prints a case as the API describes it, as JSON or for people.
Result<int> show_case(Session& session, const json::Value& state);

}  // namespace stella::cli
