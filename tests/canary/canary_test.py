#!/usr/bin/env python3
"""Plants known secrets and personal data in every kind of input and greps every output for them: logs, telemetry rows, timeline, replies, job errors,
metrics, standard error of all processes, ring and spool files, the report of a crash. The evidence itself keeps source bytes as received, so objects
and bundles are left out. Each kind of value goes, plain and in each encoding, to each route of the table: that part is generated.
"""
import base64
import http.client
import json
import os
import random
import secrets
import signal
import subprocess
import sys
import time
import urllib.parse

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform")]
sys.path.insert(0, os.path.join(HERE, "..", "rls"))
from api_matrix import routes  # noqa: E402
from client import Unreachable, tar_of  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import SAMPLES, Platform, binary  # noqa: E402


def luhn(digits):
    total = sum(d if i % 2 else (d * 2 - 9 if d > 4 else d * 2) for i, d in enumerate(int(c) for c in reversed(digits)))
    return digits + str(-total % 10)


def iban():
    account = "".join(secrets.choice("0123456789") for _ in range(18))
    return f"DE{98 - int(account + '131400') % 97:02d}{account}"


def needle(value):
    """What to look for: of a key block one line of its body, of `name=secret` the secret, else the value."""
    if value.startswith("-----BEGIN"):
        return value.split("\n")[2]
    return value.split("=", 1)[1] if value.startswith("password=") else value


# How a value may travel; each undoes to the value.
ENCODINGS = {"plain": lambda v: v, "percent": lambda v: urllib.parse.quote(v, safe=""), "base64": lambda v: base64.b64encode(v.encode()).decode(),
             "JSON escapes": lambda v: "".join(f"\\u{ord(ch):04x}" if i % 3 == 0 else ch for i, ch in enumerate(v.replace("\n", "\\n")))}


class Canaries:
    """name -> the string that must not come out. Random, so that a hit is a leak and nothing else."""

    def __init__(self):
        r = lambda n=10: secrets.token_hex(n)
        self.mail = lambda: f"canary.{r(5)}@secret-mail.example"
        self.token = lambda: "eyJhbGciOiJFUzI1NiJ9." + base64.urlsafe_b64encode(b'{"sub":"canary-%s"}' % r().encode()).decode().rstrip("=") + "." + r(20)
        self.aws = lambda: "AKIA" + secrets.token_hex(8).upper()
        self.github = lambda: "ghp_" + r(18)
        self.password = lambda: "hunter2-" + r()
        self.pem = lambda: "-----BEGIN PRIVATE KEY-----\n" + "\n".join(base64.b64encode(secrets.token_bytes(48)).decode() for _ in range(3)) + "\n-----END PRIVATE KEY-----"
        self.pair = lambda: "password=hunter2" + r()
        self.ipv4 = lambda: f"198.51.{random.randrange(100, 250)}.{random.randrange(100, 250)}"
        self.ipv6 = lambda: "2001:db8:" + ":".join(f"{random.randrange(0x1000, 0xffff):x}" for _ in range(6))
        self.card = lambda: luhn("4556" + "".join(secrets.choice("0123456789") for _ in range(11)))
        self.iban = iban
        self.phone = lambda: "+49 30 " + str(random.randrange(10_000_000, 99_999_999))
        self.kinds = {k: getattr(self, k) for k in ("mail", "token", "aws", "github", "pair", "pem", "ipv4", "ipv6", "card", "iban", "phone")}
        self.all = {}

    def new(self, name, maker):
        value = maker()
        self.all[name] = needle(value)
        return value


