#!/usr/bin/env python3
"""The whole platform deletes what nothing keeps any more, and only that: a bundle whose retention ended goes in three steps, its commitments stay; a
held one of the same age stays, and goes once two people have released the hold."""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform")]
from report import Report  # noqa: E402
from stella_platform import SAMPLES, Platform  # noqa: E402


def read(name):
    with open(os.path.join(SAMPLES, name), "rb") as f:
        return f.read()


def until(condition, seconds=90):
    """A bound on a hang, no measure of speed."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if condition():
            return True
        time.sleep(0.2)
    return False


def kinds(p, bundle):
    return [r["kind"] for r in p.sql("SELECT e.kind FROM timeline_events e JOIN timeline_log l USING (tenant_id, event_id) WHERE e.resource_id = "
                                     f"'{bundle}' AND e.kind LIKE 'disposition.%' ORDER BY l.log_index")]


def files(p, case, bundle):
    return sorted(os.listdir(p.path("objects", "tenants", "acme", "evidence", case, bundle)))


def cases(report):
    # Seconds instead of a year; the store's own lock is as short, and real.
    with Platform(settings={"evidence.keep": "2s", "evidence.dispose": "true", "timeline.checkpoint_every": "1s"}, tenants=("acme",)) as p:
        c, second = p.client("admin"), p.client("second")
        policy = c.post("/policies", read("policy.yaml"))["policy_version"]
        c.post(f"/policies/{policy}/activate")
        sbom = c.post("/sboms?wait=60", read("sbom.cdx.json"))["sbom_id"]
        evaluation = c.post("/evaluations?wait=60", {"sbom_id": sbom})["evaluation_id"]
        report.check("a hold before there is evidence", c.post("/evidence/hold/HELD", {"action": "place", "authority": "court", "reason": "order"})["step"] == "placed")
        made = {case: c.post("/evidence/snapshot?wait=60", {"kind": "eval", "resource_id": evaluation, "case_id": case})["bundle_id"] for case in ("FREE", "HELD")}

        report.check("the free one goes", until(lambda: c.get("/evidence/" + made["FREE"])["state"] == "disposed"))
        report.check("in its steps", until(lambda: kinds(p, made["FREE"]) == ["disposition.planned", "disposition.executed"]), kinds(p, made["FREE"]))
        covered = p.sql("SELECT EXISTS (SELECT FROM timeline_checkpoints k JOIN timeline_log l ON l.tenant_id = k.tenant_id AND k.size > l.log_index JOIN timeline_events e ON e.tenant_id = l.tenant_id AND "
                        f"e.event_id = l.event_id WHERE e.kind = 'disposition.planned' AND e.resource_id = '{made['FREE']}' AND k.size <= (SELECT l2.log_index FROM timeline_log l2 JOIN timeline_events e2 "
                        f"USING (tenant_id, event_id) WHERE e2.kind = 'disposition.executed' AND e2.resource_id = '{made['FREE']}')) AS yes")[0]["yes"]
        report.check("a checkpoint covered the plan before it was carried out", covered)
        report.check("its commitments stay", files(p, "FREE", made["FREE"]) == ["manifest.json", "root.merkle"], files(p, "FREE", made["FREE"]))
        reply = c.post("/evidence/verify", {"bundle_id": made["FREE"]})
        report.check("whoever asks for it is told", reply.status == 404 and reply["state"] == "disposed", reply)

        report.check("the held one is refused, with an event", until(lambda: "disposition.refused" in kinds(p, made["HELD"])))
        report.check("and stays", c.get("/evidence/" + made["HELD"])["state"] == "sealed" and "bundle.tgz" in files(p, "HELD", made["HELD"]))
        report.check("and is whole although it shared its payload", c.post("/evidence/verify", {"bundle_id": made["HELD"]})["result"] == "pass")
        c.post("/evidence/hold/HELD", {"action": "request_release", "reason": "order lifted"})
        report.check("two people release it", second.post("/evidence/hold/HELD", {"action": "confirm_release"})["step"] == "released")
        p.execute("UPDATE dispositions SET ended_at = ended_at - interval '1 day' WHERE state = 'refused'")  # tomorrow
        report.check("then it goes, too", until(lambda: c.get("/evidence/" + made["HELD"])["state"] == "disposed"))
        payloads = {r["d"] for r in p.sql("SELECT encode(payload_sha256, 'hex') AS d FROM evidence_snapshots")}
        left = {name for _, _, names in os.walk(p.path("objects", "tenants", "acme", "objects")) for name in names}
        report.check("and the payload with the last of them", payloads and not payloads & left, payloads & left)
        written = {r["d"] for r in p.sql("SELECT encode(unnest(made_objects), 'hex') AS d FROM evidence_snapshots")}
        report.check("and what their closures wrote: logs, spans, transcripts, lists", len(written) >= 5 and not written & left, (len(written), written & left))
        report.check("but nothing of the evaluation", not {r["d"] for r in p.sql("SELECT encode(decision_sha256, 'hex') AS d FROM evaluations")} - left)
        again = c.post("/evidence/snapshot?wait=60", {"kind": "eval", "resource_id": evaluation, "case_id": "FREE"})
        report.check("what is asked for again is made anew", again["state"] == "sealed" and again["bundle_id"] != made["FREE"], again)


def main():
    report = Report("dispositions")
    cases(report)
    report.end()


if __name__ == "__main__":
    main()
