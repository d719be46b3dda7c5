// stella forensic replay: offline; and the list of this module's commands.
#include <fcntl.h>

#include <optional>

#include "register.h"
#include "stella/base/file.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/forensics/commands.h"
#include "stella/cli/forensics/replay.h"
#include "stella/contracts/errors.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/redact.h"

namespace stella::cli {
namespace {

constexpr std::uint64_t kItemsBytes = 512u << 20;
constexpr std::size_t kPlaces = 20;

// Where an input is withheld the outputs cannot be made again; that they come out otherwise says nothing. What is withheld has no name left.
std::optional<Error> lacks_inputs(const evidence::Verdict& verdict, const std::string& file) {
  if (verdict.disclosure.withheld == 0 || !verdict.seal || evidence::role_digest(verdict.items, "input") == verdict.seal->replay_inputs) return std::nullopt;
  std::string places;
  const Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  evidence::FileSource source(fd.get());
  const auto items = evidence::read_bundle_member(source, "evidence/items.jsonl", kItemsBytes);
  const auto indices = items ? evidence::withheld_indices(*items) : Result<std::vector<std::uint64_t>>(Error(items.error()));
  for (std::size_t i = 0; indices && i < indices->size() && i < kPlaces; ++i) places.append(i == 0 ? "" : ", ").append(std::to_string((*indices)[i]));
  if (indices && indices->size() > kPlaces) places.append(" and ").append(std::to_string(indices->size() - kPlaces)).append(" more");
  return Error(base_errors::kNotFound, "the bundle cannot be replayed: inputs are withheld from it")
      .with("reason", counted(static_cast<std::int64_t>(verdict.disclosure.withheld), "item") + " withheld, at index " + places + " of evidence/items.jsonl")
      .with("remedy", "Replay the original, from which this copy was made.");
}

Result<int> run(Session& session, const std::string& file) {
  // A bundle that is not whole proves nothing by being replayed.
  const auto stopped = [&](Error error, int code) -> int {
    session.console().err(render_error(about_document(std::move(error), file), session.console().err_palette()));
    return code;
  };
  auto verdict = evidence::verify_bundle_file(file, {});
  if (!verdict) {
    const bool malformed = verdict.error().code() == base_errors::kMalformed || verdict.error().code() == base_errors::kLimit;
    return stopped(std::move(verdict.error()), malformed ? evidence::kExitMalformed : kExitNotChecked);
  }
  const auto& integrity = verdict->of(evidence::Dimension::kIntegrity);
  if (integrity.outcome != evidence::Outcome::kPass)
    return Error(contracts::errors::kIntegrity, "the bundle is not whole, so nothing was replayed").with("document", file).with("reason", integrity.reason).with("remedy", "stella forensic verify " + file);
  if (auto lack = lacks_inputs(*verdict, file)) return stopped(std::move(*lack), kExitNotChecked);
  auto replay = replay_bundle(file);
  if (!replay) {
    const bool cannot = replay.error().code() == contracts::errors::kUnsupported || replay.error().code() == base_errors::kNotFound;
    return stopped(std::move(replay.error()), cannot ? kExitNotChecked : kExitFailed);
  }
  if (verdict->seal) replay->bundle_id = verdict->seal->facts.bundle_id.str();
  session.show(replay->json(), [&] { return replay->text(session.console().out_palette()); });
  if (replay->different()) return kExitFailed;
  return replay->identical() ? kExitDone : kExitNotChecked;
}

}  // namespace

void register_replay(App& app) {
  auto file = std::make_shared<std::string>();
  app.command("forensic replay", "Compute everything in an evaluation bundle again from its inputs, offline, and compare the digests.")
      .argument("FILE", file.get(), "The bundle (.tgz).", {.required = true, .value = "FILE"})
      .note("Exit codes\n  0  every output is identical\n  1  one differs, or a job failed; the table says which\n  2  it cannot be replayed: an input, the job's revision or the file is missing\n  3  this is no bundle\n\nReplay shows that the outputs follow from the inputs; `stella forensic verify` shows who vouches for them.")
      .run([file](Session& s) { return run(s, *file); });
}

void register_forensics(App& app) {
  app.command("forensic", "Evidence: preserve it, fetch it, verify it, compute it again.");
  register_snapshot(app);
  register_get(app);
  register_verify(app);
  register_verify_script(app);
  register_redact(app);
  register_replay(app);
  register_attest(app);
  register_hold(app);
  register_case(app);
  register_custody(app);
  register_dispositions(app);
}

}  // namespace stella::cli
