"""What the suites share: the real Collector, a target, an issuer of tokens with its keys, senders that know what was acknowledged, readers."""
import atexit
import base64
import collections
import ctypes
import gzip
import http.client
import http.server
import json
import os
import pathlib
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
import uuid

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, utils
from opentelemetry.proto.collector.logs.v1.logs_service_pb2 import ExportLogsServiceRequest
from opentelemetry.proto.collector.metrics.v1.metrics_service_pb2 import ExportMetricsServiceRequest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
CONFIG = ROOT / "telemetry/collector-config"
PROGRAM = os.environ["STELLA_COLLECTOR"]
GATES = (CONFIG / "feature-gates").read_text().split()
REQUESTS = {"traces": ExportTraceServiceRequest, "logs": ExportLogsServiceRequest, "metrics": ExportMetricsServiceRequest}
ISSUER_SCOPES = {"tenant": "stella:sbom:read#tenant/{0} stella:telemetry:write#tenant/{0}", "platform": "stella:telemetry:write#platform"}
_libc = ctypes.CDLL(None)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def die_with_parent():
    _libc.prctl(1, signal.SIGKILL)


def wait_until(true, seconds, what):
    """Polls; an assertion where it never comes true. What it returned."""
    end = time.monotonic() + seconds
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < end, f"not within {seconds} s: {what() if callable(what) else what}"
        time.sleep(0.05)


