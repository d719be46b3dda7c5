"""Checks that a pattern cannot say: joins over several replies, bytes, comparisons between tenants."""
import base64
import io
import json
import os
import re
import tarfile
import time
import urllib.parse
import uuid


def _normal(reply, *ids):
    """A reply without what differs by nature: ids asked for, trace ids, times."""
    text = reply.text
    for i in ids:
        text = text.replace(i, "<id>")
    return reply.status, re.sub(r"[0-9a-f]{32}", "<trace>", text), {k: v for k, v in reply.headers.items() if k in ("content-type", "retry-after", "allow")}


def same_404(s, path, body=None, method="GET", other="beta-admin", suffix=""):
    """Another tenant's id and an id that never was get the same 404, byte for byte but for ids."""
    client, known = s.client(other), path.rsplit("/", 1)[1]
    unknown = known[:-6] + "ffffff" if re.fullmatch("[0-9a-f]{32}", known) else str(uuid.UUID(known[:24] + uuid.uuid4().hex[:12]))
    ask = lambda p, i: client.request(method, p + suffix, json.loads(json.dumps(body).replace("<id>", i)) if body else body)
    theirs, nobodys = ask(path, known), ask(path.rsplit("/", 1)[0] + "/" + unknown, unknown)
    assert theirs.status == 404, theirs
    assert _normal(theirs, known, unknown) == _normal(nobodys, known, unknown), f"{theirs} / {nobodys}"


def same_404_body(s, path, body, known, other="beta-admin"):
    """The same where the id stands in the body."""
    client, unknown = s.client(other), str(uuid.uuid4())
    replies = [client.post(path, json.loads(json.dumps(body).replace("<id>", i))) for i in (known, unknown)]
    assert replies[0].status == 404, replies[0]
    assert _normal(replies[0], known, unknown) == _normal(replies[1], known, unknown), replies


def unseen(s, path, other="beta-admin"):
    """The other tenant's list is empty."""
    reply = s.client(other).get(path)
    assert reply.status == 200 and reply["items"] == [], reply


STATED = ("https://slsa.dev/provenance/v1", "https://slsa.dev/verification_summary/v1", "https://in-toto.io/attestation/svr/v0.2", "https://in-toto.io/attestation/vulns/v0.2")


def attestations_verify(s, subject, count):
    """Every attestation of a subject is read, verified by the server against its own digest, and refused against another."""
    client = s.client("admin")
    items = client.all(f"/attestations?subject_id={subject}")
    assert len(items) == count, f"{len(items)} attestations instead of {count}: {[i['subject_name'] for i in items]}"
    for item in items:
        assert item["predicate_type"] in STATED, item
        full = client.get("/attestations/" + item["attestation_id"])
        assert full.status == 200 and full["verdict"]["result"] == "pass", full
        statement = full["statement"]
        assert item["subject_digest"] in [x["digest"]["sha256"] for x in statement["subject"]], statement
        good = client.post("/attestations/verify", {"attestation_id": item["attestation_id"], "subject_digest": item["subject_digest"]})
        assert good.status == 200 and good["result"] == "pass" and good["signers"], good
        bad = client.post("/attestations/verify", {"attestation_id": item["attestation_id"], "subject_digest": "0" * 64})
        assert bad.status == 200 and bad["result"] == "fail", bad
        forged = json.loads(json.dumps(full["bundle"]))
        holder, member = (forged["dsseEnvelope"], "payload") if "dsseEnvelope" in forged else (forged, "statement")
        payload = bytearray(base64.b64decode(holder[member]))
        payload[-2] ^= 1
        holder[member] = base64.b64encode(bytes(payload)).decode()
        refused = client.post("/attestations/verify", {"statement": forged, "subject_digest": item["subject_digest"]})
        assert refused.status == 200 and refused["result"] == "fail", refused


def every_job_attested(s):
    """Every finished job that has outputs has provenance for each of them, in the same trace."""
    jobs = s.platform.sql("SELECT j.job_id, j.kind, j.tenant_id, j.trace_id, j.cached_from, o->>'name' AS name, o->>'sha256' AS sha FROM jobs j, jsonb_array_elements(j.outputs) o WHERE j.state = 'finished'")
    facts = s.platform.sql("SELECT f.tenant_id, f.job_id, f.trace_id, encode(a.subject_digest, 'hex') AS sha FROM attestation_facts f JOIN attestations a ON a.tenant_id = f.tenant_id AND a.id = f.attestation_id")
    have = {(f["tenant_id"], f["job_id"], f["sha"], f["trace_id"]) for f in facts}
    missing = [j for j in jobs if (j["tenant_id"], j["job_id"], j["sha"], j["trace_id"]) not in have]
    assert jobs and not missing, f"{len(missing)} of {len(jobs)} outputs have no attestation: {missing[:2]}"
    return f"{len(jobs)} outputs"


