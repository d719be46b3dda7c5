// Child processes: spawn, supervise, drop privileges, wait; and the program's own signals. Thread-safe unless said otherwise.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/result.h"
#include "stella/base/time.h"

namespace stella::process {

struct User {
  unsigned uid = 0;
  unsigned gid = 0;
};
Result<User> find_user(const std::string& name);  // kNotFound

struct SpawnOptions {
  std::vector<std::string> argv;                              // argv[0] is a path
  std::vector<std::pair<std::string, std::string>> environment;  // exactly these; nothing is inherited
  std::string directory = "/";
  std::optional<User> user;                                   // setgroups, setgid, setuid before exec (needs root)
  std::string stdout_path;                                    // appended; "" inherits
  std::string stderr_path;
  std::vector<std::pair<int, int>> fds;                       // {ours, number in the child}; everything else is closed
  // PR_SET_PDEATHSIG SIGKILL. The kernel's "parent" is the calling thread: spawn from one that lives as long as the child should (Supervisor does).
  bool die_with_parent = true;
  bool new_session = false;
};

// A running child; the destructor neither kills nor waits.
class Child {
 public:
  // Returns once the program runs. kIo with program, step (program, directory, setuid, …) and errno where it cannot be started; kInvalid for
  // an empty argv or NUL inside. Thread-safe; a Child itself belongs to one thread at a time.
  static Result<Child> spawn(const SpawnOptions& options);
  int pid() const { return pid_; }
  // Exit status once it ended (exit code, or 128 + signal); nullopt while it runs or where the deadline passed.
  std::optional<int> try_wait();
  std::optional<int> wait(Deadline deadline);
  // SIGTERM, then SIGKILL at the deadline; returns the status.
  int stop(Deadline deadline);
  void signal(int number);

 private:
  explicit Child(int pid) : pid_(pid) {}
  int pid_ = -1;
  std::optional<int> status_;
};

// Keeps children alive: restarts what dies with growing delay (100 ms … 5 s), until stop(). Runs in its own thread.
struct Service {
  std::string name;
  SpawnOptions options;
  std::function<bool()> ready;   // polled until true or `ready_timeout`; null: ready at once
  std::chrono::milliseconds ready_timeout{30000};
  std::function<bool()> give_up;  // asked while it is not ready: true ends the wait, and it is stopped; null: never
  std::chrono::milliseconds stop_timeout{10000};
  int stop_signal = 15;
  std::string outlives;          // name of a service that was started before this one and all the same ends before it; "": none
  std::function<void(int status)> on_exit;  // told (from the supervisor's thread) whenever it ended without being asked to; must not call back
};
class Supervisor {
 public:
  Supervisor();
  ~Supervisor();  // stops everything, newest first
  // Starts and waits until it is ready; kUnavailable with part=<name>, cause, and log=<last lines it wrote> otherwise (and it is stopped).
  // A service that ends before it was ready is not tried again. kConflict where one of this name exists.
  Result<void> start(Service service);
  // Stops one: its signal, then SIGKILL after its stop_timeout. kNotFound.
  Result<void> stop(const std::string& name);
  // Newest first, but for Service::outlives; nothing is restarted from here on. `stopped` is told of each that ended its name
  // and exit status (as Child::try_wait).
  void stop_all(const std::function<void(const std::string& name, int status)>& stopped = {});
  // name, pid, restarts; backwards this is the order of stop_all
  struct Status {
    std::string name;
    int pid = 0;
    int restarts = 0;
  };
  std::vector<Status> status() const;
  struct Impl;

 private:
  std::unique_ptr<Impl> impl_;
};

// SIGTERM and SIGINT become a flag and wake wait_for_stop(). Call once, first thing in main.
void install_stop_signals();
bool stop_requested();
// SIGHUP (the terminal is gone) is a request to stop, too, unless it is ignored (nohup). For programs in the foreground, after install_stop_signals().
void stop_on_hangup();
// True where a stop was requested before the deadline.
bool wait_for_stop(Deadline deadline);

// Memory that was freed stays with the process, up to 8 MiB for each of the allocator's arenas. For servers: buffers of a batch or a request
// come and go, and the kernel gives every 4 KiB of them back as a page fault. Call once, first thing in main.
void keep_freed_memory();

// flock on a file of mode 0600 with our pid as content; kConflict with field holder=<pid> where another process holds it.
Result<Fd> lock_file(const std::string& path);

}  // namespace stella::process
