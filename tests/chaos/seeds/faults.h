// What goes wrong in a process, and when: one fault at the n-th operation of a kind, drawn from a seed.
#pragma once

#include <array>
#include <cstdint>
#include <string>

namespace stella::chaos {

// The same numbers from the same seed on every machine.
class Dice {
 public:
  explicit Dice(std::uint64_t seed) : state_(seed) {}
  std::uint64_t next() {  // splitmix64
    std::uint64_t z = state_ += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31);
  }
  // 0 … sides-1.
  int roll(int sides) { return static_cast<int>(next() % static_cast<std::uint64_t>(sides)); }
  bool one_in(int n) { return roll(n) == 0; }

 private:
  std::uint64_t state_;
};

// What is counted.
enum class Where : std::uint8_t {
  kNowhere,
  kRead,    // calls of the object store that read
  kChange,  // calls of the object store that change it
  kFile,    // system calls of the store's driver and of the seal's temporary file that change something
  kCommit,  // COMMITs of the database
  kTrip,    // all other round trips to the database
};
inline constexpr int kPlaces = 6;

enum class What : std::uint8_t {
  kDieBefore,    // SIGKILL; the operation was not begun
  kDieAfter,     // it is done, and nobody was told
  kDieDuring,    // half of a write, some objects of many; a COMMIT that is sent and not answered
  kFailBefore,   // an error, nothing done: the store answers 503, EIO, the connection is lost
  kFailAfter,    // an error, and yet it is done
  kFull,         // no room left: half a write, then ENOSPC
  kStallBefore,  // SIGSTOP until others believe that it is dead
  kStallAfter,
};

struct Fault {
  Where where = Where::kNowhere;
  What what = What::kDieBefore;
  int at = 0;      // the n-th operation, from 1
  int length = 1;  // of failures: so many operations in a row
  std::string str() const;
};

// The fault of one of `parts` processes that share the work.
Fault draw(Dice& dice, int parts);

// From here on this process has that fault.
void arm(const Fault& fault);
// How many operations of each kind were counted.
std::array<int, kPlaces> counted();
// Whether the fault has come.
bool struck();

// Around an operation. What must be done instead of it.
enum class Verdict : std::uint8_t { kGo, kFail, kFull, kHalf, kHalfAndDie };
Verdict before(Where where);
// kGo or kFail.
Verdict after(Where where);

// What after() is about to do.
enum class Next : std::uint8_t { kNothing, kStrike, kFail };
Next next(Where where);

[[noreturn]] void die();

// What a thread does meanwhile is not counted and never fails: the test's own reading and writing.
class Quietly {
 public:
  Quietly();
  ~Quietly();
  Quietly(const Quietly&) = delete;
  Quietly& operator=(const Quietly&) = delete;
};

}  // namespace stella::chaos
