// A strict OpenMetrics 1.0 parser for tests: it refuses whatever the text format forbids, and says in which line.
#pragma once

#include <algorithm>
#include <charconv>
#include <cmath>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace stella::telemetry::openmetrics_text {

using LabelPairs = std::vector<std::pair<std::string, std::string>>;

struct ParsedExemplar {
  LabelPairs labels;
  double value = 0;
  std::optional<double> ts;
};

struct ParsedSample {
  std::string name;
  LabelPairs labels;
  double value = 0;
  std::optional<double> ts;
  std::optional<ParsedExemplar> exemplar;

  std::string label(std::string_view name) const {
    for (const auto& [key, text] : labels) {
      if (key == name) return text;
    }
    return "";
  }
};

struct ParsedFamily {
  std::string name, type = "unknown", unit, help;
  std::vector<ParsedSample> samples;
};

class Parser {
 public:
  // The families in order; on refusal none, and error() says why.
  std::vector<ParsedFamily> parse(std::string_view text) {
    std::size_t number = 0;
    bool ended = false;
    while (!text.empty() && error_.empty()) {
      ++number;
      const std::size_t end = text.find('\n');
      const std::string_view line = text.substr(0, end);
      text.remove_prefix(end == text.npos ? text.size() : end + 1);
      if (ended) {
        fail("text after # EOF");
      } else if (line == "# EOF") {
        ended = true;
        finish_family();
      } else if (line.starts_with('#')) {
        metadata(line);
      } else {
        sample(line);
      }
      if (!error_.empty()) error_ = "line " + std::to_string(number) + ": " + error_ + ": " + std::string(line);
    }
    if (!ended) fail("no # EOF");
    return error_.empty() ? std::move(families_) : std::vector<ParsedFamily>{};
  }
  const std::string& error() const { return error_; }

 private:
  void fail(std::string why) {
    if (error_.empty()) error_ = std::move(why);
  }

  static bool is_name(std::string_view text, bool colon) {
    const auto letter = [colon](char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (colon && c == ':'); };
    return !text.empty() && letter(text.front()) && std::ranges::all_of(text, [&](char c) { return letter(c) || (c >= '0' && c <= '9'); });
  }

