// stella forensic verify, stella forensic verify-script: offline, no server.
#include <algorithm>
#include <chrono>
#include <optional>

#include "key_trust.h"
#include "register.h"
#include "stella/base/file.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/trust.h"
#include "stella/crypto/digest.h"
#include "stella/evidence/format/bundle_verify.h"
#include "stella/evidence/format/verify_script.h"

namespace stella::cli {
namespace {

struct Args {
  std::string file;
  std::string trust;
  std::string trust_log;
  std::string witness;
  std::string trust_time;
  std::string keys;
  std::string renewals;
  std::string at;
  std::int64_t authorities = 1;
  std::string checkpoint;
  std::string consistency;
  std::string require;
  bool progress = false;
  bool nested = false;
};

// What TIME, INCLUSION and CONSISTENCY rest on; lives as long as the options that point into it.
struct Extra {
  TrustedLogs logs;
  std::optional<timeline::LogPolicy> witnesses;
  std::optional<crypto::TimestampTrust> time;
  std::string time_source, kept_source;
  std::vector<evidence::TimeRenewal> renewals;
  std::optional<evidence::KeptCheckpoint> kept;
  std::optional<KnownHistory> history;
};

constexpr std::uint64_t kSmallFile = 1u << 20;
constexpr std::uint64_t kRenewalsBytes = 16u << 20;

Result<std::string> read_document(const std::string& path) {
  auto text = read_file(path, kSmallFile);
  if (!text) return about_document(std::move(text.error()), path);
  return text;
}

// The answer of GET /timeline/proof.
Result<timeline::Proof> read_consistency(const std::string& path) {
  const std::string text = STELLA_TRY(read_document(path));
  const auto doc = json::parse(text);
  timeline::Proof out;
  if (!doc || doc->find("hashes") == nullptr) return Error(base_errors::kMalformed, "not a consistency proof").with("document", path).with("remedy", "stella timeline proof --from SIZE --to SIZE -o json > " + path);
  for (const auto& hash : doc->items("hashes")) {
    if (!hash.is_string()) return Error(base_errors::kMalformed, "not a consistency proof").with("document", path);
    out.push_back(STELLA_TRY(Sha256::parse(hash.as_string())));
  }
  return out;
}

// What was asked for counts, or it is an error: an option of a check that is not made is not passed over in silence.
Result<void> check_options(const Args& args) {
  if (!args.at.empty() && !Timestamp::parse(args.at)) return Error(base_errors::kInvalid, "not a time").with("field", "--at").with("expected", "a time such as 2031-01-01T00:00:00Z");
  if (args.authorities < 1) return Error(base_errors::kInvalid, "nobody would vouch for the time").with("field", "--authorities").with("expected", "1 or more");
  const auto needs = [](std::string_view option, std::string_view other, std::string_view value) {
    return Error(base_errors::kInvalid, "an option of a check that nothing asks for").with("field", std::string(option)).with("remedy", "Give " + std::string(other) + " " + std::string(value) + ", or leave " + std::string(option) + " out.");
  };
  if (args.trust_time.empty()) {
    if (!args.at.empty()) return needs("--at", "--trust-time", "FILE");
    if (!args.renewals.empty()) return needs("--renewals", "--trust-time", "FILE");
    if (args.authorities != 1) return needs("--authorities", "--trust-time", "FILE");
  }
  if (!args.consistency.empty() && args.checkpoint.empty()) return needs("--consistency", "--checkpoint", "FILE");
  return {};
}

// The renewals that lie beside the bundle, and the time that certificates are judged at: now, else --at.
Result<void> gather_renewals(const Args& args, Extra& extra, evidence::VerifyOptions& options) {
  options.at = args.at.empty() ? Timestamp::now() : STELLA_TRY(Timestamp::parse(args.at));
  const std::string path = args.renewals.empty() ? args.file + std::string(kRenewalsSuffix) : args.renewals;
  auto tar = read_file(path, kRenewalsBytes);
  if (!tar && tar.error().code() == base_errors::kNotFound && args.renewals.empty()) return {};
  if (!tar) return about_document(std::move(tar.error()), path);
  auto renewals = evidence::renewals_from_tar(*tar);
  if (!renewals) return about_document(std::move(renewals.error()), path);
  extra.renewals = std::move(*renewals);
  options.renewals = extra.renewals;
  return {};
}

Result<void> gather(const ProfileStore& store, const Args& args, Extra& extra, evidence::VerifyOptions& options) {
  extra.history = STELLA_TRY(known_history(store, args.keys, options.trust));
  if (extra.history) {
    options.key_history = &extra.history->history;
    options.key_source = extra.history->source;
  }
  extra.logs = STELLA_TRY(trusted_logs(store, args.trust_log, "--trust-log"));
  options.log_keys = extra.logs.keys;
  options.log_signers = extra.logs.signers;
  options.log_source = extra.logs.source;
  if (!args.witness.empty()) {
    const std::string text = STELLA_TRY(read_document(args.witness));
    auto policy = timeline::LogPolicy::parse(text);
    if (!policy) return about_document(std::move(policy.error()), args.witness);
    extra.witnesses = std::move(*policy);
    options.witnesses = &*extra.witnesses;
  }
  if (!args.trust_time.empty()) {
    auto time = crypto::TimestampTrust::from_pem(STELLA_TRY(read_document(args.trust_time)));
    if (!time) return about_document(std::move(time.error()), args.trust_time);
    extra.time = std::move(*time);
    extra.time_source = "--trust-time " + args.trust_time;
    options.time_trust = &*extra.time;
    options.time_source = extra.time_source;
    STELLA_TRY_VOID(gather_renewals(args, extra, options));
    options.time_threshold = static_cast<std::size_t>(args.authorities);
  }
  if (!args.checkpoint.empty()) {
    extra.kept_source = "--checkpoint " + args.checkpoint;
    extra.kept = evidence::KeptCheckpoint{.note = STELLA_TRY(read_document(args.checkpoint)), .consistency = {}, .source = extra.kept_source};
    if (!args.consistency.empty()) extra.kept->consistency = STELLA_TRY(read_consistency(args.consistency));
    options.kept = &*extra.kept;
  }
  return {};
}

Result<std::vector<evidence::Dimension>> required(const std::string& text) {
  std::vector<evidence::Dimension> out(std::begin(evidence::kDefaultRequired), std::end(evidence::kDefaultRequired));
  for (std::string_view rest = text; !rest.empty();) {
    const std::size_t end = std::min(rest.find(','), rest.size());
    const std::string_view name = rest.substr(0, end);
    rest.remove_prefix(std::min(end + 1, rest.size()));
    if (name.empty()) continue;
    const auto dimension = evidence::parse_dimension(name);
    if (!dimension) {
      std::string all;
      for (std::size_t i = 0; i < evidence::kDimensions; ++i) all.append(all.empty() ? "" : ", ").append(evidence::dimension_name(static_cast<evidence::Dimension>(i)));
      return Error(base_errors::kInvalid, "no such dimension of a verdict").with("field", std::string(name)).with("expected", all);
    }
    if (std::find(out.begin(), out.end(), *dimension) == out.end()) out.push_back(*dimension);
  }
  return out;
}

// What `asked` names, and KEY-STATUS where whoever verifies knows of something against the key: a stolen key is never passed over.
std::vector<evidence::Dimension> required_of(std::vector<evidence::Dimension> asked, const evidence::Verdict& verdict, const evidence::VerifyOptions& options) {
  constexpr auto kStatus = evidence::Dimension::kKeyStatus;
  const bool against = options.key_history != nullptr && verdict.of(kStatus).outcome == evidence::Outcome::kFail;
  if (against && std::find(asked.begin(), asked.end(), kStatus) == asked.end()) asked.push_back(kStatus);
  return asked;
}

// PASS, FAIL and NOT-CHECKED in their colours.
std::string painted(std::string text, const Palette& paint) {
  if (!paint.on()) return text;
  for (const std::string_view outcome : {"NOT-CHECKED", "PASS", "FAIL"})
    for (std::size_t at = text.find(outcome); at != std::string::npos;) {
      const std::string colored = paint(style_of(outcome), outcome);
      text.replace(at, outcome.size(), colored);
      at = text.find(outcome, at + colored.size());
    }
  return text;
}

// Text of a verdict may quote the bundle; newlines are ours, other control characters nobody's.
std::string safe(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const std::size_t end = std::min(text.find('\n'), text.size());
    out += printable(text.substr(0, end)) + "\n";
    text.remove_prefix(std::min(end + 1, text.size()));
  }
  return out;
}

// How far a bundle was read: a line that repaints itself on a terminal; whoever asked for it elsewhere gets a line for each tenth.
class Reading {
 public:
  Reading(Console& console, bool asked, std::string label) : console_(console), label_(std::move(label)), lines_(asked && !console.err_is_terminal()), progress_(console, label_, 0) {}

