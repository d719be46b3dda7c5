// One batch of one shard: outbox rows become log rows in one transaction under the shard's lease.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "stella/platform/pg.h"
#include "stella/telemetry/work.h"

namespace stella::timeline {

struct Lease {
  int shard = 0;
  std::int64_t fence = 0;
  std::string owner;
};

// An event with its place in the log, for publication.
struct Logged {
  std::string tenant;
  std::int64_t log_index = 0;
  std::string entry;
  std::string traceparent;
  std::string tracestate;
};

// A batch belongs to many traces: links to the first of them.
void link_origins(telemetry::Work& work, std::span<const Logged> events);

struct BatchResult {
  bool lease_lost = false;
  int taken = 0;    // outbox rows that are gone
  int repeats = 0;  // of these: in the log already
  std::vector<Logged> logged;  // in log order per tenant
};

// Of all tenants but these. `repeats_possible`: looks for events that the log has already (dear; after a conflict only). Errors: what the database refuses (field sqlstate); kMalformed where an entry is none; kInternal with the field tenant where
// the head of that one's log is broken.
Result<BatchResult> index_batch(pg::SystemPool<pg::IndexerRole>& pool, const Lease& lease, int limit, bool repeats_possible, std::span<const std::string> but = {});
// The same of these outbox rows alone, those that are gone already left out; looks for repeats.
Result<BatchResult> index_rows(pg::SystemPool<pg::IndexerRole>& pool, const Lease& lease, std::span<const std::string> seqs);
// As a bind parameter: {1,2,3}.
std::string int_array(std::span<const std::string> items);

}  // namespace stella::timeline
