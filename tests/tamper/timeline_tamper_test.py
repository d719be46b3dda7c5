#!/usr/bin/env python3
"""A superuser of the database and of the object store rewrites a tenant's log. `stella timeline verify` must find each change and name it; what it
cannot find without a checkpoint that the auditor kept is stated here as such. Every case begins from the same sound log and is undone after."""
import glob
import json
import os
import shutil
import subprocess
import sys
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "platform"))

from client import uuid7  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import Platform, binary  # noqa: E402

TABLES = ("timeline_log", "timeline_events", "timeline_heads", "timeline_logs", "timeline_checkpoints")
DEPLOYMENT = ("deployment_log", "deployment_checkpoints")  # what belongs to the deployment log
FOUND, UNSEEN = 1, 0
SHIFT = 1_000_000  # indexes move through here, so that none is there twice on the way
ENTRY = "UPDATE timeline_log SET entry = convert_to(replace(convert_from(entry, 'UTF8'), 'queue', 'quite'), 'UTF8') WHERE tenant_id = 'acme' AND log_index = {}"


def renumber(first, by):
    """Every index from `first` on moves by `by`, as an insertion or a removal before it would have it."""
    return (f"UPDATE timeline_log SET log_index = log_index + {SHIFT} WHERE tenant_id = 'acme' AND log_index >= {first}; "
            f"UPDATE timeline_log SET log_index = log_index - {SHIFT - by} WHERE tenant_id = 'acme' AND log_index >= {SHIFT};")


# Name, what is done, what `verify` says, what it says beside a kept checkpoint, and words that its report must have. `n`: an index in the middle.
CASES = [
    ("an entry is changed", ENTRY.format("{n}"), FOUND, FOUND, "entry {n}: INVALID"),
    ("an entry and its digest are changed",
     ENTRY.format("{n}") + "; UPDATE timeline_events e SET digest = sha256('\\x00'::bytea || l.entry) FROM timeline_log l WHERE l.tenant_id = 'acme' AND l.log_index = {n}"
     " AND e.tenant_id = 'acme' AND e.event_id = l.event_id", FOUND, FOUND, "do not lead to the signed root"),
    ("a digest is changed", "UPDATE timeline_events SET digest = sha256('x') WHERE tenant_id = 'acme' AND event_id = (SELECT event_id FROM timeline_log WHERE tenant_id = 'acme'"
     " AND log_index = {n})", FOUND, FOUND, "entry {n}: INVALID"),
    ("an entry is deleted", "DELETE FROM timeline_log WHERE tenant_id = 'acme' AND log_index = {n}", FOUND, FOUND, "entry {n}: MISSING"),
    ("an event is deleted from the search tables", "DELETE FROM timeline_events WHERE tenant_id = 'acme' AND event_id = (SELECT event_id FROM timeline_log WHERE"
     " tenant_id = 'acme' AND log_index = {n})", FOUND, FOUND, "entry {n}"),
    ("an entry is deleted and the rest closes up", "DELETE FROM timeline_log WHERE tenant_id = 'acme' AND log_index = {n}; " + renumber("{n}", -1), FOUND, FOUND, "MISSING"),
    ("an entry is put in", renumber("{n}", 1) + "INSERT INTO timeline_log (tenant_id, log_index, event_id, entry) SELECT tenant_id, {n}, gen_random_uuid(), entry FROM timeline_log"
     " WHERE tenant_id = 'acme' AND log_index = 3; INSERT INTO timeline_events SELECT (jsonb_populate_record(e, jsonb_build_object('event_id', (SELECT event_id FROM timeline_log"
     " WHERE tenant_id = 'acme' AND log_index = {n})))).* FROM timeline_events e WHERE e.tenant_id = 'acme' AND e.event_id = (SELECT event_id FROM timeline_log WHERE"
     " tenant_id = 'acme' AND log_index = 3)", FOUND, FOUND, "do not lead to the signed root"),
    ("two entries change places", f"UPDATE timeline_log SET log_index = {SHIFT} WHERE tenant_id = 'acme' AND log_index = 40; UPDATE timeline_log SET log_index = 40 WHERE"
     f" tenant_id = 'acme' AND log_index = 41; UPDATE timeline_log SET log_index = 41 WHERE tenant_id = 'acme' AND log_index = {SHIFT}", FOUND, FOUND, "do not lead to the signed root"),
    ("the last entries are cut off", "DELETE FROM timeline_log WHERE tenant_id = 'acme' AND log_index >= {n}", FOUND, FOUND, "entry {n}: MISSING"),
    ("the signed head is rewritten", "UPDATE timeline_logs SET note = replace(note, E'\\n' || size || E'\\n', E'\\n' || size - 1 || E'\\n'), size = size - 1 WHERE tenant_id = 'acme'",
     FOUND, FOUND, "a signature of a known key does not verify"),
    ("the head of another log takes its place", "UPDATE timeline_logs a SET (origin, size, root, note, edge) = (SELECT origin, size, root, note, edge FROM timeline_logs WHERE"
     " tenant_id = 'beta') WHERE a.tenant_id = 'acme'", FOUND, FOUND, "do not lead to the signed root"),
    ("entries are cut off together with the heads",
     "DELETE FROM timeline_log WHERE tenant_id = 'acme' AND log_index >= {old}; DELETE FROM timeline_checkpoints WHERE tenant_id = 'acme' AND size > {old};"
     " UPDATE timeline_logs l SET (size, root, note, edge) = (SELECT size, root, note, edge FROM old_logs o WHERE o.tenant_id = 'acme') WHERE l.tenant_id = 'acme';"
     " UPDATE timeline_heads h SET (size, tree, root) = (SELECT size, tree, root FROM old_heads o WHERE o.tenant_id = 'acme') WHERE h.tenant_id = 'acme'",
     UNSEEN, FOUND, "became shorter"),
]


