"""The Collector distribution with its default configuration: who may send, what is stamped, masked, kept, and what a kill loses.

  run.py collector_test.py [CASE…]
"""
import json
import os
import pathlib
import random
import re
import shutil
import subprocess
import sys
import threading
import time
import urllib.request

from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue

from harness import CONFIG, GATES, PROGRAM, ROOT, Collector, Folder, Issuer, Key, Target, answers, b64, die_with_parent, free_port, log_request, metric_request, span, trace_request, wait_until

sys.path.insert(0, str(ROOT / "tests/platform"))
from report import Report, Skip  # noqa: E402

JWT = "eyJhbGciOiJFUzI1NiJ9.eyJzdWIiOiJhZGEifQ.c2lnbmF0dXJlLW9mLWFkYQ"
# Assembled here, so that no scanner takes this file for a leak.
SECRETS = {"jwt": JWT, "bearer": "Bearer " + "abcdEFGH12345678", "aws": "AKIA" + "IOSFODNN7EXAMPLE", "github": "ghp_" + "a1B2" * 9, "gitlab": "glpat-" + "x9Y8" * 5, "slack": "xoxb-" + "1234567890-abcdef",
           "npm": "npm_" + "q7W6" * 9, "stripe": "sk_live_" + "z5X4" * 6, "google": "AIza" + "k3L2J1H0G" * 3 + "k3L2J1H0",
           "pem": "-----BEGIN PRIVATE KEY-----\nMIGHAgEAMBMGByqGSM49\n-----END PRIVATE KEY-----", "dsn": "postgres://stella:hunter2hunter@db/x", "azure": "AccountKey=" + "Zm9vYmFy" * 4,
           "signed": "https://s3/x?X-Amz-Signature=0123456789abcdef0123", "pair": "password=Tr0ub4dor&3", "quoted": '{"api_key": "s3cr3t-value-9"}', "env": "DB_PASSWORD=hunter3hunter AWS_SECRET_ACCESS_KEY=hunter4hunter", "yaml": "apiKey: hunter5hunter",
           "basic": "Authorization: Basic " + "YWRhOmh1bnRlcjZodW50ZXI=", "sas": "https://x.blob/y?sv=1&sig=hunter7hunter%2B01234567"}
NEEDLES = [JWT.encode(), b"abcdEFGH12345678", b"AKIAIOSF", b"ghp_a1B2", b"glpat-x9Y8", b"xoxb-1234", b"npm_q7W6", b"sk_live_z5", b"AIzak3L2", b"MIGHAgEA", b"hunter2", b"Zm9vYmFy", b"0123456789abcdef0123",
           b"Tr0ub4dor", b"s3cr3t-value", b"hunter", b"YWRhOm"]
CLEAN = {"uuid": "018f9d2e-7c3a-7b21-9d4e-5f6a7b8c9d0e", "digest": "sha256:9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08", "purl": "pkg:npm/%40angular/core@17.3.1?arch=x64",
         "version": "1.2.3-rc.1+build.5", "time": "2026-11-25T06:48:43.123456Z", "url": "https://example.org/a/b?page=2&sort=asc", "masked": "password=[secret:7f3a91c2]", "mask": "[jwt:0a1b2c3d]",
         "name_masked": "X-Api-Key: [secret:7f3a91c2], token=[jwt:7f3a91c2]", "dsn_masked": "postgres://[userinfo:0a1b2c3d]@db/x"}


# ── the configuration ──────────────────────────────────────────────────────────────────────────────────────────────
def validate(config, folder):
    environment = {"PATH": os.environ["PATH"], "STELLA_COLLECTOR_STORAGE": str(folder / "queue"), "STELLA_COLLECTOR_TOKEN_FILE": str(folder / "token")}
    return subprocess.run([PROGRAM, "validate", "--config", config / "config.yaml", *GATES], env=environment, cwd=config, capture_output=True, text=True, check=False)


def configuration_is_valid(folder):
    done = validate(CONFIG, folder)
    assert done.returncode == 0, done.stderr


def every_commented_exporter_is_valid(folder):
    """Takes the # away as the comments say, all at once and in the pipelines' lists."""
    text = (CONFIG / "config.yaml").read_text()
    offered = re.findall(r"^  # ([\w/]+): (\$\{file:exporters/\w+\.yaml\})$", text, re.M)
    assert {f"${{file:exporters/{p.name}}}" for p in (CONFIG / "exporters").iterdir()} == {include for _, include in offered}
    text = re.sub(r"^  # ([\w/]+: \$\{file:)", r"  \1", text, flags=re.M)
    text = re.sub(r"^  # (bearertokenauth/platform:)\n  #( +filename.*)$", r"  \1\n  \2", text, flags=re.M)
    text = text.replace("extensions: [health_check", "extensions: [bearertokenauth/platform, health_check")
    text = text.replace('exporters: ["${env:STELLA_COLLECTOR_EXPORTER:-debug}"]', "exporters: [" + ", ".join(n for n, _ in offered if n != "prometheus_remote_write") + "]", 2)  # traces/reason and traces
    text = text.replace('exporters: ["${env:STELLA_COLLECTOR_EXPORTER:-debug}"]', "exporters: [prometheus_remote_write, otlp_grpc/any]", 1)
    place = folder / "config"
    shutil.copytree(CONFIG, place)
    (place / "config.yaml").write_text(text)
    (folder / "token").write_text("x")
    done = validate(place, folder)
    assert done.returncode == 0, done.stderr
    (place / "exporters/tempo.yaml").write_text("endpoint: tempo:4317\nno_such_key: 1\n")
    assert validate(place, folder).returncode != 0, "a broken include must not pass"
    return f"{len(offered)} exporters"


