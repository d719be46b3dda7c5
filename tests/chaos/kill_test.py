#!/usr/bin/env python3
"""Kills every part at random points of the chain, again and again, and lets an independent checker look at what is left.

  tests/chaos/kill_test.py [--runs N] [--seed S] [--keep]     `make chaos RUNS=n`

Run i uses seed S+i: what is killed and at which client request is drawn from it, so a printed seed can be run again (--seed S --runs 1). Clients repeat
every request with its Idempotency-Key until they are answered, and write down what they were told.
"""
import argparse
import hashlib
import json
import os
import random
import secrets
import shutil
import subprocess
import sys
import threading
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform"), HERE]
import checker  # noqa: E402
from client import Unreachable, tar_of  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import SAMPLES, Platform  # noqa: E402

# Short leases, so that a run takes a minute and not an hour. What they protect is the same.
SETTINGS = {"jobs.lease": "3s", "jobs.dispatch_after": "3s", "jobs.backoff": "100ms", "runner.heartbeat": "500ms", "indexer.lease": "2s"}
PATIENCE = 120  # seconds until the platform must have answered a request, or ended a job
PURLS = ["pkg:npm/lodash@4.17.20", "pkg:npm/minimist@1.2.5", "pkg:pypi/requests@2.31.0", "pkg:cargo/rustls@0.21.10", "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1",
         "pkg:golang/golang.org/x/net@v0.17.0", "pkg:pypi/django@4.2.14"]


class Told:
    """What clients were told, and how many requests were sent: the clock of the killer."""

    def __init__(self):
        self.lock, self.requests, self.retries, self.problems, self.heads = threading.Lock(), 0, 0, [], []
        self.acknowledged = {"sboms": {}, "evaluations": {}, "exports": {}, "bundles": {}, "events": {}, "traces": []}

    def note(self, kind, key, value):
        with self.lock:
            self.acknowledged[kind][key] = value


class Worker(threading.Thread):
    """One tenant's client: SBOM, evaluation, export, snapshot, annotation; each repeated until it is answered."""

    def __init__(self, platform, login, told, seed, chains):
        super().__init__(daemon=True)
        self.client, self.told, self.rng, self.chains, self.tenant = platform.client(login), told, random.Random(seed), chains, ""
        self.tenant = self.client.tenant

    def ask(self, method, path, body=None, accept=(200, 201, 202), key=True):
        headers = {"idempotency-key": secrets.token_hex(8)} if method == "POST" and key else {}
        deadline = time.monotonic() + PATIENCE
        while True:
            with self.told.lock:
                self.told.requests += 1
            why = ""
            try:
                reply = self.client.request(method, path, body, headers, timeout=30)
                if reply.status in accept:
                    with self.told.lock:
                        self.told.acknowledged["traces"].append(reply.trace)
                    return reply
                why = repr(reply)
                # 503 says to come again; 409 not_ready is a state that passes.
                if reply.status not in (503, 504) and not (reply.status == 409 and reply.json["code"] == "not_ready"):
                    self.told.problems.append(f"{method} {path}: {why}")
                    raise SystemExit
            except Unreachable as e:
                why = str(e)
            if time.monotonic() > deadline:
                self.told.problems.append(f"no answer for {PATIENCE} s: {method} {path}: {why}")
                raise SystemExit
            with self.told.lock:
                self.told.retries += 1
            time.sleep(0.05 + 0.1 * self.rng.random())

    def wait_for(self, path, states):
        deadline = time.monotonic() + PATIENCE
        while True:
            reply = self.ask("GET", path)
            if reply["state"] in states:
                return reply
            if time.monotonic() > deadline or reply["state"] in ("failed", "rejected", "cancelled"):
                self.told.problems.append(f"{path} is {reply['state']}: {reply.text[:500]}")
                raise SystemExit
            time.sleep(0.03)

    def see_head(self):
        head = self.ask("GET", "/timeline?limit=1").json.get("head")
        if head:
            self.told.heads.append((self.tenant, head["size"], head["root"]))

    def run(self):
        for _ in range(self.chains):
            document = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "serialNumber": f"urn:uuid:{uuid.uuid4()}",
                                   "components": [{"type": "library", "name": "c", "purl": p} for p in self.rng.sample(PURLS, 4)]}).encode()
            sbom = self.ask("POST", "/sboms", document)["sbom_id"]
            self.told.note("sboms", sbom, hashlib.sha256(document).hexdigest())
            self.see_head()
            self.wait_for("/sboms/" + sbom, ("computed",))
            evaluation = self.ask("POST", "/evaluations", {"sbom_id": sbom})["evaluation_id"]
            self.told.note("evaluations", evaluation, sbom)
            event = str(uuid.UUID(int=(uuid.uuid4().int & ~(0xF << 76)) | (7 << 76)))
            self.ask("POST", "/timeline", {"event_id": event, "kind": "annotation.added", "resource_type": "evaluation", "resource_id": evaluation, "details": {"target": "evaluation"}})
            self.told.note("events", event, 1)
            self.wait_for("/evaluations/" + evaluation, ("finished",))
            export = self.ask("POST", "/exports", {"evaluation_id": evaluation})["export_id"]
            self.told.note("exports", export, evaluation)
            bundle = self.ask("POST", "/evidence/snapshot", {"kind": "eval", "resource_id": evaluation, "case_id": "CHAOS"})["bundle_id"]
            self.told.note("bundles", bundle, evaluation)
            self.wait_for("/exports/" + export, ("created",))
            self.wait_for("/evidence/" + bundle, ("sealed",))
            self.see_head()


