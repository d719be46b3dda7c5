// Finding and reading the directories of dead processes.
#include "remains.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <optional>
#include <utility>

#include "installations.h"
#include "instance.h"
#include "stella/base/json.h"

namespace stella::telemetry {
namespace {

constexpr std::string_view kOrphaned = "/orphaned";  // made when it was first seen that nobody came for it

struct About {
  Resource resource;
  std::string installation;
};

About read_about(const std::string& instance) {
  About about;
  const auto text = read_file(instance + "/about.json", 64 * 1024);
  const auto value = text ? json::parse(*text) : Result<json::Value>(text.error());
  if (!value) return about;
  const auto member = [&](const char* name, std::string& into) {
    if (const std::string_view v = value->str(name); !v.empty()) into = v;
  };
  member("service", about.resource.service);
  member("version", about.resource.version);
  member("env", about.resource.env);
  member("region", about.resource.region);
  member("instance_id", about.resource.instance_id);
  member("installation", about.installation);
  return about;
}

// What was being made or removed by a process that is gone.
void tidy(const std::string& dir, const std::string& name) {
  if (name.starts_with(kGone)) return remove_instance(dir + "/" + name);
  const auto unfinished = InstanceName::parse(std::string_view(name).substr(kUnfinished.size()));
  if (unfinished && !unfinished->alive()) remove_instance(dir + "/" + name);
}

}  // namespace

std::optional<Fd> lock_of_dead(const std::string& instance, const InstanceName& name) {
  // First, and not only where locks mean nothing: it may be about to take its own.
  if (name.pid != getpid() && name.alive()) return std::nullopt;
  Fd lock(::open((instance + "/lock").c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!lock || flock(lock.get(), LOCK_EX | LOCK_NB) != 0) return std::nullopt;
  return lock;
}

std::vector<Remains> find_remains(const std::string& dir, std::string_view service) {
  std::vector<Remains> found;
  for (const std::string& name : names_in(dir)) {
    if (name.starts_with(kUnfinished) || name.starts_with(kGone)) {
      tidy(dir, name);
      continue;
    }
    const auto parsed = InstanceName::parse(name);
    const std::string path = dir + "/" + name;
    if (!parsed || !is_own_directory(path)) continue;
    About about = read_about(path);
    if (about.resource.service != service) continue;
    if (auto lock = lock_of_dead(path, *parsed)) found.push_back({path, std::move(about.resource), std::move(*lock), parsed->pid});
  }
  return found;
}

std::vector<Remains> find_orphans(const std::string& dir, const OrphanSearch& search) {
  std::vector<Remains> found;
  for (const std::string& name : names_in(dir)) {
    const auto parsed = InstanceName::parse(name);
    const std::string path = dir + "/" + name;
    if (!parsed || !is_own_directory(path)) continue;
    About about = read_about(path);
    const bool ours = search.own_dir ? about.installation.empty() || about.installation == search.installation
                                     : !search.installation.empty() && about.installation == search.installation;
    if (!ours || about.resource.service == search.service) continue;
    // The lock is not taken before it is time: the service itself may be starting, and would find nothing.
    if (parsed->alive() || !seen_for(path + std::string(kOrphaned), search.grace)) continue;
    auto lock = lock_of_dead(path, *parsed);
    if (!lock) {  // it lives, where its number means nothing to us
      unlink((path + std::string(kOrphaned)).c_str());
      continue;
    }
    found.push_back({path, std::move(about.resource), std::move(*lock), parsed->pid});
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

Recovery::Recovery(const Remains& remains) : path_(remains.path) {
  read_keys();
  // All of it or nothing: what is taken now is written, and would be again by the next start.
  std::vector<Spill::Frame> frames = Spill::recover(path_ + "/spill", counts_.torn, counts_.unread);
  for (const std::string& name : names_in(path_)) {
    if (!name.starts_with("ring-")) continue;
    errno = 0;
    auto opened = Ring::open(path_ + "/" + name);
    const bool ours = errno != EACCES && errno != ELOOP;  // else it will never be read
    if (opened) rings_.push_back(std::move(*opened));
    else if (opened.error().code() == base_errors::kIo && ours) counts_.unread = true;
    else ++counts_.torn;
  }
  if (counts_.unread) {
    counts_ = {.unread = true};
    return;
  }
  for (const auto& ring : rings_) read_ring(*ring);
  read_spill(frames);
  std::stable_sort(order_.begin(), order_.end(), [](const Found& a, const Found& b) { return a.ns < b.ns; });
  for (std::size_t i = 0; i < order_.size(); ++i) {
    if (order_[i].written) written_before_ = i + 1;
  }
}

void Recovery::read_keys() {
  const auto text = read_file(path_ + "/keys", 1 << 20);
  if (!text || *text == catalogue_text()) return;
  translate_ = true;
  for (std::size_t from = 0, to; (to = text->find('\n', from)) != text->npos; from = to + 1) keys_.push_back(text->substr(from, to - from));
}

// One record from the beginning of `bytes`; `size` is what it takes of them, as far as it says so. False: it is none.
bool Recovery::add(std::string_view bytes, std::size_t& size, std::size_t source, std::uint64_t begin, bool written) {
  RecordHead h;
  if (bytes.size() < sizeof h) return false;
  std::memcpy(&h, bytes.data(), sizeof h);
  size = h.size;
  if (size < sizeof h || size > bytes.size()) return false;
  std::string_view record = bytes.substr(0, size);
  if (translate_) {
    std::string own = translate_record(record, keys_);
    if (own.empty()) return false;
    record = owned_.emplace_back(std::move(own));
  }
  if (!RecordView::parse(record)) return false;
  std::int64_t& latest = sources_[source].ns;
  latest = std::max(latest, h.kind == RecordKind::kSpan ? h.end_ns : h.ns);
  order_.push_back({latest, record, source, begin + size, written});
  return true;
}

// A record that is none stops the walk, where it does not say how long it is: where the next one begins is not known. Its number counts as torn,
// those behind it as lost.
void Recovery::read_ring(Ring& ring) {
  const RingHeader& h = ring.header();
  counts_.dropped_logs += h.dropped_logs - h.counted_logs;
  counts_.dropped_spans += h.dropped_spans - h.counted_spans;
  const std::size_t source = sources_.size();
  sources_.push_back({.ring = &ring, .done = h.done, .taken = h.done});
  std::uint64_t seen = 0;
  const auto walk = [&](std::string_view rest, std::uint64_t place, bool written) {
    while (!rest.empty()) {
      std::size_t size = 0;
      if (!add(rest, size, source, place, written)) ++counts_.torn;
      seen += written ? 0 : 1;
      if (size < sizeof(RecordHead) || size % 8 != 0 || size > rest.size()) return;
      rest.remove_prefix(size);
      place += size;
    }
  };
  walk(ring.held_bytes(), h.tail, true);
  walk(ring.readable(), h.done, false);
  if (const std::uint64_t numbers = ring.unaccounted(); numbers > seen) counts_.lost += numbers - seen;
}

void Recovery::read_spill(std::vector<Spill::Frame>& frames) {
  const std::size_t source = sources_.size();
  sources_.push_back({});
  for (Spill::Frame& frame : frames) {
    std::size_t size = 0;
    const std::string& record = owned_.emplace_back(std::move(frame.record));
    if (!add(record, size, source, 0, frame.written)) {
      ++counts_.torn;
      continue;
    }
    order_.back().end = frame.end;
    if (frame.written) sources_[source].done = sources_[source].taken = frame.end;
  }
}

std::optional<Recovery::Record> Recovery::next() {
  while (next_ < order_.size()) {
    const Found& found = order_[next_++];
    const auto view = RecordView::parse(found.bytes);
    if (!view) continue;
    if (!found.written) {
      ++counts_.records;
      Source& source = sources_[found.source];
      source.taken = found.end;
      ++source.records;
    }
    return Record{*view, found.written};
  }
  return std::nullopt;
}

void Recovery::note_written() {
  for (Source& s : sources_) {
    if (s.taken == s.done) continue;
    if (s.ring != nullptr) s.ring->advance(s.taken - s.done, s.records);
    else Spill::note_recovered(path_ + "/spill", std::nullopt, s.taken);
    s.done = s.taken;
    s.records = 0;
  }
}

void Recovery::note_released() {
  if (next_ < written_before_) return;  // what lies first in its source is still to be handed out
  for (const Source& s : sources_) {
    if (s.ring != nullptr) s.ring->release();
    else if (s.done > 0) Spill::note_recovered(path_ + "/spill", s.done, s.done);
  }
}

void remove_remains(Remains& remains) {
  remove_instance(remains.path);
  remains.lock.reset();
}

}  // namespace stella::telemetry
