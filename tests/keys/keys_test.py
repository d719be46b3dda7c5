#!/usr/bin/env python3
"""The time of a seal and the life of its key, as an auditor decides them with nothing but files: a real time authority (openssl behind HTTP) stamps
seals, the key is rotated and called compromised while the platform runs, and `stella forensic verify` and `openssl ts -verify` say what holds."""
import base64
import datetime
import glob
import hashlib
import http.server
import json
import os
import subprocess
import sys
import tarfile
import tempfile
import threading
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform")]
from client import tar_of  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import SAMPLES, Platform, binary  # noqa: E402

CONFIG = """[req]
distinguished_name = dn
prompt = no
[dn]
CN = unused
[root]
basicConstraints = critical,CA:TRUE
keyUsage = critical,keyCertSign
[tsa]
keyUsage = critical,digitalSignature
extendedKeyUsage = critical,timeStamping
[tsa_config]
serial = serial
default_policy = 1.2.3.4.1
digests = sha256
signer_digest = sha256
clock_precision_digits = 6
ess_cert_id_alg = sha256
"""


class Authority:
    """RFC 3161 over HTTP; the openssl program signs."""

    def __init__(self, directory, days=30):
        self.dir = directory
        with open(self.path("conf"), "w") as f:
            f.write(CONFIG)
        with open(self.path("serial"), "w") as f:
            f.write("01\n")
        ec = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-config", "conf"]
        self.openssl("req", "-x509", *ec, "-keyout", "root.key", "-out", "root.pem", "-days", "3650", "-subj", "/CN=Root", "-extensions", "root")
        self.openssl("req", *ec, "-keyout", "tsa.key", "-out", "tsa.csr", "-subj", "/CN=Authority")
        self.openssl("x509", "-req", "-in", "tsa.csr", "-CA", "root.pem", "-CAkey", "root.key", "-CAcreateserial", "-days", str(days), "-extfile", "conf", "-extensions", "tsa", "-out", "tsa.pem")
        authority = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):  # noqa: N802
                body = self.rfile.read(int(self.headers["content-length"]))
                with open(authority.path("query"), "wb") as f:
                    f.write(body)
                authority.openssl("ts", "-reply", "-config", "conf", "-section", "tsa_config", "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "tsa.key", "-out", "reply")
                with open(authority.path("reply"), "rb") as f:
                    reply = f.read()
                self.send_response(200)
                self.send_header("content-type", "application/timestamp-reply")
                self.send_header("content-length", str(len(reply)))
                self.end_headers()
                self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self.server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}/tsr"

    def path(self, name):
        return os.path.join(self.dir, name)

    def openssl(self, *arguments):
        return subprocess.run(["openssl", *arguments], cwd=self.dir, check=True, capture_output=True, text=True).stdout


class Auditor:
    """The stella program with a configuration of its own."""

    def __init__(self, platform, directory):
        self.env = {"PATH": os.environ["PATH"], "STELLA_CONFIG_DIR": directory, "STELLA_URL": platform.url, "STELLA_PASSWORD": platform.passwords["admin"], "HOME": directory}
        self.dir = directory

    def attempt(self, *arguments):
        return subprocess.run([binary("stella"), *arguments], env=self.env, capture_output=True, text=True)

    def run(self, *arguments, code=0):
        done = self.attempt(*arguments)
        assert done.returncode == code, f"stella {' '.join(arguments)}: {done.returncode} instead of {code}\n{done.stdout}{done.stderr}"
        return done.stdout

    def login(self):
        return json.loads(self.run("login", "-u", "admin", "-o", "json"))

    def verdict(self, bundle, *options, code=0):
        found = json.loads(self.run("forensic", "verify", bundle, "-o", "json", *options, code=code))
        return {d["name"]: (d["outcome"], d["reason"]) for d in found["dimensions"]}, found


def sealed(c, evaluation, case):
    made = c.post("/evidence/snapshot?wait=60", {"kind": "eval", "resource_id": evaluation, "case_id": case})
    assert made["state"] == "sealed", made
    return made["bundle_id"]


def decided(c):
    """Advisories, a policy, the sample SBOM and its evaluation: the id of that, and the SBOM's bytes."""
    c.post("/advisories?global=1&wait=60", tar_of(SAMPLES + "/advisories"), headers={"content-type": "application/x-tar"})
    with open(SAMPLES + "/policy.yaml", "rb") as f:
        policy = c.post("/policies", f.read())["policy_version"]
    assert c.post(f"/policies/{policy}/activate").status == 200
    with open(SAMPLES + "/sbom.cdx.json", "rb") as f:
        document = f.read()
    sbom = c.post("/sboms?wait=60", document)["sbom_id"]
    return c.post("/evaluations?wait=60", {"sbom_id": sbom})["evaluation_id"], document


