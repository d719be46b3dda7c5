#!/usr/bin/env python3
"""Every route, every job kind and every kind of background work, on success and on failure: a span with the common fields, a log line that fits the schema, a golden-signal
observation with an exemplar of that entry, an authorization decision record, and an event where state changed. All of them, or it fails."""
import hashlib
import json
import os
import re
import signal
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "openapi"), os.path.join(ROOT, "tests", "rls"), os.path.join(ROOT, "tests", "platform")]

import line_schema  # noqa: E402
import validate  # noqa: E402
import workers  # noqa: E402
from api_matrix import routes  # noqa: E402
from client import Client  # noqa: E402
from report import Report  # noqa: E402
from signals import Signals, wait_for_rows  # noqa: E402
from stella_platform import Platform, binary  # noqa: E402

COMMON = ("service", "version", "env", "region", "instance_id", "tenant_id", "trace_id", "span_id")
# Requests that change nothing although they are no GET: every other success must be on the timeline.
NO_CHANGE = {"verify_evidence": "evidence.verified only of a stored bundle", "verify_attestation": "attestation.verified only of a stored statement"}
# Background work that goes on in the trace of who asked for it, and work that is each of one tenant.
CONTINUED = {"evidence.seal", "evidence.redact"}
OF_TENANTS = {"timeline.checkpoint", "timeline.expire", "evidence.seal", "evidence.redact", "evidence.renew", "evidence.lock", "evidence.dispose", "controls.expire"}
# The public routes with nothing to refuse: their failure is a request that the server does not take.
GARBAGE = b"GARBAGE, which no job kind can read\n"


class Quiet:
    """The requests are judged by tests/openapi; here they only have to be made."""

    def __init__(self):
        self.failed = 0

    def check(self, case, condition, why=""):
        return bool(condition)

    def ok(self, *_):
        pass

    fail = skip = ok


class Seen(validate.Api):
    """The operations of the API; keeps every reply's trace by operation and outcome."""

    def __init__(self, url):
        super().__init__(Quiet(), url)
        self.replies = {}

    def check(self, case, name, reply, expected):
        self.replies.setdefault(name, []).append((reply.status, reply.trace, reply.headers.get("idempotency-replayed") == "true"))
        return super().check(case, name, reply, expected)


def job_kinds():
    with open(os.path.join(ROOT, "contracts", "jobs.json"), encoding="utf-8") as f:
        return json.load(f)["jobs"]


def exercise(platform, admin):
    """Every documented reply of every operation, and one more failure for the routes that document none."""
    api = Seen(platform.url)
    validate.check_operations(api, platform, admin)
    for name, (method, path, operation) in api.operations.items():
        if any(status >= 400 for status, _, _ in api.replies[name]):
            continue
        # A body that no GET takes: refused before the handler.
        reply = Client(platform.url).request(method, api.place(name, {}), body=b"x", headers={"content-encoding": "br"})
        api.replies[name].append((reply.status, reply.trace, False))
    return api


class Entry:
    """One row of the route table with what was seen of it."""

    def __init__(self, row, replies):
        self.row, self.name = row, f"{row['method']} {row['path']}"
        self.good = [t for status, t, replay in replies if status < 400 and not replay]
        self.bad = [t for status, t, _ in replies if status >= 400]
        self.statuses = {f"{status // 100}xx" for status, _, _ in replies}


