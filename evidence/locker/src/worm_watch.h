// What the store really keeps, as its last probe saw it: asked before the first seal and once a day from there on.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "stella/base/result.h"
#include "stella/base/sync.h"
#include "stella/platform/objects.h"
#include "stella/platform/pg.h"

namespace stella::evidence {

// One thread at a time.
class WormWatch {
 public:
  struct Seen {
    objects::WormLevel level = objects::WormLevel::kPlain;
    Sha256 digest;  // of the transcript, an object of the platform's tenant
  };

  // `store_name`: what the event calls the store ("posix", "s3").
  WormWatch(std::string store_name, std::chrono::seconds every) : store_name_(std::move(store_name)), every_(every) {}

  // Probes where that is due; the transcript becomes an object and store.probed names its digest. An error leaves what was seen before, and
  // the next attempt is a minute away.
  Result<void> look(pg::SystemPool<pg::LockerRole>& pool, objects::Store& store);
  // nullopt: this process has not seen it yet.
  const std::optional<Seen>& seen() const { return seen_; }

 private:
  Result<void> probe(pg::SystemPool<pg::LockerRole>& pool, objects::Store& store);

  const std::string store_name_;
  const std::chrono::seconds every_;
  std::optional<Seen> seen_;
  Deadline due_ = Deadline::after(std::chrono::milliseconds(0));
};

}  // namespace stella::evidence
