// Look-ups in the generated catalogues. The tables are small: linear search over string views, no static initialisation.
#include "stella/contracts/catalogue.h"

#include "stella/contracts/errors.h"
#include "stella/contracts/job_kinds.h"
#include "stella/contracts/scopes.h"

namespace stella::contracts {

const ErrorInfo& error_info(ErrorCode code) {
  for (const ErrorInfo& row : kErrors) {
    if (row.code == code) return row;
  }
  return kErrors.front();
}

const ErrorInfo* find_error(std::string_view wire) {
  for (const ErrorInfo& row : kErrors) {
    if (row.wire == wire) return &row;
  }
  return nullptr;
}

const EventKind* find_event(std::string_view kind) {
  for (const EventKind& row : event_kinds()) {
    if (row.kind == kind) return &row;
  }
  return nullptr;
}

const ScopeRow* find_scope(std::string_view text) {
  for (const ScopeRow& row : kScopes) {
    if (row.text == text || row.name == text) return &row;
  }
  return nullptr;
}

const JobKindRow* find_job_kind(std::string_view kind) {
  for (const JobKindRow& row : kJobKinds) {
    if (row.kind == kind) return &row;
  }
  return nullptr;
}

}  // namespace stella::contracts
