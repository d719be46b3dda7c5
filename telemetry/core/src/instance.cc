// Making, locking, finding and reading the directories.
#include "instance.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <charconv>
#include <cstddef>
#include <cstring>

#include "stella/base/json.h"
#include "stella/contracts/errors.h"

namespace stella::telemetry {
namespace {

constexpr std::string_view kUnfinished = ".new-";

std::vector<std::string> names_in(const std::string& dir) {
  std::vector<std::string> names;
  DIR* const entries = opendir(dir.c_str());
  if (entries == nullptr) return names;
  while (const dirent* entry = readdir(entries)) {
    if (std::string_view name = entry->d_name; name != "." && name != "..") names.emplace_back(name);
  }
  closedir(entries);
  std::sort(names.begin(), names.end());
  return names;
}

void remove_dir(const std::string& path) {
  for (const std::string& name : names_in(path)) unlink((path + "/" + name).c_str());
  rmdir(path.c_str());
}

// "<pid>-<start>-<n>"; false where it is no such name.
bool parse_name(std::string_view name, std::int64_t& pid, std::uint64_t& start) {
  const char* const end = name.data() + name.size();
  auto r = std::from_chars(name.data(), end, pid);
  if (r.ec != std::errc() || r.ptr == end || *r.ptr != '-' || pid <= 0) return false;
  r = std::from_chars(r.ptr + 1, end, start);
  return r.ec == std::errc() && r.ptr != end && *r.ptr == '-';
}

bool alive(std::int64_t pid, std::uint64_t start) { return kill(static_cast<pid_t>(pid), 0) == 0 && process_start(pid) == start; }

std::string about_json(const Resource& r) {
  return json::dump(json::Value::object({{"service", r.service}, {"version", r.version}, {"env", r.env}, {"region", r.region}, {"instance_id", r.instance_id}}));
}

Resource parse_about(const std::string& path) {
  Resource r;
  const auto text = read_file(path, 64 * 1024);
  const auto value = text ? json::parse(*text) : Result<json::Value>(text.error());
  if (!value) return r;
  const auto member = [&](const char* name, std::string& into) {
    if (const std::string_view v = value->str(name); !v.empty()) into = v;
  };
  member("service", r.service);
  member("version", r.version);
  member("env", r.env);
  member("region", r.region);
  member("instance_id", r.instance_id);
  return r;
}

Result<void> write_small(const std::string& path, std::string_view text) {
  const Fd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600));
  if (!fd) return io_error("cannot write beside the telemetry rings", path);
  return write_all(fd.get(), text);
}

}  // namespace

std::uint64_t process_start(std::int64_t pid) {
  const auto text = read_file("/proc/" + std::to_string(pid) + "/stat", 4096);
  if (!text) return 0;
  // The name in parentheses may hold anything; fields are counted from behind it: the next one is the third.
  std::size_t at = text->rfind(')');
  for (int field = 2; field < 22 && at != text->npos; ++field) at = text->find(' ', at + 1);
  std::uint64_t start = 0;
  if (at != text->npos) std::from_chars(text->data() + at + 1, text->data() + text->size(), start);
  return start;
}

Result<std::string> telemetry_dir(std::string dir, std::string_view installation) {
  const bool shared = dir.empty();
  if (shared) dir = "/dev/shm/stella-telemetry-" + std::to_string(geteuid());
  if (shared) {
    if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return io_error("cannot make the telemetry directory", dir);
  } else {
    STELLA_TRY_VOID(make_dirs(dir, 0700));
  }
  struct stat status {};
  if (lstat(dir.c_str(), &status) != 0) return io_error("cannot read the telemetry directory", dir);
  // In a directory that everybody may write, the name proves nothing.
  if (shared && (!S_ISDIR(status.st_mode) || status.st_uid != geteuid() || (status.st_mode & 077) != 0)) {
    return Error(contracts::errors::kInvalid, "the telemetry directory belongs to somebody else").with("path", dir);
  }
  if (!shared || installation.empty()) return dir;
  std::uint64_t hash = 0xcbf29ce484222325;  // FNV-1a: the same in every process and version
  for (const char c : installation) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  dir += "/of-" + std::to_string(hash);
  if (mkdir(dir.c_str(), 0700) != 0 && errno != EEXIST) return io_error("cannot make the telemetry directory", dir);
  return dir;
}

