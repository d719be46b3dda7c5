// One in-toto statement that is made and waits for its signature: what travels from who knows the facts to who holds the key. Pure.
#pragma once

#include <string>
#include <vector>

#include "stella/evidence/format/statement.h"

namespace stella::evidence {

struct Stated {
  std::string predicate_type;
  std::vector<Subject> subjects;  // at least one, as in `bytes`
  std::string bytes;              // RFC 8785 text of the statement
};

}  // namespace stella::evidence
