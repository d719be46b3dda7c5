// The child: one job, then the end. Inputs are mapped when a kind asks for them, outputs are written to descriptors of the parent.
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <deque>
#include <memory>
#include <new>

#include "protocol.h"
#include "sandbox.h"
#include "stella/base/encoding.h"
#include "stella/contracts/catalogue.h"
#include "stella/contracts/errors.h"
#include "stella/crypto/digest.h"
#include "stella/pipeline/jobs/jobs.h"
#include "stella/services/runner.h"
#include "telemetry_capture.h"

namespace stella::runner {
namespace {

constexpr std::size_t kSpecBytes = 64u << 20;

struct Spec {
  std::string kind;
  json::Value params;
  Limits limits;
  bool landlock = true;
  JobContext context;
  std::vector<std::pair<std::string, std::uint64_t>> inputs;  // name, size
};

Result<Spec> read_spec() {
  const auto text = STELLA_TRY(read_fd(kSpecFd, kSpecBytes));
  const auto value = STELLA_TRY(json::parse(text));
  Spec spec;
  spec.kind = value.str("kind");
  spec.params = *value.find("params");
  spec.landlock = value.boolean("landlock");
  spec.limits.cpu_s = static_cast<std::uint64_t>(value.integer("cpu_s"));
  spec.limits.memory_mb = static_cast<std::uint64_t>(value.integer("memory_mb"));
  spec.limits.output_mb = static_cast<std::uint64_t>(value.integer("output_mb"));
  spec.context = JobContext::from_json(*value.find("context"));
  for (const auto& input : value.items("inputs")) spec.inputs.emplace_back(input.str("name"), static_cast<std::uint64_t>(input.integer("size")));
  return spec;
}

// Asks the parent for a descriptor.
Result<Fd> request(const json::Value& what) {
  STELLA_TRY_VOID(send_packet(kSocketFd, json::dump(what)));
  auto answer = STELLA_TRY(receive_packet(kSocketFd));
  if (answer.fd) return std::move(answer.fd);
  const auto said = json::parse(answer.text);
  const auto reason = said ? std::string(said->str("reason")) : std::string("protocol");
  if (reason == "output_limit") return Error(base_errors::kLimit, "too many outputs").with("limit", static_cast<std::uint64_t>(kMaxOutputs));
  if (reason == "name") return Error(base_errors::kInvalid, "not a new output name").with("field", std::string("outputs"));
  return Error(contracts::errors::kUnavailable, "the runner could not open a file").with("part", std::string("runner")).with("reason", reason);
}

class MappedInput final : public pipeline::JobInput {
 public:
  MappedInput(std::int64_t index, std::string name, std::uint64_t size) : index_(index), name_(std::move(name)), size_(size) {}
  MappedInput(const MappedInput&) = delete;
  ~MappedInput() override { release(); }
  const std::string& name() const override { return name_; }
  std::uint64_t size() const override { return size_; }
  Result<std::string_view> bytes() override {
    if (size_ == 0) return std::string_view();
    if (view_ == nullptr) {
      const Fd fd = STELLA_TRY(request(json::Value::object({{"open", index_}})));
      view_ = STELLA_TRY(map(fd.get(), 0, static_cast<std::size_t>(size_)));
    }
    return std::string_view(view_, static_cast<std::size_t>(size_));
  }
  Result<std::string_view> piece(std::uint64_t offset) override {
    if (view_ != nullptr) return std::string_view(view_, static_cast<std::size_t>(size_)).substr(offset);
    drop_window();
    if (!file_) file_ = STELLA_TRY(request(json::Value::object({{"open", index_}})));
    const std::uint64_t begin = offset / kWindow * kWindow;
    const auto length = static_cast<std::size_t>(std::min(kWindow, size_ - begin));
    const char* mapped = STELLA_TRY(map(file_.get(), begin, length));
    window_ = std::string_view(mapped, length);
    return window_.substr(static_cast<std::size_t>(offset - begin));
  }
  void release() override {
    if (view_ != nullptr) ::munmap(const_cast<char*>(view_), static_cast<std::size_t>(size_));
    view_ = nullptr;
    drop_window();
    file_.reset();
  }

 private:
  static constexpr std::uint64_t kWindow = 16u << 20;  // what a piece keeps in memory

