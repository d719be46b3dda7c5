// Whose request runs next: no tenant takes all workers, and requests that may take long never do together. Who is over its share waits without a
// worker.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <string>
#include <unordered_map>

#include "stella/base/sync.h"
#include "stella/tenancy/scope.h"

namespace stella::web {

// What a request does with its worker. Whoever reads whole bundles counts as running as well.
enum class TurnKind : std::uint8_t { kRunning, kLong, kAwaiting };

struct TurnLimits {
  struct Of {
    int in_all, per_tenant;
  };
  Of running{1 << 20, 6};
  Of may_take_long{3, 2};
  Of awaiting{3, 2};            // ?wait=: polls until something is done
  int queued_per_tenant = 256;  // without a worker; beyond it: kFull
  // For so many workers: some are left whatever one tenant does, and whatever all do that takes long.
  static TurnLimits of_workers(int workers);
};

// Thread-safe. Outlives its turns.
class Turns {
  struct Tenant;

 public:
  explicit Turns(TurnLimits limits = TurnLimits()) : limits_(limits) {}
  Turns(const Turns&) = delete;
  Turns& operator=(const Turns&) = delete;

  // Counted from when it was granted to its end.
  class Turn {
   public:
    Turn() = default;
    Turn(Turn&& other) noexcept { *this = std::move(other); }
    Turn& operator=(Turn&& other) noexcept;
    ~Turn() { end(); }
    explicit operator bool() const { return turns_ != nullptr; }
    TurnKind kind() const { return kind_; }
    void end();

   private:
    friend class Turns;
    Turns* turns_ = nullptr;
    Tenant* tenant_ = nullptr;
    TurnKind kind_ = TurnKind::kRunning;
  };

  // A turn at once, or none.
  Turn try_take(const TenantId& tenant, TurnKind kind);

  enum class Outcome : std::uint8_t { kGranted, kQueued, kFull };
  // The same, in a place that outlives this call. kQueued: `make_resume` was called, and what it made is called from another's thread once `*place`
  // holds the turn, or is gone.
  Outcome take_or_queue(const TenantId& tenant, TurnKind kind, const std::shared_ptr<Turn>& place, const std::function<std::function<void()>()>& make_resume);

  void set_limits(TurnLimits limits);
  int queued();
  int now(TurnKind kind);

 private:
  using Counts = std::array<int, 3>;  // by kind
  struct Tenant {
    Counts now{};
    int queued = 0;
  };
  struct Waiter {
    Tenant* tenant;
    TurnKind kind;
    std::weak_ptr<Turn> place;
    std::function<void()> resume;
    std::shared_ptr<Turn> granted = nullptr;
  };
  bool has_room(const Tenant& tenant, TurnKind kind) const STELLA_REQUIRES(mutex_);
  void count(Tenant& tenant, TurnKind kind, int by) STELLA_REQUIRES(mutex_);
  void grant(Tenant& tenant, TurnKind kind, Turn& turn) STELLA_REQUIRES(mutex_);
  void give_back(Tenant& tenant, TurnKind kind);

  Mutex mutex_;
  TurnLimits limits_ STELLA_GUARDED_BY(mutex_);
  std::unordered_map<std::string, Tenant> tenants_ STELLA_GUARDED_BY(mutex_);  // a tenant's entry stays, so that its next request allocates nothing
  Counts now_ STELLA_GUARDED_BY(mutex_){};
  std::list<Waiter> waiters_ STELLA_GUARDED_BY(mutex_);  // in the order in which they came
};

}  // namespace stella::web
