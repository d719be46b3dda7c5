// Job messages, error objects, and packets that carry a descriptor.
#include "protocol.h"

#include <sys/socket.h>
#include <sys/uio.h>

#include <cerrno>
#include <cstring>

#include "stella/contracts/errors.h"

namespace stella::runner {
namespace {

// A relative path of plain segments: the job's directory is the only place it can lead to.
bool is_plain_path(std::string_view path) {
  if (path.empty() || path.size() > 300 || path.front() == '/' || path.back() == '/') return false;
  char before = '/';
  for (const char c : path) {
    const bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '-' || c == '_';
    if (!plain && !(before != '/' && (c == '.' || c == '/'))) return false;
    before = c;
  }
  return true;
}

Result<std::uint64_t> positive(const json::Value& object, std::string_view name) {
  const auto value = STELLA_TRY(object.require_int(name));
  if (value <= 0 || value > (1ll << 40)) return Error(base_errors::kInvalid, "limit is out of range").with("field", std::string(name));
  return static_cast<std::uint64_t>(value);
}

Result<Limits> parse_limits(const json::Value& message) {
  const auto* value = message.find("limits");
  if (value == nullptr) return Error(base_errors::kInvalid, "job message lacks limits").with("field", std::string("limits"));
  Limits out;
  out.cpu_s = STELLA_TRY(positive(*value, "cpu_s"));
  out.memory_mb = STELLA_TRY(positive(*value, "memory_mb"));
  out.wall_s = STELLA_TRY(positive(*value, "wall_s"));
  out.output_mb = STELLA_TRY(positive(*value, "output_mb"));
  return out;
}

Result<InputFile> parse_input(const json::Value& value) {
  InputFile out;
  out.name = STELLA_TRY(value.require_string("name"));
  out.file = STELLA_TRY(value.require_string("file"));
  const auto digest = STELLA_TRY(value.require_string("sha256"));
  out.sha256 = STELLA_TRY(Sha256::parse(digest));
  const auto size = STELLA_TRY(value.require_int("size"));
  if (!is_plain_path(out.file) || size < 0) return Error(base_errors::kInvalid, "not an input").with("field", std::string("inputs"));
  out.size = static_cast<std::uint64_t>(size);
  return out;
}

}  // namespace

Result<JobMessage> parse_job(std::string_view payload) {
  const auto message = STELLA_TRY(json::parse(payload));
  JobMessage out;
  const auto job_id = STELLA_TRY(message.require_string("job_id"));
  out.job_id = STELLA_TRY(JobId::parse(job_id));
  out.attempt = STELLA_TRY(message.require_int("attempt"));
  out.kind = STELLA_TRY(message.require_string("kind"));
  const auto tenant = STELLA_TRY(message.require_string("tenant"));
  out.tenant = STELLA_TRY(TenantId::parse(tenant));
  if (const auto* params = message.find("params"); params != nullptr && params->is_object()) out.params = *params;
  else out.params = json::Value::object();
  out.dir = STELLA_TRY(message.require_string("dir"));
  if (out.dir.empty() || out.dir.front() != '/' || out.dir.find('\0') != std::string::npos) return Error(base_errors::kInvalid, "not a job directory").with("field", std::string("dir"));
  json::Value listed = json::Value::array();
  if (const auto file = message.str("inputs_file"); !file.empty()) {
    // More than a bus message holds: the list lies in the job's directory.
    if (!is_plain_path(file)) return Error(base_errors::kInvalid, "not a list of inputs").with("field", std::string("inputs_file"));
    const auto text = STELLA_TRY(read_file(out.dir + "/" + std::string(file), kInputListBytes));
    listed = STELLA_TRY(json::parse(text, {.max_bytes = kInputListBytes}));
    if (!listed.is_array()) return Error(base_errors::kInvalid, "not a list of inputs").with("field", std::string("inputs_file"));
  }
  const auto& inputs = listed.as_array().empty() ? message.items("inputs") : listed.as_array();
  if (inputs.size() > kMaxInputs) return Error(base_errors::kLimit, "job has too many inputs").with("limit", static_cast<std::uint64_t>(kMaxInputs));
  for (const auto& input : inputs) {
    auto parsed = STELLA_TRY(parse_input(input));
    out.inputs.push_back(std::move(parsed));
  }
  out.limits = STELLA_TRY(parse_limits(message));
  out.traceparent = std::string(message.str("traceparent"));
  out.tracestate = std::string(message.str("tracestate"));
  out.engine_version = std::string(message.str("engine_version"));
  if (const auto* controls = message.find("telemetry"); controls != nullptr && controls->is_object()) out.controls = *controls;
  return out;
}

json::Value error_json(const Error& error) {
  json::Value fields = json::Value::object();
  for (const auto& field : error.fields()) fields.set(std::string(field.name), field.value);
  return json::Value::object({{"code", contracts::error_info(error.code()).wire}, {"message", error.message()}, {"fields", std::move(fields)}});
}

Result<void> send_packet(int socket, std::string_view text, int fd) {
  iovec part{const_cast<char*>(text.data()), text.size()};
  msghdr message{};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  if (fd >= 0) {
    message.msg_control = control;
    message.msg_controllen = sizeof control;
    cmsghdr* header = CMSG_FIRSTHDR(&message);
    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    std::memcpy(CMSG_DATA(header), &fd, sizeof fd);
  }
  for (;;) {
    if (::sendmsg(socket, &message, MSG_NOSIGNAL) >= 0) return {};
    if (errno == EAGAIN) return Error(base_errors::kLimit, "too many packets are unread");
    if (errno != EINTR) return io_error("cannot send", "");
  }
}

namespace {

Result<std::string> receive(int socket, msghdr& message) {
  std::string text(kRequestBytes, '\0');
  iovec part{text.data(), text.size()};
  message.msg_iov = &part;
  message.msg_iovlen = 1;
  ssize_t n = 0;
  do n = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC);
  while (n < 0 && errno == EINTR);
  message.msg_iov = nullptr;
  if (n < 0) return io_error("cannot receive", "");
  text.resize(static_cast<std::size_t>(n));
  return text;
}

Error too_large() { return Error(base_errors::kLimit, "packet is too large").with("limit", static_cast<std::uint64_t>(kRequestBytes)); }

}  // namespace

Result<Packet> receive_packet(int socket) {
  msghdr message{};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  message.msg_control = control;
  message.msg_controllen = sizeof control;
  Packet out;
  out.text = STELLA_TRY(receive(socket, message));
  for (cmsghdr* header = CMSG_FIRSTHDR(&message); header != nullptr; header = CMSG_NXTHDR(&message, header)) {
    if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
    // The room for one, rounded up, is room for two: all that came are open here, so all are owned, and the first is kept.
    for (std::size_t at = 0; CMSG_LEN(at + sizeof(int)) <= header->cmsg_len; at += sizeof(int)) {
      int fd = -1;
      std::memcpy(&fd, CMSG_DATA(header) + at, sizeof fd);
      Fd owned(fd);
      if (!out.fd) out.fd = std::move(owned);
    }
  }
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return too_large();
  return out;
}

Result<std::string> receive_request(int socket) {
  msghdr message{};  // without room for descriptors the kernel drops them
  auto text = STELLA_TRY(receive(socket, message));
  if ((message.msg_flags & (MSG_TRUNC | MSG_CTRUNC)) != 0) return too_large();
  return text;
}

}  // namespace stella::runner
