// Sends finished OTLP requests to their target: OTLP/HTTP (protobuf) or OTLP/gRPC, per signal; retries what may be retried, keeps what
// cannot be sent in memory and then on disk, and sends it in order once the target is back.
//
//   auto settings = telemetry::OtelSettings::from_environment();              // otel_settings.h
//   settings->exporter.spool.dir = "/var/lib/my-service/telemetry-spool";
//   auto exporter = telemetry::make_otlp_exporter(std::move(settings->exporter));
//   (*exporter)->offer({.signal = Signal::kLogs, .payload = logs.take(resource), .items = n, .errors = e});
//
// Promises:
//   - offer() never waits for the network, for a sync of the disk or for who sends, and never throws.
//   - With a spool directory a batch that offer() took survives SIGKILL (it is written to a file), and a power cut after a second.
//   - Per signal, batches are sent in the order in which they were offered (but see BackoffOptions::most_aside); one request is under way per signal, so that no signal
//     waits for another. After a crash the batch under way may be sent twice: delivery is at least once.
//   - Nothing vanishes unseen: offered + recovered = sent + rejected + queued + spooled + dropped, per signal, at any time.
#pragma once

#include <array>
#include <chrono>
#include <cstddef>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/result.h"
#include "stella/base/time.h"
#include "stella/telemetry/secret.h"
#include "stella/telemetry/signal.h"

