// Aligned tables and lists of facts.
#include "stella/cli/table.h"

#include <algorithm>

#include "stella/cli/format.h"

namespace stella::cli {
namespace {

constexpr std::size_t kGap = 2;

std::string padded(const Palette& palette, const Cell& cell, std::size_t width, bool right, bool last) {
  const std::string text = ellipsized(printable(cell.text), width);
  const std::string pad(width - std::min(width, display_width(text)), ' ');
  const std::string painted = palette(cell.style, text);
  if (right) return pad + painted;
  return last ? painted : painted + pad;
}

void trim_line(std::string& line) {
  while (!line.empty() && line.back() == ' ') line.pop_back();
}

}  // namespace

Cell word(std::string_view text) { return {std::string(text), style_of(text)}; }

std::string Table::render(const Palette& palette, std::size_t width) const {
  std::vector<std::size_t> widths;
  for (std::size_t c = 0; c < columns_.size(); ++c) {
    std::size_t w = display_width(columns_[c].title);
    for (const auto& row : rows_)
      if (c < row.size()) w = std::max(w, display_width(printable(row[c].text)));
    widths.push_back(w);
  }
  if (width > 0) {
    std::size_t total = kGap * (columns_.size() - 1);
    for (const std::size_t w : widths) total += w;
    // The widest flexible column gives first.
    while (total > width) {
      std::size_t widest = columns_.size();
      for (std::size_t c = 0; c < columns_.size(); ++c)
        if (columns_[c].flexible && widths[c] > std::max(columns_[c].least, display_width(columns_[c].title)) && (widest == columns_.size() || widths[c] > widths[widest])) widest = c;
      if (widest == columns_.size()) break;
      --widths[widest];
      --total;
    }
  }
  std::string out;
  const auto line = [&](const std::vector<Cell>& cells) {
    std::string text;
    for (std::size_t c = 0; c < columns_.size(); ++c) {
      if (c > 0) text.append(kGap, ' ');
      text += padded(palette, c < cells.size() ? cells[c] : Cell(), widths[c], columns_[c].right, c + 1 == columns_.size());
    }
    trim_line(text);
    out += text + "\n";
  };
  std::vector<Cell> head;
  for (const Column& column : columns_) head.emplace_back(column.title, Style::kDim);
  line(head);
  for (const auto& row : rows_) line(row);
  return out;
}

Facts& Facts::add(std::string_view name, Cell value) {
  if (!value.text.empty()) facts_.emplace_back(std::string(name), std::move(value));
  return *this;
}

std::string Facts::render(const Palette& palette, std::size_t indent) const {
  std::size_t widest = 0;
  for (const auto& [name, value] : facts_) widest = std::max(widest, display_width(name));
  std::string out;
  for (const auto& [name, value] : facts_) {
    std::string line = std::string(indent, ' ') + palette(Style::kDim, name) + std::string(widest - display_width(name) + kGap, ' ') + palette(value.style, printable(value.text));
    trim_line(line);
    out += line + "\n";
  }
  return out;
}

}  // namespace stella::cli