# ── who may send ───────────────────────────────────────────────────────────────────────────────────────────────────
def strangers_are_refused(c, issuer, target):
    good = issuer.claims()
    now = int(time.time())
    stranger = Key()
    stranger.kid = issuer.key.kid
    head, body, tail = issuer.token().split(".")
    tokens = {"none": None, "empty": "", "no token": "abc", "another key, same kid": stranger.sign(good), "expired": issuer.token(exp=now - 120), "another audience": issuer.token(aud="http://elsewhere"),
              "another issuer": issuer.key.sign({**good, "iss": "http://elsewhere"}), "alg none": b64(b'{"alg":"none","typ":"JWT"}') + "." + body + ".",
              "claims exchanged": ".".join((head, b64(b'{"kind":"platform"}'), tail)), "HS256 with the public key": issuer.key.sign(good, {"alg": "HS256"})}
    for what, token in tokens.items():
        for name, request in (("traces", trace_request(span(os.urandom(16), error=True))), ("logs", log_request("forged " + what)), ("metrics", metric_request("forged"))):
            assert c.post(name, request, token) == 401, (what, name)
    assert c.post("logs", log_request("mine"), issuer.token()) == 200
    wait_until(lambda: target.bodies()["mine"], 20, "the good record")
    assert not [b for b in target.bodies() if b.startswith("forged")] and not target.metrics()
    return f"{len(tokens)} tokens"


def strangers_are_refused_over_grpc(c, issuer):
    import grpc
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
    with grpc.insecure_channel(f"127.0.0.1:{c.ports['grpc']}") as channel:
        stub = LogsServiceStub(channel)
        for metadata in ([], [("authorization", "Bearer x.y.z")], [("authorization", "Bearer " + Key().sign(issuer.claims()))], [("x-tenant", "acme")]):
            try:
                stub.Export(log_request("forged over grpc"), metadata=metadata, timeout=10)
                raise AssertionError("accepted")
            except grpc.RpcError as e:
                assert e.code() == grpc.StatusCode.UNAUTHENTICATED, e
        stub.Export(log_request("mine over grpc"), metadata=[("authorization", "Bearer " + issuer.token())], timeout=10)


def an_issuer_with_a_private_authority_needs_its_file(folder):
    """Over TLS: the Collector does not start on an issuer that nobody vouches for, and does with the authority's file."""
    pem = folder / "issuer.pem"
    done = subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "1", "-subj", "/CN=issuer", "-addext", "subjectAltName=IP:127.0.0.1",
                           "-keyout", folder / "key.pem", "-out", folder / "ca.pem"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    pem.write_text((folder / "ca.pem").read_text() + (folder / "key.pem").read_text())
    issuer, target = Issuer(pem), Target(folder / "target")
    try:
        Collector(folder / "c1", issuer.url, target).start()
        raise RuntimeError("it trusts anybody")
    except AssertionError as e:
        assert "certificate signed by unknown authority" in str(e), e
    target.start()
    c = Collector(folder / "c2", issuer.url, target, STELLA_COLLECTOR_ISSUER_CA=str(folder / "ca.pem")).start()
    assert c.post("logs", log_request("over TLS"), issuer.token()) == 200
    wait_until(lambda: target.bodies()["over TLS"], 20, "the record")
    c.stop()
    target.kill()


def tokens_that_may_not_send_get_nowhere(c, issuer, target):
    refused = lambda: c.metrics('filter="filter/token"')  # noqa: E731
    before = refused()
    tokens = {"no kind": issuer.token(kind=None), "odd kind": issuer.token(kind="root"), "no tenant": issuer.key.sign({k: v for k, v in issuer.claims().items() if k != "tenant"}),
              "no scope": issuer.token(scope="stella:sbom:read#tenant/acme"), "platform without scope": issuer.token("platform", scope="stella:obs:read#platform"),
              "platform with a tenant's scope": issuer.token("platform", scope="stella:telemetry:write#tenant/acme")}
    for what, token in tokens.items():
        # Neither may the sender say it himself.
        lie = {"stella.token.kind": "platform", "stella.token.scope": "stella:telemetry:write#platform", "stella.token.tenant": "beta", "tenant_id": "beta"}
        assert c.post("logs", log_request("nowhere: " + what, resource=lie), token) == 200, what
        assert c.post("traces", trace_request(span(os.urandom(16), name="nowhere", error=True), resource=lie), token) == 200
        assert c.post("metrics", metric_request("nowhere", resource=lie), token) == 200
    c.post("logs", log_request("after nowhere"), issuer.token())
    wait_until(lambda: target.bodies()["after nowhere"], 20, "the record sent after them")
    assert not [b for b in target.bodies() if b.startswith("nowhere")]
    assert not [m for _, _, m in target.metrics() if m.name == "nowhere"]
    counted = refused()
    for name, times in (("logs", 1), ("spans", 2), ("datapoints", 1)):  # a failed span goes both ways of traces
        metric = f"otelcol_processor_filter_{name}_filtered"
        assert counted[metric] - before[metric] == times * len(tokens), (metric, {k: v for k, v in counted.items() if "filter" in k})


# ── whose it is ────────────────────────────────────────────────────────────────────────────────────────────────────
def a_tenant_token_forces_its_tenant(c, issuer, target):
    token = issuer.token(tenant="acme")
    lie = {"tenant_id": "beta"}
    trace = os.urandom(16)
    assert c.post("logs", log_request("whose log", resource={**lie, "stella.token.kind": "platform", "stella.token.tenant": "beta"}, scope=lie, attrs=lie), token) == 200
    assert c.post("traces", trace_request(span(trace, attrs=lie, error=True), resource=lie, scope=lie), token) == 200
    assert c.post("metrics", metric_request("whose.metric", resource=lie, attrs=lie), token) == 200
    wait_until(lambda: target.bodies()["whose log"] and any(s.trace_id == trace for _, _, s in target.spans()) and any(m.name == "whose.metric" for _, _, m in target.metrics()), 20, "all three signals")
    found = [x for x in target.logs() if x[2].body.string_value == "whose log"] + [x for x in target.spans() if x[2].trace_id == trace] + [x for x in target.metrics() if x[2].name == "whose.metric"]
    for resource, scope, record in found:
        assert resource["tenant_id"] == "acme" and not [k for k in resource if k.startswith("stella.token")], resource
        assert "tenant_id" not in scope, scope
        where = record.sum.data_points[0].attributes if hasattr(record, "sum") else record.attributes
        assert "tenant_id" not in {a.key for a in where}
    assert b"beta" not in b"".join(str(x).encode() for x in found)


