// libFuzzer entry: any text as an expression (checked and unchecked, evaluated within a small budget) and as a policy set, whose
// canonical form must read back to itself.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "stella/pipeline/policy/policy_set.h"

namespace {

class Nulls : public stella::pipeline::cel::Activation {
 public:
  stella::pipeline::cel::Value get(std::size_t) const override { return stella::pipeline::cel::Value::string("1.0"); }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::pipeline;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  cel::Scratch scratch(2'000);
  for (const bool check : {true, false})
    if (const auto program = cel::compile(text, policy_variables(), {.check = check})) {
      std::string shown;
      cel::append_json(shown, program->evaluate(Nulls(), scratch));
    }
  if (const auto set = parse_policy_set(text)) {
    const auto again = parse_policy_set(set->canonical);
    if (!again || again->canonical != set->canonical) std::abort();
  }
  return 0;
}
