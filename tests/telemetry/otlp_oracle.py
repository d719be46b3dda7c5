#!/usr/bin/env python3
"""telemetry/otlp against the protobuf classes of OpenTelemetry's Python package: they read what we wrote, we read what they wrote.

  tests/telemetry/otlp_oracle.py OTLP_TOOL [SEEDS]

Runs itself again in the venv of otlp_python.py; where that cannot be had it says so and counts one skip.
"""
import json
import random
import subprocess
import sys
import tempfile

import otlp_python

otlp_python.enter("otlp_oracle")

from google.protobuf import json_format  # noqa: E402
from google.protobuf.unknown_fields import UnknownFieldSet  # noqa: E402
from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs  # noqa: E402
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2 as metrics  # noqa: E402
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces  # noqa: E402

TOOL = sys.argv[1]
SEEDS = int(sys.argv[2]) if len(sys.argv) > 2 else 15
REQUESTS = {"traces": traces.ExportTraceServiceRequest, "metrics": metrics.ExportMetricsServiceRequest, "logs": logs.ExportLogsServiceRequest}
RESPONSES = {"rejected_spans": traces.ExportTraceServiceResponse, "rejected_data_points": metrics.ExportMetricsServiceResponse, "rejected_log_records": logs.ExportLogsServiceResponse}
RESOURCE = {"service.name": "stellad", "service.version": "1.2", "service.instance.id": "i-1", "deployment.environment.name": "prod", "cloud.region": "eu", "telemetry.sdk.name": "stella-telemetry", "telemetry.sdk.language": "cpp"}