def a_tenant_said_twice_is_forced_all_the_same(c, issuer, target):
    """OTLP's attributes are a list: a key may stand there twice, and backends that take the last one would believe it. Spellings, too: Prometheus makes one label of them."""
    from opentelemetry.proto.trace.v1.trace_pb2 import Span
    say = lambda *keys: [KeyValue(key=k, value=AnyValue(string_value=v)) for k in keys for v in ("x", "victim")]  # noqa: E731
    lies, claims = say("tenant_id", "tenant.id", "tenant-id", "tenant/id"), say("stella.token.kind", "stella.token.tenant", "stella.token.scope")
    trace = os.urandom(16)
    s, logs = span(trace, error=True), log_request("said twice")
    s.attributes.extend(lies)
    s.events.append(Span.Event(time_unix_nano=s.end_time_unix_nano, name="event", attributes=lies))
    spans, metrics = trace_request(s), metric_request(*("twice." + k for k in ("sum", "gauge", "histogram", "exponential_histogram", "summary")))
    logs.resource_logs[0].scope_logs[0].log_records[0].attributes.extend(lies)
    for m in metrics.resource_metrics[0].scope_metrics[0].metrics:
        kind = m.name.split(".")[1]
        del m.sum.data_points[:]
        getattr(m, kind).data_points.add(time_unix_nano=s.end_time_unix_nano, attributes=lies)
    for r in (spans.resource_spans[0], logs.resource_logs[0], metrics.resource_metrics[0]):
        r.resource.attributes.extend(lies + claims)
        (getattr(r, "scope_spans", None) or getattr(r, "scope_logs", None) or r.scope_metrics)[0].scope.attributes.extend(lies)
    for name, request in (("logs", logs), ("traces", spans), ("metrics", metrics)):
        assert c.post(name, request, issuer.token(tenant="acme")) == 200
    wait_until(lambda: target.bodies()["said twice"] and any(s.trace_id == trace for _, _, s in target.spans()) and sum(m.name.startswith("twice.") for _, _, m in target.metrics()) == 5, 20, "all three signals")
    found = [str(q) for name, mine in (("logs", "said twice"), ("traces", "event"), ("metrics", "twice.sum")) for q in target.requests(name) if mine in str(q)]
    assert len(found) == 3, len(found)
    for text in found:
        assert "victim" not in text and "stella.token" not in text, text
        assert text.count('key: "tenant_id"') == 1 and "acme" in text, text


def a_platform_token_carries_many_tenants(c, issuer, target):
    token = issuer.token("platform")
    request = log_request("of acme", resource={"tenant_id": "acme"})
    request.MergeFrom(log_request("of beta", resource={"tenant_id": "beta"}))
    request.MergeFrom(log_request("of nobody"))
    request.MergeFrom(log_request("of nothing", resource={"tenant_id": ""}))
    assert c.post("logs", request, token) == 200
    wait_until(lambda: sum(target.bodies()[b] for b in ("of acme", "of beta", "of nobody", "of nothing")) == 4, 20, "four records")
    whose = {x.body.string_value: r["tenant_id"] for r, _, x in target.logs()}
    assert whose["of acme"] == "acme" and whose["of beta"] == "beta" and whose["of nobody"] == whose["of nothing"] == "platform", whose


# ── the second redaction line ──────────────────────────────────────────────────────────────────────────────────────
def secrets_are_masked(c, issuer, target):
    from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
    token = issuer.token()
    planted = {"x." + k: v for k, v in SECRETS.items()} | {"http.request.header.authorization": "whatever-it-is-77", "db.password": "plainword77", "user.access_token": "plainword77"}
    kept = {"ok." + k: v for k, v in CLEAN.items()} | {"count": 42, "flag": True}
    trace = os.urandom(16)
    s = span(trace, name="GET " + SECRETS["dsn"], attrs=planted | kept)
    s.status.CopyFrom(Status(code=Status.STATUS_CODE_ERROR, message="refused: " + SECRETS["pair"]))
    s.events.append(Span.Event(time_unix_nano=s.end_time_unix_nano, name="event", attributes=s.attributes))
    assert c.post("traces", trace_request(s, resource=planted), token) == 200
    for kind, secret in SECRETS.items():
        assert c.post("logs", log_request(f"{kind} body: {secret} end", attrs=planted | kept, resource=planted), token) == 200
    assert c.post("metrics", metric_request("masked.metric", attrs=planted), token) == 200
    wait_until(lambda: any(x.trace_id == trace for _, _, x in target.spans()) and len([b for b in target.bodies() if " body:" in b]) == len(SECRETS) and [m for _, _, m in target.metrics() if m.name == "masked.metric"], 20,
               "span, logs and metric")
    raw = target.raw()
    found = [n for n in [*NEEDLES, b"whatever-it-is-77", b"plainword77"] if n in raw]
    assert not found, found
    arrived = next(x for _, _, x in target.spans() if x.trace_id == trace)
    values = {a.key: a.value for a in arrived.attributes}
    assert arrived.name.startswith("GET postgres") and arrived.status.message.startswith("refused: ") and not [k for k in values if k.startswith("stella.")], arrived
    changed = [k for k, v in CLEAN.items() if values["ok." + k].string_value != v]
    assert not changed and values["count"].int_value == 42 and values["flag"].bool_value, changed
    assert values["redaction.masked.count"].int_value == len(planted) + 2, values["redaction.masked.count"]
    return f"{len(planted)} secrets in 8 places"