class Log:
    def __init__(self, platform, directory):
        self.platform, self.directory, self.client = platform, directory, platform.client("admin")
        self.trust = platform.path("keys", "log.pub")
        self.kept, self.early = os.path.join(directory, "kept.checkpoint"), os.path.join(directory, "early.checkpoint")
        self.deployment = os.path.join(directory, "deployment.checkpoint")

    def stella(self, *arguments):
        done = subprocess.run([binary("stella"), "-q", *arguments], capture_output=True, text=True, timeout=300,
                              env={**os.environ, "STELLA_URL": self.platform.url, "STELLA_TOKEN": self.client.token, "STELLA_CONFIG_DIR": self.directory, "HOME": self.directory})
        return done.returncode, done.stdout + done.stderr

    def keep(self, report, file):
        code, text = self.stella("timeline", "checkpoint", "--trust", self.trust, "--out", file)
        report.check("a checkpoint is kept", code == 0, text)

    def copy_all(self, name):
        """With the deployment log, of one instant: it goes on meanwhile."""
        copies = [(f"{name}_{t[9:]}", t) for t in TABLES] + [(f"{name}_of_{t}", t) for t in DEPLOYMENT]
        self.platform.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; " + "; ".join(f"CREATE TABLE {copy} AS SELECT * FROM {table}" for copy, table in copies) + "; COMMIT")

    def restore_all(self, name):
        """The operator puts an older state in place everywhere, objects included."""
        self.restore(name)
        self.platform.execute("BEGIN; " + "; ".join(f"DELETE FROM {t}; INSERT INTO {t} SELECT * FROM {name}_of_{t}" for t in DEPLOYMENT) + "; COMMIT")
        for there in glob.glob(self.platform.path("objects", "tenants", "*", "log", "checkpoints")) + [self.platform.path("objects", "platform", "log")]:
            shutil.rmtree(there)

    def keep_deployment(self, report):
        code, text = self.stella("timeline", "checkpoint", "--deployment", "--trust", self.trust, "--out", self.deployment)
        report.check("a checkpoint of the deployment log is kept", code == 0, text)

    def verify(self, since=False, kept=None):
        return self.stella("timeline", "verify", "--trust", self.trust, *(["--since", kept or self.kept] if since else []))

    def emit(self, count):
        for _ in range(count):
            event = {"event_id": uuid7(), "kind": "service.degraded", "resource_type": "service", "resource_id": "scanner",
                     "details": {"service": "scanner", "part": "queue", "reason": uuid.uuid4().hex}}
            assert self.client.post("/timeline", event).status == 201

    def signed(self):
        """The newest checkpoint, once it covers all that was emitted."""
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            state = self.platform.sql("SELECT l.size AS signed, h.size AS size, (SELECT count(*) FROM timeline_outbox) AS waiting FROM timeline_logs l JOIN timeline_heads h"
                                      " USING (tenant_id) WHERE tenant_id = 'acme'")
            if state and state[0]["waiting"] == 0 and state[0]["signed"] == state[0]["size"]:
                return state[0]["size"]
            time.sleep(0.05)
        raise AssertionError("nothing was signed within two minutes")

    def copy(self, name):
        for table in TABLES:
            self.platform.execute(f"DROP TABLE IF EXISTS {name}_{table[9:]}; CREATE TABLE {name}_{table[9:]} AS SELECT * FROM {table}")

    def restore(self, name):
        self.platform.execute("BEGIN; " + "; ".join(f"DELETE FROM {t}; INSERT INTO {t} SELECT * FROM {name}_{t[9:]}" for t in TABLES) + "; COMMIT")


