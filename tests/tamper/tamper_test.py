#!/usr/bin/env python3
"""Makes a bundle through the API, verifies it with other people's tools alone, then tampers with it in every way: each verifier must refuse.

Verifiers: `openssl` and `sha256sum` driven from here, `sh verify.sh KEY.pub` (the copy that the program prints), POST /evidence/verify, and
`stella forensic verify`.
"""
import base64
import io
import json
import os
import subprocess
import sys
import tarfile

from bundle_files import HERE, commit_of, items_of, make_bundle, mend_lists, other_bundles, pack, pae, root_of, steal_again, steal_key, unpack
from tamperings import (ATTEST_TAMPERINGS, COPY_TAMPERINGS, DROPPED_KINDS, EVENT_TAMPERINGS, KEY_TAMPERINGS, LOG_TAMPERINGS, TAMPERINGS, TARGET, attestation_of_a_stolen_key, changed_file_and_lists,
                        omission_authorised_with_a_stolen_key, one_event_dropped, table)
from report import Report  # noqa: E402
from stella_platform import Platform, binary  # noqa: E402


# ── the verifiers: (bundle bytes) -> True where they accept ───────────────────────────────────────────────────────────
class Verifiers:
    def __init__(self, platform, client, script):
        self.platform, self.client, self.script, self.program = platform, client, script, binary("stella")

    def put(self, tgz):
        path = self.platform.path("tmp", "t.tgz")
        with open(path, "wb") as f:
            f.write(tgz)
        return path

    def verify_sh(self, tgz, key=None):
        done = subprocess.run(["sh", self.script] + ([] if key == "" else [key or self.platform.key_path(), self.put(tgz)]), capture_output=True, text=True, timeout=120,
                              cwd=self.platform.path("tmp"))
        return done.returncode, done.stdout + done.stderr

    def by_hand(self, tgz):
        """Two tools and nothing of ours but the layout: sha256sum -c, and openssl over the DSSE bytes."""
        directory = self.platform.path("tmp", "hand")
        subprocess.run(["rm", "-rf", directory], check=True)
        os.mkdir(directory)
        subprocess.run(["tar", "-xzf", self.put(tgz), "-C", directory], check=True)
        for name in ("manifest-sha256.txt", "tagmanifest-sha256.txt"):
            if subprocess.run(["sha256sum", "-c", "--quiet", "--strict", name], cwd=directory, capture_output=True).returncode != 0:
                return False
        files = unpack(tgz)
        envelope = json.loads(files["attest/seal.dsse.json"])
        if base64.b64decode(envelope["payload"]) != files["evidence/seal.json"]:
            return False
        good = False
        for s in envelope["signatures"]:
            for name, data in (("pae", pae(files["evidence/seal.json"])), ("sig", base64.b64decode(s["sig"]))):
                with open(directory + "/" + name, "wb") as f:
                    f.write(data)
            good |= subprocess.run(["openssl", "dgst", "-sha256", "-verify", self.platform.key_path(), "-signature", directory + "/sig", directory + "/pae"],
                                   capture_output=True).returncode == 0
        return good

    def api(self, tgz):
        reply = self.client.post("/evidence/verify", tgz, headers={"content-type": "application/gzip"})
        assert reply.status in (200, 400, 413, 422), reply
        return reply.status == 200 and reply["result"] == "pass", reply.text

    def dimensions(self, tgz, trust=None, *options):
        """The dimensions that fail, where everything is trusted that this installation has keys for."""
        return self.dimensions_that("FAIL", tgz, trust, *options)

    def dimensions_that(self, outcome, tgz, trust=None, *options):
        done = subprocess.run([self.program, "forensic", "verify", "-o", "json", *options, "--trust", trust or self.platform.key_path(), "--trust-log", self.platform.path("keys", "log.pub"), self.put(tgz)],
                              capture_output=True, text=True, timeout=120, env={**os.environ, "STELLA_CONFIG_DIR": self.platform.path("tmp"), "HOME": self.platform.path("tmp")})
        if done.returncode == 3:
            return {"": done.stderr}
        return {d["name"]: d["reason"] for d in json.loads(done.stdout)["dimensions"] if d["outcome"] == outcome}

    def stella(self, tgz, trust=None):
        done = subprocess.run([self.program, "forensic", "verify", "--trust", trust or self.platform.key_path(), self.put(tgz)], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "STELLA_CONFIG_DIR": self.platform.path("tmp"), "HOME": self.platform.path("tmp")})
        return done.returncode, done.stdout + done.stderr


def tampered(tamper, tgz, **context):
    """What it is called, and the bundle's files after it."""
    before = unpack(tgz)
    files = tamper(dict(before), **context)
    assert files != before, tamper
    return tamper.__name__.replace("_", " "), files


