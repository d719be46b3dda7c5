// The terminal: colours, width, progress, questions.
#include "stella/cli/console.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "stella/base/file.h"
#include "stella/cli/format.h"
#include "stella/contracts/errors.h"

namespace stella::cli {
namespace {

bool paints(std::FILE* file, bool no_color) {
  const char* off = ::getenv("NO_COLOR");  // no-color.org: any non-empty value
  const char* term = ::getenv("TERM");
  return !no_color && (off == nullptr || *off == '\0') && ::isatty(::fileno(file)) == 1 && (term == nullptr || std::string_view(term) != "dumb");
}

std::size_t terminal_width(std::FILE* file) {
  if (::isatty(::fileno(file)) != 1) return 0;
  winsize size{};
  if (::ioctl(::fileno(file), TIOCGWINSZ, &size) == 0 && size.ws_col > 0) return std::max<std::size_t>(size.ws_col, 40);
  return 80;
}

// Puts the terminal back whatever happens.
class HiddenInput {
 public:
  explicit HiddenInput(int fd) : fd_(fd) {
    if (::tcgetattr(fd_, &before_) != 0) return;
    termios hidden = before_;
    hidden.c_lflag &= ~static_cast<tcflag_t>(ECHO);
    changed_ = ::tcsetattr(fd_, TCSAFLUSH, &hidden) == 0;
  }
  ~HiddenInput() {
    if (changed_) ::tcsetattr(fd_, TCSAFLUSH, &before_);
  }
  bool ok() const { return changed_; }

 private:
  int fd_;
  termios before_{};
  bool changed_ = false;
};

}  // namespace

std::string Palette::operator()(Style style, std::string_view text) const {
  static constexpr std::array<std::string_view, 8> kCodes = {"", "1", "2", "31", "32", "33", "34", "36"};
  const std::string_view code = kCodes[static_cast<std::size_t>(style)];
  if (!on_ || code.empty() || text.empty()) return std::string(text);
  return std::string("\x1b[").append(code).append("m").append(text).append("\x1b[0m");
}

Style style_of(std::string_view word) {
  static constexpr std::string_view kRed[] = {"deny", "failed", "rejected", "dead", "FAIL", "fail", "critical", "high", "error", "affected", "INVALID", "MISSING", "SET_ASIDE", "differs", "down"};
  static constexpr std::string_view kGreen[] = {"allow", "finished", "computed", "ingested", "created", "sealed", "PASS", "pass", "ok", "active", "not_affected", "fixed", "identical", "healthy"};
  static constexpr std::string_view kYellow[] = {"warn", "defer", "medium", "unknown", "NOT-CHECKED", "not_checked", "cancelled", "under_investigation", "queued", "running", "received", "withdrawn"};
  const auto in = [&](const auto& list) { return std::find(std::begin(list), std::end(list), word) != std::end(list); };
  if (in(kRed)) return Style::kRed;
  if (in(kGreen)) return Style::kGreen;
  if (in(kYellow)) return Style::kYellow;
  return Style::kPlain;
}

Console::Console(bool no_color, bool quiet)
    : out_(stdout), err_(stderr), quiet_(quiet), err_terminal_(::isatty(STDERR_FILENO) == 1), width_(terminal_width(stdout)),
      out_palette_(paints(stdout, no_color)), err_palette_(paints(stderr, no_color)) {}

Console::Console(std::FILE* out, std::FILE* err, std::size_t width) : out_(out), err_(err), width_(width) {}

void Console::out(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), out_);
  std::fflush(out_);
}

void Console::err(std::string_view text) {
  std::fwrite(text.data(), 1, text.size(), err_);
  std::fflush(err_);
}

void Console::note(std::string_view text) {
  if (!quiet_) err(text);
}

std::string progress_line(std::string_view label, std::uint64_t done, std::uint64_t total, std::string_view note, std::size_t width) {
  constexpr std::size_t kBar = 24;
  if (total == 0) return ellipsized(std::string(label) + "  " + std::string(note), width);  // nobody knows how much there is
  const double share = total == 0 ? 1.0 : std::min(1.0, static_cast<double>(done) / static_cast<double>(total));
  const auto full = static_cast<std::size_t>(share * kBar);
  std::string line = std::string(label) + "  [" + std::string(full, '=') + (full < kBar ? ">" : "") + std::string(kBar - std::min(kBar, full + 1), ' ') + "] " +
                     with_commas(static_cast<std::int64_t>(done)) + "/" + with_commas(static_cast<std::int64_t>(total));
  if (!note.empty()) line.append("  ").append(note);
  return ellipsized(line, width);
}

Progress::Progress(Console& console, std::string label, std::uint64_t total) : console_(console), label_(std::move(label)), total_(total) {}

void Progress::update(std::uint64_t done, std::string_view note) {
  if (!console_.err_is_terminal() || console_.quiet()) return;
  const auto now = std::chrono::steady_clock::now();
  if (shown_ && done < total_ && now - painted_ < std::chrono::milliseconds(80)) return;
  painted_ = now;
  shown_ = true;
  const std::size_t width = console_.width() == 0 ? 79 : console_.width() - 1;
  console_.err("\r" + progress_line(label_, done, total_, note, width) + "\x1b[K");
}

void Progress::clear() {
  if (shown_) console_.err("\r\x1b[K");
  shown_ = false;
}

Result<std::string> ask(std::string_view question, bool echo) {
  const Fd terminal(::open("/dev/tty", O_RDWR | O_CLOEXEC | O_NOCTTY));
  if (!terminal) return Error(contracts::errors::kUnavailable, "there is no terminal to ask on");
  STELLA_TRY_VOID(write_all(terminal.get(), question));
  std::string answer;
  {
    const HiddenInput hidden(echo ? -1 : terminal.get());
    if (!echo && !hidden.ok()) return Error(contracts::errors::kUnavailable, "the terminal cannot hide what is typed");
    for (char c = 0; answer.size() < 4096;) {
      const auto n = ::read(terminal.get(), &c, 1);
      if (n < 0 && errno == EINTR) continue;
      if (n <= 0 || c == '\n') break;
      answer += c;
    }
  }
  if (!echo) STELLA_TRY_VOID(write_all(terminal.get(), "\n"));
  return answer;
}

}  // namespace stella::cli