def covered(bundle, sidecar=None):
    """What the next renewal stamps, as docs/forensics/evidence-locker.md says it: digests of signatures, time/ and earlier renewals, in their order."""
    parts = []
    with tarfile.open(bundle) as tar:
        envelope = json.load(tar.extractfile("attest/seal.dsse.json"))
        parts += [base64.b64decode(s["sig"]) for s in envelope["signatures"]]
        parts += [tar.extractfile(name).read() for name in tar.getnames() if name.startswith("time/")]
    if sidecar:
        with tarfile.open(sidecar) as tar:
            parts += [tar.extractfile(name).read() for name in tar.getnames()]
    return b"".join(sorted({hashlib.sha256(part).digest() for part in parts}))


def renewed(report, c, auditor, first, second, before, home):
    """The first authority's certificate ends in 30 days: the bundle stamped by it was stamped again by the second, which lasts."""
    bundle = c.all("/evidence?case=CASE-1")[0]["bundle_id"]
    deadline = time.monotonic() + 60
    while not (found := c.get("/evidence/" + bundle)["time_renewals"]) and time.monotonic() < deadline:
        time.sleep(0.5)
    report.check("its timestamp was renewed, once, by the authority that lasts", len(found) == 1 and found[0]["renewal"] == 1, repr(found)[:300])
    file = os.path.join(home, "renewed.tgz")
    sidecar = file + ".renewals.tar"
    auditor.run("forensic", "get", bundle, "--out", file, "--recipient", "auditor")
    with open(before, "rb") as a, open(file, "rb") as b:
        report.check("the bundle is byte for byte what it was", a.read() == b.read(), "")
    while not (told := [e for e in c.all("/timeline?kind=evidence.renewed") if e["resource_id"] == bundle]) and time.monotonic() < deadline:
        time.sleep(0.2)
    report.check("the timeline tells it", len(told) == 1 and told[0]["details"]["renewal"] == 1 and told[0]["actor"] == "system:locker", repr(told))
    both = os.path.join(home, "both.pem")
    with open(both, "w") as out:
        for authority in (first, second):
            with open(authority.path("root.pem")) as f:
                out.write(f.read())
    ended = (datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(days=60)).strftime("%Y-%m-%dT%H:%M:%SZ")

    def at_that_time(*options, code):
        return auditor.verdict(file, "--at", ended, "--require", "TIME", *options, code=code)[0]["TIME"]

    said = at_that_time("--trust-time", both, code=0)
    report.check("the renewal carries the stamp over the end of its certificate", said[0] == "PASS" and "expired at" in said[1] and "it was renewed at" in said[1], repr(said))
    said = at_that_time("--trust-time", first.path("root.pem"), code=1)
    report.check("not for whoever does not trust the second authority", said[0] == "FAIL" and "renewal-1.tsr" in said[1], repr(said))
    # Somebody without our program.
    with open(second.path("covered"), "wb") as f:
        f.write(covered(file))
    with tarfile.open(sidecar) as tar, open(second.path("renewal-1.tsr"), "wb") as f:
        f.write(tar.extractfile("time/renewal-1.tsr").read())
    said_openssl = second.openssl("ts", "-verify", "-in", "renewal-1.tsr", "-data", "covered", "-CAfile", "root.pem")
    report.check("openssl finds that it covers signature, stamp and certificates", "Verification: OK" in said_openssl, said_openssl)
    # A renewal over other bytes.
    second.openssl("ts", "-query", "-data", "conf", "-sha256", "-cert", "-out", "query")
    second.openssl("ts", "-reply", "-config", "conf", "-section", "tsa_config", "-queryfile", "query", "-signer", "tsa.pem", "-inkey", "tsa.key", "-out", "time-renewal")
    forged = os.path.join(home, "forged.tar")
    subprocess.run(["tar", "cf", forged, "--format=ustar", "--transform", "s,.*tsa.pem,time/renewal-1.pem,;s,.*time-renewal,time/renewal-1.tsr,", "tsa.pem", "time-renewal"], cwd=second.dir, check=True)
    said = at_that_time("--trust-time", both, "--renewals", forged, code=1)
    report.check("a renewal over other bytes carries nothing", said[0] == "FAIL" and "renewal-1.tsr" in said[1], repr(said))
    os.remove(sidecar)
    said = at_that_time("--trust-time", both, code=1)
    report.check("without it the stamp has ended", said[0] == "FAIL" and "nobody renewed it before" in said[1], repr(said))


