"""What a running platform told about itself: lines of the log files, rows of spans, series of /metrics, decisions and events."""
import json
import re

from validate import wait_for

SAMPLE = re.compile(r'^(\w+)(?:\{(.*?)\})? (\S+)(?: # \{(.*)\} (\S+).*)?$')
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


def wait_for_rows(platform, client):
    """Until a request's own span is a row, and with it whatever ended before it."""
    last = client.get("/me").trace
    wait_for(lambda: platform.sql(f"SELECT 1 FROM telemetry_spans WHERE trace_id = '{last}'"))


class Signals:
    def __init__(self, platform):
        self.platform = platform
        self.lines, self.spans, self.decisions, self.events = {}, {}, {}, {}
        self.all_lines = []
        self.samples = []

    def read(self, client):
        # Metrics first, then whatever they name as an exemplar: a run that ends between the two would be an exemplar without its row.
        self.read_metrics(client)
        wait_for_rows(self.platform, client)
        for name in ("stellad.log", "runner.log"):
            with open(self.platform.path("log", name), encoding="utf-8") as f:
                for text in f:
                    line = json.loads(text)
                    self.all_lines.append(line)
                    self.lines.setdefault(line.get("trace_id"), []).append(line)
        rows = self.platform.sql("SELECT tenant_id, trace_id, span_id, parent_span_id, name, kind, service, status, attributes, links FROM telemetry_spans")
        for row in rows:
            for key in ("attributes", "links"):
                if isinstance(row[key], str):
                    row[key] = json.loads(row[key])
            row["attributes"] = {**{k: row[k] for k in ("tenant_id", "trace_id", "span_id", "service")}, **row["attributes"]}
            self.spans.setdefault(row["trace_id"], []).append(row)
        for row in self.platform.sql("SELECT trace_id, kind, decision_effect, decision_id, route, scope FROM decisions"):
            self.decisions.setdefault(row["trace_id"], []).append(row)
        for row in self.platform.sql("SELECT trace_id, kind, tenant_id FROM timeline_events UNION ALL SELECT convert_from(entry, 'UTF8')::json->>'trace_id', convert_from(entry, 'UTF8')::json->>'kind', tenant_id FROM timeline_outbox"):
            self.events.setdefault(row["trace_id"], []).append(row["kind"])
        return self

    def read_metrics(self, client):
        for text in client.get("/metrics").text.splitlines():
            match = None if text.startswith("#") else SAMPLE.match(text)
            if match:
                exemplar = dict(LABEL.findall(match[4])) if match[4] else {}
                self.samples.append((match[1], dict(LABEL.findall(match[2] or "")), float(match[3]), exemplar))

    def series(self, name, **labels):
        return [s for s in self.samples if s[0] == name and all(s[1].get(k) == v for k, v in labels.items())]

    def total(self, name, **labels):
        return sum(s[2] for s in self.series(name, **labels))

    def exemplars(self, name, **labels):
        return {s[3]["trace_id"] for s in self.series(name, **labels) if "trace_id" in s[3]}