def secrets_in_texts_beside_attributes_are_masked(c, issuer, target):
    """Names and texts that are no attributes, bodies of bytes, and keys that have no separator before their telling word."""
    from opentelemetry.proto.trace.v1.trace_pb2 import Span
    secret, token = SECRETS["github"].replace("a1B2", "b7C8"), issuer.token()
    keys = ("userPassword", "clientSecret", "awsSecretAccessKey", "userApiKey", "x.userAccessToken", "masterPassphrase")
    hidden = {k: f"plain-{k}-88" for k in keys}
    plain, s = span(os.urandom(16), name="plain", error=True), span(os.urandom(16), name="texts " + secret, error=True, attrs=hidden)
    plain.events.append(Span.Event(time_unix_nano=s.end_time_unix_nano, name="exception"))
    s.events.append(Span.Event(time_unix_nano=s.end_time_unix_nano, name="event " + secret))
    s.trace_state = "ot=th:0,vendor=" + secret
    texts, log, metric = trace_request(s), log_request("texts", attrs=hidden), metric_request("texts.metric")
    scopes = (texts.resource_spans[0].scope_spans[0].scope, log.resource_logs[0].scope_logs[0].scope, metric.resource_metrics[0].scope_metrics[0].scope)
    for scope in scopes:
        scope.name, scope.version = "scope " + secret, "1 " + secret
    record = log.resource_logs[0].scope_logs[0].log_records[0]
    record.severity_text, record.event_name = "SEVERE " + secret, "event." + secret
    metric.resource_metrics[0].scope_metrics[0].metrics[0].description = "counts " + secret
    untouched = log_request("texts untouched")
    scope = untouched.resource_logs[0].scope_logs[0]
    scope.scope.name, scope.scope.version = "io.example.shop", "1.2.3"
    scope.log_records[0].event_name = "user.login"
    as_bytes = {"text": ("bytes: " + secret).encode(), "binary": b"\x00\x01\xffbinary"}
    for body in as_bytes.values():
        r = scope.log_records.add(time_unix_nano=s.end_time_unix_nano, severity_text="WARNING", event_name="bytes")
        r.body.bytes_value = body
    for name, request in (("traces", texts), ("traces", trace_request(plain)), ("logs", log), ("logs", untouched), ("metrics", metric)):
        assert c.post(name, request, token) == 200
    wait_until(lambda: {plain.trace_id, s.trace_id} <= {x.trace_id for _, _, x in target.spans()} and target.bodies()["texts"] and target.bodies()["texts untouched"] and [m for _, _, m in target.metrics() if m.name == "texts.metric"], 20,
               "spans, logs and metric")
    leaked = sorted({m.decode(errors="replace") for m in re.findall(rb".{0,16}ghp_b7C8|plain-\w+-88", target.raw(), re.S)})
    assert not leaked, leaked
    arrived = {x.trace_id: x for _, _, x in target.spans()}
    got = arrived[s.trace_id]
    assert (got.name, got.events[0].name, got.trace_state) == ("texts ****", "event ****", "ot=th:0,vendor=****"), got
    assert arrived[plain.trace_id].events[0].name == "exception"
    requests = [q for name in ("logs", "traces", "metrics") for q in target.requests(name)]
    names = {(x.scope.name, x.scope.version) for q in requests for r in (getattr(q, "resource_logs", None) or getattr(q, "resource_spans", None) or q.resource_metrics)
             for x in (getattr(r, "scope_logs", None) or getattr(r, "scope_spans", None) or r.scope_metrics) if x.scope.name}
    assert names == {("scope ****", "1 ****"), ("io.example.shop", "1.2.3")}, names
    logs = {x.body.string_value or x.body.bytes_value: x for _, _, x in target.logs()}
    assert (logs["texts"].severity_text, logs["texts"].event_name) == ("SEVERE ****", "event.****")
    assert (logs["texts untouched"].severity_text, logs["texts untouched"].event_name) == ("ERROR", "user.login")
    assert as_bytes["binary"] in logs and logs["bytes: ****"].severity_text == "WARNING", list(logs)
    assert [m.description for _, _, m in target.metrics() if m.name == "texts.metric"] == ["counts ****"]
    assert not [1 for q in requests if "stella.text" in str(q)], "a text that was put among the attributes stayed there"


# ── tail sampling ──────────────────────────────────────────────────────────────────────────────────────────────────
def whole_traces_are_kept_or_not(c, issuer, target):
    """Sampling rate 0: what is kept is kept for its reason. Spans of a trace come in three requests, mixed with others."""
    token = issuer.token("platform")
    kinds = ["error", "latency", "reason", "incident", "nothing"]
    traces = {kind: [os.urandom(16) for _ in range(12)] for kind in kinds}
    special = {"error": {"error": True}, "latency": {"ms": 700}, "reason": {"attrs": {"sampling.reason": "latency"}}, "incident": {"attrs": {"incident": True}}, "nothing": {"attrs": {"sampling.reason": "head"}}}
    for part in range(3):
        request = trace_request()
        for kind in kinds:
            for trace in traces[kind]:
                request.MergeFrom(trace_request(*(span(trace, name=f"{kind} {part}.{i}", **(special[kind] if (part, i) == (1, 1) else {})) for i in range(3)), resource={"tenant_id": random.choice(["acme", "beta"])}))
        assert c.post("traces", request, token) == 200
    whole = {t: 9 for kind in kinds[:-1] for t in traces[kind]}
    counts = lambda: {t: sum(1 for _, _, s in target.spans() if s.trace_id == t) for t in whole}  # noqa: E731
    wait_until(lambda: counts() == whole, 20, lambda: f"{sum(v == 9 for v in counts().values())} of {len(whole)} whole")
    # A span that comes late shares its trace's fate, both ways.
    for kind in ("error", "nothing"):
        assert c.post("traces", trace_request(*(span(t, name="late " + kind) for t in traces[kind])), token) == 200
    wait_until(lambda: sum(s.name == "late error" for _, _, s in target.spans()) == 12, 20, "late spans of kept traces")
    assert not [s.name for _, _, s in target.spans() if s.name.startswith("nothing") or s.name == "late nothing"]
    policies = {s.name.split()[0]: scope.get("tailsampling.policy") for _, scope, s in target.spans() if "1.1" in s.name}
    assert policies == {k: k for k in kinds[:-1]}, policies
    counted = c.metrics()
    assert counted["otelcol_processor_tail_sampling_sampling_trace_dropped_too_early"] == 0
    return f"{len(whole)} kept whole, {len(traces['nothing'])} not"


