// The logger. A call site names a literal message and typed fields; tenant, trace, route, job … come from the ambient context.
//
//   static constexpr telemetry::Logger kLog{"web"};
//   kLog.info("sbom accepted", {f::sbom_id(id), f::duration(d)});
//
// Never blocks on input or output, never fails, never throws. Thread-safe.
#pragma once

#include <atomic>
#include <cstdint>
#include <initializer_list>
#include <optional>
#include <string_view>

#include "stella/base/result.h"
#include "stella/telemetry/field.h"
#include "stella/telemetry/fields.h"

namespace stella::telemetry {

enum class Level : std::uint8_t { kTrace, kDebug, kInfo, kWarn, kError };
std::string_view to_string(Level level);
std::optional<Level> parse_level(std::string_view text);

// Least level that is emitted; changeable at any time. Errors always are.
void set_level(Level level);

namespace detail {
extern std::atomic<Level> g_level;
void emit(Level level, std::string_view module, std::string_view message, std::initializer_list<Field> fields);
}  // namespace detail

class Logger {
 public:
  // `module` is the folder or area that logs ("web", "timeline.indexer").
  explicit consteval Logger(Literal module) : module_(module.view()) {}

  void trace(Literal message, std::initializer_list<Field> fields = {}) const { log(Level::kTrace, message, fields); }
  void debug(Literal message, std::initializer_list<Field> fields = {}) const { log(Level::kDebug, message, fields); }
  void info(Literal message, std::initializer_list<Field> fields = {}) const { log(Level::kInfo, message, fields); }
  void warn(Literal message, std::initializer_list<Field> fields = {}) const { log(Level::kWarn, message, fields); }
  void error(Literal message, std::initializer_list<Field> fields = {}) const { log(Level::kError, message, fields); }
  void log(Level level, Literal message, std::initializer_list<Field> fields = {}) const {
    if (level >= detail::g_level.load(std::memory_order_relaxed)) detail::emit(level, module_, message.view(), fields);
  }

 private:
  std::string_view module_;
};

}  // namespace stella::telemetry
