#!/usr/bin/env python3
"""Every operation of contracts/openapi.yaml against a running platform: each documented success and failure is provoked, and every reply
(status, content type, headers, body) must fit its description. Undocumented members fail, and so does a documented reply nobody saw."""
import gzip
import json
import os
import re
import signal
import sys
import threading
import time
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [HERE, *(os.path.join(ROOT, "tests", part) for part in ("platform", "tamper")), os.path.join(ROOT, "tools")]

import event_matrix  # noqa: E402
import events  # noqa: E402
from bundle_files import mend_lists, pack, unpack  # noqa: E402
from client import Client, tar_of, uuid7  # noqa: E402
from operations import NOBODY, Api, head_only  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import SAMPLES, Platform, binary  # noqa: E402

WITHHOLD = {"withhold": ["data/trace.ndjson"], "reason": "a third party's rules"}
LONGER = {"retain_until": "2080-01-01T00:00:00Z", "reason": "audit"}


def wait_for(condition, seconds=60):
    """Polls; what `condition` answered at the end, true or not: the case that follows says what is wrong."""
    deadline = time.monotonic() + seconds
    while True:
        value = condition()
        if value or time.monotonic() > deadline:
            return value
        time.sleep(0.05)


def sample(name):
    with open(os.path.join(SAMPLES, name), "rb") as f:
        return f.read()


def check_public(api, c):
    for name in ("root", "healthz", "readyz", "metrics", "openid_configuration", "jwks", "list_keys", "key_history"):
        reply = api.call("as documented", name, Client(c.url), 200)
        if name == "metrics":
            api.report.check("metrics end as OpenMetrics must", reply.text.endswith("# EOF\n"), reply.text[-80:])
    for accept, served in (("application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5", "application/openmetrics-text; version=1.0.0; charset=utf-8"),
                           ("text/plain;version=0.0.4", "text/plain; version=0.0.4; charset=utf-8")):
        reply = api.call("Accept: " + accept, "metrics", Client(c.url), 200, headers={"accept": accept})
        type_, ends = reply.headers.get("content-type"), reply.text.endswith("# EOF\n")
        api.report.check("its format is the one that was asked for: " + accept, type_ == served and ends == served.startswith("application/"), f"{type_} {reply.text[-80:]}")
        api.report.check("caches are told what chose it: " + accept, reply.headers.get("vary") == "Accept", str(reply.headers.get("vary")))


def check_refusals(api, p, admin):
    """401 without a token, with a wrong one; 403 with one that has no scope for it; the same 404 for everything that is not there."""
    weak = p.service(admin, ["notify:read"])
    for name, (method, path, operation) in api.operations.items():
        if operation["x-scope"] == "none":
            continue
        api.call("no token", name, Client(api.url), 401)
        api.call("no token of ours", name, Client(api.url, token="eyJhbGciOiJub25lIn0.e30."), 401)
        if operation["x-scope"] == "any token":
            continue
        reply = api.call("no scope", name, weak, 403)
        wanted = operation["x-scope"].split(" or ")[0]
        wanted = "stella:" + (wanted if "#" in wanted else wanted + "#tenant/acme")
        api.report.check(f"{name}: the refusal names {wanted}", reply.json.get("missing_scope") == wanted and reply.json.get("decision_id"), repr(reply))
        api.call("another tenant's", name, admin, 403, headers={"x-stella-tenant": "beta"})
        if "404" in operation["responses"] and "{" in path:
            body = {"export_evidence": {"recipient": "auditor"}, "change_hold": {"action": "request_release", "reason": "over"}, "extend_bundle": LONGER, "redact_evidence": WITHHOLD,
                    "change_tenant": {"state": "active"}, "change_principal": {"state": "active"}, "change_scopes": {"action": "grant", "scopes": ["sbom:read"]}}.get(name)
            api.call("unknown id", name, admin, 404, body=body)
            malformed = {k: "no-id" for k in re.findall(r"\{(\w+)\}", path)}
            api.call("malformed id", name, admin, 404, body=body, **malformed)
        if method == "POST":
            api.call("a key that is too long", name, admin, 422, headers={"idempotency-key": "k" * 129})
        if "415" in operation["responses"]:
            api.call("an encoding that nobody knows", name, admin, 415, body=b"x", headers={"content-encoding": "br"})
        if operation.get("requestBody") and api.strict(operation):
            odd = api.call("an unknown member", name, admin, 422, {"surprise": 1})
            api.report.check(f"{name}: the member is named", odd.json["errors"][0].get("field") == "surprise", repr(odd))
            first = next(iter(api.strict(operation)["properties"]))
            api.call("a member of another type", name, admin, 422, {first: 5})
        known = [api.document["components"]["parameters"][n["$ref"].rsplit("/", 1)[1]] for n in operation["parameters"]]
        if any(parameter["in"] == "query" for parameter in known):  # whoever takes parameters takes no others
            api.call("an unknown parameter", name, admin, 422, query="surprise=1")
        if any(n["$ref"].endswith("/limit") for n in operation["parameters"]):
            of_one = name in ("list_findings", "list_components")  # there the cursor is looked at once the thing is found
            for query in ("limit=0", "limit=501", "limit=1x") + (() if of_one else ("cursor=zz",)):
                api.call(query, name, admin, 422, query=query + ("&evaluation=" + NOBODY if name == "list_findings" else ""))


def check_access(api, p, c):
    form = {"content-type": "application/x-www-form-urlencoded"}
    anyone = Client(api.url)
    api.call("password, as JSON", "create_token", anyone, 200, {"grant_type": "password", "username": "admin", "password": p.passwords["admin"]})
    api.call("wrong password", "create_token", anyone, 401, "grant_type=password&username=admin&password=wrong", headers=form)
    api.call("unknown user", "create_token", anyone, 401, "grant_type=password&username=nobody&password=wrong", headers=form)
    api.call("unknown grant", "create_token", anyone, 422, "grant_type=implicit", headers=form)
    api.call("no JSON", "create_token", anyone, 400, b'{"grant_type":', headers={"content-type": "application/json"})
    api.call("me", "me", c, 200)
    made = p.service(c, ["sbom:read"])
    api.call("the own token", "revoke_token", made, 200, token_id=made.get("/me")["token_id"])
    api.call("revoked", "me", made, 401)
    api.call("unknown token", "revoke_token", c, 404)
    api.call("a platform administrator's, by one of the tenant", "revoke_token", p.service(c, ["tenant:admin"]), 403, token_id=c.get("/me")["token_id"])
    old, new = "correct horse battery staple", "another horse and its battery"
    assert c.post("/principals", {"kind": "service", "login": "ci-rotates", "secret": old, "scopes": ["sbom:read"]}).status == 201
    made = Client(api.url)
    made.login("ci-rotates", old, grant="client_credentials")
    api.call("not the old one", "change_secret", made, 403, {"old_secret": new, "new_secret": old})
    api.call("too short", "change_secret", made, 422, {"old_secret": old, "new_secret": "short"})
    api.call("not JSON", "change_secret", made, 400, b"[")
    api.call("a new one", "change_secret", made, 200, {"old_secret": old, "new_secret": new})
    api.call("its token ended", "me", made, 401)
    made.login("ci-rotates", new, grant="client_credentials")
    api.call("the new one opens", "me", made, 200)
    api.call("list", "list_tenants", c, 200)
    api.call("list", "list_tenant_keys", c, 200)
    api.call("new", "create_tenant", c, 201, {"tenant_id": "delta", "display_name": "Delta"})
    api.call("there already", "create_tenant", c, 409, {"tenant_id": "delta", "display_name": "Delta"})
    api.call("not an id", "create_tenant", c, 422, {"tenant_id": "No!", "display_name": "x"})
    api.call("not JSON", "create_tenant", c, 400, b"[")
    api.call("unknown key", "change_key", c, 404, {"action": "retire", "key_id": "SHA256:" + "A" * 43})
    api.call("no key id", "change_key", c, 422, {"action": "retire", "key_id": "x"})
    api.call("no such action", "change_key", c, 422, {"action": "destroy"})
    api.call("not JSON", "change_key", c, 400, b"[")
    signs = [k for k in c.get("/keys")["items"] if k["purpose"] == "evidence"][-1]["key_id"]
    api.call("the key that signs", "change_key", c, 409, {"action": "retire", "key_id": signs})
    issues = [k for k in c.get("/keys")["items"] if k["purpose"] == "token"][-1]["key_id"]
    api.call("the token key that signs", "change_key", c, 409, {"action": "compromise", "key_id": issues, "since": "2000-01-01T00:00:00Z"})
    api.call("lies ahead", "change_key", c, 422, {"action": "compromise", "key_id": signs, "since": "2999-01-01T00:00:00Z"})
    api.call("rotate", "change_key", c, 200, {"action": "rotate"})
    api.call("the one before", "change_key", c, 200, {"action": "compromise", "key_id": signs, "since": "2000-01-01T00:00:00Z", "reason": "lost"})
    api.call("begun anew", "change_key", c, 200, {"action": "rotate"})
    api.call("list", "list_projects", c, 200)
    api.call("new", "create_project", c, 201, {"slug": "shop", "name": "Shop"})
    api.call("there already", "create_project", c, 409, {"slug": "shop", "name": "Shop"})
    api.call("not a slug", "create_project", c, 422, {"slug": "No!", "name": "x"})
    api.call("not JSON", "create_project", c, 400, b"[")
    page = api.call("a page", "list_projects", c, 200, query="limit=1")
    api.call("the next page", "list_projects", c, 200, query="limit=1&cursor=" + page["next_cursor"])
    api.call("list", "list_principals", c, 200)
    new = {"kind": "service", "login": "ci-shop", "secret": "correct horse battery staple", "scopes": ["sbom:read"]}
    api.call("new", "create_principal", c, 201, new)
    api.call("there already", "create_principal", c, 409, new)
    api.call("unknown scope", "create_principal", c, 422, {**new, "login": "ci-2", "scopes": ["everything"]})
    api.call("unknown kind", "create_principal", c, 422, {**new, "login": "ci-3", "kind": "robot"})
    api.call("not JSON", "create_principal", c, 400, b"[")