def a_reason_that_comes_late_is_kept_once(c, issuer, target):
    """A trace that lasts longer than decision_wait: it was decided against before its error came. What has a reason of its own arrives, and never twice."""
    token = issuer.token("platform")
    reasons = {"error": {"error": True}, "latency": {"ms": 700}, "reason": {"attrs": {"sampling.reason": "error"}}, "incident": {"attrs": {"incident": True}}}
    traces = {kind: os.urandom(16) for kind in reasons}
    assert c.post("traces", trace_request(*(span(t, name="long early") for t in traces.values())), token) == 200
    decided = lambda: c.metrics()["otelcol_processor_tail_sampling_global_count_traces_sampled"]  # noqa: E731
    before = decided()
    wait_until(lambda: decided() >= before + len(traces), 20, "the decisions")
    for kind, special in reasons.items():
        assert c.post("traces", trace_request(span(traces[kind], name="long " + kind, **special), span(traces[kind], name="long plain")), token) == 200
    whole = os.urandom(16)  # the same reasons in time, all in one trace
    assert c.post("traces", trace_request(*(span(whole, name="all " + kind, **special) for kind, special in reasons.items()), span(whole, name="all plain")), token) == 200
    arrived = lambda trace: sorted(s.name.split()[1] for _, _, s in target.spans() if s.trace_id == trace)  # noqa: E731
    wait_until(lambda: "plain" in arrived(whole), 20, "the plain span of the kept trace")
    assert arrived(whole) == sorted([*reasons, "plain"]), arrived(whole)
    assert {kind: arrived(t) for kind, t in traces.items()} == {kind: [kind] for kind in reasons}
    policies = {s.name.split()[1]: scope.get("tailsampling.policy") for _, scope, s in target.spans() if s.name.startswith("long")}
    assert policies == {k: k for k in reasons}, policies
    assert {s.trace_state for _, _, s in target.spans() if s.name.startswith(("long", "all"))} == {"ot=th:0"}  # kept with certainty: each counts once


def the_rest_is_sampled_with_its_weight(folder, issuer):
    target = Target(folder / "target")
    target.start()
    c = Collector(folder / "c", issuer.url, target, STELLA_COLLECTOR_SAMPLE_PERCENT="25").start()
    token = issuer.token("platform")
    randomness = random.Random(7)
    sent = [randomness.randbytes(16) for _ in range(2000)]
    plain = [span(t, name="plain") for t in sent]
    for s in plain:
        s.trace_state = "ot=th:0"  # as our processes send it: recorded with certainty
    errors = [span(os.urandom(16), name="failed", error=True) for _ in range(20)]
    for s in errors:
        s.trace_state = "ot=th:0"
    assert c.post("traces", trace_request(*plain, *errors), token) == 200
    wait_until(lambda: sum(s.name == "failed" for _, _, s in target.spans()) == 20, 20, "the failed ones")
    c.stop()  # decides what is pending, sends what is queued
    arrived = [s for _, _, s in target.spans() if s.name == "plain"]
    share = len(arrived) / len(sent)
    assert 0.20 < share < 0.30, share
    assert {s.trace_state for s in arrived} == {"ot=th:c"}, {s.trace_state for s in arrived}  # 1 - 12/16 = 25 %
    assert {s.trace_state for _, _, s in target.spans() if s.name == "failed"} <= {"ot=th:0"}
    target.kill()
    return f"{share:.1%} of 2000, each with weight 4"


def span_metrics_count_before_sampling(folder, issuer):
    target = Target(folder / "target")
    target.start()
    c = Collector(folder / "c", issuer.url, target, over=["extras/span-metrics.yaml"], STELLA_COLLECTOR_SAMPLE_PERCENT="0", STELLA_COLLECTOR_SPAN_METRICS_INTERVAL="500ms").start()
    assert c.post("traces", trace_request(*(span(os.urandom(16), name="counted") for _ in range(70)), resource={"tenant_id": "beta"}), issuer.token(tenant="acme")) == 200
    calls = lambda: [(r, p) for r, _, m in target.metrics() if m.name == "traces.span.metrics.calls" for p in m.sum.data_points]  # noqa: E731
    wait_until(lambda: calls() and calls()[-1][1].as_int == 70, 20, lambda: str(calls()))
    resource, point = calls()[-1]
    assert resource["tenant_id"] == "acme" and "counted" in {a.value.string_value for a in point.attributes}, (resource, point)
    c.stop()
    assert not target.spans()
    target.kill()


# ── losses ─────────────────────────────────────────────────────────────────────────────────────────────────────────
def a_killed_collector_keeps_what_it_acknowledged(folder, issuer):
    """Target away, Collector killed: logs, metrics and failed spans come from the queue on disk. Other spans that waited for their decision are lost, and counted here."""
    target = Target(folder / "target")
    c = Collector(folder / "c", issuer.url, target, STELLA_COLLECTOR_DECISION_WAIT="2s").start()
    token = issuer.token()
    decided = [os.urandom(16) for _ in range(50)]
    assert c.post("traces", trace_request(*(span(t, error=True) for t in decided)), token) == 200
    logs = {f"log {i}" for i in range(400)}
    metrics = {f"metric.{i}" for i in range(100)}
    for i in range(100):
        assert c.post("logs", log_request(*(f"log {4 * i + k}" for k in range(4))), token) == 200
        assert c.post("metrics", metric_request(f"metric.{i}"), token) == 200
    wait_until(lambda: c.metrics()["otelcol_processor_tail_sampling_global_count_traces_sampled"] >= 50, 20, "the decisions")
    wait_until(lambda: c.metrics()["otelcol_exporter_queue_size"] > 0, 20, "the queue")
    undecided = [os.urandom(16) for _ in range(30)]
    failed = [os.urandom(16) for _ in range(30)]
    assert c.post("traces", trace_request(*(span(t) for t in undecided), *(span(t, error=True) for t in failed)), token) == 200
    c.kill()
    target.start()
    c.start()
    wait_until(lambda: logs <= set(target.bodies()) and metrics <= {m.name for _, _, m in target.metrics()}, 60,
               lambda: f"logs {len(logs & set(target.bodies()))}/400, metrics {len(metrics & {m.name for _, _, m in target.metrics()})}/100")
    wait_until(lambda: set(decided + failed) <= {s.trace_id for _, _, s in target.spans()}, 30, "the traces that were decided, and the failed spans of those that were not")
    c.stop()
    lost = set(undecided) - {s.trace_id for _, _, s in target.spans()}
    twice = sum(n - 1 for b, n in target.bodies().items() if b in logs)
    target.kill()
    return f"400 logs, 100 metrics, 50 traces arrived; lost {len(lost)} of 30 undecided traces; {twice} logs twice"


