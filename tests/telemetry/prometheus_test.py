#!/usr/bin/env python3
"""A real Prometheus scrapes our exposition, with exemplars, evaluates the shipped rules, and answers what was recorded. Before: promtool
checks config and rules and runs their unit tests, and every metric that a rule names must be declared.

  prometheus_test.py PROMETHEUS_TARGET
"""
import glob
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests", "platform")]

from report import Report, Skip  # noqa: E402
from stella_platform import _die_with_parent, free_port  # noqa: E402

SHIPPED = os.path.join(ROOT, "telemetry", "collector-config", "prometheus")
TRACES = {"1" * 32: "0.005", "2" * 32: "0.075", "3" * 32: "0.5"}  # of prometheus_target.cc, with the bucket of each


def programs():
    got = subprocess.run([os.path.join(ROOT, "tools", "get-prometheus")], capture_output=True, text=True)
    if got.returncode != 0:
        raise Skip("Prometheus cannot be had here: " + " ".join(got.stderr.split()))
    return got.stdout.strip()


def declared():
    """Sample names of every declared metric."""
    with open(os.path.join(ROOT, "contracts", "metrics.json"), encoding="utf-8") as f:
        rows = json.load(f)["metrics"]
    suffixes = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}
    return {r["name"] + s for r in rows for s in suffixes.get(r["type"], ("",))}


def label_values():
    """Enum values by label name, over all metrics."""
    with open(os.path.join(ROOT, "contracts", "metrics.json"), encoding="utf-8") as f:
        rows = json.load(f)["metrics"]
    return {r["name"]: {x["name"]: set(x.get("values", [])) for x in r["labels"]} for r in rows}


def rule_names():
    known, labels = declared(), label_values()
    used = set()
    for path in glob.glob(os.path.join(SHIPPED, "rules", "*.yml")):
        with open(path, encoding="utf-8") as f:
            text = "\n".join(line for line in f.read().splitlines() if not re.match(r"\s*(#|description:|summary:)", line))
        recorded = set(re.findall(r"record: (\S+)", text))
        for name in re.findall(r"(?<![\w:])[a-z_]*:?stella_[\w:]+", text):
            if ":" in name:
                base = name.split(":")[1]
                assert name in recorded or name in all_records(), f"{os.path.basename(path)}: {name} is recorded nowhere"
                assert any(k.startswith(re.split("_per_|_failed|_errored|_busy|_open", base)[0]) or base.startswith("stella_p") for k in known), name
                continue
            used.add(name)
            assert name in known, f"{os.path.basename(path)}: {name} is not declared"
        for name, selector in re.findall(r"(stella_\w+)\{([^}]*)\}", text):
            metric = next(m for m in sorted(labels, key=len, reverse=True) if name.startswith(m))
            for label, values in re.findall(r'(\w+)=~?"([^"]*)"', selector):
                assert label in labels[metric], f"{name} has no label {label}"
                strangers = set(values.split("|")) - labels[metric][label] if labels[metric][label] else set()
                assert not strangers, f"{name}: {label} is never {strangers}"
    assert len(used) >= 15, used
    return f"{len(used)} metrics"


def all_records():
    text = "".join(open(p, encoding="utf-8").read() for p in glob.glob(os.path.join(SHIPPED, "rules", "*.yml")))
    return set(re.findall(r"record: (\S+)", text))


def promtool(bin_dir, *arguments):
    done = subprocess.run([os.path.join(bin_dir, "promtool"), *arguments], cwd=os.path.join(SHIPPED, "tests"), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


class Prometheus:
    """On a free port, with the shipped rules, scraping `target` as job stellad."""

    def __init__(self, bin_dir, target, every="200ms"):
        self.dir = tempfile.mkdtemp(prefix="stella-prometheus-")
        self.url = f"http://127.0.0.1:{free_port()}"
        shutil.copytree(os.path.join(SHIPPED, "rules"), os.path.join(self.dir, "rules"))
        with open(os.path.join(SHIPPED, "prometheus.yml"), encoding="utf-8") as f:
            config = f.read()
        for old, new in (("scrape_interval: 15s", "scrape_interval: " + every), ("scrape_timeout: 10s", "scrape_timeout: " + every),
                         ("evaluation_interval: 15s", "evaluation_interval: 500ms"), ("127.0.0.1:8080", target)):
            assert old in config, old
            config = config.replace(old, new)
        with open(os.path.join(self.dir, "prometheus.yml"), "w", encoding="utf-8") as f:
            f.write(config)
        self.log = open(os.path.join(self.dir, "log"), "w", encoding="utf-8")
        self.process = subprocess.Popen(
            [os.path.join(bin_dir, "prometheus"), "--config.file=" + os.path.join(self.dir, "prometheus.yml"), "--enable-feature=exemplar-storage",
             "--storage.tsdb.path=" + os.path.join(self.dir, "data"), "--web.listen-address=" + self.url.removeprefix("http://")],
            stdout=self.log, stderr=subprocess.STDOUT, preexec_fn=_die_with_parent)

    def get(self, path, **query):
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(query)}", timeout=5) as r:
            return json.load(r)["data"]

    def until(self, what, seconds=40):
        """The first true answer of `what`; asks again until the deadline."""
        deadline = time.monotonic() + seconds
        answer = None
        while time.monotonic() < deadline:
            try:
                answer = what()
                if answer:
                    return answer
            except OSError as e:
                answer = e
            assert self.process.poll() is None, "Prometheus ended: " + self.tail()
            time.sleep(0.05)
        raise AssertionError(f"not within {seconds} s: {answer} {self.tail()}")

    def tail(self):
        self.log.flush()
        with open(self.log.name, encoding="utf-8") as f:
            return " | ".join(f.read().splitlines()[-4:])

    def value(self, expression):
        result = self.get("query", query=expression)["result"]
        return [(r["metric"], float(r["value"][1])) for r in result]

    def close(self):
        self.process.kill()
        self.process.wait()
        self.log.close()
        shutil.rmtree(self.dir, ignore_errors=True)


