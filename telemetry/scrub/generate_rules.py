#!/usr/bin/env python3
"""telemetry/scrub/rules.json -> C++ tables for the engine and the reference page.

  generate_rules.py cpp OUT_HEADER     the tables: rules, prefixes, triggers and the nibble masks of the multi-pattern pass
  generate_rules.py docs               writes docs/reference/scrubber-rules.md
  generate_rules.py check              fails where that page is not what the rules say
"""
import json
import pathlib
import re
import sys
from random import Random

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs/reference/scrubber-rules.md"
CLASSES = ["secret", "email", "ip", "phone", "card", "iban", "path"]
CHARSETS = ["alnum", "word", "upper", "base64url", "dashed", "slashed", "dotted", "encoded"]
BUCKETS = 16
MOST = 16  # windows of a bucket: the engine compares with all of them at once
WINDOW = 4
# What log text is made of, roughly: the buckets are chosen so that few positions of it pass. `#` becomes a hex digit, `~` a decimal one.
LINES = """
2026-11-2~T03:2~:00.~~~~~~Z INFO [http-~~] o.e.web.RequestLog - GET /api/v1/projects/########-####-7###-a###-############/components?page=~~&limit=100 200 ~~~~~ bytes in ~~ ms
{"ts":"2026-11-25T03:20:00.~~~~~~Z","level":"info","service":"stellad","version":"0.1.0","env":"prod","region":"eu","instance_id":"web-~","tenant_id":"acme","trace_id":"################################","span_id":"################","request_id":"########-####-7###-a###-############","module":"web","message":"request finished","route":"/sboms/:id","method":"GET","status":200,"duration_ms":~~.~~}
component pkg:npm/######@~~.~.~~ linked to GHSA-35jh-r3h4-6jhm CVE-2021-~~~~~ severity=high purl matched by range <4.17.~~
level=warn ts=2026-11-25T03:20:00Z caller=queue.go:~~~ msg="retrying batch" attempt=~ backoff=1.5s queue=telemetry depth=~~~~ error="context deadline exceeded"
    at stella::pipeline::evaluate(Policy const&, Sbom const&) (evaluate.cc:~~~) policy baseline@############ decision deny: severity is critical and no exception was granted by the owner
orchestrator: job ########-####-7###-a###-############ of kind policy.evaluate finished, ~~~~ components, ~~~ findings, digest sha256:################################################################
Failed to connect to the database server after several attempts: connection refused by host, the pool has no idle session left and is waiting
ERROR [main] com.example.service.OrderProcessor - Unable to process order ~~~~~~: invalid state transition from PENDING to SHIPPED for customer
Started application in ~.~~~ seconds (process running for ~.~~~), listening on port ~~~~ with protocol h2 and ~ worker threads
kubelet: pod "web-~~~~######-#####" container "api" restarted because of a failing liveness probe: HTTP probe failed with statuscode: 503
user interface assets were compiled successfully; checking generated files, skipping unchanged entries, removed obsolete sources from the cache
policy.evaluate accepted the bill of materials of the project acme: every component has a licence, no material vulnerability remains
systemd[1]: Reached target network is online. Mounted file system, starting cleanup of temporary directories, stopping scheduled maintenance tasks
the scheduler assigned partition ~~ to consumer group analytics at offset ~~~~~~; rebalance took ~~~ ms and the committed position was reset
"""


def sample():
    random = Random(1)
    text = LINES * 6
    return "".join(random.choice("0123456789abcdef") if c == "#" else random.choice("0123456789") if c == "~" else c for c in text).encode()


def positions(text):
    """For every byte value, the positions at which it stands, as the bits of one number."""
    out = [0] * 256
    for i, c in enumerate(text):
        out[c] |= 1 << i
    return out


PLACES = positions(sample())


def load():
    return json.loads((HERE / "rules.json").read_text(encoding="utf-8"))["rules"]


def camel(name):
    return "k" + "".join(part.capitalize() for part in name.split("_"))


def parse_window(text, nocase):
    """The window as four sets of bytes; None: any."""
    sets, i = [], 0
    while i < len(text):
        c = text[i]
        if c == "[":
            end = text.index("]", i + 1)
            chars = set()
            for first, last in re.findall(r"(.)(?:-(.))?", text[i + 1:end], re.DOTALL):
                chars |= {chr(x) for x in range(ord(first), ord(last or first) + 1)}
            i = end + 1
        elif c == ".":
            chars, i = None, i + 1
        elif c == "\\":
            chars, i = {text[i + 1]}, i + 2
        else:
            chars, i = {c}, i + 1
        if chars is not None and nocase:
            chars = {f(x) for x in chars for f in (str.lower, str.upper)}
        sets.append(None if chars is None else frozenset(map(ord, chars)))
    if len(sets) != WINDOW:
        raise SystemExit(f"rules.json: the window {text!r} has {len(sets)} characters, not {WINDOW}")
    return tuple(sets)


