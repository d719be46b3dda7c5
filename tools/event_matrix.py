"""Who may put which event on the timeline, as the catalogues declare it: the operations of contracts/openapi.yaml (`x-events`, `x-events-rare`,
`x-events-none`, `x-jobs`), the kinds of jobs.json (`events`, `events_rare`, `jobs`) and producers.json. `x-events` are seen in the tests of the API
(tests/openapi), `x-events-rare` may be. tools/generate_contracts.py checks it and makes the table of the docs; tests/openapi/events.py compares it
with what a running platform emits. Standard library only."""
import json
import re

CHANGES = ("POST", "PUT", "PATCH", "DELETE")
OBJECTS = ("inputs", "outputs")


class Producer:
    """`events` must be seen, `rare` may be; `jobs` are the kinds of job that it schedules."""

    def __init__(self, sort, name, what, events=(), rare=(), jobs=(), none="", actors=(), method=""):
        self.sort, self.name, self.what, self.none, self.method = sort, name, what, none, method
        self.changes = method in CHANGES  # an operation that changes something
        self.events, self.rare, self.jobs, self.actors = list(events), list(rare), list(jobs), list(actors)

    def may(self, kind):
        return kind in self.events or kind in self.rare

    def label(self):
        return f"{self.sort} `{self.name}`" if self.sort == "job" else f"`{self.name}`" if self.sort in ("operation", "command") else self.name


def _listed(text):
    return [part.strip().strip("\"'") for part in text.strip().strip("[]").split(",") if part.strip()]


def declared(text):
    """(method, path, keys) of each operation of openapi.yaml, keys by name and as written. Python has no YAML in its standard library; the file is
    written in one layout: paths at two blanks, methods at four, their keys at six."""
    out, template, inside = [], "", False
    for line in text.splitlines():
        if re.match(r"\S", line):
            inside = line.startswith("paths:")
        elif not inside:
            continue
        elif m := re.fullmatch(r"  [\"']?(/[^\"':]*(?::[^\"':]+)*)[\"']?:\s*", line):
            template = m[1]
        elif m := re.fullmatch(r"    (get|put|post|delete|patch|head|options):\s*", line):
            out.append((m[1].upper(), template, {}))
        elif out and (m := re.fullmatch(r"      ([A-Za-z-]+):\s*(.*)", line)):
            out[-1][2][m[1]] = m[2].strip()
    return out


def operations(text):
    return [Producer("operation", keys.get("operationId", ""), f"{method} {path}", _listed(keys.get("x-events", "")), _listed(keys.get("x-events-rare", "")),
                     _listed(keys.get("x-jobs", "")), keys.get("x-events-none", "").strip("\"'"), method=method) for method, path, keys in declared(text)]


class Matrix:
    def __init__(self, contracts):
        def read(name):
            return json.loads((contracts / name).read_text(encoding="utf-8"))
        self.kinds = {row["kind"]: row for row in read("events.json")["events"]}
        jobs = read("jobs.json")
        self.every_job = jobs.get("every_kind", {})
        common, rare = self.every_job.get("events", []), self.every_job.get("events_rare", [])
        self.operations = operations((contracts / "openapi.yaml").read_text(encoding="utf-8"))
        self.jobs = []
        for row in jobs["jobs"]:
            own = row.get("events")
            seen = [] if own is None else list(common) + list(own)
            self.jobs.append(Producer("job", row["kind"], row["description"], seen, [k for k in list(rare) + row.get("events_rare", []) if k not in seen],
                                      row.get("jobs", []), "" if own is not None else None))
        self.others = [Producer(r["kind"], r["name"], r["description"], r["events"], r["events_rare"], (), r.get("none", ""), r["actors"])
                       for r in read("producers.json")["producers"]]

    def all(self):
        return self.operations + self.jobs + self.others

    def of(self, kind):
        return [p for p in self.all() if p.may(kind)]

    def problems(self):
        """What is forgotten or wrong, each with its name."""
        out = []
        known = {p.name for p in self.jobs}
        for p in self.all():
            where = f"{p.sort} {p.name}"
            silent = not p.events and not p.rare
            if p.sort == "job" and p.none is None:
                out.append(f"jobs.json: {p.name}: events is missing: which events a job of this kind emits")
            elif p.sort == "operation" and silent and not p.none and p.changes:
                out.append(f"openapi.yaml: {p.name} ({p.what}) changes state: declare x-events, or x-events-none with the reason")
            elif p.sort not in ("job", "operation") and silent and not p.none:
                out.append(f"producers.json: {p.name}: declare events, or none with the reason")
            if p.none and not silent:
                out.append(f"{where}: events and a reason for having none")
            for kind in p.events + p.rare:
                if kind not in self.kinds:
                    out.append(f"{where}: {kind} is not in events.json")
            for kind in set(p.events) & set(p.rare):
                out.append(f"{where}: {kind} is both seen and rare")
            for job in p.jobs:
                if job not in known:
                    out.append(f"{where}: {job} is not in jobs.json")
            if p.jobs and "job.scheduled" not in p.events + p.rare:
                out.append(f"{where} schedules jobs: job.scheduled belongs to its events")
        scheduled = {job for p in self.all() for job in p.jobs}
        out += [f"jobs.json: {name}: nobody schedules it (x-jobs, jobs)" for name in sorted(known - scheduled)]
        for kind, row in self.kinds.items():
            if self.of(kind) and "planned" in row:
                out.append(f"events.json: {kind} is planned and has a producer: remove `planned`")
            elif not self.of(kind) and not row.get("planned"):
                out.append(f"events.json: {kind}: nobody emits it: declare a producer, or say in `planned` what it waits for")
            if not isinstance(row.get("objects"), list) or not set(row["objects"]) <= set(OBJECTS):
                out.append(f"events.json: {kind}: objects says whether such an event consumes (inputs) or produces (outputs) objects; [] for neither")
        return out
