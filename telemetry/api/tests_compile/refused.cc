// Each case must not compile, with the message that its test expects; case 0 must.
#include <fmt/core.h>

#include <iostream>
#include <string>

#include "stella/telemetry/log.h"
#include "stella/telemetry/metrics.h"

namespace stella {
constexpr telemetry::Logger kLog{"unit"};
constexpr telemetry::Counter kRequests{contracts::metrics::kHttpRequests};

void call(const Secret<std::string>& secret, const Pii<std::string>& pii, const std::string& text) {
#if CASE == 0
  kLog.info("fine", {f::reason(text), f::email(pii)});
  kRequests.add(1, "GET", text, "2xx");
#elif CASE == 1
  kLog.info("secret as field", {f::reason(secret)});
#elif CASE == 2
  kLog.info("secret as personal field", {f::email(secret)});
#elif CASE == 3
  kLog.info("personal datum in a plain field", {f::reason(pii)});
#elif CASE == 4
  kLog.info(text.c_str());
#elif CASE == 5
  std::cout << secret;
#elif CASE == 6
  (void)fmt::format("{}", secret);
#elif CASE == 7
  kRequests.add(1, "GET", text);
#elif CASE == 8
  kLog.info("personal field without its type", {f::email(text)});
#endif
  (void)secret, (void)pii, (void)text;
}
}  // namespace stella