def tampered_rows(report, log, n, old):
    for name, attack, alone, beside, words in CASES:
        log.platform.execute("BEGIN; " + attack.replace("{n}", str(n)).replace("{old}", str(old)) + "; COMMIT")
        for since, expected in ((False, alone), (True, beside)):
            code, text = log.verify(since)
            said = expected == UNSEEN or words.replace("{n}", str(n)) in text
            report.check(f"{name}: {'with' if since else 'without'} a kept checkpoint: {'found' if expected else 'not to be seen'}", (code != 0) == bool(expected) and said,
                         f"exit {code}: {text}")
        log.restore("sound")
    code, text = log.verify(True)
    report.check("undone, the log is sound again", code == 0, text)


def tampered_tile(report, log):
    """Proofs rest on tiles. `verify` alone reads every entry and needs none."""
    tiles = [os.path.join(d, f) for d, _, files in os.walk(log.platform.path("objects")) for f in files if "/tile/" in os.path.join(d, f) and "/acme/" in os.path.join(d, f)]
    report.check("the log has a full tile", len(tiles) >= 1, str(tiles))
    for tile in tiles:
        with open(tile, "rb") as f:
            sound = f.read()
        os.chmod(tile, 0o644)
        with open(tile, "wb") as f:
            f.write(bytes([sound[0] ^ 1]) + sound[1:])
        code, text = log.verify(True, log.early)
        report.check("a tile is rewritten: with a kept checkpoint: found", code != 0 and "cannot prove" in text, f"exit {code}: {text}")
        event = log.platform.sql("SELECT event_id FROM timeline_log WHERE tenant_id = 'acme' AND log_index = 7")[0]["event_id"]
        reply = log.client.get(f"/timeline/{event}/proof")
        report.check("and no proof that rests on it is given out", reply.status >= 400, repr(reply))
        with open(tile, "wb") as f:
            f.write(sound)
    code, text = log.verify(True, log.early)
    report.check("undone, the proof holds again", code == 0, text)


def member_renamed(lines):
    return [lines[0], lines[1].replace('"kind":', '"kynd":', 1), *lines[2:]]


def word_changed(lines):
    return [*lines[:50], lines[50].replace("queue", "quite"), *lines[51:]]


def line_deleted(lines):
    return lines[:50] + lines[51:]


def line_deleted_and_renumbered(lines):
    return [json.dumps({**json.loads(line), "log_index": i}) if i < len(lines) - 2 else line for i, line in enumerate(lines[:50] + lines[51:])]


def lines_swapped(lines):
    return lines[:50] + [lines[51], lines[50]] + lines[52:]


def tail_cut(lines):
    return lines[:-10]


def tail_cut_before_the_checkpoint(lines):
    return lines[:-10] + lines[-1:]


def another_checkpoint(lines):
    return [*lines[:-1], json.dumps({"checkpoint": json.loads(lines[-1])["checkpoint"].replace("stellaops.dev/log/", "stellaops.dev/log/0", 1)})]


def something_behind(lines):
    return lines + lines[:1]