def b64(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Key:
    def __init__(self):
        self.private = ec.generate_private_key(ec.SECP256R1())
        self.kid = uuid.uuid4().hex

    def jwk(self):
        n = self.private.public_key().public_numbers()
        return {"kty": "EC", "crv": "P-256", "x": b64(n.x.to_bytes(32)), "y": b64(n.y.to_bytes(32)), "use": "sig", "alg": "ES256", "kid": self.kid}

    def sign(self, claims, header=None):
        text = b64(json.dumps({"alg": "ES256", "typ": "JWT", "kid": self.kid, **(header or {})}).encode()) + "." + b64(json.dumps(claims).encode())
        r, s = utils.decode_dss_signature(self.private.sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        return text + "." + b64(r.to_bytes(32) + s.to_bytes(32))


class Issuer:
    """Discovery document and key set in the form of our Authority's, for tokens that the Authority would never sign."""

    def __init__(self, certificate=None):
        """With `certificate` (a PEM file of certificate and key) it speaks TLS."""
        self.key = Key()
        issuer = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                body = {"/.well-known/openid-configuration": {"issuer": issuer.url, "jwks_uri": issuer.url + "/.well-known/jwks.json", "token_endpoint": issuer.url + "/tokens",
                                                              "response_types_supported": ["token"], "subject_types_supported": ["public"], "id_token_signing_alg_values_supported": ["ES256"]},
                        "/.well-known/jwks.json": {"keys": [issuer.key.jwk()]}}.get(self.path)
                self.send_response(200 if body else 404)
                self.send_header("content-type", "application/json")
                self.end_headers()
                self.wfile.write(json.dumps(body).encode())

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.server.server_address[1]}"
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def claims(self, kind="tenant", tenant="acme", **more):
        now = int(time.time())
        out = {"iss": self.url, "aud": self.url, "sub": "service:" + str(uuid.uuid4()), "jti": str(uuid.uuid4()), "iat": now, "exp": now + 3600, "kind": kind,
               "scope": ISSUER_SCOPES.get(kind, "").format(tenant)}
        if kind == "tenant":
            out["tenant"] = tenant
        out.update(more)
        return {k: v for k, v in out.items() if v is not None}

    def token(self, kind="tenant", tenant="acme", **more):
        return self.key.sign(self.claims(kind, tenant, **more))


class Target:
    def __init__(self, directory):
        self.directory = pathlib.Path(directory)
        self.directory.mkdir()
        self.port = free_port()
        self.process = None

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        self.process = subprocess.Popen([sys.executable, pathlib.Path(__file__).with_name("target.py"), str(self.port), self.directory], preexec_fn=die_with_parent)
        wait_until(lambda: answers(self.port), 10, "the target's port")

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def refuse(self, on=True):
        (self.directory / "refuse").touch() if on else (self.directory / "refuse").unlink(missing_ok=True)

    def forget(self):
        for f in self.directory.glob("*.pb"):
            f.unlink()

    def raw(self):
        return b"".join(f.read_bytes() for f in self.directory.glob("*.pb"))

    def requests(self, signal_name):
        for f in sorted(self.directory.glob(signal_name + "-*.pb")):
            request = REQUESTS[signal_name]()
            request.ParseFromString(f.read_bytes())
            yield request

    def spans(self):
        """(resource attributes, scope attributes, span)"""
        return [(attributes(r.resource.attributes), attributes(s.scope.attributes), x) for q in self.requests("traces") for r in q.resource_spans for s in r.scope_spans for x in s.spans]

    def logs(self):
        return [(attributes(r.resource.attributes), attributes(s.scope.attributes), x) for q in self.requests("logs") for r in q.resource_logs for s in r.scope_logs for x in s.log_records]

    def metrics(self):
        return [(attributes(r.resource.attributes), attributes(s.scope.attributes), x) for q in self.requests("metrics") for r in q.resource_metrics for s in r.scope_metrics for x in s.metrics]

    def bodies(self):
        return collections.Counter(x.body.string_value for _, _, x in self.logs())


def attributes(pairs):
    return {p.key: getattr(p.value, p.value.WhichOneof("value") or "string_value") for p in pairs}


def answers(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) == 0


class Collector:
    """The real program with the default configuration; what differs goes in by the environment, as in production."""

    def __init__(self, directory, issuer, target=None, config=CONFIG, over=(), **environment):
        self.directory, self.config, self.over = pathlib.Path(directory), config, [word for file in over for word in ("--config", file)]
        self.directory.mkdir(exist_ok=True)
        self.ports = {name: free_port() for name in ("grpc", "http", "health", "zpages", "metrics")}
        at = "127.0.0.1:{}".format
        self.environment = {"PATH": os.environ["PATH"], "STELLA_COLLECTOR_OTLP_GRPC": at(self.ports["grpc"]), "STELLA_COLLECTOR_OTLP_HTTP": at(self.ports["http"]),
                            "STELLA_COLLECTOR_HEALTH": at(self.ports["health"]), "STELLA_COLLECTOR_ZPAGES": at(self.ports["zpages"]), "STELLA_COLLECTOR_METRICS_PORT": str(self.ports["metrics"]),
                            "STELLA_COLLECTOR_ISSUER": issuer, "STELLA_COLLECTOR_AUDIENCE": issuer, "STELLA_COLLECTOR_STORAGE": str(self.directory / "queue"),
                            "STELLA_COLLECTOR_DECISION_WAIT": "1s", "STELLA_COLLECTOR_SAMPLE_PERCENT": "100", **environment}
        if target:
            self.environment |= {"STELLA_COLLECTOR_EXPORTER": "otlp_http/target", "STELLA_COLLECTOR_TARGET": target.url}
        self.log = self.directory / "collector.log"
        self.process = None
        atexit.register(self.kill)

    def start(self):
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([PROGRAM, "--config", self.config / "config.yaml", *self.over, *GATES], env=self.environment, cwd=self.config, stdout=log, stderr=log, preexec_fn=die_with_parent)
        wait_until(self.ready, 30, lambda: "the Collector; its log ends with\n" + self.log.read_text()[-1500:])
        return self

    def ready(self):
        assert self.process.poll() is None, "the Collector ended:\n" + self.log.read_text()[-1500:]
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['health']}/", timeout=2) as r:
                return r.status == 200 and answers(self.ports["grpc"])
        except OSError:
            return False

    def kill(self):
        if self.process:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self):
        if self.process:
            self.process.terminate()
            self.process.wait(60)
            self.process = None

    def metrics(self, only=""):
        """Sums of its own metrics by name without _total (labels added up; those alone that have `only` among them)."""
        with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}/metrics", timeout=5) as r:
            out = collections.Counter()
            for line in r.read().decode().splitlines():
                if line and not line.startswith("#") and only in line:
                    name, value = line.rsplit(" ", 1)
                    out[name.split("{")[0].removesuffix("_total")] += float(value)
            return out

    def resident_mib(self):
        return next(int(line.split()[1]) // 1024 for line in open(f"/proc/{self.process.pid}/status") if line.startswith("VmRSS"))

    def post(self, signal_name, request, token):
        """HTTP status; 0 where nobody answered. 200 is the acknowledgement."""
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"}
        if token is not None:
            headers["authorization"] = "Bearer " + token
        body = gzip.compress(request.SerializeToString(), 1)
        try:
            with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{self.ports['http']}/v1/{signal_name}", body, headers), timeout=30) as r:
                return r.status
        except urllib.error.HTTPError as e:
            return e.code
        except (OSError, http.client.HTTPException):
            return 0


# ── records ────────────────────────────────────────────────────────────────────────────────────────────────────────
def pairs(values):
    def any_value(v):
        return AnyValue(bool_value=v) if isinstance(v, bool) else AnyValue(int_value=v) if isinstance(v, int) else AnyValue(string_value=v)

    return [KeyValue(key=k, value=any_value(v)) for k, v in values.items()]


def now_ns():
    return time.time_ns()


def trace_request(*spans, resource=None, scope=None):
    request = ExportTraceServiceRequest()
    r = request.resource_spans.add()
    r.resource.attributes.extend(pairs({"service.name": "test", **(resource or {})}))
    s = r.scope_spans.add()
    s.scope.attributes.extend(pairs(scope or {}))
    s.spans.extend(spans)
    return request


def span(trace, name="work", ms=5, error=False, attrs=None, parent=b""):
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
    end = now_ns()
    return Span(trace_id=trace, span_id=os.urandom(8), parent_span_id=parent, name=name, kind=Span.SPAN_KIND_INTERNAL, start_time_unix_nano=end - ms * 1_000_000, end_time_unix_nano=end,
                attributes=pairs(attrs or {}), status=Status(code=Status.STATUS_CODE_ERROR, message="it failed") if error else Status())


def log_request(*bodies, resource=None, scope=None, attrs=None):
    request = ExportLogsServiceRequest()
    r = request.resource_logs.add()
    r.resource.attributes.extend(pairs({"service.name": "test", **(resource or {})}))
    s = r.scope_logs.add()
    s.scope.attributes.extend(pairs(scope or {}))
    for body in bodies:
        s.log_records.add(time_unix_nano=now_ns(), severity_number=17, severity_text="ERROR", body=AnyValue(string_value=body), attributes=pairs(attrs or {}))
    return request


def metric_request(*names, resource=None, attrs=None):
    request = ExportMetricsServiceRequest()
    r = request.resource_metrics.add()
    r.resource.attributes.extend(pairs({"service.name": "test", **(resource or {})}))
    s = r.scope_metrics.add()
    for name in names:
        m = s.metrics.add(name=name, unit="1")
        m.sum.aggregation_temporality = 2
        m.sum.is_monotonic = True
        m.sum.data_points.add(start_time_unix_nano=now_ns() - 10**9, time_unix_nano=now_ns(), as_int=1, attributes=pairs(attrs or {}))
    return request


class Folder:
    """A directory that goes with the test; STELLA_KEEP=1 keeps it."""

    def __enter__(self):
        self.path = pathlib.Path(tempfile.mkdtemp(prefix="stella-collector-"))
        return self.path

    def __exit__(self, *_):
        if os.environ.get("STELLA_KEEP"):
            print(f"kept: {self.path}", file=sys.stderr)
        else:
            shutil.rmtree(self.path, ignore_errors=True)
