"""The Collector before the real platform: tokens of the real Authority, and the life of `stella up --collector`.

  run.py platform_test.py [CASE…]
"""
import json
import os
import pathlib
import shutil
import signal
import stat
import subprocess
import sys
import tempfile

from harness import ROOT, Collector, Folder, Target, log_request, span, trace_request, wait_until

sys.path.insert(0, str(ROOT / "tests/platform"))
from report import Report  # noqa: E402
from stella_platform import Platform, binary  # noqa: E402


# ── tokens of the real Authority ───────────────────────────────────────────────────────────────────────────────────
def a_tenants_token_stamps_its_tenant(p, c, target):
    acme = p.service(p.client("admin"), ["telemetry:write"])
    beta = p.service(p.client("beta-admin"), ["telemetry:write"])
    reader = p.service(p.client("admin"), ["obs:read"])
    operator = p.client("admin")  # holds telemetry:write of the platform too, and still speaks for its tenant alone
    for name, client in (("acme", acme), ("beta", beta), ("operator", operator), ("reader", reader)):
        assert c.post("logs", log_request("token of " + name, resource={"tenant_id": "platform"}), client.token) == 200, name
    wait_until(lambda: all(target.bodies()["token of " + n] for n in ("acme", "beta", "operator")), 20, "three records")
    whose = {x.body.string_value: r["tenant_id"] for r, _, x in target.logs()}
    assert whose == {"token of acme": "acme", "token of beta": "beta", "token of operator": "acme"}, whose


def our_processes_have_a_token_for_all_tenants(p, c, target):
    path = p.path("telemetry", "token")  # stellad wrote it, as the setting says
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o640
    token = pathlib.Path(path).read_text().strip()
    FIRST.append(token)
    p.run_tool("--telemetry-token", p.path("second-token"))
    second = pathlib.Path(p.path("second-token")).read_text().strip()
    assert token != second
    for name, t in (("first", token), ("second", second)):
        request = log_request(name + " of acme", resource={"tenant_id": "acme"})
        request.MergeFrom(log_request(name + " of beta", resource={"tenant_id": "beta"}))
        request.MergeFrom(log_request(name + " of none"))
        assert c.post("logs", request, t) == 200
    wait_until(lambda: all(target.bodies()[f"{n} of {o}"] for n in ("first", "second") for o in ("acme", "beta", "none")), 20, "six records")
    whose = {x.body.string_value: r["tenant_id"] for r, _, x in target.logs()}
    assert [whose["second of " + o] for o in ("acme", "beta", "none")] == ["acme", "beta", "platform"], whose
    # It is good for telemetry only.
    for route in ("/me", "/sboms", "/timeline", "/obs/health", "/tenants"):
        assert p.client("admin").request("GET", route, token=token).status == 401, route


def the_token_is_renewed_before_it_expires(p, c, target):
    """It lives 60 s here (the shortest), so a new one is there after 30."""
    path = pathlib.Path(p.path("telemetry", "token"))
    first = FIRST[0] if FIRST else path.read_text().strip()
    second = wait_until(lambda: path.read_text().strip() not in ("", first) and path.read_text().strip(), 60, "another token")
    assert [n for n in os.listdir(path.parent)] == ["token"], os.listdir(path.parent)
    assert c.post("logs", log_request("renewed"), second) == 200
    wait_until(lambda: target.bodies()["renewed"], 20, "the record")


FIRST = []


def a_python_client_continues_its_trace_through_our_api(p, c, target):
    """Standard SDK → our HTTP API → job → rows: one trace, the client's span its root; the client's own spans come through the Collector."""
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.propagate import inject
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    admin = p.client("admin")
    sender = p.service(admin, ["telemetry:write"])
    provider = TracerProvider(resource=Resource.create({"service.name": "customer"}))
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(endpoint=f"http://127.0.0.1:{c.ports['http']}/v1/traces", headers={"authorization": "Bearer " + sender.token})))
    sbom = (ROOT / "samples").rglob("*.cdx.json")
    document = next(iter(sorted(sbom))).read_bytes()
    with provider.get_tracer("customer").start_as_current_span("deploy") as root:
        headers = {"content-type": "application/vnd.cyclonedx+json"}
        inject(headers)
        reply = admin.request("POST", "/sboms?wait=60", document, headers)
        stranger = admin.request("GET", "/healthz", None, {"traceparent": headers["traceparent"]}, token=None)
    provider.shutdown()
    assert reply.status in (200, 201), reply
    trace, parent = format(root.get_span_context().trace_id, "032x"), format(root.get_span_context().span_id, "016x")
    assert reply.trace == trace, (reply.trace, trace)
    assert stranger.trace != trace, "a stranger does not continue a trace"
    # Rows, or what our own exporter sent through the Collector: the spans of the request and of its job.
    spans = lambda: p.sql(f"SELECT name, span_id, parent_span_id, service FROM telemetry_spans WHERE trace_id = '{trace}'")  # noqa: E731
    wait_until(lambda: {"api./sboms", "runner.execute"} <= {s["name"] for s in spans()}, 30, lambda: str(spans()))
    ours = spans()
    assert [s["name"] for s in ours if s["parent_span_id"] == parent] == ["api./sboms"], ours
    assert {s["service"] for s in ours} >= {"stellad", "stella-runner"}, ours
    wait_until(lambda: [s for _, _, s in target.spans() if s.name == "deploy" and s.trace_id.hex() == trace], 20, "the client's own span")
    return f"{len(ours)} spans of ours under the client's"