class Coverage:
    def __init__(self, platform, report, api, signals):
        self.platform, self.report, self.api, self.signals = platform, report, api, signals
        self.schema = line_schema.load(os.path.join(ROOT, "docs", "reference", "log-line.schema.json"))

    # ── what each trace must hold ──────────────────────────────────────────────────────────────────────────────────
    def span_of(self, entry, trace):
        spans = [s for s in self.signals.spans.get(trace, []) if s["name"] == "api." + entry.row["path"]]
        assert spans, f"trace {trace} has no span api.{entry.row['path']}: {[s['name'] for s in self.signals.spans.get(trace, [])]}"
        span = spans[0]
        attributes = span["attributes"]
        missing = [f for f in (*COMMON, "route", "method", "request_id", "http.response.status_code") if f not in attributes]
        assert not missing, f"{missing} missing in {attributes}"
        assert attributes["route"] == entry.row["path"] and attributes["method"] in (entry.row["method"], "HEAD") and span["kind"] == "server", span
        return span

    def line_of(self, entry, trace, span):
        lines = [one for one in self.signals.lines.get(trace, []) if one["span_id"] == span["span_id"] and one.get("route") == entry.row["path"] and "http.response.status_code" in one]
        assert lines, f"trace {trace} has no line of its request: {[one['message'] for one in self.signals.lines.get(trace, [])]}"
        problems = line_schema.errors(self.schema, lines[0])
        assert not problems, f"{problems} in {lines[0]}"
        return lines[0]

    def decision_of(self, entry, trace, span, line, effect):
        for what, record in (("span", span["attributes"]), ("line", line)):
            missing = [f for f in ("decision_effect", "decision_reason", "decision_id", "action") if not record.get(f)]
            assert not missing, f"the decision of {trace} lacks {missing} on its {what}: {record}"
        assert span["attributes"]["decision_id"] == line["decision_id"], f"two decisions of {trace}"
        if effect:
            assert line["decision_effect"] == effect, line
        scoped = entry.row["access"] not in ("kPublic", "kToken")
        known = line["decision_reason"] in ("scope granted", "missing scope", "token of another tenant", "valid token")
        if scoped and known:
            assert line.get("scope", "").startswith("stella:"), line
        if known:  # what a tenant's token was told is a row of that tenant
            rows = [d for d in self.signals.decisions.get(trace, []) if d["decision_id"] == line["decision_id"]]
            assert rows and rows[0]["decision_effect"] == line["decision_effect"], f"no row of decision {line['decision_id']}"

    def one_route(self, entry, traces, success):
        for trace in traces:
            span = self.span_of(entry, trace)
            line = self.line_of(entry, trace, span)
            self.decision_of(entry, trace, span, line, "allow" if success else None)
            if not success:
                assert line["level"] in ("warn", "error") and line.get("error_code"), line
                assert span["attributes"].get("error.type"), span
                assert (span["status"] == "error") == (line["http.response.status_code"] >= 500), span
        return f"{len(traces)} traces"

    def golden(self, entry):
        labels = {"method": entry.row["method"], "route": entry.row["path"]}
        wanted = set(entry.good + entry.bad)
        assert self.signals.total("stella_http_request_duration_seconds_count", **labels) > 0, "no observation"
        found = self.signals.exemplars("stella_http_request_duration_seconds_bucket", **labels)
        assert found, "no exemplar"
        assert found & wanted or all(self.is_of(entry, t) for t in found), f"exemplars {found} are of no trace of this route"
        for status in sorted(entry.statuses):
            assert self.signals.total("stella_http_requests_total", status=status, **labels) > 0, f"no count of {status}"

    def is_of(self, entry, trace):
        return any(s["name"] == "api." + entry.row["path"] for s in self.signals.spans.get(trace, []))

    def changes(self, entry):
        told = [t for t in entry.good if self.signals.events.get(t)]
        assert told, f"no success of it is on the timeline: {entry.good}"
        return f"{len(told)} of {len(entry.good)} with events"

    def route(self, row):
        entry = Entry(row, self.api.replies.get(row["handler"], []))
        run = self.report.run
        if not self.report.check(f"{entry.name}: exercised on success and on failure", entry.good and entry.bad, f"{len(entry.good)} good, {len(entry.bad)} bad: teach tests/openapi/validate.py"):
            return
        run(f"{entry.name}: success has span, line and decision", self.one_route, entry, entry.good, True)
        run(f"{entry.name}: failure has span, line and decision", self.one_route, entry, entry.bad, False)
        run(f"{entry.name}: golden signals with an exemplar", self.golden, entry)
        if row["method"] != "GET" and row["handler"] not in NO_CHANGE:
            run(f"{entry.name}: its change is on the timeline", self.changes, entry)

    # ── jobs ───────────────────────────────────────────────────────────────────────────────────────────────────────
    def job(self, kind, rows, good):
        name, outcome = kind["kind"], "success" if good else "failure"
        case = f"job {name}: {outcome}"
        if not self.report.check(f"{case} exercised", bool(rows), "no such job ran"):
            return
        self.report.run(f"{case} has its spans", self.job_spans, kind, rows, good)
        self.report.run(f"{case} has its lines", self.job_lines, kind, rows, good)
        self.report.run(f"{case} is on the timeline", self.job_events, rows, good)
        self.report.run(f"{case} was authorized", self.job_decisions, rows)
        self.report.run(f"{case} counted, with an exemplar", self.job_metrics, kind, rows, good)

    def job_spans(self, kind, rows, good):
        for row in rows:
            spans = [s for s in self.signals.spans.get(row["trace_id"], []) if s["attributes"].get("job_id") == row["job_id"]]
            names = {s["name"] for s in spans}
            wanted = {"orchestrator.finish"} if row["cached"] else {"orchestrator.schedule", "runner.execute", kind["span"], "orchestrator.finish"}
            assert wanted <= names, f"{wanted - names} missing of job {row['job_id']}"
            for span in spans:
                missing = [f for f in (*COMMON, "job_id") if f not in span["attributes"]]
                assert not missing, f"{missing} missing in {span}"
                assert span["attributes"]["tenant_id"] == row["tenant_id"], span
            by_id = {s["span_id"]: s for s in self.signals.spans[row["trace_id"]]}
            if not row["cached"]:
                execute = next(s for s in spans if s["name"] == "runner.execute")
                assert by_id[execute["parent_span_id"]]["name"] == "orchestrator.schedule", "runner.execute does not continue the schedule span"
                assert execute["kind"] == "consumer" and execute["attributes"]["job_kind"] == kind["kind"], execute
                assert any(by_id.get(s["parent_span_id"], {}).get("name") == "runner.execute" for s in spans if s["name"] == "orchestrator.finish"), "the end does not continue the run"
                assert (execute["status"] == "error") != good, execute
                if not good:
                    assert execute["attributes"].get("error_code"), execute
        return f"{len(rows)} jobs"

    def job_lines(self, kind, rows, good):
        for row in rows:
            lines = [one for one in self.signals.lines.get(row["trace_id"], []) if one.get("job_id") == row["job_id"] and one.get("job_kind") == kind["kind"]]
            ends = [one for one in lines if one["module"] == "orchestrator" and one["message"] in ("job ended", "job ended without a result")]
            assert ends, f"no line of the end of job {row['job_id']}: {[one['message'] for one in lines]}"
            assert (ends[-1]["level"] == "info") == good and ends[-1]["tenant_id"] == row["tenant_id"], ends[-1]
            for one in lines:
                problems = line_schema.errors(self.schema, one)
                assert not problems, f"{problems} in {one}"

    def job_events(self, rows, good):
        for row in rows:
            kinds = set(self.signals.events.get(row["trace_id"], []))
            wanted = {"job.finished"} if good else {"job.failed"}
            assert wanted <= kinds, f"{wanted - kinds} missing for job {row['job_id']}: {sorted(kinds)}"
            assert row["cached"] or "job.started" in kinds, f"job.started missing for {row['job_id']}"

    def job_decisions(self, rows):
        for row in rows:
            assert any(d["kind"] == "authz" and d["decision_effect"] == "allow" for d in self.signals.decisions.get(row["trace_id"], [])), f"nothing says who may have asked for job {row['job_id']}"

    def job_metrics(self, kind, rows, good):
        name = kind["kind"]
        outcomes = ("finished", "cached") if good else ("failed", "dead_lettered")
        assert sum(self.signals.total("stella_jobs_total", kind=name, outcome=o) for o in outcomes) > 0, f"no count of {outcomes}"
        found = self.signals.exemplars("stella_job_duration_seconds_bucket", kind=name)
        mine = {r["trace_id"] for r in self.platform.sql(f"SELECT DISTINCT trace_id FROM jobs WHERE kind = '{name}'")}
        assert found and found <= mine, f"exemplars {found} are of no trace of this kind"
        if good and kind["journey"]:
            assert self.signals.total("stella_journey_duration_seconds_count", journey=kind["journey"]) > 0, "the journey was not measured"
            assert self.signals.exemplars("stella_journey_duration_seconds_bucket", journey=kind["journey"]), "the journey has no exemplar"

    # ── work that nobody asked for ─────────────────────────────────────────────────────────────────────────────────
    def work(self, row):
        """Every span of it a root (or the child of the request that it continues), with its tenant, count and status; counted and timed."""
        spans = [s for of_trace in self.signals.spans.values() for s in of_trace if s["name"] == row["name"]]
        if not spans and row["rare"]:
            return f"not seen: {row['rare']}"
        assert spans, f"no span {row['name']}"
        for span in spans:
            missing = [f for f in (*COMMON, "count") if f not in span["attributes"]]
            assert not missing, f"{missing} missing in {span}"
            assert span["status"] == ("error" if "error_code" in span["attributes"] else "ok"), span
            assert span["parent_span_id"] == "" or row["name"] in CONTINUED, f"not a root: {span}"
            if row["name"] in OF_TENANTS:
                assert span["attributes"]["tenant_id"] != "", span
        done = [s for s in spans if s["status"] == "ok" and s["attributes"]["count"] > 0]
        assert done, f"it never did anything: {spans[0]}"
        assert self.signals.total("stella_background_runs_total", worker=row["name"], outcome="done") > 0, "not counted"
        assert self.signals.total("stella_background_items_total", worker=row["name"]) > 0, "nothing dealt with"
        found = self.signals.exemplars("stella_background_duration_seconds_bucket", worker=row["name"])
        assert found, "no exemplar"
        assert all(any(s["name"] == row["name"] for s in self.signals.spans.get(t, [])) for t in found), f"exemplars {found} are of other traces"
        return f"{len(spans)} spans, {len(done)} of them did something"

    def thread_names(self):
        """Every thread of our programs has the name that workers.json gives it; those of libraries keep the one of who started them."""
        known = {row["name"] for row in workers.declared(ROOT)["threads"]}
        seen = {}
        for part in ("stellad", "runner"):
            tasks = f"/proc/{self.platform.procs[part].pid}/task"
            for task in os.listdir(tasks):
                with open(os.path.join(tasks, task, "comm"), encoding="utf-8") as f:
                    name = f.read().strip()
                seen[name] = seen.get(name, 0) + 1
        strangers = set(seen) - known - {"stella-runner"}
        assert not strangers, f"{strangers} are in no row of workers.json"
        missing = {row["name"] for row in workers.declared(ROOT)["threads"] if row["program"].startswith("stella") and row["for"] == "background"} - set(seen) - {"cosigner"}
        assert not missing, f"{missing} do not run"
        return ", ".join(f"{n} {name}" for name, n in sorted(seen.items()))

    # ── all of it ──────────────────────────────────────────────────────────────────────────────────────────────────
    def policy(self):
        """Each decision of a policy: its version, its rules and its figures on a span and a line of the evaluation's trace."""
        rows = self.platform.sql("SELECT decision_id, trace_id, policy_version, decision_effect FROM decisions WHERE kind = 'evaluation'")
        assert rows
        for row in rows:
            spans = [s for s in self.signals.spans.get(row["trace_id"], []) if s["attributes"].get("decision_id") == row["decision_id"]]
            lines = [one for one in self.signals.lines.get(row["trace_id"], []) if one.get("decision_id") == row["decision_id"]]
            assert spans and lines, f"policy decision {row['decision_id']} is on {len(spans)} spans and {len(lines)} lines"
            for record in (spans[0]["attributes"], lines[0]):
                missing = [f for f in ("policy_version", "rule_ids", "decision_summary", "decision_effect", "decision_reason") if f not in record]
                assert not missing, f"{missing} missing in {record}"
                assert record["policy_version"] == row["policy_version"] and record["decision_effect"] == row["decision_effect"], record
        return f"{len(rows)} decisions"

    def lines_fit(self):
        wrong = [(p, one) for one in self.signals.all_lines for p in line_schema.errors(self.schema, one)]
        assert not wrong, f"{len(wrong)} problems, the first: {wrong[0]}"
        return f"{len(self.signals.all_lines)} lines"

    def saturation(self):
        for name, labels in (("stella_http_requests_in_flight", {}), ("stella_http_queue_depth", {}), ("stella_pg_pool_connections", {"state": "busy"}), ("stella_pg_pool_connections", {"state": "idle"}),
                             ("stella_jobs_queued", {}), ("stella_jobs_running", {}), ("stella_telemetry_queue_depth", {}), ("stella_process_cpu_seconds_total", {}),
                             ("stella_process_resident_memory_bytes", {})):
            assert self.signals.series(name, **labels), f"{name}{labels} is not there"

    def run(self, good, bad):
        kinds = job_kinds()
        for row in routes():
            self.route(row)
        for kind in kinds:
            self.job(kind, [r for r in good if r["kind"] == kind["kind"]], True)
            self.job(kind, [r for r in bad if r["kind"] == kind["kind"]], False)
        for row in workers.declared(ROOT)["work"]:
            self.report.run(f"work {row['name']}: root span, count and exemplar", self.work, row)
        self.report.run("every thread has its name", self.thread_names)
        self.report.run("policy decisions", self.policy)
        self.report.run("every line fits the schema", self.lines_fit)
        self.report.run("saturation is measured", self.saturation)