def plant(p, c):
    """Every kind of input. Replies are kept: they are outputs."""
    admin, replies = p.client("admin"), []
    keep = lambda reply: replies.append(reply) or reply
    key = lambda what, maker: c.new(what, maker)

    # Log-ins: right and wrong, form and JSON, user and client.
    for grant, name, secret in (("password", "username", "password"), ("client_credentials", "client_id", "client_secret")):
        body = {"grant_type": grant, name: key(f"{grant}: login that is an e-mail", c.mail), secret: key(f"{grant}: wrong secret", c.password)}
        keep(admin.post("/tokens", body, token=None))
        body = {"grant_type": grant, name: "admin", secret: key(f"{grant}: wrong secret of admin", c.password)}
        keep(admin.request("POST", "/tokens", urllib.parse.urlencode(body), {"content-type": "application/x-www-form-urlencoded"}, token=None))
    keep(admin.post("/tokens", {"grant_type": key("grant type", c.password), "username": "admin"}, token=None))
    keep(admin.post("/tokens", b'{"username": "' + key("half a log-in", c.mail).encode() + b'", ', headers={"content-type": "application/json"}, token=None))
    # Principals: secret and personal name.
    keep(admin.post("/principals", {"kind": "user", "login": key("login of a user", c.mail), "secret": key("secret of a user", c.password), "display_name": key("name of a user", c.mail), "scopes": ["sbom:read"]}))
    keep(admin.post("/principals", {"kind": "user", "login": "Not Valid", "secret": key("secret beside a bad login", c.password), "scopes": []}))
    keep(admin.post("/principals", {"kind": "user", "login": "x", "secret": key("secret beside a bad scope", c.password), "scopes": [key("scope", c.github)]}))
    # Tokens and headers.
    keep(admin.get("/sboms", token=key("bearer that is none", c.token)))
    keep(admin.get("/me", headers={"cookie": "session=" + key("cookie", c.password), "x-api-key": key("API key header", c.github), "referer": "https://x.example/?token=" + key("referer", c.github),
                                   "user-agent": "agent " + key("user agent", c.mail), "x-forwarded-for": key("forwarded for", c.mail), "tracestate": "canary=" + key("tracestate", c.github)}))
    keep(admin.get("/sboms", headers={"authorization": "Basic " + base64.b64encode(("u:" + key("basic password", c.password)).encode()).decode()}, token=None))
    c.all["admin's own token"] = admin.token
    keep(admin.post("/projects", {"slug": "idem", "name": "N"}, headers={"idempotency-key": key("idempotency key", c.github)}))
    keep(admin.get("/sboms", headers={"x-stella-tenant": key("tenant header", c.mail)}))
    # URLs: path, query, cursor.
    for path in ("/sboms/{}", "/nowhere/{}", "/sboms?cursor={}", "/sboms?token={}", "/timeline?q={}", "/timeline?actor={}", "/findings?evaluation={}", "/jobs?state={}", "/obs/trace/{}",
                 "/advisories?id={}", "/attestations?subject_id={}", "/policies/{}/activate", "/exports/01990000-0000-7000-8000-000000000001/files/{}"):
        text = urllib.parse.quote(key("URL " + path, c.mail))
        keep(admin.request("POST" if "activate" in path else "GET", path.format(text), {} if "activate" in path else None))
    keep(admin.get("/sboms?access_token=" + key("token in the query", c.token)))
    # SBOMs: names, purls, authors; good, rejected, truncated in the middle of a secret.
    component = lambda n: {"type": "library", "name": n, "version": "1", "purl": "pkg:npm/" + urllib.parse.quote(n, safe="") + "@1.0.0"}
    good = {"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "metadata": {"authors": [{"name": key("SBOM author", c.mail), "email": key("SBOM author's mail", c.mail)}],
            "component": {"type": "application", "name": key("SBOM's own name", c.mail), "version": "1"}}, "components": [component(key("component name", c.mail)), component("lodash"),
            {"type": "library", "name": "u", "purl": "pkg:npm/u@1?download_url=https://user:" + key("password in a purl", c.password) + "@host/"}]}
    sbom = keep(admin.post("/sboms?wait=60", good))
    bad = [json.dumps({"bomFormat": "CycloneDX", "specVersion": key("specVersion", c.password), "components": []}).encode(),
           b'{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{"name":"' + key("truncated SBOM", c.github).encode(),
           b'{"bomFormat":"' + key("bomFormat", c.github).encode() + b'"}',
           b'{"bomFormat":"CycloneDX","specVersion":"1.5","' + (n := key("doubled member", c.github).encode()) + b'":1,"' + n + b'":2}',
           b"<xml>" + key("XML", c.mail).encode()]
    for body in bad:
        keep(admin.post("/sboms?wait=60", body))
    # Advisories and VEX: credits, authors, ids, summaries; rejected ones with the secret near the fault.
    osv = {"id": "CANARY-1", "modified": "2024-01-01T00:00:00Z", "summary": key("OSV summary", c.mail), "credits": [{"name": key("OSV credit", c.mail), "contact": [key("OSV contact", c.mail)]}],
           "references": [{"type": "WEB", "url": "https://u:" + key("password in an OSV URL", c.password) + "@x.example/"}],
           "affected": [{"package": {"ecosystem": "npm", "name": "lodash"}, "ranges": [{"type": "SEMVER", "events": [{"introduced": "0"}]}]}]}
    keep(admin.post("/advisories?wait=60", tar_of([("good.json", json.dumps(osv).encode()), ("bad.json", b'{"id":"X","modified":"' + key("OSV time", c.github).encode() + b'"}'),
                                                   ("cut.json", b'{"id":"' + key("truncated OSV", c.mail).encode())]), headers={"content-type": "application/x-tar"}))
    vex = {"@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://x.example/v", "author": key("VEX author", c.mail), "role": key("VEX role", c.mail), "timestamp": "2024-01-01T00:00:00Z", "version": 1,
           "statements": [{"vulnerability": {"name": "CANARY-1"}, "products": [{"@id": "pkg:npm/lodash@1.0.0"}], "status": "under_investigation", "status_notes": key("VEX note", c.github)}]}
    keep(admin.post("/vex?wait=60", json.dumps(vex).encode(), headers={"content-type": "application/json"}))
    keep(admin.post("/vex?wait=60", b'{"author":"' + key("truncated VEX", c.mail).encode(), headers={"content-type": "application/json"}))
    keep(admin.post("/advisories?source=" + urllib.parse.quote(key("source", c.mail)), b"{}", headers={"content-type": "application/json"}))
    # Policies: reasons and owners, and errors beside a secret.
    with open(SAMPLES + "/policy.yaml", encoding="utf-8") as f:
        policy = f.read().replace("shop-team@acme.example", key("owner of a waiver", c.mail)).replace("Deny what is serious", "Deny " + key("policy description", c.mail))
    version = keep(admin.post("/policies", policy))["policy_version"]
    keep(admin.post(f"/policies/{version}/activate"))
    keep(admin.post("/policies", policy.replace('severity == "medium"', f'severity == "{key("faulty expression", c.github)}" +')))
    keep(admin.post("/policies", "format: [" + key("policy that is no YAML", c.mail)))
    # The chain over all of it, with personal data where a person writes.
    evaluation = keep(admin.post("/evaluations?wait=60", {"sbom_id": sbom["sbom_id"], "policy_version": version}))
    keep(admin.post("/evaluations", {"sbom_id": key("sbom_id", c.mail)}))
    keep(admin.post("/evaluations", {"sbom_id": sbom["sbom_id"], "as_of": key("as_of", c.github)}))
    keep(admin.post("/evaluations", {"sbom_id": sbom["sbom_id"], "policy_version": key("policy_version", c.mail)}))
    keep(admin.post("/evaluations", {key("member name", c.github): 1}))
    keep(admin.post("/exports?wait=60", {"evaluation_id": evaluation["evaluation_id"]}))
    keep(admin.post("/exports?wait=60", {"evaluation_id": evaluation["evaluation_id"], "format": key("format", c.github)}))
    keep(admin.post("/evidence/snapshot", {"kind": "eval", "resource_id": evaluation["evaluation_id"], "case_id": key("case id that is an e-mail", c.mail)}))
    bundle = keep(admin.post("/evidence/snapshot?wait=60", {"kind": "eval", "resource_id": evaluation["evaluation_id"], "case_id": "CANARY"}))
    keep(admin.post("/evidence/verify", key("not a bundle", c.token).encode(), headers={"content-type": "application/gzip"}))
    keep(admin.post("/timeline", {"event_id": key("event id", c.mail), "kind": key("event kind", c.mail), "resource_type": "x", "resource_id": "x"}))
    keep(admin.post("/attestations/verify", {"statement": key("statement", c.token), "subject_digest": "0" * 64}))
    # A raw request that is no HTTP.
    for line in (f"GET /{key('request line', c.mail)} HTTP/9.9\r\n\r\n", f"GET / HTTP/1.1\r\nbad header {key('broken header', c.github)}\r\n\r\n"):
        raw = http.client.HTTPConnection(admin.host, admin.port, timeout=10)
        try:
            raw.connect()
            raw.sock.sendall(line.encode())
            replies.append(type("Raw", (), {"text": raw.sock.recv(65536).decode("latin-1"), "headers": {}, "status": 0})())
        except OSError:
            pass
        finally:
            raw.close()
    assert evaluation["state"] == "finished" and bundle["state"] == "sealed", (evaluation, bundle)
    return admin, replies


