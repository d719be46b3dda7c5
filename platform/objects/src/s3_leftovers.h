// What a crash leaves on S3: uploads that were begun and never ended. Their parts cost room and are in no listing of objects.
#pragma once

#include <chrono>

#include "s3_client.h"

namespace stella::objects {

// No upload of ours takes so long; of another process that shares the bucket one may be under way.
inline constexpr std::chrono::hours kUploadIsStale{24};

// Aborts the uploads to keys of ours (check_key) that were begun before `begun_before`; how many. A store that cannot list them has none (0).
Result<int> abort_stale_uploads(S3Client& client, Timestamp begun_before);

}  // namespace stella::objects
