#!/usr/bin/env python3
"""The isolation matrix of the API, generated from the route table: route × tenant × scope. A route that is not known here fails the test.

For every route: without a token 401, with a token that has every scope but the one 403 that names it, with that scope alone neither; another
tenant's things are 404 in the very words of things that never were, and appear in no list.
"""
import json
import os
import re
import sys
import uuid

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform")]
from client import tar_of  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import ROOT, SAMPLES, Platform  # noqa: E402

ROUTE = re.compile(r'Route\{"(\w+)", "([^"]+)", (k\w+), "([^"]*)", ([^,]+), h::(\w+)(?:, (?:true|false))*\}')
# Reachable without a token: each on purpose.
PUBLIC = {"GET /", "GET /healthz", "GET /readyz", "GET /metrics", "GET /.well-known/openid-configuration", "GET /.well-known/jwks.json", "GET /keys", "GET /keys/history", "POST /tokens"}


def routes():
    with open(os.path.join(ROOT, "web", "src", "routes.cc")) as f:
        text = f.read()
    found = [dict(zip(("method", "path", "access", "scope", "limit", "handler"), m)) for m in ROUTE.findall(text)]
    assert len(found) == text.count("Route{\""), f"{text.count('Route{' + chr(34))} rows in the table, {len(found)} understood"
    return found


def scopes():
    with open(os.path.join(ROOT, "contracts", "scopes.json")) as f:
        return json.load(f)["scopes"]


class Things:
    """One of everything in tenant acme: what the ids of the routes are filled with."""

    def __init__(self, platform, admin):
        assert admin.post("/advisories?global=1&wait=60", tar_of(SAMPLES + "/advisories"), headers={"content-type": "application/x-tar"}).status == 201
        with open(SAMPLES + "/vex.openvex.json", "rb") as f:
            assert admin.post("/vex?wait=60", f.read(), headers={"content-type": "application/json"}).status == 201
        own = admin.post("/advisories?wait=60&source=own", tar_of([("a.json", b'{"id":"ACME-SECRET-1","modified":"2024-01-01T00:00:00Z","aliases":["OWN-ALIAS-2"],"affected":[]}')]), headers={"content-type": "application/x-tar"})
        assert own["counts"]["new"] == 1, own
        with open(SAMPLES + "/policy.yaml", "rb") as f:
            policy = admin.post("/policies", f.read())["policy_version"]
        assert admin.post(f"/policies/{policy}/activate").status == 200
        with open(SAMPLES + "/sbom.cdx.json", "rb") as f:
            sbom = admin.post("/sboms?wait=60", f.read())["sbom_id"]
        evaluation = admin.post("/evaluations?wait=60", {"sbom_id": sbom})
        export = admin.post("/exports?wait=60", {"evaluation_id": evaluation["evaluation_id"]})
        bundle = admin.post("/evidence/snapshot?wait=60", {"kind": "eval", "resource_id": evaluation["evaluation_id"], "case_id": "CASE-1"})
        assert bundle["state"] == "sealed", bundle
        # Cases of two tenants may have one name; what is in them must not meet.
        assert admin.post("/evidence/hold/CASE-1", {"action": "place", "authority": "ACME-SECRET court", "reason": "ACME-SECRET order"}).status == 200
        events = admin.events(evaluation.trace, lambda kinds: "policy.evaluated" in kinds)
        second = platform.client("second")
        lesser = platform.service(admin, ["sbom:read"]).get("/me")["principal_id"]  # without platform scopes, so that any administrator may change it
        assert admin.post("/tenants", {"tenant_id": "gamma", "display_name": "G"}).status == 201
        self.ids = {"tenant_id": "gamma", "principal_id": lesser, "token_id": second.get("/me")["token_id"], "sbom_id": sbom, "advisory_id": "OWN-ALIAS-2", "batch_id": own["batch_id"], "policy_version": policy, "evaluation_id": evaluation["evaluation_id"],
                    "export_id": export["export_id"], "name": "manifest.json", "job_id": evaluation["jobs"]["link"], "event_id": events[0]["event_id"], "bundle_id": bundle["bundle_id"],
                    "attestation_id": export["attestation_id"], "trace_id": evaluation.trace, "case_id": "CASE-1"}
        self.digest = "0" * 64

    def fill(self, path, unknown=False):
        """(path, ids in it). unknown: ids of the same form that name nothing."""
        used = []

        def one(m):
            name = m.group(1)
            value = self.ids[name]
            named = name in ("name", "case_id")  # people's names: every tenant may have the same, so that nothing follows from one
            if unknown and not named:
                value = uuid.uuid4().hex if name == "trace_id" else "none@000000000000" if name == "policy_version" else str(uuid.uuid4())
            if not named:
                used.append(value)
            return value

        return re.sub(r":(\w+)", one, path), used

    def body(self, route, unknown=False):
        """A body that would do, and the ids in it."""
        pick = lambda name: str(uuid.uuid4()) if unknown else self.ids[name]
        i = pick
        made = {
            "create_tenant": {"tenant_id": "t-" + uuid.uuid4().hex[:8], "display_name": "T"},
            "create_project": {"slug": "p-" + uuid.uuid4().hex[:8], "name": "P"},
            "create_principal": {"kind": "service", "login": "s-" + uuid.uuid4().hex[:8], "secret": uuid.uuid4().hex, "scopes": ["sbom:read"]},
            "create_sbom": {"bomFormat": "CycloneDX", "specVersion": "1.5", "serialNumber": str(uuid.uuid4()), "components": []},
            "create_advisories": {"id": "X-1", "modified": "2024-01-01T00:00:00Z"},
            "create_vex": {}, "create_policy": {}, "activate_policy": {}, "cancel_job": {}, "retry_job": {},
            "create_evaluation": {"sbom_id": i("sbom_id")},
            "create_export": {"evaluation_id": i("evaluation_id")},
            "create_timeline_event": {"event_id": "01990000-0000-7000-8000-" + uuid.uuid4().hex[:12], "kind": "service.restored", "resource_type": "service", "resource_id": "x", "details": {"service": "x", "part": "queue"}},
            "create_snapshot": {"kind": "eval", "resource_id": i("evaluation_id"), "case_id": "CASE-9"},
            "export_evidence": {"recipient": "matrix"},
            "change_tenant": {"display_name": "T"}, "change_principal": {"display_name": "P"}, "change_scopes": {"action": "grant", "scopes": ["sbom:read"]},
            "change_secret": {"old_secret": "none that is in force", "new_secret": uuid.uuid4().hex},
            "annotate": {"target": "evaluation/" + i("evaluation_id"), "star": True},
            "change_key": {"action": "retire", "key_id": "SHA256:" + "A" * 43},
            "change_hold": {"action": "place", "authority": "matrix", "reason": "matrix"},
            "redact_evidence": {"withhold": ["data/trace.ndjson"], "reason": "matrix"},
            "close_case": {"reason": "matrix"},
            "extend_case": {"retain_until": "2090-01-01T00:00:00Z", "reason": "matrix"}, "extend_bundle": {"retain_until": "2090-01-01T00:00:00Z", "reason": "matrix"},
            "verify_evidence": {"bundle_id": i("bundle_id")},
            "verify_attestation": {"attestation_id": i("attestation_id"), "subject_digest": self.digest},
            "change_obs_settings": {"levels": {"web": "info"}},
        }
        if route["method"] not in ("POST", "PATCH"):
            return None, []
        body = made[route["handler"]]
        return body, [v for k, v in body.items() if k in ("sbom_id", "evaluation_id", "bundle_id", "attestation_id") or k == "resource_id" and route["handler"] == "create_snapshot"] + ([body["target"].split("/")[1]] if route["handler"] == "annotate" else [])