def plant_everywhere(p, c, admin, replies):
    """Each kind of value, in each encoding, at each route of the table: query, headers, body, path."""
    def send(method, path, body=None, headers=None):
        try:
            replies.append(admin.request(method, path, body, headers))
        except Unreachable:
            pass

    header = lambda text: text.replace("\n", " ").replace("\r", " ")
    for n, row in enumerate(routes()):
        method = row["method"]
        plain_path = "/".join("01990000-0000-7000-8000-000000000001" if part.startswith(":") else part for part in row["path"].split("/"))
        for m, (kind, maker) in enumerate(c.kinds.items()):
            encoding = list(ENCODINGS)[(n + m) % len(ENCODINGS)]
            name = f"{method} {row['path']}: {kind}, {encoding}, "
            text = ENCODINGS[encoding](c.new(name + "query", maker))
            send(method, plain_path + "?" + urllib.parse.urlencode({"note": text, "q": text, "cursor": text}), {} if method != "GET" else None)
            text = header(ENCODINGS[encoding](c.new(name + "header", maker)))
            send(method, plain_path, {} if method != "GET" else None, {"user-agent": text, "x-custom": text, "tracestate": "v=" + text.replace(",", "").replace("=", "").replace(" ", "")[:200],
                                                                      "baggage": "who=" + urllib.parse.quote(text), "traceparent": text[:55], "idempotency-key": text[:100]})
            if method != "GET":
                text = ENCODINGS[encoding](c.new(name + "body", maker))
                raw = json.dumps({"note": "\0", "kind": "\0", "reason": "\0"}).replace("\\u0000", text if encoding == "JSON escapes" else json.dumps(text)[1:-1])
                send(method, plain_path, raw.encode(), {"content-type": "application/json"})
            if ":" in row["path"]:
                text = urllib.parse.quote(ENCODINGS[encoding](c.new(name + "path", maker)), safe="")
                send(method, "/".join(text if part.startswith(":") else part for part in row["path"].split("/")), {} if method != "GET" else None)


