#!/usr/bin/env python3
"""Kills every part at random points of the chain, again and again, and lets an independent checker look at what is left.

  tests/chaos/kill_test.py [--runs N] [--seed S] [--keep]     `make chaos RUNS=n`

Run i uses seed S+i: what is killed and at which client request is drawn from it, so a printed seed can be run again (--seed S --runs 1). Clients repeat
every request with its Idempotency-Key until they are answered, and write down what they were told (workload.py). At the end the old entries of the logs expire.
"""
import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform"), HERE]
import checker  # noqa: E402
import log_checker  # noqa: E402
from client import tar_of, uuid7  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import SAMPLES, Platform, binary  # noqa: E402
from workload import OLD_CASE, PATIENCE, Told, Worker  # noqa: E402

# Short leases, so that a run takes a minute and not an hour. What they protect is the same.
SETTINGS = {"jobs.lease": "3s", "jobs.dispatch_after": "3s", "jobs.backoff": "100ms", "runner.heartbeat": "500ms", "indexer.lease": "2s", "timeline.checkpoint_every": "1s"}
DAY = 86400
OLD = {"acme": 300, "beta": 40}  # entries of long ago: more than a tile, and less
KEPT = 17                        # every so many of them one that stays for good


class OldPlatform(Platform):
    """Each log begins with entries of 300 days ago, in the outbox before all others, where the real indexer finds them. A hold keeps them until it is released."""
    old = None

    def start(self, part):
        if part == "stellad" and self.old is None:
            self.old = {tenant: [self.old_entry(tenant, i) for i in range(count)] for tenant, count in OLD.items()}
            for tenant, entries in self.old.items():
                first = -1000 * (1 + list(OLD).index(tenant))
                for begin in range(0, len(entries), 50):
                    some = ((first + i, e.decode(), json.loads(e)) for i, e in enumerate(entries[begin:begin + 50], begin))
                    rows = ", ".join(f"({seq}, '{e['event_id']}', '{e['ts']}', '{text}')" for seq, text, e in some)
                    self.execute("INSERT INTO timeline_outbox (seq, shard, tenant_id, event_id, ts, entry) OVERRIDING SYSTEM VALUE SELECT v.seq, o.shard, "
                                 f"'{tenant}', v.event_id::uuid, v.ts::timestamptz, convert_to(v.entry, 'UTF8') FROM (VALUES {rows}) v(seq, event_id, ts, entry), "
                                 f"(SELECT shard FROM timeline_outbox WHERE tenant_id = '{tenant}' LIMIT 1) o")
                self.execute(f"INSERT INTO evidence_holds (tenant_id, hold_id, case_id, authority, reason, placed_by) VALUES ('{tenant}', gen_random_uuid(), '{OLD_CASE}', 'court', 'order', 'user:test')")
        super().start(part)

    @staticmethod
    def old_entry(tenant, i):
        ts = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 300 * DAY + i)) + ".000000Z"
        entry = {"event_id": uuid7(), "ts": ts, "tenant_id": tenant, "project_id": None, "kind": "disposition.frozen" if i % KEPT == KEPT - 1 else "service.degraded", "actor": "system:test",
                 "resource_type": "service", "resource_id": "scanner", "trace_id": uuid.uuid4().hex, "details": {"service": "scanner", "part": "queue", "reason": uuid.uuid4().hex}}
        return json.dumps(entry, sort_keys=True, separators=(",", ":")).encode()


def delete_nats_store(platform):
    for name in os.listdir(platform.path("nats")):
        shutil.rmtree(platform.path("nats", name), ignore_errors=True)


def stall(platform, part, pause):
    """Slow and not dead: longer than the leases, so that another takes over what the stalled one still believes to have."""
    process = platform.procs[part]
    process.send_signal(signal.SIGSTOP)
    time.sleep(pause * 6)
    process.send_signal(signal.SIGCONT)


def strike(platform, what, pause):
    """One blow of the plan."""
    if what == "nats store while running":
        delete_nats_store(platform)
    elif what.endswith(" stalls"):
        stall(platform, what.removesuffix(" stalls"), pause)
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


