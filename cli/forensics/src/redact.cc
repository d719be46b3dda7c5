// stella forensic redact: withhold files of a bundle, provably. Offline.
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

Result<int> run(Session& session, const Args& args) {
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
  json::Array paths;
  for (const std::string& path : done->withheld) paths.push_back(json::Value(path));
  const std::string signer = key ? key->public_key().id().str() : "";
  session.show(json::Value::object({{"bundle_id", done->bundle_id.str()}, {"path", args.out}, {"sha256", done->tgz_sha256.hex()}, {"size", done->tgz_size}, {"withheld", std::move(paths)},
                                    {"withheld_before", done->withheld_before}, {"root", done->head.root.hex()}, {"signer_key_id", signer}}),
               [&] {
                 Facts facts;
                 facts.add("withheld", std::to_string(done->withheld.size()) + " now, " + std::to_string(done->withheld_before) + " before");
                 for (const std::string& path : done->withheld) facts.add("", printable(path));
                 facts.add("root", done->head.root.hex() + " (as sealed)").add("sha256", done->tgz_sha256.hex()).add("authorised by", signer.empty() ? "nobody: COMPLETENESS will fail" : signer);
                 return session.console().out_palette()(Style::kBold, args.out) + "  " + human_bytes(done->tgz_size) + "\n" + facts.render(session.console().out_palette(), 2);
               });
  if (!session.machine()) session.console().note("next: stella forensic verify " + args.out + "; report.html and data/record/ may quote what you withheld: look\n");
  return kExitDone;
}

}  // namespace

void register_redact(App& app) {
  auto args = std::make_shared<Args>();
  app.command("forensic redact", "Write a copy of a bundle from which files are withheld: seal and root stay valid, the omission is counted. Offline.")
      .argument("FILE", &args->file, "The bundle (.tgz); it is not changed.", {.required = true, .value = "FILE"})
      .option("--withhold", &args->withhold, "The path of a file inside, or the beginning of paths and '*'. May be repeated.", {.required = true, .value = "PATH"})
      .option("--reason", &args->reason, "Why; everybody who reads the copy sees it.", {.required = true, .value = "TEXT"})
      .option("--out", &args->out, "The file to write; it must not exist.", {.required = true, .value = "FILE"})
      .option("--key", &args->key, "The private key (encrypted PKCS#8, P-256) of whoever authorises the omission.", {.value = "KEY.pem"})
      .option("--passphrase-file", &args->passphrase_file, "Holds the passphrase of that key.", {.value = "FILE"})
      .option("--authority", &args->authority, "Who decided, as an opaque id.", {.value = "ID"})
      .note("Without --key the copy is as valid, but its verdict says COMPLETENESS FAIL: withheld and\nauthorised by nobody. Whoever verifies must trust the key: --trust.")
      .run([args](Session& s) { return run(s, *args); });
}

}  // namespace stella::cli