def acknowledged_survives_kills_of_both(folder, issuer):
    """A sender that notes what was acknowledged and repeats what was not, while Collector and target are killed in turn."""
    target = Target(folder / "target")
    target.start()
    c = Collector(folder / "c", issuer.url, target).start()
    token = issuer.token()
    acknowledged, attempts, stop = set(), [0], threading.Event()

    def sender(number):
        n = 0
        while not stop.is_set():
            bodies = [f"{number}/{n}/{k}" for k in range(5)]
            attempts[0] += 1
            if c.post("logs", log_request(*bodies), token) == 200:
                acknowledged.update(bodies)
                n += 1
            else:
                time.sleep(0.05)

    threads = [threading.Thread(target=sender, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    kills = 0
    for round_number in range(4):
        before = len(acknowledged)
        wait_until(lambda: len(acknowledged) >= before + 100, 30, "progress")
        if round_number % 2:
            target.kill()
            seen = len(acknowledged)
            wait_until(lambda: len(acknowledged) >= seen + 50, 30, "acknowledgements while the target is away")
        c.kill()
        kills += 1
        c.start()
        if round_number % 2:
            target.start()
    stop.set()
    for t in threads:
        t.join()
    wait_until(lambda: acknowledged <= set(target.bodies()), 60, lambda: f"{len(acknowledged - set(target.bodies()))} of {len(acknowledged)} missing")
    counts = target.bodies()
    twice = sum(counts[b] - 1 for b in acknowledged)
    c.stop()
    target.kill()
    return f"{len(acknowledged)} acknowledged over {kills} kills of the Collector and {kills // 2} of the target, none missing, {twice} twice"


def a_refusing_target_is_waited_for(folder, issuer):
    target = Target(folder / "target")
    target.start()
    target.refuse()
    c = Collector(folder / "c", issuer.url, target).start()
    bodies = {f"patient {i}" for i in range(20)}
    assert c.post("logs", log_request(*bodies), issuer.token()) == 200
    wait_until(lambda: "503" in c.log.read_text(), 20, "a refusal in the Collector's log")
    target.refuse(False)
    wait_until(lambda: bodies <= set(target.bodies()), 30, "the records after 503")
    c.stop()
    target.kill()


def a_full_queue_refuses_and_loses_nothing(folder, issuer):
    target = Target(folder / "target")
    c = Collector(folder / "c", issuer.url, target, STELLA_COLLECTOR_QUEUE_BYTES="5000000").start()
    token = issuer.token()
    acknowledged, refused = set(), 0
    filler = "0123456789 " * 10_000
    for i in range(200):
        status = c.post("logs", log_request(f"{i} {filler}"), token)
        if status == 200:
            acknowledged.add(i)
        else:
            assert status in (429, 503), status
            refused += 1
            if refused == 3:
                break
    assert refused == 3 and len(acknowledged) > 10, (refused, len(acknowledged))
    assert c.metrics()["otelcol_exporter_enqueue_failed_log_records"] >= 3
    target.start()
    wait_until(lambda: acknowledged <= {int(b.split()[0]) for b in target.bodies()}, 60, "what was acknowledged")
    wait_until(lambda: c.post("logs", log_request("room again"), token) == 200, 20, "room")
    c.stop()
    target.kill()
    return f"{len(acknowledged)} taken, then 503"


def a_full_disk_refuses_and_loses_nothing(folder, issuer):
    queue = folder / "c/queue"
    queue.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2M", "tmpfs", queue], capture_output=True, check=False).returncode != 0:
        raise Skip("no small file system can be mounted here")
    target = Target(folder / "target")
    c = Collector(folder / "c", issuer.url, target)
    try:
        c.start()
        token = issuer.token()
        statuses = {i: c.post("logs", log_request(f"{i} " + os.urandom(6000).hex()), token) for i in range(200)}
        acknowledged = {i for i, s in statuses.items() if s == 200}
        assert set(statuses.values()) == {200, 503}, set(statuses.values())
        target.start()
        wait_until(lambda: acknowledged <= {int(b.split()[0]) for b in target.bodies()}, 60, "what was acknowledged")
        wait_until(lambda: c.post("logs", log_request("500 room again"), token) == 200, 20, "room")
        return f"{len(acknowledged)} taken, {200 - len(acknowledged)} times 503"
    finally:
        c.kill()
        target.kill()
        subprocess.run(["umount", queue], check=False)


def memory_has_a_limit(folder, issuer):
    """Traces that wait for their decision fill the memory: senders are told to come again, and may once it is free."""
    target = Target(folder / "target")
    target.start()
    c = Collector(folder / "c", issuer.url, target, STELLA_COLLECTOR_MEMORY_MIB="120", STELLA_COLLECTOR_SPIKE_MIB="30", STELLA_COLLECTOR_DECISION_WAIT="3s").start()
    token = issuer.token()
    filler = {f"attr.{i}": "0123456789 " * 40 for i in range(20)}
    taken = {}
    for _ in range(400):
        traces = [os.urandom(16) for _ in range(100)]
        status = c.post("traces", trace_request(*(span(t, error=True, attrs=filler) for t in traces)), token)
        if status != 200:
            break
        taken.update(dict.fromkeys(traces))
    assert status in (429, 503) and len(taken) > 500, (status, len(taken))
    most = c.resident_mib()
    assert c.metrics()["otelcol_processor_memory_limiter_refused_spans"] + c.metrics()["otelcol_processor_refused_spans"] + c.metrics()["otelcol_receiver_refused_spans"] > 0
    wait_until(lambda: c.post("traces", trace_request(span(os.urandom(16), error=True)), token) == 200, 60, "room")
    wait_until(lambda: set(taken) <= {s.trace_id for _, _, s in target.spans()}, 60, "the traces that were taken")
    c.stop()
    target.kill()
    return f"{len(taken)} traces taken, then {status} at {most} MiB, all of them arrived"


def a_bomb_is_refused(c, issuer):
    """64 MiB of zeros in 64 KiB, with a good token and without; over both protocols."""
    import grpc
    import gzip
    import urllib.error
    bomb = gzip.compress(bytes(64 << 20), 9)
    for token, wanted in ((issuer.token(), (400, 413)), (None, (401,))):
        headers = {"content-type": "application/x-protobuf", "content-encoding": "gzip"} | ({"authorization": "Bearer " + token} if token else {})
        try:
            with urllib.request.urlopen(urllib.request.Request(f"http://127.0.0.1:{c.ports['http']}/v1/logs", bomb, headers), timeout=30) as r:
                status = r.status
        except urllib.error.HTTPError as e:
            status = e.code
        assert status in wanted, status
    from opentelemetry.proto.collector.logs.v1.logs_service_pb2_grpc import LogsServiceStub
    with grpc.insecure_channel(f"127.0.0.1:{c.ports['grpc']}", compression=grpc.Compression.Gzip) as channel:
        try:
            LogsServiceStub(channel).Export(log_request("0" * (64 << 20)), metadata=[("authorization", "Bearer " + issuer.token())], timeout=30)
            raise AssertionError("accepted")
        except grpc.RpcError as e:
            assert e.code() == grpc.StatusCode.RESOURCE_EXHAUSTED, e
    return f"{c.resident_mib()} MiB afterwards"


# ── Prometheus ─────────────────────────────────────────────────────────────────────────────────────────────────────
def prometheus():
    """The program: the machine's own, else unpacked from Debian's package into the cache; nothing is installed."""
    found = shutil.which("prometheus")
    if found:
        return found
    place = pathlib.Path(subprocess.run([ROOT / "tools/toolchain", "cache"], capture_output=True, text=True, check=True).stdout.strip()) / "prometheus"
    program = place / "usr/bin/prometheus"
    if not program.exists():
        with Folder() as folder:
            folder.chmod(0o777)
            if subprocess.run(["apt-get", "download", "prometheus"], cwd=folder, capture_output=True, check=False).returncode != 0:
                raise Skip("no prometheus, and Debian's package cannot be had")
            subprocess.run(["dpkg", "-x", next(folder.glob("*.deb")), place], check=True)
    return program


def prometheus_keeps_tenants_apart(folder, issuer):
    """A real Prometheus by remote write, with the include that ships."""
    program, port = prometheus(), free_port()
    (folder / "prometheus.yml").write_text("global: {scrape_interval: 15s}\n")
    with open(folder / "prometheus.log", "w") as log:
        server = subprocess.Popen([program, "--config.file", folder / "prometheus.yml", "--storage.tsdb.path", folder / "tsdb", "--web.enable-remote-write-receiver", "--web.listen-address", f"127.0.0.1:{port}"],
                                  stdout=log, stderr=log, preexec_fn=die_with_parent)
    over = folder / "over.yaml"
    over.write_text("exporters: {prometheus_remote_write: '${file:exporters/prometheus.yaml}'}\nservice: {pipelines: {metrics: {exporters: [prometheus_remote_write]}}}\n")
    wait_until(lambda: answers(port), 30, "Prometheus")
    c = Collector(folder / "c", issuer.url, over=[over], STELLA_COLLECTOR_PROMETHEUS=f"http://127.0.0.1:{port}/api/v1/write").start()
    for tenant in ("acme", "beta"):
        assert c.post("metrics", metric_request("demo.requests", attrs={"route": "/x"}), issuer.token(tenant=tenant)) == 200

    def series():
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/query?query=demo_requests_total", timeout=10) as r:
            return {x["metric"].get("tenant_id") for x in json.load(r)["data"]["result"]}

    try:
        wait_until(lambda: series() == {"acme", "beta"}, 30, lambda: str(series()))
    finally:
        c.kill()
        server.kill()
        server.wait()


# ── standard senders ───────────────────────────────────────────────────────────────────────────────────────────────
def the_python_sdk_sends(c, issuer, target, protocol):
    if protocol == "grpc":
        from opentelemetry.exporter.otlp.proto.grpc._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.grpc.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter
        more = lambda _: {"endpoint": f"http://127.0.0.1:{c.ports['grpc']}", "insecure": True, "headers": (("authorization", "Bearer " + token),)}  # noqa: E731
    else:
        from opentelemetry.exporter.otlp.proto.http._log_exporter import OTLPLogExporter
        from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        more = lambda name: {"endpoint": f"http://127.0.0.1:{c.ports['http']}/v1/{name}", "headers": {"authorization": "Bearer " + token}}  # noqa: E731
    from opentelemetry._logs import LogRecord, SeverityNumber
    from opentelemetry.sdk._logs import LoggerProvider
    from opentelemetry.sdk._logs.export import BatchLogRecordProcessor
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import PeriodicExportingMetricReader
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    token = issuer.token(tenant="sdk-" + protocol)
    resource = Resource.create({"service.name": "python-" + protocol, "tenant_id": "somebody-else"})
    tracers, meters, loggers = TracerProvider(resource=resource), None, LoggerProvider(resource=resource)
    tracers.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(**more("traces"))))
    loggers.add_log_record_processor(BatchLogRecordProcessor(OTLPLogExporter(**more("logs"))))
    meters = MeterProvider(resource=resource, metric_readers=[PeriodicExportingMetricReader(OTLPMetricExporter(**more("metrics")), export_interval_millis=3_600_000)])
    with tracers.get_tracer("test").start_as_current_span("sdk root " + protocol) as root:
        with tracers.get_tracer("test").start_as_current_span("sdk child " + protocol):
            loggers.get_logger("test").emit(LogRecord(timestamp=time.time_ns(), severity_number=SeverityNumber.INFO, body="sdk log " + protocol))
    counter = meters.get_meter("test").create_counter("sdk.counter." + protocol)
    counter.add(3)
    for provider in (tracers, loggers, meters):
        provider.shutdown()
    trace = root.get_span_context().trace_id.to_bytes(16)
    wait_until(lambda: len([1 for _, _, s in target.spans() if s.trace_id == trace]) == 2 and target.bodies()["sdk log " + protocol] and any(m.name == "sdk.counter." + protocol for _, _, m in target.metrics()), 20,
               "two spans, a log line, a counter")
    resources = [r for r, _, s in target.spans() if s.trace_id == trace] + [r for r, _, x in target.logs() if x.body.string_value == "sdk log " + protocol]
    assert {r["tenant_id"] for r in resources} == {"sdk-" + protocol} and {r["service.name"] for r in resources} == {"python-" + protocol}, resources
    log = next(x for _, _, x in target.logs() if x.body.string_value == "sdk log " + protocol)
    assert log.trace_id == trace


