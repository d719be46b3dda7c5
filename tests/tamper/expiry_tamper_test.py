#!/usr/bin/env python3
"""Entries of a log expire on a running platform: what is deleted by a disposition is accepted as EXPIRED, with proofs and an offline copy that hold; what a
superuser deletes besides, or covers with a record of his own, is found and named."""
import json
import os
import sys
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "platform")]

from report import Report  # noqa: E402
from stella_platform import Platform  # noqa: E402
from client import uuid7  # noqa: E402
from timeline_tamper_test import TABLES, Log  # noqa: E402

import timeline_tamper_test  # noqa: E402

DAY = 86400
OLD, KEPT = 300, 150
YOUNG = "(SELECT max(log_index) - 2 FROM timeline_log WHERE tenant_id = 'acme')"
# Whoever has written his own row of the record makes the server call it EXPIRED; the log does not.
RECORD = ("INSERT INTO timeline_dispositions (tenant_id, disposition_id, from_index, below_index, state, gone, planned_at, planned_event) VALUES ('acme', gen_random_uuid(), {n}, {n} + 1, 'executed',"
          " int8multirange(int8range({n}, {n} + 1)), now(), gen_random_uuid());")
EXECUTED = ("tenant_id = 'acme' AND event_id = (SELECT e.event_id FROM timeline_events e WHERE e.tenant_id = 'acme' AND e.kind = 'disposition.executed' AND e.details_jsonb->>'what' = 'timeline_entries'"
            " ORDER BY e.ts LIMIT 1)")
WIDER = ("UPDATE timeline_log SET entry = convert_to(regexp_replace(convert_from(entry, 'UTF8'), '\"kept\":\\[[^]]*\\]', '\"kept\":[]'), 'UTF8') WHERE " + EXECUTED + ";")
KEPT_GOES = ("DELETE FROM timeline_log WHERE tenant_id = 'acme' AND log_index = {kept}; UPDATE timeline_dispositions SET gone = gone + int8multirange(int8range({kept}, {kept} + 1))"
             " WHERE tenant_id = 'acme' AND from_index = 0 AND state = 'executed';")

# Name, what is done, words that `verify` must have.
CASES = [
    ("a young entry is deleted without a disposition", "DELETE FROM timeline_log WHERE tenant_id = 'acme' AND log_index = {n}", "entry {n}: MISSING"),
    ("a young entry is deleted, and the server's record says that it expired", "DELETE FROM timeline_log WHERE tenant_id = 'acme' AND log_index = {n};" + RECORD, "entry {n}: MISSING: called EXPIRED"),
    ("more is deleted than the disposition says", KEPT_GOES, "entry {kept}: MISSING: called EXPIRED"),
    ("more is deleted, and the disposition in the log is made to say so", KEPT_GOES + WIDER, "INVALID"),
    ("the disposition in the log is rewritten together with its digest", KEPT_GOES + WIDER + "UPDATE timeline_events e SET digest = sha256('\\x00'::bytea || l.entry) FROM timeline_log l WHERE"
     " l.tenant_id = 'acme' AND e.tenant_id = 'acme' AND e.event_id = l.event_id AND l." + EXECUTED.replace("tenant_id = 'acme' AND event_id", "event_id", 1), "do not lead to the signed root"),
    ("the disposition in the log is deleted", "DELETE FROM timeline_log WHERE " + EXECUTED, "MISSING"),
    ("the server's record of the disposition is deleted", "DELETE FROM timeline_dispositions WHERE tenant_id = 'acme'", "entry 0: MISSING"),
]


