#!/usr/bin/env python3
"""An asked-for stop is a clean one, whatever is away at that moment and whatever is logged after the last flush: nobody dies of it.

Rows that wait for a database that has gone, and an exporter whose target goes in the middle of the stop, both make work for threads of the
telemetry while the process takes itself apart.
"""
import glob
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform")]
from report import Report  # noqa: E402
from stella_platform import Platform  # noqa: E402

ROUNDS = 3


class Target:
    """tests/telemetry/otlp_target.py, which takes everything until it is told otherwise."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="stella-target-")
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "..", "telemetry", "otlp_target.py"), self.dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"

    def mode(self, mode):
        self.process.stdin.write(mode + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n", "the target is gone"

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        subprocess.run(["rm", "-rf", self.dir], check=False)


def requests(p):
    c = p.client("admin")
    for _ in range(20):
        c.get("/sboms")


def end(p, part):
    """The status that it ended with when it was asked to end."""
    process = p.procs[part]
    p.kill(part, signal.SIGTERM)
    return process.returncode


def reports_of_crashes(p):
    return glob.glob(p.path("crash", "*", "*")) + glob.glob(p.path("telemetry", "rings", "**", "*crash-*"), recursive=True)


def whole(report, p, case, statuses):
    report.check(f"{case}: everybody ended by itself with 0", all(s == 0 for s in statuses), statuses)
    crashed = reports_of_crashes(p)
    report.check(f"{case}: no report of a crash", not crashed, crashed)
    for name in crashed:
        os.unlink(name)


def without_its_target(p, target):
    requests(p)
    time.sleep(1.2)  # so that what the stop says is what waits for the target
    threading.Timer(0.05, target.mode, ("down",)).start()
    statuses = [end(p, "stellad"), end(p, "runner")]
    time.sleep(0.2)
    target.mode("up")
    p.start("stellad")
    p.start("runner")
    p.wait_ready()
    return statuses


def without_its_database(p):
    requests(p)
    p.kill("postgresql", signal.SIGQUIT)
    statuses = [end(p, "stellad")]
    p.start("postgresql")
    p._wait_postgresql()
    p.start("stellad")
    p.wait_ready()
    return statuses


def main():
    report = Report("stop")
    target = Target()
    try:
        with Platform(settings={"telemetry.otlp_endpoint": target.url}, tenants=("acme",), telemetry_dir=True) as p:
            whole(report, p, "target away", [s for _ in range(ROUNDS) for s in without_its_target(p, target)])
            whole(report, p, "database away", [s for _ in range(ROUNDS) for s in without_its_database(p)])
    finally:
        target.close()
    report.end()


if __name__ == "__main__":
    main()