# ── stella up --collector ──────────────────────────────────────────────────────────────────────────────────────────
class Machine:
    def __init__(self, folder, target):
        # Not below the test's own folder: the parts run as users who may not enter it.
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="stella-up-", dir="/var/tmp"))
        self.root.chmod(0o755)
        self.data = self.root / "data"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.root), "STELLA_DATA_DIR": str(self.data), "STELLA_CONFIG_DIR": str(self.root / "config"), "STELLA_COLLECTOR_TARGET": target.url,
                    "STELLA_COLLECTOR_DECISION_WAIT": "1s", **{k: v for k, v in os.environ.items() if k == "STELLA_CACHE_DIR"}}

    def run(self, *words, expect=0):
        done = subprocess.run([binary("stella"), *words], env=self.env, capture_output=True, text=True, timeout=600, check=False)
        assert expect is None or done.returncode == expect, f"stella {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *words, expect=0):
        return json.loads(self.run("-o", "json", *words, expect=expect).stdout)

    def end(self):
        self.run("down", expect=None)
        shutil.rmtree(self.root, ignore_errors=True)


def up_runs_the_collector_and_keeps_it_alive(folder):
    target = Target(folder / "target")
    target.start()
    m = Machine(folder, target)
    try:
        shown = m.run("up", "--detach", "--collector")
        assert "collector: ready" in shown.stderr and target.url in shown.stderr, shown.stderr
        state = m.json("status")
        collector = next(x for x in state["parts"] if x["name"] == "collector")
        assert collector["running"] and state["ready"], state

        class Here(Collector):  # the same sender, another's Collector
            def __init__(self):
                self.ports = {"http": state["ports"]["otlp_http"], "grpc": state["ports"]["otlp_grpc"]}

        here = Here()
        token = (m.data / "run/telemetry/token").read_text().strip()
        assert here.post("logs", log_request("through up", resource={"tenant_id": "acme"}), token) == 200
        assert here.post("logs", log_request("without a token"), None) == 401
        assert here.post("traces", trace_request(span(os.urandom(16), name="through up")), token) == 200
        wait_until(lambda: target.bodies()["through up"] and [s for _, _, s in target.spans() if s.name == "through up"], 20, "log and span at the target")
        # Who runs it: under root a user of its own.
        if os.getuid() == 0:
            uids = {x["name"]: os.stat(f"/proc/{x['pid']}").st_uid for x in state["parts"]}
            assert uids["collector"] not in (0, uids["stellad"], uids["stella-runner"], uids["postgresql"]), uids
        for part in ("stellad", "stella-runner"):
            pid = next(x["pid"] for x in state["parts"] if x["name"] == part)
            environment = pathlib.Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
            assert f"OTEL_EXPORTER_OTLP_ENDPOINT=http://127.0.0.1:{here.ports['http']}".encode() in environment, part
        os.kill(collector["pid"], signal.SIGKILL)
        wait_until(lambda: next((x for x in m.json("status")["parts"] if x["name"] == "collector" and x["running"] and x["pid"] != collector["pid"]), None), 30, "its restart")
        wait_until(lambda: here.post("logs", log_request("after the kill"), token) == 200, 20, "it to take records again")
        wait_until(lambda: target.bodies()["after the kill"], 20, "them at the target")
        # Both at once: the Collector cannot start before the Authority answers, and is tried again until it does.
        for x in m.json("status")["parts"]:
            if x["name"] in ("collector", "stellad"):
                os.kill(x["pid"], signal.SIGKILL)
        wait_until(lambda: here.post("logs", log_request("after both"), token) == 200, 60, "both to be back")
        wait_until(lambda: target.bodies()["after both"] and m.json("status", expect=None)["ready"], 30, "the record, and all ready")
        again = next(x for x in m.json("status")["parts"] if x["name"] == "collector")
        assert "Collector" not in m.run("up", "--detach", "--collector").stderr.split("already running")[0]
        before = target.bodies()["stopping"]
        m.run("down")
        assert not os.path.exists(f"/proc/{again['pid']}"), "it outlived the platform"
        assert target.bodies()["stopping"] > before, "the last that stellad said came to the target before the Collector went"
        assert not list(m.data.glob("crash/*/*")), "nobody died of the stop"
        return f"{collector['resident_bytes'] >> 20} MiB"
    finally:
        m.end()
        target.kill()