def target_is_up(prometheus):
    def healthy():
        active = prometheus.get("targets")["activeTargets"]
        return active if active and active[0]["health"] == "up" and not active[0]["lastError"] else None
    return prometheus.until(healthy)[0]["scrapeUrl"]


def values(prometheus):
    total = prometheus.until(lambda: prometheus.value('stella_http_requests_total{status="2xx"}'))
    assert total[0][0]["route"] == "/sboms/:id" and total[0][0]["method"] == "GET" and total[0][1] >= 2, total
    first = total[0][1]
    prometheus.until(lambda: prometheus.value('stella_http_requests_total{status="2xx"}')[0][1] > first)
    assert prometheus.value('stella_http_requests_total{status="5xx"}')[0][1] == 1
    assert prometheus.value("stella_http_queue_depth")[0][1] == 7
    assert prometheus.value('stella_jobs_total{outcome="finished"}')[0][1] == 5
    assert len(prometheus.value("stella_http_request_duration_seconds_bucket")) == 15
    count, inf = prometheus.get("query", query='stella_http_request_duration_seconds_count or stella_http_request_duration_seconds_bucket{le="+Inf"}')["result"]
    assert count["value"][1] == inf["value"][1], (count, inf)


def metadata(prometheus):
    def told():
        meta = prometheus.get("metadata")
        return meta if "stella_http_request_duration_seconds" in meta else None
    meta = prometheus.until(told)
    assert meta["stella_http_request_duration_seconds"][0]["type"] == "histogram" and meta["stella_http_request_duration_seconds"][0]["unit"] == "seconds", meta
    assert meta["stella_http_queue_depth"][0]["type"] == "gauge"


def exemplars(prometheus):
    def all_seen():
        now = time.time()
        found = {}
        for series in prometheus.get("query_exemplars", query="stella_http_request_duration_seconds_bucket", start=now - 600, end=now + 10):
            for e in series["exemplars"]:
                found[e["labels"]["trace_id"]] = (series["seriesLabels"]["le"], e["labels"].get("span_id"), float(e["value"]))
        return found if set(TRACES) <= set(found) else None
    found = prometheus.until(all_seen)
    for trace, le in TRACES.items():
        assert found[trace][0] == le and found[trace][1] == "00f067aa0ba902b7" and found[trace][2] <= float(le), found
    on_counter = prometheus.get("query_exemplars", query="stella_http_requests_total", start=time.time() - 600, end=time.time() + 10)
    assert on_counter, "no exemplar on a counter"
    return f"{len(found)} traces"


def rules(prometheus):
    def healthy():
        found = [r for g in prometheus.get("rules")["groups"] for r in g["rules"]]
        return found if found and all(r["health"] == "ok" for r in found) else None
    found = prometheus.until(healthy)
    rate = prometheus.until(lambda: prometheus.value('job_route:stella_http_requests:rate5m{route="/sboms/:id"} > 0'))
    assert rate[0][0]["job"] == "stellad" and "instance" not in rate[0][0], rate
    p99 = prometheus.until(lambda: prometheus.value("job_route:stella_http_request_duration_seconds:p99_rate5m > 0"))
    assert 0.25 < p99[0][1] <= 0.5, p99
    return f"{len(found)} rules"


def classic(target):
    request = urllib.request.Request(f"http://{target}/metrics", headers={"Accept": "text/plain;version=0.0.4"})
    with urllib.request.urlopen(request, timeout=5) as r:
        assert r.headers["content-type"].startswith("text/plain; version=0.0.4"), r.headers["content-type"]
        text = r.read().decode()
    assert "# TYPE stella_http_requests_total counter" in text and "# EOF" not in text and " # {" not in text
    return text


def main(program):
    report = Report("prometheus")
    report.run("every metric that a rule names is declared", rule_names)
    bin_dir = None
    try:
        bin_dir = programs()
    except Skip as s:
        report.skip("a real Prometheus", str(s))
        report.end()
    report.run("promtool takes the config", promtool, bin_dir, "check", "config", os.path.join(SHIPPED, "prometheus.yml"))
    report.run("promtool: unit tests of the rules", promtool, bin_dir, "test", "rules", "rules_test.yml")
    report.run("promtool takes every file of rules", promtool, bin_dir, "check", "rules", *sorted(glob.glob(os.path.join(SHIPPED, "rules", "*.yml"))))
    target = subprocess.Popen([program], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, preexec_fn=_die_with_parent)
    address = "127.0.0.1:" + target.stdout.readline().strip()

    def lint():
        done = subprocess.run([os.path.join(bin_dir, "promtool"), "check", "metrics"], input=classic(address), capture_output=True, text=True)
        assert done.returncode in (0, 3), done.stderr  # 3: read, with advice about names
    report.run("old scrapers get the classic format, which promtool reads", lint)
    prometheus = Prometheus(bin_dir, address)
    try:
        report.run("the target is up", target_is_up, prometheus)
        report.run("values arrive and move", values, prometheus)
        report.run("types and units arrive", metadata, prometheus)
        report.run("exemplars arrive with their traces", exemplars, prometheus)
        report.run("the shipped rules evaluate", rules, prometheus)
    finally:
        prometheus.close()
        target.stdin.close()
        target.wait()
    report.end()


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    main(sys.argv[1])