def failing_jobs(platform):
    """For each kind a finished job once more, with inputs that nothing can read and without its parameters: the same way from the row on."""
    admin = platform.client("admin")
    put = admin.post("/sboms?wait=60", GARBAGE, headers={"content-type": "application/json"})
    digest = hashlib.sha256(GARBAGE).hexdigest()
    path = platform.object_path("acme", digest)
    assert path, f"the garbage was not stored: {put}"
    made = []
    for kind in job_kinds():
        job = str(uuid.uuid4())
        platform.execute(
            "INSERT INTO jobs (tenant_id, job_id, project_id, kind, state, engine_version, params, inputs, idempotency_sha256, resource_type, resource_id, requested_by, traceparent, trace_id, max_attempts) "
            f"SELECT 'acme', '{job}', project_id, kind, 'queued', engine_version, '{{}}', (SELECT jsonb_agg(jsonb_build_object('name', i->>'name', 'sha256', '{digest}', 'tenant', 'acme')) FROM jsonb_array_elements(inputs) i), "
            f"sha256('{job}'::bytea), resource_type, resource_id, requested_by, traceparent, trace_id, 1 FROM jobs "
            f"WHERE kind = '{kind['kind']}' AND state = 'finished' AND cached_from IS NULL ORDER BY tenant_id, created_at LIMIT 1")
        made.append(job)
    listed = ", ".join(f"'{j}'" for j in made)
    ended = lambda: platform.sql(f"SELECT count(*) AS n FROM jobs WHERE job_id IN ({listed}) AND state IN ('failed', 'dead', 'finished')")[0]["n"] == len(made)
    validate.wait_for(ended)
    return platform.sql(f"SELECT tenant_id, job_id, kind, state, trace_id, cached_from IS NOT NULL AS cached FROM jobs WHERE job_id IN ({listed}) AND state IN ('failed', 'dead')")


