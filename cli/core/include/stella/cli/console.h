// The terminal: what may be painted, how wide it is, progress bars, questions. One object per program, used by one thread.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <string>
#include <string_view>

#include "stella/base/result.h"

namespace stella::cli {

enum class Style { kPlain, kBold, kDim, kRed, kGreen, kYellow, kBlue, kCyan };

// Paints, or leaves text as it is: off where output is no terminal, NO_COLOR is set or --no-color was given.
class Palette {
 public:
  explicit Palette(bool on) : on_(on) {}
  std::string operator()(Style style, std::string_view text) const;
  bool on() const { return on_; }

 private:
  bool on_;
};

// The colour of a word with a meaning: allow, deny, finished, PASS, critical, … ; others are plain.
Style style_of(std::string_view word);

class Console {
 public:
  Console(bool no_color, bool quiet);
  // For tests: writes into the given files, no terminal.
  Console(std::FILE* out, std::FILE* err, std::size_t width = 0);

  void out(std::string_view text);  // results
  void err(std::string_view text);  // everything else
  void note(std::string_view text); // to stderr, unless --quiet
  const Palette& out_palette() const { return out_palette_; }
  const Palette& err_palette() const { return err_palette_; }
  // Columns of the output; 0 where it is no terminal (then nothing is cut).
  std::size_t width() const { return width_; }
  bool quiet() const { return quiet_; }
  bool err_is_terminal() const { return err_terminal_; }

 private:
  std::FILE* out_;
  std::FILE* err_;
  bool quiet_ = false;
  bool err_terminal_ = false;
  std::size_t width_ = 0;
  Palette out_palette_{false};
  Palette err_palette_{false};
};

// One line on stderr that repaints itself; nothing where stderr is no terminal or the user wants quiet.
class Progress {
 public:
  Progress(Console& console, std::string label, std::uint64_t total);
  ~Progress() { clear(); }
  void update(std::uint64_t done, std::string_view note = {});
  void clear();

 private:
  Console& console_;
  std::string label_;
  std::uint64_t total_;
  bool shown_ = false;
  std::chrono::steady_clock::time_point painted_{};
};
// What a bar shows: "advisories  [=====>    ]  512/880  note". Pure.
std::string progress_line(std::string_view label, std::uint64_t done, std::uint64_t total, std::string_view note, std::size_t width);

// Asks on the terminal itself, not on stdin; kUnavailable where there is none. `echo` false hides what is typed.
Result<std::string> ask(std::string_view question, bool echo);

}  // namespace stella::cli
