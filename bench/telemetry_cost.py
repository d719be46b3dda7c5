#!/usr/bin/env python3
"""G8: what full telemetry costs the API server. One platform with everything on (spans, log lines, metrics, scrubbing, OTLP export to a
receiver), one with everything off, the same load on both in turn, in short slices: a ratio is of two neighbours, so that drift of the machine
meets both alike, and the median is given with the interval in which it lies with 95 % (of the ranks, whatever the distribution).

  saturated   as many requests as the server answers: the loss of requests per second, must be <= 5 %
  half rate   half of the slower one's rate: CPU of stellad per request, must rise by < 5 %

stellad runs on a CPU of its own where there are two: load generator, receiver, PostgreSQL and the bus stand on other machines in operation, and
what they take is not the server's.

Judged are requests of the API. /healthz does nothing and authenticates nobody: what is printed of it is the price of a span, a log line and their
export beside the bare HTTP server, the floor below every request.

    bench/telemetry_cost.py [--rounds 30] [--seconds 1] [--path /healthz ...] [--shared]
"""
import argparse
import json
import math
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tests", "platform")]
from stella_platform import Platform, binary  # noqa: E402

OFF = {"telemetry.enabled": "false"}
PROBES = ("/healthz", "/readyz")
ROUTES = ("/me", "/sboms?limit=20", "/timeline?limit=20", "/healthz")


def cpu_seconds(pid):
    """Time on a CPU of all threads of a process, as exact as the scheduler has it."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total / 1e9


def pin(pid, cpus):
    for task in os.listdir(f"/proc/{pid}/task"):
        os.sched_setaffinity(int(task), cpus)


def median_of(ratios):
    """Median, and the ranks around it between which it lies with 95 % (binomial)."""
    ratios, n = sorted(ratios), len(ratios)
    reach = math.ceil(0.98 * math.sqrt(n))
    middle = (n - 1) / 2
    return statistics.median(ratios), ratios[max(0, math.floor(middle - reach))], ratios[min(n - 1, math.ceil(middle + reach))]


class Server:
    def __init__(self, name, settings):
        self.name, self.platform = name, Platform(settings=settings, tenants=("acme",))
        self.saturated, self.cpu_us = [], []

    def load(self, path, seconds, rate=0):
        pid = self.platform.procs["stellad"].pid
        headers = ["--header", "authorization: Bearer " + self.token] if self.token else []
        before = cpu_seconds(pid)
        done = subprocess.run([binary("api_load"), "--port", str(self.platform.ports["http"]), "--path", path, "--seconds", str(seconds), "--rate", str(rate), *headers],
                              capture_output=True, text=True, check=True)
        result = json.loads(done.stdout)
        result["cpu_us"] = (cpu_seconds(pid) - before) / result["requests"] * 1e6
        if result["errors"]:
            sys.exit(f"{self.name}: {result['errors']} of {result['requests']} requests failed")
        return result


def verdict(path, good):
    return "(floor)" if path in PROBES else "pass" if good else "FAIL"


def compare(servers, path, rounds, seconds):
    on, off = servers
    for server in servers:
        server.load(path, 1)  # warm
        server.saturated, server.busy, server.cpu_us, server.p99 = [], [], [], []
    for i in range(rounds):
        for server in servers if i % 2 == 0 else servers[::-1]:
            result = server.load(path, seconds)
            server.saturated.append(result["per_second"])
            server.busy.append(result["per_second"] * result["cpu_us"] / 1e6)
    rate = min(statistics.median(s.saturated) for s in servers) / 2
    for i in range(rounds):
        for server in servers if i % 2 == 0 else servers[::-1]:
            result = server.load(path, seconds, rate)
            server.cpu_us.append(result["cpu_us"])
            server.p99.append(result["p99_us"])
    middle = statistics.median
    loss, loss_least, loss_most = (100 * x for x in median_of([1 - a / b for a, b in zip(on.saturated, off.saturated)]))
    rise, rise_least, rise_most = (100 * x for x in median_of([a / b - 1 for a, b in zip(on.cpu_us, off.cpu_us)]))
    print(f"G8 {path:24} requests/s off {middle(off.saturated):9.0f}  on {middle(on.saturated):9.0f}  loss {loss:5.1f} % [{loss_least:.1f}, {loss_most:.1f}]  must <= 5 %  {verdict(path, loss <= 5)}"
          f"   (stellad took {middle(off.busy):.2f}, {middle(on.busy):.2f} CPUs: with less than one another limit was reached first)")
    print(f"G8 {path:24} CPU/request off {middle(off.cpu_us):7.1f} us  on {middle(on.cpu_us):7.1f} us  rise {rise:5.1f} % [{rise_least:.1f}, {rise_most:.1f}]  must <  5 %  {verdict(path, rise < 5)}"
          f"   (at {rate:.0f}/s; p99 off {middle(off.p99):.0f} us, on {middle(on.p99):.0f} us)", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=30)
    parser.add_argument("--seconds", type=float, default=1)
    parser.add_argument("--path", action="append", help="default: " + " ".join(ROUTES))
    parser.add_argument("--shared", action="store_true", help="no CPU of its own for stellad")
    options = parser.parse_args()
    cpus = sorted(os.sched_getaffinity(0))
    apart = len(cpus) > 1 and not options.shared
    if apart:
        os.sched_setaffinity(0, cpus[1:])
    sink = subprocess.Popen([binary("otlp_sink")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = sink.stdout.readline().strip()
    servers = [Server("on", {"telemetry.otlp_endpoint": f"http://127.0.0.1:{port}"}), Server("off", OFF)]
    try:
        for server in servers:
            server.platform.__enter__()
            if apart:
                pin(server.platform.procs["stellad"].pid, cpus[:1])
        for path in options.path or ROUTES:
            for server in servers:
                client = server.platform.client("admin")
                server.token = None if path in PROBES else client.token
            compare(servers, path, options.rounds, options.seconds)
    finally:
        for server in servers:
            server.platform.stop()
        print("receiver", sink.communicate()[0].strip())


if __name__ == "__main__":
    main()
