// State files: the text of the checkpoint that was cosigned last, under the log's id.
#include "stella/timeline/witness_store.h"

#include <sys/stat.h>

#include "stella/platform/process.h"

namespace stella::timeline {
namespace {

constexpr std::uint64_t kStateBytes = 1u << 16;

std::string state_path(const std::string& directory, std::string_view origin) { return directory + "/" + log_id(origin).hex() + ".checkpoint"; }

Result<WitnessState> load(const std::string& directory, const std::string& origin) {
  const std::string path = state_path(directory, origin);
  auto text = read_file(path, kStateBytes);
  if (!text && text.error().code() == base_errors::kNotFound)
    return Error(base_errors::kNotFound, "the witness has no state of this log").with("path", path).with("remedy", "A new log: run stella-witness --init. Otherwise bring the state back: without it the witness would cosign another history.");
  if (!text) return std::move(text.error());
  auto last = parse_checkpoint_text(*text);
  if (!last || last->origin != origin || (last->size == 0 && last->root != empty_root()))
    return Error(base_errors::kMalformed, "the state of this log cannot be read").with("path", path).with("remedy", "Bring it back from a copy: without it the witness would cosign another history.");
  return WitnessState{.origin = origin, .keys = {}, .size = last->size, .root = last->root};
}

Result<Fd> take(const std::string& directory) {
  STELLA_TRY_VOID(make_dirs(directory, 0700));
  return process::lock_file(directory + "/lock");
}

}  // namespace

Result<void> WitnessStore::init(const std::string& directory, const LogPolicy& logs) {
  const Fd held = STELLA_TRY(take(directory));
  for (const auto& log : logs.logs()) {
    const std::string path = state_path(directory, log.key.name());
    struct stat there {};
    if (::stat(path.c_str(), &there) == 0) continue;
    const std::string empty = STELLA_TRY(checkpoint_text({.origin = log.key.name(), .size = 0, .root = empty_root(), .extensions = {}}));
    STELLA_TRY_VOID(write_file_durable(path, empty, 0600));
  }
  return {};
}

Result<std::unique_ptr<WitnessStore>> WitnessStore::open(const std::string& directory, const LogPolicy& logs, std::string name, std::shared_ptr<const crypto::Ed25519Signer> signer) {
  std::unique_ptr<WitnessStore> store(new WitnessStore(directory, std::move(name), std::move(signer)));
  STELLA_TRY_VOID(store->vkey());
  store->held_ = STELLA_TRY(take(directory));
  const Lock lock(store->mutex_);
  for (const auto& log : logs.logs()) {
    auto [at, added] = store->logs_.try_emplace(log.key.name());
    if (added) at->second = STELLA_TRY(load(directory, log.key.name()));
    at->second.keys.push_back(log.key);
  }
  return store;
}

Result<WitnessAnswer> WitnessStore::add_checkpoint(std::string_view body, std::uint64_t now) {
  // One at a time: the state that the decision rests on is the state that is replaced.
  const Lock lock(mutex_);
  WitnessAnswer answer = answer_add_checkpoint(body, [this](std::string_view origin) STELLA_REQUIRES(mutex_) {
    const auto at = logs_.find(origin);
    return at == logs_.end() ? nullptr : &at->second;
  });
  if (!answer.accepted) return answer;
  WitnessState& state = logs_.find(answer.accepted->origin)->second;
  const NoteSignature signature = STELLA_TRY(cosign_checkpoint(answer.accepted_text, now, name_, *signer_));
  const std::string text = STELLA_TRY(checkpoint_text({.origin = state.origin, .size = answer.accepted->size, .root = answer.accepted->root, .extensions = {}}));
  STELLA_TRY_VOID(write_file_durable(state_path(directory_, state.origin), text, 0600));
  state.size = answer.accepted->size;
  state.root = answer.accepted->root;
  answer.body = signature.line();
  return answer;
}

}  // namespace stella::timeline