def plant_by_cli(p, c):
    """What people type. Their own terminal may show it again; we may not keep it."""
    program = binary("stella", required=False)
    if program is None:
        return
    env = {**os.environ, "STELLA_CONFIG_DIR": p.path("tmp"), "STELLA_URL": p.url, "NO_COLOR": "1", "HOME": p.path("tmp"), "STELLA_USERNAME": "admin", "STELLA_PASSWORD": p.passwords["admin"], "STELLA_DATA_DIR": p.dir}
    for arguments in (["sbom", "show"], ["evaluate"], ["findings"], ["obs", "trace"], ["timeline", "list", "--actor"], ["forensic", "get"], ["export", "get"], ["job", "show"]):
        for kind in ("mail", "aws", "token", "ipv4"):
            value = c.new(f"stella {' '.join(arguments)}: {kind}", c.kinds[kind])
            subprocess.run([program, *arguments, value], capture_output=True, text=True, timeout=60, env=env, stdin=subprocess.DEVNULL)


def files_below(directory):
    for where, _, names in os.walk(directory):
        for name in names:
            path = os.path.join(where, name)
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    yield os.path.relpath(path, directory), f.read().decode("latin-1")


def outputs(p, admin, replies):
    """name -> text of everything that leaves us or is kept about requests."""
    problem = [r for r in replies if r.status >= 400 or r.status == 0]
    out = {"problem+json replies": "\n".join(r.text for r in problem), "headers of replies": "\n".join(str(r.headers) for r in replies)}
    for name in sorted(os.listdir(p.path("log"))):
        with open(p.path("log", name), errors="replace") as f:
            out["log " + name] = f.read()
    for table, columns in (("telemetry_spans", "*"), ("telemetry_logs", "*"), ("decisions", "*"), ("runs", "*"), ("tokens", "*"), ("attestation_facts", "*"), ("idempotency_keys", "tenant_id, route, response"),
                           ("jobs", "job_id, kind, params, error_code, error_message, error_fields, root_cause, requested_by"), ("evidence_snapshots", "bundle_id, case_id, error"),
                           ("sboms", "sbom_id, error"), ("ingest_batches", "batch_id, source_id, error, rejected")):
        out["rows " + table] = json.dumps(p.sql(f"SELECT {columns} FROM {table}"), ensure_ascii=False)
    out["timeline"] = "\n".join(r["e"] for r in p.sql("SELECT convert_from(entry, 'UTF8') AS e FROM timeline_log UNION ALL SELECT convert_from(entry, 'UTF8') FROM timeline_outbox"))
    out["metrics"] = admin.get("/metrics").text
    for name, text in files_below(p.path("telemetry")):  # rings, spill, spool, reports of crashes
        out["file telemetry/" + name] = text
    return out