OLD = "a" * 32


def age(platform):
    """A row of telemetry that is older than any retention: the first round of that is a minute after the start."""
    platform.execute("INSERT INTO telemetry_spans (tenant_id, trace_id, span_id, name, kind, service, start_ts, end_ts, status, attributes) "
                     f"VALUES ('platform', '{OLD}', '{OLD[:16]}', 'old', 'internal', 'stellad', now() - interval '3000 days', now() - interval '3000 days', 'ok', '{{}}')")


def settle(platform, client):
    """Until nothing waits: no old row, no job, no event, and the last request's own span is a row."""
    validate.wait_for(lambda: not platform.sql(f"SELECT 1 FROM telemetry_spans WHERE trace_id = '{OLD}'"), 120)
    validate.wait_for(lambda: platform.sql("SELECT (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')) + (SELECT count(*) FROM timeline_outbox) AS n")[0]["n"] == 0)
    wait_for_rows(platform, client)


def hangup(platform, client):
    """As logrotate does it: the old file keeps what it has, the new one gets what comes."""
    for part, name in (("stellad", "stellad.log"), ("runner", "runner.log")):
        path = platform.path("log", name)
        os.rename(path, path + ".1")
        platform.procs[part].send_signal(signal.SIGHUP)
    validate.wait_for(lambda: client.get("/me") and os.path.exists(platform.path("log", "stellad.log")) and os.path.getsize(platform.path("log", "stellad.log")) > 0)
    trace = client.get("/me").trace
    validate.wait_for(lambda: trace in open(platform.path("log", "stellad.log"), encoding="utf-8").read())
    assert trace in open(platform.path("log", "stellad.log"), encoding="utf-8").read(), "lines still go to the renamed file"