  void operator()(std::uint64_t read, std::uint64_t size) {
    constexpr std::uint64_t kStep = 1u << 20, kLine = 1u << 30;
    const std::uint64_t tenth = size > 0 ? read * 10 / size : read / kLine;
    if (lines_ && tenth > tenth_) console_.err(label_ + "  " + text(read, size) + "\n");
    tenth_ = tenth;
    if (lines_ || read < shown_ + kStep) return;
    shown_ = read;
    progress_.update(0, text(read, size));
  }
  void clear() { progress_.clear(); }

 private:
  std::string text(std::uint64_t read, std::uint64_t size) const {
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin_).count();
    std::string out = size > 0 ? std::to_string(read * 100 / size) + "%  " + human_bytes(read) + " of " + human_bytes(size) : human_bytes(read);
    if (seconds > 0) out += "  " + std::to_string(static_cast<std::uint64_t>(static_cast<double>(read) / 1e6 / seconds)) + " MB/s";
    return out;
  }

  Console& console_;
  std::string label_;
  bool lines_;
  Progress progress_;
  std::uint64_t tenth_ = 0, shown_ = 0;
  std::chrono::steady_clock::time_point begin_ = std::chrono::steady_clock::now();
};

// Malformed is worse than a failure, a failure worse than what was not checked.
int worse(int a, int b) {
  constexpr int kOrder[] = {evidence::kExitPass, evidence::kExitNotChecked, evidence::kExitFail, evidence::kExitMalformed};
  const auto rank = [&](int code) { return std::find(std::begin(kOrder), std::end(kOrder), code); };
  return rank(a) < rank(b) ? b : a;
}