def exported(report, log):
    file, changed = os.path.join(log.directory, "log.ndjson"), os.path.join(log.directory, "changed.ndjson")
    code, text = log.stella("timeline", "export", "--trust", log.trust, "--out", file)
    report.check("an offline copy is written", code == 0, text)
    offline = lambda name, *more: log.stella("--url", "http://127.0.0.1:9", "timeline", "verify", "--trust", log.trust, "--file", name, *more)
    for more in ((), ("--since", log.kept), ("--since", log.early)):
        code, text = offline(file, *more)
        report.check(f"the copy is accepted without a server {' '.join(more[:1])}", code == 0, text)
    with open(file, encoding="utf-8") as f:
        lines = f.read().splitlines()
    for tamper in (member_renamed, word_changed, line_deleted, line_deleted_and_renumbered, lines_swapped, tail_cut, tail_cut_before_the_checkpoint, another_checkpoint, something_behind):
        after = tamper(list(lines))
        assert after != lines, tamper.__name__
        with open(changed, "w", encoding="utf-8") as f:
            f.write("\n".join(after) + "\n")
        code, text = offline(changed)
        report.check(f"copy: {tamper.__name__.replace('_', ' ')}: found", code != 0, f"exit {code}: {text}")
    log.platform.execute(ENTRY.format(7))
    os.unlink(file)
    code, text = log.stella("timeline", "export", "--trust", log.trust, "--out", file)
    report.check("no copy of a log that is not what was signed", code != 0 and not os.path.exists(file) and not os.path.exists(file + ".part"), f"exit {code}: {text}")
    log.restore("sound")


def forked(report, log):
    """The database goes back to an older copy and the platform itself signs another history from there: every signature is good."""
    platform = log.platform
    platform.kill("stellad")
    log.restore("old")
    platform.start("stellad")
    platform.wait_ready()
    log.client = platform.client("admin")
    log.emit(60)
    size = log.signed()
    code, text = log.verify()
    report.check(f"another history of {size} entries, signed by the platform: without a kept checkpoint: not to be seen", code == 0, f"exit {code}: {text}")
    code, text = log.verify(True)
    report.check("another history, signed by the platform: with a kept checkpoint: found", code == 1 and "others today" in text, f"exit {code}: {text}")
    code, text = log.verify(True, log.deployment)
    report.check("with one of the deployment log: not to be seen, for that has both", code == 0 and "the deployment log continues" in text, f"exit {code}: {text}")


def forked_deployment(report, log):
    """All of it goes back, the deployment log and the objects as well, and the platform signs another history of both."""
    platform = log.platform
    platform.kill("stellad")
    log.restore_all("old")
    platform.start("stellad")
    platform.wait_ready()
    log.client = platform.client("admin")
    log.emit(3)
    log.signed()
    code, text = log.verify(True, log.deployment)
    said = "the deployment log became shorter" in text or "the deployment log has two histories" in text  # as many leaves as it has by now
    report.check("another deployment log, just begun: with a kept checkpoint of it: found", code == 1 and said, f"exit {code}: {text}")
    kept = int(open(log.deployment, encoding="utf-8").read().split("\n")[1])
    while (reply := log.client.get("/timeline/checkpoint/deployment")).status != 200 or reply["size"] <= kept:
        log.emit(3)
        log.signed()
        time.sleep(0.3)
    code, text = log.verify()
    report.check("another deployment log, signed by the platform: without a kept checkpoint: not to be seen", code == 0, f"exit {code}: {text}")
    code, text = log.verify(True, log.deployment)
    report.check("with a kept checkpoint of it: found", code == 1 and "the deployment log has two histories" in text, f"exit {code}: {text}")
    code, text = log.verify(True)
    report.check("with one of the tenant's log, too", code == 1, f"exit {code}: {text}")


def main():
    report = Report("timeline tamper")
    with Platform(settings={"timeline.checkpoint_every": "1s", "timeline.checkpoint_events": 50}) as platform:
        log = Log(platform, platform.path("tmp"))
        log.emit(100)
        log.signed()
        log.keep(report, log.early)
        log.emit(170)
        old = log.signed()
        log.copy_all("old")
        log.emit(20)
        log.signed()
        log.keep(report, log.kept)
        log.keep_deployment(report)
        log.emit(5)
        size = log.signed()
        log.copy("sound")
        for since in (False, True):
            code, text = log.verify(since)
            report.check(f"the log as it is, {size} entries: accepted", code == 0, text)
        code, text = log.verify(True, log.deployment)
        report.check("and beside the kept checkpoint of the deployment log", code == 0 and "the deployment log continues" in text, text)
        tampered_rows(report, log, old - 20, old)
        tampered_tile(report, log)
        exported(report, log)
        forked(report, log)
        forked_deployment(report, log)
    report.end()


if __name__ == "__main__":
    main()
