// Counts operations; strikes once.
#include "faults.h"

#include <csignal>
#include <unistd.h>

#include "stella/base/sync.h"

namespace stella::chaos {
namespace {

thread_local int quiet = 0;

struct State {
  Mutex mutex;
  Fault fault STELLA_GUARDED_BY(mutex);
  std::array<int, kPlaces> count STELLA_GUARDED_BY(mutex){};
  std::array<bool, kPlaces> hit STELLA_GUARDED_BY(mutex){};  // the operation that was begun last is the fault's
  bool struck STELLA_GUARDED_BY(mutex) = false;
};

State& state() {
  static State instance;
  return instance;
}

constexpr const char* kWhere[] = {"nowhere", "store read", "store change", "file call", "commit", "database trip"};
constexpr const char* kWhat[] = {"dies before", "dies after", "dies during", "error instead of", "error in spite of", "disk full from", "stalls before", "stalls after"};

}  // namespace

std::string Fault::str() const {
  if (where == Where::kNowhere) return "no fault";
  const bool lasts = what == What::kFailBefore || what == What::kFailAfter || what == What::kFull;
  return std::string(kWhat[static_cast<int>(what)]) + " " + kWhere[static_cast<int>(where)] + " " + std::to_string(at) + (lasts ? " for " + std::to_string(length) : "");
}

Fault draw(Dice& dice, int parts) {
  constexpr int kMost[] = {0, 130, 60, 180, 120, 450};  // about as many as all the work of a seed takes
  constexpr Where kPlacesDrawn[] = {Where::kRead, Where::kChange, Where::kChange, Where::kChange, Where::kFile, Where::kFile, Where::kCommit, Where::kCommit, Where::kCommit, Where::kTrip};
  Fault out;
  out.where = kPlacesDrawn[dice.roll(10)];
  out.at = 1 + dice.roll(8 + kMost[static_cast<int>(out.where)] / parts);
  constexpr What kOfStore[] = {What::kDieBefore, What::kDieAfter, What::kDieAfter, What::kDieDuring, What::kFailBefore, What::kFailAfter, What::kFull, What::kStallBefore, What::kStallAfter};
  constexpr What kOfDatabase[] = {What::kDieBefore, What::kDieAfter, What::kDieAfter, What::kDieDuring, What::kFailBefore, What::kFailAfter, What::kFailAfter, What::kStallBefore, What::kStallAfter};
  out.what = (out.where == Where::kRead || out.where == Where::kChange || out.where == Where::kFile ? kOfStore : kOfDatabase)[dice.roll(9)];
  if (out.where == Where::kRead && out.what == What::kFull) out.what = What::kFailBefore;
  out.length = out.what == What::kFull ? 1 + dice.roll(60) : dice.one_in(3) ? 1 + dice.roll(12) : 1;
  return out;
}

void arm(const Fault& fault) {
  const Lock lock(state().mutex);
  state().fault = fault;
  state().count = {};
  state().hit = {};
  state().struck = false;
}

std::array<int, kPlaces> counted() {
  const Lock lock(state().mutex);
  return state().count;
}

bool struck() {
  const Lock lock(state().mutex);
  return state().struck;
}

void die() {
  ::kill(::getpid(), SIGKILL);
  for (;;) ::pause();
}

Verdict before(Where where) {
  if (quiet > 0) return Verdict::kGo;
  What what{};
  {
    const Lock lock(state().mutex);
    const auto i = static_cast<std::size_t>(where);
    const int n = ++state().count[i];
    const Fault& fault = state().fault;
    const bool lasts = fault.what == What::kFailBefore || fault.what == What::kFailAfter || fault.what == What::kFull;
    state().hit[i] = fault.where == where && n >= fault.at && n < fault.at + (lasts ? fault.length : 1);
    if (!state().hit[i]) return Verdict::kGo;
    state().struck = true;
    what = fault.what;
    if (what == What::kFull) return n == fault.at ? Verdict::kHalf : Verdict::kFull;
  }
  if (what == What::kDieBefore) die();
  if (what == What::kStallBefore) ::raise(SIGSTOP);
  if (what == What::kDieDuring) return Verdict::kHalfAndDie;
  return what == What::kFailBefore ? Verdict::kFail : Verdict::kGo;
}

Verdict after(Where where) {
  if (quiet > 0) return Verdict::kGo;
  What what{};
  {
    const Lock lock(state().mutex);
    const auto i = static_cast<std::size_t>(where);
    if (!state().hit[i]) return Verdict::kGo;
    state().hit[i] = false;
    what = state().fault.what;
  }
  if (what == What::kDieAfter) die();
  if (what == What::kStallAfter) ::raise(SIGSTOP);
  return what == What::kFailAfter ? Verdict::kFail : Verdict::kGo;
}

Next next(Where where) {
  if (quiet > 0) return Next::kNothing;
  const Lock lock(state().mutex);
  if (!state().hit[static_cast<std::size_t>(where)]) return Next::kNothing;
  const What what = state().fault.what;
  if (what == What::kFailAfter) return Next::kFail;
  return what == What::kDieAfter || what == What::kStallAfter ? Next::kStrike : Next::kNothing;
}

Quietly::Quietly() { ++quiet; }
Quietly::~Quietly() { --quiet; }

}  // namespace stella::chaos