def propagation(platform, client):
    """From the header of a request over row, message, runner and child to the end of the job and onto the topic: one trace, and its state."""
    trace, parent = uuid.uuid4().hex, "1" * 16
    with open(os.path.join(ROOT, "samples", "sbom.cdx.json"), "rb") as f:
        body = f.read().replace(b"1.4.0", b"1.4.9")
    reply = client.request("POST", "/sboms?wait=60", body, {"content-type": "application/json", "traceparent": f"00-{trace}-{parent}-01", "tracestate": "vendor=1,other=2"})
    assert reply.trace == trace, reply.headers
    timing = re.match(r'trace;desc="00-([0-9a-f]{32})-([0-9a-f]{16})-0[0-3]"', reply.headers["server-timing"])
    assert timing and timing[1] == trace, reply.headers
    found = lambda: {s["name"]: s for s in platform.sql(f"SELECT name, span_id, parent_span_id, tenant_id FROM telemetry_spans WHERE trace_id = '{trace}'")}
    validate.wait_for(lambda: {"api./sboms", "orchestrator.schedule", "runner.execute", "orchestrator.finish"} <= set(found()))
    spans = found()
    assert spans["api./sboms"]["parent_span_id"] == parent and spans["api./sboms"]["span_id"] == timing[2], spans
    for child, above in (("orchestrator.schedule", "api./sboms"), ("runner.execute", "orchestrator.schedule"), ("orchestrator.finish", "runner.execute")):
        assert spans[child]["parent_span_id"] == spans[above]["span_id"], f"{child} is not below {above}: {spans}"
    assert {s["tenant_id"] for s in spans.values()} == {"acme"}, spans
    validate.wait_for(lambda: platform.sql("SELECT count(*) AS n FROM timeline_outbox")[0]["n"] == 0)
    for table in ("jobs", "timeline_log"):
        where = f"trace_id = '{trace}'" if table == "jobs" else f"position('{trace}' in traceparent) > 0"
        states = {r["tracestate"] for r in platform.sql(f"SELECT tracestate FROM {table} WHERE {where}")}
        assert states and all("vendor=1" in s and "other=2" in s for s in states), f"{table}: {states}"
    # Nobody we know: restarted and linked; neither his ids nor his state are taken over.
    stranger = Client(platform.url).request("GET", "/sboms", headers={"traceparent": f"00-{uuid.uuid4().hex}-{parent}-01", "tracestate": "vendor=1"})
    bad = client.request("GET", "/sboms", headers={"traceparent": f"00-{trace}-{parent}-01", "authorization": "Bearer x.y.z"}, token=None)
    for reply in (stranger, bad):
        assert reply.status == 401 and reply.trace != trace, reply
        validate.wait_for(lambda: platform.sql(f"SELECT 1 FROM telemetry_spans WHERE trace_id = '{reply.trace}'"))
        row = platform.sql(f"SELECT links, parent_span_id FROM telemetry_spans WHERE trace_id = '{reply.trace}'")[0]
        assert parent in json.dumps(row["links"]) and row["parent_span_id"] == "", row
    timeline = [s for s in platform.sql("SELECT links FROM telemetry_spans WHERE name = 'timeline.index'") if trace in json.dumps(s["links"])]
    assert timeline, "no timeline.index span links to the trace"


