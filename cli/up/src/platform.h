// The start and the stop of the whole platform, step by step, each step told.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "collector.h"
#include "files.h"
#include "layout.h"
#include "state.h"

namespace stella::cli::up {

// Of several threads at once: what dies is told by the one that starts it again.
using Tell = std::function<void(std::string_view step)>;

class Platform {
 public:
  Platform(Layout layout, CollectorChoice collector, Tell tell) : layout_(std::move(layout)), collector_(std::move(collector)), tell_(std::move(tell)) {}
  Platform(const Platform&) = delete;
  Platform& operator=(const Platform&) = delete;
  ~Platform() { let_go(); }
  // Everything, in order; stops what was started where a step fails. Holds the lock from here on. kConflict with holder where another
  // `stella up` has it.
  Result<void> start(int http_port);
  // Returns when a stop was asked for; keeps the state file true while it waits.
  void wait();
  void stop();
  const State& state() const { return state_; }
  const Layout& layout() const { return layout_; }

 private:
  Result<void> prepare(int http_port);
  Result<void> start_parts();
  Result<void> start_collector();
  Result<void> start_part(process::Service service);
  void note_parts();
  void tell_restarts(const std::vector<Process>& before);
  void let_go();

  Layout layout_;
  CollectorChoice collector_;
  Tell tell_;
  State state_;
  Fd lock_;
  std::unique_ptr<process::Supervisor> supervisor_;
};

// config.json of the invoking user (and of SUDO_USER), so that `stella login` knows where. A profile that points to another server stays.
void write_profiles(const State& state, std::string_view username, const Tell& tell);

}  // namespace stella::cli::up
