// An evaluation on one screen. Pure.
#pragma once

#include <string>

#include "stella/base/json.h"
#include "stella/cli/console.h"

namespace stella::cli {

std::string evaluation_text(const json::Value& evaluation, const Palette& palette);

}  // namespace stella::cli
