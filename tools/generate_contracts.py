#!/usr/bin/env python3
"""Generates from contracts/*.json: C++ headers and tables, the reference pages of the docs, the JSON Schema of a log line.

  generate_contracts.py cpp DIR      headers and tables of module contracts into DIR
  generate_contracts.py fields DIR   typed field constructors of module telemetry/api into DIR
  generate_contracts.py docs         rewrites docs/reference/
  generate_contracts.py check        fails, with the names, where docs/reference/ differs from what `docs` would write

Standard library only. A row that lacks what its catalogue demands fails the build with its name.
"""
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
CONTRACTS = ROOT / "contracts"
BANNER = ("> **Imposed rule:** Work of this type or tasks of this type on this component must also be applied everywhere else it "
          "should be applied.")
PII = {"none": "kNone", "internal": "kInternal", "pii": "kPii", "secret": "kSecret"}
DETAIL_TYPES = {"string": "kString", "int": "kInt", "double": "kDouble", "bool": "kBool", "uuid": "kUuid", "sha256": "kSha256",
                "timestamp": "kTimestamp", "strings": "kStrings", "digests": "kDigests", "counts": "kCounts", "object": "kObject"}
SETTING_TYPES = {"string", "int", "bool", "duration", "bytes", "path", "secret_file"}


class Bad(Exception):
    """A row of a catalogue that must not be built."""


def load(name):
    with open(CONTRACTS / f"{name}.json", encoding="utf-8") as f:
        return json.load(f)


def need(ok, what):
    if not ok:
        raise Bad(what)


def unique(rows, key, name):
    seen = set()
    for row in rows:
        need(key in row and row[key] not in seen, f"{name}: {key} {row.get(key)!r} is missing or stands twice")
        seen.add(row[key])


def camel(text):
    return "".join(part[:1].upper() + part[1:] for part in re.split(r"[._:\-]", text))