def lies_in(home, folder, key_id):
    """Whether a *.pub of the folder is that key: its id is the fingerprint that OpenSSH prints."""
    for file in glob.glob(os.path.join(home, folder, "*.pub")):
        der = subprocess.run(["openssl", "pkey", "-pubin", "-in", file, "-outform", "DER"], check=True, capture_output=True).stdout
        blob = b"".join(len(x).to_bytes(4, "big") + x for x in (b"ecdsa-sha2-nistp256", b"nistp256", der[-65:]))
        if "SHA256:" + base64.b64encode(hashlib.sha256(blob).digest()).decode().rstrip("=") == key_id:
            return True
    return False


def nothing_signs(report, p, c, evaluation, auditor):
    """The key that signs is called compromised: people are told that nothing is sealed, where they wait for it, and what to do."""
    active = next(k["key_id"] for k in c.get("/keys")["items"] if k["purpose"] == "evidence" and k["state"] == "active")
    done = auditor.attempt("keys", "compromise", active, "--since", "2026-01-01T00:00:00Z")
    report.check("a compromise of the key that signs says what follows", done.returncode == 0 and "No evidence key signs now" in done.stderr and "stella keys rotate" in done.stderr, done.stdout + done.stderr)
    waiting = subprocess.Popen([binary("stella"), "forensic", "snapshot", "create", "--case", "CASE-W", "--scope", "eval", "--id", evaluation, "-o", "json"], env=auditor.env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = waiting.stderr.readline()
        report.check("who waits for a bundle is told why", "waits to be sealed: no evidence key signs now: stella keys rotate" in line, line)
        with open(p.path("log", "stellad.log"), encoding="utf-8") as f:
            report.check("so is the operator", "none took its place; rotate it: stella keys rotate" in f.read(), "")
        auditor.run("keys", "rotate")
        out, err = waiting.communicate(timeout=120)
        report.check("and with a new key it is sealed", waiting.returncode == 0 and json.loads(out)["state"] == "sealed", out + err)
    finally:
        waiting.kill()
        waiting.wait()


def option_that_says_nothing(report, auditor, bundle):
    """Options of a check that is not made are refused, and so are values that mean nothing."""
    for options in (["--at", "2031-01-01T00:00:00Z"], ["--at", "yesterday", "--trust-time", "x"], ["--renewals", "nowhere"], ["--consistency", "nowhere"], ["--authorities", "2"], ["--authorities", "0", "--trust-time", "x"]):
        done = auditor.attempt("forensic", "verify", bundle, *options)
        report.check("verify " + " ".join(options) + " is refused", done.returncode == 64 and options[0] in done.stderr, f"{done.returncode} {done.stderr}")


def main():
    report = Report("keys")
    with tempfile.TemporaryDirectory(prefix="stella-tsa-") as tsa_dir, tempfile.TemporaryDirectory(prefix="stella-tsa-") as lasting_dir, tempfile.TemporaryDirectory(prefix="stella-auditor-") as home:
        tsa = Authority(tsa_dir)
        roots = tsa.path("root.pem")
        # The first is asked first and one is enough: the second comes in where the first one's certificate is too short.
        lasting = Authority(lasting_dir, days=3000)
        trusted = tsa.path("trusted.pem")
        with open(trusted, "w") as out:
            for authority in (tsa, lasting):
                with open(authority.path("root.pem")) as f:
                    out.write(f.read())
        os.chmod(tsa_dir, 0o755)
        with Platform(settings={"time.authorities": f"local={tsa.url}, lasting={lasting.url}", "time.roots": trusted, "time.required": "1"}) as p:
            c = p.client("admin")
            evaluation, _ = decided(c)
            auditor = Auditor(p, home)
            first_key = auditor.login()["evidence_keys"][0]["key_id"]

            def fetch(case):
                file = os.path.join(home, case + ".tgz")
                auditor.run("forensic", "get", sealed(c, evaluation, case), "--out", file, "--recipient", "auditor")
                return file

            trust = ["--trust-time", roots]
            before = fetch("CASE-1")
            found, whole = auditor.verdict(before, *trust, "--require", "TIME,KEY-STATUS")
            report.check("stamped, and the key was active", found["TIME"][0] == found["KEY-STATUS"][0] == "PASS", repr(found))
            report.check("the seal says what the store keeps", whole["bundle"]["worm_level"] == "W1" and len(whole["bundle"]["worm_probe_sha256"]) == 64, repr(whole["bundle"]))
            found, _ = auditor.verdict(before)
            report.check("nobody is trusted with the time, but the log is", found["TIME"][0] == "NOT-CHECKED" and found["KEY-STATUS"][0] == "PASS" and "by the log's clock" in found["KEY-STATUS"][1], repr(found))
            with tempfile.TemporaryDirectory() as empty:
                stranger = subprocess.run([binary("stella"), "forensic", "verify", before, "-o", "json", "--trust", p.key_path()], env={**auditor.env, "STELLA_CONFIG_DIR": empty}, capture_output=True, text=True)
            stranger = {d["name"]: d["outcome"] for d in json.loads(stranger.stdout)["dimensions"]}
            report.check("nor the log: then nothing is said", stranger["KEY-STATUS"] == "NOT-CHECKED" and stranger["AUTHENTICITY"] == "PASS", repr(stranger))

            option_that_says_nothing(report, auditor, before)

            # Somebody without our program.
            subprocess.run(["tar", "xzf", before, "-C", tsa_dir, "attest/seal.dsse.json", "time"], check=True)
            with open(tsa.path("attest/seal.dsse.json")) as f:
                signature = base64.b64decode(json.load(f)["signatures"][0]["sig"])
            with open(tsa.path("signature"), "wb") as f:
                f.write(signature)
            said = tsa.openssl("ts", "-verify", "-in", "time/1.tsr", "-data", "signature", "-CAfile", "root.pem")
            report.check("openssl finds the same", "Verification: OK" in said, said)

            with tarfile.open(before) as archive:
                for name in ("attest/vsa.sigstore.json", "data/inputs/sbom/sbom.json"):
                    with open(os.path.join(home, os.path.basename(name)), "wb") as f:
                        f.write(archive.extractfile(name).read())
            attested = ("forensic", "attest", "verify", os.path.join(home, "vsa.sigstore.json"), "--subject", os.path.join(home, "sbom.json"))
            statement = auditor.attempt(*attested)
            report.check("a statement of the bundle verifies by itself", statement.returncode == 0, statement.stdout + statement.stderr)
            other = auditor.attempt(*attested[:-1], before)
            report.check("about another file it says so", other.returncode == 1 and "the statement is about other files" in other.stderr, other.stderr)
            absent = auditor.attempt(*attested[:3], os.path.join(home, "absent"), *attested[4:])
            report.check("and where a file is not there, to check the path", absent.returncode == 2 and "Check the path." in absent.stderr, absent.stderr)

            rotated = json.loads(auditor.run("keys", "rotate", "-o", "json"))
            report.check("another key is active", rotated["state"] == "active" and rotated["key_id"] != first_key, repr(rotated))
            after = fetch("CASE-2")
            auditor.login()
            found, whole = auditor.verdict(after, *trust, "--require", "TIME,KEY-STATUS")
            report.check("sealed with the new key, without a restart", whole["signers"] == [rotated["key_id"]], repr(whole["signers"]))
            report.check("the old one still counts for what it signed", auditor.verdict(before, *trust)[0]["KEY-STATUS"][0] == "PASS", "")
            for made in c.all("/evidence"):
                own = {d["name"]: d["outcome"] for d in c.get("/evidence/" + made["bundle_id"])["verdict"]["dimensions"]}
                report.check("the server's own verdict says the same of " + made["case_id"], own["TIME"] == own["KEY-STATUS"] == own["AUTHENTICITY"] == "PASS", repr(own))
            p.restart("stellad")
            p.wait_ready()
            found, whole = auditor.verdict(fetch("CASE-3"), *trust, "--require", "KEY-STATUS")
            report.check("the new key signs after a restart, too", whole["signers"] == [rotated["key_id"]], repr(whole["signers"]))

            renewed(report, c, auditor, tsa, lasting, before, home)

            # The keys of tokens and of the log: files, rotated while nothing runs.
            p.kill("stellad", 15)
            for purpose in ("token", "log"):
                done = subprocess.run([binary("stellad"), "--config", p.path("stella.yaml"), "--rotate-key", purpose], capture_output=True, text=True)
                report.check(f"the {purpose} key is rotated", done.returncode == 0 and '"previous_key_id"' in done.stdout, done.stdout + done.stderr)
            p.start("stellad")
            p.wait_ready()
            c = p.client("admin")
            states = sorted((k["purpose"], k["state"]) for k in c.get("/keys")["items"] if k["purpose"] != "evidence")
            report.check("the ones before are retired", states == [("log", "active"), ("log", "retired"), ("token", "active"), ("token", "retired")], repr(states))
            auditor.login()
            found, _ = auditor.verdict(fetch("CASE-4"), "--require", "INCLUSION,KEY-STATUS")
            report.check("the log goes on under its new key", found["INCLUSION"][0] == "PASS", repr(found["INCLUSION"]))
            report.check("and the deployment log, too", "; leaf " in found["INCLUSION"][1] and p.sql("SELECT placed = size AS whole FROM deployment_log")[0]["whole"], repr(found["INCLUSION"]))
            report.check("and checkpoints of before still prove", auditor.verdict(before, "--require", "INCLUSION,KEY-STATUS")[0]["INCLUSION"][0] == "PASS", "")

            events = [e["event"]["kind"] for e in json.loads(auditor.run("keys", "history", "-o", "json"))["items"]]
            report.check("the history tells it", events == ["introduced", "activated", "introduced", "rotated"], repr(events))
            rotation = json.loads(c.get("/keys/history").text.splitlines()[3])["at"]
            auditor.run("keys", "compromise", first_key, "--since", rotation)
            auditor.run("forensic", "get", c.all("/evidence?case=CASE-1")[0]["bundle_id"], "--out", os.path.join(home, "still.tgz"), "--recipient", "auditor")
            report.ok("what it signed before it was stolen is still good, for a stamp says when")
            told = auditor.attempt("login", "-u", "admin")
            report.check("login says that the key is no longer trusted", told.returncode == 0 and first_key in told.stderr and "compromised and no longer trusted" in told.stderr, told.stdout + told.stderr)
            report.check("and no pattern of trusted keys finds it", lies_in(home, "trust/compromised", first_key) and not lies_in(home, "trust", first_key), glob.glob(os.path.join(home, "trust", "**"), recursive=True))
            report.check("and the logs say it, too", auditor.verdict(before)[0]["KEY-STATUS"][0] == "PASS", "")
            # Now the second key may be the thief's: it cannot say more, a third begins anew, and the auditor takes it from the operator.
            doubted = auditor.attempt("keys", "compromise", first_key, "--since", "2026-01-01T00:00:00Z")
            report.check("a key that a stolen one vouched for has no word", doubted.returncode == 1 and "rotate it first" in doubted.stderr, doubted.stdout + doubted.stderr)
            auditor.run("keys", "rotate")
            auditor.login()
            auditor.run("keys", "compromise", first_key, "--since", "2026-01-01T00:00:00Z", "--reason", "lost")
            auditor.run("keys", "history", "--out", os.path.join(home, "keys.jsonl"))
            found, _ = auditor.verdict(before, *trust, "--require", "KEY-STATUS", "--keys", os.path.join(home, "keys.jsonl"), code=1)
            report.check("what the stolen key signed does not count", found["AUTHENTICITY"][0] == "PASS" and found["KEY-STATUS"][0] == "FAIL" and "compromised" in found["KEY-STATUS"][1], repr(found))
            found, _ = auditor.verdict(before, "--require", "KEY-STATUS", "--keys", os.path.join(home, "keys.jsonl"), code=1)
            report.check("by the logs neither", found["KEY-STATUS"][0] == "FAIL" and "compromised" in found["KEY-STATUS"][1], repr(found))
            refused = auditor.attempt("forensic", "get", c.all("/evidence?case=CASE-1")[0]["bundle_id"], "--out", os.path.join(home, "again.tgz"), "--recipient", "auditor")
            report.check("the server does not hand it out either", refused.returncode != 0 and "no key that counts" in refused.stderr, refused.stdout + refused.stderr)
            auditor.login()
            report.check("login keeps it, and who knows it passes no bundle of that key, asked for or not", auditor.verdict(before, *trust, code=1)[0]["KEY-STATUS"][0] == "FAIL", "")
            statement = auditor.attempt(*attested)
            report.check("nor a statement", statement.returncode != 0 and "was compromised" in statement.stderr, statement.stdout + statement.stderr)
            nothing_signs(report, p, c, evaluation, auditor)
            auditor.login()
            history = os.path.join(home, "trust", "keys.jsonl")
            with open(history) as f:
                lines = f.readlines()
            with open(history, "w") as f:
                f.writelines(lines[:2] + lines[:1])
            refused = auditor.attempt("login", "-u", "admin")
            report.check("a history that was rewritten is not taken", refused.returncode != 0 and "differently than before" in refused.stderr, refused.stdout + refused.stderr)
    report.end()


if __name__ == "__main__":
    main()
