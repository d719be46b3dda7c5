// The first in the queue that has room goes next: within a tenant in order, and none holds up another.
#include "stella/web/turns.h"

#include <algorithm>
#include <utility>

namespace stella::web {
namespace {

std::size_t index(TurnKind kind) { return static_cast<std::size_t>(kind); }

}  // namespace

TurnLimits TurnLimits::of_workers(int workers) {
  TurnLimits out;
  out.running.per_tenant = std::max(1, workers * 3 / 4);
  out.may_take_long.in_all = out.awaiting.in_all = std::max(1, workers * 3 / 8);
  out.may_take_long.per_tenant = out.awaiting.per_tenant = std::max(1, out.awaiting.in_all * 2 / 3);
  return out;
}

Turns::Turn& Turns::Turn::operator=(Turn&& other) noexcept {
  if (this == &other) return *this;
  end();
  turns_ = std::exchange(other.turns_, nullptr);
  tenant_ = other.tenant_;
  kind_ = other.kind_;
  return *this;
}

void Turns::Turn::end() {
  if (Turns* turns = std::exchange(turns_, nullptr)) turns->give_back(*tenant_, kind_);
}

bool Turns::has_room(const Tenant& tenant, TurnKind kind) const {
  const auto below = [&](TurnKind one, const TurnLimits::Of& limit) { return now_[index(one)] < limit.in_all && tenant.now[index(one)] < limit.per_tenant; };
  if (kind == TurnKind::kAwaiting) return below(kind, limits_.awaiting);  // it runs already
  return below(TurnKind::kRunning, limits_.running) && (kind == TurnKind::kRunning || below(kind, limits_.may_take_long));
}

void Turns::count(Tenant& tenant, TurnKind kind, int by) {
  tenant.now[index(kind)] += by;
  now_[index(kind)] += by;
  if (kind == TurnKind::kLong) count(tenant, TurnKind::kRunning, by);
}

void Turns::grant(Tenant& tenant, TurnKind kind, Turn& turn) {
  count(tenant, kind, 1);
  turn.turns_ = this;
  turn.tenant_ = &tenant;
  turn.kind_ = kind;
}

Turns::Turn Turns::try_take(const TenantId& tenant, TurnKind kind) {
  Turn turn;
  const Lock lock(mutex_);
  Tenant& own = tenants_[tenant.str()];
  if (has_room(own, kind)) grant(own, kind, turn);
  return turn;
}

Turns::Outcome Turns::take_or_queue(const TenantId& tenant, TurnKind kind, const std::shared_ptr<Turn>& place, const std::function<std::function<void()>()>& make_resume) {
  const Lock lock(mutex_);
  Tenant& own = tenants_[tenant.str()];
  if (has_room(own, kind)) {
    grant(own, kind, *place);
    return Outcome::kGranted;
  }
  if (own.queued >= limits_.queued_per_tenant) return Outcome::kFull;
  waiters_.push_back({&own, kind, place, make_resume()});
  ++own.queued;
  return Outcome::kQueued;
}

void Turns::give_back(Tenant& tenant, TurnKind kind) {
  std::list<Waiter> next;  // resumed, and let go of, without the lock
  {
    const Lock lock(mutex_);
    count(tenant, kind, -1);
    for (auto it = waiters_.begin(); it != waiters_.end();) {
      const auto one = it++;
      one->granted = one->place.lock();
      if (one->granted && !has_room(*one->tenant, one->kind)) {
        one->granted.reset();  // no turn is in it, so nothing ends here
        continue;
      }
      if (one->granted) grant(*one->tenant, one->kind, *one->granted);
      --one->tenant->queued;
      next.splice(next.end(), waiters_, one);
    }
  }
  for (const Waiter& one : next) one.resume();
}

void Turns::set_limits(TurnLimits limits) {
  const Lock lock(mutex_);
  limits_ = limits;
}

int Turns::queued() {
  const Lock lock(mutex_);
  return static_cast<int>(waiters_.size());
}

int Turns::now(TurnKind kind) {
  const Lock lock(mutex_);
  return now_[index(kind)];
}

}  // namespace stella::web
