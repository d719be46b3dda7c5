"""The clients of the chaos run: each asks again with its Idempotency-Key until it is answered, and writes down what it was told."""
import hashlib
import json
import random
import secrets
import threading
import time
import traceback
import urllib.parse
import uuid

from client import Client, Unreachable

PATIENCE = 120  # seconds until the platform must have answered a request, or ended a job
PURLS = ["pkg:npm/lodash@4.17.20", "pkg:npm/minimist@1.2.5", "pkg:pypi/requests@2.31.0", "pkg:cargo/rustls@0.21.10", "pkg:maven/org.apache.logging.log4j/log4j-core@2.14.1",
         "pkg:golang/golang.org/x/net@v0.17.0", "pkg:pypi/django@4.2.14"]
# Every SBOM has it, and an advisory of the samples; the VEX document of each chain says that it does no harm.
VULNERABLE, CVE = "pkg:cargo/rustls@0.21.10", "CVE-2024-32650"
UNTIL = "2080-01-01T00:00:00.000000Z"
OLD_CASE = "OLD"  # the hold that keeps the old entries of each log from the beginning on


class Told:
    """What clients were told, and how many requests were sent: the clock of the killer."""

    def __init__(self):
        self.lock, self.requests, self.retries, self.problems, self.heads = threading.Lock(), 0, 0, [], []
        kinds = ("sboms", "evaluations", "exports", "bundles", "copies", "events", "annotations", "batches", "holds", "cases", "extended", "principals", "tenants")
        self.acknowledged = {**{kind: {} for kind in kinds}, "traces": []}

    def note(self, kind, key, value):
        with self.lock:
            self.acknowledged[kind][key] = value


