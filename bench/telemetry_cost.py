#!/usr/bin/env python3
"""G8: what full telemetry costs the API server. One platform with everything on (spans, log lines, metrics, scrubbing, OTLP export to a
receiver), one with everything off, the same load on both in turn, so that drift of the machine meets both alike.

  saturated   as many requests as the server answers: the loss of requests per second, must be <= 5 %
  half rate   half of the slower one's rate: CPU of stellad per request, must rise by < 5 %

    bench/telemetry_cost.py [--rounds 5] [--seconds 4] [--path /healthz ...]
"""
import argparse
import json
import os
import statistics
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "tests", "platform")]
from stella_platform import Platform, binary  # noqa: E402

OFF = {"telemetry.enabled": "false"}
TICK = os.sysconf("SC_CLK_TCK")


def cpu_seconds(pid):
    """User and system time of all threads of a process."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICK


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


def compare(servers, path, rounds, seconds):
    on, off = servers
    for server in servers:
        server.load(path, 1)  # warm
        server.saturated, server.cpu_us, server.p99 = [], [], []
    for i in range(rounds):
        for server in servers if i % 2 == 0 else servers[::-1]:
            server.saturated.append(server.load(path, seconds)["per_second"])
    rate = min(statistics.median(s.saturated) for s in servers) / 2
    for i in range(rounds):
        for server in servers if i % 2 == 0 else servers[::-1]:
            result = server.load(path, seconds, rate)
            server.cpu_us.append(result["cpu_us"])
            server.p99.append(result["p99_us"])
    loss = statistics.median(1 - a / b for a, b in zip(on.saturated, off.saturated)) * 100
    rise = statistics.median(a / b - 1 for a, b in zip(on.cpu_us, off.cpu_us)) * 100
    middle = statistics.median
    print(f"G8 {path:24} requests/s off {middle(off.saturated):9.0f}  on {middle(on.saturated):9.0f}  loss {loss:5.1f} %  must <= 5 %  {'pass' if loss <= 5 else 'FAIL'}")
    print(f"G8 {path:24} CPU/request off {middle(off.cpu_us):7.1f} us  on {middle(on.cpu_us):7.1f} us  rise {rise:5.1f} %  must <  5 %  {'pass' if rise < 5 else 'FAIL'}"
          f"   (at {rate:.0f}/s; p99 off {middle(off.p99):.0f} us, on {middle(on.p99):.0f} us)")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4)
    parser.add_argument("--path", action="append", help="public routes and /me, which authenticates")
    options = parser.parse_args()
    sink = subprocess.Popen([binary("otlp_sink")], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    port = sink.stdout.readline().strip()
    servers = [Server("on", {"telemetry.otlp_endpoint": f"http://127.0.0.1:{port}"}), Server("off", OFF)]
    try:
        for server in servers:
            server.platform.__enter__()
        for path in options.path or ["/healthz", "/me"]:
            for server in servers:
                client = server.platform.client("admin")
                server.token = None if path in ("/healthz", "/readyz") else client.token
            compare(servers, path, options.rounds, options.seconds)
    finally:
        for server in servers:
            server.platform.stop()
        print("receiver", sink.communicate()[0].strip())


if __name__ == "__main__":
    main()
