"""Our own stellad and runner, exporting through the real Collector to a target: one trace of both, logs with its id, metrics; and nothing of
logs and metrics is missing after the Collector was killed while the target refused it.

  run.py export_test.py [CASE…]
"""
import collections
import os
import pathlib
import sys

from harness import ROOT, Collector, Folder, Target, attributes, wait_until

# Of the processes that are started below: their metrics leave every second.
os.environ["OTEL_METRIC_EXPORT_INTERVAL"] = "1000"
sys.path.insert(0, str(ROOT / "tests/platform"))
from report import Report  # noqa: E402
from stella_platform import SAMPLES, Platform  # noqa: E402

OURS = {"stellad", "stella-runner"}
ROUTE, METHOD = "/sboms", "GET"


class Received:
    """What lies at the target, read anew each time."""

    def __init__(self, target):
        self.target = target

    def spans(self, trace):
        """[(service, tenant, span)]"""
        return [(r["service.name"], r["tenant_id"], s) for r, _, s in self.target.spans() if s.trace_id.hex() == trace and r["service.name"] in OURS]

    def lines(self, trace):
        """[(service, tenant, log record)]"""
        return [(r["service.name"], r["tenant_id"], x) for r, _, x in self.target.logs() if x.trace_id.hex() == trace and r["service.name"] in OURS]

    def traces_with(self, body):
        """How often each trace has that line of stellad's."""
        return collections.Counter(x.trace_id.hex() for r, _, x in self.target.logs() if r["service.name"] == "stellad" and x.body.string_value == body)

    def counted(self, name, **labels):
        """The sum of a counter over all that came; a point that came twice, because its acknowledgement was lost, counts once."""
        points = {}
        for resource, _, metric in self.target.metrics():
            if metric.name != name or resource["service.name"] not in OURS:
                continue
            assert metric.sum.aggregation_temporality == 1 and metric.sum.is_monotonic, metric  # delta
            for p in metric.sum.data_points:
                has = attributes(p.attributes)
                if all(has.get(k) == v for k, v in labels.items()):
                    points[resource["service.instance.id"], tuple(sorted(has.items())), p.start_time_unix_nano, p.time_unix_nano] = p.as_int
        return sum(points.values())


def sample(name):
    return (pathlib.Path(SAMPLES) / name).read_bytes()


def story(admin, trace):
    """An SBOM is uploaded, computed and evaluated, all in one trace of the caller's."""
    def call(method, path, body, expected, **headers):
        reply = admin.request(method, path, body, {**headers, "traceparent": f"00-{trace}-{os.urandom(8).hex()}-01"})
        assert reply.status in expected and reply.trace == trace, reply
        return reply

    policy = call("POST", "/policies", sample("policy.yaml"), (200, 201), **{"content-type": "application/yaml"})
    call("POST", f"/policies/{policy['policy_version']}/activate", {}, (200,))
    sbom = call("POST", "/sboms?wait=120", sample("sbom.cdx.json"), (200, 201), **{"content-type": "application/vnd.cyclonedx+json"})
    assert sbom["state"] == "computed", sbom
    evaluation = call("POST", "/evaluations?wait=120", {"sbom_id": sbom["sbom_id"]}, (200, 201, 202))
    assert evaluation["state"] == "finished", evaluation


def one_trace_of_both_processes_arrives(p, c, target):
    received, trace = Received(target), os.urandom(16).hex()
    story(p.client("admin"), trace)
    wanted = {"api./sboms", "api./evaluations", "orchestrator.schedule", "runner.execute", "orchestrator.finish", "policy.evaluate"}
    wait_until(lambda: wanted <= {s.name for _, _, s in received.spans(trace)}, 60, lambda: f"spans: {sorted({s.name for _, _, s in received.spans(trace)})}")
    spans = received.spans(trace)
    assert {service for service, _, _ in spans} == OURS, spans
    assert {s.name for service, _, s in spans if service == "stella-runner"} >= {"runner.execute", "policy.evaluate"}, spans  # the latter of a sandboxed child
    assert {tenant for _, tenant, _ in spans} == {"acme"}, {tenant for _, tenant, _ in spans}
    # Nobody is an orphan: from each span the way up ends at the caller's own.
    ids = {s.span_id for _, _, s in spans}
    assert len(ids) == len(spans), "a span came twice"
    assert {s.name for _, _, s in spans if s.parent_span_id not in ids} <= {"api./policies", "api./policies/:policy_version/activate", "api./sboms", "api./evaluations"}, spans
    above = {s.span_id: s for _, _, s in spans}
    for child, parent in (("orchestrator.schedule", "api./"), ("runner.execute", "orchestrator.schedule"), ("orchestrator.finish", "runner.execute")):
        for s in (s for _, _, s in spans if s.name == child and s.parent_span_id in ids):
            assert above[s.parent_span_id].name.startswith(parent), (child, above[s.parent_span_id].name)
    assert all(attributes(s.attributes)["sampling.reason"] == "head" and s.trace_state == "ot=th:0" for _, _, s in spans), spans
    return f"{len(spans)} spans"