def check_changes(api, p, c):
    """Tenants and principals, changed: who loses something is out at once."""
    api.call("named anew", "change_tenant", c, 200, {"display_name": "Delta Ltd"}, tenant_id="delta")
    api.call("there is nothing to change", "change_tenant", c, 422, {}, tenant_id="delta")
    api.call("no such state", "change_tenant", c, 422, {"state": "asleep"}, tenant_id="delta")
    api.call("the own one", "change_tenant", c, 409, {"state": "suspended"}, tenant_id="acme")
    api.call("not JSON", "change_tenant", c, 400, b"[", tenant_id="delta")
    theirs = p.client("beta-admin")
    api.call("suspended", "change_tenant", c, 200, {"state": "suspended"}, tenant_id="beta")
    api.call("of a suspended tenant", "me", theirs, 401)
    api.call("resumed", "change_tenant", c, 200, {"state": "active"}, tenant_id="beta")
    api.call("a token does not come back", "me", theirs, 401)
    weak = p.service(c, ["sbom:read"])
    who = {"principal_id": weak.get("/me")["principal_id"]}
    api.call("one scope more", "change_scopes", c, 200, {"action": "grant", "scopes": ["policy:read"], "platform_scopes": ["kb:write"]}, **who)
    api.call("the token has them not", "list_policies", weak, 403)
    api.call("taken", "change_scopes", c, 200, {"action": "revoke", "scopes": ["policy:read"], "platform_scopes": ["kb:write"]}, **who)
    api.call("a token from before", "me", weak, 401)
    api.call("unknown scope", "change_scopes", c, 422, {"action": "grant", "scopes": ["everything"]}, **who)
    api.call("no such action", "change_scopes", c, 422, {"action": "lend", "scopes": ["policy:read"]}, **who)
    api.call("not JSON", "change_scopes", c, 400, b"[", **who)
    me = {"principal_id": c.get("/me")["principal_id"]}
    api.call("tenant:admin, of oneself", "change_scopes", c, 409, {"action": "revoke", "scopes": ["tenant:admin"]}, **me)
    weak = p.service(c, ["sbom:read"])
    who = {"principal_id": weak.get("/me")["principal_id"]}
    api.call("disabled and named anew", "change_principal", c, 200, {"state": "disabled", "display_name": "retired"}, **who)
    api.call("disabled", "me", weak, 401)
    api.call("enabled", "change_principal", c, 200, {"state": "active"}, **who)
    api.call("oneself", "change_principal", c, 409, {"state": "disabled"}, **me)
    api.call("there is nothing to change", "change_principal", c, 422, {}, **who)
    api.call("not JSON", "change_principal", c, 400, b"[", **who)


