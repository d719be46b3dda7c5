#!/usr/bin/env python3
"""A real Prometheus scrapes a running stellad: what was asked of the platform is what it counted, its exemplars lead to traces that exist, the
shipped rules load and evaluate, and the golden signals have values after traffic.

  prometheus_platform_test.py            STELLA_BIN_DIR says which build
"""
import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, os.path.join(ROOT, "tests", "platform")]

from prometheus_test import Prometheus, all_records, programs, target_is_up  # noqa: E402
from report import Report, Skip  # noqa: E402
from stella_platform import SAMPLES, Platform  # noqa: E402

# Nothing is refused for lack of room, retried or dropped while all is well: those series stay away.
NOT_PROVOKED = {"job_kind:stella_job_retries:rate5m", "job_reason:stella_http_rejected:rate5m", "job_signal:stella_telemetry_dropped:rate5m"}


class Traffic:
    """Requests that succeed and fail, and jobs that do; what was asked, to compare it with what was counted."""

    def __init__(self, platform):
        self.admin = platform.client("admin")
        self.lists, self.unknown, self.traces = 0, 0, set()
        with open(os.path.join(SAMPLES, "policy.yaml"), "rb") as f:
            policy = self.ask("POST", "/policies", f.read(), 201, {"content-type": "application/yaml"})
        self.ask("POST", f"/policies/{policy['policy_version']}/activate", {}, 200)
        with open(os.path.join(SAMPLES, "sbom.cdx.json"), "rb") as f:
            self.sbom = f.read()

    def ask(self, method, path, body, status, headers=None):
        reply = self.admin.request(method, path, body, headers or {})
        assert reply.status in (status, 200), reply
        self.traces.add(reply.trace)
        return reply

    def simple(self):
        self.ask("GET", "/sboms", None, 200)
        self.lists += 1
        reply = self.admin.request("GET", "/sboms/00000000-0000-7000-8000-000000000000", None, {})
        assert reply.status == 404, reply
        self.traces.add(reply.trace)
        self.unknown += 1

    def jobs(self):
        """Each document is another one: blanks at its end are part of its bytes, and nothing is answered from the cache."""
        self.sbom += b" "
        sbom = self.ask("POST", "/sboms?wait=60", self.sbom, 201, {"content-type": "application/vnd.cyclonedx+json"})
        self.ask("POST", "/evaluations?wait=60", {"sbom_id": sbom["sbom_id"]}, 201)
        broken = self.admin.request("POST", "/sboms?wait=60", b'{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"n":"%d"}' % len(self.sbom), {"content-type": "application/json"})
        assert broken["state"] == "rejected", broken


def counts_are_those_of_the_traffic(prometheus, traffic):
    for _ in range(20):
        traffic.simple()
    want = {'stella_http_requests_total{route="/sboms",method="GET",status="2xx"}': traffic.lists, 'stella_http_requests_total{route="/sboms/:sbom_id",method="GET",status="4xx"}': traffic.unknown,
            'sum without (status) (stella_http_request_duration_seconds_count{route="/sboms",method="GET"})': traffic.lists}
    for expression, number in want.items():
        prometheus.until(lambda e=expression, n=number: [v for _, v in prometheus.value(e)] == [n])
    return f"{traffic.lists} and {traffic.unknown}"


def exemplars_lead_to_traces(platform, prometheus, traffic):
    def found():
        now = time.time()
        traffic.simple()
        series = prometheus.get("query_exemplars", query='stella_http_request_duration_seconds_bucket{route="/sboms"}', start=now - 600, end=now + 10)
        seen = {e["labels"]["trace_id"]: (e["labels"]["span_id"], float(e["value"]), s["seriesLabels"]) for s in series for e in s["exemplars"]}
        return seen if set(seen) & traffic.traces else None
    seen = prometheus.until(found)
    ours = {t: s for t, s in seen.items() if t in traffic.traces}
    for trace, (span, value, labels) in ours.items():
        rows = prometheus.until(lambda t=trace: platform.sql(f"SELECT name, span_id FROM telemetry_spans WHERE trace_id = '{t}'"))
        assert {"name": "api." + labels["route"], "span_id": span} in rows, (trace, span, rows)
        assert labels["le"] == "+Inf" or value <= float(labels["le"]), (value, labels)
    return f"{len(ours)} exemplars"


def rules_load_and_evaluate(prometheus):
    def healthy():
        found = [r for g in prometheus.get("rules")["groups"] for r in g["rules"]]
        bad = [r for r in found if r["health"] == "err"]
        assert not bad, bad
        return found if found and all(r["health"] == "ok" for r in found) else None
    found = prometheus.until(healthy)
    recorded = {r["name"] for r in found if r["type"] == "recording"}
    assert recorded == all_records(), recorded ^ all_records()
    return f"{len(recorded)} recording, {len(found) - len(recorded)} alerting"


def golden_signals_have_values(prometheus, traffic):
    """Traffic goes on until each has one: a rate needs two scrapes with something between."""
    wanted = all_records() - NOT_PROVOKED
    missing = set(wanted)

    def all_there():
        traffic.simple()
        traffic.jobs()
        missing.difference_update([name for name in missing if prometheus.value(name)])
        return not missing
    try:
        prometheus.until(all_there, 120)
    except AssertionError as e:
        raise AssertionError(f"no value: {sorted(missing)}; {e}") from e
    # Values, and not only series.
    positive = {"job:stella_http_requests:rate5m", 'job_route:stella_http_requests:rate5m{route="/sboms"}', 'job_route:stella_http_request_duration_seconds:p99_rate5m{route="/sboms"}',
                'job_kind:stella_jobs:rate5m{kind="sbom.compute"}', 'job_kind:stella_jobs_failed_per_jobs:ratio_rate5m{kind="sbom.compute"}', "job_instance:stella_process_cpu_seconds:rate5m"}
    for expression in sorted(positive):
        prometheus.until(lambda e=expression: traffic.jobs() or any(v > 0 for _, v in prometheus.value(e)), 60)
    # The share of failures is one: between nothing and all.
    for _, share in prometheus.value("job_kind:stella_jobs_failed_per_jobs:ratio_rate5m"):
        assert 0 <= share <= 1, share
    return f"{len(wanted)} signals"


def main():
    report = Report("prometheus before the platform")
    try:
        bin_dir = programs()
    except Skip as s:
        report.skip("a real Prometheus", str(s))
        report.end()
    with Platform() as platform:
        prometheus = Prometheus(bin_dir, platform.url.removeprefix("http://"), every="1s")
        try:
            traffic = Traffic(platform)
            report.run("stellad is up for Prometheus", target_is_up, prometheus)
            report.run("counts are those of the traffic", counts_are_those_of_the_traffic, prometheus, traffic)
            report.run("exemplars lead to traces", exemplars_lead_to_traces, platform, prometheus, traffic)
            report.run("the shipped rules load and evaluate", rules_load_and_evaluate, prometheus)
            report.run("golden signals have values", golden_signals_have_values, prometheus, traffic)
        finally:
            prometheus.close()
    report.end()


if __name__ == "__main__":
    main()
