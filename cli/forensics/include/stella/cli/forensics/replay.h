// Replay: the pure functions of the pipeline once more over the inputs in a bundle, their outputs compared by digest. Offline.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "stella/base/ids.h"
#include "stella/base/json.h"
#include "stella/base/result.h"
#include "stella/cli/console.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/json_diff.h"

namespace stella::cli {

struct ReplayedOutput {
  std::string name;  // "decision.json"
  std::string job;   // "policy.evaluate"
  Sha256 sealed;
  Sha256 replayed;
  evidence::JsonDiff diff;  // where they differ; of all outputs together at most evidence::kMaxDifferences are listed
  std::uint32_t sealed_revision = 1;  // of the job's kind, as it was
  std::uint32_t revision = 1;         // as it is here
  bool identical() const { return sealed == replayed; }
  // Another function made it: that ours makes something else says nothing about the sealed one.
  bool other_revision() const { return !identical() && sealed_revision != revision; }
};

struct Replay {
  std::string bundle_id;
  std::string sealed_engine;  // version that made the outputs
  std::string engine;         // ours
  std::string as_of;
  std::size_t advisories = 0;
  std::size_t vex_documents = 0;
  std::vector<ReplayedOutput> outputs;
  std::int64_t took_us = 0;

  bool identical() const;
  bool different() const;  // an output differs that this engine's own functions made; neither: this engine cannot tell
  json::Value json() const;
  std::string text(const Palette& palette) const;
};

// Of an evaluation bundle. kUnsupported for job and export bundles (their inputs are named by digest and are not inside), kIntegrity where
// a file of the bundle is not what its item says, kNotFound where an input is withheld; a job's own error where one fails.
Result<Replay> replay_bundle(const std::string& path);
// The same over files that were read already.
Result<Replay> replay_files(const std::vector<evidence::BundleFile>& files);

}  // namespace stella::cli