class OldPlatform(Platform):
    """The log of acme begins with entries of 300 days ago, as they would have come then: in the outbox before all others, where the real indexer finds
    them. A hold keeps them until it is released."""
    made = False

    def start(self, part):
        if part == "stellad" and not self.made:
            self.made = True
            for begin in range(0, OLD, 50):
                rows = ", ".join(self.old_row(i) for i in range(begin, begin + 50))
                self.execute("INSERT INTO timeline_outbox (seq, shard, tenant_id, event_id, ts, entry) OVERRIDING SYSTEM VALUE SELECT v.seq, o.shard, 'acme', v.event_id::uuid, v.ts::timestamptz, convert_to(v.entry, 'UTF8')"
                             f" FROM (VALUES {rows}) v(seq, event_id, ts, entry), (SELECT shard FROM timeline_outbox WHERE tenant_id = 'acme' LIMIT 1) o")
            self.execute("INSERT INTO evidence_holds (tenant_id, hold_id, case_id, authority, reason, placed_by) VALUES ('acme', gen_random_uuid(), 'CASE-1', 'court', 'order', 'user:x')")
        super().start(part)

    @staticmethod
    def old_row(i):
        ts = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(time.time() - 300 * DAY + i)) + ".000000Z"
        entry = {"event_id": uuid7(), "ts": ts, "tenant_id": "acme", "project_id": None, "kind": "case.closed" if i == KEPT else "service.degraded", "actor": "system:test",
                 "resource_type": "service", "resource_id": "scanner", "trace_id": uuid.uuid4().hex, "details": {"service": "scanner", "part": "queue", "reason": uuid.uuid4().hex}}
        return f"({i - OLD - 1000}, '{entry['event_id']}', '{ts}', '{json.dumps(entry, sort_keys=True, separators=(',', ':'))}')"


def dispositions(platform):
    return platform.sql("SELECT state, reason, from_index, below_index, gone::text AS gone FROM timeline_dispositions WHERE tenant_id = 'acme' ORDER BY planned_at")


def expired(report, log, first):
    """The log after its first 300 old entries went."""
    code, text = log.verify()
    report.check("the log with expired entries is accepted", code == 0 and "of them have expired" in text, f"exit {code}: {text}")
    code, text = log.verify(True)
    report.check("and continues the checkpoint that was kept before", code == 0, f"exit {code}: {text}")
    page = log.client.get("/timeline?order=log&from_index=0&limit=500")
    indexes = [i["log_index"] for i in page["items"]]
    report.check("a page of the log has no holes", indexes == list(range(len(indexes))) and page["contiguous"] and page["left_out"] == 0, repr(indexes[:20]))
    old = [i for i in page["items"] if i["state"] == "EXPIRED"]
    report.check("an expired entry is its index and its hash", len(old) == OLD - 1 and all(sorted(i) == ["digest", "log_index", "state"] for i in old), repr(old[:1]))
    small = log.client.get("/timeline?order=log&from_index=3&limit=4")
    following = log.client.get("/timeline?order=log&limit=4&cursor=" + small["next_cursor"])
    report.check("pages of expired entries follow each other", [i["log_index"] for i in small["items"] + following["items"]] == list(range(3, 11)), repr(following))
    report.check("its digest is what it was", old[5]["digest"] == first["digest"] and old[5]["log_index"] == first["log_index"], repr((old[5], first)))
    report.check("a search does not find it", log.client.get(f"/timeline/{first['event_id']}").status == 404)
    report.check("its proof is not to be had without its index", log.client.get(f"/timeline/{first['event_id']}/proof").status == 404)
    proof = log.client.get(f"/timeline/{first['event_id']}/proof?log_index={first['log_index']}")
    report.check("and with it is", proof.status == 200 and f"index {first['log_index']}\n" in proof.text, repr(proof))


def tampered(report, log, kept):
    n = log.platform.sql("SELECT " + YOUNG + " AS n")[0]["n"]
    for name, attack, words in CASES:
        fill = lambda text: text.replace("{n}", str(n)).replace("{kept}", str(kept))
        log.platform.execute("BEGIN; " + fill(attack) + "; COMMIT")
        code, text = log.verify()
        report.check(f"{name}: found", code == 1 and fill(words) in text, f"exit {code}: {text}")
        log.restore("sound")
    code, text = log.verify()
    report.check("undone, the log is sound again", code == 0, f"exit {code}: {text}")


