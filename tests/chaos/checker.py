"""The independent eye after a chaos run: rows as superuser, object files, nothing of the product's own code.

check(platform, acknowledged, heads) -> list of problems. What it proves: nothing acknowledged is lost or doubled, every job ended, one event per
transition, log indexes without gaps, order per resource, every tree root ever shown recomputed from the entries, every object is what its name says.
"""
import base64
import hashlib
import json
import os
import re
from collections import Counter, defaultdict

ENDED = ("finished", "failed", "cancelled", "dead")


def sha(data):
    return hashlib.sha256(data).digest()


class Tree:
    """RFC 6962, by the book: the root of every prefix from a stack of perfect subtrees."""

    def __init__(self):
        self.stack, self.size = [], 0

    def add(self, entry):
        node, size = sha(b"\0" + entry), self.size
        leaf = node
        while size & 1:
            node, size = sha(b"\1" + self.stack.pop() + node), size >> 1
        self.stack.append(node)
        self.size += 1
        return leaf

    def root(self):
        if not self.stack:
            return sha(b"")
        node = self.stack[-1]
        for left in reversed(self.stack[:-1]):
            node = sha(b"\1" + left + node)
        return node


def check(p, acknowledged, heads):
    problems = []
    say = problems.append
    sql = p.sql
    entries = check_logs(sql, heads, say)
    check_deployment(p, say)
    check_jobs(sql, entries, say)
    check_resources(sql, entries, say)
    check_acknowledged(sql, acknowledged, entries, say)
    check_order(entries, say)
    check_objects(p, say)
    return problems


def check_logs(sql, heads, say):
    """Every log of every tenant; returns its entries as dicts, in log order."""
    out = defaultdict(list)
    shown = defaultdict(dict)
    for tenant, size, root in heads:
        if shown[tenant].setdefault(size, root) != root:
            say(f"{tenant}: two roots were shown for size {size}")
    rows = sql("SELECT tenant_id, log_index, event_id, encode(entry, 'hex') AS entry FROM timeline_log ORDER BY tenant_id, log_index")
    events = {(e["tenant_id"], e["event_id"]): e for e in sql("SELECT tenant_id, event_id, kind, encode(digest, 'hex') AS digest FROM timeline_events")}
    trees = defaultdict(Tree)
    for row in rows:
        tenant, tree, data = row["tenant_id"], trees[row["tenant_id"]], bytes.fromhex(row["entry"])
        if row["log_index"] != tree.size:
            say(f"{tenant}: log index {row['log_index']} stands at place {tree.size}")
        leaf = tree.add(data)
        entry = json.loads(data)
        event = events.pop((tenant, row["event_id"]), None)
        if event is None:
            say(f"{tenant}: entry {row['log_index']} has no event row")
        elif event["digest"] != leaf.hex() or event["kind"] != entry["kind"]:
            say(f"{tenant}: entry {row['log_index']}: the event row's digest or kind is another")
        if entry["event_id"] != row["event_id"] or entry["tenant_id"] != tenant:
            say(f"{tenant}: entry {row['log_index']} speaks of another event or tenant")
        if tree.size in shown[tenant] and shown[tenant][tree.size] != tree.root().hex():
            say(f"{tenant}: the root shown for size {tree.size} is not the root of the first {tree.size} entries")
        out[tenant].append(entry)
    for key in events:
        say(f"event row without a log entry: {key}")
    for tenant, sizes in shown.items():
        if max(sizes, default=0) > trees[tenant].size:
            say(f"{tenant}: size {max(sizes)} was shown, the log has {trees[tenant].size}")
    for head in sql("SELECT tenant_id, size, encode(root, 'hex') AS root, published FROM timeline_heads"):
        tree = trees[head["tenant_id"]]
        if (head["size"], head["root"]) != (tree.size, tree.root().hex()):
            say(f"{head['tenant_id']}: the head says {head['size']} {head['root'][:16]}, the entries {tree.size} {tree.root().hex()[:16]}")
        if head["published"] != head["size"]:
            say(f"{head['tenant_id']}: published up to {head['published']} of {head['size']}")
    if sql("SELECT count(*) AS n FROM timeline_outbox")[0]["n"]:
        say("the outbox is not empty")
    return out


def check_deployment(p, say):
    """Every checkpoint of the deployment log that was ever signed, committed or not, is the root of its first leaves. Rows are read after what rests on them."""
    notes = {row["size"]: row["note"] for row in p.sql("SELECT size, note FROM deployment_checkpoints")}
    objects = {}
    directory = p.path("objects", "platform", "log", "checkpoints")
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        with open(os.path.join(directory, name), encoding="utf-8") as f:
            objects[int(name)] = f.read()
    log = p.sql("SELECT size, placed, encode(root, 'hex') AS root FROM deployment_log")[0]
    tree, roots = Tree(), {0: b""}
    for row in p.sql("SELECT deployment_index AS n, note FROM timeline_checkpoints WHERE deployment_index IS NOT NULL ORDER BY deployment_index"):
        if row["n"] != tree.size:
            say(f"deployment log: leaf {row['n']} stands at place {tree.size}")
        tree.add(row["note"].encode())
        roots[tree.size] = tree.root()
    if not log["size"]:
        say("deployment log: nothing is signed")
    if log["placed"] > tree.size or roots.get(log["size"], b"").hex() != log["root"]:
        say(f"deployment log: {log} over {tree.size} leaves")
    for size, note in notes.items():
        if objects.get(size) != note:
            say(f"deployment log: the checkpoint of size {size} is no object, or another one")
    for size, note in objects.items():
        if base64.b64decode(note.split("\n")[2]) != roots.get(size):
            say(f"deployment log: the checkpoint of size {size} is not of its first leaves")


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
    ("evidence_snapshots", "bundle_id", "bundle", {"sealed": {"evidence.snapshot": 1, "evidence.signed": 1, "evidence.sealed": 1}}),
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


def check_acknowledged(sql, acknowledged, entries, say):
    """acknowledged: {"sboms": {id: sha256}, "evaluations": {id: sbom}, "exports": {id: evaluation}, "bundles": {id: evaluation}, "events": {id: 1}, "traces": [...]}"""
    for table, column, key, other in (("sboms", "sbom_id", "sboms", "encode(sha256, 'hex')"), ("evaluations", "evaluation_id", "evaluations", "sbom_id"),
                                      ("exports", "export_id", "exports", "evaluation_id"), ("evidence_snapshots", "bundle_id", "bundles", "resource_id")):
        rows = sql(f"SELECT {column} AS id, {other} AS of FROM {table}")
        stored = {r["id"]: r["of"] for r in rows}
        for i, of in acknowledged[key].items():
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
        "export.requested": 0, "export.created": 1, "evidence.snapshot": 0, "evidence.signed": 1, "evidence.sealed": 2}


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