Result<Instance> Instance::create(const std::string& dir, const Resource& resource) {
  static std::atomic<int> count{0};
  Instance instance;
  instance.name_ = std::to_string(getpid()) + "-" + std::to_string(process_start(getpid()));
  // A number behind the name: several backends of one process, or a process of an earlier boot with the same pid and start.
  for (int tries = 0; tries < 1000; ++tries) {
    const std::string name = instance.name_ + "-" + std::to_string(count.fetch_add(1));
    const std::string unfinished = dir + "/" + std::string(kUnfinished) + name;
    instance.path_ = dir + "/" + name;
    if (access(instance.path_.c_str(), F_OK) == 0) continue;
    if (mkdir(unfinished.c_str(), 0700) != 0) {
      if (errno == EEXIST) continue;
      return io_error("cannot make the telemetry directory", unfinished);
    }
    instance.lock_ = Fd(::open((unfinished + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
    if (!instance.lock_ || flock(instance.lock_.get(), LOCK_EX | LOCK_NB) != 0) return io_error("cannot lock the telemetry directory", unfinished);
    STELLA_TRY_VOID(write_small(unfinished + "/about.json", about_json(resource)));
    STELLA_TRY_VOID(write_small(unfinished + "/keys", catalogue_text()));
    // Under its name only once it is locked: whoever starts at the same time must not take it for remains.
    if (rename(unfinished.c_str(), instance.path_.c_str()) == 0) return instance;
    return io_error("cannot name the telemetry directory", instance.path_);
  }
  return Error(contracts::errors::kIo, "cannot find a name for the telemetry directory").with("path", dir);
}

std::string Instance::ring_path(std::size_t number) const {
  const std::string digits = std::to_string(number);
  return path_ + "/ring-" + std::string(digits.size() < 4 ? 4 - digits.size() : 0, '0') + digits;
}

void Instance::remove() {
  if (path_.empty()) return;
  remove_dir(path_);
  lock_.reset();
}

std::vector<Remains> find_remains(const std::string& dir, std::string_view service) {
  std::vector<Remains> found;
  for (const std::string& name : names_in(dir)) {
    std::int64_t pid = 0;
    std::uint64_t start = 0;
    if (name.starts_with(kUnfinished)) {
      if (parse_name(std::string_view(name).substr(kUnfinished.size()), pid, start) && !alive(pid, start)) remove_dir(dir + "/" + name);
      continue;
    }
    if (!parse_name(name, pid, start)) continue;
    Remains r;
    r.path = dir + "/" + name;
    r.pid = pid;
    r.lock = Fd(::open((r.path + "/lock").c_str(), O_RDWR | O_CLOEXEC));
    if (!r.lock || flock(r.lock.get(), LOCK_EX | LOCK_NB) != 0) continue;
    // A file system whose locks mean nothing: the process itself still says that it lives.
    if (pid != getpid() && alive(pid, start)) continue;
    r.resource = parse_about(r.path + "/about.json");
    if (r.resource.service != service) continue;
    found.push_back(std::move(r));
  }
  return found;
}

std::string translate_record(std::string_view record, const std::vector<std::string>& keys) {
  RecordHead h;
  if (record.size() < sizeof h) return "";
  std::memcpy(&h, record.data(), sizeof h);
  if (h.size < sizeof h || h.size > record.size() || h.size % 8 != 0) return "";
  record = record.substr(0, h.size);
  std::size_t at = sizeof h + h.tenant + h.actor + h.route + h.method + h.tracestate + h.module + h.message;
  if (at > record.size()) return "";
  std::string out(record.substr(0, at));
  const auto field = [&] {
    if (record.size() - at < 4) return false;
    const auto id = static_cast<std::uint8_t>(record[at]);
    std::uint16_t size;
    std::memcpy(&size, record.data() + at + 2, sizeof size);
    std::size_t value = at + 4;
    if (id == kForeignField) {
      if (record.size() - value < 1) return false;
      value += 1u + static_cast<std::uint8_t>(record[value]);
    } else if (id >= keys.size()) {
      return false;
    }
    if (value > record.size() || record.size() - value < size) return false;
    if (id == kForeignField) {
      out.append(record.substr(at, value + size - at));
    } else {
      std::uint8_t now = kForeignField;
      for (std::size_t i = 0; i < kForeignField && !field_key(static_cast<std::uint8_t>(i)).empty(); ++i) {
        if (field_key(static_cast<std::uint8_t>(i)) == keys[id]) now = static_cast<std::uint8_t>(i);
      }
      out.push_back(static_cast<char>(now));
      out.append(record.substr(at + 1, 3));
      if (now == kForeignField) {
        out.push_back(static_cast<char>(keys[id].size()));
        out.append(keys[id]);
      }
      out.append(record.substr(value, size));
    }
    at = value + size;
    return true;
  };
  for (std::size_t i = 0; i < h.field_count; ++i) {
    if (!field()) return "";
  }
  const std::size_t links = h.link_count * std::size_t{24};
  if (record.size() - at < links) return "";
  out.append(record.substr(at, links));
  at += links;
  for (std::size_t i = 0; i < h.event_count; ++i) {
    if (record.size() - at < 12) return "";
    std::uint16_t name, count;
    std::memcpy(&name, record.data() + at + 8, 2);
    std::memcpy(&count, record.data() + at + 10, 2);
    if (record.size() - at < 12u + name) return "";
    out.append(record.substr(at, 12u + name));
    at += 12u + name;
    for (std::size_t k = 0; k < count; ++k) {
      if (!field()) return "";
    }
  }
  out.resize((out.size() + 7) / 8 * 8);
  h.size = static_cast<std::uint32_t>(out.size());
  std::memcpy(out.data(), &h, sizeof h);
  return out;
}

RecoveredCounts read_remains(const Remains& remains, const std::function<void(const RecordView&, bool written)>& take) {
  RecoveredCounts counts;
  std::vector<std::string> keys;
  bool translate = false;
  if (const auto text = read_file(remains.path + "/keys", 1 << 20); text && *text != catalogue_text()) {
    translate = true;
    for (std::size_t from = 0, to; (to = text->find('\n', from)) != text->npos; from = to + 1) keys.push_back(text->substr(from, to - from));
  }
  std::vector<std::unique_ptr<Ring>> rings;
  std::vector<std::string> owned;  // spilled and translated records
  struct Found {
    std::int64_t ns;
    std::string_view bytes;
    bool written;
  };
  std::vector<Found> order;
  struct Owned {
    std::size_t index;
    std::int64_t ns;
    bool written;
  };
  std::vector<Owned> from_owned;
  // A record that is none stops the walk: where the next one begins is not known. Its number and those behind it count as lost.
  const auto usable = [&](std::string_view bytes, std::size_t& size, std::int64_t& ns, std::string& own) {
    RecordHead h;
    if (bytes.size() < sizeof h) return false;
    std::memcpy(&h, bytes.data(), sizeof h);
    size = h.size;
    ns = h.kind == RecordKind::kSpan ? h.end_ns : h.ns;
    if (size < sizeof h || size > bytes.size()) return false;
    if (translate) {
      own = translate_record(bytes.substr(0, size), keys);
      return !own.empty() && RecordView::parse(own).has_value();
    }
    return RecordView::parse(bytes.substr(0, size)).has_value();
  };
  // All of it or nothing: what is taken now is written, and would be again by the next start.
  std::vector<Spill::Frame> frames = Spill::recover(remains.path + "/spill", counts.torn, counts.unread);
  for (const std::string& name : names_in(remains.path)) {
    if (!name.starts_with("ring-")) continue;
    errno = 0;
    auto opened = Ring::open(remains.path + "/" + name);
    const bool ours = errno != EACCES && errno != ELOOP;  // else it will never be read
    if (opened) rings.push_back(std::move(*opened));
    else if (opened.error().code() == base_errors::kIo && ours) counts.unread = true;
    else ++counts.torn;
  }
  if (counts.unread) return {.unread = true};
  for (const auto& held : rings) {
    Ring& ring = *held;
    const RingHeader& h = ring.header();
    counts.dropped_logs += h.dropped_logs - h.counted_logs;
    counts.dropped_spans += h.dropped_spans - h.counted_spans;
    std::uint64_t seen = 0;
    const auto walk = [&](std::string_view rest, bool written) {
      while (!rest.empty()) {
        std::size_t size = 0;
        std::int64_t ns = 0;
        std::string own;
        if (usable(rest, size, ns, own)) {
          seen += written ? 0 : 1;
          if (translate) {
            from_owned.push_back({owned.size(), ns, written});
            owned.push_back(std::move(own));
          } else {
            order.push_back({ns, rest.substr(0, size), written});
          }
        } else {
          ++counts.torn;
        }
        if (size < sizeof(RecordHead) || size % 8 != 0 || size > rest.size()) return;
        rest.remove_prefix(size);
      }
    };
    walk(ring.held_bytes(), true);
    walk(ring.readable(), false);
    if (const std::uint64_t numbers = ring.unaccounted(); numbers > seen) counts.lost += numbers - seen;
  }
  for (Spill::Frame& frame : frames) {
    std::size_t size = 0;
    std::int64_t ns = 0;
    std::string own;
    if (!usable(frame.record, size, ns, own)) {
      ++counts.torn;
      continue;
    }
    from_owned.push_back({owned.size(), ns, frame.written});
    owned.push_back(translate ? std::move(own) : std::move(frame.record));
  }
  for (const Owned& o : from_owned) order.push_back({o.ns, owned[o.index], o.written});
  std::stable_sort(order.begin(), order.end(), [](const Found& a, const Found& b) { return a.ns < b.ns; });
  for (const Found& found : order) {
    if (const auto view = RecordView::parse(found.bytes)) {
      if (!found.written) ++counts.records;
      take(*view, found.written);
    }
  }
  return counts;
}

void remove_remains(Remains& remains) {
  remove_dir(remains.path);
  remains.lock.reset();
}

}  // namespace stella::telemetry