def delete_nats_store(platform):
    for name in os.listdir(platform.path("nats")):
        shutil.rmtree(platform.path("nats", name), ignore_errors=True)


def strike(platform, what, pause):
    """One blow of the plan."""
    if what == "nats store while running":
        delete_nats_store(platform)
    elif what == "nats store, then restart":
        platform.kill("nats")
        delete_nats_store(platform)
        time.sleep(pause)
        platform.start("nats")
    else:
        for part in what.split("+"):
            platform.kill(part)
        time.sleep(pause)
        for part in what.split("+"):
            platform.start(part)


BLOWS = ["stellad", "runner", "postgresql", "nats", "stellad", "runner", "nats store, then restart", "stellad+runner", "postgresql+stellad", "nats+stellad"]


def plan_of(seed):
    rng = random.Random(seed)
    blows = [(rng.randrange(2, 220), rng.choice(BLOWS), rng.random() * 0.8, rng.random() * 0.3) for _ in range(rng.randrange(3, 6))]
    if seed % 3 == 0:
        blows.append((rng.randrange(2, 120), "nats store while running", 0, 0))
    return sorted(blows)


def settle(platform):
    """Everything that can end by itself has ended, or PATIENCE is over: the checker says what is left."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        left = platform.sql("SELECT (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')) + (SELECT count(*) FROM timeline_outbox) + "
                            "(SELECT count(*) FROM evidence_snapshots WHERE state NOT IN ('sealed', 'failed')) + (SELECT count(*) FROM timeline_heads WHERE published < size) AS n")[0]["n"]
        if left == 0:
            return
        time.sleep(0.2)


def verify_bundles(platform, told):
    """Each bundle by the server, one of them by sh, openssl and sha256sum alone."""
    admin = {"acme": platform.client("admin"), "beta": platform.client("beta-admin")}
    owner = {r["bundle_id"]: r["tenant_id"] for r in platform.sql("SELECT bundle_id, tenant_id FROM evidence_snapshots")}
    for n, bundle in enumerate(told.acknowledged["bundles"]):
        client = admin[owner[bundle]]
        reply = client.get("/evidence/" + bundle)
        if reply.status != 200 or reply["verdict"]["result"] != "pass":
            yield f"bundle {bundle} does not verify: {reply}"
        if n == 0:
            tgz = client.post(f"/evidence/{bundle}/export", {"recipient": "chaos"})
            path = platform.path("tmp", "bundle.tgz")
            with open(path, "wb") as f:
                f.write(tgz.body)
            inside = subprocess.run(["tar", "-xzOf", path, "verify.sh"], capture_output=True, check=True).stdout
            with open(platform.path("tmp", "verify.sh"), "wb") as f:
                f.write(inside)
            done = subprocess.run(["sh", platform.path("tmp", "verify.sh"), platform.key_path(), path], capture_output=True, text=True, timeout=120)
            if done.returncode != 0:
                yield f"verify.sh refuses bundle {bundle}: {done.stdout}{done.stderr}"


def one_run(seed, chains, keep):
    told, plan = Told(), plan_of(seed)
    with Platform(settings=SETTINGS, keep=keep) as platform:
        admin = platform.client("admin")
        assert admin.post("/advisories?global=1&wait=60&source=osv", tar_of(SAMPLES + "/advisories"), headers={"content-type": "application/x-tar"}).status == 201
        for login in ("admin", "beta-admin"):
            client = platform.client(login)
            with open(SAMPLES + "/policy.yaml", "rb") as f:
                version = client.post("/policies", f.read())["policy_version"]
            assert client.post(f"/policies/{version}/activate").status == 200
        workers = [Worker(platform, login, told, f"{seed}/{login}", chains) for login in ("admin", "second", "beta-admin")]
        for w in workers:
            w.start()
        dealt = []
        for at, what, pause, delay in plan:
            while told.requests < at and any(w.is_alive() for w in workers):
                time.sleep(0.002)
            if not any(w.is_alive() for w in workers):
                break
            time.sleep(delay)
            strike(platform, what, pause)
            dealt.append(f"{what} at {at}")
        for w in workers:
            w.join(PATIENCE * 4)
            if w.is_alive():
                told.problems.append("a client did not come to its end")
        platform.wait_ready()
        settle(platform)
        problems = told.problems + checker.check(platform, told.acknowledged, told.heads)
        problems += list(verify_bundles(platform, told))
        if problems and not keep:
            print(f"      plan of seed {seed}: {plan}\n" + platform.log_tail("stellad", 30)[-4000:])
        assert not problems, f"seed {seed}, {', '.join(dealt)}: {len(problems)} problems:\n        " + "\n        ".join(problems[:12])
        return f"{', '.join(dealt) or 'nothing struck'}; {told.requests} requests, {told.retries} repeated, {len(told.acknowledged['bundles'])} bundles"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=int(os.environ.get("STELLA_CHAOS_RUNS") or 4))
    parser.add_argument("--seed", type=int, default=20261125)
    parser.add_argument("--chains", type=int, default=3, help="chains per client and run")
    parser.add_argument("--keep", action="store_true", help="keep the data directory")
    args = parser.parse_args()
    report = Report("chaos")
    for seed in range(args.seed, args.seed + args.runs):
        report.run(f"seed {seed}", one_run, seed, args.chains, args.keep)
    report.end()


if __name__ == "__main__":
    main()
