// Job kinds as pure functions over named inputs and outputs (contracts/jobs.json). No files, no clock, no threads, no environment.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/base/json.h"
#include "stella/base/result.h"

namespace stella::pipeline {

// One named input. Not thread-safe.
class JobInput {
 public:
  virtual ~JobInput() = default;
  virtual const std::string& name() const = 0;
  virtual std::uint64_t size() const = 0;
  // All bytes at once; the view lives until release() or the input's end. Large inputs are mapped, not copied.
  virtual Result<std::string_view> bytes() = 0;
  // A piece of it from `offset` (below size()), not empty; lives until the next piece or release(). For kinds that pass on more than fits into memory.
  virtual Result<std::string_view> piece(std::uint64_t offset);
  // Forgets the view: for kinds that walk over more than fits into memory.
  virtual void release() {}
};

// One output while it is being written. The destructor closes it.
class JobOutput {
 public:
  virtual ~JobOutput() = default;
  virtual Result<void> write(std::string_view bytes) = 0;
};

// What a job works on. Inputs keep the order in which they were given.
class JobIo {
 public:
  virtual ~JobIo() = default;
  virtual std::span<JobInput* const> inputs() = 0;
  // A new output; kInvalid for a name that was made before or is no plain file name.
  virtual Result<std::unique_ptr<JobOutput>> create(std::string_view name, std::string_view media_type) = 0;

  // The input of that name; kInvalid with field=inputs where there is none.
  Result<JobInput*> input(std::string_view name);
  // Bytes of the input of that name.
  Result<std::string_view> bytes(std::string_view name);
  // Inputs whose names begin and end so, in order of their names: ("segment-", ".idx").
  std::vector<JobInput*> matching(std::string_view prefix, std::string_view suffix);
  // One output in one piece.
  Result<void> put(std::string_view name, std::string_view media_type, std::string_view bytes);
};

struct JobKind {
  std::string_view kind;
  Result<void> (*run)(const json::Value& params, JobIo& io) = nullptr;
};

// nullptr where this build has no such kind.
const JobKind* find_job_kind(std::string_view kind);
std::span<const JobKind> job_kinds();

// The whole thing in memory: replay, tests, small jobs.
struct MemoryInput {
  std::string name;
  std::string_view bytes;
};
struct MemoryOutput {
  std::string name;
  std::string media_type;
  std::string bytes;
};
// `params_json` is one JSON object. kInvalid for an unknown kind; else whatever the kind says. Outputs in the order they were made.
Result<std::vector<MemoryOutput>> run_job(std::string_view kind, std::string_view params_json, std::span<const MemoryInput> inputs);

// [A-Za-z0-9._-], not beginning with a dot, at most 200 bytes: what an input or output may be called.
bool is_job_file_name(std::string_view name);

}  // namespace stella::pipeline