def sealed_kinds(files):
    """(prefix, number, kind) of each event that the seal names."""
    said = json.loads(files["evidence/seal.json"])["predicate"]["custody"]
    for part, prefix in (("tenant", "custody/"), ("knowledge_base", "custody/kb-")):
        for n, line in enumerate(files.get(prefix + "events.jsonl", b"").splitlines()[:said.get(part, {"events": 0})["events"]]):
            yield prefix, n, json.loads(line)["kind"]


def check_events(report, v, platform, tgz, others):
    """What the seal names of the logs is there, all of it and nothing else, or every verifier refuses."""
    def refused(name, files, dimensions, by_all=True):
        bundle = pack(files)
        failing = v.dimensions(bundle)
        report.check(f"{name}: {dimensions} say so", set(dimensions) <= set(failing), failing)
        if by_all:
            code, text = v.verify_sh(bundle)
            report.check(f"{name}: verify.sh refuses", code == 1, f"exit {code}: {text}")
            report.check(f"{name}: API refuses", not v.api(bundle)[0])
            code, text = v.stella(bundle)
            report.check(f"{name}: stella refuses", code == 1, f"exit {code}: {text}")
        return failing

    for tamper, dimension in EVENT_TAMPERINGS.items():
        name, files = tampered(tamper, tgz, platform=platform, other=unpack(others["of another evaluation"]))
        refused(name, files, ("INTEGRITY", dimension))
    seen = set()
    for bundle_name, bundle in {"": tgz, **others}.items():
        if "copy" in bundle_name:
            continue
        in_this = set()
        for prefix, number, kind in sealed_kinds(unpack(bundle)):
            if bundle_name and kind in in_this:
                continue
            in_this.add(kind)
            failing = refused(f"dropped {kind} ({prefix}{number}) {bundle_name}", one_event_dropped(unpack(bundle), prefix, number), ("INTEGRITY", "COMPLETENESS", "CUSTODY"), by_all=kind not in seen)
            report.check(f"dropped {kind} ({prefix}{number}) {bundle_name}: is named", kind in failing.get("COMPLETENESS", ""), failing)
            seen.add(kind)
    report.check("each kind of event that was dropped is in the table", seen == set(DROPPED_KINDS), sorted(seen))


def check_honest(report, v, tgz, foreign):
    """As it is, and packed again by us: what is refused below is refused for what was done to it."""
    for name, bundle in (("as exported", tgz), ("packed again", pack(unpack(tgz))), ("with lists of ours", pack(mend_lists(unpack(tgz))))):
        code, text = v.verify_sh(bundle)
        report.check(f"{name}: verify.sh", code == 0, text)
        report.check(f"{name}: sha256sum and openssl", v.by_hand(bundle))
        accepted, text = v.api(bundle)
        report.check(f"{name}: API", accepted, text)
        code, text = v.stella(bundle)
        report.check(f"{name}: stella", code == 0, f"{code} {text}")
    report.check("the same leaves and root by our own arithmetic", root_of(items_of(unpack(tgz))) == unpack(tgz)["evidence/root.merkle"].decode().split()[1])
    report.check("every commitment is the hash of salt and item", all(commit_of(i) == i["commit"] for i in items_of(unpack(tgz))))
    report.check("verify.sh without a key exits 2", v.verify_sh(tgz, key="")[0] == 2)
    report.check("verify.sh with another key exits 1", v.verify_sh(tgz, key=foreign)[0] == 1)
    report.check("stella with another key does not pass", v.stella(tgz, foreign)[0] in (1, 2))


def check_chains(report, v, tgz, others):
    """Each honest bundle passes by its own chain."""
    report.check("nothing fails in the bundle as it is", v.dimensions(tgz) == {}, v.dimensions(tgz))
    for name, bundle in {"as it is": tgz, **others}.items():
        passing = v.dimensions_that("PASS", bundle)
        report.check(f"{name}: the chain is its own", {"INTEGRITY", "AUTHENTICITY", "INCLUSION", "COMPLETENESS", "CUSTODY", "KEY-STATUS"} <= set(passing),
                     (v.dimensions(bundle), v.dimensions_that("NOT-CHECKED", bundle)))


def check_logs(report, v, platform, tgz, others):
    """What is done to the log's files."""
    for tamper, dimension in LOG_TAMPERINGS.items():
        name, files = tampered(tamper, tgz, platform=platform, other=unpack(others["of another evaluation"]))
        failing = v.dimensions(pack(files))
        report.check(f"{name}: {dimension} says so", dimension in failing, failing)


