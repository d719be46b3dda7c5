#!/usr/bin/env python3
"""A full disk under the object store: requests are refused with 503 and Retry-After, nothing half-accepted stays, and all goes on once there is room."""
import json
import os
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform"), HERE]
import checker  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import Platform  # noqa: E402


def document(n, padding):
    return json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": n, "components": [{"type": "library", "name": "c", "purl": f"pkg:npm/c@{n}.0.0"}] * 1,
                       "properties": [{"name": "p", "value": "x" * 1000}] * padding}).encode()


def ended(platform, seconds=90):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if platform.sql("SELECT (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')) + (SELECT count(*) FROM timeline_outbox) AS n")[0]["n"] == 0:
            return True
        time.sleep(0.2)
    return False


def problems_of(p):
    problems = []
    entries = checker.check_logs(p.sql, [], problems.append)
    checker.check_jobs(p.sql, entries, problems.append)
    checker.check_resources(p.sql, entries, problems.append)
    return [x for x in problems if "published" not in x]


def cases(report, root):
    with Platform(settings={"objects.root": root, "jobs.backoff": "200ms"}, tenants=("acme",)) as p:
        c = p.client("admin")
        report.check("room: an SBOM is computed", c.post("/sboms?wait=60", document(1, 1))["state"] == "computed")
        filler = os.path.join(root, "filler")
        with open(filler, "wb", buffering=0) as f:
            try:
                while True:
                    f.write(bytes(4096))
            except OSError:
                pass
        for n in range(2, 5):
            reply = c.post("/sboms", document(n, 200))
            report.check(f"full, {n}: 503 with part, reason and Retry-After", reply.status == 503 and reply.json.get("reason") == "disk_full" and reply["part"] == "objects" and reply.headers.get("retry-after"), reply)
        report.check("full: the refusal names no path", root not in reply.text, reply)
        report.check("full: nothing of the refused is there", p.sql("SELECT count(*) AS n FROM sboms")[0]["n"] == 1)
        ready = c.get("/readyz")
        report.check("full: /readyz tells the truth", ready.status == 503 and ready["parts"]["objects"] != "ok", ready)
        report.check("full: reads go on", c.get("/sboms").status == 200)
        os.unlink(filler)
        # Room for the document and not for the outputs of its job: the job is an error of the system, and comes again.
        reply = c.post("/sboms?wait=60", document(2, 200))
        report.check("room again: the same request is computed", reply.status == 201 and reply["state"] == "computed", reply)
        report.check("every job ended", ended(p))
        problems = checker.lasting(lambda: problems_of(p))
        report.check("logs, jobs and resources are whole", not problems, problems[:5])
        left = [os.path.join(d, n) for d, _, names in os.walk(root) for n in names if "tmp" in n or n.startswith(".")]
        report.check("no half-written object is left", not left, left[:5])


def main():
    report = Report("disk full")
    root = tempfile.mkdtemp(prefix="stella-disk-")
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "none", root], capture_output=True)
    if mounted.returncode != 0:
        os.rmdir(root)
        report.skip("disk full", "a small file system cannot be mounted here")
        report.end()
    try:
        cases(report, root)
    finally:
        subprocess.run(["umount", "-l", root], check=False)
        os.rmdir(root)
    report.end()


if __name__ == "__main__":
    main()
