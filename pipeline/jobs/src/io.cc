// Looking up inputs, and the in-memory form of a job's inputs and outputs.
#include <algorithm>
#include <deque>
#include <set>

#include "stella/pipeline/jobs/jobs.h"

namespace stella::pipeline {
namespace {

class ViewInput final : public JobInput {
 public:
  explicit ViewInput(const MemoryInput& input) : input_(input) {}
  const std::string& name() const override { return input_.name; }
  std::uint64_t size() const override { return input_.bytes.size(); }
  Result<std::string_view> bytes() override { return input_.bytes; }

 private:
  const MemoryInput& input_;
};

class StringOutput final : public JobOutput {
 public:
  explicit StringOutput(std::string& out) : out_(out) {}
  Result<void> write(std::string_view bytes) override {
    out_.append(bytes);
    return {};
  }

 private:
  std::string& out_;
};

class MemoryIo final : public JobIo {
 public:
  explicit MemoryIo(std::span<const MemoryInput> inputs) {
    for (const auto& input : inputs) views_.emplace_back(input);
    for (auto& view : views_) pointers_.push_back(&view);
  }
  std::span<JobInput* const> inputs() override { return pointers_; }
  Result<std::unique_ptr<JobOutput>> create(std::string_view name, std::string_view media_type) override {
    const bool known = std::any_of(outputs_.begin(), outputs_.end(), [&](const MemoryOutput& o) { return o.name == name; });
    if (known || !is_job_file_name(name)) return Error(base_errors::kInvalid, "not a new output name").with("field", std::string("outputs"));
    outputs_.push_back({std::string(name), std::string(media_type), {}});
    return std::unique_ptr<JobOutput>(std::make_unique<StringOutput>(outputs_.back().bytes));
  }
  std::vector<MemoryOutput> take() { return {std::make_move_iterator(outputs_.begin()), std::make_move_iterator(outputs_.end())}; }

 private:
  std::deque<ViewInput> views_;
  std::vector<JobInput*> pointers_;
  std::deque<MemoryOutput> outputs_;  // never moves: writers hold references
};

}  // namespace

bool is_job_file_name(std::string_view name) {
  if (name.empty() || name.size() > 200 || name.front() == '.') return false;
  return std::all_of(name.begin(), name.end(), [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-';
  });
}

Result<std::string_view> JobInput::piece(std::uint64_t offset) {
  const auto all = STELLA_TRY(bytes());
  return all.substr(std::min<std::uint64_t>(offset, all.size()));
}

Result<JobInput*> JobIo::input(std::string_view name) {
  for (auto* input : inputs()) {
    if (input->name() == name) return input;
  }
  return Error(base_errors::kInvalid, "job lacks an input").with("field", std::string("inputs")).with("expected", std::string(name));
}

Result<std::string_view> JobIo::bytes(std::string_view name) {
  auto* found = STELLA_TRY(input(name));
  return found->bytes();
}

std::vector<JobInput*> JobIo::matching(std::string_view prefix, std::string_view suffix) {
  std::vector<JobInput*> out;
  for (auto* input : inputs()) {
    const std::string_view name = input->name();
    if (name.size() >= prefix.size() + suffix.size() && name.starts_with(prefix) && name.ends_with(suffix)) out.push_back(input);
  }
  std::stable_sort(out.begin(), out.end(), [](const JobInput* a, const JobInput* b) { return a->name() < b->name(); });
  return out;
}

Result<void> JobIo::put(std::string_view name, std::string_view media_type, std::string_view bytes) {
  auto output = STELLA_TRY(create(name, media_type));
  return output->write(bytes);
}

Result<std::vector<MemoryOutput>> run_job(std::string_view kind, std::string_view params_json, std::span<const MemoryInput> inputs) {
  const auto* found = find_job_kind(kind);
  if (found == nullptr) return Error(base_errors::kInvalid, "no such job kind").with("field", std::string("kind")).with("actual", std::string(kind));
  const auto params = STELLA_TRY(json::parse(params_json));
  MemoryIo io(inputs);
  STELLA_TRY_VOID(found->run(params, io));
  return io.take();
}

}  // namespace stella::pipeline
