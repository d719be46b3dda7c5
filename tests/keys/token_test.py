#!/usr/bin/env python3
"""Keys in a token and objects encrypted at rest, on a platform that had neither: the evidence key moves from its file into SoftHSM while its history goes
on, wrong tokens are refused in clear words, and what lies in the store can be read by nobody who has the store alone."""
import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform"), os.path.join(HERE, "..", "attest"), HERE]
from judges import cosign_program  # noqa: E402
from keys_test import Auditor, decided, sealed  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import Platform, binary  # noqa: E402

MODULES = ["/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so"]
PIN = "73914682"


class Token:
    """SoftHSM with a P-256 and an Ed25519 key that were made elsewhere, so that their public halves are known to the test."""

    def __init__(self, directory, module):
        self.dir, self.module = directory, module
        os.mkdir(self.path("tokens"))
        with open(self.path("conf"), "w") as f:
            f.write(f"directories.tokendir = {self.path('tokens')}\nobjectstore.backend = file\nlog.level = ERROR\n")
        os.environ["SOFTHSM2_CONF"] = self.path("conf")  # stellad inherits it
        for name, pin in (("pin", PIN), ("wrong", "00000000")):
            with open(os.open(self.path(name), os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
                f.write(pin + "\n")
        self.tool("softhsm2-util", "--init-token", "--free", "--label", "stella", "--so-pin", "12345678", "--pin", PIN)
        self.tool("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", "key.pem")
        self.tool("openssl", "pkey", "-in", "key.pem", "-pubout", "-out", "key.pub")
        self.tool("softhsm2-util", "--import", "key.pem", "--token", "stella", "--label", "evidence", "--id", "a1", "--pin", PIN)
        self.tool("openssl", "genpkey", "-algorithm", "ED25519", "-out", "log.pem")
        self.tool("openssl", "pkey", "-in", "log.pem", "-pubout", "-out", "log.pub")
        self.tool("softhsm2-util", "--import", "log.pem", "--token", "stella", "--label", "log", "--id", "b2", "--pin", PIN)
        os.unlink(self.path("key.pem"))
        os.unlink(self.path("log.pem"))

    def path(self, name):
        return os.path.join(self.dir, name)

    def tool(self, *arguments):
        return subprocess.run(arguments, cwd=self.dir, check=True, capture_output=True, text=True).stdout

    def uri(self, attributes, pin="pin"):
        return f"pkcs11:{attributes}?module-path={self.module}&pin-source=file:{self.path(pin)}"


def fingerprint(public_pem):
    """As OpenSSH writes that of an ECDSA key."""
    with open(public_pem) as f:
        point = base64.b64decode("".join(f.read().splitlines()[1:-1]))[-65:]
    wire = b"".join(len(part).to_bytes(4, "big") + part for part in (b"ecdsa-sha2-nistp256", b"nistp256", point))
    return "SHA256:" + base64.b64encode(hashlib.sha256(wire).digest()).decode().rstrip("=")


def configure(p, **settings):
    """The settings of that platform, changed."""
    p.settings = {**p.settings, **{k.replace("__", "."): v for k, v in settings.items()}}
    with open(p.path("stella.yaml")) as f:
        kept = [line for line in f if line.split(":")[0] not in p.settings]
    with open(p.path("stella.yaml"), "w") as f:
        f.writelines(kept + [f"{k}: {json.dumps(v)}\n" for k, v in p.settings.items()])


def stellad(p, *arguments):
    return subprocess.run([binary("stellad"), "--config", p.path("stella.yaml"), *arguments], capture_output=True, text=True, timeout=60)


def objects(p, *below):
    for directory, _, names in os.walk(p.path("objects", *below)):
        for name in names:
            with open(os.path.join(directory, name), "rb") as f:
                yield os.path.join(directory, name), f.read()


def openssl_accepts(token, bundle):
    """The seal's signature, without any program of ours."""
    subprocess.run(["tar", "xzf", bundle, "-C", token.dir, "attest/seal.dsse.json"], check=True)
    with open(token.path("attest/seal.dsse.json")) as f:
        envelope = json.load(f)
    kind, payload = envelope["payloadType"].encode(), base64.b64decode(envelope["payload"])
    with open(token.path("signed"), "wb") as f:
        f.write(b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload))
    with open(token.path("signature"), "wb") as f:
        f.write(base64.b64decode(envelope["signatures"][0]["sig"]))
    return token.tool("openssl", "dgst", "-sha256", "-verify", "key.pub", "-signature", "signature", "signed")


def cosign_accepts(report, token, bundle):
    program, why = cosign_program()
    if program is None:
        report.skip("cosign", why)
        return
    subprocess.run(["tar", "xzf", bundle, "-C", token.dir, "attest", "evidence"], check=True)
    statement = next(os.path.join("attest", n) for n in os.listdir(token.path("attest")) if n.startswith("seal.") and n.endswith(".sigstore.json"))
    done = subprocess.run([program, "verify-blob-attestation", "--key", "key.pub", "--bundle", statement, "--type", "https://stellaops.dev/evidence-seal/v1", "--insecure-ignore-tlog=true",
                           "evidence/root.merkle"], cwd=token.dir, env={**os.environ, "HOME": token.dir}, capture_output=True, text=True)
    report.check("cosign accepts what the token signed", done.returncode == 0, done.stderr)


def main():
    report = Report("tokens and encryption at rest")
    module = next((m for m in MODULES if os.path.exists(m)), None)
    if module is None or shutil.which("softhsm2-util") is None:
        report.skip("everything", "no SoftHSM (softhsm2)")
        report.end()
        return
    with tempfile.TemporaryDirectory(prefix="stella-token-") as token_dir, tempfile.TemporaryDirectory(prefix="stella-auditor-") as home, Platform() as p:
        token = Token(token_dir, module)
        c = p.client("admin")
        evaluation, document = decided(c)
        auditor = Auditor(p, home)
        first_key = auditor.login()["evidence_keys"][0]["key_id"]

        def fetch(case):
            file = os.path.join(home, case + ".tgz")
            auditor.run("forensic", "get", sealed(c, evaluation, case), "--out", file, "--recipient", "auditor")
            return file

        before = fetch("CASE-1")
        old = {name for name, _ in objects(p)}
        report.check("documents stand in the clear so far", any(data == document for _, data in objects(p)), "")

        # Each mistake by itself; the PIN is in none of the answers.
        p.kill("stellad", 15)
        said = ""
        for what, uri, words in [("a token that is not there", token.uri("token=other;object=evidence"), "no such token"), ("a key that is not there", token.uri("token=stella;object=other"), "no such key"),
                                 ("a wrong PIN", token.uri("token=stella;object=evidence", "wrong"), "PIN"), ("a PIN in the URI", token.uri("token=stella;object=evidence") + "&pin-value=" + PIN, "pin-value"),
                                 ("a module that is not there", "pkcs11:token=stella?module-path=/nowhere.so&pin-source=file:" + token.path("pin"), "module")]:
            configure(p, keys__evidence=uri)
            done = stellad(p, "--init")
            said += done.stdout + done.stderr
            report.check(what + " is refused by name", done.returncode == 1 and words in done.stderr and "keys.evidence" in done.stderr, done.stderr)
        report.check("no answer holds a PIN", "00000000" not in said and PIN + "\n" not in said.replace("pin-value=" + PIN, ""), said)

        configure(p, keys__evidence=token.uri("token=stella;object=evidence"), keys__log=token.uri("token=stella;object=log"), evidence__encryption="tenant")
        done = stellad(p, "--init")
        report.check("a key that nobody signed in is refused", done.returncode == 1 and "keys.evidence_previous" in done.stderr, done.stderr)
        configure(p, keys__evidence_previous="file:" + p.path("keys", "evidence.pem"))
        p.run_tool("--init")
        p.start("stellad")
        p.wait_ready()
        second_key = fingerprint(token.path("key.pub"))
        report.check("login takes the key of the token", second_key in [k["key_id"] for k in auditor.login()["evidence_keys"]], second_key)
        events = [e["event"]["kind"] for e in json.loads(auditor.run("keys", "history", "-o", "json"))["items"]]
        report.check("the key before signed it in", events == ["introduced", "activated", "introduced", "rotated"], repr(events))

        evaluation = c.post("/evaluations?wait=60", {"sbom_id": c.post("/sboms?wait=60", document.replace(b'"version": 1', b'"version": 2', 1))["sbom_id"]})["evaluation_id"]
        after = fetch("CASE-2")
        _, whole = auditor.verdict(after)
        report.check("sealed by the token", whole["signers"] == [second_key], repr(whole["signers"]))
        report.check("openssl accepts what the token signed", "Verified OK" in openssl_accepts(token, after), "")
        cosign_accepts(report, token, after)
        report.check("the old bundle verifies as before", auditor.verdict(before)[1]["signers"] == [first_key], "")
        with open(token.path("log.pub")) as a, open(p.path("keys", "log.pub")) as b:
            report.check("the log's key is that of the token", a.read() == b.read(), "")
        logs = {k["state"]: k for k in c.get("/keys")["items"] if k["purpose"] == "log"}
        report.check("and the one before is retired", sorted(logs) == ["active", "retired"] and logs["active"]["public_pem"].strip() == open(token.path("log.pub")).read().strip(), repr(logs))
        for what, bundle in (("by the key of before", before), ("by the token", after)):
            found, _ = auditor.verdict(bundle, "--require", "INCLUSION,KEY-STATUS")
            report.check("a checkpoint signed " + what + " proves", found["INCLUSION"][0] == "PASS", repr(found["INCLUSION"]))
        refused = stellad(p, "--rotate-key", "log")
        report.check("nor is it rotated where people keep it", refused.returncode == 1 and "kept elsewhere" in refused.stderr, refused.stderr)
        refused = auditor.attempt("keys", "rotate")
        report.check("the platform does not rotate what people keep", refused.returncode != 0 and "kept elsewhere" in refused.stderr, refused.stdout + refused.stderr)

        new = [(name, data) for name, data in objects(p, "tenants", "acme") if name not in old]
        contents = [(n, d) for n, d in new if "/acme/objects/" in n or n.endswith("bundle.tgz")]
        report.check("every new document and bundle is an envelope", len(contents) > 5 and all(d.startswith(b"STELLAE") for _, d in contents), repr([n for n, d in contents if not d.startswith(b"STELLAE")][:5]))
        proofs = [n for n, d in new if (n, d) not in contents and d.startswith(b"STELLAE")]
        report.check("seals, attestations and the log stand in the clear", proofs == [], repr(proofs[:5]))
        c.get("/evidence/" + c.all("/evidence?case=CASE-1")[0]["bundle_id"])
        report.ok("what was sealed in the clear is still served")

        # Another version of the tenant's key, while everything runs.
        done = stellad(p, "--rotate-tenant-key", "acme", "--reason", "yearly")
        report.check("a tenant's key is rotated", done.returncode == 0 and "tenant/acme/2" in done.stdout, done.stdout + done.stderr)
        later = c.post("/sboms?wait=60", document.replace(b'"version": 1', b'"version": 7', 1))
        fresh = [d for n, d in objects(p, "tenants", "acme") if b"tenant/acme/2" in d[:256]]
        report.check("what comes is under the new version", later.status in (200, 201) and len(fresh) > 0, later.text)
        stale = os.path.join(home, "rotated.tgz.renewals.tar")
        with open(stale, "w") as f:
            f.write("renewals of an earlier export")
        auditor.run("forensic", "get", c.all("/evidence?case=CASE-2")[0]["bundle_id"], "--out", os.path.join(home, "rotated.tgz"), "--recipient", "auditor")
        report.check("renewals that an earlier export left beside the path are gone", not os.path.exists(stale), stale)
        report.ok("what was there is still read")
        kinds = [e["kind"] for e in c.all("/timeline?kind=key.rotated")]
        report.check("and it is on the tenant's timeline", kinds == ["key.rotated"], repr(kinds))
        mine = {k["key_id"]: (k["provider"], k["state"]) for k in c.get("/keys/tenants")["items"] if k["tenant_id"] == "acme"}
        report.check("operators see its versions", mine == {"tenant/acme": ("file", "retired"), "tenant/acme/2": ("file", "active")}, repr(mine))
        report.check("and so does the program", "tenant/acme/2" in auditor.run("keys", "list", "--tenants"), "")
        nobody = stellad(p, "--rotate-tenant-key", "nobody")
        report.check("a tenant without a key has none to rotate", nobody.returncode == 1 and "no key" in nobody.stderr, nobody.stdout + nobody.stderr)

        # Somebody at the store: the tenant's bundle under another name, a flipped bit, plain bytes.
        name = next(n for n, _ in contents if n.endswith("bundle.tgz"))
        bundle = c.all("/evidence?case=CASE-2")[0]["bundle_id"]
        with open(name, "rb") as f:
            good = f.read()
        other = next(d for n, d in contents if "/objects/" in n)
        for what, bad in [("a flipped bit", good[:-40] + bytes([good[-40] ^ 1]) + good[-39:]), ("cut off", good[:-17]), ("another object", other), ("other bytes in the clear", b"x" * 1000)]:
            os.unlink(name)
            with open(name, "wb") as f:
                f.write(bad)
            refused = auditor.attempt("forensic", "get", bundle, "--out", os.path.join(home, "bad.tgz"), "--recipient", "auditor")
            report.check(what + " is not handed out", refused.returncode != 0 and not os.path.exists(os.path.join(home, "bad.tgz")), refused.stdout + refused.stderr)
        os.unlink(name)
        with open(name, "wb") as f:
            f.write(good)
        auditor.run("forensic", "get", bundle, "--out", os.path.join(home, "again.tgz"), "--recipient", "auditor")
        report.ok("and the bundle itself is, decrypted")
        with open(os.path.join(p.dir, "log", "stellad.log"), "rb") as f:
            log = f.read()
        with open(os.path.join(p.dir, "log", "stellad.err"), "rb") as f:
            log += f.read()
        report.check("no PIN in any log", PIN.encode() not in log, "")
        # The tenant leaves: nothing goes while a bundle is kept.
        done = stellad(p, "--destroy-tenant-key", "acme", "--reason", "contract ended")
        report.check("a key that retention needs is not destroyed", done.returncode == 1 and "bundle " in done.stderr, done.stdout + done.stderr)
        beta = p.client("beta-admin")
        beta.post("/sboms?wait=60", document)["sbom_id"]
        done = stellad(p, "--destroy-tenant-key", "beta", "--reason", "contract ended")
        report.check("that of a tenant without evidence may go", done.returncode == 0 and "planned" in done.stdout, done.stdout + done.stderr)
        gone = "SELECT count(*) FROM key_dispositions WHERE tenant_id = 'beta' AND state = 'executed'"
        for _ in range(300):
            if p.execute(gone).strip() == "1":
                break
            time.sleep(0.1)
        report.check("the server destroys it once a checkpoint covers the plan", p.execute(gone).strip() == "1", p.execute("SELECT state || reason FROM key_dispositions"))
        with open(p.path("keys", "tenants.json")) as f:
            ring = json.load(f)
        report.check("the keyring has the others' keys and only remembers beta's", sorted(k["id"] for k in ring["keys"]) == ["tenant/acme", "tenant/acme/2", "tenant/platform"] and ring["destroyed"] == ["tenant/beta"], repr(([k["id"] for k in ring["keys"]], ring["destroyed"])))
        late = beta.post("/sboms?wait=60", document.replace(b'"version": 1', b'"version": 3', 1))
        report.check("nothing more is taken for it", late.status == 409, late.text)
        # The keyring is all that opens it.
        p.kill("stellad", 15)
        os.rename(p.path("keys", "tenants.json"), p.path("keys", "away"))
        done = stellad(p)
        report.check("without the keyring the server does not start", done.returncode == 1 and "tenants.json" in done.stderr, done.stderr)
    report.end()


if __name__ == "__main__":
    main()
