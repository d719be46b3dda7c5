// Migrations embedded at build time from db/migrations.
#pragma once

#include <span>
#include <string_view>

namespace stella::pg {

struct Migration {
  std::string_view name;
  std::string_view sql;
};
// In order of application. Defined in the generated migrations.cc.
std::span<const Migration> migrations();

}  // namespace stella::pg