def check_attestations(report, v, tgz, others):
    """What is done to the statements beside the seal."""
    for tamper, dimension in ATTEST_TAMPERINGS.items():
        name, files = tampered(tamper, tgz, other=unpack(others["of another evaluation"]))
        bundle = pack(files)
        code, text = v.verify_sh(bundle)
        report.check(f"{name}: verify.sh says that it does not look", code == 0 and "NOT CHECKED  attestations" in text and "redactions" in text, f"exit {code}: {text}")
        report.check(f"{name}: API refuses", not v.api(bundle)[0])
        code, text = v.stella(bundle)
        report.check(f"{name}: stella refuses", code == 1, f"exit {code}: {text}")
        failing = v.dimensions(bundle)
        report.check(f"{name}: {dimension} says so", dimension in failing, failing)


def check_keys(report, v, platform, tgz, stolen, both):
    """What whoever stole a key does."""
    tmp = platform.path("tmp")
    passing = json.loads(subprocess.run([v.program, "forensic", "verify", "-o", "json", "--trust", both, "--trust-log", platform.path("keys", "log.pub"), v.put(tgz)], capture_output=True, text=True,
                                        env={**os.environ, "STELLA_CONFIG_DIR": tmp, "HOME": tmp}).stdout)
    status = next(d for d in passing["dimensions"] if d["name"] == "KEY-STATUS")
    report.check("the logs alone say that the key was good", status["outcome"] == "PASS" and "entry" in status["reason"], status)
    for tamper, dimension in KEY_TAMPERINGS.items():
        name, files = tampered(tamper, tgz, key=stolen, directory=tmp)
        failing = v.dimensions(pack(files), both)
        report.check(f"{name}: {dimension} says so", dimension in failing and "AUTHENTICITY" not in failing, failing)


def check_copies(report, v, others):
    """What is done to redacted copies."""
    for tamper, dimension in COPY_TAMPERINGS.items():
        name, files = tampered(tamper, others["a copy with files withheld"], other=unpack(others["a copy with others withheld"]))
        bundle = pack(files)
        failing = v.dimensions(bundle)
        report.check(f"{name}: {dimension} says so", set(failing) == {dimension}, failing)
        said = {d["name"]: d["outcome"] for d in json.loads(v.api(bundle)[1])["dimensions"]}
        report.check(f"{name}: the API's verdict says so", said[dimension] == "FAIL", said)


def check_seal(report, v, tgz, foreign, tmp):
    """What is done to the files, up to the seal."""
    for tamper, dimension in TAMPERINGS.items():
        name, files = tampered(tamper, tgz, key=foreign, directory=tmp)
        bundle = pack(files)
        code, text = v.verify_sh(bundle)
        report.check(f"{name}: verify.sh refuses", code == 1, f"exit {code}: {text}")
        accepted, text = v.api(bundle)
        report.check(f"{name}: API refuses", not accepted, text)
        code, text = v.stella(bundle)
        report.check(f"{name}: stella refuses", code in (1, 3), f"exit {code}: {text}")
        failing = v.dimensions(bundle)
        report.check(f"{name}: {dimension} says so", dimension in failing or "" in failing, failing)