def main():
    report = Report("canary")
    with Platform(tenants=("acme",), settings={"log.level": "trace", "telemetry.rows_per_trace": 100000}, telemetry_dir=True) as p:
        c = Canaries()
        admin, replies = plant(p, c)
        plant_everywhere(p, c, admin, replies)
        plant_by_cli(p, c)
        for name, secret in p.secrets.items():
            c.all["platform secret " + name] = secret
        for login, password in p.passwords.items():
            c.all["password of " + login] = password
        last = admin.get("/sboms").trace  # rows of telemetry come in order: once this one is there, all are
        deadline = time.monotonic() + 20
        while not p.sql(f"SELECT 1 AS x FROM telemetry_logs WHERE trace_id = '{last}'") and time.monotonic() < deadline:
            time.sleep(0.1)
        crashed = [r for r in replies if r.status >= 500]
        report.check("no canary makes a 5xx", not crashed, crashed[:3])
        # A crash with all of it fresh in memory: what is left of the process holds nothing either, and neither does what comes back.
        p.kill("stellad", signal.SIGSEGV)
        left = {"after the crash: " + name: text for name, text in files_below(p.path("telemetry"))}
        p.start("stellad")
        p.wait_ready()
        report.check("a crash leaves something to look at", any(left.values()), sorted(left))
        last = admin.get("/sboms").trace
        while not p.sql(f"SELECT 1 AS x FROM telemetry_logs WHERE trace_id = '{last}'") and time.monotonic() < deadline + 20:
            time.sleep(0.1)
        needles = {name: [v, urllib.parse.quote(v), urllib.parse.quote(v, safe=""), base64.b64encode(v.encode()).decode().rstrip("=")[:-1], json.dumps(v)[1:-1]] for name, v in c.all.items()}
        kept = "".join(text for _, text in files_below(p.path("objects")))  # source bytes as received: the control of the search itself
        report.check("what was sent is found where it may be", sum(any(f in kept for f in forms) for forms in needles.values()) >= 10, "the search finds nothing at all")
        for where, text in {**left, **outputs(p, admin, replies)}.items():
            report.check(f"{where}: something to look at", bool(text) or where.endswith(".err") or "telemetry/" in where or where.startswith("after"), "empty")
            hits = []
            for name, forms in needles.items():
                hits += [f"{name} ({forms[0][:24]}…): …{text[max(0, text.find(f) - 60):text.find(f) + 20]!r}" for f in forms if f in text][:1]
            report.check(f"{where}: {len(c.all)} canaries, none found", not hits, f"{len(hits)} found:\n        " + "\n        ".join(hits[:40]))
    report.end()


if __name__ == "__main__":
    main()