class Worker(threading.Thread):
    """One person of a tenant; `other` is the second one, whom the release of a hold needs."""

    def __init__(self, platform, login, other, told, seed, chains):
        super().__init__(daemon=True)
        self.platform, self.client, self.other, self.told, self.rng, self.chains = platform, platform.client(login), platform.client(other), told, random.Random(seed), chains
        self.tenant, self.name = self.client.tenant, login

    # ── asking ────────────────────────────────────────────────────────────────────────────────────────────────────
    def fail(self, what):
        self.told.problems.append(what)
        raise SystemExit

    def insist(self, what, attempt, passing=lambda reply: False):
        """Calls attempt() until its reply is final; 503 says to come again, 409 not_ready is a state that passes, and so is 409 with Retry-After."""
        deadline = time.monotonic() + PATIENCE
        while True:
            with self.told.lock:
                self.told.requests += 1
            try:
                reply = attempt()
                why = repr(reply)
                passes = reply.status in (503, 504) or (reply.status == 409 and (reply.json["code"] == "not_ready" or "retry-after" in reply.headers))
                if not passes and not passing(reply):
                    return reply
            except Unreachable as e:
                why = str(e)
            if time.monotonic() > deadline:
                self.fail(f"no answer for {PATIENCE} s: {what}: {why}")
            with self.told.lock:
                self.told.retries += 1
            time.sleep(0.05 + 0.1 * self.rng.random())

    def ask(self, method, path, body=None, accept=(200, 201, 202), client=None, headers=None, passing=lambda reply: False):
        headers = {**({"idempotency-key": secrets.token_hex(8)} if method == "POST" else {}), **(headers or {})}
        reply = self.insist(f"{method} {path}", lambda: (client or self.client).request(method, path, body, headers, timeout=30), passing)
        if reply.status not in accept:
            self.fail(f"{method} {path}: {reply!r}")
        if reply.status != 401:  # nobody, so no decision about anybody
            with self.told.lock:
                self.told.acknowledged["traces"].append(reply.trace)
        return reply

    def wait_for(self, path, states):
        deadline = time.monotonic() + PATIENCE
        while True:
            reply = self.ask("GET", path)
            if reply["state"] in states:
                return reply
            if time.monotonic() > deadline or reply["state"] in ("failed", "rejected", "cancelled"):
                self.fail(f"{path} is {reply['state']}: {reply.text[:500]}")
            time.sleep(0.03)

    def see_head(self):
        head = self.ask("GET", "/timeline?limit=1").json.get("head")
        if head:
            with self.told.lock:
                self.told.heads.append((self.tenant, head["size"], head["root"]))

    # ── the chain ─────────────────────────────────────────────────────────────────────────────────────────────────
    def run(self):
        try:
            for n in range(self.chains):
                self.chain(n)
        except Exception:  # a client that dies in silence would leave the checker content with less
            self.told.problems.append(f"client {self.name}: {traceback.format_exc()}")

    def chain(self, n):
        case = f"CHAOS-{self.name}-{n}"
        product = f"pkg:npm/%40chaos/{uuid.uuid4()}@1.0.0"
        sbom = self.send_sbom(product)
        self.evaluate(sbom, 0)
        self.hold(case, "place")
        self.excuse(product)
        evaluation = self.evaluate(sbom, 1)
        self.mark(evaluation)
        export = self.ask("POST", "/exports", {"evaluation_id": evaluation})["export_id"]
        self.told.note("exports", export, evaluation)
        bundle = self.ask("POST", "/evidence/snapshot", {"kind": "eval", "resource_id": evaluation, "case_id": case})["bundle_id"]
        self.told.note("bundles", bundle, evaluation)
        self.people()
        if self.name == "admin":
            self.tenants()
        self.wait_for("/exports/" + export, ("created",))
        self.wait_for("/evidence/" + bundle, ("sealed",))
        self.redact(bundle)
        self.keep_longer(case, bundle)
        self.hold(case, "release")
        if n == 1 and self.name != "second" and self.rng.random() < 0.5:
            self.hold(OLD_CASE, "release")
        self.see_head()

    def send_sbom(self, product):
        others = self.rng.sample([p for p in PURLS if p != VULNERABLE], 3)
        document = json.dumps({"bomFormat": "CycloneDX", "specVersion": "1.5", "version": 1, "serialNumber": f"urn:uuid:{uuid.uuid4()}",
                               "metadata": {"component": {"type": "application", "name": product, "version": "1.0.0", "purl": product, "bom-ref": product}},
                               "components": [{"type": "library", "name": "c", "purl": p, "bom-ref": p} for p in (VULNERABLE, *others)]}).encode()
        sbom = self.ask("POST", "/sboms", document)["sbom_id"]
        self.told.note("sboms", sbom, hashlib.sha256(document).hexdigest())
        self.see_head()
        self.wait_for("/sboms/" + sbom, ("computed",))
        return sbom

    def evaluate(self, sbom, nth):
        evaluation = self.ask("POST", "/evaluations", {"sbom_id": sbom})["evaluation_id"]
        self.told.note("evaluations", evaluation, (sbom, nth))
        self.wait_for("/evaluations/" + evaluation, ("finished",))
        return evaluation

    def excuse(self, product):
        """A VEX document for this product alone: the next evaluation closes a finding."""
        document = json.dumps({"@context": "https://openvex.dev/ns/v0.2.0", "@id": f"https://chaos.example/{uuid.uuid4()}", "author": "Chaos", "role": "Document Creator",
                               "timestamp": "2026-11-21T09:30:00Z", "version": 1, "statements": [
                                   {"vulnerability": {"name": CVE}, "products": [{"@id": product, "subcomponents": [{"@id": VULNERABLE}]}], "status": "not_affected",
                                    "justification": "vulnerable_code_not_in_execute_path"}]}).encode()
        batch = self.ask("POST", "/vex", document, headers={"content-type": "application/json"})["batch_id"]
        self.told.note("batches", batch, 1)
        self.wait_for("/batches/" + batch, ("ingested",))

    def mark(self, evaluation):
        event = str(uuid.UUID(int=(uuid.uuid4().int & ~(0xF << 76)) | (7 << 76)))
        self.ask("POST", "/timeline", {"event_id": event, "kind": "service.restored", "resource_type": "service", "resource_id": "scanner", "details": {"service": "scanner", "part": "queue"}})
        self.told.note("events", event, 1)
        text = secrets.token_hex(8)
        # 404: the indexer has not come to the evaluation yet.
        made = self.ask("POST", "/timeline/annotations", {"target": "evaluation/" + evaluation, "text": text}, passing=lambda reply: reply.status == 404)["event_id"]
        self.told.note("annotations", made, text)

    def redact(self, bundle):
        wish = {"withhold": ["data/trace.ndjson"], "reason": "a third party's rules"}
        copy = self.ask("POST", f"/evidence/{bundle}/redact", wish)["bundle_id"]
        if self.ask("POST", f"/evidence/{bundle}/redact", wish)["bundle_id"] != copy:
            self.fail(f"the same redaction of {bundle} was made twice")
        self.told.note("copies", copy, bundle)
        self.wait_for("/evidence/" + copy, ("sealed",))

    def keep_longer(self, case, bundle):
        for path, key in ((f"/evidence/cases/{case}/retention", case), (f"/evidence/{bundle}/retention", bundle)):
            self.ask("POST", path, {"retain_until": UNTIL, "reason": "audit"})
            self.told.note("extended", key, UNTIL)
        self.ask("POST", f"/evidence/cases/{case}/close", {"reason": "settled"})
        self.told.note("cases", (self.tenant, case), "closed")

    def hold(self, case, step):
        path = "/evidence/hold/" + case
        if step == "place":
            self.ask("POST", path, {"action": "place", "authority": "court", "reason": "order"})
        else:
            self.ask("POST", path, {"action": "request_release", "reason": "over"})
            self.ask("POST", path, {"action": "confirm_release"}, client=self.other)
        self.told.note("holds", (self.tenant, case), "released" if step == "release" else "placed")

    def people(self):
        """A service account comes, gains and loses a scope, is disabled, and comes back; its token does not."""
        login, secret = "svc-" + secrets.token_hex(6), secrets.token_urlsafe(18)
        body = {"kind": "service", "login": login, "secret": secret, "display_name": "chaos", "scopes": ["sbom:read"]}
        # Its transaction is the authority's own: where the answer was lost, the login is taken.
        made = self.ask("POST", "/principals", body, accept=(201, 409))
        who = made["principal_id"] if made.status == 201 else next(p["principal_id"] for p in self.ask("GET", "/principals?limit=500")["items"] if p["login"] == login)
        token = self.token(login, secret)
        for action, scope in (("grant", "policy:read"), ("revoke", "policy:read"), ("grant", "evaluation:read")):
            self.ask("POST", f"/principals/{who}/scopes", {"action": action, "scopes": [scope]})
        if self.ask("GET", "/me", client=token, accept=(200, 401)).status != 401:
            self.fail(f"{login}: a token from before the revocation is still good")
        token = self.token(login, secret)
        for state in ("disabled", "active"):
            self.ask("PATCH", f"/principals/{who}", {"state": state})
        if self.ask("GET", "/me", client=token, accept=(200, 401)).status != 401:
            self.fail(f"{login}: a token from before the end of its principal is still good")
        self.told.note("principals", who, {"tenant": self.tenant, "login": login})

    def tenants(self):
        """Each new tenant is a new log with a first checkpoint."""
        for _ in range(4):
            tenant = "t" + secrets.token_hex(6)
            self.ask("POST", "/tenants", {"tenant_id": tenant, "display_name": "Chaos"}, accept=(201, 409))
            self.told.note("tenants", tenant, 1)

    def token(self, login, secret):
        form = urllib.parse.urlencode({"grant_type": "client_credentials", "client_id": login, "client_secret": secret})
        headers = {"content-type": "application/x-www-form-urlencoded"}
        reply = self.insist("POST /tokens", lambda: self.client.request("POST", "/tokens", form, headers, token=None, timeout=30))
        if reply.status != 200:
            self.fail(f"login of {login}: {reply!r}")
        return Client(self.platform.url, reply["access_token"])
