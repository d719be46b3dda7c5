#!/usr/bin/env python3
"""The OTEL_* limits, read back by the protobuf classes of OpenTelemetry's Python package.

  tests/telemetry/limits_oracle.py LIMITS_TARGET
"""
import os
import pathlib
import subprocess
import sys
import tempfile

import otlp_python

otlp_python.enter("otlp_limits")

from opentelemetry.proto.collector.logs.v1 import logs_service_pb2 as logs  # noqa: E402
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2 as traces  # noqa: E402

TEXT = "aä€😀" + "x" * 200
NAMED = {"count", "reason", "operation", "limit", "total"}  # what the calls of limits_target name
WHOLE = {"count": 1, "reason": TEXT, "operation": TEXT, "limit": 4, "total": 5}


def run(**variables):
    """What the service exported under these variables: its span, its log record, its warnings."""
    with tempfile.TemporaryDirectory() as name:
        kept = {key: value for key, value in os.environ.items() if not key.startswith("OTEL_")}
        done = subprocess.run([sys.argv[1], name], env={**kept, **variables}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{variables}: {done.returncode} {done.stderr}"
        spans, records = traces.ExportTraceServiceRequest(), logs.ExportLogsServiceRequest()
        spans.ParseFromString(pathlib.Path(name, "traces").read_bytes())
        records.ParseFromString(pathlib.Path(name, "logs").read_bytes())
        [span] = spans.resource_spans[0].scope_spans[0].spans
        [log] = records.resource_logs[0].scope_logs[0].log_records
        return span, log, done.stdout.splitlines()


def named(of):
    return {a.key: getattr(a.value, a.value.WhichOneof("value")) for a in of.attributes if a.key in NAMED}


def same(what, got, wanted):
    assert got == wanted, f"{what}: got {got!r}, wanted {wanted!r}"


def without_limits():
    span, log, warnings = run()
    same("warnings", warnings, [])
    same("span", named(span), WHOLE)
    same("log", named(log), {key: WHOLE[key] for key in list(WHOLE)[:4]})
    same("events", [named(e) for e in span.events], [{"count": i, "reason": TEXT, "limit": 3} for i in range(8)])
    same("links", len(span.links), 8)
    same("dropped", (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count, log.dropped_attributes_count), (0, 0, 0, 0))


def of_spans():
    span, log, warnings = run(OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="2", OTEL_SPAN_EVENT_COUNT_LIMIT="3", OTEL_SPAN_LINK_COUNT_LIMIT="1", OTEL_EVENT_ATTRIBUTE_COUNT_LIMIT="1", OTEL_LINK_ATTRIBUTE_COUNT_LIMIT="0")
    same("warnings", warnings, [])
    same("span", named(span), {"count": 1, "reason": TEXT})
    same("events", [(named(e), e.dropped_attributes_count) for e in span.events], [({"count": i}, 2) for i in range(3)])
    same("links", [len(link.attributes) for link in span.links], [0])
    same("dropped", (span.dropped_attributes_count, span.dropped_events_count, span.dropped_links_count), (3, 5, 7))
    same("log", (len(named(log)), log.dropped_attributes_count), (4, 0))
    assert any(a.key == "sampling.reason" for a in span.attributes) and any(a.key == "tenant_id" for a in span.attributes), "context is lost"


def of_logs():
    span, log, _ = run(OTEL_LOGRECORD_ATTRIBUTE_COUNT_LIMIT="1", OTEL_LOGRECORD_ATTRIBUTE_VALUE_LENGTH_LIMIT="2")
    same("log", (named(log), log.dropped_attributes_count), ({"count": 1}, 3))
    same("span", named(span), WHOLE)
    span, log, _ = run(OTEL_ATTRIBUTE_COUNT_LIMIT="2", OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="3")
    same("both", (len(named(span)), len(named(log))), (3, 2))


def of_texts():
    """Characters, not bytes: protobuf itself refuses a text that is cut within one."""
    for chars in range(6):
        span, log, _ = run(OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT=str(chars))
        for what, of in [("span", span), ("log", log), ("event", span.events[0])]:
            same(f"{what} {chars}", named(of)["reason"], TEXT[:chars])
    span, log, _ = run(OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="3", OTEL_SPAN_ATTRIBUTE_VALUE_LENGTH_LIMIT="4")
    same("special name", (named(span)["reason"], named(log)["reason"]), (TEXT[:4], TEXT[:3]))


def beyond_the_library():
    span, _, warnings = run(OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT="1000", OTEL_SPAN_EVENT_COUNT_LIMIT="128", OTEL_SPAN_LINK_COUNT_LIMIT="128", OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT="100000")
    same("warnings", [w.split("=")[0] for w in sorted(warnings)], ["OTEL_ATTRIBUTE_VALUE_LENGTH_LIMIT", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT", "OTEL_SPAN_EVENT_COUNT_LIMIT", "OTEL_SPAN_LINK_COUNT_LIMIT"])
    same("span", named(span), WHOLE)


def main():
    failed = 0
    cases = [without_limits, of_spans, of_logs, of_texts, beyond_the_library]
    for case in cases:
        try:
            case()
        except AssertionError as error:
            failed += 1
            print(f"FAIL  {case.__name__}: {error}")
    print(f"{len(cases) - failed} passed, {failed} failed, 0 skipped")
    sys.exit(failed != 0)


if __name__ == "__main__":
    main()