def decision_joins(s, evaluation, bundle, trace):
    """One decision id joins a span, a log line, a timeline event, the findings' evaluation and the evidence."""
    client = s.client("admin")
    decision = client.get("/evaluations/" + evaluation)["decision_id"]
    seen = client.get("/obs/trace/" + trace).json
    where = {
        "span": [x for x in seen["spans"] if x["attributes"].get("decision_id") == decision],
        "log line": [x for x in seen["logs"] if x.get("decision_id") == decision],
        "timeline event": [x for x in seen["events"] if x["kind"] == "policy.evaluated" and x["details"]["decision_id"] == decision],
        "decision": [x for x in seen["decisions"] if x["decision_id"] == decision],
        "finding's evaluation": client.get(f"/findings?evaluation={evaluation}&limit=1")["items"],
        "evidence": [n for n, data in _members(s, bundle).items() if n.startswith("data/") and decision.encode() in data],
    }
    missing = [name for name, found in where.items() if not found]
    assert not missing, f"decision {decision} is not in: {', '.join(missing)}"


def trace_everywhere(s, trace, services=("stellad", "stella-runner")):
    """One trace id on the HTTP span, the job rows, the runner's spans and lines, events, decisions and attestations; the spans form one tree."""
    seen = s.client("admin").get("/obs/trace/" + trace).json
    for part in ("spans", "logs", "events", "decisions", "jobs", "attestations"):
        assert seen[part], f"no {part} in the trace"
    assert {x["service"] for x in seen["spans"]} >= set(services), {x["service"] for x in seen["spans"]}
    assert {x["service"] for x in seen["logs"]} >= set(services), {x["service"] for x in seen["logs"]}
    assert {x["trace_id"] for x in seen["logs"]} == {trace}
    ids = {x["span_id"] for x in seen["spans"]}
    roots = [x for x in seen["spans"] if x["parent_span_id"] not in ids]
    assert len(roots) == 1 and roots[0]["kind"] == "server", f"{len(roots)} roots: {[(r['name'], r['parent_span_id']) for r in roots]}"
    jobs = s.platform.sql(f"SELECT traceparent FROM jobs WHERE trace_id = '{trace}'")
    assert jobs and all(trace in j["traceparent"] for j in jobs), jobs
    return f"{len(seen['spans'])} spans, {len(seen['logs'])} lines"


def _members(s, bundle):
    reply = s.client("admin").post(f"/evidence/{bundle}/export", {"recipient": "scenario"})
    assert reply.status == 200, reply
    with tarfile.open(fileobj=io.BytesIO(reply.body), mode="r:gz") as tar:
        return {m.name: tar.extractfile(m).read() for m in tar.getmembers() if m.isfile()}


def bundle_has(s, bundle, names, source=None):
    """Files of the exported bundle; `source` maps a member prefix to a directory whose files must be there byte for byte."""
    members = _members(s, bundle)
    for name in names:
        assert any(re.fullmatch(name, m) for m in members), f"{name} is not in {sorted(members)}"
    for prefix, path in (source or {}).items():
        inside = [data for m, data in members.items() if m.startswith(prefix)]
        with open(s.file(path), "rb") as f:
            assert f.read() in inside, f"{path} is not in the bundle as received"


def continues_trace(s):
    """A caller with a token continues its own trace; without one it starts a new one."""
    client, mine = s.client("admin"), "4bf92f3577b34da6a3ce929d0e0e4736"
    header = {"traceparent": f"00-{mine}-00f067aa0ba902b7-01"}
    assert client.get("/sboms", headers=header).trace == mine
    assert client.get("/sboms", headers=header, token=None).trace != mine
    assert client.get("/sboms", headers={"traceparent": "00-" + "0" * 32 + "-00f067aa0ba902b7-01"}).trace != "0" * 32


