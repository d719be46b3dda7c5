"""The independent eye after a chaos run: rows as superuser, object files, nothing of the product's own code.

check(platform, acknowledged, heads, old) -> list of problems. What it proves: nothing acknowledged is lost or doubled, every job ended, one event per
transition, log indexes without gaps but those that a disposition made, order per resource, every tree root ever shown or signed recomputed from the
entries, every object is what its name says.
"""
import hashlib
import os
import re
import time
from collections import Counter, defaultdict

from decisions_checker import check_decisions
from log_checker import check_deployment, check_logs

ENDED = ("finished", "failed", "cancelled", "dead")


def lasting(look, seconds=10):
    """The problems that look() still sees in the end: an event of the platform (a part is back) may come between two of its queries."""
    deadline = time.monotonic() + seconds
    while (problems := look()) and time.monotonic() < deadline:
        time.sleep(0.5)
    return problems


def check(p, acknowledged, heads, old=None):
    return lasting(lambda: check_once(p, acknowledged, heads, old))


def check_once(p, acknowledged, heads, old):
    problems = []
    say = problems.append
    sql = p.sql
    entries = check_logs(sql, heads, say, old, p.path("objects"))
    check_deployment(p, say)
    check_jobs(sql, entries, say)
    check_resources(sql, entries, say)
    check_acknowledged(sql, acknowledged, entries, say)
    check_decisions(sql, acknowledged, entries, say)
    check_order(entries, say)
    check_objects(p, say)
    return problems


def check_jobs(sql, entries, say):
    jobs = sql("SELECT tenant_id, job_id, kind, state, attempt, cached_from, outputs, trace_id, resource_id FROM jobs")
    runs = sql("SELECT tenant_id, job_id, attempt, state FROM runs")
    seen = Counter((e["kind"], e["resource_id"]) for log in entries.values() for e in log if e["resource_type"] == "job")
    started = Counter(r["job_id"] for r in runs)
    attested = Counter((a["job_id"], a["sha"]) for a in sql(
        "SELECT f.job_id, encode(a.subject_digest, 'hex') AS sha FROM attestation_facts f JOIN attestations a ON a.tenant_id = f.tenant_id AND a.id = f.attestation_id"))
    for job in jobs:
        name, state = f"{job['kind']} {job['job_id']}", job["state"]
        if state not in ENDED:
            say(f"{name} did not end: {state}")
        if state == "dead":
            say(f"{name} is a dead letter")
        count = lambda kind: seen[("job." + kind, job["job_id"])]
        wanted = {"scheduled": 1, "finished": int(state == "finished"), "failed": int(state in ("failed", "dead")), "dead_lettered": int(state == "dead"),
                  "started": started[job["job_id"]]}
        for kind, n in wanted.items():
            if count(kind) != n:
                say(f"{name} ({state}): {count(kind)} events job.{kind} instead of {n}")
        # Outputs of one job may share bytes: one attestation per distinct output at least, never two of one.
        outputs = Counter(o["sha256"] for o in job["outputs"] or []) if state == "finished" else {}
        for digest, n in outputs.items():
            if attested[(job["job_id"], digest)] != n:
                say(f"{name}: {attested[(job['job_id'], digest)]} attestations of output {digest[:12]} instead of {n}")
    for run in runs:
        if run["state"] == "running":
            say(f"run of {run['job_id']} attempt {run['attempt']} did not end")
    for (job, attempt), n in Counter((r["job_id"], r["attempt"]) for r in runs).items():
        if n != 1:
            say(f"{n} runs of {job} attempt {attempt}")


# table, id column, event resource type, {state: {event kind: count}}
TRANSITIONS = [
    ("sboms", "sbom_id", "sbom", {"computed": {"sbom.received": 1, "sbom.computed": 1, "sbom.rejected": 0}, "rejected": {"sbom.received": 1, "sbom.computed": 0, "sbom.rejected": 1}}),
    ("evaluations", "evaluation_id", "evaluation", {"finished": {"policy.evaluated": 1}}),
    ("exports", "export_id", "export", {"created": {"export.requested": 1, "export.created": 1, "export.failed": 0}}),
    ("evidence_snapshots WHERE derived_from IS NULL", "bundle_id", "bundle", {"sealed": {"evidence.snapshot": 1, "evidence.signed": 1, "evidence.sealed": 1}}),
]


def check_resources(sql, entries, say):
    seen = Counter((e["resource_type"], e["resource_id"], e["kind"]) for log in entries.values() for e in log)
    for table, column, kind, states in TRANSITIONS:
        for row in sql(f"SELECT {column} AS id, state FROM {table}"):
            if row["state"] not in states:
                say(f"{kind} {row['id']} is {row['state']}")
                continue
            for event, n in states[row["state"]].items():
                if seen[(kind, row["id"], event)] != n:
                    say(f"{kind} {row['id']}: {seen[(kind, row['id'], event)]} events {event} instead of {n}")
    linked = Counter((e["kind"], e["details"].get("evaluation_id")) for log in entries.values() for e in log if e["kind"] in ("advisory.linked", "vex.reconciled"))
    decided = Counter(d["evaluation_id"] for d in sql("SELECT evaluation_id FROM decisions WHERE kind = 'evaluation'"))
    found = {f["evaluation_id"]: f["n"] for f in sql("SELECT evaluation_id, count(*) AS n FROM findings GROUP BY 1")}
    for row in sql("SELECT evaluation_id, counts FROM evaluations WHERE state = 'finished'"):
        i = row["evaluation_id"]
        for kind in ("advisory.linked", "vex.reconciled"):
            if linked[(kind, i)] != 1:
                say(f"evaluation {i}: {linked[(kind, i)]} events {kind}")
        if decided[i] != 1:
            say(f"evaluation {i}: {decided[i]} decisions")
        if found.get(i, 0) != row["counts"]["findings"]:
            say(f"evaluation {i}: {found.get(i, 0)} findings, its counts say {row['counts']['findings']}")


