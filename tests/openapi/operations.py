"""contracts/openapi.yaml as a judge of replies, and what of it was seen."""
import json
import os
import re
import socket

import yaml_subset
from client import Reply, uuid7
from schema import Schemas

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
NOBODY = "00000000-0000-7000-8000-000000000000"
# Documented replies that cannot be provoked here, each with the reason. Nothing else may stay unseen.
UNSEEN = {
    ("get_deployment_checkpoint", 409): "a checkpoint gets its place in the deployment log in the round that signed it",
    ("get_checkpoint", 404): "a tenant's first event is its creation, and the first event is signed at once",
}


class Api:
    """The document, and what of it was seen."""

    def __init__(self, report, url):
        with open(os.path.join(ROOT, "contracts", "openapi.yaml"), encoding="utf-8") as f:
            self.document = yaml_subset.load(f.read())
        self.report, self.url, self.seen, self.keyed = report, url, set(), {"create_token"}
        self.schemas = Schemas(self.document)
        self.operations = {}
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                self.operations[operation["operationId"]] = (method.upper(), path, operation)

    def place(self, operation, parameters):
        """Path of an operation with its parameters filled in; what is missing is an unknown id."""
        def fill(match):
            default = "f" * 32 if match[1] == "trace_id" else "manifest.json" if match[1] == "name" else NOBODY
            return parameters.get(match[1], default)
        return re.sub(r"\{(\w+)\}", fill, self.operations[operation][1])

    def strict(self, operation):
        """The schema of a JSON body that takes no other members, or None."""
        content = self.schemas.resolve(operation["requestBody"])["content"].get("application/json", {})
        schema = self.schemas.resolve(content.get("schema", {}))
        return schema if schema.get("additionalProperties") is False else None

    def check(self, case, name, reply, expected):
        """The reply against its description; its status against what the case expects."""
        expected = expected if isinstance(expected, (tuple, list)) else (expected,)
        operation = self.operations[name][2]
        declared = operation["responses"].get(str(reply.status))
        wrong = [] if reply.status in expected else [f"status {reply.status}, expected {' or '.join(map(str, expected))}: {reply.text[:300]}"]
        if declared is None:
            if reply.status < 400 or reply.status not in (405, 429, 500, 503, 504):
                wrong.append(f"status {reply.status} is not documented")
            declared = operation["responses"]["default"]
        else:
            self.seen.add((name, reply.status))
        declared = self.schemas.resolve(declared)
        content = reply.headers.get("content-type", "").split(";")[0]
        if content not in declared["content"]:
            wrong.append(f"content type {content!r} is none of {list(declared['content'])}")
        else:
            schema = declared["content"][content].get("schema")
            if schema and content.endswith("json"):
                documents = [json.loads(line) for line in reply.text.splitlines()] if content.endswith("ndjson") else [reply.json]
                for document in documents:
                    wrong += self.schemas.errors(document, schema)
        for header, node in declared["headers"].items():
            text = reply.headers.get(header.lower())
            optional = header == "Allow" and reply.status != 405 or header == "Retry-After" and reply.status not in (429, 503)
            if text is None and not optional:
                wrong.append(f"header {header} is missing")
            elif text is not None:
                wrong += self.schemas.errors(text, self.schemas.resolve(node)["schema"], header)
        if content == "application/problem+json":
            body = reply.json
            if body.get("trace_id") != reply.trace or body.get("status") != reply.status:
                wrong.append("the problem's trace_id or status is not the reply's")
            if re.search(r"sqlstate|constraint|INSERT|SELECT|/tmp/|/home/", reply.text):
                wrong.append(f"the problem shows our insides: {reply.text[:300]}")
        self.report.check(f"{name} {reply.status}: {case}", not wrong, "; ".join(wrong[:4]))
        return reply

    def call(self, case, operation, client, expected, body=None, query="", headers=None, **parameters):
        method = self.operations[operation][0]
        path = self.place(operation, parameters) + (("?" + query) if query else "")
        if method in ("POST", "PATCH") and body is None:
            body = {}
        # The first success of each POST is made under an Idempotency-Key, and then another request under the same key.
        keyed = expected in (200, 201, 202) and ("409" in self.operations[operation][2]["responses"]) and method == "POST" and operation not in self.keyed
        if keyed:
            self.keyed.add(operation)
            headers = {**(headers or {}), "idempotency-key": operation + "-" + uuid7()}
        reply = self.check(case, operation, client.request(method, path, body=body, headers=headers), expected)
        if keyed:
            again = client.request(method, path, body=body, headers=headers)
            self.check("repeated under its key", operation, again, (200, 201, 202))
            self.report.check(f"{operation}: the repeat is a replay", again.headers.get("idempotency-replayed") == "true", repr(again))
            other = client.request(method, path + ("&" if "?" in path else "?") + "other=1", body=body, headers=headers)
            self.check("another request under its key", operation, other, 409)
        return reply

    def end(self):
        for name, (_, _, operation) in sorted(self.operations.items()):
            for status in operation["responses"]:
                if status == "default" or (name, int(status)) in self.seen:
                    continue
                reason = UNSEEN.get((name, int(status)))
                if reason:
                    self.report.skip(f"{name} {status}", reason)
                else:
                    self.report.fail(f"{name} {status}", "documented, but no case provokes it")


def head_only(url, method, path, token, length, content_type):
    """A request whose body never comes: the refusal must not wait for it."""
    host, port = url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=30) as s:
        s.sendall((f"{method} {path} HTTP/1.1\r\nhost: {host}\r\nauthorization: Bearer {token}\r\ncontent-type: {content_type}\r\n"
                   f"content-length: {length}\r\n\r\n").encode())
        data = b""
        while b"\r\n\r\n" not in data or len(data) < data.index(b"\r\n\r\n") + 4 + int(re.search(rb"content-length: (\d+)", data.lower())[1]):
            chunk = s.recv(65536)
            if not chunk:
                break
            data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    lines = head.decode().split("\r\n")
    return Reply(int(lines[0].split()[1]), {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}, body)