// What became of the bundles inside of a bundle.
struct Inside {
  int code = evidence::kExitPass;
  json::Array documents;
  std::string text;
};

Result<Inside> look_inside(Session& session, const Args& args, const evidence::Verdict& outer, evidence::VerifyOptions& options, const std::vector<evidence::Dimension>& asked) {
  Inside out;
  const std::vector<std::string> paths = evidence::nested_bundles(outer);
  if (!args.nested) {
    for (const std::string& path : paths) out.text += "\n" + path + " is a bundle itself and was not looked into: --nested verifies it, too.\n";
    return out;
  }
  Reading reading(session.console(), args.progress, "nested");
  options.on_read = [&](std::uint64_t read, std::uint64_t size) { reading(read, size); };
  const auto verdicts = evidence::verify_nested_file(args.file, outer, options);
  reading.clear();
  if (!verdicts) return verdicts.error();
  for (const auto& [path, verdict] : *verdicts) {
    const auto dimensions = verdict ? required_of(asked, *verdict, options) : asked;
    json::Value document = verdict ? evidence::verdict_json(*verdict, dimensions)
                                   : json::Value::object({{"result", "malformed"}, {"exit_code", evidence::kExitMalformed}, {"reason", verdict.error().describe()}});
    document.set("path", path);
    out.documents.push_back(std::move(document));
    out.text += "\n" + path + "\n" + (verdict ? evidence::verdict_text(*verdict, dimensions) : "no bundle: " + verdict.error().describe() + "\n");
    out.code = worse(out.code, verdict ? evidence::exit_code(*verdict, dimensions) : evidence::kExitMalformed);
  }
  // One that is listed and not there: INTEGRITY of the outer one fails already.
  return out;
}

Result<int> verify(Session& session, const Args& args) {
  // 1 says "not whole" or "not signed": whatever kept us from looking is another code.
  const auto not_checked = [&](const Error& error, int code) -> int {
    session.console().err(render_error(error, session.console().err_palette()));
    return code;
  };
  const auto asked = required(args.require);
  if (!asked) return not_checked(asked.error(), kExitUsage);
  if (const auto sound = check_options(args); !sound) return not_checked(sound.error(), kExitUsage);
  const auto trusted = trusted_keys(session.store(), args.trust);
  if (!trusted) return not_checked(trusted.error(), evidence::kExitNotChecked);
  evidence::VerifyOptions options;
  options.trust = trusted->keys;
  options.trust_source = trusted->source;
  Extra extra;
  if (auto gathered = gather(session.store(), args, extra, options); !gathered) return not_checked(gathered.error(), evidence::kExitNotChecked);
  Reading reading(session.console(), args.progress, "verify");
  options.on_read = [&](std::uint64_t read, std::uint64_t size) { reading(read, size); };
  const auto verdict = evidence::verify_bundle_file(args.file, options);
  reading.clear();
  if (!verdict) {
    const bool is_malformed = verdict.error().code() == base_errors::kMalformed || verdict.error().code() == base_errors::kLimit;
    return not_checked(Error(verdict.error()).with("document", args.file).with("remedy", is_malformed ? "Get the bundle again: stella forensic get BUNDLE --out FILE" : "Check the path."),
                       is_malformed ? evidence::kExitMalformed : evidence::kExitNotChecked);
  }
  const auto inside = look_inside(session, args, *verdict, options, *asked);
  if (!inside) return not_checked(inside.error(), evidence::kExitMalformed);
  const auto dimensions = required_of(*asked, *verdict, options);
  const int code = worse(evidence::exit_code(*verdict, dimensions), inside->code);
  json::Value document = evidence::verdict_json(*verdict, dimensions);
  if (!inside->documents.empty()) document.set("nested", inside->documents);
  session.show(document, [&] { return painted(safe(evidence::verdict_text(*verdict, dimensions) + inside->text), session.console().out_palette()); });
  if (trusted->keys.empty())
    session.console().err("No key is trusted, so nobody vouches for the signature.\n  to do  stella forensic verify " + args.file + " --trust KEY.pub\n         or `stella login`, which keeps the server's evidence keys in " + session.store().trust_directory() + "\n");
  return code;
}

