// stella timeline export, and the verification of what it wrote: entries in the order of the log, then the checkpoint that all of them lead to; as
// NDJSON or as a CASE graph.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <memory>

#include "case_graph.h"
#include "register.h"
#include "stella/base/file.h"
#include "stella/cli/errors.h"
#include "stella/cli/format.h"
#include "stella/contracts/errors.h"
#include "timeline_log.h"

namespace stella::cli {
namespace {

constexpr std::uint64_t kNoteBytes = 1u << 20;
constexpr std::size_t kLineBytes = 2u << 20;  // an entry has 64 KiB at most, a note 1 MiB, both with escapes
constexpr std::size_t kBuffer = 1u << 20;

struct Args {
  std::string out;
  std::string trust;
  std::string format = "ndjson";
};

// Appears under its name only whole and synced.
class Output {
 public:
  static Result<Output> create(const std::string& path) {
    Output out;
    out.path_ = path;
    out.part_ = path + ".part";
    out.file_ = Fd(::open(out.part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!out.file_) return io_error("cannot create the file", out.part_);
    return out;
  }
  Output(Output&&) = default;
  ~Output() {
    if (file_) ::unlink(part_.c_str());
  }
  Result<void> add(std::string_view bytes) {
    buffer_ += bytes;
    return buffer_.size() < kBuffer ? Result<void>() : flush();
  }
  Result<void> commit() {
    STELLA_TRY_VOID(flush());
    if (::fsync(file_.get()) != 0 || ::rename(part_.c_str(), path_.c_str()) != 0) return io_error("cannot keep the file", path_);
    file_.reset();
    return sync_parent_dir(path_);
  }

 private:
  Output() = default;
  Result<void> flush() {
    const std::string now = std::exchange(buffer_, std::string());
    return write_all(file_.get(), now);
  }
  std::string path_, part_, buffer_;
  Fd file_;
};

Result<int> export_log(Session& session, const Args& args) {
  if (args.format != "ndjson" && args.format != "case") return Error(base_errors::kInvalid, "no such format").with("field", "--format").with("expected", "ndjson or case");
  Api* api = STELLA_TRY(session.api());
  const json::Value answer = STELLA_TRY(api->get("/timeline/checkpoint"));
  Signed head = STELLA_TRY(open_note(session, args.trust, std::string(answer.str("checkpoint"))));
  Output out = STELLA_TRY(Output::create(args.out));
  const bool graph = args.format == "case";
  const std::string origin = head.checkpoint.origin;
  if (graph) STELLA_TRY_VOID(out.add(case_graph::head(origin)));
  const Walk walked = STELLA_TRY(walk(session, *api, args.trust, head, 0, [&](std::uint64_t index, std::string_view entry, const Sha256& leaf) -> Result<void> {
    const bool expired = entry.empty();
    if (graph) {
      const std::string nodes = STELLA_TRY(expired ? case_graph::expired(origin, index, leaf) : case_graph::entry(origin, index, entry));
      return out.add(nodes);
    }
    const std::string line = "{\"log_index\":" + std::to_string(index);
    return out.add(expired ? line + ",\"digest\":\"" + leaf.hex() + "\",\"state\":\"EXPIRED\"}\n" : line + ",\"entry\":" + std::string(entry) + "}\n");
  }));
  auto problems = problems_of(head, std::nullopt, walked);
  // A copy of a log that is not what was signed is no copy.
  if (!problems.empty()) return show_verdict(session, {head, std::nullopt, walked, std::move(problems)});
  STELLA_TRY_VOID(out.add(graph ? case_graph::tail(origin, head.note) : json::dump(json::Value::object({{"checkpoint", head.note}})) + "\n"));
  STELLA_TRY_VOID(out.commit());
  session.show(json::Value::object({{"file", args.out}, {"origin", head.checkpoint.origin}, {"size", head.checkpoint.size}, {"root", head.checkpoint.root.hex()}}),
               [&] { return args.out + "  " + with_commas(static_cast<std::int64_t>(head.checkpoint.size)) + " entries; later, without a server: stella timeline verify --file " + args.out + "\n"; });
  return kExitDone;
}

// The lines of a file, each bounded.
class Lines {
 public:
  explicit Lines(std::FILE* file) : file_(file, &std::fclose) {}
  ~Lines() { std::free(line_); }
  Lines(const Lines&) = delete;
  Lines& operator=(const Lines&) = delete;
  // nullopt at the end. kMalformed for a line that is too long or has no end.
  Result<std::optional<std::string_view>> next() {
    const auto n = ::getdelim(&line_, &capacity_, '\n', file_.get());
    ++number_;
    if (n < 0) return std::optional<std::string_view>();
    if (static_cast<std::size_t>(n) > kLineBytes || line_[n - 1] != '\n') return bad("a whole line");
    return std::optional<std::string_view>(std::string_view(line_, static_cast<std::size_t>(n) - 1));
  }
  Error bad(std::string_view expected) const { return Error(base_errors::kMalformed, "not an export of a log").with("line", number_).with("expected", std::string(expected)); }

