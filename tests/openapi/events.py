"""What a run left on the timelines, against what the catalogues declare (tools/event_matrix.py): nobody emits a kind that it does not declare, every
declared kind was seen from who declares it, and an event whose kind has objects names their digests.

An event belongs to who its actor is: a person's or a service's to the operation of its trace, the orchestrator's to the kind of its job, another
process's to the row of producers.json with that actor."""
import os
import pathlib
import re
import sys
import time

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(ROOT, "tools"), os.path.join(ROOT, "tests", "platform")]

import client  # noqa: E402
import event_matrix  # noqa: E402

ORCHESTRATOR = "system:orchestrator"
EVENTS = "SELECT e.kind, e.actor, e.trace_id, e.details_jsonb AS details, (SELECT j.kind FROM jobs j WHERE j.job_id::text = coalesce(e.details_jsonb->>'job_id', "\
         "(SELECT r.resource_id FROM timeline_event_resources r WHERE r.event_id = e.event_id AND r.resource_type = 'job' LIMIT 1))) AS job FROM timeline_events e"
BUSY = "SELECT (SELECT count(*) FROM timeline_outbox) + (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')) AS n"


def requests_of(operations):
    """Every request of this process from now on, by its trace: (operation, whether it was done). Whoever makes a request makes it through here."""
    patterns = [(p, p.method, re.compile(re.sub(r"\{\w+\}", "[^/]+", p.what.split(" ")[1]))) for p in operations]
    patterns.sort(key=lambda row: row[0].what.count("{"))  # /evidence/verify before /evidence/{bundle_id}
    seen, send = {}, client.Client.request

    def request(self, method, path, *arguments, **named):
        reply = send(self, method, path, *arguments, **named)
        bare = path.split("?")[0]
        operation = next((p for p, m, pattern in patterns if m == method.replace("HEAD", "GET") and pattern.fullmatch(bare)), None)
        if reply.trace:
            seen.setdefault(reply.trace, []).append((operation, reply.status < 400))
        return reply

    client.Client.request = request
    return seen


class Judge:
    def __init__(self, matrix, requests):
        self.matrix, self.requests = matrix, requests
        self.jobs = {p.name: p for p in matrix.jobs}
        self.wrong, self.seen = [], set()

    def owners(self, event):
        """Who may have emitted this event; nobody where it comes from nowhere that we know."""
        kind, actor = event["kind"], event["actor"]
        if actor == ORCHESTRATOR:
            return [self.jobs[event["job"]]] if event["job"] in self.jobs else []
        if not actor.startswith(("user:", "service:")):
            return [p for p in self.matrix.others if actor in p.actors]
        known = [(p, done) for p, done in self.requests.get(event["trace_id"], []) if p is not None]
        if kind == "authz.denied":
            return [p for p in self.matrix.others if p.sort == "request" and kind in p.events] if known else []
        operations = [p for p, _ in known]
        job = event["details"].get("job_kind")
        if kind == "job.scheduled" and not any(job in p.jobs for p in operations):  # a job that a job scheduled for the caller
            return [p for p in self.matrix.jobs if job in p.jobs]
        return operations

    def judge(self, event):
        kind, row = event["kind"], self.matrix.kinds.get(event["kind"])
        owners = self.owners(event)
        declared = [p for p in owners if p.may(kind)]
        if row is None or not declared:
            whose = ", ".join(p.name for p in owners) or f"{event['actor']}, trace {event['trace_id']}, job {event['job']}: unknown to the catalogues"
            self.wrong.append(f"{kind} of {whose}")
            return
        self.seen |= {(p.sort, p.name, kind) for p in declared}
        for objects in row["objects"]:
            if not event["details"].get(objects):
                self.wrong.append(f"{kind} of {declared[0].name} without {objects}")

    def missing(self):
        return [f"{p.sort} {p.name}: {kind}" for p in self.matrix.all() for kind in p.events if (p.sort, p.name, kind) not in self.seen]


def busy(platform):
    try:
        return platform.sql(BUSY)[0]["n"]
    except RuntimeError:  # PostgreSQL is still coming back from the outage before
        return True


def check(report, platform, requests):
    """Waits until nothing more can come, then compares the whole of the timelines."""
    matrix = event_matrix.Matrix(pathlib.Path(ROOT, "contracts"))
    report.check("the catalogues say who emits what", not matrix.problems(), "; ".join(matrix.problems()[:5]))
    deadline = time.monotonic() + 60
    while busy(platform) and time.monotonic() < deadline:
        time.sleep(0.1)
    events = platform.sql(EVENTS)
    judge = Judge(matrix, requests)
    for event in events:
        judge.judge(event)
    wrong = sorted({f"{text} ({judge.wrong.count(text)}x)" for text in judge.wrong})
    report.check(f"{len(events)} events: each of who declares it, with the digests of its objects", events and not wrong, "; ".join(wrong[:12]))
    missing = judge.missing()
    report.check(f"{len(judge.seen)} times a kind of who declares it: none was never seen", not missing, "; ".join(missing))
