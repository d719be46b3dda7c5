// The private PostgreSQL cluster's directory: found programs, initdb, settings, what a power cut leaves behind.
#pragma once

#include <string>

#include "files.h"
#include "layout.h"

namespace stella::cli::up {

inline constexpr int kLeastPostgres = 15;

// The bin directory of the newest PostgreSQL that is new enough; "" where there is none.
std::string postgres_bin();
// The program nats-server; "" where there is none.
std::string nats_program();

// initdb where there is no cluster yet; then writes stella.conf and removes a stale postmaster.pid.
// A cluster of another major version than the programs is kInvalid with a remedy.
Result<void> prepare_cluster(const Layout& layout, const Ports& ports);
// True once the server accepts connections.
bool cluster_ready(const Layout& layout);
// Settings that every start writes.
std::string cluster_settings(const Layout& layout, const Ports& ports, std::uint64_t shm_bytes);
std::uint64_t shm_bytes();

// Runs a program to its end, its output appended to `log`. kUnavailable with program, status and the last lines of the log.
Result<void> run_program(const Layout& layout, std::vector<std::string> argv, const std::optional<process::User>& user, std::string_view log, std::chrono::seconds patience);
// What the parts get as environment: nothing of the user's.
std::vector<std::pair<std::string, std::string>> clean_environment();
// The last lines of a log file.
std::string tail_of(const std::string& path, std::size_t bytes = 1500);

}  // namespace stella::cli::up