def telemetrygen():
    cache = pathlib.Path(subprocess.run([ROOT / "tools/toolchain", "cache"], capture_output=True, text=True, check=True).stdout.strip()) / "telemetrygen-0.160.0"
    program = cache / "telemetrygen"
    if not program.exists():
        done = subprocess.run([ROOT / "tools/toolchain", "run", "go", "install", "-ldflags=-s -w", "github.com/open-telemetry/opentelemetry-collector-contrib/cmd/telemetrygen@v0.160.0"],
                              env={**os.environ, "GOBIN": str(cache)}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[-800:]
    return program


def telemetrygen_sends(c, issuer, target):
    program = telemetrygen()
    token = issuer.token(tenant="generated")
    for name, more in (("traces", ["--traces", "40", "--child-spans", "3", "--status-code", "Error"]), ("logs", ["--logs", "60", "--body", "generated line"]), ("metrics", ["--metrics", "10"])):
        done = subprocess.run([program, name, "--otlp-insecure", "--otlp-endpoint", f"127.0.0.1:{c.ports['grpc']}", "--otlp-header", f'Authorization="Bearer {token}"', "--service", "telemetrygen", "--rate", "0", *more],
                              capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 0, done.stderr[-800:]
    mine = lambda found: [x for r, _, x in found if r.get("service.name") == "telemetrygen" and r["tenant_id"] == "generated"]  # noqa: E731
    wait_until(lambda: len(mine(target.spans())) == 160 and target.bodies()["generated line"] == 60 and mine(target.metrics()), 30,
               lambda: f"{len(mine(target.spans()))}/160 spans, {target.bodies()['generated line']}/60 lines, {len(mine(target.metrics()))} metrics")
    return f"{len(mine(target.spans()))} spans, 60 log lines, {len(mine(target.metrics()))} metrics"


def main():
    report = Report("collector")
    wanted = sys.argv[1:]

    def run(function, *arguments):
        if not wanted or function.__name__ in wanted:
            report.run(function.__name__ + "".join(" " + a for a in arguments if isinstance(a, str)), function, *arguments)

    issuer = Issuer()
    for function in (configuration_is_valid, every_commented_exporter_is_valid, an_issuer_with_a_private_authority_needs_its_file, the_rest_is_sampled_with_its_weight, span_metrics_count_before_sampling, a_killed_collector_keeps_what_it_acknowledged, acknowledged_survives_kills_of_both,
                     a_refusing_target_is_waited_for, a_full_queue_refuses_and_loses_nothing, a_full_disk_refuses_and_loses_nothing, memory_has_a_limit, prometheus_keeps_tenants_apart):
        with Folder() as folder:
            run(function, folder) if "valid" in function.__name__ or "private" in function.__name__ else run(function, folder, issuer)
    with Folder() as folder:
        target = Target(folder / "target")
        target.start()
        c = Collector(folder / "c", issuer.url, target, STELLA_COLLECTOR_SAMPLE_PERCENT="0", STELLA_COLLECTOR_SLOW_MS="500").start()
        print(f"      idle resident memory {c.resident_mib()} MiB")
        run(strangers_are_refused, c, issuer, target)
        run(strangers_are_refused_over_grpc, c, issuer)
        run(tokens_that_may_not_send_get_nowhere, c, issuer, target)
        run(a_tenant_token_forces_its_tenant, c, issuer, target)
        run(a_tenant_said_twice_is_forced_all_the_same, c, issuer, target)
        run(a_platform_token_carries_many_tenants, c, issuer, target)
        run(a_bomb_is_refused, c, issuer)
        run(secrets_are_masked, c, issuer, target)
        run(secrets_in_texts_beside_attributes_are_masked, c, issuer, target)
        run(whole_traces_are_kept_or_not, c, issuer, target)
        run(a_reason_that_comes_late_is_kept_once, c, issuer, target)
        target.kill()
        c.kill()
        target = Target(folder / "target2")
        target.start()
        c = Collector(folder / "c2", issuer.url, target).start()
        run(the_python_sdk_sends, c, issuer, target, "http")
        run(the_python_sdk_sends, c, issuer, target, "grpc")
        run(telemetrygen_sends, c, issuer, target)
        c.kill()
        target.kill()
    report.end()


main()
