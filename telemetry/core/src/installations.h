// The directories of all platforms of this user (telemetry_dir without a directory of its own): whose they are, and what becomes of those
// whose platform is no more.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "instance.h"
#include "stella/base/file.h"

namespace stella::telemetry {

// Writes down whose directory it is, where it does not say so yet.
void note_installation(const std::string& dir, std::string_view installation);

struct GoneInstallations {
  std::uint64_t platforms = 0, processes = 0, bytes = 0;
};
// Beside `own`: removes the directories of platforms whose data directory has not been there for `grace`, since that was first seen, and of
// which no process lives. What does not say whose it is, or says it in another mount namespace, stays: nothing is known of it.
GoneInstallations remove_gone_installations(const std::string& own, std::chrono::seconds grace);

// A directory (no link to one) of this user.
bool is_own_directory(const std::string& path);
// True once `mark` was there for `grace`; makes it where it is not.
bool seen_for(const std::string& mark, std::chrono::seconds grace);
// The lock of an instance whose process is dead; nothing where it lives.
std::optional<Fd> lock_of_dead(const std::string& instance, const InstanceName& name);

}  // namespace stella::telemetry