def sampling(platform, client):
    """A tenant at 0: what goes well is forgotten, what fails is kept and says why; other tenants notice nothing."""
    def spans(c):
        return c.get("/obs/trace/" + c.get("/projects").trace).json.get("spans", [])

    other = platform.client("beta-admin")
    assert client.request("PATCH", "/obs/settings/telemetry", {"sampling": 0}).status == 200
    validate.wait_for(lambda: not spans(client), 20)
    assert not spans(client) and spans(other), "the rate is not in force, or for everybody"
    failed = client.post("/sboms?wait=60", b'{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"fails":"here"}]', headers={"content-type": "application/json"})
    assert failed["state"] == "rejected", failed
    reasons = lambda: {s["name"]: s["attributes"].get("sampling.reason") for s in client.get("/obs/trace/" + failed.trace).json.get("spans", [])}
    validate.wait_for(lambda: "orchestrator.finish" in reasons(), 20)
    assert reasons().get("orchestrator.finish") == "error" and reasons().get("runner.execute") == "error", reasons()
    assert client.request("PATCH", "/obs/settings/telemetry", {"sampling": None}).status == 200
    validate.wait_for(lambda: spans(client), 20)
    assert spans(client), "the deployment's rate does not hold again"
    return ", ".join(f"{k}: {v}" for k, v in sorted(reasons().items()))