def tool(*args, data=b""):
    done = subprocess.run([TOOL, *args], input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise AssertionError(f"otlp_tool {' '.join(args)}: {done.stderr.decode()}")
    return done.stdout


def attributes(pairs):
    """As the tool says them; a key that is there twice is an error."""
    out = {}
    for pair in pairs:
        kind = pair.value.WhichOneof("value")
        value = getattr(pair.value, kind)
        assert pair.key not in out, f"{pair.key} is there twice"
        out[pair.key] = {"int": str(value)} if kind == "int_value" else value
    return out


def same(what, got, wanted):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


def check_resource(resource):
    found = attributes(resource.attributes)
    for key, value in RESOURCE.items():
        same(key, found.get(key), value)
    return found["tenant_id"]


def check_span(tenant, span, wanted):
    same("tenant", tenant, wanted["tenant"])
    same("attributes", attributes(span.attributes), wanted["attributes"])
    same("parent", span.parent_span_id.hex(), wanted["parent"])
    for field, name in [("name", "text"), ("kind", "kind"), ("flags", "flags"), ("dropped_attributes_count", "dropped"), ("dropped_events_count", "dropped_events"), ("dropped_links_count", "dropped_links")]:
        same(field, getattr(span, field), wanted[name])
    same("start", str(span.start_time_unix_nano), wanted["start"])
    same("end", str(span.end_time_unix_nano), wanted["end"])
    same("status", span.status.code, wanted["status"])
    same("message", span.status.message, wanted["status_message"])
    same("trace_state", span.trace_state, "ot=th:" + (wanted["threshold"].rstrip("0") or "0"))
    same("events", [{"time": str(e.time_unix_nano), "name": e.name, "attributes": attributes(e.attributes)} for e in span.events], wanted["events"])
    same("links", [{"trace_id": link.trace_id.hex(), "span_id": link.span_id.hex()} for link in span.links], wanted["links"])


def check_log(tenant, scope, log, wanted):
    same("tenant", tenant, wanted["tenant"])
    same("scope", scope.name, wanted["scope"])
    same("attributes", attributes(log.attributes), wanted["attributes"])
    same("body", log.body.string_value, wanted["text"])
    same("time", str(log.time_unix_nano), wanted["start"])
    same("observed", str(log.observed_time_unix_nano), wanted["start"])
    same("severity", log.severity_number, wanted["severity"])
    same("severity text", log.severity_text, {1: "TRACE", 5: "DEBUG", 9: "INFO", 13: "WARN", 17: "ERROR"}[wanted["severity"]])
    same("flags", log.flags, wanted["flags"])
    same("dropped", log.dropped_attributes_count, wanted["dropped"])


def what_we_write(seed):
    """Records of ours, read by them field by field."""
    for command, request in [("spans", traces.ExportTraceServiceRequest()), ("logs", logs.ExportLogsServiceRequest())]:
        with tempfile.NamedTemporaryFile() as file:
            request.ParseFromString(tool(command, str(seed), file.name))
            wanted = {(w["trace_id"], w["span_id"]): w for w in json.load(open(file.name, encoding="utf-8"))}
        same("unknown fields", len(UnknownFieldSet(request)), 0)
        tenants = []
        for layer in request.resource_spans if command == "spans" else request.resource_logs:
            tenant = check_resource(layer.resource)
            tenants.append(tenant)
            for scope in layer.scope_spans if command == "spans" else layer.scope_logs:
                for record in scope.spans if command == "spans" else scope.log_records:
                    expected = wanted.pop((record.trace_id.hex(), record.span_id.hex()))
                    if command == "spans":
                        same("scope", scope.scope.name, "stella")
                        check_span(tenant, record, expected)
                    else:
                        check_log(tenant, scope.scope, record, expected)
        same("records that are missing", list(wanted), [])
        same("one resource a tenant", sorted(set(tenants)), sorted(tenants))


UCUM = {"seconds": "s", "bytes": "By", "ratio": "1"}
NUMBERS = {"as_int": "int", "as_double": "double"}


def exact(number):
    """A floating-point number bit by bit, also -0, the infinities and what is no number."""
    return float(number).hex()


def number(of):
    field = of.WhichOneof("value")
    return {NUMBERS[field]: str(of.as_int) if field == "as_int" else exact(of.as_double)}


def wanted_number(value):
    return {k: v if k == "int" else exact(float.fromhex(v)) for k, v in value.items()}


def check_point(kind, point, wanted):
    same("attributes", attributes(point.attributes), wanted["attributes"])
    same("start", str(point.start_time_unix_nano), wanted["start"])
    same("flags", point.flags, 0)
    got = [{"time": str(e.time_unix_nano), "value": number(e), "trace_id": e.trace_id.hex(), "span_id": e.span_id.hex()} for e in point.exemplars]
    same("exemplars", got, [{**e, "value": wanted_number(e["value"])} for e in wanted["exemplars"]])
    if kind != "histogram":
        same("value", number(point), wanted_number(wanted["value"]))
        return
    same("count", str(point.count), wanted["count"])
    assert point.HasField("sum") and not point.HasField("min") and not point.HasField("max")
    same("sum", exact(point.sum), exact(float.fromhex(wanted["sum"])))
    same("bucket counts", [str(c) for c in point.bucket_counts], wanted["counts"])
    same("bounds", [exact(b) for b in point.explicit_bounds], [exact(float.fromhex(b)) for b in wanted["bounds"]])


def metrics_we_write(seed):
    """A snapshot of ours, read by them field by field."""
    request = metrics.ExportMetricsServiceRequest()
    with tempfile.NamedTemporaryFile() as file:
        request.ParseFromString(tool("metrics", str(seed), file.name))
        wanted = json.load(open(file.name, encoding="utf-8"))
    same("unknown fields", len(UnknownFieldSet(request)), 0)
    same("resources", len(request.resource_metrics), 1)
    same("tenant", check_resource(request.resource_metrics[0].resource), "platform")
    same("scopes", [s.scope.name for s in request.resource_metrics[0].scope_metrics], ["stella"])
    for metric in request.resource_metrics[0].scope_metrics[0].metrics:
        expected = wanted.pop(metric.name)
        kind = metric.WhichOneof("data")
        same("kind", kind, expected["kind"])
        same("description", metric.description, expected["help"])
        same("unit", metric.unit, UCUM.get(expected["unit"], expected["unit"]))
        data = getattr(metric, kind)
        if kind != "gauge":
            same("temporality", data.aggregation_temporality, expected["temporality"])
        if kind == "sum":
            same("monotonic", data.is_monotonic, expected["monotonic"])
        same("points", len(data.data_points), len(expected["points"]))
        for point, told in zip(data.data_points, expected["points"]):
            same("time", str(point.time_unix_nano), expected["time"])
            check_point(kind, point, told)
    same("metrics that are missing", list(wanted), [])


def fill(message, rng, depth=0):
    """Sets every field of the message to something that is not its default; of alternatives one."""
    d = message.DESCRIPTOR
    chosen = {o.name: rng.choice([f for f in o.fields if not f.name.endswith("strindex")]) for o in d.oneofs}
    for f in d.fields:
        if f.name.endswith("strindex") or (f.containing_oneof and chosen[f.containing_oneof.name] is not f):
            continue
        if f.message_type:
            if f.message_type.name in ("ArrayValue", "KeyValueList") and depth > 12:
                message.string_value = "deep"
                continue
            for _ in range(rng.choice([1, 2])) if f.is_repeated else [0]:
                fill(getattr(message, f.name).add() if f.is_repeated else getattr(message, f.name), rng, depth + 1)
            getattr(message, f.name).SetInParent() if not f.is_repeated else None
        elif f.is_repeated:
            getattr(message, f.name).extend(scalar(f, rng) for _ in range(3))
        else:
            setattr(message, f.name, scalar(f, rng))
    return message


def scalar(f, rng):
    if f.type == f.TYPE_STRING:
        return rng.choice(["plain words", "Größe", "日本", "x" * 200, "a\nb"]) + str(rng.randrange(100))
    if f.type == f.TYPE_BYTES:
        return rng.randbytes({"trace_id": 16, "span_id": 8, "parent_span_id": 8}.get(f.name, 20))
    if f.type == f.TYPE_BOOL:
        return True
    if f.type == f.TYPE_DOUBLE:
        return rng.choice([0.5, -1.25, 1e300, 3.141592653589793, rng.random()])
    if f.type == f.TYPE_ENUM:
        return rng.choice([v.number for v in f.enum_type.values if v.number])
    bits = {f.TYPE_UINT32: 32, f.TYPE_FIXED32: 32, f.TYPE_SINT32: 31, f.TYPE_INT64: 63, f.TYPE_SFIXED64: 63}.get(f.type, 64)
    value = 1 + rng.randrange((1 << bits) - 1)
    return -value if f.type in (f.TYPE_SINT32, f.TYPE_INT64, f.TYPE_SFIXED64) and rng.random() < 0.5 else value


def otlp_json(message, upper):
    """OTLP/JSON: the JSON of protocol buffers, but ids in hexadecimal and enums as integers."""
    value = json_format.MessageToDict(message, use_integers_for_enums=True)

    def walk(node):
        if isinstance(node, list):
            for item in node:
                walk(item)
        elif isinstance(node, dict):
            for key, item in node.items():
                if key in ("traceId", "spanId", "parentSpanId"):
                    digits = __import__("base64").b64decode(item).hex()
                    node[key] = digits.upper() if upper else digits
                else:
                    walk(item)
            node["anUnknownMember"] = {"a": [1, None]}

    walk(value)
    return json.dumps(value).encode()


def what_they_write(seed):
    """Requests of theirs with every field set: as rows, from JSON, scrubbed where nothing is to be scrubbed."""
    rng = random.Random(seed)
    for signal, kind in REQUESTS.items():
        request = fill(kind(), rng)
        data = request.SerializeToString()
        same(f"{signal}: rows", json_format.Parse(tool("rows", signal, data=data), kind()), request)
        again = kind()
        again.ParseFromString(tool("json", signal, data=otlp_json(request, seed % 2 == 0)))
        same(f"{signal}: from JSON", again, request)
        again = kind()
        again.ParseFromString(tool("scrub", signal, data=data))
        same(f"{signal}: scrubbed", again, request)


def responses(_):
    for field, kind in RESPONSES.items():
        got, wanted = kind(), kind()
        got.ParseFromString(tool("response", "300", "tenant differs"))
        setattr(wanted.partial_success, field, 300)
        wanted.partial_success.error_message = "tenant differs"
        same(field, got, wanted)
        same("success", tool("response", "0", ""), b"")


def main():
    passed = failed = 0
    for test, seeds in [(what_we_write, range(1, SEEDS + 1)), (metrics_we_write, range(1, SEEDS + 1)), (what_they_write, range(1, SEEDS + 1)), (responses, [0])]:
        for seed in seeds:
            try:
                test(seed)
                passed += 1
            except AssertionError as error:
                failed += 1
                print(f"FAIL  {test.__name__} seed {seed}: {str(error)[:2000]}")
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


sys.exit(main())
