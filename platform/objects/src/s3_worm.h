// The WORM probe of the S3 driver: locks a canary and tries to break the lock in every way the protocol has.
#pragma once

#include <string>
#include <string_view>

#include "s3_client.h"

namespace stella::objects {

// Where the driver's canaries of readiness lie, each a UUID of version 7.
inline constexpr std::string_view kReadyCanaries = ".canary/ready/";

// Clears away what canaries earlier ones left, then see Store::worm_probe(). `mode` is the lock that is in use; kNone tries compliance and, where that does not hold, governance.
Result<WormReport> s3_worm_probe(S3Client& client, LockMode mode, bool create_only, const std::string& second_domain);

}  // namespace stella::objects
