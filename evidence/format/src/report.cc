// The report page.
#include "stella/evidence/format/report.h"

#include "stella/base/encoding.h"

namespace stella::evidence {
namespace {

constexpr std::string_view kHead = R"(<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
)";

constexpr std::string_view kStyle = R"(<style>
:root{--ink:#1c2330;--soft:#5b6577;--line:#dfe3ea;--paper:#fff;--wash:#f5f7fa;--good:#0b7a4b;--warn:#9a6200;--bad:#b3261e;--neutral:#3b5b92}
@media (prefers-color-scheme:dark){:root{--ink:#e7ebf2;--soft:#9aa5b8;--line:#2c3442;--paper:#12161d;--wash:#1a202a;--good:#4cc38a;--warn:#e0a83c;--bad:#ff7b72;--neutral:#8fb0ea}}
body{font:16px/1.55 system-ui,sans-serif;color:var(--ink);background:var(--paper);max-width:60rem;margin:0 auto;padding:2rem 1.25rem 4rem}
h1{font-size:1.7rem;line-height:1.25;overflow-wrap:anywhere;margin:.2rem 0 .8rem}h2{font-size:1.15rem;margin:2.4rem 0 .6rem;padding-top:.8rem;border-top:1px solid var(--line)}
.badge{display:inline-block;padding:.15rem .7rem;border-radius:1rem;font-weight:600;border:2px solid currentColor}
.good{color:var(--good)}.warn{color:var(--warn)}.bad{color:var(--bad)}.neutral{color:var(--neutral)}
dl{display:grid;grid-template-columns:max-content 1fr;gap:.25rem 1.2rem;margin:0}dt{color:var(--soft)}dd{margin:0;overflow-wrap:anywhere}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.92rem}th{text-align:left;color:var(--soft);font-weight:600}
th,td{padding:.35rem .9rem .35rem 0;border-bottom:1px solid var(--line);vertical-align:top}th{white-space:nowrap}
td{overflow-wrap:anywhere;min-width:4.5rem}td:first-child{white-space:nowrap}
code,pre{font:13px/1.5 ui-monospace,monospace;overflow-wrap:anywhere}pre{background:var(--wash);padding:.8rem 1rem;border-radius:.4rem;white-space:pre-wrap}
ol.chain{list-style:none;padding:0;margin:0;counter-reset:s}ol.chain>li{counter-increment:s;position:relative;padding:0 0 1.1rem 2.6rem}
ol.chain>li::before{content:counter(s);position:absolute;left:0;top:0;width:1.7rem;height:1.7rem;border-radius:50%;background:var(--wash);border:1px solid var(--line);text-align:center;line-height:1.7rem}
ol.chain>li::after{content:"";position:absolute;left:.85rem;top:1.9rem;bottom:0;border-left:1px solid var(--line)}ol.chain>li:last-child::after{display:none}
ul{margin:.2rem 0;padding-left:1.1rem}.soft{color:var(--soft)}
</style>
)";

std::string_view tone_class(ReportTone tone) {
  switch (tone) {
    case ReportTone::kGood: return "good";
    case ReportTone::kWarn: return "warn";
    case ReportTone::kBad: return "bad";
    case ReportTone::kNeutral: break;
  }
  return "neutral";
}

void add_paragraphs(std::string& out, std::string_view text) {
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size());
    if (end > 0) out.append("<p>").append(escape_html(text.substr(0, end))).append("</p>\n");
    text.remove_prefix(std::min(end + 1, text.size()));
  }
}

void add_objects(std::string& out, std::string_view label, const std::vector<std::pair<std::string, std::string>>& objects) {
  if (objects.empty()) return;
  out.append("<div class=\"soft\">").append(label).append("</div><ul>");
  for (const auto& [name, sha256] : objects)
    out.append("<li>").append(escape_html(name)).append(" <code class=\"soft\">").append(escape_html(sha256)).append("</code></li>");
  out.append("</ul>\n");
}

void add_table(std::string& out, const ReportTable& table) {
  out.append("<h2>").append(escape_html(table.title)).append("</h2>\n");
  add_paragraphs(out, table.note);
  if (table.rows.empty()) return;
  out.append("<div class=\"scroll\"><table><thead><tr>");
  for (const auto& column : table.columns) out.append("<th scope=\"col\">").append(escape_html(column)).append("</th>");
  out.append("</tr></thead><tbody>\n");
  for (const auto& row : table.rows) {
    out.append("<tr>");
    for (const auto& cell : row) out.append("<td>").append(escape_html(cell)).append("</td>");
    out.append("</tr>\n");
  }
  out.append("</tbody></table></div>\n");
}

void add_chain(std::string& out, const std::vector<ReportStep>& chain) {
  if (chain.empty()) return;
  out.append("<h2>The chain</h2>\n<p class=\"soft\">Each step is a pure function of the objects it names; the same inputs give the same outputs.</p>\n<ol class=\"chain\">\n");
  for (const auto& step : chain) {
    out.append("<li><strong>").append(escape_html(step.title)).append("</strong> ").append(escape_html(step.detail)).append("\n");
    add_objects(out, "in", step.inputs);
    add_objects(out, "out", step.outputs);
    out.append("</li>\n");
  }
  out.append("</ol>\n");
}

