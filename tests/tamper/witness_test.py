#!/usr/bin/env python3
"""A running platform and three witnesses, programs of their own: the deployment log's checkpoint carries a quorum with one witness down, a tenant's entries and
a bundle are verified up to the witnesses, and a history that the platform itself rewrote is refused by them and said by the platform."""
import json
import os
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "platform"), os.path.join(ROOT, "tests", "coverage")]

import line_schema  # noqa: E402
from client import Unreachable  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import Platform, binary  # noqa: E402
from bundle_files import make_bundle  # noqa: E402
from timeline_tamper_test import Log  # noqa: E402


class Witness:
    """The program with its directory."""

    def __init__(self, platform, number, log_vkey):
        self.directory, self.name = platform.path("tmp", f"w{number}"), f"w{number}.example/witness"
        os.mkdir(self.directory)
        for file, text in (("logs", f"log {log_vkey}\nquorum none\n"), ("pass", "of the witness\n"),
                           ("w.yaml", f"witness.name: {self.name}\nwitness.logs: {self.directory}/logs\nwitness.state_dir: {self.directory}/state\n"
                            f"witness.key_file: {self.directory}/key.pem\nwitness.passphrase_file: {self.directory}/pass\nwitness.port: 0\n"
                            f"data_dir: {self.directory}\nlog.path: {self.directory}/witness.log\n")):
            with open(os.path.join(self.directory, file), "w") as f:
                f.write(text)
        self.vkey = subprocess.run([binary("stella-witness"), "--init", "--config", self.directory + "/w.yaml"], capture_output=True, text=True, check=True).stdout.strip()
        self.process = subprocess.Popen([binary("stella-witness"), "--config", self.directory + "/w.yaml", "--ready-file", self.directory + "/ready"], stderr=subprocess.DEVNULL)
        wait(lambda: os.path.exists(self.directory + "/ready"))
        with open(self.directory + "/ready") as f:
            self.url = "http://127.0.0.1:" + f.read().strip()

    def stop(self):
        self.process.terminate()
        self.process.wait()

    def lines(self):
        with open(self.directory + "/witness.log", encoding="utf-8") as f:
            return [json.loads(line) for line in f]


def wait(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.05)
    raise AssertionError("waited in vain")


def answered(platform):
    try:
        return platform.client("admin")
    except Unreachable:
        return None


def cosigners(client):
    """Of the deployment checkpoint that covers the newest of the tenant: the covered size, and the names under the signed note, the log's own first."""
    answer = wait(lambda: (lambda r: r if r.status == 200 else None)(client.get("/timeline/checkpoint/deployment")))
    return answer["covers"]["size"], [line.split(" ")[1] for line in answer["checkpoint"].split("\n\n")[1].strip().split("\n")]


def verify_bundle(platform, log, file, policy):
    return log.stella("forensic", "verify", file, "--trust", platform.key_path(), "--trust-log", log.trust, "--witness", policy, "--require", "INCLUSION")


def restart(platform, log):
    platform.kill("stellad")
    platform.start("stellad")
    platform.wait_ready()
    log.client = platform.client("admin")


def main():
    report = Report("witness")
    with Platform(settings={"timeline.checkpoint_every": "1s"}, tenants=("acme",)) as platform:
        log = Log(platform, platform.path("tmp"))
        log.emit(10)
        old = log.signed()
        log.copy_all("old")
        cosigners(log.client)
        witnesses = [Witness(platform, i, log.client.get("/timeline/checkpoint/deployment")["vkey"]) for i in range(3)]
        try:
            policy = platform.path("tmp", "policy")
            with open(policy, "w") as f:
                f.writelines(f"witness w{i} {w.vkey} {w.url}\n" for i, w in enumerate(witnesses))
                f.write("group two 2 w0 w1 w2\nquorum two\n")
            with open(platform.path("stella.yaml"), "a") as f:
                f.write(f"timeline.witness_policy: {policy}\n")
            witnesses[1].stop()
            restart(platform, log)
            log.emit(20)
            size = log.signed()
            there = wait(lambda: cosigners(log.client)[1][1:])
            wait(lambda: any(line["message"] == "a checkpoint is cosigned" for line in witnesses[0].lines()))
            line = next(line for line in witnesses[0].lines() if line["message"] == "a checkpoint is cosigned")
            problems = line_schema.errors(line_schema.load(os.path.join(ROOT, "docs", "reference", "log-line.schema.json")), line)
            report.check("a witness says what it did, in our form and in a trace of its own",
                         not problems and line["service"] == "stella-witness" and line["route"] == "/add-checkpoint" and len(line["trace_id"]) == 32 and line["http.response.status_code"] == 200, f"{problems} {line}")
            report.check("two of three witnesses cosigned, one is down", sorted(there) == [witnesses[0].name, witnesses[2].name], str(there))
            code, text = log.stella("timeline", "verify", "--trust", log.trust, "--witness", policy)
            report.check("verify leads from the entries to the witnesses", code == 0 and f"{witnesses[0].name} cosigned" in text and f"{witnesses[1].name} cosigned" not in text, text)
            code, text = log.stella("timeline", "checkpoint", "--deployment", "--trust", log.trust, "--witness", policy)
            report.check("the deployment checkpoint is shown with its witnesses", code == 0 and witnesses[2].name in text, text)
            strict = platform.path("tmp", "strict")
            with open(strict, "w") as f:
                f.write(f"witness w1 {witnesses[1].vkey}\nquorum w1\n")
            code, text = log.stella("timeline", "verify", "--trust", log.trust, "--witness", strict)
            report.check("verify does not accept it for the one that was away", code == 1 and "deployment log" in text, text)
            bundle = platform.path("tmp", "w.tgz")
            with open(bundle, "wb") as f:
                f.write(make_bundle(log.client))
            code, text = verify_bundle(platform, log, bundle, policy)
            report.check("a bundle is verified up to the witnesses", code == 0 and "cosigned by 2 witnesses" in text, text)
            code, text = verify_bundle(platform, log, bundle, strict)
            report.check("and refused for the one that was away", code == 1, text)
            log.keep(report, log.kept)
            log.emit(5)
            grown = log.signed()
            wait(lambda: cosigners(log.client)[0] == grown and len(cosigners(log.client)[1]) == 3)
            report.check("the next checkpoint is cosigned, too", True)

            # Back to an older copy, and on from there: every signature of the platform is good.
            platform.kill("stellad")
            log.restore_all("old")
            platform.start("stellad")
            log.client = wait(lambda: answered(platform))  # not ready: the witnesses object at once
            log.emit(size - old + 40)
            longer = log.signed()
            ready = wait(lambda: (lambda r: r if r.status == 503 else None)(log.client.get("/readyz")))
            report.check("the platform says that a witness saw another history", "witness" in ready["parts"]["indexer"], repr(ready))
            seen, names = cosigners(log.client)
            report.check(f"no witness cosigned the other history of {longer} entries", len(names) == 1 and seen >= old, str(names))
            code, text = log.stella("timeline", "verify", "--trust", log.trust, "--witness", policy)
            report.check("verify says so, too", code == 1 and "deployment log" in text, text)
        finally:
            for w in witnesses:
                w.stop()
    report.end()


if __name__ == "__main__":
    main()