  static std::optional<double> number(std::string_view text, bool special) {
    std::string lower(text);
    std::ranges::transform(lower, lower.begin(), [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
    if (special && lower == "nan") return std::nan("");
    std::string_view rest = lower;
    const bool minus = rest.starts_with('-');
    if (minus || rest.starts_with('+')) rest.remove_prefix(1);
    if (special && (rest == "inf" || rest == "infinity")) return minus ? -HUGE_VAL : HUGE_VAL;
    if (rest.empty() || rest.find_first_not_of("0123456789.e+-") != rest.npos || (rest[0] != '.' && (rest[0] < '0' || rest[0] > '9'))) return {};
    double value = 0;
    const auto [end, code] = std::from_chars(rest.data(), rest.data() + rest.size(), value);
    if (code != std::errc() || end != rest.data() + rest.size()) return {};
    return minus ? -value : value;
  }

  static const std::vector<std::string>& suffixes(const std::string& type) {
    static const std::map<std::string, std::vector<std::string>> table{
        {"counter", {"_total", "_created"}},       {"summary", {"", "_count", "_sum", "_created"}},
        {"gauge", {""}},                           {"histogram", {"_count", "_sum", "_bucket", "_created"}},
        {"unknown", {""}},                         {"gaugehistogram", {"_gcount", "_gsum", "_bucket"}},
        {"stateset", {""}},                        {"info", {"_info"}}};
    static const std::vector<std::string> none;
    const auto found = table.find(type);
    return found == table.end() ? none : found->second;
  }

  // `# HELP name text`, `# TYPE name type`, `# UNIT name unit`.
  void metadata(std::string_view line) {
    const std::string_view keyword = line.substr(0, 7);
    if (keyword != "# HELP " && keyword != "# TYPE " && keyword != "# UNIT ") return fail("a comment that is no metadata");
    line.remove_prefix(7);
    const std::size_t space = line.find(' ');
    const std::string name(line.substr(0, space));
    if (!is_name(name, true)) return fail("not a metric name");
    if (space == line.npos) return fail("metadata without content");
    const std::string_view content = line.substr(space + 1);
    if (!open_ || family_.name != name) begin_family(name);
    if (!family_.samples.empty()) return fail("metadata after samples");
    if (!told_.insert(std::string(keyword)).second) return fail("metadata twice");
    if (keyword == "# TYPE ") {
      if (suffixes(std::string(content)).empty()) return fail("unknown type");
      family_.type = content;
    } else if (keyword == "# UNIT ") {
      family_.unit = content;
    } else {
      family_.help = content;
    }
  }

  void begin_family(const std::string& name) {
    finish_family();
    family_ = {};
    family_.name = name;
    open_ = true;
    told_.clear(), groups_.clear(), series_.clear();
    group_.reset();
  }

  void finish_family() {
    if (!open_ || !error_.empty()) return;
    open_ = false;
    std::set<std::string> names{family_.name};
    for (const std::string& suffix : suffixes(family_.type)) names.insert(family_.name + suffix);
    for (const std::string& name : names) {
      if (!taken_.insert(name).second) return fail("the name " + name + " belongs to two families");
    }
    if (!family_.unit.empty()) {
      if (!family_.name.ends_with("_" + family_.unit)) return fail("the name does not end with its unit");
      if (family_.type == "info" || family_.type == "stateset") return fail("a type without unit has one");
    }
    if (family_.type == "histogram" || family_.type == "gaugehistogram") check_histograms();
    families_.push_back(family_);
  }

  // {a="b",…}; `text` begins with the brace, and goes on after its end.
  std::optional<LabelPairs> labels(std::string_view& text) {
    LabelPairs out;
    std::set<std::string> names;
    text.remove_prefix(1);
    while (!text.starts_with('}')) {
      if (!out.empty()) {
        if (!text.starts_with(',')) return {};
        text.remove_prefix(1);
      }
      const std::size_t equals = text.find('=');
      if (equals == text.npos || !is_name(text.substr(0, equals), false)) return {};
      const std::string name(text.substr(0, equals));
      text.remove_prefix(equals + 1);
      if (!text.starts_with('"') || !names.insert(name).second) return {};
      text.remove_prefix(1);
      std::string value;
      while (!text.empty() && text.front() != '"') {
        char c = text.front();
        if (c == '\\' && text.size() > 1 && (text[1] == '\\' || text[1] == '"' || text[1] == 'n')) {
          c = text[1] == 'n' ? '\n' : text[1];
          text.remove_prefix(1);
        }
        value.push_back(c);
        text.remove_prefix(1);
      }
      if (text.empty()) return {};
      text.remove_prefix(1);
      out.emplace_back(name, std::move(value));
    }
    text.remove_prefix(1);
    return out;
  }

  // ` value[ ts]` up to the end or to ` # `.
  bool value_and_time(std::string_view& text, double& value, std::optional<double>& ts) {
    if (!text.starts_with(' ')) return false;
    text.remove_prefix(1);
    const auto token = [&] {
      const std::string_view part = text.substr(0, text.find(' '));
      text.remove_prefix(part.size());
      return part;
    };
    const auto parsed = number(token(), true);
    if (!parsed) return false;
    value = *parsed;
    if (text.empty() || text.starts_with(" # ")) return true;
    text.remove_prefix(1);
    ts = number(token(), false);
    return ts.has_value();
  }

  void sample(std::string_view line) {
    ParsedSample s;
    const std::size_t end = line.find_first_of("{ ");
    s.name = line.substr(0, end);
    if (!is_name(s.name, true) || end == line.npos) return fail("not a sample");
    line.remove_prefix(end);
    if (line.starts_with('{')) {
      auto pairs = labels(line);
      if (!pairs) return fail("malformed labels");
      s.labels = std::move(*pairs);
    }
    if (!value_and_time(line, s.value, s.ts)) return fail("malformed value or timestamp");
    if (!line.empty()) exemplar(line, s);
    if (error_.empty()) take(std::move(s));
  }

  void exemplar(std::string_view line, ParsedSample& s) {
    ParsedExemplar e;
    line.remove_prefix(std::min<std::size_t>(3, line.size()));  // " # "
    std::optional<LabelPairs> pairs;
    if (line.starts_with('{')) pairs = labels(line);
    if (!pairs || !value_and_time(line, e.value, e.ts) || !line.empty()) return fail("malformed exemplar");
    e.labels = std::move(*pairs);
    std::size_t points = 0;
    for (const auto& [name, value] : e.labels) {
      for (const char c : name + value) points += (c & 0xc0) != 0x80 ? 1 : 0;
    }
    if (points > 128) return fail("an exemplar of more than 128 code points");
    s.exemplar = std::move(e);
  }

  void take(ParsedSample s) {
    const auto allowed = [&] {
      const auto& list = suffixes(family_.type);
      return std::ranges::any_of(list, [&](const std::string& suffix) { return s.name == family_.name + suffix; });
    };
    if (!open_ || !allowed()) {
      if (open_ && family_.samples.empty() && s.name == family_.name) return fail("not a sample name of this type");
      begin_family(s.name);
    }
    check_value(s);
    check_group(s);
    family_.samples.push_back(std::move(s));
  }

  static bool whole(double v) { return v == std::floor(v); }

  void check_value(const ParsedSample& s) {
    const std::string& type = family_.type;
    const std::string_view suffix = std::string_view(s.name).substr(std::min(s.name.size(), family_.name.size()));
    const bool counts = suffix == "_count" || suffix == "_gcount" || suffix == "_bucket";
    if (counts && (!(s.value >= 0) || !whole(s.value))) return fail("a count that is no whole number from 0");
    if (suffix == "_total" && !(s.value >= 0)) return fail("a total below 0 or NaN");
    if ((suffix == "_sum" || suffix == "_gsum") && std::isnan(s.value)) return fail("a sum that is NaN");
    if (suffix == "_sum" && s.value < 0) return fail("a sum below 0");
    if (type == "info" && s.value != 1) return fail("an info that is not 1");
    if (type == "stateset" && ((s.value != 0 && s.value != 1) || s.label(family_.name).empty())) return fail("a state without its label or not 0 or 1");
    if (suffix == "_bucket") {
      const auto le = number(s.label("le"), true);
      if (!le || std::isnan(*le)) return fail("a bucket without le");
    }
    if (type == "summary" && suffix.empty()) {
      const auto quantile = number(s.label("quantile"), true);
      if (!quantile || !(*quantile >= 0 && *quantile <= 1)) return fail("a quantile that is none");
      if (s.value < 0) return fail("a quantile's value below 0");
    }
    if (s.exemplar && !((type == "counter" && suffix == "_total") || suffix == "_bucket")) return fail("an exemplar where none may be");
  }

  // Samples of one metric (labels without le and quantile) stand together, with ascending timestamps, or all without.
  void check_group(const ParsedSample& s) {
    LabelPairs key = s.labels;
    std::erase_if(key, [&](const auto& pair) {
      return (pair.first == "le" && s.name.ends_with("_bucket")) || (pair.first == "quantile" && family_.type == "summary") ||
             (family_.type == "stateset" && pair.first == family_.name);
    });
    std::ranges::sort(key);
    if (!group_ || *group_ != key) {
      if (!groups_.insert(key).second) return fail("samples of one metric that do not stand together");
      group_ = key;
      series_.clear();
    } else {
      if (s.ts.has_value() != group_ts_.has_value()) return fail("timestamps on some samples of a metric only");
      if (s.ts && *s.ts < *group_ts_) return fail("timestamps that go back");
      if (s.ts && *s.ts > *group_ts_) series_.clear();
    }
    group_ts_ = s.ts;
    LabelPairs all = s.labels;
    std::ranges::sort(all);
    if (!series_.emplace(s.name, all).second && !s.ts) fail("a sample twice");
  }

  // Every metric of the family: buckets ascend up to +Inf, count and sum stand together and fit.
  void check_histograms() {
    struct Metric {
      std::vector<std::pair<double, double>> buckets;
      std::optional<double> count, sum;
    };
    std::map<LabelPairs, Metric> metrics;
    for (const ParsedSample& s : family_.samples) {
      LabelPairs key = s.labels;
      std::erase_if(key, [&](const auto& pair) { return pair.first == "le" && s.name.ends_with("_bucket"); });
      std::ranges::sort(key);
      Metric& metric = metrics[key];
      if (s.name.ends_with("_bucket")) {
        const double le = *number(s.label("le"), true);
        if (!metric.buckets.empty() && le <= metric.buckets.back().first) return fail("buckets that do not ascend");
        if (!metric.buckets.empty() && s.value < metric.buckets.back().second) return fail("bucket counts that fall");
        metric.buckets.emplace_back(le, s.value);
      } else if (s.name.ends_with("count")) {
        metric.count = s.value;
      } else if (s.name.ends_with("sum")) {
        metric.sum = s.value;
      }
    }
    for (const auto& [key, metric] : metrics) {
      if (metric.buckets.empty() || !std::isinf(metric.buckets.back().first)) return fail("no +Inf bucket in " + family_.name);
      if (metric.count && *metric.count != metric.buckets.back().second) return fail("a count that is not the +Inf bucket");
      if (metric.count.has_value() != metric.sum.has_value()) return fail("one of count and sum alone");
      const bool negative = metric.buckets.front().first < 0;
      if (metric.sum && family_.type == "histogram" && negative) return fail("a sum beside a bucket below 0");
      if (metric.sum && *metric.sum < 0 && !negative) return fail("a sum below 0 without a bucket below 0");
    }
  }

  std::string error_;
  std::vector<ParsedFamily> families_;
  std::set<std::string> taken_;  // names of finished families, with suffixes
  ParsedFamily family_;
  bool open_ = false;
  std::set<std::string> told_;  // metadata of the family
  std::set<LabelPairs> groups_;
  std::optional<LabelPairs> group_;
  std::optional<double> group_ts_;
  std::set<std::pair<std::string, LabelPairs>> series_;
};

}  // namespace stella::telemetry::openmetrics_text
