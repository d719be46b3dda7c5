#!/usr/bin/env python3
"""The platform on a bucket of a real S3 server: documents, bundles and exports lie there locked; while the server is away requests are refused with 503."""
import datetime
import hashlib
import hmac
import os
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(HERE, "..", "platform"), os.path.join(HERE, "..", "tamper"), HERE]
from disk_full_test import document, ended  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import Platform, _die_with_parent, free_port  # noqa: E402
from bundle_files import make_bundle  # noqa: E402

KEY, SECRET, REGION, BUCKET = "stella", "a-secret-of-the-test", "us-east-1", "evidence"


class Server:
    """versitygw on a free port, and requests signed by hand: a second opinion on the driver's own signatures."""

    def __init__(self, program, folder):
        self.program, self.folder, self.port, self.process = program, folder, free_port(), None
        for name in ("buckets", "versions"):
            os.mkdir(os.path.join(folder, name))
        self.start()

    def start(self):
        with open(os.path.join(self.folder, "log"), "ab") as log:
            self.process = subprocess.Popen([self.program, "--port", f"127.0.0.1:{self.port}", "--keep-alive", "--quiet", "posix", "--versioning-dir", os.path.join(self.folder, "versions"),
                                             os.path.join(self.folder, "buckets")], stdout=log, stderr=log, preexec_fn=_die_with_parent, env={"ROOT_ACCESS_KEY": KEY, "ROOT_SECRET_KEY": SECRET})
        deadline = time.monotonic() + 30
        while self.request("GET", "/") != 200:
            assert self.process.poll() is None and time.monotonic() < deadline, "versitygw does not start"
            time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()

    def request(self, method, path, query="", headers=None):
        now = datetime.datetime.now(datetime.timezone.utc).strftime("%Y%m%dT%H%M%SZ")
        empty = hashlib.sha256(b"").hexdigest()
        signed = {"host": f"127.0.0.1:{self.port}", "x-amz-content-sha256": empty, "x-amz-date": now, **(headers or {})}
        names = ";".join(sorted(signed))
        canonical = "\n".join([method, path, query, *(f"{n}:{signed[n]}" for n in sorted(signed)), "", names, empty])
        scope = f"{now[:8]}/{REGION}/s3/aws4_request"
        text = "\n".join(["AWS4-HMAC-SHA256", now, scope, hashlib.sha256(canonical.encode()).hexdigest()])
        key = ("AWS4" + SECRET).encode()
        for step in scope.split("/"):
            key = hmac.new(key, step.encode(), hashlib.sha256).digest()
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        signed["authorization"] = f"AWS4-HMAC-SHA256 Credential={KEY}/{scope}, SignedHeaders={names}, Signature={signature}"
        url = f"http://127.0.0.1:{self.port}{path}" + ("?" + query if query else "")
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method=method, headers=signed), timeout=20) as reply:
                return reply.status
        except urllib.error.HTTPError as refused:
            return refused.code
        except OSError:
            return 0

    def objects(self):
        top = os.path.join(self.folder, "buckets", BUCKET)
        return [os.path.relpath(os.path.join(d, n), top) for d, _, names in os.walk(top) for n in names if not os.path.relpath(d, top).startswith(".")]


def cases(report, server, credentials):
    settings = {"objects.driver": "s3", "objects.s3.endpoint": f"http://127.0.0.1:{server.port}", "objects.s3.bucket": BUCKET, "objects.s3.credentials_file": credentials, "objects.s3.timeout": "2s",
                "objects.lock_mode": "governance", "objects.lock_for": "1h", "jobs.backoff": "200ms"}
    with Platform(settings=settings, tenants=("acme",)) as p:
        c = p.client("admin")
        reply = c.post("/sboms?wait=60", document(1, 1))
        report.check("an SBOM is computed", reply.status == 201 and reply["state"] == "computed", reply)
        bundle = make_bundle(c)
        verdict = c.post("/evidence/verify", bundle, headers={"content-type": "application/gzip"})
        report.check("a bundle is sealed, exported and verified", verdict.status == 200 and verdict["result"] == "pass", verdict)
        stored = server.objects()
        report.check("the bundle lies there, too", any("/evidence/CASE-1/" in key and key.endswith("bundle.tgz") for key in stored), stored[-5:])
        documents = p.sql("SELECT count(*) AS n FROM sboms")[0]["n"]
        report.check("its objects lie in the bucket", len(stored) >= 10 and all(key.startswith(("tenants/acme/", "tenants/beta/", "tenants/platform/", "global/kb/", "platform/log/")) for key in stored), stored[:5])
        report.check("and not below data_dir", not os.listdir(p.path("objects")), os.listdir(p.path("objects")))
        refused = [server.request("DELETE", f"/{BUCKET}/{key}", "versionId=" + version_of(server, key)) for key in stored]
        report.check("each is locked: whoever has the credentials cannot delete the version", refused == [403] * len(stored), refused)
        server.stop()
        reply = c.post("/sboms", document(2, 1))
        report.check("server away: 503 that names the part", reply.status == 503 and reply["part"] == "objects", reply)
        report.check("server away: the refusal holds neither secret nor address", SECRET not in reply.text and str(server.port) not in reply.text, reply)
        ready = c.get("/readyz")
        report.check("server away: /readyz tells the truth", ready.status == 503 and ready["parts"]["objects"] != "ok", ready)
        report.check("server away: nothing of the refused is there", p.sql("SELECT count(*) AS n FROM sboms")[0]["n"] == documents)
        server.start()
        reply = c.post("/sboms?wait=60", document(2, 1))
        report.check("server back: the same request is computed", reply.status == 201 and reply["state"] == "computed", reply)
        report.check("every job ended", ended(p))
        with open(p.path("log", "stellad.log"), encoding="utf-8") as log:
            report.check("the log holds no credentials", SECRET not in log.read())


def version_of(server, key):
    return os.getxattr(os.path.join(server.folder, "buckets", BUCKET, key), "user.version-id").decode()


def main():
    report = Report("S3 store")
    built = subprocess.run([os.path.join(ROOT, "tools", "build-versitygw")], capture_output=True, text=True, check=False)
    if built.returncode != 0:
        report.skip("S3 store", "no S3 server could be built: " + " ".join(built.stderr.split())[-300:])
        report.end()
    folder = tempfile.mkdtemp(prefix="stella-s3-")
    server = None
    try:
        server = Server(built.stdout.strip(), folder)
        report.check("a bucket with Object Lock", server.request("PUT", "/" + BUCKET, headers={"x-amz-bucket-object-lock-enabled": "true"}) == 200)
        credentials = os.path.join(folder, "credentials")
        with open(os.open(credentials, os.O_WRONLY | os.O_CREAT, 0o600), "w", encoding="utf-8") as f:
            f.write(f"[default]\naws_access_key_id = {KEY}\naws_secret_access_key = {SECRET}\n")
        cases(report, server, credentials)
    finally:
        if server:
            server.stop()
        shutil.rmtree(folder, ignore_errors=True)
    report.end()


if __name__ == "__main__":
    main()