def no_pii_in_denial(s, as_, path, scope, method="GET"):
    """403 names the scope and the decision; nothing of who asked."""
    client = s.client(as_)
    reply = client.request(method, path, {} if method == "POST" else None)
    assert reply.status == 403, reply
    assert reply["missing_scope"].startswith("stella:" + scope + "#"), reply
    assert re.fullmatch("[0-9a-f-]{36}", reply["decision_id"]), reply
    for secret in (client.login_name, client.actor, client.actor.split(":")[1]):
        assert secret not in reply.text, f"{secret} in {reply}"
    rows = s.platform.sql(f"SELECT decision_effect, scope FROM decisions WHERE decision_id = '{reply['decision_id']}'")
    assert len(rows) == 1 and rows[0]["decision_effect"] == "deny", rows
    events = s.client("admin").events(reply.trace, lambda kinds: "authz.denied" in kinds)
    assert [e["details"]["decision_id"] for e in events if e["kind"] == "authz.denied"] == [reply["decision_id"]], events


def allowed_reads_decided(s):
    """An allowed read leaves a decision row too, with the trace of its reply."""
    reply = s.client("admin").get("/sboms")
    rows = s.platform.sql(f"SELECT decision_effect, route, scope FROM decisions WHERE trace_id = '{reply.trace}'")
    assert rows == [{"decision_effect": "allow", "route": "/sboms", "scope": "stella:sbom:read#tenant/acme"}], rows


def _until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while True:
        value, good = condition()
        if good:
            return value
        assert time.monotonic() < deadline, f"still {value}"
        time.sleep(0.05)


def job_ends(s, job, state, attempt=None):
    def look():
        reply = s.client("admin").get("/jobs/" + job)
        return reply, reply["state"] not in ("queued", "running")
    reply = _until(look)
    assert reply["state"] == state, reply
    assert attempt is None or reply["attempt"] == attempt, reply


def sbom_state(s, sbom, state):
    _until(lambda: (r := s.client("admin").get("/sboms/" + sbom), r["state"] == state))


def not_ready(s, part):
    """/readyz tells the truth, with Retry-After and the name of the part; /healthz still answers."""
    def look():
        reply = s.client("admin").get("/readyz")
        return reply, reply.status == 503
    reply = _until(look)
    assert reply["parts"][part] != "ok" and [p for p, t in reply["parts"].items() if t == "ok"], reply
    assert reply.headers.get("retry-after"), reply.headers
    assert s.client("admin").get("/healthz", token=None).status == 200


SUPPORTED = ("pkg:npm/", "pkg:pypi/", "pkg:golang/", "pkg:maven/", "pkg:cargo/")


def _plain(purl):
    """Type, name and version, without qualifiers, spelling differences aside."""
    return urllib.parse.unquote(purl.split("?")[0].split("#")[0]).lower()


def osv_oracle(s, evaluation, sbom):
    """Affected findings of an evaluation against the rows that an independent evaluator computed for the same documents."""
    wanted = set()
    known = {os.path.splitext(n)[0] for _, _, names in os.walk(s.file("shared:data/advisories/osv")) for n in names}
    with open(s.file("shared:data/expected/osv-matches.tsv"), encoding="utf-8") as f:
        for line in f:
            document, purl, advisory, verdict, _ = line.rstrip("\n").split("\t")
            # "(devel)" is no version: ours says unknown, as the table's own notes do.
            if document == sbom and verdict == "affected" and purl.startswith(SUPPORTED) and advisory in known and "(devel)" not in _plain(purl):
                wanted.add((_plain(purl), advisory))
    found = {(_plain(i["purl"]), i["advisory_id"]) for i in s.client("admin").all(f"/findings?evaluation={evaluation}&verdict=affected&limit=500")}
    missing, more = wanted - found, found - wanted
    assert not missing and not more, f"{len(missing)} missing, {len(more)} too many: {sorted(missing)[:3]} {sorted(more)[:3]}"
    return f"{len(wanted)} affected"


def all_documents(s):
    client, read, affected = s.client("admin"), 0, 0
    root = s.file("shared:data")
    for folder in ("cyclonedx-1.4", "cyclonedx-1.5", "cyclonedx-1.6", "spdx-2.2", "spdx-2.3"):
        for name in sorted(os.listdir(os.path.join(root, "sboms", folder))):
            with open(os.path.join(root, "sboms", folder, name), "rb") as f:
                sbom = client.post("/sboms?wait=120", f.read())
            assert sbom.status in (200, 201) and sbom["state"] == "computed", f"{name}: {sbom}"
            evaluation = client.post("/evaluations?wait=120", {"sbom_id": sbom["sbom_id"]})
            assert evaluation["state"] == "finished", f"{name}: {evaluation}"
            affected += int(osv_oracle(s, evaluation["evaluation_id"], f"sboms/{folder}/{name}").split()[0])
            read += 1
    return f"{read} documents, {affected} affected"
