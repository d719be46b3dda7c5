// The linker sends the product's system calls and its calls of libpq through here (--wrap in CMakeLists.txt): no line of the product knows of it.
//
// Files: below the run's directory alone. A sync is counted and not made: what dies here is a process, and the page cache survives it.
// Database: COMMIT is a prepared statement like any other, known by its text.
#include <libpq-fe.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/types.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <map>
#include <set>
#include <string>

#include "faulty_calls.h"
#include "faults.h"
#include "stella/base/sync.h"

extern "C" {
ssize_t __real_write(int fd, const void* bytes, std::size_t size);
int __real_fsync(int fd);
int __real_syncfs(int fd);
int __real_linkat(int from, const char* old_name, int to, const char* name, int flags);
int __real_unlinkat(int dir, const char* name, int flags);
int __real_mkdirat(int dir, const char* name, mode_t mode);
int __real_fsetxattr(int fd, const char* name, const void* value, std::size_t size, int flags);
int __real_PQsendPrepare(PGconn* connection, const char* name, const char* sql, int count, const Oid* types);
int __real_PQsendQueryPrepared(PGconn* connection, const char* name, int count, const char* const* values, const int* lengths, const int* formats, int format);
int __real_PQpipelineSync(PGconn* connection);
void __real_PQfinish(PGconn* connection);
}

