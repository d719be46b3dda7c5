// CVSS v2, v3.0, v3.1 and v4.0 scores from vectors.
#include "stella/pipeline/policy/cvss.h"

#include <algorithm>
#include <cmath>
#include <span>

#include "cvss_tables.h"

namespace stella::pipeline {
namespace {

struct Metric {
  std::string_view name;
  std::string_view values;  // separated by spaces
  bool mandatory = false;
};

constexpr Metric kV2[] = {{"AV", "L A N", true}, {"AC", "H M L", true}, {"Au", "M S N", true}, {"C", "N P C", true}, {"I", "N P C", true},
    {"A", "N P C", true}, {"E", "U POC F H ND"}, {"RL", "OF TF W U ND"}, {"RC", "UC UR C ND"}, {"CDP", "N L LM MH H ND"}, {"TD", "N L M H ND"},
    {"CR", "L M H ND"}, {"IR", "L M H ND"}, {"AR", "L M H ND"}};

constexpr Metric kV3[] = {{"AV", "N A L P", true}, {"AC", "L H", true}, {"PR", "N L H", true}, {"UI", "N R", true}, {"S", "U C", true},
    {"C", "N L H", true}, {"I", "N L H", true}, {"A", "N L H", true}, {"E", "X U P F H"}, {"RL", "X O T W U"}, {"RC", "X U R C"}, {"CR", "X L M H"},
    {"IR", "X L M H"}, {"AR", "X L M H"}, {"MAV", "X N A L P"}, {"MAC", "X L H"}, {"MPR", "X N L H"}, {"MUI", "X N R"}, {"MS", "X U C"},
    {"MC", "X N L H"}, {"MI", "X N L H"}, {"MA", "X N L H"}};

constexpr Metric kV4[] = {{"AV", "N A L P", true}, {"AC", "L H", true}, {"AT", "N P", true}, {"PR", "N L H", true}, {"UI", "N P A", true},
    {"VC", "H L N", true}, {"VI", "H L N", true}, {"VA", "H L N", true}, {"SC", "H L N", true}, {"SI", "H L N", true}, {"SA", "H L N", true},
    {"E", "X A P U"}, {"CR", "X H M L"}, {"IR", "X H M L"}, {"AR", "X H M L"}, {"MAV", "X N A L P"}, {"MAC", "X L H"}, {"MAT", "X N P"},
    {"MPR", "X N L H"}, {"MUI", "X N P A"}, {"MVC", "X H L N"}, {"MVI", "X H L N"}, {"MVA", "X H L N"}, {"MSC", "X H L N"}, {"MSI", "X S H L N"},
    {"MSA", "X S H L N"}, {"S", "X N P"}, {"AU", "X N Y"}, {"R", "X A U I"}, {"V", "X D C"}, {"RE", "X L M H"}, {"U", "X Clear Green Amber Red"}};

Error malformed(std::string_view metric, std::string_view expected) {
  return Error(base_errors::kMalformed, "not a CVSS vector").with("metric", std::string(metric.substr(0, 40))).with("expected", std::string(expected));
}

bool has_word(std::string_view words, std::string_view word) {
  while (!words.empty()) {
    const std::size_t end = std::min(words.find(' '), words.size());
    if (words.substr(0, end) == word) return true;
    words.remove_prefix(std::min(end + 1, words.size()));
  }
  return false;
}

// The stated values, one per metric of the table; "" where not stated.
class Vector {
 public:
  static Result<Vector> parse(std::string_view text, std::span<const Metric> table) {
    Vector v(table);
    for (;;) {
      const std::size_t end = std::min(text.find('/'), text.size());
      STELLA_TRY_VOID(v.add(text.substr(0, end)));
      if (end == text.size()) break;
      text.remove_prefix(end + 1);
    }
    for (std::size_t i = 0; i < table.size(); ++i)
      if (table[i].mandatory && v.values_[i].empty()) return malformed(table[i].name, "every mandatory metric");
    return v;
  }