// Every claim of a bundle, beside the command that checks it: what a reader who trusts nobody does next. One that does not hold for each bundle of the
// kind has no place here: the page is made, and sealed, before anybody knows who stamps the seal, and copies with files withheld have it, too.
struct Claim {
  std::string claim, command, rests_on;
};
constexpr std::string_view kVerify = "stella forensic verify bundle.tgz --trust KEY.pub";

std::vector<Claim> claims_of(const Report& report) {
  const auto verify = [](std::string_view options) { return std::string(kVerify).append(options); };
  std::vector<Claim> out = {
      {"No sealed file was changed, removed or added since, and none of the events that the seal names.", "sh verify.sh KEY.pub bundle.tgz", "openssl, sha256sum, tar and awk; none of our software"},
      {"It was sealed by whoever holds the key.", verify(""), "a key that you did not get from this bundle"},
      {"Nothing is withheld without saying so.", verify(" --require COMPLETENESS"), "the commitments in evidence/items.jsonl, and the events that evidence/seal.json names"},
      {"What happened is in the log, and each step took what another made.", verify(" --trust-log LOG.pub --require INCLUSION,CUSTODY"), "the key of the installation's logs, which you did not get from this bundle (stella login keeps it: trust/log-….ed25519)"},
      {"The log was not rewritten.", verify(" --trust-log LOG.pub --checkpoint CHECKPOINT --consistency PROOF.json --require CONSISTENCY"),
       "a checkpoint that you kept from before, and the proof that leads from its size to that of custody/checkpoint (stella timeline proof --from SIZE --to SIZE --out PROOF.json)"},
      {"The key was good when it signed.", verify(" --trust-log LOG.pub --require KEY-STATUS"), "the record of the keys' lives in custody/keys.jsonl, which the log proves"}};
  if (report.replayable) out.push_back({"The decision follows from the inputs.", "stella forensic replay bundle.tgz", "the programs, run again on data/inputs/, as long as no input and no output is withheld"});
  if (!report.bundles.empty()) out.push_back({"The bundle of the evaluation inside is the one that was sealed.", verify(" --nested"), "the same key, and the root that evidence/seal.json names"});
  for (const std::string& path : report.bundles)
    out.push_back({"The decision follows from the inputs in that bundle.", "tar -xzOf bundle.tgz " + path + " >evaluation.tgz && stella forensic replay evaluation.tgz", "the programs, run again on its data/inputs/, as long as no input and no output is withheld"});
  return out;
}

void add_claims(std::string& out, const Report& report) {
  out.append("<h2>Do not believe this page: verify</h2>\n<p>This report is one of the sealed files. Each line is a claim of this bundle, the command that checks it, and what the answer rests on.</p>\n"
             "<div class=\"scroll\"><table><thead><tr><th scope=\"col\">claim</th><th scope=\"col\">check</th><th scope=\"col\">rests on</th></tr></thead><tbody>\n");
  for (const Claim& c : claims_of(report))
    out.append("<tr><td>").append(escape_html(c.claim)).append("</td><td><code>").append(escape_html(c.command)).append("</code></td><td class=\"soft\">").append(escape_html(c.rests_on)).append("</td></tr>\n");
  out.append("</tbody></table></div>\n<p>When it was signed this page does not say. Where <code>time/</code> holds timestamps, <code>").append(kVerify).append(" --trust-time ROOTS.pem --require TIME</code> says no later than when, "
             "by authorities that you trust; without them the time is the installation's clock.</p>\n<p><code>VERIFY.md</code> explains each step, and what a good result does not say.</p>\n</body></html>\n");
}

}  // namespace

std::string escape_html(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  const bool utf8 = is_utf8(text);
  for (const char c : text) {
    const auto u = static_cast<unsigned char>(c);
    switch (c) {
      case '&': out += "&amp;"; break;
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '"': out += "&quot;"; break;
      case '\'': out += "&#39;"; break;
      default:
        if ((u < 0x20 && c != '\n' && c != '\t') || u == 0x7f || (u >= 0x80 && !utf8)) out += "\xEF\xBF\xBD";
        else out += c;
    }
  }
  return out;
}

std::string build_report(const Report& report) {
  std::string out(kHead);
  const std::string title = escape_html(report.title);
  out.append("<title>").append(title).append("</title>\n").append(kStyle).append("</head><body>\n");
  out.append("<div class=\"soft\">Evidence bundle</div><h1>").append(title).append("</h1>\n");
  if (!report.outcome.empty())
    out.append("<p><span class=\"badge ").append(tone_class(report.tone)).append("\">").append(escape_html(report.outcome)).append("</span></p>\n");
  add_paragraphs(out, report.summary);
  if (!report.facts.empty()) {
    out.append("<h2>Facts</h2>\n<dl>\n");
    for (const auto& [name, value] : report.facts)
      out.append("<dt>").append(escape_html(name)).append("</dt><dd>").append(escape_html(value)).append("</dd>\n");
    out.append("</dl>\n");
  }
  for (const auto& table : report.tables) add_table(out, table);
  add_chain(out, report.chain);
  add_claims(out, report);
  return out;
}

}  // namespace stella::evidence
