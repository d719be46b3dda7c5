#!/usr/bin/env python3
"""Generates from contracts/*.json: C++ headers and tables, the reference pages of the docs, the JSON Schema of a log line.

  generate_contracts.py cpp DIR      headers and tables of module contracts into DIR
  generate_contracts.py fields DIR   typed field constructors of module telemetry/api into DIR
  generate_contracts.py metrics NS FILE DIR   NS/metrics.h into DIR: the metrics that another service declares in FILE, in namespace NS
  generate_contracts.py service_fields NS FILE DIR   NS/fields.h, likewise
  generate_contracts.py docs         rewrites docs/reference/
  generate_contracts.py check        fails, with the names, where docs/reference/ differs from what `docs` would write, or where an operation, a
                                     kind of job or an event kind is missing in the matrix of who emits what (event_matrix.py)

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


def settings(whose="settings"):
    rows = load("settings")[whose]
    unique(rows, "name", "settings.json")
    for row in rows:
        need(row["type"] in SETTING_TYPES, f"settings.json: {row['name']}: type {row['type']}")
        for key in ("default", "description", "min", "max", "restart", "example"):
            need(key in row, f"settings.json: {row['name']}: {key} is missing")
        if row["type"] == "int":
            need(row["min"] <= int(row["default"]) <= row["max"] or row["max"] == 0, f"settings.json: {row['name']}: default out of range")
    return rows


METRIC_TYPES = {"counter": "Counter", "updown": "UpDownCounter", "gauge": "Gauge", "histogram": "Histogram"}


def metrics():
    return checked_metrics(load("metrics")["metrics"], "stella_")


# `prefix`: what every name of this catalogue begins with.
def checked_metrics(rows, prefix):
    unique(rows, "name", "metrics.json")
    for row in rows:
        name = row["name"]
        need(row["type"] in METRIC_TYPES, f"metrics.json: {name}: type")
        need(re.fullmatch(rf"{prefix}[a-z_]+[a-z]", name) and not re.search("_(total|bucket|sum|count|created|info)$", name), f"metrics.json: name {name}")
        need(row.get("max_series", 1) > 0 and row.get("max_series_per_tenant", 1) > 0, f"metrics.json: {name}: caps are above 0")
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
        need(isinstance(row.get("revision", 1), int) and row.get("revision", 1) > 0, f"jobs.json: {row['kind']}: revision")
    return rows


THREADS_FOR = ("background", "jobs", "requests", "caller", "telemetry", "control")


def workers():
    """(threads, work) of workers.json: every thread says whose work it does, and background work runs on one of them."""
    doc = load("workers")
    unique(doc["threads"], "name", "workers.json")
    unique(doc["work"], "name", "workers.json")
    known = {row["name"] for row in doc["work"]}
    for row in doc["threads"]:
        name = row["name"]
        need(0 < len(name) <= 15, f"workers.json: {name}: a thread's name has 1 to 15 bytes")
        need(row["for"] in THREADS_FOR, f"workers.json: {name}: for")
        need((row["for"] == "background") == bool(row["work"]), f"workers.json: {name}: threads for background work, and they alone, say which")
        need(set(row["work"]) <= known, f"workers.json: {name}: {sorted(set(row['work']) - known)} is no work")
        need(row.get("program") and row.get("description", "").endswith("."), f"workers.json: {name}: program and description")
    idle = known - {name for row in doc["threads"] for name in row["work"]}
    need(not idle, f"workers.json: no thread does {sorted(idle)}")
    for row in doc["work"]:
        need(re.fullmatch(r"[a-z]+\.[a-z]+", row["name"]), f"workers.json: name {row['name']}")
        need(row.get("description", "").endswith(".") and "rare" in row, f"workers.json: {row['name']}: description and rare")
    return doc["threads"], doc["work"]


FIELD_TYPES = {"string", "int", "bool", "duration_us", "uuid", "sha256", "timestamp", "trace_id", "span_id", "error", "pii", "path"}
ID_TYPE = re.compile(r"(id|text_id):[A-Z][A-Za-z]+")


def fields():
    return checked_fields(load("fields")["fields"])


# Members of every line that no field of another service may take.
OWN_KEYS = {"ts", "level", "service", "version", "env", "region", "instance_id", "tenant_id", "project_id", "actor", "route", "method", "resource", "action",
            "trace_id", "span_id", "parent_span_id", "request_id", "job_id", "run_id", "error_code", "error_message", "module", "message", "details", "truncated"}


def checked_fields(rows):
    unique(rows, "name", "fields.json")
    unique(rows, "key", "fields.json")
    for row in rows:
        name = row["name"]
        need(row["type"] in FIELD_TYPES or ID_TYPE.fullmatch(row["type"]), f"fields.json: {name}: type {row['type']}")
        need(row["pii"] in ("none", "internal", "pii"), f"fields.json: {name}: pii class {row['pii']}")
        need((row["pii"] == "pii") == (row["type"] == "pii"), f"fields.json: {name}: class pii and type pii go together")
        need(row["source"] in ("resource", "context", "call"), f"fields.json: {name}: source")
        for key in ("signals", "when", "example", "description", "reviewed"):
            need(row.get(key), f"fields.json: {name}: {key} is missing")
    need(len(rows) < 256, "fields.json: more than 255 rows")
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
    body = ["namespace stella::contracts {"]
    for name, rows in (("kSettings", settings()), ("kWitnessSettings", settings("witness"))):  # stella-witness has its own, and of these log and telemetry
        body += [f"inline constexpr std::array<SettingRow, {len(rows)}> {name}{{{{"]
        body += [f"    {{{q(r['name'])}, {q(r['type'])}, {q(r['default'])}, {q(r['description'])}, {r['min']}, {r['max']}, {b(r['restart'])}, "
                 f"{q(r['example'])}}}," for r in rows]
        body += ["}};"]
    return header("settings.json", ["<array>", "", CATALOGUE], body + ["}  // namespace stella::contracts"])


def string_array(name, values):
    return f"inline constexpr std::array<std::string_view, {len(values)}> {name}{{{', '.join(q(v) for v in values)}}};"


def cpp_jobs():
    rows = jobs()
    body = ["namespace stella::contracts::job_kinds {"]
    body += [f"inline constexpr std::string_view k{camel(r['kind'])} = {q(r['kind'])};" for r in rows]
    body += ["// Of what the kind's function makes of the same inputs; 1 for a kind that is not here.",
             "constexpr std::uint32_t revision(std::string_view kind) {"]
    body += [f"  if (kind == k{camel(r['kind'])}) return {r['revision']};" for r in rows if r.get("revision", 1) != 1]
    body += ["  return 1;", "}"]
    body += ["}  // namespace stella::contracts::job_kinds", "", "namespace stella::contracts {", "namespace detail {"]
    for r in rows:
        for key in ("params", "inputs", "outputs"):
            body.append(string_array(f"k{camel(r['kind'])}{camel(key)}", r[key]))
    body += ["}  // namespace detail", f"inline constexpr std::array<JobKindRow, {len(rows)}> kJobKinds{{{{"]
    for r in rows:
        c = camel(r["kind"])
        body.append(f"    {{{q(r['kind'])}, {q(r['description'])}, {q(r['span'])}, {q(r['journey'])}, {q(r['resource'])}, {r['cpu_ms']}, "
                    f"{r['wall_ms']}, {r['memory_bytes']}, {r['output_bytes']}, detail::k{c}Params, detail::k{c}Inputs, detail::k{c}Outputs}},")
    return header("jobs.json", ["<array>", "<cstdint>", "<string_view>", "", CATALOGUE], body + ["}};", "}  // namespace stella::contracts"])


def cpp_workers():
    rows = workers()[1]
    body = ["namespace stella::contracts::work {"]
    body += [f"inline constexpr WorkRow k{camel(r['name'])}{{{q(r['name'])}, {q(r['description'])}}};" for r in rows]
    body += ["}  // namespace stella::contracts::work", "", "namespace stella::contracts {", f"inline constexpr std::array<WorkRow, {len(rows)}> kWork{{{{"]
    body += [f"    work::k{camel(r['name'])}," for r in rows]
    return header("workers.json", ["<array>", "", CATALOGUE], body + ["}};", "}  // namespace stella::contracts"])


def metric_constant(name):
    return "k" + camel(name.removeprefix("stella_"))


def cpp_metrics():
    body = ["namespace stella::contracts::metrics {", f"namespace detail {{\nextern const MetricSpec kMetrics[{len(metrics())}];\n}}"]
    for i, r in enumerate(metrics()):
        labels = ", ".join(label["name"] for label in r["labels"])
        body.append(f"inline constexpr {METRIC_TYPES[r['type']]}Def<{len(r['labels'])}> {metric_constant(r['name'])}{{&detail::kMetrics[{i}]}};"
                    + (f"  // {labels}" if labels else ""))
    body += ["}  // namespace stella::contracts::metrics"]
    return header("metrics.json", [CATALOGUE], body)


# Buckets, enums and labels of every metric, then the rows of the table.
def metric_tables(rows, inline=""):
    out, specs = [], []
    for r in rows:
        c = camel(r["name"])
        if r.get("buckets"):
            out.append(f"{inline}constexpr std::array<double, {len(r['buckets'])}> kBuckets{c}{{{', '.join(repr(float(x)) for x in r['buckets'])}}};")
        for label in r["labels"]:
            if label["kind"] == "enum":
                out.append(string_array(f"kValues{c}{camel(label['name'])}", label["values"]).replace("inline ", inline))
        if r["labels"]:
            items = ", ".join(f"{{{q(x['name'])}, kValues{c}{camel(x['name'])}, 0}}" if x["kind"] == "enum"
                              else f"{{{q(x['name'])}, {{}}, {x['max']}}}" for x in r["labels"])
            out.append(f"{inline}constexpr std::array<MetricLabel, {len(r['labels'])}> kLabels{c}{{{{{items}}}}};")
        buckets = f"kBuckets{c}" if r.get("buckets") else "{}"
        labels = f"kLabels{c}" if r["labels"] else "{}"
        integral = r["type"] in ("counter", "updown") and r["unit"] != "seconds"
        specs.append(f"    {{{q(r['name'])}, MetricType::k{METRIC_TYPES[r['type']]}, {q(r['unit'])}, {q(r['help'])}, {buckets}, {labels}, {b(integral)}, "
                     f"{r.get('max_series', 2000)}, {r.get('max_series_per_tenant', 200)}}},")
    return out, specs


# The metrics of another service: one header, `<namespace>/metrics.h`, that needs no source file.
def cpp_foreign_metrics(namespace, path):
    rows = checked_metrics(json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["metrics"], "")
    tables, specs = metric_tables(rows, "inline ")
    out = [f"// Generated from {pathlib.Path(path).name} by generate_contracts.py. Do not edit.", "#pragma once", "", "#include <array>", "",
           f"#include {CATALOGUE}", "", f"namespace {namespace}::metrics {{", "namespace detail {",
           "using stella::contracts::MetricLabel, stella::contracts::MetricSpec, stella::contracts::MetricType;"]
    out += tables + [f"inline constexpr MetricSpec kMetrics[{len(rows)}] = {{"] + specs + ["};", "}  // namespace detail"]
    for i, r in enumerate(rows):
        constant = "k" + camel(r["name"].removeprefix(namespace + "_"))
        out.append(f"inline constexpr stella::contracts::{METRIC_TYPES[r['type']]}Def<{len(r['labels'])}> {constant}{{&detail::kMetrics[{i}]}};")
    return "\n".join(out + [f"}}  // namespace {namespace}::metrics", ""])


def cpp_tables():
    out = ["// Generated from contracts/events.json and contracts/metrics.json by tools/generate_contracts.py. Do not edit.",
           "#include <array>", "", f"#include {CATALOGUE}", '#include "stella/contracts/metrics.h"', "", "namespace stella::contracts {", "namespace {", ""]
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
    tables, specs = metric_tables(metrics())
    out += tables
    out += ["", "}  // namespace", "", "std::span<const EventKind> event_kinds() { return kEvents; }",
            "std::span<const DetailField> common_details() { return kCommon; }",
            "std::span<const MetricSpec> metric_specs() { return metrics::detail::kMetrics; }", "",
            f"constexpr MetricSpec metrics::detail::kMetrics[{len(specs)}] = {{"] + specs + ["};", "", "}  // namespace stella::contracts", ""]
    return "\n".join(out)


CPP = {"stella/contracts/errors.h": cpp_errors, "stella/contracts/events.h": cpp_events, "stella/contracts/scopes.h": cpp_scopes,
       "stella/contracts/settings.h": cpp_settings, "stella/contracts/job_kinds.h": cpp_jobs, "stella/contracts/metrics.h": cpp_metrics,
       "stella/contracts/workers.h": cpp_workers,
       "contracts_tables.cc": cpp_tables}


def field_maker(row, order):
    """One constructor f::<name>(value); returns (parameter, expression, template line or None)."""
    key, t = q(row["key"]), row["type"]
    make = f"telemetry::detail::FieldMaker::{{}}({key}, {order}, telemetry::Field::Kind::{{}}, {{}})"
    if t == "string":
        return "std::string_view v", make.format("text", "kText", "v"), None
    if t == "path":
        return "std::string_view v", make.format("text", "kPath", "v"), None
    if t == "pii":
        return "const Pii<std::string>& v", make.format("text", "kPii", "v.expose()"), None
    if t == "int":
        return "T v", make.format("integer", "kInt", "static_cast<std::int64_t>(v)"), "template <std::integral T>"
    if t == "bool":
        return "std::same_as<bool> auto v", make.format("integer", "kBool", "v"), None
    if t == "duration_us":
        return ("std::chrono::duration<Rep, Period> v",
                make.format("integer", "kInt", "std::chrono::duration_cast<std::chrono::microseconds>(v).count()"),
                "template <class Rep, class Period>")
    if t == "uuid":
        return "const Uuid& v", make.format("raw", "kUuid", "v.bytes()"), None
    if t == "sha256":
        return "const Sha256& v", make.format("raw", "kSha256", "v.bytes()"), None
    if t == "trace_id":
        return "const TraceId& v", make.format("raw", "kTraceId", "v.bytes()"), None
    if t == "span_id":
        return "const SpanId& v", make.format("raw", "kSpanId", "v.bytes()"), None
    kind, name = t.split(":")
    if kind == "id":
        return f"const {name}& v", make.format("raw", "kUuid", "v.uuid().bytes()"), None
    return f"const {name}& v", make.format("text", "kText", "v.str()"), None


def field_functions(rows, order_of):
    """f::<name>(value) of every field that a call site gives; refusals for Secret and Pii beside each."""
    out = ["// Given a Secret (or, for a field of another class than pii, a Pii), these do not compile and say why."]
    for r in rows:
        if r["source"] != "call" or r["name"] == "error_message":
            continue
        out.append(f"// {r['description']} Example: {r['example']}")
        if r["type"] == "error":
            out.append("// error_code, error_message, and the error's own fields under details.error.")
            out.append(f"inline telemetry::Field error(const Error& v) {{ return telemetry::detail::FieldMaker::error(\"error_code\", {order_of(r)}, v); }}")
            refused, name = ["Secret", "Pii"], "error"
        else:
            parameter, expression, template = field_maker(r, order_of(r))
            if template:
                out.append(template)
            out.append(f"inline telemetry::Field {r['name']}({parameter}) {{ return {expression}; }}")
            refused, name = (["Secret"] if r["type"] == "pii" else ["Secret", "Pii"]), r["name"]
        for wrapper in refused:
            out.append(f"template <class T>\ntelemetry::Field {name}(const {wrapper}<T>&) {{ return telemetry::detail::refuse_{wrapper.lower()}<T>(); }}")
    return out


FIELD_INCLUDES = ["<array>", "<chrono>", "<concepts>", "<cstdint>", "<string>", "<string_view>", "", '"stella/base/ids.h"', '"stella/telemetry/field.h"',
                  '"stella/telemetry/secret.h"']


def cpp_fields():
    rows = fields()
    order = {r["name"]: i for i, r in enumerate(rows)}
    body = ["namespace stella::telemetry::detail {", "// Places in a line that the encoder needs to know."]
    for name in ("trace_id", "error_code", "module", "detail", "stack"):
        body.append(f"inline constexpr std::uint8_t kOrder{camel(name)} = {order[name]};")
    body.append("// Keys by place: a record names a field by its place.")
    body.append(f"inline constexpr std::array<std::string_view, {len(rows)}> kFieldKeys{{{', '.join(q(r['key']) for r in rows)}}};")
    body += ["}  // namespace stella::telemetry::detail", "", "namespace stella::f {", ""]
    body += field_functions(rows, lambda r: order[r["name"]]) + ["", "}  // namespace stella::f"]
    return header("fields.json", FIELD_INCLUDES, body)


FOREIGN_FIELD = 255  # telemetry::kForeignField


# The fields of another service: they have no place among ours and go by their key.
def cpp_foreign_fields(namespace, path):
    rows = checked_fields(json.loads(pathlib.Path(path).read_text(encoding="utf-8"))["fields"])
    for r in rows:
        need(r["source"] == "call" and r["type"] != "error", f"{path}: {r['name']}: a service's own field is given by the call site and is no error")
        need(r["key"] not in OWN_KEYS and len(r["key"]) < 128, f"{path}: key {r['key']} is the library's own, or too long")
    body = [f"namespace {namespace}::f {{", "namespace telemetry = stella::telemetry;", "using namespace stella;", ""]
    body += field_functions(rows, lambda r: FOREIGN_FIELD) + ["", f"}}  // namespace {namespace}::f"]
    return header(pathlib.Path(path).name, FIELD_INCLUDES, body).replace("contracts/" + pathlib.Path(path).name, pathlib.Path(path).name)


# ---- the log line's schema -------------------------------------------------------------------------------------------------

def schema_of(row):
    t = row["type"]
    if t in ("int", "duration_us"):
        return {"type": "integer"}
    if t == "bool":
        return {"type": "boolean"}
    if t == "timestamp":
        return {"type": "string", "pattern": r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z$"}
    if t == "trace_id":
        return {"type": "string", "pattern": "^[0-9a-f]{32}$"}
    if t == "span_id":
        return {"type": "string", "pattern": "^[0-9a-f]{16}$"}
    if t == "sha256":
        return {"type": "string", "pattern": "^[0-9a-f]{64}$"}
    if t == "uuid" or t.startswith("id:"):
        return {"type": "string", "pattern": "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"}
    if t == "pii":
        return {"type": "string", "pattern": r"^\[[a-z_]+:[0-9a-f]{8}\]$"}
    if row["name"] == "level":
        return {"enum": ["trace", "debug", "info", "warn", "error"]}
    if row["name"] == "error_code":
        return {"enum": [e["wire"] for e in errors()]}
    return {"type": "string"}


def log_line_schema():
    properties, details = {}, {"error": {"type": "object", "additionalProperties": {"type": "string"}}}
    for r in fields():
        if "log" not in r["signals"]:
            continue
        if r["key"].startswith("details."):
            details[r["key"].removeprefix("details.")] = {**schema_of(r), "description": r["description"]}
        else:
            properties[r["key"]] = {**schema_of(r), "description": r["description"]}
    properties["details"] = {"type": "object", "properties": details, "additionalProperties": False}
    properties["truncated"] = {"const": True, "description": "Something was cut to keep the line within 64 KiB."}
    always = [r["key"] for r in fields() if r["when"] == "always" and "log" in r["signals"]]
    doc = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "StellaOps log line",
           "$comment": "Generated from contracts/fields.json by tools/generate_contracts.py. Do not edit.",
           "type": "object", "required": always, "anyOf": [{"required": ["request_id"]}, {"required": ["job_id"]}],
           "dependentRequired": {"error_code": ["error_message"], "run_id": ["job_id"]},
           "if": {"properties": {"level": {"const": "error"}}}, "then": {"required": ["error_code"]},
           "properties": properties, "additionalProperties": False}
    return json.dumps(doc, indent=2, ensure_ascii=False) + "\n"


# ---- reference pages -------------------------------------------------------------------------------------------------------

def cell(text):
    return str(text).replace("|", "\\|").replace("\n", " ")


def code(text):
    return f"`{cell(text)}`" if str(text) else ""


def table(heads, rows):
    lines = ["| " + " | ".join(heads) + " |", "|" + " --- |" * len(heads)]
    return lines + ["| " + " | ".join(r) + " |" for r in rows]


def page(title, source, intro, lines):
    return "\n".join([BANNER, "", f"# {title}", "", f"<!-- Generated from {source} by tools/generate_contracts.py docs. Do not edit. -->", "",
                      *intro, "", *lines]) + "\n"


def doc_errors():
    rows = [[code(r["wire"]), str(r["number"]), str(r["http"]), cell(r["title"]), cell(r["remedy"]), "yes" if r["retry"] else ""] for r in errors()]
    return page("Errors", "contracts/errors.json",
                ["Every error reply is `application/problem+json` with the stable `code` below and the `trace_id`. `stella` prints the same code;",
                 "log lines carry it as `error_code`. Codes and numbers never change once released."],
                table(["code", "number", "HTTP", "meaning", "what to do", "Retry-After"], rows))


def doc_events():
    doc = events()
    lines = ["## In every kind", "", *table(["detail", "type", "PII", "meaning"],
             [[code(d["name"]), d["type"], d["pii"], cell(d["description"])] for d in doc["common"]]), ""]
    for r in doc["events"]:
        outside = " May be sent through `POST /timeline`." if r["external"] else ""
        objects = f" Carries the digests of its {' and '.join(r['objects'])}." if r["objects"] else ""
        planned = f" Not emitted yet: {r['planned']}." if "planned" in r else ""
        lines += [f"## {r['kind']}", "", f"{r['description']} Resource: {', '.join(code(x) for x in r['resource_types'])}.{objects}{outside}{planned}", ""]
        if r["details"]:
            lines += table(["detail", "type", "required", "PII", "meaning"],
                           [[code(d["name"]), d["type"], "yes" if d["required"] else "", d["pii"], cell(d["description"])] for d in r["details"]]) + [""]
    return page("Timeline events", "contracts/events.json",
                ["The closed catalogue of event kinds. An event is `event_id, ts, tenant_id, project_id, kind, actor, resource_type, resource_id,",
                 "trace_id, details{}` as RFC 8785 JSON of at most 65,535 bytes. Details outside a kind's schema are refused."], lines[:-1])


def matrix():
    import event_matrix  # here: who uses the installed telemetry package has this generator for fields and metrics alone
    made = event_matrix.Matrix(CONTRACTS)
    problems = made.problems()
    need(not problems, "; ".join(problems))
    return made


def doc_event_matrix():
    """Both directions: a reader asks either what an operation leaves behind or where an event comes from."""
    m = matrix()
    kinds = lambda names: " ".join(code(x) for x in names)  # noqa: E731

    def emitters(kind, seen):
        """All kinds of job are one word."""
        found = [p for p in m.all() if kind in (p.events if seen else p.rare)]
        every = all(p in found for p in m.jobs)
        return ", ".join((["every job"] if every else []) + [p.label() for p in found if not every or p.sort != "job"])

    lines = ["## By event", ""]
    lines += table(["event", "digests of", "emitted by", "seldom by"],
                   [[code(k), " ".join(r["objects"]), "not yet: " + cell(r["planned"]) if "planned" in r else emitters(k, True),
                     emitters(k, False)] for k, r in m.kinds.items()])
    lines += ["", "## By operation", "", "Reading operations that leave an event behind stand here too; the others leave none.", ""]
    lines += table(["operation", "route", "emits", "seldom", "schedules"],
                   [[code(p.name), code(p.what), kinds(p.events) or cell(p.none), kinds(p.rare), kinds(p.jobs)]
                    for p in m.operations if p.changes or p.events or p.rare])
    lines += ["", "## By kind of job", ""]
    lines += table(["job", "emits", "seldom", "schedules"], [[code(p.name), kinds(p.events), kinds(p.rare), kinds(p.jobs)] for p in m.jobs])
    lines += ["", "## By command and background work", ""]
    lines += table(["who", "does", "actor", "emits", "seldom"],
                   [[cell(p.label()), cell(p.what), kinds(p.actors), kinds(p.events) or cell(p.none), kinds(p.rare)] for p in m.others])
    return page("Who emits which event", "contracts/events.json, openapi.yaml, jobs.json and producers.json",
                ["Every operation that changes something, and every event it may leave on the timeline. Nothing else may emit: the tests of the HTTP API compare",
                 "each event of a run with this table, and every event under `emits` is seen there. `seldom` is what no ordinary run provokes."], lines)


def doc_scopes():
    rows = [[code("stella:" + r["name"]), cell(r["description"]),
             ", ".join(x for x, on in (("`#tenant/<id>`", r["tenant"]), ("`#platform`", r["platform"])) if on)] for r in scopes()]
    return page("Scopes", "contracts/scopes.json",
                ["A token carries scopes as `stella:<service>:<action>#tenant/<id>` or `…#platform`. They match exactly; `*` never matches."],
                table(["scope", "allows", "granted as"], rows))


def doc_settings():
    rows = []
    for r in settings():
        span = f"{r['min']} – {r['max']}" if r["max"] else ""
        env = "STELLA_" + r["name"].upper().replace(".", "_")
        rows.append([code(r["name"]), r["type"], code(r["default"]), span, cell(r["description"]), code(env), "restart" if r["restart"] else "at once"])
    witness = [[code(r["name"]), r["type"], code(r["default"]), f"{r['min']} – {r['max']}" if r["max"] else "", cell(r["description"])] for r in settings("witness")]
    return page("Settings", "contracts/settings.json",
                ["Values come from the defaults, then one YAML file, then the environment. An unknown key is an error. Ranges of durations are in",
                 "milliseconds, of sizes in bytes."],
                table(["setting", "type", "default", "range", "meaning", "environment", "takes effect"], rows)
                + ["", "## Of a witness", "", "`stella-witness` (`stella witness`) reads one file and no environment: these, and of the above `env`, `region`, `instance_id`, `log.*` and",
                   "`telemetry.*`.", ""] + table(["setting", "type", "default", "range", "meaning"], witness))


def doc_metrics():
    rows = []
    for r in metrics():
        labels = "; ".join(f"`{x['name']}`: " + (", ".join(x["values"]) if x["kind"] == "enum" else f"{x['of']} (at most {x['max']})") for x in r["labels"])
        name = r["name"] + ("_total" if r["type"] == "counter" else "")
        buckets = ", ".join(f"{x:g}" for x in r.get("buckets", []))
        rows.append([code(name), r["type"], r["unit"], cell(r["help"]), cell(labels), buckets])
    return page("Metrics", "contracts/metrics.json",
                ["Served as OpenMetrics 1.0 at `/metrics`, with exemplars that carry `trace_id` and `span_id`. A label is an enum or a bounded set."],
                table(["metric", "type", "unit", "meaning", "labels", "buckets"], rows))


def doc_fields():
    rows = [[code(r["key"]), r["type"], r["pii"], r["source"], " ".join(r["signals"]), cell(r["when"]), cell(r["description"]), code(r["example"])]
            for r in fields()]
    return page("Fields of log lines and spans", "contracts/fields.json",
                ["Log lines are newline-delimited JSON, fields always in this order; [log-line.schema.json](log-line.schema.json) is their schema.",
                 "PII classes: `none`; `internal` is shown to the tenant alone; `pii` is masked by the library, e.g. `[email:7f3a91c2]`. A call site",
                 "gives a field as `f::<name>(value)`; tenant, trace, route and job come from the ambient context."],
                table(["field", "type", "PII", "source", "signals", "there", "meaning", "example"], rows))


def doc_jobs():
    rows = [[code(r["kind"]), str(r.get("revision", 1)), cell(r["description"]), code(r["span"]), " ".join(code(x) for x in r["params"]), " ".join(code(x) for x in r["inputs"]),
             " ".join(code(x) for x in r["outputs"]), f"{r['cpu_ms'] // 1000} s / {r['wall_ms'] // 1000} s", f"{r['memory_bytes'] >> 20} MiB"]
            for r in jobs()]
    return page("Job kinds", "contracts/jobs.json",
                ["Every job is a pure function over content-addressed objects, run in a sandboxed child with these limits. The revision counts the changes",
                 "of what that function makes of the same inputs: only a result of the same revision is given again without a run."],
                table(["kind", "revision", "does", "span", "parameters", "inputs", "outputs", "CPU / wall", "memory"], rows))


def doc_workers():
    threads, work = workers()
    on = {name: row["name"] for row in threads for name in row["work"]}
    return page("Background work", "contracts/workers.json",
                ["What works without a request or a job: each time it really does something, it is a root span of this name (with the tenant where it",
                 "has one, `count` of what it did, and its error), and is counted and timed as `worker` in `stella_background_*`. An idle look is none."],
                table(["span and `worker`", "does", "thread"], [[code(r["name"]), cell(r["description"]), code(on[r["name"]])] for r in work])
                + ["", "## Threads", "", "As `top -H` and a debugger name them."]
                + table(["thread", "of", "works for", "does"], [[code(r["name"]), cell(r["program"]), r["for"], cell(r["description"])] for r in threads]))


def doc_field_reviews():
    rows = [[code(r["key"]), r["pii"], cell(r["reviewed"])] for r in fields()]
    return page("Field reviews", "contracts/fields.json", ["Every telemetry field, its PII class, and who looked at it."],
                table(["field", "PII", "review"], rows))


def openapi_rows():
    """(method, path, summary, scope) of openapi.yaml."""
    import event_matrix
    path = CONTRACTS / "openapi.yaml"
    return [(method, template, *(keys.get(key, "").strip("\"'") for key in ("summary", "x-scope")))
            for method, template, keys in (event_matrix.declared(path.read_text(encoding="utf-8")) if path.exists() else [])]


def doc_api():
    rows = [[r[0], code(r[1]), cell(r[2]), code(r[3])] for r in openapi_rows()]
    return page("HTTP API", "contracts/openapi.yaml",
                ["Every route. Errors are `application/problem+json` (see [errors](errors.md)); every reply carries `x-trace-id` and",
                 "`Server-Timing: trace;desc=…`. Lists are `{\"items\": […], \"next_cursor\": …}`. The full description is `contracts/openapi.yaml`."],
                table(["method", "path", "does", "scope"], rows))


DOCS = {"reference/errors.md": doc_errors, "reference/events.md": doc_events, "reference/scopes.md": doc_scopes,
        "reference/settings.md": doc_settings, "reference/metrics.md": doc_metrics, "reference/fields.md": doc_fields,
        "reference/jobs.md": doc_jobs, "reference/workers.md": doc_workers, "reference/log-line.schema.json": log_line_schema, "security/field-reviews.md": doc_field_reviews}
if (CONTRACTS / "openapi.yaml").exists():
    DOCS["reference/api.md"] = doc_api
    DOCS["reference/event-matrix.md"] = doc_event_matrix


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
    if len(argv) == 3 and argv[1] == "fields":
        write(pathlib.Path(argv[2]) / "stella/telemetry/fields.h", cpp_fields())
        return 0
    if len(argv) == 5 and argv[1] == "metrics":
        write(pathlib.Path(argv[4]) / argv[2] / "metrics.h", cpp_foreign_metrics(argv[2], argv[3]))
        return 0
    if len(argv) == 5 and argv[1] == "service_fields":
        write(pathlib.Path(argv[4]) / argv[2] / "fields.h", cpp_foreign_fields(argv[2], argv[3]))
        return 0
    if len(argv) == 2 and argv[1] in ("docs", "check"):
        matrix()
    if len(argv) == 2 and argv[1] == "docs":
        for name, make in DOCS.items():
            write(ROOT / "docs" / name, make())
        return 0
    if len(argv) == 2 and argv[1] == "check":
        stale = [name for name, make in DOCS.items()
                 if not (ROOT / "docs" / name).exists() or (ROOT / "docs" / name).read_text(encoding="utf-8") != make()]
        for name in stale:
            print(f"docs/{name} does not fit contracts/: run tools/generate_contracts.py docs", file=sys.stderr)
        return 1 if stale else 0
    print(__doc__, file=sys.stderr)
    return 2


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv))
    except (Bad, KeyError, ValueError) as error:
        print(f"contracts: {error}", file=sys.stderr)
        sys.exit(1)