def q(text):
    """A C++ string literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n") + '"'


def b(value):
    return "true" if value else "false"


# ---- the catalogues, checked ---------------------------------------------------------------------------------------------

def errors():
    rows = load("errors")["errors"]
    for key in ("number", "name", "wire"):
        unique(rows, key, "errors.json")
    for row in rows:
        need(row["name"] == "k" + camel(row["wire"]), f"errors.json: name of {row['wire']}")
        need(400 <= row["http"] <= 599 and row["title"] and row["remedy"], f"errors.json: {row['wire']}: http, title, remedy")
    need(rows[0]["wire"] == "internal", "errors.json: internal comes first")
    return rows


def detail_fields(rows, where):
    unique(rows, "name", where)
    for d in rows:
        need(d["type"] in DETAIL_TYPES, f"{where}.{d['name']}: type {d['type']}")
        need(d["pii"] in PII and d["pii"] != "secret", f"{where}.{d['name']}: pii class {d['pii']}")
        need(d["description"], f"{where}.{d['name']}: description")
    return rows


def events():
    doc = load("events")
    unique(doc["events"], "kind", "events.json")
    detail_fields(doc["common"], "events.json common")
    for row in doc["events"]:
        need(re.fullmatch(r"[a-z]+(_[a-z]+)*\.[a-z]+(_[a-z]+)*", row["kind"]), f"events.json: kind {row['kind']}")
        need(row["description"] and row["resource_types"] and isinstance(row["external"], bool), f"events.json: {row['kind']}")
        detail_fields(row["details"], f"events.json {row['kind']}")
    return doc


def scopes():
    rows = load("scopes")["scopes"]
    unique(rows, "name", "scopes.json")
    for row in rows:
        need(re.fullmatch(r"[a-z]+:[a-z]+", row["name"]) and row["description"], f"scopes.json: {row['name']}")
        need(row["tenant"] or row["platform"], f"scopes.json: {row['name']} can be granted nowhere")
    return rows


def settings():
    rows = load("settings")["settings"]
    unique(rows, "name", "settings.json")
    for row in rows:
        need(row["type"] in SETTING_TYPES, f"settings.json: {row['name']}: type {row['type']}")
        for key in ("default", "description", "min", "max", "restart", "example"):
            need(key in row, f"settings.json: {row['name']}: {key} is missing")
        if row["type"] == "int":
            need(row["min"] <= int(row["default"]) <= row["max"] or row["max"] == 0, f"settings.json: {row['name']}: default out of range")
    return rows


def metrics():
    rows = load("metrics")["metrics"]
    unique(rows, "name", "metrics.json")
    for row in rows:
        name = row["name"]
        need(row["type"] in ("counter", "gauge", "histogram"), f"metrics.json: {name}: type")
        need(re.fullmatch(r"stella_[a-z_]+[a-z]", name) and not name.endswith("_total"), f"metrics.json: name {name}")
        need(row["help"].endswith("."), f"metrics.json: {name}: help is a sentence")
        need(not row["unit"] or name.endswith("_" + row["unit"]), f"metrics.json: {name} must end with its unit {row['unit']}")
        need((row["type"] == "histogram") == bool(row.get("buckets")), f"metrics.json: {name}: histograms alone have buckets")
        need(sorted(row.get("buckets", [])) == row.get("buckets", []), f"metrics.json: {name}: buckets ascend")
        for label in row["labels"]:
            enum = label["kind"] == "enum" and label.get("values")
            bounded = label["kind"] == "bounded" and label.get("of") and 0 < label.get("max", 0) <= 4096
            need(enum or bounded, f"metrics.json: {name}: label {label['name']} is neither an enum nor a bounded set")
    return rows


def jobs():
    rows = load("jobs")["jobs"]
    unique(rows, "kind", "jobs.json")
    for row in rows:
        for key in ("description", "span", "resource", "cpu_ms", "wall_ms", "memory_bytes", "output_bytes"):
            need(row.get(key), f"jobs.json: {row['kind']}: {key}")
    return rows


# ---- C++ ------------------------------------------------------------------------------------------------------------------

def header(source, includes, body):
    lines = [f"// Generated from contracts/{source} by tools/generate_contracts.py. Do not edit.", "#pragma once", ""]
    lines += [f"#include {i}" if i else "" for i in includes] + [""]
    return "\n".join(lines) + "\n" + "\n".join(body) + "\n"


CATALOGUE = '"stella/contracts/catalogue.h"'


def cpp_errors():
    rows = errors()
    body = ["namespace stella::contracts::errors {"]
    body += [f"inline constexpr ErrorCode {r['name']}{{{r['number']}}};  // {r['http']} {r['title']}" for r in rows]
    body += ["}  // namespace stella::contracts::errors", "", "namespace stella::contracts {",
             f"inline constexpr std::array<ErrorInfo, {len(rows)}> kErrors{{{{"]
    body += [f"    {{errors::{r['name']}, {q(r['wire'])}, {r['http']}, {q(r['title'])}, {q(r['remedy'])}, {b(r['retry'])}}}," for r in rows]
    body += ["}};", "}  // namespace stella::contracts"]
    return header("errors.json", ["<array>", "", CATALOGUE], body)


def cpp_events():
    body = ["namespace stella::contracts::events {"]
    body += [f"inline constexpr std::string_view k{camel(r['kind'])} = {q(r['kind'])};  // {r['description']}" for r in events()["events"]]
    return header("events.json", ["<string_view>", "", CATALOGUE], body + ["}  // namespace stella::contracts::events"])


def cpp_scopes():
    rows = scopes()
    body = ["namespace stella::contracts::scopes {"]
    body += [f"inline constexpr std::string_view k{camel(r['name'])} = {q('stella:' + r['name'])};" for r in rows]
    body += ["}  // namespace stella::contracts::scopes", "", "namespace stella::contracts {",
             f"inline constexpr std::array<ScopeRow, {len(rows)}> kScopes{{{{"]
    body += [f"    {{{q(r['name'])}, {q('stella:' + r['name'])}, {q(r['description'])}, {b(r['tenant'])}, {b(r['platform'])}}}," for r in rows]
    return header("scopes.json", ["<array>", "<string_view>", "", CATALOGUE], body + ["}};", "}  // namespace stella::contracts"])


def cpp_settings():
    rows = settings()
    body = ["namespace stella::contracts {", f"inline constexpr std::array<SettingRow, {len(rows)}> kSettings{{{{"]
    body += [f"    {{{q(r['name'])}, {q(r['type'])}, {q(r['default'])}, {q(r['description'])}, {r['min']}, {r['max']}, {b(r['restart'])}, "
             f"{q(r['example'])}}}," for r in rows]
    return header("settings.json", ["<array>", "", CATALOGUE], body + ["}};", "}  // namespace stella::contracts"])


def string_array(name, values):
    return f"inline constexpr std::array<std::string_view, {len(values)}> {name}{{{', '.join(q(v) for v in values)}}};"


def cpp_jobs():
    rows = jobs()
    body = ["namespace stella::contracts::job_kinds {"]
    body += [f"inline constexpr std::string_view k{camel(r['kind'])} = {q(r['kind'])};" for r in rows]
    body += ["}  // namespace stella::contracts::job_kinds", "", "namespace stella::contracts {", "namespace detail {"]
    for r in rows:
        for key in ("params", "inputs", "outputs"):
            body.append(string_array(f"k{camel(r['kind'])}{camel(key)}", r[key]))
    body += ["}  // namespace detail", f"inline constexpr std::array<JobKindRow, {len(rows)}> kJobKinds{{{{"]
    for r in rows:
        c = camel(r["kind"])
        body.append(f"    {{{q(r['kind'])}, {q(r['description'])}, {q(r['span'])}, {q(r['journey'])}, {q(r['resource'])}, {r['cpu_ms']}, "
                    f"{r['wall_ms']}, {r['memory_bytes']}, {r['output_bytes']}, detail::k{c}Params, detail::k{c}Inputs, detail::k{c}Outputs}},")
    return header("jobs.json", ["<array>", "<string_view>", "", CATALOGUE], body + ["}};", "}  // namespace stella::contracts"])


def metric_constant(name):
    return "k" + camel(name.removeprefix("stella_"))


def cpp_metrics():
    body = ["namespace stella::contracts::metrics {"]
    for i, r in enumerate(metrics()):
        labels = ", ".join(label["name"] for label in r["labels"])
        body.append(f"inline constexpr {r['type'].capitalize()}Def<{len(r['labels'])}> {metric_constant(r['name'])}{{{i}}};"
                    + (f"  // {labels}" if labels else ""))
    body += ["}  // namespace stella::contracts::metrics"]
    return header("metrics.json", [CATALOGUE], body)


def cpp_tables():
    out = ["// Generated from contracts/events.json and contracts/metrics.json by tools/generate_contracts.py. Do not edit.",
           "#include <array>", "", f"#include {CATALOGUE}", "", "namespace stella::contracts {", "namespace {", ""]
    doc = events()

    def details(name, rows):
        items = ", ".join(f"{{{q(d['name'])}, DetailType::{DETAIL_TYPES[d['type']]}, {b(d['required'])}, PiiClass::{PII[d['pii']]}}}" for d in rows)
        out.append(f"constexpr std::array<DetailField, {len(rows)}> {name}{{{{{items}}}}};" if rows
                   else f"constexpr std::array<DetailField, 0> {name}{{}};")

    details("kCommon", doc["common"])
    for r in doc["events"]:
        c = camel(r["kind"])
        details(f"kDetails{c}", r["details"])
        out.append(string_array(f"kResources{c}", r["resource_types"]).replace("inline ", ""))
    out.append(f"constexpr std::array<EventKind, {len(doc['events'])}> kEvents{{{{")
    for r in doc["events"]:
        c = camel(r["kind"])
        out.append(f"    {{{q(r['kind'])}, {q(r['description'])}, {b(r['external'])}, kResources{c}, kDetails{c}}},")
    out += ["}};", ""]
    rows = metrics()
    for r in rows:
        c = camel(r["name"])
        if r.get("buckets"):
            out.append(f"constexpr std::array<double, {len(r['buckets'])}> kBuckets{c}{{{', '.join(repr(float(x)) for x in r['buckets'])}}};")
        for label in r["labels"]:
            if label["kind"] == "enum":
                out.append(string_array(f"kValues{c}{camel(label['name'])}", label["values"]).replace("inline ", ""))
        if r["labels"]:
            items = ", ".join(f"{{{q(x['name'])}, kValues{c}{camel(x['name'])}, 0}}" if x["kind"] == "enum"
                              else f"{{{q(x['name'])}, {{}}, {x['max']}}}" for x in r["labels"])
            out.append(f"constexpr std::array<MetricLabel, {len(r['labels'])}> kLabels{c}{{{{{items}}}}};")
    out.append(f"constexpr std::array<MetricSpec, {len(rows)}> kMetrics{{{{")
    for r in rows:
        c = camel(r["name"])
        buckets = f"kBuckets{c}" if r.get("buckets") else "{}"
        labels = f"kLabels{c}" if r["labels"] else "{}"
        out.append(f"    {{{q(r['name'])}, MetricType::k{r['type'].capitalize()}, {q(r['unit'])}, {q(r['help'])}, {buckets}, {labels}}},")
    out += ["}};", "", "}  // namespace", "", "std::span<const EventKind> event_kinds() { return kEvents; }",
            "std::span<const DetailField> common_details() { return kCommon; }",
            "std::span<const MetricSpec> metric_specs() { return kMetrics; }", "", "}  // namespace stella::contracts", ""]
    return "\n".join(out)


CPP = {"stella/contracts/errors.h": cpp_errors, "stella/contracts/events.h": cpp_events, "stella/contracts/scopes.h": cpp_scopes,
       "stella/contracts/settings.h": cpp_settings, "stella/contracts/job_kinds.h": cpp_jobs, "stella/contracts/metrics.h": cpp_metrics,
       "contracts_tables.cc": cpp_tables}


# ---- main -----------------------------------------------------------------------------------------------------------------

def write(path, text):
    """Leaves an equal file alone, so that nothing that includes it is built again."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        path.write_text(text, encoding="utf-8")


def main(argv):
    if len(argv) == 3 and argv[1] == "cpp":
        for name, make in CPP.items():
            write(pathlib.Path(argv[2]) / name, make())
        return 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except (Bad, KeyError, ValueError) as error:
        print(f"contracts: {error}", file=sys.stderr)
        sys.exit(1)