def its_logs_carry_its_id(p, c, target):
    received, trace = Received(target), os.urandom(16).hex()
    story(p.client("admin"), trace)
    wait_until(lambda: {service for service, _, _ in received.lines(trace)} == OURS, 60, lambda: str(received.lines(trace))[:2000])
    served = lambda: [x for _, _, x in received.lines(trace) if x.body.string_value == "request served"]  # noqa: E731
    wait_until(lambda: len(served()) == 4, 60, lambda: f"{len(served())} of four lines")
    for service, tenant, line in received.lines(trace):
        assert tenant == "acme" and len(line.span_id) == 8 and line.time_unix_nano and line.severity_text, (service, tenant, line)
    # What has nothing to say is left out, at the target as in the files.
    for has in [attributes(x.attributes) for _, _, x in received.lines(trace)] + [attributes(s.attributes) for _, _, s in received.spans(trace)]:
        assert "" not in has.values(), has
    for name in ("stellad.log", "runner.log"):
        text = pathlib.Path(p.path("log", name)).read_text(encoding="utf-8")
        assert trace in text and '":""' not in text, name
    # A line's span is one of the trace's.
    spans = lambda: {s.span_id for _, _, s in received.spans(trace)}  # noqa: E731
    wait_until(lambda: {x.span_id for x in served()} <= spans(), 60, "the spans of the lines")
    return f"{len(received.lines(trace))} lines"


def metrics_of_both_arrive(p, c, target):
    received, admin = Received(target), p.client("admin")
    before = received.counted("stella_http_requests", route=ROUTE, method=METHOD)
    for _ in range(7):
        assert admin.get(ROUTE).status == 200
    wait_until(lambda: received.counted("stella_http_requests", route=ROUTE, method=METHOD) == before + 7, 60,
               lambda: f"{received.counted('stella_http_requests', route=ROUTE, method=METHOD)} requests, not {before} + 7")
    services = collections.defaultdict(set)
    for resource, _, metric in target.metrics():
        services[resource["service.name"]].add(metric.name)
    assert {"stella_http_requests", "stella_http_request_duration_seconds"} <= services["stellad"], services["stellad"]
    assert services["stella-runner"], "nothing of the runner's"
    histogram = next(m for r, _, m in target.metrics() if m.name == "stella_http_request_duration_seconds")
    assert histogram.unit == "s" and all(sum(d.bucket_counts) == d.count and len(d.bucket_counts) == len(d.explicit_bounds) + 1 for d in histogram.histogram.data_points), histogram
    exemplars = [e for r, _, m in target.metrics() if m.name == "stella_http_request_duration_seconds" for d in m.histogram.data_points for e in d.exemplars]
    traces = {s.trace_id for _, _, s in target.spans()}
    assert exemplars and any(e.trace_id in traces for e in exemplars), "no exemplar leads to a trace"
    return f"{len(services['stellad'])} metrics of stellad's, {len(services['stella-runner'])} of the runner's"


def a_killed_collector_costs_no_log_and_no_count(p, c, target):
    """Requests before, while the target refuses, while the Collector is dead, and after; it is killed with records in its queue."""
    received, admin, traces = Received(target), p.client("admin"), []
    before = received.counted("stella_http_requests", route=ROUTE, method=METHOD)

    def requests(n=25):
        for _ in range(n):
            reply = admin.get(ROUTE)
            assert reply.status == 200, reply
            traces.append(reply.trace)

    requests()
    target.refuse()
    requests()
    # What it acknowledged and could not hand on lies in its queue: there the kill finds it.
    wait_until(lambda: c.metrics()["otelcol_exporter_queue_size"] > 0, 60, "records in the Collector's queue")
    c.kill()
    requests()
    target.refuse(False)
    c.start()
    requests()
    missing = lambda: [t for t in traces if received.traces_with("request served")[t] == 0]  # noqa: E731

    def all_there():
        seen = received.traces_with("request served")
        return all(seen[t] for t in traces)

    wait_until(all_there, 120, lambda: f"{len(missing())} of {len(traces)} lines are missing")
    counted = lambda: received.counted("stella_http_requests", route=ROUTE, method=METHOD)  # noqa: E731
    wait_until(lambda: counted() == before + len(traces), 60, lambda: f"{counted()} requests counted, {before} + {len(traces)} were made")
    twice = sum(n - 1 for t, n in received.traces_with("request served").items() if t in set(traces))
    # And whole traces arrive again.
    trace = os.urandom(16).hex()
    story(admin, trace)
    wait_until(lambda: {"runner.execute", "policy.evaluate"} <= {s.name for _, _, s in received.spans(trace)}, 60, "a trace after the restart")
    return f"{len(traces)} lines, {twice} of them twice"


def main():
    report = Report("our processes through the collector")
    wanted = sys.argv[1:]
    cases = (one_trace_of_both_processes_arrives, its_logs_carry_its_id, metrics_of_both_arrive, a_killed_collector_costs_no_log_and_no_count)
    with Folder() as folder, Platform(telemetry_dir=True) as p:
        target = Target(folder / "target")
        target.start()
        c = Collector(folder / "c", p.url, target)
        # The Collector's port and the platform's directory are known only now.
        with open(p.path("stella.yaml"), "a") as f:
            f.write(f"telemetry.token_file: {p.path('telemetry', 'token')}\ntelemetry.otlp_endpoint: http://127.0.0.1:{c.ports['http']}\n")
        for part in ("runner", "stellad"):
            p.kill(part)
        for part in ("stellad", "runner"):
            p.start(part)
        p.wait_ready()
        c.start()
        for case in cases:
            if not wanted or case.__name__ in wanted:
                report.run(case.__name__, case, p, c, target)
        c.kill()
        target.kill()
    report.end()


main()
