// stella timeline checkpoint, proof, verify: what the log states, proves, and whether its entries are what it signed.
#include "timeline_log.h"

#include <algorithm>
#include <chrono>
#include <thread>

#include "register.h"
#include "stella/base/encoding.h"
#include "stella/base/file.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/cli/table.h"
#include "stella/cli/trust.h"
#include "stella/contracts/errors.h"
#include "stella/timeline/log/checkpoint.h"
#include "stella/timeline/log/merkle.h"
#include "stella/timeline/log/proofs.h"

namespace stella::cli {
namespace {

constexpr std::uint64_t kSmallFile = 1u << 20;
constexpr int kPage = 500;
// The keeper asks for a checkpoint together with the record of a deletion; it comes within a second or two.
constexpr int kLooks = 20;
constexpr std::chrono::milliseconds kBetweenLooks{250};

struct Args {
  std::string out;
  std::string vkey_out;
  std::int64_t from = 0, to = 0;
  std::string since;
  std::string trust;
  std::string file;
  std::string witness;
  bool deployment = false;
};

}  // namespace

// The server's own vkey is only a hint.
Result<std::vector<timeline::VerifierKey>> log_keys(Session& session, const std::string& trust, const std::string& origin) {
  const TrustedLogs trusted = STELLA_TRY(trusted_logs(session.store(), trust, "--trust"));
  auto out = timeline::keys_of_log(origin, trusted.signers, trusted.keys);
  if (out.empty()) return Error(contracts::errors::kUntrusted, "no key of the log is trusted").with("remedy", "stella login keeps it; or give --trust KEY from a source that you trust.");
  return out;
}

Result<Signed> open_note(Session& session, const std::string& trust, const std::string& note) {
  const std::string origin = note.substr(0, note.find('\n'));
  const auto keys = STELLA_TRY(log_keys(session, trust, origin));
  auto opened = STELLA_TRY(timeline::open_checkpoint(note, origin, keys));
  return Signed{std::move(opened.checkpoint), note};
}

Result<timeline::Proof> fetch_proof(Api& api, bool deployment, std::uint64_t from, std::uint64_t to, json::Value* answer) {
  Query query = {{"from_size", std::to_string(from)}, {"to_size", std::to_string(to)}};
  if (deployment) query.emplace_back("log", "deployment");
  const json::Value said = STELLA_TRY(api.get("/timeline/proof", query));
  timeline::Proof out;
  for (const auto& hash : said.items("hashes")) out.push_back(STELLA_TRY(Sha256::parse(hash.is_string() ? hash.as_string() : std::string())));
  if (answer != nullptr) *answer = said;
  return out;
}

namespace {

Result<int> checkpoint(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  if (args.deployment || !args.witness.empty()) {
    const Covered covered = STELLA_TRY(fetch_covered(session, *api, 0, args.trust, args.witness));
    return show_covered(session, covered, args.out, args.vkey_out);
  }
  const json::Value head = STELLA_TRY(api->get("/timeline/checkpoint"));
  const std::string note(head.str("checkpoint"));
  const Signed verified = STELLA_TRY(open_note(session, args.trust, note));
  if (!args.out.empty()) STELLA_TRY_VOID(write_file_durable(args.out, note));
  if (!args.vkey_out.empty()) STELLA_TRY_VOID(write_file_durable(args.vkey_out, std::string(head.str("vkey")) + "\n"));
  session.show(head, [&] {
    Facts facts;
    facts.add("log", verified.checkpoint.origin).add("size", with_commas(static_cast<std::int64_t>(verified.checkpoint.size))).add("root", verified.checkpoint.root.hex()).add("signature", "verified");
    return facts.render(session.console().out_palette(), 0);
  });
  if (!session.machine()) session.console().note(args.out.empty() ? "keep it: --out FILE; later: stella timeline verify --since FILE\n" : args.out + "  keep it; later: stella timeline verify --since " + args.out + "\n");
  return kExitDone;
}

Result<int> proof(Session& session, const Args& args) {
  Api* api = STELLA_TRY(session.api());
  if (args.from < 1 || args.to < args.from) return Error(base_errors::kInvalid, "two sizes of the log are needed").with("field", "--from, --to").with("expected", "whole numbers from 1, the former not above the latter");
  json::Value shown;
  const auto hashes = STELLA_TRY(fetch_proof(*api, args.deployment, static_cast<std::uint64_t>(args.from), static_cast<std::uint64_t>(args.to), &shown));
  if (!args.out.empty()) {
    STELLA_TRY_VOID(write_file_durable(args.out, json::dump(shown) + "\n"));
    if (!session.machine()) {
      session.console().note(args.out + "  for `stella forensic verify --consistency`\n");
      return kExitDone;
    }
  }
  session.show(shown, [&] {
    std::string out;
    for (const Sha256& hash : hashes) out += hash.hex() + "\n";
    return out.empty() ? std::string("(the sizes are equal)\n") : out;
  });
  return kExitDone;
}

}  // namespace

namespace {

// One item of a page, in its turn. False: it does not belong there, and nothing behind it does.
Result<bool> step(Walk& out, const json::Value& item, std::uint64_t kept, const EachEntry& each) {
  const auto index = static_cast<std::int64_t>(out.tree.size());
  const json::Value* there = item.find("log_index");
  if (there == nullptr || !there->is_int() || there->as_int() != index) {
    out.bad.emplace_back(index, "MISSING: another entry stands in its place");
    return false;
  }
  std::string bytes;
  Sha256 leaf;
  if (item.str("state") == "EXPIRED") {
    leaf = STELLA_TRY(Sha256::parse(item.str("digest")));
    out.expiry.expired(index);
  } else {
    // The entry is the canonical text of its own members: whoever changed one of them changed the leaf.
    json::Value entry = item;
    for (const char* ours : {"log_index", "digest", "state"}) entry.as_object().erase(ours);
    bytes = STELLA_TRY(json::canonical(entry));
    leaf = timeline::leaf_hash(bytes);
    if (item.str("state") == "MISSING") out.bad.emplace_back(index, "MISSING: gone from the search tables, so no filter finds it; the log has it");
    if (leaf.hex() != item.str("digest")) out.bad.emplace_back(index, "INVALID: entry and digest differ");
    // A key signs the logs of all tenants: another one's, moved here row by row, would lead to a signed root as well.
    if (entry.str("tenant_id") != out.tenant) out.bad.emplace_back(index, "INVALID: an entry of the tenant " + std::string(entry.str("tenant_id")));
    out.expiry.entry(index, entry);
  }
  if (each) STELLA_TRY_VOID(each(out.tree.size(), bytes, leaf));
  out.tree.append(leaf);
  if (out.tree.size() == kept) out.root_at_kept = out.tree.root();
  return true;
}

// On from where `out` ends.
Result<void> walk_to(Session& session, Api& api, std::uint64_t size, std::uint64_t kept, const EachEntry& each, Walk& out) {
  Progress progress(session.console(), "verify", size);
  while (out.tree.size() < size) {
    const json::Value page = STELLA_TRY(api.get("/timeline?order=log&limit=" + std::to_string(kPage) + "&from_index=" + std::to_string(out.tree.size())));
    const auto& items = page.items("items");
    if (items.empty()) {
      out.bad.emplace_back(static_cast<std::int64_t>(out.tree.size()), "MISSING: the server gives no entry");
      return {};
    }
    for (const json::Value& item : items) {
      if (out.tree.size() == size) break;
      const bool right = STELLA_TRY(step(out, item, kept, each));
      if (!right) return {};
    }
    progress.update(out.tree.size(), with_commas(static_cast<std::int64_t>(out.tree.size())) + " entries");
  }
  progress.clear();
  return {};
}

}  // namespace

Result<Walk> walk(Session& session, Api& api, const std::string& trust, Signed& head, std::uint64_t kept, const EachEntry& each) {
  Walk out;
  const json::Value me = STELLA_TRY(api.get("/me"));
  out.tenant = me.str("tenant_id");
  STELLA_TRY_VOID(walk_to(session, api, head.checkpoint.size, kept, each, out));
  for (int look = 0; look < kLooks && out.bad.empty() && !out.expiry.uncovered().empty() && out.tree.root() == head.checkpoint.root; ++look) {
    const json::Value answer = STELLA_TRY(api.get("/timeline/checkpoint"));
    Signed newer = STELLA_TRY(open_note(session, trust, std::string(answer.str("checkpoint"))));
    if (newer.checkpoint.origin != head.checkpoint.origin || newer.checkpoint.size <= head.checkpoint.size) {
      std::this_thread::sleep_for(kBetweenLooks);
      continue;
    }
    head = std::move(newer);
    STELLA_TRY_VOID(walk_to(session, api, head.checkpoint.size, kept, each, out));
  }
  return out;
}

std::vector<std::pair<std::string, std::string>> problems_of(const Signed& head, const std::optional<Signed>& kept, const Walk& walked) {
  std::vector<std::pair<std::string, std::string>> problems;
  for (const auto& [index, what] : walked.bad) problems.emplace_back("entry " + std::to_string(index), what);
  for (const auto& [first, end] : walked.expiry.uncovered())
    problems.emplace_back(end - first == 1 ? "entry " + std::to_string(first) : "entries " + std::to_string(first) + " to " + std::to_string(end - 1), "MISSING: called EXPIRED, but " + walked.expiry.why({first, end}));
  if (walked.bad.empty() && (walked.tree.size() != head.checkpoint.size || walked.tree.root() != head.checkpoint.root))
    problems.emplace_back("checkpoint", "the entries do not lead to the signed root: a row was changed, removed or put in");
  if (!kept) return problems;
  const auto& older = kept->checkpoint;
  if (older.origin != head.checkpoint.origin) problems.emplace_back("--since", "a checkpoint of another log: " + older.origin);
  else if (older.size > head.checkpoint.size) problems.emplace_back("--since", "the log became shorter than what you kept: " + std::to_string(older.size) + " entries then");
  else if (walked.root_at_kept && *walked.root_at_kept != older.root) problems.emplace_back("--since", "the entries of then are others today");
  return problems;
}

namespace {

json::Value deployment_json(const Verdict& v) {
  if (!v.covered) return {};
  json::Array witnesses;
  for (const std::string& name : v.covered->witnesses) witnesses.emplace_back(name);
  return json::Value::object({{"origin", v.covered->deployment.origin}, {"size", v.covered->deployment.size}, {"index", v.covered->index}, {"witnesses", std::move(witnesses)},
                              {"since", v.kept_deployment ? json::Value(v.kept_deployment->checkpoint.size) : json::Value()}});
}

std::string deployment_lines(const Palette& paint, const Verdict& v) {
  if (!v.covered) return {};
  const std::string pass = paint(Style::kGreen, "PASS") + "  ";
  std::string out = pass + "the checkpoint is leaf " + with_commas(static_cast<std::int64_t>(v.covered->index)) + " of the deployment log\n";
  if (v.kept_deployment) out += pass + "the deployment log continues the checkpoint of it that you kept, of " + with_commas(static_cast<std::int64_t>(v.kept_deployment->checkpoint.size)) + " leaves\n";
  for (const std::string& name : v.covered->witnesses) out += pass + name + " cosigned the deployment log\n";
  return out;
}

}  // namespace

int show_verdict(Session& session, const Verdict& v) {
  const auto& head = v.head.checkpoint;
  json::Array list;
  for (const auto& [where, what] : v.problems) list.push_back(json::Value::object({{"where", where}, {"problem", what}}));
  const json::Value shown = json::Value::object({{"result", v.problems.empty() ? "pass" : "fail"}, {"origin", head.origin}, {"size", head.size}, {"root", head.root.hex()},
                                                 {"entries_checked", v.walked.tree.size()}, {"expired", v.walked.expiry.count()}, {"expired_until", v.walked.expiry.until() ? json::Value(v.walked.expiry.until()->rfc3339()) : json::Value()}, {"since", v.kept ? json::Value(v.kept->checkpoint.size) : json::Value()}, {"deployment", deployment_json(v)}, {"problems", std::move(list)}});
  session.show(shown, [&] {
    const Palette& paint = session.console().out_palette();
    std::string out;
    for (const auto& [where, what] : v.problems) out += paint(Style::kRed, "FAIL") + "  " + where + ": " + printable(what) + "\n";
    if (v.problems.empty()) {
      out += paint(Style::kGreen, "PASS") + "  " + with_commas(static_cast<std::int64_t>(v.walked.tree.size())) + " entries, each hashed again, lead to the signed root\n";
      if (v.walked.expiry.count() > 0) out += paint(Style::kGreen, "PASS") + "  " + with_commas(v.walked.expiry.count()) + " of them have expired: their hashes are there, and dispositions in the same log, each planned before, say that they were deleted as older than " + v.walked.expiry.until().value_or(Timestamp()).rfc3339_seconds() + "\n";
      if (v.kept) out += paint(Style::kGreen, "PASS") + "  the log continues the checkpoint that you kept, of " + with_commas(static_cast<std::int64_t>(v.kept->checkpoint.size)) + " entries\n";
      out += deployment_lines(paint, v);
    }
    Facts facts;
    facts.add("log", head.origin).add("size", with_commas(static_cast<std::int64_t>(head.size))).add("root", head.root.hex());
    facts.add("not checked", v.kept ? "events younger than the checkpoint" : "whether your log had another history before: --since a checkpoint of it that you kept");
    if (!v.covered) facts.add("not checked", v.uncovered);
    if (v.walked.expiry.count() > 0) facts.add("not to be seen", "how old the expired entries really were, and of which kinds: hashes do not tell, only their disposition does");
    return out + facts.render(paint, 2);
  });
  return v.problems.empty() ? kExitDone : kExitFailed;
}

namespace {

// Whether the deployment log has the verified checkpoint. Without a policy a key that is not trusted is nothing found, only nothing checked.
Result<void> cover(Session& session, Api& api, const Args& args, Verdict& verdict) {
  auto covered = fetch_covered(session, api, verdict.head.checkpoint.size, args.trust, args.witness);
  if (covered && covered->covers == verdict.head.checkpoint) {
    verdict.covered = std::move(*covered);
    return {};
  }
  const std::string why = covered ? "it has another checkpoint of this size" : covered.error().describe();
  if (covered || !args.witness.empty() || covered.error().code() == base_errors::kInvalid || covered.error().code() == contracts::errors::kIntegrity) verdict.problems.emplace_back("deployment log", why);
  else verdict.uncovered = "the deployment log: " + why;
  return {};
}

Result<int> verify(Session& session, const Args& args) {
  if (!args.file.empty() && !args.witness.empty())
    return Error(base_errors::kInvalid, "an offline copy has no proof of the deployment log").with("field", "--witness").with("remedy", "Leave --file out, or keep `stella timeline checkpoint --deployment -o json`.");
  if (!args.file.empty()) return verify_export(session, args.file, args.trust, args.since);
  Api* api = STELLA_TRY(session.api());
  const json::Value answer = STELLA_TRY(api->get("/timeline/checkpoint"));
  Signed head = STELLA_TRY(open_note(session, args.trust, std::string(answer.str("checkpoint"))));
  std::optional<Signed> kept, kept_deployment;
  if (!args.since.empty()) {
    auto note = read_file(args.since, kSmallFile);
    if (!note) return about_document(std::move(note.error()), args.since);
    if (note->find("\n\n\u2014 ") == std::string::npos)
      return about_document(Error(base_errors::kMalformed, "not a signed checkpoint").with("field", "--since").with("remedy", "stella timeline checkpoint --out FILE writes one; a key goes to --trust."), args.since);
    Signed opened = STELLA_TRY(open_note(session, args.trust, *note));
    (opened.checkpoint.origin == head.checkpoint.origin ? kept : kept_deployment) = std::move(opened);
  }
  const Walk walked = STELLA_TRY(walk(session, *api, args.trust, head, kept ? kept->checkpoint.size : 0));
  auto problems = problems_of(head, kept, walked);
  const auto about_kept = [](const auto& problem) { return problem.first == "--since"; };
  if (kept && std::none_of(problems.begin(), problems.end(), about_kept)) {
    const auto consistency = fetch_proof(*api, false, kept->checkpoint.size, head.checkpoint.size);
    if (!consistency || !timeline::verify_growth(kept->checkpoint, head.checkpoint, *consistency)) problems.emplace_back("--since", "the server cannot prove that its log continues the one you kept");
  }
  Verdict verdict{.head = head, .kept = kept, .walked = walked, .problems = std::move(problems)};
  STELLA_TRY_VOID(cover(session, *api, args, verdict));
  if (kept_deployment) {
    const std::string problem = verdict.covered ? not_continued(*api, *kept_deployment, *verdict.covered) : "it is no checkpoint of your log, and nothing shows that it is one of the deployment log";
    if (!problem.empty()) verdict.problems.emplace_back("--since", problem);
    verdict.kept_deployment = std::move(kept_deployment);
  }
  return show_verdict(session, verdict);
}

}  // namespace

void register_timeline_log(App& app) {
  auto args = std::make_shared<Args>();
  app.command("timeline checkpoint", "The newest signed checkpoint of your log, verified. Keep one: later it shows that nothing was rewritten.")
      .option("--out", &args->out, "Write it there.", {.value = "FILE"})
      .option("--vkey", &args->vkey_out, "Write the log's verifier key there, as the server states it.", {.value = "FILE"})
      .option("--deployment", &args->deployment, "That of the deployment log which covers it, and the proof: what witnesses cosign.")
      .option("--witness", &args->witness, "With --deployment: a C2SP tlog-policy file; a quorum of its witnesses must have cosigned.", {.value = "FILE"})
      .option("--trust", &args->trust, "The log's key: a .vkey file, or an Ed25519 key as PEM (default: what `stella login` kept).", {.value = "FILE"})
      .run([args](Session& s) { return checkpoint(s, *args); });
  app.command("timeline proof", "The proof that the log of one size continues the log of another; for `stella forensic verify --consistency`.")
      .option("--from", &args->from, "Size of the older checkpoint.", {.required = true, .value = "SIZE"})
      .option("--to", &args->to, "Size of the newer checkpoint.", {.required = true, .value = "SIZE"})
      .option("--deployment", &args->deployment, "Of the deployment log, up to the checkpoint that covers yours.")
      .option("--out", &args->out, "Write it there, as --consistency reads it.", {.value = "FILE"})
      .run([args](Session& s) { return proof(s, *args); });
  app.command("timeline verify", "Fetch every entry of your log, hash it again, and compare with the signed checkpoint and with one that you kept.")
      .option("--since", &args->since, "A checkpoint that you kept from before, of your log or of the deployment log.", {.value = "FILE"})
      .option("--file", &args->file, "Verify an offline copy (stella timeline export) instead; no server is asked.", {.value = "FILE"})
      .option("--witness", &args->witness, "A C2SP tlog-policy file: a quorum of its witnesses must have cosigned the deployment log that has the checkpoint.", {.value = "FILE"})
      .option("--trust", &args->trust, "The log's key: a .vkey file, or an Ed25519 key as PEM (default: what `stella login` kept).", {.value = "FILE"})
      .note("Exit codes\n  0  everything holds\n  1  something does not; each line says what")
      .run([args](Session& s) { return verify(s, *args); });
}

}  // namespace stella::cli
