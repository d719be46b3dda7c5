// stella forensic replay: offline; and the list of this module's commands.
#include "register.h"
#include "stella/cli/errors.h"
#include "stella/cli/forensics/commands.h"
#include "stella/cli/forensics/replay.h"
#include "stella/contracts/errors.h"
#include "stella/evidence/format/bundle_verify.h"

namespace stella::cli {
namespace {

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
  auto replay = replay_bundle(file);
  if (!replay) {
    const bool cannot = replay.error().code() == contracts::errors::kUnsupported || replay.error().code() == base_errors::kNotFound;
    return stopped(std::move(replay.error()), cannot ? kExitNotChecked : kExitFailed);
  }
  if (verdict->seal) replay->bundle_id = verdict->seal->facts.bundle_id.str();
  session.show(replay->json(), [&] { return replay->text(session.console().out_palette()); });
  return replay->identical() ? kExitDone : kExitFailed;
}

}  // namespace

void register_replay(App& app) {
  auto file = std::make_shared<std::string>();
  app.command("forensic replay", "Compute everything in an evaluation bundle again from its inputs, offline, and compare the digests.")
      .argument("FILE", file.get(), "The bundle (.tgz).", {.required = true, .value = "FILE"})
      .note("Exit codes\n  0  every output is identical\n  1  one differs, or a job failed; the table says which\n  2  it cannot be replayed: an input is not inside, or the file cannot be read\n  3  this is no bundle\n\nReplay shows that the outputs follow from the inputs; `stella forensic verify` shows who vouches for them.")
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