def deep_debug_ends(_, client):
    reply = client.request("PATCH", "/obs/settings/telemetry", {"levels": {"runner": "trace"}, "temporary_levels": {"levels": {"web": "debug"}, "ttl_seconds": 1}, "sampling": 1, "deep_debug": {"classes": ["ip"], "ttl_seconds": 1, "reason": "a test"}})
    assert reply.status == 200, reply
    kinds = lambda kind: len(client.all("/timeline?kind=" + kind))
    ended, changed = kinds("deep_debug.expired"), kinds("config.changed")
    validate.wait_for(lambda: kinds("deep_debug.expired") > ended, 20)  # by itself, after its second
    assert kinds("config.changed") and kinds("deep_debug.enabled") and kinds("deep_debug.expired") > ended
    validate.wait_for(lambda: kinds("config.changed") > changed, 20)  # so does a level for a time
    assert kinds("config.changed") > changed
    held = client.get("/obs/settings/telemetry")
    assert held["deep_debug"] is None and held["temporary_levels"] == {}, held


def main():
    report = Report("telemetry coverage")
    if binary("stellad", required=False) is None or binary("stella-runner", required=False) is None:
        report.skip("coverage", "stellad and stella-runner are not built")
        report.end()
    with Platform(settings={"jobs.max_attempts": 2, "jobs.backoff": "10ms"}) as platform:
        admin = platform.client("admin")
        age(platform)
        api = exercise(platform, admin)
        good = platform.sql("SELECT tenant_id, job_id, kind, state, trace_id, cached_from IS NOT NULL AS cached FROM jobs WHERE state = 'finished'")
        bad = failing_jobs(platform)
        report.run("deep debug ends by itself, with its event", deep_debug_ends, platform, admin)
        settle(platform, admin)
        Coverage(platform, report, api, Signals(platform).read(admin)).run(good, bad)
        report.run("one trace from the header to the topic", propagation, platform, admin)
        report.run("SIGHUP opens the log file anew", hangup, platform, admin)
        report.run("a tenant's sampling, and what is kept all the same", sampling, platform, admin)
    report.end()


if __name__ == "__main__":
    main()