namespace stella::chaos {
namespace {

std::string& root() {
  static std::string path;
  return path;
}

bool ours(int fd) {
  if (fd <= 2 || root().empty()) return false;
  const int problem = errno;
  std::array<char, 512> path{};
  const ssize_t n = ::readlink(("/proc/self/fd/" + std::to_string(fd)).c_str(), path.data(), path.size());
  errno = problem;
  return n > 0 && std::string_view(path.data(), static_cast<std::size_t>(n)).starts_with(root());
}

// A call that happens or does not. `frees`: it makes room and never lacks any.
template <class Call>
int whole(int fd, Call call, bool frees = false) {
  if (!ours(fd)) return call();
  const auto no = [](int problem) { return errno = problem, -1; };
  switch (before(Where::kFile)) {
    case Verdict::kGo: break;
    case Verdict::kFail: return no(EIO);
    case Verdict::kHalf:
    case Verdict::kFull:
      if (frees) break;
      return no(ENOSPC);
    case Verdict::kHalfAndDie: die();
  }
  const int out = call();
  const int problem = errno;
  if (after(Where::kFile) == Verdict::kFail) return no(EIO);
  errno = problem;
  return out;
}

// ── Connections ────────────────────────────────────────────────────────────────────────────────────────────────────

struct Connections {
  Mutex mutex;
  std::map<PGconn*, std::set<std::string>> commit STELLA_GUARDED_BY(mutex);  // names under which COMMIT is prepared
  std::set<PGconn*> committing STELLA_GUARDED_BY(mutex);
};

Connections& connections() {
  static Connections instance;
  return instance;
}

void cut(PGconn* connection) { ::shutdown(PQsocket(connection), SHUT_RDWR); }

void send_all(PGconn* connection) {
  while (PQflush(connection) == 1) {
    pollfd p{PQsocket(connection), POLLOUT, 0};
    ::poll(&p, 1, 1000);
  }
}

void await(PGconn* connection) {
  pollfd p{PQsocket(connection), POLLIN, 0};
  ::poll(&p, 1, 20'000);
}

// Takes the server's answer away, up to its "ready for query".
void swallow(PGconn* connection) {
  constexpr char kReady[] = {'Z', 0, 0, 0, 5};
  std::string tail;
  while (tail.size() < 6 || tail.compare(tail.size() - 6, 5, kReady, 5) != 0) {
    await(connection);
    std::array<char, 4096> buffer{};
    const ssize_t n = ::recv(PQsocket(connection), buffer.data(), buffer.size(), MSG_DONTWAIT);
    if (n <= 0) return;
    tail.append(buffer.data(), static_cast<std::size_t>(n));
    if (tail.size() > 64) tail.erase(0, tail.size() - 64);
  }
}

// One pipeline and its sync. What comes after it comes when the server has done all of it and the caller has not heard of it.
int trip(PGconn* connection, Where where) {
  switch (before(where)) {
    case Verdict::kGo: break;
    case Verdict::kHalfAndDie:
      (void)__real_PQpipelineSync(connection);
      send_all(connection);
      die();
    case Verdict::kFail:
    case Verdict::kFull:
    case Verdict::kHalf: cut(connection); break;
  }
  const int out = __real_PQpipelineSync(connection);
  const Next then = next(where);
  if (then == Next::kNothing) return out;
  send_all(connection);
  then == Next::kFail ? swallow(connection) : await(connection);
  if (after(where) == Verdict::kFail) cut(connection);
  return out;
}

}  // namespace

void watch_files_below(const std::string& path) { root() = path; }

}  // namespace stella::chaos

using stella::Lock;
using stella::chaos::Verdict;
using stella::chaos::Where;

extern "C" {

ssize_t __wrap_write(int fd, const void* bytes, std::size_t size) {
  if (!stella::chaos::ours(fd)) return __real_write(fd, bytes, size);
  const auto no = [](int problem) { return errno = problem, ssize_t{-1}; };
  switch (stella::chaos::before(Where::kFile)) {
    case Verdict::kGo: break;
    case Verdict::kFail: return no(EIO);
    case Verdict::kFull: return no(ENOSPC);
    case Verdict::kHalf: return size > 1 ? __real_write(fd, bytes, size / 2) : no(ENOSPC);
    case Verdict::kHalfAndDie:
      (void)__real_write(fd, bytes, size / 2);
      stella::chaos::die();
  }
  const ssize_t out = __real_write(fd, bytes, size);
  return stella::chaos::after(Where::kFile) == Verdict::kFail ? no(EIO) : out;
}

int __wrap_fsync(int fd) {
  if (!stella::chaos::ours(fd)) return __real_fsync(fd);
  return stella::chaos::whole(fd, [] { return 0; });
}

int __wrap_syncfs(int fd) {
  if (!stella::chaos::ours(fd)) return __real_syncfs(fd);
  return stella::chaos::whole(fd, [] { return 0; });
}

int __wrap_linkat(int from, const char* old_name, int to, const char* name, int flags) {
  return stella::chaos::whole(to, [&] { return __real_linkat(from, old_name, to, name, flags); });
}

int __wrap_unlinkat(int dir, const char* name, int flags) {
  return stella::chaos::whole(dir, [&] { return __real_unlinkat(dir, name, flags); }, true);
}

int __wrap_mkdirat(int dir, const char* name, mode_t mode) {
  return stella::chaos::whole(dir, [&] { return __real_mkdirat(dir, name, mode); });
}

int __wrap_fsetxattr(int fd, const char* name, const void* value, std::size_t size, int flags) {
  return stella::chaos::whole(fd, [&] { return __real_fsetxattr(fd, name, value, size, flags); });
}

int __wrap_PQsendPrepare(PGconn* connection, const char* name, const char* sql, int count, const Oid* types) {
  if (std::strcmp(sql, "COMMIT") == 0) {
    auto& all = stella::chaos::connections();
    const Lock lock(all.mutex);
    all.commit[connection].insert(name);
  }
  return __real_PQsendPrepare(connection, name, sql, count, types);
}

int __wrap_PQsendQueryPrepared(PGconn* connection, const char* name, int count, const char* const* values, const int* lengths, const int* formats, int format) {
  {
    auto& all = stella::chaos::connections();
    const Lock lock(all.mutex);
    if (const auto found = all.commit.find(connection); found != all.commit.end() && found->second.contains(name)) all.committing.insert(connection);
  }
  return __real_PQsendQueryPrepared(connection, name, count, values, lengths, formats, format);
}

int __wrap_PQpipelineSync(PGconn* connection) {
  bool commits = false;
  {
    auto& all = stella::chaos::connections();
    const Lock lock(all.mutex);
    commits = all.committing.erase(connection) > 0;
  }
  return stella::chaos::trip(connection, commits ? Where::kCommit : Where::kTrip);
}

void __wrap_PQfinish(PGconn* connection) {
  {
    auto& all = stella::chaos::connections();
    const Lock lock(all.mutex);
    all.commit.erase(connection);
    all.committing.erase(connection);
  }
  __real_PQfinish(connection);
}

}  // extern "C"