def nibbles(triggers):
    """Per position the low and high nibbles that any of the triggers accepts."""
    lo, hi = [set() for _ in range(WINDOW)], [set() for _ in range(WINDOW)]
    for sets in triggers:
        for p, chars in enumerate(sets):
            for c in range(256) if chars is None else chars:
                lo[p].add(c & 15)
                hi[p].add(c >> 4)
    return lo, hi


def cost(triggers):
    """Positions of the sample that pass, a byte of another language counting a little."""
    if not triggers:
        return 0.0
    lo, hi = nibbles(triggers)
    passed, product = -1, 1.0
    for p in range(WINDOW):
        here = 0
        for c in range(256):
            if c & 15 in lo[p] and c >> 4 in hi[p]:
                here |= PLACES[c]
        passed &= here >> p
        product *= len(lo[p]) * len(hi[p]) / 256
    return bin(passed & ((1 << 64 * 1024) - 1)).count("1") + 100 * product


def assign(windows):
    """Buckets by greedy choice, the costliest windows first, then moves while they help; the same on every run."""
    buckets = [[] for _ in range(BUCKETS)]
    costs = [0.0] * BUCKETS

    def best_for(w):
        return min((b for b in range(BUCKETS) if len(buckets[b]) < MOST), key=lambda b: (cost([*buckets[b], w]) - costs[b], len(buckets[b]), b))

    windows = sorted(windows, key=lambda w: -cost([w]))
    for w in windows:
        b = best_for(w)
        buckets[b].append(w)
        costs[b] = cost(buckets[b])
    for _ in range(8):
        for w in windows:
            old = next(b for b in range(BUCKETS) if w in buckets[b])
            buckets[old].remove(w)
            costs[old] = cost(buckets[old])
            b = best_for(w)
            buckets[b].append(w)
            costs[b] = cost(buckets[b])
    return {w: b for b, ws in enumerate(buckets) for w in ws}


def triggers_of(rules):
    rows = []
    for rule in rules:
        for trigger in rule["triggers"]:
            text, at = (trigger, 0) if isinstance(trigger, str) else (trigger["window"], trigger["at"])
            rows.append((rule["name"], parse_window(text, rule.get("nocase", False)), at))
    return rows


def literal(text):
    out = ""
    for byte in text.encode():
        out += chr(byte) if 32 <= byte < 127 and chr(byte) not in '"\\?' else f"\\{byte:03o}"
    return f'"{out}"'


def exact(sets):
    """Value and mask of a 32-bit compare that accepts every match of the window, and little else."""
    value = mask = 0
    for p, chars in enumerate(sets):
        if chars is None:
            continue
        keep = 255
        first = min(chars)
        for c in chars:
            keep &= ~(c ^ first)
        value |= (first & keep) << 8 * p
        mask |= keep << 8 * p
    return value, mask


