// libFuzzer entry: any text as `baggage` values (one line a value): what is read is written in a form that reads back as itself, within the
// limits, and what is let through has allowed keys only.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <string_view>
#include <vector>

#include "stella/telemetry/propagation.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace stella::telemetry;
  static const bool ready = allow_baggage(std::vector<std::string>{"case", "k", "!"}).has_value();
  if (!ready) std::abort();
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  std::vector<std::string_view> values;
  for (std::size_t at = 0; at <= size;) {
    const std::size_t end = std::min(text.find('\n', at), size);
    values.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  const Baggage baggage = Baggage::parse(values);
  if (baggage.members().size() > Baggage::kMembers) std::abort();
  const std::string written = baggage.str();
  const std::string_view once[] = {written};
  // U+FFFD takes more room than the octet that it stands for: only what fits reads back.
  const Baggage again = Baggage::parse(once);
  if (written.size() <= Baggage::kBytes && (again.str() != written || again.members().size() != baggage.members().size())) std::abort();
  Extractor caller;
  for (const std::string_view value : values) caller.header("baggage", value);
  const std::string& let_through = caller.allowed_baggage();
  if (let_through.size() > Baggage::kBytes) std::abort();
  const std::string_view through[] = {let_through};
  const Baggage sent = Baggage::parse(through);
  for (const Baggage::Member& m : sent.members())
    if (m.key != "case" && m.key != "k" && m.key != "!") std::abort();
  if (sent.members().empty() != let_through.empty()) std::abort();
  return 0;
}