def check_documents(api, c):
    tar, js, gz = {"content-type": "application/x-tar"}, {"content-type": "application/json"}, {"content-type": "application/json", "content-encoding": "gzip"}
    batch = api.call("samples", "create_advisories", c, 201, tar_of(os.path.join(SAMPLES, "advisories")), "global=1&source=osv&wait=60", tar)
    bad = tar_of([("a.json", b'{"id":'), ("b.json", b'{"id":"X-1","modified":"never"}')])
    api.call("faulty documents are named", "create_advisories", c, 201, bad, "source=mine&wait=60", tar)
    api.call("not waited for", "create_advisories", c, (201, 202), sample("advisories/PYSEC-2024-102.json"), "source=mine", js)
    for modified, more in (("2026-01-01T00:00:00Z", {"aliases": ["CVE-2026-2"]}), ("2026-01-02T00:00:00Z", {"withdrawn": "2026-01-02T00:00:00Z"})):
        api.call(f"one that changes: {modified}", "create_advisories", c, 201, {"id": "X-2", "modified": modified, **more}, "source=mine&wait=60")
    api.call("not a tar", "create_advisories", c, 400, b"x" * 700, "source=mine", tar)
    api.call("no document", "create_advisories", c, 422, tar_of([]), "source=mine", tar)
    api.call("wait out of range", "create_advisories", c, 422, sample("advisories/PYSEC-2024-102.json"), "wait=121", js)
    api.call("one batch", "get_batch", c, 200, query="global=1", batch_id=batch["batch_id"])
    api.call("of the knowledge base, asked of the tenant", "get_batch", c, 404, batch_id=batch["batch_id"])
    api.call("list", "list_advisories", c, 200, query="global=1&limit=2")
    api.call("by id", "list_advisories", c, 200, query="global=1&id=PYSEC-2024-102")
    linkset = api.call("of the knowledge base", "get_linkset", c, 200, query="global=1", advisory_id="PYSEC-2024-102")
    by_alias = api.call("the same by another of its ids", "get_linkset", c, 200, query="global=1", advisory_id=linkset["vulnerability_id"])
    api.report.check("one set has one answer", by_alias.json == linkset.json and len(linkset["members"]) > 1 and linkset["edges"], repr(linkset))
    api.call("a revision", "get_linkset", c, 200, query="revision=1", advisory_id="CVE-2026-2")
    gone = api.call("one that is no more", "get_linkset", c, 200, advisory_id="CVE-2026-2")
    api.report.check("the withdrawn record left the set", gone["members"] == [] and gone["revision"] == 2, repr(gone))
    api.call("a revision that is none", "get_linkset", c, 422, query="revision=0", advisory_id="CVE-2026-2")
    api.call("a revision that is not there", "get_linkset", c, 404, query="revision=9", advisory_id="CVE-2026-2")
    api.call("in no set", "get_linkset", c, 404, advisory_id="NOBODY-1")
    api.call("sample", "create_vex", c, 201, sample("vex.openvex.json"), "wait=60", js)
    api.call("not waited for", "create_vex", c, (201, 202), sample("vex.openvex.json"), "source=again", js)
    api.call("not a tar", "create_vex", c, 400, b"x" * 700, "", tar)
    api.call("no document", "create_vex", c, 422, tar_of([]), "", tar)
    api.call("list", "list_vex", c, 200)
    policy = api.call("sample", "create_policy", c, 201, sample("policy.yaml"), headers={"content-type": "application/yaml"})
    api.call("again", "create_policy", c, 200, sample("policy.yaml"), headers={"content-type": "application/yaml"})
    faulty = api.call("unknown name", "create_policy", c, 422, sample("policy.yaml").replace(b'severity == "medium"', b'nope == "medium"'))
    places = faulty.json.get("errors", [{}])
    api.report.check("the policy's fault has a line and a column", isinstance(places[0].get("line"), int) and isinstance(places[0].get("column"), int), repr(faulty))
    api.call("not YAML", "create_policy", c, 400, b"format: [unended")
    api.call("too large", "create_policy", c, 413, b"#" * ((1 << 20) + 1))
    api.call("activate", "activate_policy", c, 200, policy_version=policy["policy_version"])
    api.call("list", "list_policies", c, 200)
    sbom = api.call("sample", "create_sbom", c, 201, sample("sbom.cdx.json"), "wait=60", js)
    api.call("again, gzipped", "create_sbom", c, 200, gzip.compress(sample("sbom.cdx.json")), "wait=60", gz)
    rejected = api.call("faulty", "create_sbom", c, 201, b'{"bomFormat":"CycloneDX","specVersion":"1.5","components":[{]}', "wait=60", js)
    api.call("not waited for", "create_sbom", c, (201, 202), sample("sbom.cdx.json").replace(b"1.4.0", b"1.4.1"), "", js)
    api.call("empty", "create_sbom", c, 400, b"")
    api.call("unknown project", "create_sbom", c, 404, sample("sbom.cdx.json"), "project=nope")
    api.call("wait out of range", "create_sbom", c, 422, sample("sbom.cdx.json"), "wait=-1")
    for name, limit, content in (("create_sbom", 256 << 20, "application/json"), ("create_advisories", 64 << 20, "application/x-tar"),
                                 ("create_vex", 64 << 20, "application/x-tar"), ("verify_evidence", 64 << 30, "application/gzip")):
        api.check("too large", name, head_only(api.url, "POST", api.operations[name][1], c.token, limit + 1, content), 413)
    api.call("list", "list_sboms", c, 200)
    api.call("one", "get_sbom", c, 200, sbom_id=sbom["sbom_id"])
    api.call("rejected", "get_sbom", c, 200, sbom_id=rejected["sbom_id"])
    page = api.call("a page", "list_components", c, 200, query="limit=2", sbom_id=sbom["sbom_id"])
    api.call("the next page", "list_components", c, 200, query="limit=500&cursor=" + page["next_cursor"], sbom_id=sbom["sbom_id"])
    api.call("limit", "list_components", c, 422, query="limit=0", sbom_id=sbom["sbom_id"])
    api.call("cursor of another list", "list_components", c, 422, query="cursor=zz", sbom_id=sbom["sbom_id"])
    api.call("of a rejected document", "list_components", c, 409, sbom_id=rejected["sbom_id"])
    return sbom, rejected


def check_decisions(api, p, c, sbom, rejected):
    done = api.call("waited for", "create_evaluation", c, 200, {"sbom_id": sbom["sbom_id"]}, "wait=60")
    api.report.check("the decision of the samples is deny", done["decision_effect"] == "deny", repr(done))
    api.call("as of a time", "create_evaluation", c, 200, {"sbom_id": sbom["sbom_id"], "as_of": "2026-01-02T03:04:05Z"}, "wait=60")
    api.call("unknown SBOM", "create_evaluation", c, 404, {"sbom_id": NOBODY})
    api.call("not a time", "create_evaluation", c, 422, {"sbom_id": sbom["sbom_id"], "as_of": "yesterday"})
    api.call("no SBOM named", "create_evaluation", c, (400, 422), {})
    api.call("not JSON", "create_evaluation", c, 400, b"[")
    api.call("of a rejected document", "create_evaluation", c, 409, {"sbom_id": rejected["sbom_id"]})
    evaluation = done["evaluation_id"]
    api.call("list", "list_evaluations", c, 200, query="limit=1&sbom=" + sbom["sbom_id"])
    api.call("one", "get_evaluation", c, 200, evaluation_id=evaluation)
    same = api.call("with itself", "compare_evaluations", c, 200, query="with=" + evaluation, evaluation_id=evaluation)
    api.report.check("an evaluation is the same as itself", same["findings"] == [] and same["explained"] and not same["decision_changed"], repr(same))
    api.call("with none", "compare_evaluations", c, 422, evaluation_id=evaluation)
    api.call("with an unknown one", "compare_evaluations", c, 404, query="with=" + NOBODY, evaluation_id=evaluation)
    api.call("all", "list_findings", c, 200, query="evaluation=" + evaluation)
    page = api.call("a page", "list_findings", c, 200, query="limit=1&evaluation=" + evaluation)
    api.call("the next page", "list_findings", c, 200, query=f"limit=1&cursor={page['next_cursor']}&evaluation={evaluation}")
    only = api.call("filtered", "list_findings", c, 200, query=f"effect=deny&severity=critical&verdict=affected&evaluation={evaluation}")
    api.report.check("the filter filters", only["items"] and all(i["decision_effect"] == "deny" and i["severity"] == "critical" for i in only["items"]), repr(only))
    api.call("unknown evaluation", "list_findings", c, 404, query="evaluation=" + NOBODY)
    export = api.call("waited for", "create_export", c, 200, {"evaluation_id": evaluation}, "wait=60")
    api.call("unknown evaluation", "create_export", c, 404, {"evaluation_id": NOBODY})
    api.call("unknown format", "create_export", c, 422, {"evaluation_id": evaluation, "format": "papyrus"})
    api.call("not JSON", "create_export", c, 400, b"[")
    api.call("list", "list_exports", c, 200)
    api.call("one", "get_export", c, 200, export_id=export["export_id"])
    for name in ("exposure-report.json", "manifest.json"):
        api.call(name, "get_export_file", c, 200, export_id=export["export_id"], name=name)
    api.call("unknown file", "get_export_file", c, 404, export_id=export["export_id"], name="secrets.txt")
    return done, export


