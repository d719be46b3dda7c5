// stella forensic redact: withhold files of a bundle, provably. Offline on a file, or by the server on a bundle of its locker.
#include <fcntl.h>
#include <unistd.h>

#include "register.h"
#include "stella/base/file.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/crypto/keys.h"
#include "stella/evidence/format/redact.h"

namespace stella::cli {
namespace {

struct Args {
  std::string file;
  std::vector<std::string> withhold;
  std::string reason;
  std::string authority;
  std::string key;
  std::string passphrase_file;
  std::string out;
  bool on_server = false;
};

Result<std::optional<crypto::KeyPair>> signing_key(const Args& args) {
  if (args.key.empty()) return std::optional<crypto::KeyPair>();
  if (args.passphrase_file.empty())
    return Error(base_errors::kInvalid, "the key needs its passphrase").with("field", "--passphrase-file").with("remedy", "Put the passphrase into a file that only you can read; private keys that are not encrypted are refused.");
  std::string passphrase = STELLA_TRY(read_file(args.passphrase_file, 4096));
  while (!passphrase.empty() && (passphrase.back() == '\n' || passphrase.back() == '\r')) passphrase.pop_back();
  auto key = crypto::KeyPair::load(args.key, passphrase);
  if (!key) return about_document(std::move(key.error()), args.key);
  return std::optional<crypto::KeyPair>(std::move(*key));
}

Result<evidence::RedactedBundle> make_copy(const Args& args, const crypto::Signer* signer, int out) {
  const Fd in(::open(args.file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!in) return io_error("cannot open", args.file);
  evidence::FdSink sink(out);
  return evidence::redact_bundle(in.get(), {.withhold = args.withhold, .reason = args.reason, .authority = args.authority, .at = Timestamp::now()}, signer, sink);
}

bool ended(const json::Value& b) { return b.str("state") == "sealed" || b.str("state") == "failed"; }

std::string copy_text(const json::Value& copy, const Palette& paint) {
  Facts facts;
  facts.add("made from", copy.str("derived_from")).add("case", copy.str("case_id"));
  if (const json::Value* redaction = copy.find("redaction"); redaction != nullptr && redaction->is_object())
    for (const json::Value& path : redaction->items("withhold")) facts.add("withheld", printable(path.as_string()));
  facts.add("sha256", copy.str("sha256")).add("made", long_time(copy.str("sealed_at")));
  return "bundle " + paint(Style::kBold, copy.str("bundle_id")) + "  " + paint(style_of(copy.str("state")), copy.str("state")) + (copy.boolean("existed") ? paint(Style::kDim, "  (was here already)") : "") + "\n" + facts.render(paint, 2);
}

// The locker makes the copy and authorises it with the evidence key; it stays there until somebody exports it.
Result<int> run_on_server(Session& session, const Args& args) {
  for (const auto& [name, value] : {std::pair<const char*, const std::string&>{"--out", args.out}, {"--key", args.key}, {"--passphrase-file", args.passphrase_file}, {"--authority", args.authority}})
    if (!value.empty()) return Error(base_errors::kInvalid, "this option means nothing on the server").with("field", name).with("remedy", "The server signs with its evidence key and names you; fetch the copy with stella forensic get.");
  Api* api = STELLA_TRY(session.api());
  json::Array withhold;
  for (const std::string& path : args.withhold) withhold.push_back(json::Value(path));
  json::Value copy = STELLA_TRY(api->post("/evidence/" + path_segment(args.file) + "/redact", json::Value::object({{"withhold", std::move(withhold)}, {"reason", args.reason}}), {{"wait", "20"}}));
  if (!ended(copy)) copy = STELLA_TRY(api->poll("/evidence/" + path_segment(copy.str("bundle_id")), {}, std::chrono::minutes(30), ended));
  session.show(copy, [&] { return copy_text(copy, session.console().out_palette()); });
  if (copy.str("state") == "failed") {
    const json::Value* error = copy.find("error");
    return recorded_error(error != nullptr && error->is_object() ? *error : json::Value::object());
  }
  if (!session.machine()) session.console().note("next: stella forensic get " + std::string(copy.str("bundle_id")) + " --out redacted.tgz --recipient NAME; report.html, data/record/ and the statements in attest/ may quote what you withheld\n");
  return kExitDone;
}

Result<int> run(Session& session, const Args& args) {
  if (args.on_server) return run_on_server(session, args);
  if (args.out.empty()) return Error(base_errors::kInvalid, "where is the copy to be written?").with("field", "--out").with("remedy", "Give --out FILE, or --on-server for a bundle of the locker.");
  const auto key = STELLA_TRY(signing_key(args));
  // A new file, never an existing one: the original is evidence.
  const Fd out(::open(args.out.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644));
  if (!out) return io_error("cannot create the copy", args.out);
  auto done = make_copy(args, key ? &*key : nullptr, out.get());
  if (!done || ::fsync(out.get()) != 0) {
    Error error = done ? io_error("cannot write the copy", args.out) : std::move(done.error());
    ::unlink(args.out.c_str());
    return about_document(std::move(error), args.file);
  }
  json::Array paths, telling;
  for (const std::string& path : done->withheld) paths.push_back(json::Value(path));
  for (const std::string& path : done->telling) telling.push_back(json::Value(path));
  const std::string signer = key ? key->public_key().id().str() : "";
  session.show(json::Value::object({{"bundle_id", done->bundle_id.str()}, {"path", args.out}, {"sha256", done->tgz_sha256.hex()}, {"size", done->tgz_size}, {"withheld", std::move(paths)},
                                    {"withheld_before", done->withheld_before}, {"telling_statements", std::move(telling)}, {"root", done->head.root.hex()}, {"signer_key_id", signer}}),
               [&] {
                 Facts facts;
                 facts.add("withheld", std::to_string(done->withheld.size()) + " now, " + std::to_string(done->withheld_before) + " before");
                 for (const std::string& path : done->withheld) facts.add("", printable(path));
                 facts.add("root", done->head.root.hex() + " (as sealed)").add("sha256", done->tgz_sha256.hex()).add("authorised by", signer.empty() ? "nobody: COMPLETENESS will fail" : signer);
                 return session.console().out_palette()(Style::kBold, args.out) + "  " + human_bytes(done->tgz_size) + "\n" + facts.render(session.console().out_palette(), 2);
               });
  // To stderr, also for machines: it leaks.
  for (const std::string& path : done->telling) session.console().note("warning: " + path + " stays, and names what you withheld by its digest or repeats what it says\n");
  if (key && done->withheld_before > 0) session.console().note("your signature also authorises the " + std::to_string(done->withheld_before) + " withheld before: one statement must cover all that is missing\n");
  if (!session.machine()) session.console().note("next: stella forensic verify " + args.out + "; report.html and data/record/ may quote what you withheld: look\n");
  return kExitDone;
}

}  // namespace

void register_redact(App& app) {
  auto args = std::make_shared<Args>();
  app.command("forensic redact", "Make a copy of a bundle from which files are withheld: seal and root stay valid, the omission is counted. Offline, or on the server.")
      .argument("FILE", &args->file, "The bundle (.tgz), which is not changed; with --on-server the id of one in the locker.", {.required = true, .value = "FILE"})
      .option("--withhold", &args->withhold, "The path of a file inside, the beginning of paths and '*', or role: and a role. May be repeated.", {.required = true, .value = "PATH"})
      .option("--reason", &args->reason, "Why; everybody who reads the copy sees it.", {.required = true, .value = "TEXT"})
      .option("--out", &args->out, "The file to write; it must not exist.", {.value = "FILE"})
      .option("--on-server", &args->on_server, "Let the locker make the copy, as a further bundle of the case, authorised by the server's evidence key (scope evidence:redact).")
      .option("--key", &args->key, "The private key (encrypted PKCS#8, P-256) of whoever authorises the omission.", {.value = "KEY.pem"})
      .option("--passphrase-file", &args->passphrase_file, "Holds the passphrase of that key.", {.value = "FILE"})
      .option("--authority", &args->authority, "Who decided, as an opaque id.", {.value = "ID"})
      .note("Without --key the copy is as valid, but its verdict says COMPLETENESS FAIL: withheld and\nauthorised by nobody. Whoever verifies must trust the key: --trust.")
      .run([args](Session& s) { return run(s, *args); });
}

}  // namespace stella::cli