namespace stella::telemetry {

inline constexpr std::size_t kSignals = 3;
inline constexpr std::array<Signal, kSignals> kAllSignals{Signal::kTraces, Signal::kMetrics, Signal::kLogs};

// One export request. Keep batches below 4 MiB, which is what receivers take by default, and give ERROR logs batches of their own where
// possible: on a full disk, batches with errors are the last to go.
struct Batch {
  Signal signal = Signal::kTraces;
  std::string payload;       // Export…ServiceRequest, uncompressed protocol buffers
  std::uint32_t items = 0;   // spans, data points or log records in it
  std::uint32_t errors = 0;  // of them, items that must not be lost: ERROR logs
};

enum class DropReason : std::uint8_t {
  kQueueFull,  // no room in memory, and the disk does not take it
  kSpoolFull,  // the spool's limits: the oldest traces go first, then metrics, then logs, error logs last
  kRefused,    // the target answered that it will never take it
  kCorrupt,    // damaged on disk
  kTooLarge,   // larger than the queue
  kDisabled,   // no target for this signal
  kShutdown,   // the exporter ended and had no spool to leave it in: told in the log, as nobody can ask the exporter any more
  kExpired,    // set aside, and older than `most_aside`; or without a spool, and no room for it
  kTorn,       // the last batch that an earlier process was writing to the spool when it was killed or the power went: cut off. Its offer() had
               // not returned, or it was not synced: whoever still has the records (a ring) offers them again, and they count as offered anew
};
inline constexpr std::size_t kDropReasons = 9;
std::string_view to_string(DropReason reason);

// Counts of items, unless a name says otherwise.
struct SignalStats {
  std::uint64_t offered = 0;
  std::uint64_t recovered = 0;  // found on disk at start, left by an earlier process
  std::uint64_t sent = 0;       // acknowledged by the target
  std::uint64_t rejected = 0;   // by a partial success; never sent again
  std::uint64_t queued = 0;     // in memory, also those under way
  std::uint64_t spooled = 0;    // on disk alone
  std::uint64_t unspooled = 0;  // of those queued: on no disk, and so lost with the process
  std::uint64_t aside = 0;      // of those queued and spooled: the target fails over them alone, others go before them
  std::array<std::uint64_t, kDropReasons> dropped{};
  std::uint64_t queue_bytes = 0, spool_bytes = 0;
  std::uint64_t batches_sent = 0, attempts = 0, retries = 0;
  std::uint64_t spool_failures = 0;   // the operating system refused to write a batch that came
  std::uint64_t spooled_late = 0;     // of those, items that it took later: they are tried every second, oldest first
  std::uint64_t damaged_records = 0;  // found in the spool; their items, as far as known, are dropped[kCorrupt]
  std::uint64_t torn_records = 0;     // likewise at the spool's end; dropped[kTorn]
  bool away = false;                  // the last attempt failed
  std::string away_because;           // for people: why; never content of a request or of a header
  std::uint64_t dropped_total() const {
    std::uint64_t sum = 0;
    for (const std::uint64_t n : dropped) sum += n;
    return sum;
  }
};
struct ExportStats {
  std::array<SignalStats, kSignals> signals;
  const SignalStats& of(Signal signal) const { return signals[static_cast<std::size_t>(signal)]; }
};

// All functions are thread-safe.
class Exporter {
 public:
  // Ends within a second: requests under way are given up; what is not delivered goes to the spool, or is dropped (kShutdown) where there
  // is none. Call flush() before.
  virtual ~Exporter() = default;
  // False where the batch was dropped at once (too large, no target, no room). With a spool it costs a write into the page cache, for which
  // no lock is held: a disk that stalls holds the caller (and others that offer batches of this kind), for as long as the system call
  // takes; it holds neither what is sent nor stats(), nor batches of other kinds. The caller is not to be a thread that serves requests.
  virtual bool offer(Batch batch) noexcept = 0;
  // Tries at once what waits for its next attempt (a Retry-After of the target is respected). True where all that was offered before the
  // call is sent, rejected or dropped; false where the deadline passed first.
  virtual bool flush(Deadline deadline) = 0;
  virtual ExportStats stats() const = 0;
};

enum class OtlpProtocol : std::uint8_t { kHttpProtobuf, kGrpc };

// Where one signal goes.
struct TargetOptions {
  bool enabled = true;
  OtlpProtocol protocol = OtlpProtocol::kHttpProtobuf;
  // HTTP: the whole URL with its path. gRPC: "http://host:port", "https://host:port", or "host:port" with `insecure`.
  std::string endpoint;
  bool insecure = false;  // gRPC without scheme in `endpoint`: no TLS
  bool gzip = false;
  std::chrono::milliseconds timeout{10'000};  // of one attempt; 0: none
  std::vector<std::pair<std::string, Secret<std::string>>> headers;
  // PEM. With https alone, which is TLS 1.2 or later and checks the receiver's chain and its name always. Read again for each connection by
  // HTTP, once by gRPC.
  std::string ca_file;                 // "" is the system's
  std::string cert_file, key_file;     // client certificate with its chain
};

struct SpoolOptions {
  std::string dir;                                     // of this process alone (0700, files 0600); "" is no spool
  std::uint64_t total_bytes = 256u << 20;
  std::array<std::uint64_t, kSignals> signal_bytes{128u << 20, 64u << 20, 192u << 20};  // traces, metrics, logs
  std::uint64_t segment_bytes = 4u << 20;              // a file of the spool; the unit that goes when it is full
};

struct BackoffOptions {
  std::chrono::milliseconds first{1'000};  // the n-th retry waits a random time up to first * 2^(n-1), at most `most`
  std::chrono::milliseconds most{30'000};
  std::chrono::milliseconds most_retry_after{600'000};  // what a target asks for is respected up to this
  // A batch over which a target fails while it takes others (503, 504, an answer that cannot be read, a broken connection) is set aside: after
  // five attempts the next batches are tried in its place, and once one is taken and it fails again, others go before it. It is tried
  // again after `most`, twice as long each time up to `most_retry_after`, until it is this old, and then dropped (kExpired). One that an
  // earlier process left is as old as the last write to its file.
  std::chrono::seconds most_aside{86'400};
};

struct ExporterOptions {
  std::array<TargetOptions, kSignals> targets;  // by Signal
  TargetOptions& target(Signal signal) { return targets[static_cast<std::size_t>(signal)]; }
  const TargetOptions& target(Signal signal) const { return targets[static_cast<std::size_t>(signal)]; }
  // Asked before every request; sent as `authorization: Bearer …` in place of a configured authorization header. "" sends none. Called on
  // threads of the exporter; must not block for long.
  std::function<Secret<std::string>()> bearer_token;
  std::uint64_t queue_bytes = 8u << 20;      // in memory, per signal
  std::uint64_t response_bytes = 4u << 20;   // larger answers are none
  SpoolOptions spool;
  BackoffOptions backoff;
  std::string user_agent;                    // "" is stella-telemetry and its version

  // The standard variables (OtelSettings of otel_settings.h, which also has the warnings).
  static Result<ExporterOptions> from_environment();
};

// kInvalid where a target's endpoint or file cannot be used. A spool directory that cannot be used is no error: the exporter works from
// memory, logs it, counts spool_failures and tries the directory again every second.
Result<std::unique_ptr<Exporter>> make_otlp_exporter(ExporterOptions options);

}  // namespace stella::telemetry