def cpp(path):
    rules = load()
    rows = triggers_of(rules)
    bucket = assign(sorted({w for _, w, _ in rows}, key=lambda w: (-sum(s is None for s in w), [sorted(s or []) for s in w])))
    rows.sort(key=lambda r: bucket[r[1]])
    matchers = list(dict.fromkeys(r["matcher"] for r in rules))
    out = ["// Generated from telemetry/scrub/rules.json by generate_rules.py: the tables of the engine.", "#pragma once", "", "#include <cstdint>", "#include <string_view>", "",
           "namespace stella::telemetry::scrubbing {", ""]
    out.append(f"enum class Rule : std::uint8_t {{ {', '.join(camel(r['name']) for r in rules)} }};")
    out.append(f"enum class Class : std::uint8_t {{ {', '.join(camel(c) for c in CLASSES)} }};")
    out.append(f"enum class Matcher : std::uint8_t {{ {', '.join(camel(m) for m in matchers)} }};")
    out.append(f"enum class Charset : std::uint8_t {{ {', '.join(camel(c) for c in CHARSETS)} }};")
    out.append("struct RuleRow { std::string_view name, kind; Class cls; Matcher matcher; std::uint16_t first_prefix, prefixes; std::string_view pattern, validator; };")
    out.append("struct PrefixRow { std::string_view text; std::uint16_t least; Charset charset; };")
    out.append("struct TriggerRow { std::uint32_t value, mask; Rule rule; std::uint8_t at; };")
    out.append("struct ExampleRow { Rule rule; std::string_view text, gone; };  // gone is empty: the text stays as it is")
    prefixes = []
    table = []
    for r in rules:
        mine = [f"{{{literal(t)}, {least}, Charset::{camel(cs)}}}" for t, least, cs in r.get("prefixes", [])]
        table.append(f"    {{{literal(r['name'])}, {literal(r['kind'])}, Class::{camel(r['class'])}, Matcher::{camel(r['matcher'])}, {len(prefixes)}, {len(mine)},\n"
                     f"     {literal(r['pattern'])}, {literal(r.get('validator', ''))}}},")
        prefixes += mine
    out += ["inline constexpr RuleRow kRules[] = {", *table, "};"]
    out += ["inline constexpr PrefixRow kPrefixes[] = {", *(f"    {p}," for p in prefixes), "};"]
    out.append("inline constexpr TriggerRow kTriggers[] = {")
    for name, sets, at in rows:
        value, mask = exact(sets)
        out.append(f"    {{0x{value:08x}, 0x{mask:08x}, Rule::{camel(name)}, {at}}},")
    out.append("};")
    begins = [sum(bucket[r[1]] < b for r in rows) for b in range(BUCKETS + 1)]
    out.append(f"inline constexpr std::uint8_t kBucketBegin[] = {{{', '.join(map(str, begins))}}};")
    for half in range(2):
        for label, which in (("Lo", 0), ("Hi", 1)):
            out.append(f"alignas(64) inline constexpr std::uint8_t k{label}{half}[4][16] = {{")
            for p in range(WINDOW):
                cells = [0] * 16
                for b in range(8):
                    mine = [w for w, n in bucket.items() if n == half * 8 + b]
                    for nibble in nibbles(mine)[which][p]:
                        cells[nibble] |= 1 << b
                out.append(f"    {{{', '.join(map(str, cells))}}},")
            out.append("};")
    out.append("inline constexpr ExampleRow kExamples[] = {")
    for r in rules:
        out += [f"    {{Rule::{camel(r['name'])}, {literal(text)}, {literal(gone)}}}," for text, gone in r["hits"]]
        out += [f"    {{Rule::{camel(r['name'])}, {literal(text)}, {{}}}}," for text in r["misses"]]
    out += ["};", "", "}  // namespace stella::telemetry::scrubbing", ""]
    pathlib.Path(path).parent.mkdir(parents=True, exist_ok=True)
    pathlib.Path(path).write_text("\n".join(out), encoding="utf-8")


def code(text):
    text = text.replace("\n", "⏎").replace("|", "\\|")
    fence = "``" if "`" in text else "`"
    pad = " " if "`" in text else ""
    return f"{fence}{pad}{text}{pad}{fence}"


def page():
    out = ["> **Imposed rule:** Work of this type or tasks of this type on this component must also be applied everywhere else it should be applied.", "",
           "# Scrubber rules", "",
           "Generated from `telemetry/scrub/rules.json`. Do not edit.", "",
           "Every text value of every log line, span and event passes these rules before it leaves its thread. Secrets are always masked. The other classes are masked unless the",
           "tenant's deep debug lets them through for a limited time; paths keep their base name. A mask is `[kind:7f3a91c2]`; the digits are a keyed fingerprint, equal for equal values",
           "of one tenant and day. Addresses keep their network: `[ipv4:203.0.113.0/24:7f3a91c2]`. Group 1 of a pattern (RE2 syntax) is what goes.", "",
           "| rule | class | mask | what |", "|---|---|---|---|"]
    rules = load()
    for r in rules:
        out.append(f"| [{r['name']}](#{r['name']}) | {r['class']} | `{r['kind']}` | {r['title']} |")
    for r in rules:
        out += ["", f"## {r['name']}", "", f"{r['title']}.", "", f"- pattern: {code(r['pattern'])}"]
        if r.get("validator"):
            out.append(f"- and then: `{r['validator']}`")
        out.append("- masked: " + ", ".join(code(gone) + (f" in {code(text)}" if text != gone else "") for text, gone in r["hits"]))
        out.append("- left alone: " + ", ".join(code(text) for text in r["misses"]))
    return "\n".join(out) + "\n"


def main():
    if sys.argv[1:2] == ["cpp"] and len(sys.argv) == 3:
        cpp(sys.argv[2])
    elif sys.argv[1:] == ["docs"]:
        PAGE.write_text(page(), encoding="utf-8")
    elif sys.argv[1:] == ["check"]:
        if not PAGE.is_file() or PAGE.read_text(encoding="utf-8") != page():
            raise SystemExit(f"{PAGE.name} is not what rules.json says: run telemetry/scrub/generate_rules.py docs")
    else:
        raise SystemExit(__doc__)


if __name__ == "__main__":
    main()
