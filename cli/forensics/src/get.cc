// stella forensic get: an authorised export of a bundle, recorded with its recipient.
#include <unistd.h>

#include <cerrno>

#include "register.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/cli/download.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/contracts/errors.h"
#include "stella/evidence/format/time_renewal.h"

namespace stella::cli {
namespace {

struct Args {
  std::string bundle;
  std::string out;
  std::string recipient;
};

// Renewals of the timestamps, beside the bundle: its own bytes stay what was sealed. The path, "" where there are none. What an earlier export left
// there is of another bundle, or of fewer renewals: it must not be taken for those of this one, also where these cannot be had.
Result<std::string> save_renewals(Api& api, const Args& args, std::string_view count) {
  std::string path = args.out + std::string(kRenewalsSuffix);
  if (::unlink(path.c_str()) != 0 && errno != ENOENT) return io_error("cannot remove the renewals of an earlier export", path);
  if (count.empty() || count == "0") return std::string();
  const json::Value bundle = STELLA_TRY(api.get("/evidence/" + path_segment(args.bundle)));
  std::vector<evidence::TimeRenewal> renewals;
  for (const json::Value& renewal : bundle.items("time_renewals")) {
    std::string token = STELLA_TRY(base64_decode(renewal.str("token")));
    renewals.push_back({std::move(token), std::string(renewal.str("chain"))});
  }
  const std::string tar = STELLA_TRY(evidence::renewals_to_tar(renewals));
  STELLA_TRY_VOID(write_file_durable(path, tar));
  return path;
}

Result<int> run(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  std::string recipient = args.recipient;
  if (recipient.empty()) recipient = session.login().username;
  if (recipient.empty()) recipient = session.login().actor;
  if (recipient.empty()) return Error(base_errors::kInvalid, "a recipient is needed").with("field", "--recipient").with("remedy", "Give --recipient: who receives the bundle. It is recorded.");
  const Downloaded kept = STELLA_TRY(download(*api, {.method = "POST", .path = "/evidence/" + path_segment(args.bundle) + "/export", .body = json::dump(json::Value::object({{"recipient", recipient}})),
                                                 .content_type = "application/json", .timeout = std::chrono::hours(6)}, args.out));
  const std::string renewals = STELLA_TRY(save_renewals(*api, args, kept.response.header("x-time-renewals")));
  const json::Value shown = json::Value::object({{"bundle_id", args.bundle}, {"path", args.out}, {"size", kept.size}, {"sha256", kept.sha256.hex()}, {"recipient", recipient}, {"renewals", renewals.empty() ? json::Value() : json::Value(renewals)}});
  session.show(shown, [&] {
    Facts facts;
    facts.add("sha256", kept.sha256.hex()).add("recipient", recipient + " (recorded on the timeline)");
    if (!renewals.empty()) facts.add("renewals", renewals + " (of its timestamps: keep it beside the bundle)");
    return session.console().out_palette()(Style::kBold, args.out) + "  " + human_bytes(kept.size) + "\n" + facts.render(session.console().out_palette(), 2);
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