def normal(reply, ids):
    text = reply.text
    for i in ids:
        text = text.replace(i, "<id>")
    return reply.status, re.sub(r"[0-9a-f]{32}", "<trace>", text)


class Matrix:
    def __init__(self, platform, report):
        self.platform, self.report = platform, report
        self.admin, self.beta = platform.client("admin"), platform.client("beta-admin")
        self.things = Things(platform, self.admin)
        self.tenant_scopes = [s["name"] for s in scopes() if s["tenant"]]
        self.platform_scopes = [s["name"] for s in scopes() if s["platform"]]
        self.accounts = {}

    def account(self, *, only=None, without=None, platform=False):
        """A service account of acme with one scope alone, or with every scope but one."""
        key = (only, without, platform)
        if key not in self.accounts:
            tenant = [] if only and platform else [only] if only else [s for s in self.tenant_scopes if platform or s != without]
            wide = [only] if only and platform else [s for s in self.platform_scopes if s != without or not platform] if without else []
            self.accounts[key] = self.platform.service(self.admin, tenant, wide)
        return self.accounts[key]

    def ask(self, client, route, query="", headers=None, unknown=False, token=True):
        path, ids = self.things.fill(route["path"], unknown)
        body, more = self.things.body(route, unknown)
        if route["handler"] == "list_findings" and not query:
            evaluation = str(uuid.uuid4()) if unknown else self.things.ids["evaluation_id"]
            query, ids = "?evaluation=" + evaluation, ids + [evaluation]
        if route["handler"] == "compare_evaluations" and not query:
            query = "?with=" + self.things.ids["evaluation_id"]
        if route["handler"] == "get_consistency_proof" and not query:
            size = self.beta.get("/timeline/checkpoint")["size"]  # one that the other tenant's log has
            query = f"?from_size={size}&to_size={size}"
        return client.request(route["method"], path + query, body, headers, token=token), ids + more

    def public(self, route):
        name = f"{route['method']} {route['path']}"
        assert name in PUBLIC, f"{name} needs no token and is not in the list of those that may"
        if route["method"] == "GET":
            reply, _ = self.ask(self.admin, route, token=None)
            assert reply.status == 200, reply

    def no_token(self, route):
        for token in (None, "x.y.z", self.admin.token[:-4] + "AAAA"):
            reply, _ = self.ask(self.admin, route, token=token)
            assert reply.status == 401 and reply["code"] == "unauthenticated", reply
        if route["method"] == "GET":
            reply = self.admin.request("HEAD", self.things.fill(route["path"])[0], token=None)
            assert reply.status == 401, reply

    def scope(self, route):
        platform = route["access"] == "kPlatform"
        wanted = f"stella:{route['scope']}#" + ("platform" if platform else "tenant/acme")
        reply, _ = self.ask(self.account(without=route["scope"], platform=platform), route)
        assert reply.status == 403 and reply["missing_scope"] == wanted, f"every scope but {route['scope']}: {reply}"
        assert reply["decision_id"], reply
        reply, _ = self.ask(self.account(only=route["scope"], platform=platform), route)
        assert reply.status not in (401, 403) and reply.status < 500, f"{route['scope']} alone: {reply}"

    def knowledge_base(self, route):
        reply, _ = self.ask(self.account(without="kb:write", platform=True), route, "?global=1")
        assert reply.status == 403 and reply["missing_scope"] == "stella:kb:write#platform", reply

    def asked_tenant(self, route):
        reply, _ = self.ask(self.beta, route, headers={"x-stella-tenant": "acme"})
        assert reply.status == 403 and "missing_scope" not in reply.json, reply

    def other_tenant(self, route):
        theirs, ids = self.ask(self.beta, route)
        nobodys, others = self.ask(self.beta, route, unknown=True)
        if ids:
            assert theirs.status == 404, f"acme's {ids} for beta: {theirs}"
            assert normal(theirs, ids) == normal(nobodys, others), f"{theirs} / {nobodys}"
        elif route["method"] == "GET":
            assert theirs.status == 200, theirs
        leaked = [name for name, i in self.things.ids.items() if name not in ("name", "policy_version", "case_id") and i in theirs.text and i not in ids]
        assert not leaked and "ACME-SECRET" not in theirs.text and "@acme/shop" not in theirs.text, f"{leaked} in {theirs}"

    def run(self):
        counted = 0
        for route in routes():
            name = f"{route['method']} {route['path']}"
            unknown = [p for p in re.findall(r":(\w+)", route["path"]) if p not in self.things.ids]
            if not self.report.check(f"{name}: every id of it is known here", not unknown, f"{unknown}: add it to Things"):
                continue
            counted += 1
            if route["access"] == "kPublic":
                self.report.run(f"{name}: public on purpose", self.public, route)
                continue
            self.report.run(f"{name}: no token", self.no_token, route)
            if route["scope"]:
                self.report.run(f"{name}: scope {route['scope']}", self.scope, route)
            if route["access"] == "kTenantOrGlobal":
                self.report.run(f"{name}: scope of the knowledge base", self.knowledge_base, route)
            self.report.run(f"{name}: token of another tenant than asked for", self.asked_tenant, route)
            if route["access"] in ("kTenant", "kTenantOrGlobal", "kToken") and route["handler"] not in ("me",):
                self.report.run(f"{name}: another tenant's things", self.other_tenant, route)
        self.report.check("no route forgotten", counted == len(routes()))
        # After all of this acme's token still works and what it had is still there.
        self.report.check("nothing of acme was changed by beta", self.admin.get("/sboms/" + self.things.ids["sbom_id"])["state"] == "computed")
        denied = self.platform.sql("SELECT count(*) AS n FROM decisions WHERE kind = 'authz' AND decision_effect = 'deny'")[0]["n"]
        events = self.platform.sql("SELECT (SELECT count(*) FROM timeline_events WHERE kind = 'authz.denied') + (SELECT count(*) FROM timeline_outbox WHERE convert_from(entry, 'UTF8') LIKE '%authz.denied%') AS n")[0]["n"]
        self.report.check("each refusal is a decision row and an event", denied == events and denied > 50, f"{denied} rows, {events} events")


def main():
    report = Report("api matrix")
    with Platform() as platform:
        Matrix(platform, report).run()
    report.end()


if __name__ == "__main__":
    main()