def check_archives(report, v, tgz):
    """What is no bundle, or no single one."""
    for name, bundle in (("cut in half", tgz[:len(tgz) // 2]), ("bytes after the end", tgz + b"more"), ("two gzip members", tgz + pack({"x": b""})), ("no gzip", b"x" * 1000),
                         ("a file twice", None), ("a path that leaves", pack({**unpack(tgz), "../evil": b""})), ("empty", b"")):
        if bundle is None:
            out = io.BytesIO()
            with tarfile.open(fileobj=out, mode="w:gz", format=tarfile.USTAR_FORMAT) as tar:
                for n, d in sorted(unpack(tgz).items()) + [(TARGET, unpack(tgz)[TARGET])]:
                    info = tarfile.TarInfo(n)
                    info.size = len(d)
                    tar.addfile(info, io.BytesIO(d))
            bundle = out.getvalue()
        accepted, text = v.api(bundle)
        report.check(f"{name}: API refuses", not accepted, text)
        code, text = v.stella(bundle)
        report.check(f"{name}: stella refuses", code in (1, 3), f"exit {code}: {text}")


def check_copy_in_the_originals_place(report, platform, client, tgz):
    """A redacted copy: all of it is signed by us, and it is another bundle."""
    row = platform.sql("SELECT path, id FROM evidence_bundles")[0]
    copy = client.post(f"/evidence/{row['id']}/redact?wait=60", {"withhold": ["role:trace"], "reason": "privacy"})["bundle_id"]
    stored = platform.path("objects", row["path"])
    os.chmod(stored, 0o644)
    with open(stored, "wb") as f, open(platform.path("objects", platform.sql(f"SELECT path FROM evidence_bundles WHERE id = '{copy}'")[0]["path"]), "rb") as other:
        f.write(other.read())
    seen = client.get("/evidence/" + row["id"])["verdict"]
    report.check("a copy in the place of its original: INTEGRITY says so", seen["result"] == "fail" and seen["dimensions"][0]["outcome"] == "FAIL" and "digest" in seen["dimensions"][0]["reason"], seen)
    reply = client.post("/evidence/verify", {"bundle_id": row["id"]})
    report.check("verified again: the same", reply["result"] == "fail", reply)
    report.check("it has no custody", client.get(f"/evidence/{row['id']}/custody").status >= 400)
    report.check("and is not exported", client.post(f"/evidence/{row['id']}/export", {"recipient": "x"}).status >= 400)
    with open(stored, "wb") as f:
        f.write(tgz)
    report.check("the original is good again", client.get("/evidence/" + row["id"])["verdict"]["result"] == "pass")


def check_stored(report, platform, client, tgz):
    """A superuser's change of the stored bundle is found on the next read."""
    row = platform.sql("SELECT path, id FROM evidence_bundles")[0]
    stored = platform.path("objects", row["path"])
    os.chmod(stored, 0o644)
    with open(stored, "wb") as f:
        f.write(pack(changed_file_and_lists(unpack(tgz))))
    reply = client.get("/evidence/" + row["id"])
    report.check("a changed bundle in the store is not served as good", reply.status >= 400 or reply["verdict"]["result"] != "pass", reply)
    reply = client.post(f"/evidence/{row['id']}/export", {"recipient": "x"})
    report.check("and not exported", reply.status >= 400, reply)


def check_before_a_theft(report, v, platform, client, tmp, tgz):
    """The stolen key counts for the seal of before, and for nothing that could have been signed since."""
    steal_again(platform, client, tmp)
    accepted, text = v.api(tgz)
    report.check("sealed before the theft: API", accepted, text)
    report.check("an attestation of the stolen key: API refuses", not v.api(pack(attestation_of_a_stolen_key(unpack(tgz), tmp + "/second.pem", tmp)))[0])
    _, text = v.api(pack(omission_authorised_with_a_stolen_key(unpack(tgz), tmp + "/second.pem", tmp)))
    said = next(d for d in json.loads(text)["dimensions"] if d["name"] == "COMPLETENESS")
    report.check("an omission authorised with it: COMPLETENESS says so", said["outcome"] == "FAIL" and "does not count" in said["reason"], said)


def main():
    report = Report("tamper")
    report.check("the table of the docs is this one", write_table(True), "run tests/tamper/tamper_test.py docs")
    with Platform(tenants=("acme",)) as platform:
        client, tmp = platform.client("admin"), platform.path("tmp")
        stolen, both = steal_key(platform, client, tmp)
        tgz = make_bundle(client)
        others = other_bundles(client, json.loads(unpack(tgz)["evidence/seal.json"])["predicate"]["resource_id"])
        script = tmp + "/verify.sh"
        published = subprocess.run([binary("stella"), "-q", "forensic", "verify-script"], capture_output=True).stdout
        report.check("the published verify.sh is the one in the bundle", published == unpack(tgz)["verify.sh"], "they differ")
        with open(script, "wb") as f:
            f.write(published)
        v = Verifiers(platform, client, script)
        foreign = tmp + "/foreign"
        subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", foreign + ".pem"], check=True, capture_output=True)
        subprocess.run(["openssl", "pkey", "-in", foreign + ".pem", "-pubout", "-out", foreign + ".pub"], check=True, capture_output=True)

        check_honest(report, v, tgz, foreign + ".pub")
        check_chains(report, v, tgz, others)
        check_events(report, v, platform, tgz, others)
        check_logs(report, v, platform, tgz, others)
        check_attestations(report, v, tgz, others)
        check_keys(report, v, platform, tgz, stolen, both)
        check_copies(report, v, others)
        check_seal(report, v, tgz, foreign + ".pem", tmp)
        check_archives(report, v, tgz)
        check_copy_in_the_originals_place(report, platform, client, tgz)
        check_before_a_theft(report, v, platform, client, tmp, tgz)
        check_stored(report, platform, client, tgz)
    report.end()


def write_table(check):
    """The table in docs/guarantees.md is this file's: written with `docs`, compared in every run."""
    path = os.path.join(HERE, "..", "..", "docs", "guarantees.md")
    with open(path, encoding="utf-8") as f:
        text = f.read()
    begin, end = "<!-- tampering -->\n", "<!-- end of tampering -->"
    head, rest = text.split(begin)
    new = head + begin + table() + end + rest.split(end)[1]
    if check:
        return new == text
    with open(path, "w", encoding="utf-8") as f:
        f.write(new)
    return True


if __name__ == "__main__":
    if sys.argv[1:] == ["docs"]:
        write_table(False)
    else:
        main()