 private:
  std::unique_ptr<std::FILE, int (*)(std::FILE*)> file_;
  char* line_ = nullptr;
  std::size_t capacity_ = 0;
  std::int64_t number_ = 0;
};

// Whether an export has the entry in its place.
bool in_place(Walk& walked, std::uint64_t index) {
  if (index == walked.tree.size()) return true;
  if (walked.bad.empty()) walked.bad.emplace_back(static_cast<std::int64_t>(walked.tree.size()), "MISSING: another entry stands in its place");
  return false;
}

void append_leaf(Walk& walked, std::uint64_t kept, const Sha256& leaf) {
  walked.tree.append(leaf);
  if (walked.tree.size() == kept) walked.root_at_kept = walked.tree.root();
}

// An expired entry: its hash is all that the export has.
void append(Walk& walked, std::uint64_t kept, std::uint64_t index, const Sha256& leaf) {
  if (!in_place(walked, index)) return;
  walked.expiry.expired(static_cast<std::int64_t>(index));
  append_leaf(walked, kept, leaf);
}

// The next entry: its bytes are those that were hashed into the log.
void append(Walk& walked, std::uint64_t kept, std::uint64_t index, std::string_view bytes) {
  if (!in_place(walked, index)) return;
  const auto entry = json::parse(bytes, {.max_bytes = kLineBytes, .max_depth = 64});
  if (entry && entry->is_object()) walked.expiry.entry(static_cast<std::int64_t>(index), *entry);
  append_leaf(walked, kept, timeline::leaf_hash(bytes));
}

// A CASE graph whose first line was read. The note of its checkpoint is returned.
Result<std::string> read_graph(Lines& lines, std::string_view first, std::uint64_t kept, Walk& walked) {
  case_graph::Reader reader;
  const auto beginning = reader.line(first);
  if (!beginning) return lines.bad("the beginning of a graph of a log");
  for (;;) {
    const auto line = STELLA_TRY(lines.next());
    if (!line) {
      if (reader.note().empty()) return lines.bad("an end with the checkpoint: the file was cut off");
      return reader.note();
    }
    const auto record = reader.line(*line);
    if (!record) return lines.bad("the nodes of an entry with index and bytes, or the end with the checkpoint");
    if (!*record) continue;
    const case_graph::Record& r = **record;
    if (!r.faithful) walked.bad.emplace_back(static_cast<std::int64_t>(r.index), "INVALID: the graph says something else than the entry's bytes");
    if (r.expired) append(walked, kept, r.index, *r.expired);
    else append(walked, kept, r.index, r.entry);
  }
}

// Entries up to the line that has the checkpoint, which must be the last. The note is returned.
Result<std::string> read_export(Lines& lines, std::uint64_t kept, Walk& walked) {
  for (bool first = true;; first = false) {
    const auto line = STELLA_TRY(lines.next());
    if (!line) return lines.bad("a last line with the checkpoint: the file was cut off");
    if (first && case_graph::begins(*line)) return read_graph(lines, std::string(*line), kept, walked);
    const auto value = json::parse(*line, {.max_bytes = kLineBytes, .max_depth = 64});
    if (!value || !value->is_object()) return lines.bad("a JSON object");
    if (const std::string_view note = value->str("checkpoint"); !note.empty()) {
      const auto more = STELLA_TRY(lines.next());
      if (more) return lines.bad("nothing behind the checkpoint");
      return std::string(note);
    }
    const json::Value* index = value->find("log_index");
    const json::Value* entry = value->find("entry");
    const bool expired = entry == nullptr && value->str("state") == "EXPIRED";
    if (index == nullptr || !index->is_int() || (!expired && (entry == nullptr || !entry->is_object()))) return lines.bad("log_index with entry or digest, or checkpoint");
    if (expired) {
      const auto digest = Sha256::parse(value->str("digest"));
      if (!digest) return lines.bad("the digest of an expired entry");
      append(walked, kept, static_cast<std::uint64_t>(index->as_int()), *digest);
      continue;
    }
    const std::string bytes = STELLA_TRY(json::canonical(*entry));
    append(walked, kept, static_cast<std::uint64_t>(index->as_int()), bytes);
  }
}

}  // namespace

Result<int> verify_export(Session& session, const std::string& file, const std::string& trust, const std::string& since) {
  std::optional<Signed> kept;
  if (!since.empty()) {
    auto note = read_file(since, kNoteBytes);
    if (!note) return about_document(std::move(note.error()), since);
    kept = STELLA_TRY(open_note(session, trust, *note));
  }
  std::FILE* opened = std::fopen(file.c_str(), "re");
  if (opened == nullptr) return io_error("cannot read the file", file);
  Lines lines(opened);
  Walk walked;
  auto note = read_export(lines, kept ? kept->checkpoint.size : 0, walked);
  if (!note) return about_document(std::move(note.error()), file);
  const Signed head = STELLA_TRY(open_note(session, trust, *note));
  auto problems = problems_of(head, kept, walked);
  return show_verdict(session, {head, kept, walked, std::move(problems)});
}

void register_timeline_export(App& app) {
  auto args = std::make_shared<Args>();
  app.command("timeline export", "An offline copy of your whole log with the checkpoint that proves it.")
      .option("--out", &args->out, "Write it there.", {.required = true, .value = "FILE"})
      .option("--format", &args->format, "ndjson: one line per entry; case: a CASE/UCO graph in JSON-LD, for other forensic tools.", {.value = "FORMAT"})
      .option("--trust", &args->trust, "The log's key: a .vkey file, or an Ed25519 key as PEM (default: what `stella login` kept).", {.value = "FILE"})
      .note("Nothing is written where the entries do not lead to the signed root.")
      .run([args](Session& s) { return export_log(s, *args); });
}

}  // namespace stella::cli