def check_jobs(api, p, c, done, sbom, rejected):
    api.call("list", "list_jobs", c, 200, query="limit=2&state=finished&kind=advisory.link")
    api.call("of a trace", "list_jobs", c, 200, query="trace=" + done["trace_id"])
    api.call("one", "get_job", c, 200, job_id=done["jobs"]["evaluate"])
    api.call("failed", "get_job", c, 200, job_id=rejected["job_id"])
    api.call("failed, again", "retry_job", c, 202, job_id=rejected["job_id"])
    api.call("ended", "cancel_job", c, 409, job_id=done["jobs"]["link"])
    refused = api.call("not failed", "retry_job", c, 409, job_id=done["jobs"]["link"])
    rows = p.sql(f"SELECT decision_effect FROM decisions WHERE tenant_id = 'acme' AND trace_id = '{refused.trace}'")
    api.report.check("the decision outlives the handler's rollback, once", [r["decision_effect"] for r in rows] == ["allow"], repr(rows))
    # Without a runner work waits, and what is not ready can be seen; but what an earlier run made is taken from it, so that the export is one of its own.
    other = api.call("for an export of its own", "create_evaluation", c, 200, {"sbom_id": sbom["sbom_id"], "as_of": "2026-03-04T05:06:07Z"}, "wait=60")
    p.kill("runner")
    waiting = api.call("not ended", "create_evaluation", c, 202, {"sbom_id": sbom["sbom_id"], "as_of": "2026-02-03T04:05:06Z"})
    api.call("of what has not ended", "create_export", c, 409, {"evaluation_id": waiting["evaluation_id"]})
    api.call("of what has not ended", "create_snapshot", c, 409, {"kind": "eval", "resource_id": waiting["evaluation_id"], "case_id": "CASE-9"})
    export = api.call("not ended", "create_export", c, 202, {"evaluation_id": other["evaluation_id"]})
    api.call("no file yet", "get_export_file", c, 404, export_id=export["export_id"])
    bundle = api.call("not sealed", "create_snapshot", c, 202, {"kind": "eval", "resource_id": done["evaluation_id"], "case_id": "CASE-2"})
    api.call("not sealed", "get_evidence", c, 200, bundle_id=bundle["bundle_id"])
    api.call("not sealed", "redact_evidence", c, 409, WITHHOLD, bundle_id=bundle["bundle_id"])
    api.call("not sealed", "extend_bundle", c, 409, LONGER, bundle_id=bundle["bundle_id"])
    queued = wait_for(lambda: [j for j in c.get("/jobs?state=queued&resource_id=" + waiting["evaluation_id"])["items"]])
    api.call("queued", "cancel_job", c, 202, job_id=queued[0]["job_id"])
    p.start("runner")
    wait_for(lambda: c.get("/evidence?case=CASE-2")["items"][0]["state"] == "sealed")
    api.call("sealed at last", "list_evidence", c, 200, query="case=CASE-2")
    wait_for(lambda: c.get("/evaluations/" + waiting["evaluation_id"])["state"] == "cancelled")
    api.call("with one that never finished", "compare_evaluations", c, 409, query="with=" + waiting["evaluation_id"], evaluation_id=done["evaluation_id"])
    api.call("cancelled", "get_evaluation", c, 200, evaluation_id=waiting["evaluation_id"])


def check_log(api, c, first):
    head = api.call("newest", "get_checkpoint", c, 200)
    origin, size = head["checkpoint"].split("\n")[:2]
    api.report.check("the checkpoint is of the log it names", (origin, int(size)) == (head["origin"], head["size"]) and head["vkey"].startswith(origin + "+"), repr(head))
    none = api.call("to itself", "get_consistency_proof", c, 200, query=f"from_size={head['size']}&to_size={head['size']}")
    api.report.check("a size continues itself without hashes", none["hashes"] == [], repr(none))
    api.call("more than is signed", "get_consistency_proof", c, 422, query=f"from_size=1&to_size={head['size'] + 1000}")
    api.call("no sizes", "get_consistency_proof", c, 422)
    api.call("a size that was never signed", "get_consistency_proof", c, 404, query=f"from_size={head['size'] - 1}&to_size={head['size']}")
    whole = api.call("of the newest", "get_deployment_checkpoint", c, 200)
    api.report.check("the newest is a leaf of the deployment log", whole["covers"]["origin"] == origin and whole["proof"].startswith(f"c2sp.org/tlog-proof@v1\nindex {whole['index']}\n")
                     and whole["proof"].endswith("\n\n" + whole["checkpoint"]) and whole["vkey"].startswith(whole["origin"] + "+"), repr(whole))
    again = api.call("of a size", "get_deployment_checkpoint", c, 200, query=f"size={whole['covers']['size']}")
    api.report.check("a size has one proof", again["proof"] == whole["proof"], repr(again))
    api.call("of a size that was never signed", "get_deployment_checkpoint", c, 404, query=f"size={head['size'] + 1000}")
    api.call("no size", "get_deployment_checkpoint", c, 422, query="size=x")
    grown = api.call("of the deployment log", "get_consistency_proof", c, 200, query=f"log=deployment&from_size=1&to_size={whole['size']}")
    api.report.check("the deployment log continues its beginning", (grown["hashes"] != []) == (whole["size"] > 1), repr(grown))
    api.call("more of it than covers the tenant", "get_consistency_proof", c, 422, query=f"log=deployment&from_size=1&to_size={whole['size'] + 100000}")
    api.call("of another log", "get_consistency_proof", c, 422, query="log=rival&from_size=1&to_size=1")
    api.call("of the first event", "get_inclusion_proof", c, 200, event_id=first["event_id"])
    api.call("of an event that is not there, by an index that no disposition deleted", "get_inclusion_proof", c, 404, query="log_index=0", event_id=uuid7())
    api.call("of an event that is not there", "get_inclusion_proof", c, 404, event_id=uuid7())
    api.call("of what is no index", "get_inclusion_proof", c, 422, query="log_index=x", event_id=uuid7())


def check_searches(api, p, c):
    """Two searches that wait for a table take what the tenant may have; the third is told at once."""
    holder = threading.Thread(target=p.execute, args=("BEGIN; LOCK TABLE timeline_events; SELECT pg_sleep(4); COMMIT",))
    holder.start()
    wait_for(lambda: p.sql("SELECT 1 FROM pg_locks WHERE relation = 'timeline_events'::regclass AND mode = 'AccessExclusiveLock' AND granted"))
    waiting = [threading.Thread(target=c.get, args=("/timeline?q=policy",)) for _ in range(2)]
    for one in waiting:
        one.start()
    wait_for(lambda: p.sql("SELECT 1 FROM pg_stat_activity WHERE usename = 'stella_web' AND wait_event_type = 'Lock' HAVING count(*) = 2"))
    api.call("a third search at once", "list_timeline", c, 429, query="q=policy")
    for one in [*waiting, holder]:
        one.join()
    api.call("when they have ended", "list_timeline", c, 200, query="q=policy")