def tampered_tile(report, log):
    tile = log.platform.path("objects", "tenants", "acme", "log", "tile", "0", "000")
    with open(tile, "rb") as f:
        sound = f.read()
    os.chmod(tile, 0o644)
    with open(tile, "wb") as f:
        f.write(bytes([sound[0] ^ 1]) + sound[1:])
    code, text = log.verify()
    report.check("the tile with the hashes of expired entries is rewritten: found", code == 1 and "do not lead to the signed root" in text, f"exit {code}: {text}")
    with open(tile, "wb") as f:
        f.write(sound)


def exported(report, log):
    file, changed = os.path.join(log.directory, "log.ndjson"), os.path.join(log.directory, "changed.ndjson")
    code, text = log.stella("timeline", "export", "--trust", log.trust, "--out", file)
    report.check("an offline copy is written", code == 0, text)
    offline = lambda name: log.stella("--url", "http://127.0.0.1:9", "timeline", "verify", "--trust", log.trust, "--file", name, "--since", log.kept)
    code, text = offline(file)
    report.check("and accepted without a server", code == 0 and "of them have expired" in text, f"exit {code}: {text}")
    graph = os.path.join(log.directory, "log.jsonld")
    code, text = log.stella("timeline", "export", "--format", "case", "--trust", log.trust, "--out", graph)
    report.check("so is a graph", code == 0, text)
    code, text = offline(graph)
    report.check("which is accepted, too", code == 0 and "of them have expired" in text, f"exit {code}: {text}")
    with open(file, encoding="utf-8") as f:
        lines = f.read().splitlines()
    young = max(i for i, line in enumerate(lines[:-1]) if "service.degraded" in line)
    hidden = json.dumps({"log_index": young, "digest": log.client.get(f"/timeline?order=log&from_index={young}&limit=1")["items"][0]["digest"], "state": "EXPIRED"})
    for name, after in (("the hash of an expired entry is changed", [json.dumps({**json.loads(lines[0]), "digest": uuid.uuid4().hex * 2}), *lines[1:]]),
                        ("two expired entries change places", [json.dumps({**json.loads(lines[1]), "log_index": 0}), json.dumps({**json.loads(lines[0]), "log_index": 1}), *lines[2:]]),
                        ("a young entry is shown as expired", lines[:young] + [hidden] + lines[young + 1:])):
        with open(changed, "w", encoding="utf-8") as f:
            f.write("\n".join(after) + "\n")
        code, text = offline(changed)
        report.check(f"copy: {name}: found", code != 0, f"exit {code}: {text}")


def record(log, kind, until, first, below, disposition):
    """A record in the keeper's words, put into the outbox: the platform itself makes it a signed entry of the log."""
    counts = {"deleted": below - first, "kept": 0}
    ts = stamp(time.time())
    entry = {"event_id": uuid7(), "ts": ts, "tenant_id": "acme", "project_id": None, "kind": kind, "actor": "system:locker", "resource_type": "tenant", "resource_id": "acme", "trace_id": uuid.uuid4().hex,
             "details": {"what": "timeline_entries", "until": until, "disposition_id": disposition, "from_index": first, "below_index": below, "counts": counts,
                         **({"kept": []} if kind == "disposition.executed" else {})}}
    log.platform.execute("INSERT INTO timeline_outbox (shard, tenant_id, event_id, ts, entry) VALUES"
                         f" (0, 'acme', '{entry['event_id']}', '{ts}', convert_to('{json.dumps(entry, sort_keys=True, separators=(',', ':'))}', 'UTF8'))")
    log.signed()


def stamp(seconds):
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(seconds)) + ".000000Z"