# Two evaluations of an SBOM were asked for, one after the other.
NTH = "sbom_id || ' ' || row_number() OVER (PARTITION BY sbom_id ORDER BY requested_at) - 1"


def check_acknowledged(sql, acknowledged, entries, say):
    """acknowledged: {"sboms": {id: sha256}, "evaluations": {id: (sbom, which)}, "exports": {id: evaluation}, "bundles": {id: evaluation}, "events": {id: 1}, "traces": [...]}"""
    for table, column, key, other in (("sboms", "sbom_id", "sboms", "encode(sha256, 'hex')"), ("evaluations", "evaluation_id", "evaluations", NTH),
                                      ("exports", "export_id", "exports", "evaluation_id"), ("evidence_snapshots WHERE derived_from IS NULL", "bundle_id", "bundles", "resource_id")):
        rows = sql(f"SELECT {column} AS id, {other} AS of FROM {table}")
        stored = {r["id"]: r["of"] for r in rows}
        for i, of in acknowledged[key].items():
            of = f"{of[0]} {of[1]}" if isinstance(of, tuple) else of
            if i not in stored:
                say(f"acknowledged and lost: {key} {i}")
            elif stored[i] != of:
                say(f"{key} {i} is of {stored[i]} instead of {of}")
        for of, n in Counter(stored.values()).items():
            if n > 1:
                say(f"doubled: {n} {key} of {of}, one was asked for")
        for i in stored.keys() - acknowledged[key].keys():
            say(f"{key} {i} is there and nobody was told")
    ids = Counter(e["event_id"] for log in entries.values() for e in log)
    for i in acknowledged["events"]:
        if ids[i] != 1:
            say(f"event {i}: {ids[i]} times in the log")
    traces = {d["trace_id"] for d in sql("SELECT DISTINCT trace_id FROM decisions")}
    for trace in acknowledged["traces"]:
        if trace not in traces:
            say(f"request {trace} was served without a decision row")


RANK = {"job.scheduled": 0, "job.started": 1, "job.retried": 2, "job.finished": 9, "job.failed": 9, "sbom.received": 0, "sbom.computed": 1, "sbom.rejected": 1,
        "export.requested": 0, "export.created": 1, "evidence.snapshot": 0, "evidence.signed": 1, "evidence.sealed": 2, "evidence.redacted": 3,
        "hold.placed": 0, "hold.release_requested": 1, "hold.released": 2, "principal.created": 0, "principal.changed": 1, "scope.granted": 1, "scope.revoked": 1}


def check_order(entries, say):
    for tenant, log in entries.items():
        by_resource = defaultdict(list)
        for e in log:
            by_resource[(e["resource_type"], e["resource_id"])].append(e)
        for resource, events in by_resource.items():
            if resource[0] in ("source", "route"):
                continue  # named by what they are, not one row: no lock orders them
            stamps = [e["ts"] for e in events]
            if stamps != sorted(stamps):
                say(f"{tenant}: events of {resource} are out of order: {[(e['kind'], e['ts']) for e in events]}")
            ranks = [RANK[e["kind"]] for e in events if e["kind"] in RANK]
            if ranks and (ranks[0] != min(ranks) or max(ranks) == 9 and ranks[-1] != 9):
                say(f"{tenant}: {resource} tells its story in the wrong order: {[e['kind'] for e in events]}")


def check_objects(p, say):
    """Every object that a row names is there, and every object is what its name says."""
    have = set()
    for directory, _, names in os.walk(p.path("objects")):
        for name in names:
            digest = re.fullmatch(r"([0-9a-f]{64})(\.json)?", name)
            path = os.path.join(directory, name)
            if not digest:
                continue
            with open(path, "rb") as f:
                if hashlib.sha256(f.read()).hexdigest() != digest.group(1):
                    say(f"object {os.path.relpath(path, p.dir)} is not what its name says")
            have.add(digest.group(1))
    named = p.sql("SELECT encode(sha256, 'hex') AS d FROM sboms UNION SELECT encode(components_sha256, 'hex') FROM sboms UNION SELECT encode(decision_sha256, 'hex') FROM evaluations "
                  "UNION SELECT encode(exposures_sha256, 'hex') FROM evaluations UNION SELECT encode(report_sha256, 'hex') FROM exports UNION SELECT o->>'sha256' FROM jobs, jsonb_array_elements(outputs) o "
                  "UNION SELECT i->>'sha256' FROM jobs, jsonb_array_elements(inputs) i UNION SELECT encode(statement_sha256, 'hex') FROM attestation_facts UNION SELECT encode(transcript_sha256, 'hex') FROM runs")
    missing = [n["d"] for n in named if n["d"] and n["d"] not in have]
    if missing:
        say(f"{len(missing)} objects that rows name are not there: {missing[:3]}")
    for row in p.sql("SELECT path, encode(s.bundle_sha256, 'hex') AS sha FROM evidence_bundles b JOIN evidence_snapshots s ON s.tenant_id = b.tenant_id AND s.bundle_id = b.id"):
        try:
            with open(p.path("objects", row["path"]), "rb") as f:
                if hashlib.sha256(f.read()).hexdigest() != row["sha"]:
                    say(f"bundle {row['path']} has another digest than its row")
        except OSError as e:
            say(f"bundle {row['path']}: {e}")
