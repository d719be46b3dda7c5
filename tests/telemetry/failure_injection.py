#!/usr/bin/env python3
"""The running platform while its telemetry target fails in every way: requests do not notice, nothing that was promised is lost, and the
accounting is exact. The target is otlp_target.py; the protobuf classes of OpenTelemetry read what it got (otlp_python.py).

  tests/telemetry/failure_injection.py            STELLA_BIN_DIR says which build

Prints a histogram of request latencies per mode. Nothing is asserted on times but this: no request waits as long as the exporter does.
"""
import collections
import glob
import http.client
import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time

import otlp_python

otlp_python.enter("failure injection")

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs  # noqa: E402
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics  # noqa: E402
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces  # noqa: E402

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform")]
from client import Client  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import Platform  # noqa: E402

MODES = ["up", "slow", "throttled", "unavailable", "half-closed", "garbage", "silent", "down"]
SECONDS = 2.0           # of each mode
TIMEOUT = 2.5           # of the exporter's attempts
RATE, CLIENTS = 160, 4  # requests per second over all
BOUNDS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000]  # ms
DISK = 48 << 20
SIGNALS = {"logs": "logs", "spans": "traces"}  # of records -> of exports

Log = collections.namedtuple("Log", "trace span body severity")


class Target:
    """The receiver and what it acknowledged, stellad's alone."""

    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix="stella-target-")
        self.process = subprocess.Popen([sys.executable, os.path.join(HERE, "otlp_target.py"), self.dir], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.url = f"http://127.0.0.1:{int(self.process.stdout.readline())}"
        self.read = set()
        self.logs, self.spans = [], []
        self.items = collections.Counter()

    def mode(self, mode):
        self.process.stdin.write(mode + "\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "ok\n", "the target is gone"

    def refresh(self):
        for name in sorted(glob.glob(self.dir + "/*[!t]")):  # no .part
            if name in self.read:
                continue
            self.read.add(name)
            with open(name, "rb") as file:
                self.take(name.rsplit("-", 1)[1], file.read())
        return self

    def take(self, what, body):
        def ours(resource):
            return any(a.key == "service.name" and a.value.string_value == "stellad" for a in resource.attributes)

        if what == "traces":
            for r in traces.ExportTraceServiceRequest.FromString(body).resource_spans:
                self.spans += [(s.trace_id.hex(), s.span_id.hex()) for scope in r.scope_spans for s in scope.spans if ours(r.resource)]
            self.items["traces"] = len(self.spans)
        elif what == "logs":
            for r in logs.ExportLogsServiceRequest.FromString(body).resource_logs:
                self.logs += [Log(x.trace_id.hex(), x.span_id.hex(), x.body.string_value, x.severity_number) for scope in r.scope_logs for x in scope.log_records if ours(r.resource)]
            self.items["logs"] = len(self.logs)
        else:
            for r in metrics.ExportMetricsServiceRequest.FromString(body).resource_metrics:
                if ours(r.resource):
                    self.items["metrics"] += sum(len(getattr(m, m.WhichOneof("data")).data_points) for scope in r.scope_metrics for m in scope.metrics)

    def close(self):
        self.process.stdin.close()
        self.process.wait()
        subprocess.run(["rm", "-rf", self.dir], check=False)


class Load:
    """A constant load; every request knows the mode in which it was due."""

    def __init__(self, platform, token):
        self.port, self.token = platform.ports["http"], token
        self.mode, self.stop, self.lock = None, threading.Event(), threading.Lock()
        self.latencies = collections.defaultdict(list)  # mode -> ms from when it was due
        self.bad = collections.Counter()                # (mode, what)
        self.traces = []                                # of complete replies, in order
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(CLIENTS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        for thread in self.threads:
            thread.join()

    def _run(self, number):
        paths = ["/me", "/sboms", "/healthz", "/me"]
        gap, connection, i = CLIENTS / RATE, None, number
        due = time.monotonic() + gap * number / CLIENTS
        while not self.stop.wait(max(0, due - time.monotonic())):
            mode, i = self.mode, i + 1
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                    connection.connect()
                    connection.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                connection.request("GET", paths[i % len(paths)], headers={"authorization": "Bearer " + self.token})
                reply = connection.getresponse()
                reply.read()
                trace, bad = reply.headers.get("x-trace-id"), None if reply.status == 200 else reply.status
            except (OSError, http.client.HTTPException) as e:
                connection, trace, bad = None, None, type(e).__name__
            took = (time.monotonic() - due) * 1000
            with self.lock:
                if mode is not None:
                    self.latencies[mode].append(took)
                if trace:
                    self.traces.append(trace)
                if bad:
                    self.bad[mode, bad] += 1
            due += gap

    def histogram(self):
        print("latency of requests in ms, per mode of the target (from the moment a request was due)")
        print("  mode         " + "".join(f"{'<=' + str(b):>7}" for b in BOUNDS) + f"{'more':>7}{'p50':>8}{'p99':>8}{'max':>9}")
        for mode in [m for m in MODES if m in self.latencies]:
            values = sorted(self.latencies[mode])
            counts, rest = [], values
            for bound in BOUNDS:
                counts.append(sum(v <= bound for v in rest))
                rest = [v for v in rest if v > bound]
            at = lambda q: values[min(len(values) - 1, int(q * len(values)))]  # noqa: E731
            print(f"  {mode:13}" + "".join(f"{n:7}" for n in counts) + f"{len(rest):7}{at(0.5):8.2f}{at(0.99):8.2f}{values[-1]:9.2f}", flush=True)


class Injection:
    def __init__(self, platform, target, report):
        self.p, self.target, self.report = platform, target, report
        self.admin = platform.client("admin")
        self.spool = platform.settings["telemetry.spool_dir"]

    # ── what stellad says of itself ───────────────────────────────────────────────────────────────────────────────
    def metrics(self):
        reply = Client(self.p.url).get("/metrics")
        assert reply.status == 200, reply
        found = collections.Counter()
        for name, labels, value in re.findall(r"^(stella_telemetry_\w+?)(\{[^}]*\})? ([0-9.e+]+)", reply.text, re.M):
            found[name + (labels or "")] = float(value)
        return found

    @staticmethod
    def balance(m, record):
        """Of one signal: recorded, and where it went."""
        signal_name = SIGNALS[record]
        sent, rejected, dropped = (m[f'stella_telemetry_exported_total{{signal="{signal_name}",outcome="{o}"}}'] for o in ("sent", "rejected", "dropped"))
        return {"recorded": m[f'stella_telemetry_records_total{{signal="{record}"}}'] + m[f'stella_telemetry_recovered_total{{signal="{signal_name}"}}'], "sent": sent, "rejected": rejected, "dropped": dropped,
                "spooled": m[f'stella_telemetry_spool_records{{signal="{signal_name}"}}'], "queued": m[f'stella_telemetry_export_queue_records{{signal="{signal_name}"}}']}

    def accounts(self, empty, seconds):
        """Asks until the books balance (a quiet second between two looks: a look is a request, too); `empty`: nothing may wait any more."""
        deadline = time.monotonic() + seconds
        while True:
            m = self.metrics()
            books = {record: self.balance(m, record) for record in SIGNALS}
            balanced = all(b["recorded"] == b["sent"] + b["rejected"] + b["dropped"] + b["spooled"] + b["queued"] for b in books.values())
            if balanced and (not empty or all(b["spooled"] + b["queued"] == 0 for b in books.values())):
                return m, books
            assert time.monotonic() < deadline, f"the books do not balance: {books}"
            time.sleep(1.5)

    # ── what is in the log file ───────────────────────────────────────────────────────────────────────────────────
    def lines(self):
        with open(self.p.path("log", "stellad.log"), encoding="utf-8") as file:
            return [json.loads(line) for line in file if line.endswith("\n")]

    def arrive(self, what, wanted, found, seconds=45):
        """Waits until found() holds all of `wanted`."""
        deadline = time.monotonic() + seconds
        while missing := wanted - found():
            assert time.monotonic() < deadline, f"{len(missing)} of {len(wanted)} {what} are missing at the target, e.g. {sorted(missing)[:3]}"
            time.sleep(0.3)
        return f"{len(wanted)} {what}"

    def served(self, wanted):
        """Every request that was answered is in the log file."""
        deadline = time.monotonic() + 20
        while missing := set(wanted) - {line.get("trace_id") for line in self.lines() if line["message"] == "request served"}:
            assert time.monotonic() < deadline, f"{len(missing)} of {len(wanted)} answered requests have no line, e.g. {sorted(missing)[:3]}"
            time.sleep(0.2)

    def target_logs(self):
        return {(x.trace, x.span, x.body) for x in self.target.refresh().logs}

    def line_keys(self, level=None):
        return {(x.get("trace_id", ""), x.get("span_id", ""), x["message"]) for x in self.lines() if level in (None, x["level"])}

    # ── cases ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def modes(self):
        with Load(self.p, self.admin.token) as load:
            time.sleep(0.5)
            for mode in MODES:
                self.target.mode(mode)
                load.mode = mode
                time.sleep(SECONDS)
                load.mode = None
        load.histogram()
        self.report.check("every request under load was answered", not load.bad, load.bad)
        for mode in MODES:
            worst = max(load.latencies[mode])
            self.report.check(f"target {mode}: no request waits as the exporter does", worst < 1000 * TIMEOUT / 2, f"one took {worst:.0f} ms; the exporter waits {TIMEOUT:.0f} s")

    def without_database(self):
        """Replies of requests that fail, each with an ERROR line."""
        self.p.kill("postgresql")
        replies = [self.admin.get("/sboms") for _ in range(5)]
        self.p.start("postgresql")
        self.p.wait_ready()
        with Load(self.p, self.admin.token):  # its replies do not count: connections of the pool that the database cut are replaced now
            time.sleep(0.5)
        return replies

    def errors_while_down(self):
        replies = self.without_database()
        assert {r.status for r in replies} == {503}, replies
        assert self.line_keys("error"), "no ERROR line"
        return f"{len(self.line_keys('error'))} ERROR lines"

    def accounts_while_down(self):
        _, books = self.accounts(empty=False, seconds=20)
        for record, b in books.items():
            assert b["spooled"] + b["queued"] > 0, f"{record}: nothing waits while the target is away: {b}"
        return str({r: {k: int(v) for k, v in b.items()} for r, b in books.items()})

    def replay(self):
        self.target.mode("up")
        m, books = self.accounts(empty=True, seconds=60)
        self.target.refresh()
        for record, signal_name in SIGNALS.items():
            b = books[record]
            assert b["dropped"] == b["rejected"] == 0, b
            assert self.target.items[signal_name] >= b["sent"], f"{signal_name}: the target has {self.target.items[signal_name]}, {b['sent']} are said to be sent"
        sent = m['stella_telemetry_exported_total{signal="metrics",outcome="sent"}']
        assert self.target.items["metrics"] >= sent > 0, f"metrics: the target has {self.target.items['metrics']} data points, {sent} are said to be sent"
        return str({r: int(b["sent"]) for r, b in books.items()} | {"target": dict(self.target.items)})

    def all_lines(self):
        return self.arrive("lines", self.line_keys(), self.target_logs)

    def error_lines(self):
        return self.arrive("ERROR lines", self.line_keys("error"), self.target_logs)

    def disk_full(self):
        self.target.mode("down")
        filler = os.path.join(self.spool, "filler")
        with open(filler, "wb", buffering=0) as file:
            for size in (1 << 20, 4096, 1):
                try:
                    while True:
                        file.write(bytes(size))
                except OSError:
                    pass
        try:
            with Load(self.p, self.admin.token) as load:
                load.mode = "down"
                time.sleep(SECONDS)
            assert not load.bad, load.bad
            assert self.p.running("stellad"), "stellad died: " + self.p.log_tail("stellad")
            self.accounts(empty=False, seconds=20)
        finally:
            os.unlink(filler)
        self.written_late()
        self.served(load.traces)
        self.target.mode("up")
        _, books = self.accounts(empty=True, seconds=60)
        return f"{len(load.traces)} requests; dropped " + str({r: int(b["dropped"]) for r, b in books.items()})

    def written_late(self):
        """Space is back while the target is not: what waited in memory is written to the spool."""
        deadline = time.monotonic() + 20
        while not any(x["message"] == "the telemetry spool has room again; what waited in memory is on disk" for x in self.lines()):
            assert time.monotonic() < deadline, "what waited in memory is not written"
            time.sleep(0.3)

    def overflow(self):
        """A spool that is too small: what matters least goes, oldest first; ERROR lines stay, and every item is accounted for."""
        self.set("telemetry.spool_bytes", "512KiB")
        self.target.mode("down")
        self.p.restart("stellad", signal.SIGTERM)
        self.p.wait_ready()
        with Load(self.p, self.admin.token) as load:
            time.sleep(2 * SECONDS)
        assert not load.bad, load.bad
        errors = {r.trace for r in self.without_database()}
        self.accounts(empty=False, seconds=20)
        self.target.mode("up")
        _, books = self.accounts(empty=True, seconds=60)
        assert books["spans"]["dropped"] > 0, f"nothing was dropped: {books}"
        self.arrive("ERROR lines", errors, lambda: {x.trace for x in self.target.refresh().logs if x.severity == 17})
        self.served(load.traces)
        self.set("telemetry.spool_bytes", self.p.settings["telemetry.spool_bytes"])
        return "dropped " + str({r: f"{int(b['dropped'])} of {int(b['recorded'])}" for r, b in books.items()})

    def set(self, name, value):
        """For the next start of stellad."""
        with open(self.p.path("stella.yaml"), encoding="utf-8") as file:
            lines = [line for line in file if not line.startswith(name + ":")]
        with open(self.p.path("stella.yaml"), "w", encoding="utf-8") as file:
            file.writelines([*lines, f"{name}: {value}\n"])

    def end(self, mode, how):
        """stellad ends in the middle of load and export."""
        self.target.mode(mode)
        process = self.p.procs["stellad"]
        with Load(self.p, self.admin.token) as load:
            time.sleep(SECONDS / 2)
            self.p.kill("stellad", how)
        assert load.traces
        assert process.returncode == (0 if how == signal.SIGTERM else -how), f"it ended with {process.returncode}"
        self.p.start("stellad")
        self.p.wait_ready()
        self.served(load.traces)
        self.target.mode("up")
        self.arrive("lines", self.line_keys(), self.target_logs)
        return self.arrive("spans", set(load.traces), lambda: {trace for trace, _ in self.target.refresh().spans})

    def spool_files(self):
        return sorted((f for f in glob.glob(self.spool + "/**", recursive=True) if os.path.isfile(f) and os.path.getsize(f)), key=os.path.getmtime)

    def corrupt(self):
        """Bytes flip in the spool while stellad is away."""
        self.target.mode("down")
        with Load(self.p, self.admin.token) as before:
            time.sleep(SECONDS)
        self.something_waits()
        self.p.kill("stellad", signal.SIGKILL)
        damaged = 0
        for name in self.spool_files():
            with open(name, "r+b") as file:
                content = file.read()
                used = len(content.rstrip(b"\0"))
                if used < 4096 or "runner" in name:
                    continue
                file.seek(used // 2)
                file.write(bytes(b ^ 0x55 for b in content[used // 2:used // 2 + 64]))
                damaged += 1
        assert damaged, f"no file of the spool to damage: {self.spool_files()}"
        self.p.start("stellad")
        self.p.wait_ready()
        with Load(self.p, self.admin.token) as after:
            time.sleep(1)
        assert not after.bad, after.bad
        self.target.mode("up")
        self.arrive("spans after the damage", set(after.traces), lambda: {trace for trace, _ in self.target.refresh().spans})
        lost = sum(v for k, v in self.metrics().items() if k.startswith("stella_telemetry_exported_total") and 'outcome="dropped"' in k)
        missing = len(set(before.traces) - {trace for trace, _ in self.target.refresh().spans})
        assert lost > 0, f"{damaged} files were damaged, {missing} spans are missing and nothing is counted"
        self.served(before.traces)
        return f"{damaged} files damaged, {int(lost)} items counted as dropped, {missing} of {len(before.traces)} request spans missing"

    def something_waits(self):
        """For the target, in memory and on disk."""
        deadline = time.monotonic() + 20
        while not any(v > 0 for k, v in self.metrics().items() if k.startswith(("stella_telemetry_spool_records", "stella_telemetry_export_queue_records"))):
            assert time.monotonic() < deadline, "nothing is spooled while the target is away"
            time.sleep(0.5)


def run(report, target, spool, disk):
    os.environ["OTEL_EXPORTER_OTLP_TIMEOUT"] = str(int(TIMEOUT * 1000))
    os.environ["OTEL_METRIC_EXPORT_INTERVAL"] = "2000"
    settings = {"telemetry.otlp_endpoint": target.url, "telemetry.spool_dir": spool, "telemetry.spool_bytes": "32MiB", "telemetry.rows_per_second": 200}
    with tempfile.TemporaryDirectory(prefix="stella-rings-") as rings, Platform(settings={**settings, "telemetry.dir": rings}, tenants=("acme",)) as p:
        x = Injection(p, target, report)
        x.modes()
        own = sorted(name for name in os.listdir(spool) if glob.glob(os.path.join(spool, name, "*")))
        report.check("each program has a spool of its own", own == ["stella-runner", "stellad"], own)
        report.run("ERROR lines are made while the target is away", x.errors_while_down)
        report.run("target away: recorded = sent + rejected + dropped + spooled + queued", x.accounts_while_down)
        report.run("target back: all is sent, and the target has it", x.replay)
        report.run("every ERROR line is at the target", x.error_lines)
        report.run("every line of the log file is at the target", x.all_lines)
        if disk:
            report.run("disk full: requests go on, the books balance", x.disk_full)
        else:
            report.skip("disk full", "needs root to mount a small file system")
        for mode, how in (("up", signal.SIGKILL), ("silent", signal.SIGKILL), ("silent", signal.SIGTERM)):
            report.run(f"{how.name} under load, target {mode}: nothing that was pushed is missing, in the file and at the target", x.end, mode, how)
        report.run("a damaged spool is counted and skipped", x.corrupt)
        report.run("a spool that overflows: the books balance, ERROR lines stay", x.overflow)


def main():
    report = Report("failure injection")
    spool = tempfile.mkdtemp(prefix="stella-spool-")
    disk = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK},mode=700", "none", spool], capture_output=True, check=False).returncode == 0
    target = Target()
    try:
        run(report, target, spool, disk)
    finally:
        target.close()
        if disk:
            subprocess.run(["umount", "-l", spool], check=False)
        subprocess.run(["rm", "-rf", spool], check=False)
    report.end()


if __name__ == "__main__":
    main()
