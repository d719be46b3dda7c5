// What the allocator does with memory that is free.
#include <malloc.h>

#include "stella/platform/process.h"

namespace stella::process {

void keep_freed_memory() {
  constexpr int kKept = 8 << 20;
  mallopt(M_TRIM_THRESHOLD, kKept);
  mallopt(M_MMAP_THRESHOLD, kKept);
}

}  // namespace stella::process
