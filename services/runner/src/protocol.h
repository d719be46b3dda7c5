// What parent and child say to each other, and the job message they both stem from.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "stella/base/file.h"
#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"

namespace stella::runner {

// Descriptors in the child. 0 is /dev/null, 1 and 2 a pipe whose tail is kept.
inline constexpr int kSocketFd = 3;  // SOCK_SEQPACKET: requests for inputs and outputs, answered with a descriptor
inline constexpr int kReportFd = 4;  // pipe: one JSON object at the end
inline constexpr int kSpecFd = 5;    // memfd: one JSON object, what to do
inline constexpr int kLastFd = 5;

// Exit codes of the child that mean something.
inline constexpr int kExitSandbox = 70;   // could not isolate itself: nothing hostile was touched
inline constexpr int kExitMemory = 71;    // an allocation was refused
inline constexpr int kExitProtocol = 72;

inline constexpr std::size_t kRequestBytes = 4096;
inline constexpr std::size_t kReportBytes = 8u << 20;
inline constexpr std::size_t kMaxOutputs = 256;
inline constexpr std::size_t kMaxInputs = 100'000;
inline constexpr std::size_t kInputListBytes = 64u << 20;

struct Limits {
  std::uint64_t cpu_s = 60;
  std::uint64_t memory_mb = 1024;
  std::uint64_t wall_s = 120;
  std::uint64_t output_mb = 1024;
};

struct InputFile {
  std::string name;
  std::string file;  // below the job's directory
  Sha256 sha256;
  std::uint64_t size = 0;
};

// One attempt, as the orchestrator asks for it.
struct JobMessage {
  JobId job_id;
  std::int64_t attempt = 0;
  std::string kind;
  TenantId tenant;
  json::Value params;
  std::string dir;
  std::vector<InputFile> inputs;
  Limits limits;
  std::string traceparent;
  std::string tracestate;
  std::string engine_version;
  json::Value controls;  // of the tenant's telemetry; null where there are none
};
// kMalformed or kInvalid where the message is not one of ours; kIo where its list of inputs (inputs_file) is not there any more.
Result<JobMessage> parse_job(std::string_view payload);

// {"code": wire code, "message", "fields": {…}}
json::Value error_json(const Error& error);

// One request or answer with at most one descriptor. Receiving gives an empty text where the other side is gone. kLimit where the socket
// does not block and the other side leaves too many packets unread.
Result<void> send_packet(int socket, std::string_view text, int fd = -1);
struct Packet {
  std::string text;
  Fd fd;
};
Result<Packet> receive_packet(int socket);
// A child's request. Takes no descriptors: what a child sends along is never installed here (kLimit, as for one that is too long).
Result<std::string> receive_request(int socket);

}  // namespace stella::runner
