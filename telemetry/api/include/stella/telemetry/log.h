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

// Least level that is emitted; changeable at any time, in force for the next call. Errors always are. The most exact rule decides: tenant and
// module, tenant, module, process. A tenant is that of the ambient context.
void set_level(Level level);
void set_module_level(std::string_view module, Level level);
void clear_module_level(std::string_view module);
// `module` "*" is every module without a rule of its own.
void set_tenant_level(std::string_view tenant, std::string_view module, Level level);
inline void set_tenant_level(std::string_view tenant, Level level) { set_tenant_level(tenant, "*", level); }
void clear_tenant_levels(std::string_view tenant);
// What holds now for a call of `module` in the work of `tenant`.
Level level_of(std::string_view module, std::string_view tenant);

namespace detail {
extern std::atomic<Level> g_level;  // the least of all rules: what is below it needs no look at them
// Lays the record out in the thread's scratch, scrubbed, and pushes it: no lock, no allocation, no system call.
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
