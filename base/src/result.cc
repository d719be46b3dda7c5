// Error: field look-up and the text for people.
#include "stella/base/result.h"

namespace stella {

std::string_view Error::field(std::string_view name) const {
  for (const auto& f : fields_)
    if (f.name == name) return f.value;
  return {};
}

std::string Error::describe() const {
  std::string out(message_.view());
  if (fields_.empty()) return out;
  out += " (";
  for (std::size_t i = 0; i < fields_.size(); ++i) {
    if (i != 0) out += ", ";
    out.append(fields_[i].name).append("=").append(fields_[i].value);
  }
  out += ')';
  return out;
}

}  // namespace stella