  Result<const char*> map(int fd, std::uint64_t offset, std::size_t length) const {
    void* view = ::mmap(nullptr, length, PROT_READ, MAP_PRIVATE, fd, static_cast<off_t>(offset));
    if (view == MAP_FAILED) {
      if (errno == ENOMEM) ::_exit(kExitMemory);
      return io_error("cannot map an input", name_);
    }
    ::madvise(view, length, MADV_SEQUENTIAL);
    return static_cast<const char*>(view);
  }
  void drop_window() {
    if (!window_.empty()) ::munmap(const_cast<char*>(window_.data()), window_.size());
    window_ = {};
  }

  std::int64_t index_;
  std::string name_;
  std::uint64_t size_;
  const char* view_ = nullptr;
  Fd file_;                  // while pieces are read
  std::string_view window_;  // the piece's mapping
};

class FileOutput final : public pipeline::JobOutput {
 public:
  explicit FileOutput(Fd fd) : fd_(std::move(fd)) {}
  Result<void> write(std::string_view bytes) override {
    if (auto written = write_all(fd_.get(), bytes); !written) {
      if (errno == ENOSPC || errno == EDQUOT) {
        return Error(contracts::errors::kUnavailable, "no space left for an output").with("part", std::string("runner")).with("reason", std::string("disk_full"));
      }
      return written;
    }
    return {};
  }

 private:
  Fd fd_;
};

class ChildIo final : public pipeline::JobIo {
 public:
  explicit ChildIo(const Spec& spec) {
    std::int64_t index = 0;
    for (const auto& [name, size] : spec.inputs) pointers_.push_back(&inputs_.emplace_back(index++, name, size));
  }
  std::span<pipeline::JobInput* const> inputs() override { return pointers_; }
  Result<std::unique_ptr<pipeline::JobOutput>> create(std::string_view name, std::string_view media_type) override {
    if (!pipeline::is_job_file_name(name)) return Error(base_errors::kInvalid, "not a new output name").with("field", std::string("outputs"));
    Fd fd = STELLA_TRY(request(json::Value::object({{"create", name}, {"media_type", media_type}})));
    return std::unique_ptr<pipeline::JobOutput>(std::make_unique<FileOutput>(std::move(fd)));
  }

 private:
  std::deque<MappedInput> inputs_;
  std::vector<pipeline::JobInput*> pointers_;
};

// The machine's fault is worth another attempt; the input's is not.
bool is_transient(ErrorCode code) {
  return code == contracts::errors::kIo || code == contracts::errors::kUnavailable || code == contracts::errors::kDiskFull || code == contracts::errors::kTimeout;
}

json::Value run(const Spec& spec, const pipeline::JobKind& kind) {
  ChildIo io(spec);
  Result<void> result;
  TelemetryCapture capture(spec.context);
  {
    WorkSpan span(spec.kind);
    result = kind.run(spec.params, io);
    if (result) span.ok();
    else span.fail(result.error());
  }
  json::Value report = json::Value::object({{"status", result ? "finished" : is_transient(result.error().code()) ? "errored" : "failed"}});
  if (!result) {
    report.set("error", error_json(result.error()));
    report.set("cause", clip_utf8(result.error().describe(), 500));
  }
  report.set("spans", capture.spans());
  report.set("logs", capture.logs());
  report.set("dropped", json::Value::object({{"logs", capture.dropped().logs}, {"spans", capture.dropped().spans}}));
  return report;
}

[[noreturn]] void end(const json::Value& report, int code) {
  if (!write_all(kReportFd, json::dump(report))) ::_exit(kExitProtocol);
  ::_exit(code);
}

}  // namespace

int child_main(FindKind find_kind) {
  auto spec = read_spec();
  if (!spec) end(json::Value::object({{"status", "errored"}, {"error", error_json(spec.error())}, {"cause", "the runner's specification is unreadable"}}), kExitProtocol);
  const auto* kind = find_kind(spec->kind);
  ::close(kSpecFd);
  // Libraries load and allocate what they need once while they still may.
  [[maybe_unused]] const auto warm = crypto::sha256("");
  std::set_new_handler([] { ::_exit(kExitMemory); });
  if (auto isolated = enter_sandbox(spec->limits, spec->landlock); !isolated) {
    end(json::Value::object({{"status", "errored"}, {"error", error_json(isolated.error())}, {"cause", "the sandbox is not available"}}), kExitSandbox);
  }
  if (kind == nullptr) {
    const Error unknown = Error(base_errors::kInvalid, "this runner does not know the job kind").with("field", std::string("kind")).with("actual", spec->kind);
    end(json::Value::object({{"status", "errored"}, {"error", error_json(unknown)}, {"cause", "this runner does not know the job kind"}}), 0);
  }
  end(run(*spec, *kind), 0);
}

}  // namespace stella::runner