BLOWS = ["stellad", "runner", "postgresql", "nats", "stellad", "runner", "nats store, then restart", "stellad+runner", "postgresql+stellad", "nats+stellad",
         "runner stalls", "stellad stalls", "nats stalls"]


def plan_of(seed):
    rng = random.Random(seed)
    blows = [(rng.randrange(2, 700), rng.choice(BLOWS), rng.random() * 0.8, rng.random() * 0.3) for _ in range(rng.randrange(4, 9))]
    if seed % 3 == 0:
        blows.append((rng.randrange(2, 500), "nats store while running", 0, 0))
    return sorted(blows)


def settle(platform):
    """Everything that can end by itself has ended, or PATIENCE is over: the checker says what is left."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        left = platform.sql("SELECT (SELECT count(*) FROM jobs WHERE state IN ('queued', 'running')) + (SELECT count(*) FROM timeline_outbox) + "
                            "(SELECT count(*) FROM evidence_snapshots WHERE state NOT IN ('sealed', 'failed')) + (SELECT count(*) FROM timeline_heads h LEFT JOIN timeline_logs l USING (tenant_id) WHERE h.published < h.size OR h.size > coalesce(l.size, 0)) AS n")[0]["n"]
        if left == 0:
            return
        time.sleep(0.2)


class Reader:
    """Whoever trusts the keys and not the server: the program stella, and sh, openssl and sha256sum alone."""

    def __init__(self, platform, client):
        self.platform, self.client = platform, client

    def stella(self, *arguments):
        work = self.platform.path("tmp")
        done = subprocess.run([binary("stella"), "-q", *arguments], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "STELLA_URL": self.platform.url, "STELLA_TOKEN": self.client.token, "STELLA_CONFIG_DIR": work, "HOME": work})
        return done.returncode, (done.stdout + done.stderr)[-2000:]

    def bundles(self, ids):
        path, log = self.platform.path("tmp", "bundle.tgz"), self.platform.path("keys", "log.pub")
        for n, bundle in enumerate(ids):
            reply = self.client.get("/evidence/" + bundle)
            if reply.status != 200 or reply["verdict"]["result"] != "pass":
                yield f"bundle {bundle} does not verify: {reply}"
            with open(path, "wb") as f:
                f.write(self.client.post(f"/evidence/{bundle}/export", {"recipient": "chaos"}).body)
            code, text = self.stella("forensic", "verify", "--trust", self.platform.key_path(), "--trust-log", log, path)
            if code != 0:
                yield f"stella forensic verify refuses {bundle}: exit {code}: {text}"
            if n == 0:
                with open(self.platform.path("tmp", "verify.sh"), "wb") as f:
                    f.write(subprocess.run(["tar", "-xzOf", path, "verify.sh"], capture_output=True, check=True).stdout)
                done = subprocess.run(["sh", self.platform.path("tmp", "verify.sh"), self.platform.key_path(), path], capture_output=True, text=True, timeout=120)
                if done.returncode != 0:
                    yield f"verify.sh refuses bundle {bundle}: {done.stdout}{done.stderr}"

    def log(self, rng):
        """The whole log, beside the first checkpoint ever signed and one in between; what it shows as expired is what its dispositions say."""
        trust, tenant = self.platform.path("keys", "log.pub"), self.client.tenant
        signed = self.platform.path("objects", "tenants", tenant, "log", "checkpoints")
        sizes = sorted(map(int, os.listdir(signed)))
        for size in {sizes[0], rng.choice(sizes)}:
            code, text = self.stella("timeline", "verify", "--trust", trust, "--since", os.path.join(signed, str(size)))
            if code != 0:
                yield f"stella timeline verify --since {size} of {tenant}: exit {code}: {text}"
        shown, entries, cursor = set(), [], "from_index=0"
        while cursor:
            page = self.client.get("/timeline?order=log&limit=500&" + cursor)
            shown |= {i["log_index"] for i in page["items"] if i.get("state") == "EXPIRED"}
            entries += [i for i in page["items"] if i.get("state") != "EXPIRED"]
            cursor = page.json.get("next_cursor") and "cursor=" + urllib.parse.quote(page["next_cursor"])
        said = log_checker.expired_of(entries)
        if shown != said:
            yield f"{tenant}: {len(shown)} entries are shown as expired, the dispositions say {len(said)}"


def verify(platform, told, rng):
    owner = {r["bundle_id"]: r["tenant_id"] for r in platform.sql("SELECT bundle_id, tenant_id FROM evidence_snapshots")}
    made = list(told.acknowledged["bundles"]) + list(told.acknowledged["copies"])
    for login in ("admin", "beta-admin"):
        reader = Reader(platform, platform.client(login))
        yield from reader.bundles([b for b in made if owner.get(b) == reader.client.tenant])
        yield from reader.log(rng)


def expire(platform, told, rng):
    """The old entries go once nothing holds them, while stellad, and PostgreSQL now and then, is killed at every step of it."""
    for login, other in (("admin", "second"), ("beta-admin", "beta-second")):
        worker = Worker(platform, login, other, told, rng.random(), 0)
        if told.acknowledged["holds"].get((worker.tenant, OLD_CASE)) != "released":
            worker.hold(OLD_CASE, "release")
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        ended = {r["tenant_id"] for r in platform.sql("SELECT DISTINCT tenant_id FROM timeline_dispositions WHERE state IN ('executed', 'refused')")}
        planned = platform.sql("SELECT count(*) AS n FROM timeline_dispositions WHERE state = 'planned'")[0]["n"]
        if ended >= OLD.keys() and not planned:
            return
        time.sleep(rng.random() * 2.5)
        part = rng.choice(["stellad", "stellad", "stellad", "postgresql"])
        if time.monotonic() < deadline - PATIENCE * 0.7:
            platform.restart(part)
            platform.wait_ready()
    told.problems.append("the old entries did not expire: " + json.dumps(platform.sql("SELECT tenant_id, state, reason FROM timeline_dispositions")))


def one_run(seed, chains, keep):
    told, plan = Told(), plan_of(seed)
    with OldPlatform(settings=SETTINGS, keep=keep) as platform:
        admin = platform.client("admin")
        assert admin.post("/advisories?global=1&wait=60&source=osv", tar_of(SAMPLES + "/advisories"), headers={"content-type": "application/x-tar"}).status == 201
        for login in ("admin", "beta-admin"):
            client = platform.client(login)
            with open(SAMPLES + "/policy.yaml", "rb") as f:
                version = client.post("/policies", f.read())["policy_version"]
            assert client.post(f"/policies/{version}/activate").status == 200
        workers = [Worker(platform, login, other, told, f"{seed}/{login}", chains) for login, other in (("admin", "second"), ("second", "admin"), ("beta-admin", "beta-second"))]
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
        rng = random.Random(f"{seed}/after")
        expire(platform, told, rng)
        settle(platform)
        problems = told.problems + checker.check(platform, told.acknowledged, told.heads, platform.old)
        problems += list(verify(platform, told, rng))
        expired = platform.sql("SELECT tenant_id, state FROM timeline_dispositions ORDER BY 1, 2")
        if problems and not keep:
            lines = platform.log_tail("stellad", 100_000).splitlines()
            print(f"      plan of seed {seed}: {plan}\n" + "\n".join(x[:700] for x in lines if '"level":"info"' not in x)[-6000:])
        assert not problems, f"seed {seed}, {', '.join(dealt)}: {len(problems)} problems:\n        " + "\n        ".join(problems[:12])
        return f"{', '.join(dealt) or 'nothing struck'}; {told.requests} requests, {told.retries} repeated, {len(told.acknowledged['bundles'])} bundles, {' '.join(r['state'] for r in expired)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=int(os.environ.get("STELLA_CHAOS_RUNS") or 3))
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
