// Aligned tables and lists of facts. Pure; cells are made safe for terminals.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "stella/cli/console.h"

namespace stella::cli {

struct Column {
  std::string title;
  bool right = false;
  bool flexible = false;  // cut with "…" where the terminal is too narrow,
  std::size_t least = 8;  // but not below this
};

struct Cell {
  Cell() = default;
  Cell(std::string t) : text(std::move(t)) {}                          // NOLINT(google-explicit-constructor)
  Cell(std::string_view t) : text(t) {}                                // NOLINT(google-explicit-constructor)
  Cell(const char* t) : text(t) {}                                     // NOLINT(google-explicit-constructor)
  Cell(std::string t, Style s) : text(std::move(t)), style(s) {}
  std::string text;
  Style style = Style::kPlain;
};

// A word painted by its meaning.
Cell word(std::string_view text);

class Table {
 public:
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
  void row(std::vector<Cell> cells) { rows_.push_back(std::move(cells)); }
  bool empty() const { return rows_.empty(); }
  std::size_t size() const { return rows_.size(); }
  // `width` 0: as wide as needed. Every line ends with a newline and without trailing blanks.
  std::string render(const Palette& palette, std::size_t width) const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<Cell>> rows_;
};

// Name and value per line, values aligned; a pair with an empty value is left out.
class Facts {
 public:
  Facts& add(std::string_view name, Cell value);
  std::string render(const Palette& palette, std::size_t indent = 0) const;

 private:
  std::vector<std::pair<std::string, Cell>> facts_;
};

}  // namespace stella::cli