def a_torn_queue_is_set_aside(folder):
    """A disk tears the queue's file, once under the running Collector and once between two starts: it is kept aside, and records flow again."""
    target = Target(folder / "target")
    target.start()
    m = Machine(folder, target)
    queue = m.data / "collector/exporter_otlp_http_target_logs"

    def tear(whole):
        with open(queue, "r+b") as f:
            f.seek(0 if whole else 8192)  # the two pages at its head say by a checksum whether they are whole
            f.write(os.urandom(queue.stat().st_size - f.tell()))

    def sent(text):
        token = (m.data / "run/telemetry/token").read_text().strip()
        here = Collector.__new__(Collector)
        here.ports = {"http": m.json("status", expect=None)["ports"]["otlp_http"]}
        wait_until(lambda: here.post("logs", log_request(text), token) == 200, 60, "it to take records")
        wait_until(lambda: target.bodies()[text], 20, "the record at the target")

    try:
        m.run("up", "--detach", "--collector")
        sent("before")
        tear(whole=False)
        try:
            os.kill(next(x["pid"] for x in m.json("status")["parts"] if x["name"] == "collector"), signal.SIGKILL)
        except ProcessLookupError:
            pass  # the torn queue ended it first
        sent("after the first")
        assert len(list(m.data.glob("collector.torn-*"))) == 1, list(m.data.iterdir())
        for round_number, whole in enumerate((True, False)):
            m.run("down")
            tear(whole)
            assert "set aside" in m.run("up", "--detach", "--collector").stderr
            sent(f"after the next, {round_number}")
        assert len(list(m.data.glob("collector.torn-*"))) == 3, list(m.data.iterdir())
    finally:
        m.end()
        target.kill()


def up_without_it_says_so(folder):
    target = Target(folder / "target")
    m = Machine(folder, target)
    try:
        m.run("up", "--detach")
        assert [x["name"] for x in m.json("status")["parts"]] == ["postgresql", "nats", "stellad", "stella-runner"]
        assert "runs without the Collector" in m.run("up", "--detach", "--collector").stderr
    finally:
        m.end()


def main():
    report = Report("collector before the platform")
    wanted = sys.argv[1:]
    first = (a_tenants_token_stamps_its_tenant, our_processes_have_a_token_for_all_tenants, a_python_client_continues_its_trace_through_our_api)
    ups = (up_runs_the_collector_and_keeps_it_alive, a_torn_queue_is_set_aside, up_without_it_says_so)

    def chosen(*functions):
        return [f for f in functions if not wanted or f.__name__ in wanted]

    def run_ups():
        for function in chosen(*ups):
            with Folder() as folder:
                report.run(function.__name__, function, folder)

    if not chosen(*first, the_token_is_renewed_before_it_expires):
        run_ups()
        report.end()
    with Folder() as folder, Platform() as p:
        # The setting needs the platform's own directory, known only now.
        os.mkdir(p.path("telemetry"))
        with open(p.path("stella.yaml"), "a") as f:
            f.write(f"telemetry.token_file: {p.path('telemetry', 'token')}\nauth.token_ttl: 60s\n")
        p.kill("stellad")
        p.start("stellad")
        p.wait_ready()
        target = Target(folder / "target")
        target.start()
        c = Collector(folder / "c", p.url, target).start()
        for function in chosen(*first):
            report.run(function.__name__, function, p, c, target)
        run_ups()  # meanwhile half a minute goes by
        for function in chosen(the_token_is_renewed_before_it_expires):
            report.run(function.__name__, function, p, c, target)
        c.kill()
        target.kill()
    report.end()


main()
