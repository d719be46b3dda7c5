// A statement about an artifact on one screen. Pure.
#pragma once

#include <string>

#include "stella/base/json.h"
#include "stella/cli/console.h"

namespace stella::cli {

// An in-toto Statement v1 (`statement`), with the server's verdict on it (null: none).
std::string attestation_text(const json::Value& statement, const json::Value& verdict, const Palette& palette, std::size_t width);

}  // namespace stella::cli