  std::string_view value(std::string_view name) const {
    for (std::size_t i = 0; i < table_.size(); ++i)
      if (table_[i].name == name) return values_[i];
    return "";
  }
  char operator[](std::string_view name) const {
    const auto v = value(name);
    return v.empty() ? 'X' : v.front();
  }

 private:
  explicit Vector(std::span<const Metric> table) : table_(table) {}
  Result<void> add(std::string_view part) {
    const std::size_t colon = part.find(':');
    const auto name = part.substr(0, colon);
    for (std::size_t i = 0; i < table_.size(); ++i) {
      if (table_[i].name != name) continue;
      if (!values_[i].empty()) return malformed(part, "each metric once");
      if (colon == std::string_view::npos || !has_word(table_[i].values, part.substr(colon + 1))) return malformed(part, table_[i].values);
      values_[i] = part.substr(colon + 1);
      return {};
    }
    return malformed(part, "a metric of this CVSS version");
  }
  std::span<const Metric> table_;
  std::array<std::string_view, 32> values_;
};
static_assert(std::size(kV4) <= 32 && std::size(kV3) <= 32);

// The number beside the value's letter in "N0.85 A0.62 …".
double weight(char value, std::initializer_list<std::pair<char, double>> weights) {
  for (const auto& [letter, number] : weights)
    if (letter == value) return number;
  return 0;
}

double base_v2(const Vector& v) {
  const auto impact_of = [&](std::string_view name) { return weight(v[name], {{'N', 0}, {'P', 0.275}, {'C', 0.660}}); };
  const double impact = 10.41 * (1 - (1 - impact_of("C")) * (1 - impact_of("I")) * (1 - impact_of("A")));
  const double exploitability = 20 * weight(v["AV"], {{'L', 0.395}, {'A', 0.646}, {'N', 1.0}}) * weight(v["AC"], {{'H', 0.35}, {'M', 0.61}, {'L', 0.71}}) *
                                weight(v["Au"], {{'M', 0.45}, {'S', 0.56}, {'N', 0.704}});
  const double raw = (0.6 * impact + 0.4 * exploitability - 1.5) * (impact == 0 ? 0 : 1.176);
  return std::round(raw * 10 + 1e-9) / 10;
}

// v3.1 appendix A: upwards to one decimal, robust against binary fractions.
double round_up(double x) {
  const auto scaled = static_cast<std::int64_t>(std::round(x * 100'000));
  return scaled % 10'000 == 0 ? static_cast<double>(scaled) / 100'000 : static_cast<double>(scaled / 10'000 + 1) / 10;
}

double base_v3(const Vector& v) {
  const bool changed = v["S"] == 'C';
  const auto impact_of = [&](std::string_view name) { return weight(v[name], {{'H', 0.56}, {'L', 0.22}}); };
  const double iss = 1 - (1 - impact_of("C")) * (1 - impact_of("I")) * (1 - impact_of("A"));
  const double impact = changed ? 7.52 * (iss - 0.029) - 3.25 * std::pow(iss - 0.02, 15) : 6.42 * iss;
  if (impact <= 0) return 0;
  const double pr = v["PR"] == 'N' ? 0.85 : v["PR"] == 'L' ? (changed ? 0.68 : 0.62) : (changed ? 0.5 : 0.27);
  const double exploitability = 8.22 * weight(v["AV"], {{'N', 0.85}, {'A', 0.62}, {'L', 0.55}, {'P', 0.2}}) * weight(v["AC"], {{'L', 0.77}, {'H', 0.44}}) * pr *
                                weight(v["UI"], {{'N', 0.85}, {'R', 0.62}});
  return round_up(std::min(changed ? 1.08 * (impact + exploitability) : impact + exploitability, 10.0));
}

// Severity levels of each v4 metric, highest first (v4.0 §8.2); SC has no S, but shares the scale.
int level_v4(std::string_view metric, char value) {
  const std::string_view order = metric == "AV" ? "NALP" : metric == "PR" ? "NLH" : metric == "UI" ? "NPA" : metric == "AC" ? "LH" : metric == "AT" ? "NP"
                                 : metric[0] == 'V' ? "HLN" : metric[0] == 'S' ? "SHLN" : "HML";
  return static_cast<int>(order.find(value));
}

class V4 {
 public:
  explicit V4(const Vector& v) : v_(v) {}

  double score() const {
    if (at("VC") == 'N' && at("VI") == 'N' && at("VA") == 'N' && at("SC") == 'N' && at("SI") == 'N' && at("SA") == 'N') return 0;
    const Classes q = classes();
    const double value = lookup(q);
    double sum = 0;
    int lower_classes = 0;
    // One class lower in one equivalence set at a time: how far the vector lies from the highest of its class, as a share of the step.
    const auto add = [&](double lower, int distance, int depth) {
      if (lower < 0) return;
      ++lower_classes;
      sum += (value - lower) * distance / depth;
    };
    add(q.eq1 < 2 ? lookup({q.eq1 + 1, q.eq2, q.eq3, q.eq4, q.eq5, q.eq6}) : -1, distance({"AV", "PR", "UI"}, cvss4::kMaxEq1[index(q.eq1)]), cvss4::kDepthEq1[index(q.eq1)]);
    add(q.eq2 < 1 ? lookup({q.eq1, q.eq2 + 1, q.eq3, q.eq4, q.eq5, q.eq6}) : -1, distance({"AC", "AT"}, cvss4::kMaxEq2[index(q.eq2)]), cvss4::kDepthEq2[index(q.eq2)]);
    add(lower_eq3eq6(q), distance({"VC", "VI", "VA", "CR", "IR", "AR"}, cvss4::kMaxEq3Eq6[index(q.eq3)][index(q.eq6)]), cvss4::kDepthEq3Eq6[index(q.eq3)][index(q.eq6)]);
    add(q.eq4 < 2 ? lookup({q.eq1, q.eq2, q.eq3, q.eq4 + 1, q.eq5, q.eq6}) : -1, distance({"SC", "SI", "SA"}, cvss4::kMaxEq4[index(q.eq4)]), cvss4::kDepthEq4[index(q.eq4)]);
    add(q.eq5 < 2 ? lookup({q.eq1, q.eq2, q.eq3, q.eq4, q.eq5 + 1, q.eq6}) : -1, 0, 1);
    const double mean = lower_classes == 0 ? 0 : sum / lower_classes;
    return std::clamp(std::floor((value - mean) * 10 + 0.5 + 1e-6) / 10, 0.0, 10.0);
  }

 private:
  struct Classes {
    int eq1, eq2, eq3, eq4, eq5, eq6;
  };
  static std::size_t index(int i) { return static_cast<std::size_t>(i); }

  // The modified value where stated, the defaults of §3.1 where a threat or requirement metric is not.
  char at(std::string_view metric) const {
    const char modified = v_["M" + std::string(metric)];
    if (modified != 'X') return modified;
    const char value = v_[metric];
    if (value != 'X') return value;
    return metric == "E" ? 'A' : 'H';
  }

  Classes classes() const {
    Classes q{};
    const bool n1 = at("AV") == 'N', n2 = at("PR") == 'N', n3 = at("UI") == 'N';
    q.eq1 = n1 && n2 && n3 ? 0 : (n1 || n2 || n3) && at("AV") != 'P' ? 1 : 2;
    q.eq2 = at("AC") == 'L' && at("AT") == 'N' ? 0 : 1;
    const bool c = at("VC") == 'H', i = at("VI") == 'H', a = at("VA") == 'H';
    q.eq3 = c && i ? 0 : c || i || a ? 1 : 2;
    q.eq4 = at("SI") == 'S' || at("SA") == 'S' ? 0 : at("SC") == 'H' || at("SI") == 'H' || at("SA") == 'H' ? 1 : 2;
    q.eq5 = at("E") == 'A' ? 0 : at("E") == 'P' ? 1 : 2;
    q.eq6 = (at("CR") == 'H' && c) || (at("IR") == 'H' && i) || (at("AR") == 'H' && a) ? 0 : 1;
    return q;
  }

  static double lookup(const Classes& q) {
    const int row = (q.eq1 * 2 + q.eq2) * 45;
    const int column = q.eq3 == 2 ? 36 + q.eq4 * 3 + q.eq5 : q.eq3 * 18 + (q.eq4 * 3 + q.eq5) * 2 + q.eq6;
    return cvss4::kMacroScores[index(row + column)] / 10.0;
  }

  static double lower_eq3eq6(const Classes& q) {
    if (q.eq3 == 2) return -1;
    const double lower_eq3 = lookup({q.eq1, q.eq2, q.eq3 + 1, q.eq4, q.eq5, q.eq3 == 1 ? 1 : q.eq6});
    if (q.eq6 == 1) return lower_eq3;
    const double lower_eq6 = lookup({q.eq1, q.eq2, q.eq3, q.eq4, q.eq5, 1});
    return q.eq3 == 1 ? lower_eq6 : std::max(lower_eq3, lower_eq6);
  }

  // Steps below the first highest vector of the class that is at least as severe in every metric.
  int distance(std::initializer_list<std::string_view> metrics, const cvss4::Maxes& maxes) const {
    for (const auto max : maxes) {
      if (max.empty()) break;
      int sum = 0;
      bool below = true;
      std::size_t i = 0;
      for (const auto metric : metrics) {
        const int steps = level_v4(metric, at(metric)) - level_v4(metric, max[i++]);
        below = below && steps >= 0;
        sum += steps;
      }
      if (below) return sum;
    }
    return 0;
  }

  const Vector& v_;
};

std::string lower(std::string_view text) {
  std::string out(text.substr(0, 20));
  for (char& c : out) c = c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
  return out;
}

std::string word_of(std::string_view text) {
  const std::string word = lower(text);
  if (word == "moderate") return "medium";
  if (word == "negligible") return "low";
  for (const std::string_view known : {"critical", "high", "medium", "low", "none"})
    if (word == known) return word;
  return "unknown";
}

}  // namespace

Result<CvssScore> cvss_score(std::string_view vector) {
  constexpr std::string_view kPrefix4 = "CVSS:4.0/";
  if (vector.size() > 400) return malformed("", "at most 400 bytes");
  if (vector.starts_with(kPrefix4)) {
    const Vector v = STELLA_TRY(Vector::parse(vector.substr(kPrefix4.size()), kV4));
    return CvssScore{"4.0", V4(v).score()};
  }
  if (vector.starts_with("CVSS:3.0/") || vector.starts_with("CVSS:3.1/")) {
    const Vector v = STELLA_TRY(Vector::parse(vector.substr(kPrefix4.size()), kV3));
    return CvssScore{vector[7] == '0' ? "3.0" : "3.1", base_v3(v)};
  }
  if (vector.starts_with("CVSS:")) return malformed(vector.substr(0, 8), "CVSS:4.0, CVSS:3.1, CVSS:3.0 or a v2 vector");
  const Vector v = STELLA_TRY(Vector::parse(vector, kV2));
  return CvssScore{"2.0", base_v2(v)};
}

std::string_view cvss_severity(const CvssScore& score) {
  if (score.version == "2.0") return score.score >= 7 ? "high" : score.score >= 4 ? "medium" : "low";
  return score.score >= 9 ? "critical" : score.score >= 7 ? "high" : score.score >= 4 ? "medium" : score.score > 0 ? "low" : "none";
}

Severity severity_of(const std::vector<contracts::SeverityVector>& vectors, std::string_view database_severity) {
  Severity best;
  for (const auto& candidate : vectors) {
    if (!candidate.type.starts_with("CVSS_")) continue;
    const auto score = cvss_score(candidate.score);
    if (!score) continue;
    const bool newer = score->version.front() > (best.version.empty() ? '0' : best.version.front());
    const bool higher = score->version.front() == (best.version.empty() ? '0' : best.version.front()) && score->score > best.score;
    if (newer || higher) best = {std::string(cvss_severity(*score)), score->score, std::string(score->version), candidate.score};
  }
  if (!best.version.empty()) return best;
  best.word = word_of(database_severity);
  for (const auto& candidate : vectors)
    if (best.word == "unknown" && !candidate.type.starts_with("CVSS_")) best.word = word_of(candidate.score);
  return best;
}

}  // namespace stella::pipeline
