// stella forensic get: an authorised export of a bundle, recorded with its recipient.
#include "register.h"
#include "stella/cli/download.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/contracts/errors.h"

namespace stella::cli {
namespace {

struct Args {
  std::string bundle;
  std::string out;
  std::string recipient;
};

Result<int> run(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  std::string recipient = args.recipient;
  if (recipient.empty()) recipient = session.login().username;
  if (recipient.empty()) recipient = session.login().actor;
  if (recipient.empty()) return Error(base_errors::kInvalid, "a recipient is needed").with("field", "--recipient").with("remedy", "Give --recipient: who receives the bundle. It is recorded.");
  const auto digest = STELLA_TRY(download(*api, {.method = "POST", .path = "/evidence/" + path_segment(args.bundle) + "/export", .body = json::dump(json::Value::object({{"recipient", recipient}})),
                                                 .content_type = "application/json", .timeout = std::chrono::hours(6)}, args.out));
  const json::Value shown = json::Value::object({{"bundle_id", args.bundle}, {"path", args.out}, {"size", digest.size}, {"sha256", digest.sha256.hex()}, {"recipient", recipient}});
  session.show(shown, [&] {
    Facts facts;
    facts.add("sha256", digest.sha256.hex()).add("recipient", recipient + " (recorded on the timeline)");
    return session.console().out_palette()(Style::kBold, args.out) + "  " + human_bytes(digest.size) + "\n" + facts.render(session.console().out_palette(), 2);
  });
  if (!session.machine()) session.console().note("next: stella forensic verify " + args.out + "\n");
  return kExitDone;
}

}  // namespace

void register_get(App& app) {
  auto args = std::make_shared<Args>();
  app.command("forensic get", "Fetch a sealed bundle. This is an export: who receives it is recorded (scope evidence:export).")
      .argument("BUNDLE", &args->bundle, "Its id.")
      .option("--out", &args->out, "The file to write.", {.required = true, .value = "FILE"})
      .option("--recipient", &args->recipient, "Who receives it (default: you).", {.value = "NAME"})
      .run([args](Session& s) { return run(s, *args); });
}

}  // namespace stella::cli