Result<int> script(Session& session, bool digest_only) {
  const std::string_view text = evidence::verify_sh();
  const std::string digest = crypto::sha256(text).hex();
  if (session.machine()) {
    session.show(json::Value::object({{"name", "verify.sh"}, {"sha256", digest}, {"script", text}}), [] { return std::string(); });
    return kExitDone;
  }
  session.console().out(digest_only ? digest + "  verify.sh\n" : std::string(text));
  if (!digest_only) session.console().note("sha256 " + digest + "  verify.sh\n");
  return kExitDone;
}

}  // namespace

void register_verify(App& app) {
  auto args = std::make_shared<Args>();
  app.command("forensic verify", "Verify an evidence bundle, offline: digests, Merkle root, signature; and say what was not checked.")
      .argument("FILE", &args->file, "The bundle (.tgz).", {.required = true, .value = "FILE"})
      .option("--trust", &args->trust, "A PEM public key or a directory of *.pub (default: the keys that `stella login` kept).", {.value = "PATH"})
      .option("--trust-log", &args->trust_log, "Keys of the logs: the installation's Ed25519 key as PEM, a .vkey file with a line for each log, or a directory of those (*.ed25519, *.vkey; default: what `stella login` kept).", {.value = "PATH"})
      .option("--witness", &args->witness, "A C2SP tlog-policy file: a quorum of its witnesses must have cosigned the deployment log that has the enclosed checkpoint.", {.value = "FILE"})
      .option("--trust-time", &args->trust_time, "PEM file with the roots of the time authorities that you trust.", {.value = "FILE"})
      .option("--authorities", &args->authorities, "How many different authorities must have stamped the seal (default: 1).", {.value = "N"})
      .option("--renewals", &args->renewals, "The renewals of its timestamps (default: the bundle's path and .renewals.tar, which `stella forensic get` writes).", {.value = "FILE"})
      .option("--at", &args->at, "The time at which the authorities' certificates are judged (default: now).", {.value = "TIME"})
      .option("--keys", &args->keys, "The life of the signing keys (stella keys history --out): whether the key was good when it signed (default: what `stella login` kept).", {.value = "FILE"})
      .option("--checkpoint", &args->checkpoint, "A checkpoint of the log that you kept from before: shows that the log has one history.", {.value = "FILE"})
      .option("--consistency", &args->consistency, "The proof between that checkpoint and the enclosed one (stella timeline proof), where their sizes differ.", {.value = "FILE"})
      .option("--require", &args->require, "Dimensions that must pass, too, comma separated: INTEGRITY and AUTHENTICITY always must.", {.value = "DIM,…"})
      .option("--nested", &args->nested, "The bundles inside of it, too, as an export's bundle may have one of its evaluation: the exit code is the worst.")
      .option("--progress", &args->progress, "How far it is, on stderr, where that is no terminal, too: percent and MB/s.")
      .note("Exit codes\n  0  every required dimension passes\n  1  one of them fails\n  2  one of them could not be checked (no trusted key: AUTHENTICITY), or the file\n     cannot be read\n  3  this is no bundle")
      .run([args](Session& s) { return verify(s, *args); });
}

void register_verify_script(App& app) {
  auto digest_only = std::make_shared<bool>(false);
  app.command("forensic verify-script", "Print verify.sh, the verifier for whoever trusts none of our software (sh, openssl, sha256sum), and its digest.")
      .option("--digest", digest_only.get(), "Only the digest, as sha256sum writes it.")
      .note("stella forensic verify-script > verify.sh; sh verify.sh KEY.pub... bundle.tgz")
      .run([digest_only](Session& s) { return script(s, *digest_only); });
}

}  // namespace stella::cli