def forged(report, log):
    """Young entries go, and the platform signs a record of it that a superuser put into the outbox. Nothing is undone here: the log has it for good."""
    first, below = OLD, OLD + 5
    record(log, "disposition.executed", "2020-01-01T00:00:00.000000Z", first, below, str(uuid.uuid4()))
    gone = f"tenant_id = 'acme' AND log_index >= {first} AND log_index < {below}"
    log.platform.execute(f"BEGIN; DELETE FROM timeline_events WHERE tenant_id = 'acme' AND event_id IN (SELECT event_id FROM timeline_log WHERE {gone}); DELETE FROM timeline_log WHERE {gone};"
                         + RECORD.replace("{n} + 1", str(below)).replace("{n}", str(first)) + " COMMIT")
    missing = f"entries {first} to {below - 1}: MISSING: called EXPIRED"

    def found(name, words):
        code, text = log.verify(True)
        report.check(f"{name}: found", code == 1 and missing in text and words in text, f"exit {code}: {text}")

    found("young entries are deleted under a forged record in the log", "no plan of it stands before it")
    for name, until, begin, words in (("a forged plan and record that begin in the middle of the log", stamp(time.time()), first + 1, "a log is deleted from its beginning on"),
                                      ("a forged plan and record that speak of entries older than the log", "2020-01-01T00:00:00.000000Z", first, "which is still there"),
                                      ("a forged plan and record that speak of entries of tomorrow", stamp(time.time() + DAY), first, "later than the record itself")):
        disposition = str(uuid.uuid4())
        record(log, "disposition.planned", until, begin, below, disposition)
        record(log, "disposition.executed", until, begin, below, disposition)
        found(name, words)
    now, disposition = stamp(time.time() - 60), str(uuid.uuid4())
    record(log, "disposition.planned", now, first, below, disposition)
    record(log, "disposition.executed", now, first, below, disposition)
    code, text = log.verify(True)
    report.check("a forged plan and record that say how young it was: not to be seen, but said", code == 0 and "as older than " + now[:19] in text, f"exit {code}: {text}")


def main():
    report = Report("timeline expiry")
    timeline_tamper_test.TABLES = (*TABLES, "timeline_dispositions")
    with OldPlatform(settings={"timeline.checkpoint_every": "1s", "timeline.checkpoint_events": 50}) as platform:
        log, second = Log(platform, platform.path("tmp")), platform.client("second")
        log.emit(20)
        log.signed()
        log.keep(report, log.kept)
        first = log.client.get("/timeline?order=log&from_index=5&limit=1")["items"][0]
        report.check("the log begins long ago", first["kind"] == "service.degraded" and first["log_index"] == 5, repr(first))
        report.check("a hold of the tenant keeps all of it", dispositions(platform) == [], repr(dispositions(platform)))
        log.client.post("/evidence/hold/CASE-1", {"action": "request_release", "reason": "over"})
        report.check("two people release the hold", second.post("/evidence/hold/CASE-1", {"action": "confirm_release"})["step"] == "released")
        deadline = time.monotonic() + 150
        while time.monotonic() < deadline and [d["state"] for d in dispositions(platform)] != ["executed"]:
            time.sleep(0.1)
        done = dispositions(platform)
        report.check("then what is old goes", [(d["state"], d["from_index"], d["below_index"], d["gone"]) for d in done] == [("executed", 0, OLD, f"{{[0,{KEPT}),[{KEPT + 1},{OLD})}}")], repr(done))
        # At once: the record of the deletion may not be signed yet.
        code, text = log.verify()
        report.check("a reader in between is not alarmed", code == 0, f"exit {code}: {text}")
        log.emit(5)
        log.signed()
        expired(report, log, first)
        exported(report, log)
        log.copy("sound")
        tampered(report, log, KEPT)
        tampered_tile(report, log)
        forged(report, log)
    report.end()


if __name__ == "__main__":
    main()