def check_timeline(api, p, c, done):
    c.events(done["trace_id"], lambda kinds: "policy.evaluated" in kinds)
    api.call("of a trace", "list_timeline", c, 200, query="trace=" + done["trace_id"])
    page = api.call("a page", "list_timeline", c, 200, query="limit=2&kind=job.*,policy.evaluated")
    api.call("the next page", "list_timeline", c, 200, query="limit=2&kind=job.*,policy.evaluated&cursor=" + page["next_cursor"])
    whole = api.call("the log", "list_timeline", c, 200, query="order=log&from_index=0&limit=5")
    api.report.check("the log has no gaps", [i["log_index"] for i in whole["items"]] == [0, 1, 2, 3, 4] and whole["contiguous"], repr(whole))
    api.call("text", "list_timeline", c, 200, query="q=policy")
    wide = api.call("text of long ago", "list_timeline", c, 200, query="q=policy&from=1970-01-01T00:00:00Z")
    api.report.check("a search says how far back it went", wide["searched_from"] > "2020", repr(wide)[:300])
    check_searches(api, p, c)
    api.call("unknown parameter", "list_timeline", c, 422, query="colour=red")
    api.call("a type that there is none of", "list_timeline", c, 422, query="resource=sbmo/1")
    api.call("unknown kind", "list_timeline", c, 422, query="kind=job.invented")
    api.call("one", "get_timeline_event", c, 200, event_id=page["items"][0]["event_id"])
    event = {"event_id": uuid7(), "kind": "service.degraded", "resource_type": "service", "resource_id": "scanner",
             "details": {"service": "scanner", "part": "queue", "reason": "it is full"}}
    api.call("external", "create_timeline_event", c, 201, event)
    api.call("again", "create_timeline_event", c, 200, event)
    api.call("at once", "get_timeline_event", c, 200, event_id=event["event_id"])
    api.call("too young for a checkpoint", "get_inclusion_proof", c, 409, event_id=event["event_id"])
    check_log(api, c, whole["items"][0])
    api.call("another one with its id", "create_timeline_event", c, 409, {**event, "details": {**event["details"], "reason": "another"}})
    for kind, resource, details in (("service.restored", "service", {"service": "scanner", "part": "queue"}),
                                    ("telemetry.gap", "segment", {"signal": "logs", "from": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:01:00Z", "reason": "full"})):
        api.call(kind, "create_timeline_event", c, 201, {"event_id": uuid7(), "kind": kind, "resource_type": resource, "resource_id": "x", "details": details})
    target = "evaluation/" + done["evaluation_id"]
    made = api.call("a comment and a star", "annotate", c, 201, {"target": target, "text": "Look at this", "star": True})
    api.call("of a trace", "annotate", c, 201, {"target": "trace/" + done["trace_id"], "star": True})
    api.call("of an event", "annotate", c, 201, {"target": "event/" + page["items"][0]["event_id"], "text": "why?"})
    api.call("what nobody has heard of", "annotate", c, 404, {"target": "job/" + NOBODY, "star": True})
    api.call("of another kind", "annotate", c, 422, {"target": "tenant/acme", "star": True})
    api.call("neither text nor star", "annotate", c, 422, {"target": target})
    api.call("a text that is too long", "annotate", c, 422, {"target": target, "text": "x" * 2001})
    api.call("not JSON", "annotate", c, 400, b"[")
    api.call("past what its own route checks", "create_timeline_event", c, 422, {"event_id": uuid7(), "kind": "annotation.added", "resource_type": "job", "resource_id": "x", "details": {"target": "job/x"}})
    said = api.call("the annotation", "get_timeline_event", c, 200, event_id=made["event_id"])
    api.report.check("an annotation is about its target", (said["resource_type"], said["resource_id"], said["details"]["text"]) == ("evaluation", done["evaluation_id"], "Look at this"), repr(said))
    api.call("not external", "create_timeline_event", c, 422, {**event, "event_id": uuid7(), "kind": "policy.evaluated"})
    api.call("details that do not fit", "create_timeline_event", c, 422, {**event, "event_id": uuid7(), "details": {}})
    api.call("not JSON", "create_timeline_event", c, 400, b"[")
    api.call("from now on", "stream_timeline", c, 200)
    stream = api.call("from the beginning", "stream_timeline", c, 200, query="from_index=0&kind=policy.*")
    api.report.check("a stream begins at once", stream.text.startswith(": following"), repr(stream))
    api.call("an option of the list", "stream_timeline", c, 422, query="limit=5")
    api.call("not an id", "stream_timeline", c, 422, headers={"Last-Event-ID": "x"})
    api.call("beyond the log", "stream_timeline", c, 422, headers={"Last-Event-ID": "1000000000"})


def check_evidence(api, c, done, export):
    made = []
    for kind, resource in (("eval", done["evaluation_id"]), ("job", done["jobs"]["evaluate"]), ("export", export["export_id"])):
        made.append(api.call(kind, "create_snapshot", c, 200, {"kind": kind, "resource_id": resource, "case_id": "CASE-1"}, "wait=60"))
    again = api.call("the same again", "create_snapshot", c, 200, {"kind": "eval", "resource_id": done["evaluation_id"], "case_id": "CASE-1"}, "wait=60")
    api.report.check("a repeat is the same bundle", again["bundle_id"] == made[0]["bundle_id"] and again["existed"] is True, repr(again))
    api.call("a new one", "create_snapshot", c, 200, {"kind": "eval", "resource_id": done["evaluation_id"], "case_id": "CASE-1", "again": True}, "wait=60")
    api.call("with its evaluation's bundle inside", "create_snapshot", c, 200, {"kind": "export", "resource_id": export["export_id"], "case_id": "CASE-1", "embed_evaluation": True}, "wait=60")
    api.call("nothing to embed", "create_snapshot", c, 409, {"kind": "export", "resource_id": export["export_id"], "case_id": "CASE-NONE", "embed_evaluation": True})
    api.call("embedding into another kind", "create_snapshot", c, 422, {"kind": "eval", "resource_id": done["evaluation_id"], "case_id": "CASE-1", "embed_evaluation": True})
    api.call("unknown resource", "create_snapshot", c, 404, {"kind": "eval", "resource_id": NOBODY, "case_id": "CASE-1"})
    api.call("unknown kind", "create_snapshot", c, 422, {"kind": "photo", "resource_id": NOBODY, "case_id": "CASE-1"})
    api.call("case with a slash", "create_snapshot", c, 422, {"kind": "eval", "resource_id": NOBODY, "case_id": "../x"})
    api.call("not JSON", "create_snapshot", c, 400, b"[")
    api.call("list", "list_evidence", c, 200, query="case=CASE-1&kind=eval&limit=1")
    bundle = made[0]["bundle_id"]
    for each in made:
        reply = api.call("verdict of " + each["kind"], "get_evidence", c, 200, bundle_id=each["bundle_id"])
        api.report.check(f"a sealed {each['kind']} bundle verifies", reply["verdict"]["result"] == "pass", repr(reply["verdict"]))
    out = api.call("bytes", "export_evidence", c, 200, {"recipient": "auditor"}, bundle_id=bundle)
    api.call("no recipient", "export_evidence", c, 422, {"recipient": ""}, bundle_id=bundle)
    api.call("not JSON", "export_evidence", c, 400, b"[", bundle_id=bundle)
    chain = api.call("custody", "get_custody", c, 200, bundle_id=bundle)
    api.report.check("every link of an evaluation leads to who made it", chain["complete"] is True and chain["steps"] and not chain["broken"], repr(chain["broken"]))
    gz = {"content-type": "application/gzip"}
    api.call("upload", "verify_evidence", c, 200, out.body, headers=gz)
    reply = api.call("by reference", "verify_evidence", c, 200, {"bundle_id": bundle})
    kept = next(d for d in reply["dimensions"] if d["name"] == "RETENTION-STATE")
    api.report.check("the store says how it keeps the bundle", kept["outcome"] == "PASS" and kept["trust_input"] == "the object store", repr(kept))
    api.call("unknown bundle", "verify_evidence", c, 404, {"bundle_id": NOBODY})
    api.call("no gzip", "verify_evidence", c, 400, b"nonsense", headers=gz)
    changed = gzip.compress(gzip.decompress(out.body).replace(b"CycloneDX", b"CycloneDY", 1))
    reply = api.call("changed", "verify_evidence", c, 200, changed, headers=gz)
    api.report.check("a changed bundle fails", reply["result"] == "fail" and reply["dimensions"][0]["outcome"] == "FAIL", repr(reply))


def check_holds(api, p, c):
    """A hold of the case that has bundles: placed by one, released by two, each refusal as documented."""
    second, robot = p.client("second"), p.service(c, ["evidence:hold", "evidence:read"])
    login = {"kind": "user", "login": "eve", "secret": "correct horse battery staple", "scopes": ["evidence:hold"]}
    assert c.post("/principals", login).status == 201
    own = Client(api.url)
    own.login("eve", login["secret"])
    case = {"case_id": "CASE-1"}
    api.call("nobody has heard of it", "get_hold", c, 200, case_id="CASE-NEW")
    api.call("no case id", "get_hold", c, 422, case_id="a..b")
    api.call("no case id", "change_hold", c, 422, {"action": "place", "authority": "court 7", "reason": "order"}, case_id="a..b")
    api.call("place", "change_hold", c, 200, {"action": "place", "authority": "court 7", "reason": "order"}, **case)
    api.call("place again", "change_hold", c, 200, {"action": "place", "authority": "court 7", "reason": "order"}, **case)
    api.call("no reason", "change_hold", c, 422, {"action": "place", "authority": "court 8"}, **case)
    api.call("no such action", "change_hold", c, 422, {"action": "lift", "authority": "court 7", "reason": "x"}, **case)
    api.call("not JSON", "change_hold", c, 400, b"[", **case)
    api.call("nobody has asked", "change_hold", second, 409, {"action": "confirm_release"}, **case)
    wait_for(lambda: (lambda bundles: 0 < bundles["sealed"] == bundles["locked"])(c.get("/evidence/hold/CASE-1")["bundles"]))
    held = api.call("held", "get_hold", c, 200, **case)
    listed = api.call("what would go next", "list_dispositions", c, 200, query="case=CASE-1&limit=500")
    rules = {k["rule"] for row in listed["items"] for k in row["kept_by"]}
    api.report.check("each names what keeps it", listed["items"] and all(row["step"] == "kept" for row in listed["items"]) and {"hold", "retention"} <= rules, repr(listed)[:400])
    first = api.call("one of them", "list_dispositions", c, 200, query="limit=1")
    api.call("the next one", "list_dispositions", c, 200, query="limit=1&cursor=" + (first["next_cursor"] or ""))
    api.call("no case id", "list_dispositions", c, 422, query="case=a..b")
    api.report.check("the case is held", held["held"] and [h["due"] for h in held["holds"]] == ["request_release"], repr(held))
    api.call("ask", "change_hold", c, 200, {"action": "request_release", "reason": "the order was lifted"}, **case)
    api.call("by the same person", "change_hold", c, 403, {"action": "confirm_release"}, **case)
    refusals = lambda: p.sql("SELECT count(*) AS n FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%disposition.refused%'")[0]["n"] + p.sql("SELECT count(*) AS n FROM timeline_events WHERE kind = 'disposition.refused'")[0]["n"]
    before = refusals()
    api.call("by a service account of their own making", "change_hold", robot, 403, {"action": "confirm_release"}, **case)
    api.call("by a login of their own making", "change_hold", own, 403, {"action": "confirm_release"}, **case)
    api.report.check("both refusals stand on the timeline", wait_for(lambda: refusals() >= before + 2))
    done = api.call("by another", "change_hold", second, 200, {"action": "confirm_release"}, **case)
    api.report.check("two people release it", done["step"] == "released" and not done["held"], repr(done))
    api.call("released", "get_hold", c, 200, **case)


def check_retention(api, c):
    """Cases are closed once; what is kept is kept longer or as long, never shorter."""
    bundle = c.get("/evidence?case=CASE-1&limit=1")["items"][0]["bundle_id"]
    for operation, thing in (("extend_case", {"case_id": "CASE-1"}), ("extend_bundle", {"bundle_id": bundle})):
        first = api.call("longer", operation, c, 200, LONGER, **thing)
        again = api.call("as long again", operation, c, 200, LONGER, **thing)
        api.report.check(f"{operation}: a repeat changes nothing", (first["step"], again["step"]) == ("extended", "unchanged") and first["retain_until"] == again["retain_until"], repr(again))
        less = api.call("shorter", operation, c, 409, {**LONGER, "retain_until": "2070-01-01T00:00:00Z"}, **thing)
        api.report.check(f"{operation}: the refusal says how long it is kept", less.json["errors"][0].get("retain_until", "").startswith("2080-01-01"), repr(less))
        for until in ("2020-01-01T00:00:00Z", "2999-01-01T00:00:00Z", "soon"):
            api.call(until, operation, c, 422, {**LONGER, "retain_until": until}, **thing)
        api.call("no reason", operation, c, 422, {**LONGER, "reason": " "}, **thing)
        api.call("not JSON", operation, c, 400, b"[", **thing)
    closed = api.call("close", "close_case", c, 200, {"reason": "settled"}, case_id="CASE-1")
    again = api.call("close again", "close_case", c, 200, {"reason": "settled"}, case_id="CASE-1")
    api.report.check("a case is closed once", (closed["step"], again["step"]) == ("closed", "unchanged") and closed["closed_at"] == again["closed_at"] and closed["state"] == "closed", repr(again))
    api.call("no reason", "close_case", c, 422, {"reason": ""}, case_id="CASE-1")
    api.call("no case id", "close_case", c, 422, {"reason": "settled"}, case_id="a..b")
    api.call("no case id", "extend_case", c, 422, LONGER, case_id="a..b")
    api.call("not JSON", "close_case", c, 400, b"[", case_id="CASE-1")


def check_redaction(api, p, c, done):
    """A redacted copy is a bundle of its case: complete with the statement that authorises it, refused without."""
    made = c.post("/evidence/snapshot?wait=60", {"kind": "eval", "resource_id": done["evaluation_id"], "case_id": "CASE-REDACTED"})
    bundle = {"bundle_id": made["bundle_id"]}
    api.call("not waited for", "redact_evidence", c, 202, {**WITHHOLD, "reason": "another"}, **bundle)
    copy = api.call("waited for", "redact_evidence", c, 200, WITHHOLD, "wait=60", **bundle)
    again = api.call("the same again", "redact_evidence", c, 200, WITHHOLD, "wait=60", **bundle)
    api.report.check("a repeat is the same copy", again["bundle_id"] == copy["bundle_id"] and again["existed"] is True and copy["state"] == "sealed", repr(again))
    api.report.check("it says what it was made from", copy["derived_from"] == made["bundle_id"] and copy["redaction"] == WITHHOLD and copy["case_id"] == "CASE-REDACTED", repr(copy))
    completeness = lambda verdict: next(d for d in verdict["dimensions"] if d["name"] == "COMPLETENESS")
    seen = api.call("a redacted copy", "get_evidence", c, 200, bundle_id=copy["bundle_id"])
    said = completeness(seen["verdict"])
    api.report.check("every omission is authorised", seen["verdict"]["result"] == "pass" and said["outcome"] == "PASS" and said["reason"].endswith("withheld 1 (authorised 1), unaccounted 0"), repr(said))
    api.report.check("what is withheld is not there", "data/trace.ndjson" not in [i["path"] for i in seen["items"]] and seen["derived_from"] == made["bundle_id"], repr(seen["items"]))
    out = api.call("a redacted copy", "export_evidence", c, 200, {"recipient": "auditor"}, bundle_id=copy["bundle_id"])
    api.report.check("the bytes do not have it", b"data/trace.ndjson" not in gzip.decompress(out.body))
    events = [e["details"] for e in c.events(copy["trace_id"], lambda kinds: "evidence.redacted" in kinds) if e["kind"] == "evidence.redacted"]
    api.report.check("the event names both by digest", events[0]["inputs"][0]["sha256"] == made["sha256"] and events[0]["outputs"][0]["sha256"] == copy["sha256"], repr(events))
    unmatched = api.call("no such file", "redact_evidence", c, 200, {**WITHHOLD, "withhold": ["data/nothing"]}, "wait=60", **bundle)
    api.report.check("a path that matches nothing fails the copy", unmatched["state"] == "failed" and unmatched["error"]["fields"]["field"] == "data/nothing", repr(unmatched["error"]))
    for body in ({**WITHHOLD, "reason": " "}, {**WITHHOLD, "withhold": []}, {**WITHHOLD, "withhold": [""]}, {**WITHHOLD, "withhold": "data/trace.ndjson"}):
        api.call(json.dumps(body), "redact_evidence", c, 422, body, **bundle)
    api.call("not JSON", "redact_evidence", c, 400, b"[", **bundle)
    # Somebody takes the statement away.
    path = p.path("objects", "tenants", "acme", "evidence", "CASE-REDACTED", copy["bundle_id"], "bundle.tgz")
    os.chmod(path, 0o600)
    with open(path, "wb") as f:
        files = unpack(out.body)
        del files["redaction/1.dsse.json"]
        f.write(pack(mend_lists(files)))
    said = completeness(api.call("its statement is gone", "get_evidence", c, 200, bundle_id=copy["bundle_id"])["verdict"])
    api.report.check("the omission is not authorised any more", said["outcome"] == "FAIL" and "withheld 1 (authorised 0)" in said["reason"], repr(said))
    api.call("its statement is gone", "export_evidence", c, 422, {"recipient": "auditor"}, bundle_id=copy["bundle_id"])


def check_tampering(api, p, c, done):
    """A stored bundle that was changed behind our back: no route passes it on as if nothing were wrong."""
    made = c.post("/evidence/snapshot?wait=60", {"kind": "eval", "resource_id": done["evaluation_id"], "case_id": "CASE-TAMPERED"})
    path = p.path("objects", "tenants", "acme", "evidence", "CASE-TAMPERED", made["bundle_id"], "bundle.tgz")
    with open(path, "rb") as f:
        changed = gzip.compress(gzip.decompress(f.read()).replace(b"CycloneDX", b"CycloneDY", 1))
    os.chmod(path, 0o600)
    with open(path, "wb") as f:
        f.write(changed)
    reply = api.call("changed in the store", "get_evidence", c, 200, bundle_id=made["bundle_id"])
    api.report.check("and the verdict says so", reply["verdict"]["result"] == "fail", repr(reply["verdict"]))
    api.call("changed in the store", "export_evidence", c, 422, {"recipient": "auditor"}, bundle_id=made["bundle_id"])
    reply = api.call("changed in the store", "verify_evidence", c, 200, {"bundle_id": made["bundle_id"]})
    api.report.check("and the verdict of it says so", reply["result"] == "fail", repr(reply))
    with open(path, "wb") as f:
        f.write(changed[:-100])
    # What is left of it still gets a verdict, but it never leaves.
    seen = api.call("cut off in the store", "get_evidence", c, 200, bundle_id=made["bundle_id"])
    api.report.check("and its verdict says so", seen["verdict"]["result"] == "fail", repr(seen["verdict"]))
    reply = api.call("cut off in the store", "verify_evidence", c, 200, {"bundle_id": made["bundle_id"]})
    api.report.check("and so does verification", reply["result"] == "fail", repr(reply))
    api.call("cut off in the store", "export_evidence", c, 422, {"recipient": "auditor"}, bundle_id=made["bundle_id"])
    api.call("cut off in the store", "get_custody", c, 422, bundle_id=made["bundle_id"])


def check_attestations(api, c, done, export):
    page = api.call("of an export", "list_attestations", c, 200, query="subject_id=" + export["export_id"])
    one = page["items"][0]
    api.call("by digest", "list_attestations", c, 200, query="digest=" + one["subject_digest"])
    api.call("not a digest", "list_attestations", c, 422, query="digest=abc")
    full = api.call("one", "get_attestation", c, 200, attestation_id=one["attestation_id"])
    api.call("stored", "verify_attestation", c, 200, {"attestation_id": one["attestation_id"], "subject_digest": one["subject_digest"]})
    good = api.call("sent", "verify_attestation", c, 200, {"statement": full["bundle"], "subject_digest": one["subject_digest"]})
    api.report.check("a statement passes for its subject", good["result"] == "pass", repr(good))
    bad = api.call("another subject", "verify_attestation", c, 200, {"attestation_id": one["attestation_id"], "subject_digest": "0" * 64})
    api.report.check("and fails for another", bad["result"] == "fail", repr(bad))
    # A decision's statements are members of one batch; the control plane signs one alone for tools that know no batch.
    stated = api.call("of an evaluation", "list_attestations", c, 200, query="subject_id=" + done["evaluation_id"])["items"]
    vsa = [i for i in stated if i["predicate_type"] == "https://slsa.dev/verification_summary/v1"][0]
    member = api.call("of a batch", "get_attestation", c, 200, attestation_id=vsa["attestation_id"])
    api.report.check("a document of a batch is read and verified", (member["form"], member["signed"], member["verdict"]["result"]) == ("batch", "stored", "pass"), repr(member))
    good = api.call("a document of a batch", "verify_attestation", c, 200, {"statement": member["bundle"], "subject_digest": vsa["subject_digest"]})
    api.report.check("and passes for its subject when it is sent", good["result"] == "pass", repr(good))
    alone = api.call("of a batch, alone", "get_attestation", c, 200, attestation_id=vsa["attestation_id"], query="form=sigstore")
    api.report.check("alone it is signed for this request, over the same statement", (alone["form"], alone["signed"]) == ("sigstore", "on_demand") and alone["statement"] == member["statement"], repr(alone))
    plain = api.call("of a batch, as an envelope", "get_attestation", c, 200, attestation_id=vsa["attestation_id"], query="form=dsse")
    api.report.check("its envelope is signed for this request too", (plain["form"], plain["signed"], sorted(plain["bundle"])) == ("dsse", "on_demand", ["payload", "payloadType", "signatures"]) and plain["statement"] == member["statement"], repr(plain))
    good = api.call("an envelope", "verify_attestation", c, 200, {"statement": plain["bundle"], "subject_digest": vsa["subject_digest"]})
    api.report.check("and passes for its subject when it is sent, as an envelope", good["result"] == "pass", repr(good))
    api.call("no such form", "get_attestation", c, 422, attestation_id=vsa["attestation_id"], query="form=pdf")
    api.call("rubbish", "verify_attestation", c, 200, {"statement": "rubbish", "subject_digest": "0" * 64})
    api.call("unknown attestation", "verify_attestation", c, 404, {"attestation_id": NOBODY, "subject_digest": "0" * 64})
    api.call("not a digest", "verify_attestation", c, 422, {"subject_digest": "abc"})
    api.call("not JSON", "verify_attestation", c, 400, b"[")


def check_observability(api, p, c, done):
    api.call("health", "obs_health", c, 200)
    wait_for(lambda: any(s["name"] == "policy.evaluate" for s in c.get("/obs/trace/" + done["trace_id"]).json.get("spans", [])))
    trace = api.call("of an evaluation", "obs_trace", c, 200, trace_id=done["trace_id"])
    names = {s["name"] for s in trace["spans"]}
    api.report.check("the trace has every stage", {"api./evaluations", "runner.execute", "policy.evaluate"} <= names, str(names))
    api.report.check("an authorisation and a policy decision are in it", {d["path"] for d in trace["decisions"]} == {"stella/authz", "stella/policy"}, repr(trace["decisions"]))
    api.report.check("nothing of it is left out", trace["truncated"] == [], repr(trace["truncated"]))
    # More than a reply holds: by number, and by bytes. The first of each stay.
    long = uuid.uuid4().hex
    p.execute(f"INSERT INTO telemetry_logs (tenant_id, trace_id, ts, level, service, line) SELECT '{c.tenant}', '{long}', now() + i * interval '1 ms', 'info', 'test', json_build_object('ts', '2026-11-25T00:00:00.000000Z', "
              f"'level', 'info', 'service', 'test', 'trace_id', '{long}', 'module', 'test', 'message', i || repeat('x', 50000))::text FROM generate_series(1, 400) i; "
              f"INSERT INTO telemetry_spans (tenant_id, trace_id, span_id, parent_span_id, name, kind, service, start_ts, end_ts, status, attributes) "
              f"SELECT '{c.tenant}', '{long}', lpad(to_hex(i), 16, '0'), '', 'work', 'internal', 'test', now() + i * interval '1 ms', now() + i * interval '1 ms', 'ok', '{{}}' FROM generate_series(1, 5001) i")
    cut = api.call("longer than a reply", "obs_trace", c, 200, trace_id=long)
    size = sum(len(json.dumps(x)) for x in cut["logs"])
    api.report.check("a part ends at its bytes or its number, and says so", cut["truncated"] == ["spans", "logs"] and len(cut["spans"]) == 5000 and 7 << 20 < size <= 8 << 20, f"{cut['truncated']} {len(cut['spans'])} {size}")
    api.report.check("and has the oldest", cut["logs"][0]["message"].startswith("1x") and cut["spans"][0]["span_id"].endswith("01"), repr(cut["spans"][0]))
    p.execute(f"DELETE FROM telemetry_logs WHERE trace_id = '{long}'; DELETE FROM telemetry_spans WHERE trace_id = '{long}'")


def check_settings(api, c):
    """What telemetry records: read, changed, put back; each wrong value is named."""
    api.call("nothing changed yet", "obs_settings", c, 200)
    made = api.call("levels, sampling, deep debug", "change_obs_settings", c, 200,
                    {"levels": {"web": "debug", "*": "warn"}, "temporary_levels": {"levels": {"bus": "trace"}, "ttl_seconds": 600}, "sampling": 0.5, "deep_debug": {"classes": ["email"], "ttl_seconds": 60, "reason": "support case"}})
    api.report.check("the change is what is read", api.call("as changed", "obs_settings", c, 200).json == made.json, repr(made))
    for body in ({}, {"levels": {"web": "loud"}}, {"temporary_levels": {"levels": {"web": "debug"}}}, {"sampling": 2}, {"deep_debug": {"classes": ["email"], "ttl_seconds": 86401, "reason": "x"}}, {"deep_debug": {"classes": ["secret"], "ttl_seconds": 1, "reason": "x"}}):
        api.call(f"{body}", "change_obs_settings", c, 422, body)
    api.call("not JSON", "change_obs_settings", c, 400, b"[")
    api.call("a module that there is none of", "change_obs_settings", c, 422, {"levels": {"nosuch": "debug"}})
    api.call("nor for a time", "change_obs_settings", c, 422, {"temporary_levels": {"levels": {"nosuch": "debug"}, "ttl_seconds": 60}})
    back = api.call("back to the deployment's", "change_obs_settings", c, 200, {"levels": {}, "temporary_levels": None, "sampling": None, "deep_debug": None})
    api.report.check("nothing is left of it", back["levels"] == {} and back["temporary_levels"] == {} and back["sampling"] is None and back["deep_debug"] is None, repr(back))


def check_protocol(api, c, sbom):
    """What holds for every route: methods, HEAD, idempotency, hostile parameters, trace continuation."""
    for method, path, allow in (("PUT", "/sboms", "POST, GET, HEAD"), ("POST", "/me", "GET, HEAD"), ("GET", "/jobs/x/cancel", "POST")):
        reply = c.request(method, path, body=b"")
        api.report.check(f"{method} {path}: 405 with Allow", reply.status == 405 and sorted(reply.headers.get("allow", "").split(", ")) == sorted(allow.split(", "))
                         and reply.json["code"] == "method_not_allowed", repr(reply))
    for path in ("/sboms/", "//sboms", "/sboms//components", "/nope", "/sboms/" + sbom["sbom_id"] + "/components/"):
        reply = c.get(path)
        api.report.check(f"GET {path}: 404", reply.status == 404 and reply.json["code"] == "not_found", repr(reply))
    head = c.request("HEAD", "/sboms")
    api.report.check("HEAD is GET without a body", head.status == 200 and head.body == b"" and head.trace, repr(head))
    key = {"idempotency-key": "once-" + uuid7()}
    first = c.post("/projects", {"slug": "once", "name": "Once"}, headers=key)
    reply = c.post("/evaluations", {"sbom_id": sbom["sbom_id"]}, headers=key)
    again = c.post("/evaluations", {"sbom_id": sbom["sbom_id"]}, headers=key)
    api.check("a repeat under an Idempotency-Key", "create_evaluation", again, (200, 202))
    api.report.check("answers the same evaluation", first.status == 201 and again["evaluation_id"] == reply["evaluation_id"] and again.headers.get("idempotency-replayed") == "true", repr(again))
    other = c.post("/evaluations", {"sbom_id": NOBODY}, headers=key)
    api.check("another request under the key", "create_evaluation", other, 409)
    for size, padding in (("large", 1_200_000), ("small", 1)):  # beyond 1 MiB the server keeps the body in a file
        key = {"idempotency-key": f"{size}-{uuid7()}", "content-type": "application/json"}
        body = sample("sbom.cdx.json") + b" " * padding
        first = c.post("/sboms", body, headers=key)
        again = c.post("/sboms", body, headers=key)
        other = c.post("/sboms", body[:-1] + b"\n", headers=key)
        api.report.check(f"a {size} body is compared whole", first.status in (200, 201, 202) and again.headers.get("idempotency-replayed") == "true"
                         and again["sbom_id"] == first["sbom_id"] and other.status == 409, f"{first} {again} {other}")
        api.check(f"another {size} body under the key", "create_sbom", other, 409)
    trace = uuid.uuid4().hex
    reply = c.get("/me", headers={"traceparent": f"00-{trace}-{'1' * 16}-01"})
    api.report.check("a caller's trace is continued", reply.trace == trace, reply.trace)
    reply = Client(api.url).get("/healthz", headers={"traceparent": f"00-{trace}-{'1' * 16}-01"})
    api.report.check("but not without a token", reply.trace != trace, reply.trace)
    for name in ("list_jobs", "list_evidence", "list_attestations", "list_findings", "list_advisories", "list_vex", "list_sboms"):
        for text in ("%00", "%ff", "%ed%a0%80"):
            key_of = {"list_jobs": "kind", "list_evidence": "case", "list_attestations": "subject_id", "list_findings": "advisory", "list_advisories": "id",
                      "list_vex": "id", "list_sboms": "cursor"}[name]
            path = api.operations[name][1] + f"?{key_of}=a{text}" + ("&evaluation=" + NOBODY if name == "list_findings" else "")
            reply = c.get(path)
            api.report.check(f"GET {path}: no fault of ours", reply.status in (200, 404, 422, 400), repr(reply))
    far = "OTIyMzM3MjAzNjg1NDc3NTgwN3wwMDAwMDAwMC0wMDAwLTcwMDAtODAwMC0wMDAwMDAwMDAwMDA"  # the largest instant, a uuid
    reply = c.get("/sboms?cursor=" + far)
    api.report.check("a cursor beyond time is no fault of ours", reply.status in (200, 422), repr(reply))


def check_outage(api, p, c):
    p.kill("nats")
    wait_for(lambda: Client(api.url).get("/readyz").status != 200)
    reply = api.call("NATS is away", "readyz", Client(api.url), 503)
    api.report.check("the part is named", reply["parts"].get("nats") != "ok" and reply["parts"].get("postgresql") == "ok", repr(reply))
    p.start("nats")
    p.wait_ready()
    p.kill("postgresql", signal.SIGKILL)
    reply = api.call("PostgreSQL is away", "list_sboms", c, 503)
    api.report.check("the part is named", reply.json.get("part") == "postgresql", repr(reply))
    p.start("postgresql")
    p.wait_ready()


def check_operations(api, p, c):
    """Every operation, for whoever looks at what one leaves behind: an evaluation that is done and its SBOM are returned."""
    check_public(api, c)
    check_access(api, p, c)
    check_changes(api, p, c)
    check_refusals(api, p, c)
    sbom, rejected = check_documents(api, c)
    done, export = check_decisions(api, p, c, sbom, rejected)
    check_jobs(api, p, c, done, sbom, rejected)
    check_timeline(api, p, c, done)
    check_evidence(api, c, done, export)
    check_holds(api, p, c)
    check_retention(api, c)
    check_redaction(api, p, c, done)
    check_attestations(api, c, done, export)
    check_observability(api, p, c, done)
    check_settings(api, c)
    return done, sbom


def main():
    report = Report("openapi")
    if binary("stellad", required=False) is None or binary("stella-runner", required=False) is None:
        report.skip("openapi", "stellad and stella-runner are not built")
        report.end()
    with open(os.path.join(ROOT, "contracts", "openapi.yaml"), encoding="utf-8") as f:
        requests = events.requests_of(event_matrix.operations(f.read()))
    with Platform() as p:
        c = p.client("admin")
        api = Api(report, p.url)
        done, sbom = check_operations(api, p, c)
        check_tampering(api, p, c, done)
        check_protocol(api, c, sbom)
        check_outage(api, p, c)
        events.check(report, p, requests)
        api.end()
    report.end()


if __name__ == "__main__":
    main()
