#!/usr/bin/env python3
"""Bundles as BagIt bags: the Python package bagit calls every kind valid and what somebody damaged invalid; and the Library of Congress's conformance
suite (../shared/vectors/bagit) against `stella forensic verify`: what is wrong with a bag of the suite is wrong with a bundle too."""
import csv
import hashlib
import io
import json
import os
import pathlib
import subprocess
import sys
import tarfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", part) for part in ("platform", "keys", "tamper", "telemetry")]

import otlp_python  # noqa: E402
from bundle_files import unpack  # noqa: E402
from keys_test import decided  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import Platform, binary, shared  # noqa: E402

MANIFEST, TAGS = "manifest-sha256.txt", "tagmanifest-sha256.txt"


def pack(files, path):
    with tarfile.open(path, "w:gz", format=tarfile.USTAR_FORMAT) as tar:
        for name, data in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))


def lay_out(files, directory):
    for name, data in files.items():
        path = pathlib.Path(directory, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def with_tag(files, name, data):
    """Another tag file, and its line in the tag manifest: the only fault left is the file itself."""
    out = {**files, name: data}
    lines = [line for line in out[TAGS].decode().splitlines() if not line.endswith("  " + name)]
    lines.append(hashlib.sha256(data).hexdigest() + "  " + name)
    return {**out, TAGS: "".join(line + "\n" for line in lines).encode()}


def without(files, name):
    return {n: data for n, data in files.items() if n != name}


def line_in_manifest(files, path):
    return with_tag(files, MANIFEST, files[MANIFEST] + b"0" * 64 + b"  " + path + b"\n")


def lines_of_manifest(files, change):
    return with_tag(files, MANIFEST, b"".join(change(files[MANIFEST].splitlines(keepends=True))))


def fetches(files, bag):
    """RFC 8493's fetch.txt is no part of a bundle: everything that was sealed is inside."""
    return with_tag(files, "fetch.txt", bag["fetch.txt"])


# What is wrong with a bag of the suite, done to a bundle: (bundle, bag of the suite) -> bundle.
TRANSPOSED = {
    "v0.97/invalid/baginfo-missing-encoding": lambda b, _: with_tag(b, "bagit.txt", b"BagIt-Version: 1.0\n"),
    "v0.97/invalid/bom-in-bagit.txt": lambda b, _: with_tag(b, "bagit.txt", b"\xef\xbb\xbf" + b["bagit.txt"]),
    "v0.97/invalid/extra-file-in-bag": lambda b, bag: {**b, "data/bar": bag["data/bar"]},
    "v0.97/invalid/missing-baginfo": lambda b, _: without(b, "bag-info.txt"),
    "v0.97/invalid/missing-bagit.txt": lambda b, _: without(b, "bagit.txt"),
    "v0.97/invalid/out-of-scope-file-paths-using-dot-notation-for-fetch": fetches,
    "v0.97/linux-only/out-of-scope-file-paths-using-absolute-path-for-fetch": fetches,
    "v0.97/linux-only/out-of-scope-file-paths-using-shortcut": lambda b, _: line_in_manifest(b, b"~/foo"),
    "v0.97/linux-only/out-of-scope-file-paths-using-shortcut-username-for-fetch": fetches,
    "v0.97/windows-only/out-of-scope-file-paths-using-absolute-path-for-fetch": fetches,
    "v0.97/windows-only/out-of-scope-file-paths-using-shortcut-for-fetch": fetches,
    "v0.97/windows-only/out-of-scope-file-paths-using-unc": lambda b, _: line_in_manifest(b, rb"\\?\UNC\server\Windows\System32\setx.exe"),
    "v1.0/invalid/bagit-with-invalid-whitespace": lambda b, bag: with_tag(b, "bagit.txt", bag["bagit.txt"]),
    "v1.0/invalid/notAllManifestsListAllFiles": lambda b, _: lines_of_manifest(b, lambda lines: lines[1:]),
    "v0.97/valid/holey-bag": fetches,
    "v0.97/valid/ISO-8859-1-encoded-tag-files": lambda b, bag: with_tag(b, "bagit.txt", bag["bagit.txt"].replace(b"0.97", b"1.0")),
    "v0.97/valid/UTF-16-encoded-tag-files": lambda b, bag: with_tag(b, "bagit.txt", bag["bagit.txt"].replace(b"0.97", b"1.0")),
    "v0.97/warning/made-with-md5sum-tools": lambda b, _: lines_of_manifest(b, lambda lines: [line.replace(b"  ", b" *", 1) for line in lines]),
    "v0.97/warning/same-filename-listed-twice-with-different-normalization": lambda b, _: line_in_manifest(b, "data/N\u00fa\u00f1ez".encode()),
    "v0.97/warning/same-filename-listed-twice-with-the-same-hash": lambda b, _: lines_of_manifest(b, lambda lines: [lines[0], *lines]),
    "v0.97/valid/duplicate-metadata-entries": lambda b, _: with_tag(b, "bag-info.txt", b["bag-info.txt"] + b["bag-info.txt"].splitlines(keepends=True)[0]),
}
# Bags that the suite calls valid, also with a warning, and that a bundle must not be like: docs/forensics/evidence-locker.md says why.
STRICTER = {"v0.97/valid/holey-bag", "v0.97/valid/ISO-8859-1-encoded-tag-files", "v0.97/valid/UTF-16-encoded-tag-files", "v0.97/warning/made-with-md5sum-tools",
            "v0.97/warning/same-filename-listed-twice-with-different-normalization", "v0.97/warning/same-filename-listed-twice-with-the-same-hash"}
# Bags that are valid for what a bundle has too: nothing is there to be transposed.
LIKE_OURS = {"v0.97/valid/bag-in-a-bag", "v0.97/valid/minimal-bag", "v1.0/valid/basicBag"}


class Program:
    def __init__(self, platform):
        self.platform = platform

    def verify(self, files, *options):
        path = self.platform.path("tmp", "bag.tgz")
        pack(files, path)
        return subprocess.run([binary("stella"), "forensic", "verify", "-o", "json", *options, "--trust", self.platform.key_path(), path], capture_output=True, text=True, timeout=120,
                              env={**os.environ, "STELLA_CONFIG_DIR": self.platform.path("tmp"), "HOME": self.platform.path("tmp")})

    def passes(self, files):
        return self.verify(files, "--trust-log", self.platform.path("keys", "log.pub"), "--require", "CUSTODY,INCLUSION,KEY-STATUS").returncode == 0

    def integrity(self, files):
        """Outcome and reason of INTEGRITY; where it is no bundle at all "refused" and what was said."""
        done = self.verify(files)
        if done.returncode not in (0, 1, 2):
            return "refused", f"{done.returncode}: {done.stderr}"
        row = next(d for d in json.loads(done.stdout)["dimensions"] if d["name"] == "INTEGRITY")
        return row["outcome"], row["reason"]


def bundles(client):
    """One of every kind, and one with another inside."""
    evaluation, _ = decided(client)
    export = client.post("/exports?wait=60", {"evaluation_id": evaluation, "format": "json"})["export_id"]
    wanted = {"eval": {"kind": "eval", "resource_id": evaluation}, "job": {"kind": "job", "resource_id": client.get(f"/evaluations/{evaluation}")["jobs"]["evaluate"]},
              "export": {"kind": "export", "resource_id": export}, "export with its evaluation": {"kind": "export", "resource_id": export, "embed_evaluation": True}}
    out = {}
    for name, request in wanted.items():
        made = client.post("/evidence/snapshot?wait=60", {"case_id": "CASE-1", **request})
        assert made["state"] == "sealed", made
        out[name] = unpack(client.post(f"/evidence/{made['bundle_id']}/export", {"recipient": "bag test"}).body)
    return out


def judged_by_bagit(report, directory, made):
    python, trouble = otlp_python.interpreter(pathlib.Path(HERE, "requirements-bagit.txt"), "bagit")
    if python is None:
        return report.skip("bagit", trouble)

    def valid(name, files):
        place = os.path.join(directory, name)
        lay_out(files, place)
        done = subprocess.run([python, "-W", "ignore", "-m", "bagit", "--validate", place], capture_output=True, text=True, check=False)
        return done.returncode == 0 and "is valid" in done.stderr, done.stderr[-800:]

    for kind, files in made.items():
        good, said = valid(kind, files)
        report.check(f"bagit calls a bundle valid: {kind}", good, said)
        payload = max(name for name in files if name.startswith("data/") and files[name])
        damaged = {
            "a payload file with another byte": {**files, payload: bytes([files[payload][0] ^ 1]) + files[payload][1:]},
            "a payload file less": without(files, payload),
            "a payload file more": {**files, "data/more": b"more"},
            "a seal with another byte": {**files, "evidence/seal.json": b"[" + files["evidence/seal.json"][1:]},
            "no bagit.txt": without(files, "bagit.txt"),
        }
        for what, bag in damaged.items():
            good, said = valid(f"{kind} {what}", bag)
            report.check(f"bagit calls one invalid: {kind}, {what}", not good and "Traceback" not in said, said)
    return None


def suite(report, program, bundle):
    path = shared("vectors/bagit")
    if not path:
        return report.skip("the conformance suite of bags", "../shared/vectors/bagit is not here")
    with open(os.path.join(path, "expected.tsv"), encoding="utf-8") as f:
        rows = {row["bag"]: row["verdict"] for row in csv.DictReader(f, delimiter="\t")}
    report.check("every bag of the suite has its case here", set(rows) == set(TRANSPOSED) | LIKE_OURS, sorted(set(rows) ^ (set(TRANSPOSED) | LIKE_OURS)))
    for name, verdict in rows.items():
        root = pathlib.Path(path, name)
        bag = {str(p.relative_to(root)): p.read_bytes() for p in root.rglob("*") if p.is_file()}
        outcome, said = program.integrity(bag)
        report.check(f"no bundle, whatever bag it is: {name}", outcome in ("FAIL", "refused"), said)
        if name not in TRANSPOSED:
            continue
        accepted = verdict.startswith("valid") and name not in STRICTER
        outcome, said = program.integrity(TRANSPOSED[name](bundle, bag))
        report.check(f"a bundle {'like' if accepted else 'with the fault of'} {name}", outcome == "PASS" if accepted else outcome in ("FAIL", "refused"), f"{outcome} {said}")
    return None


def main():
    report = Report("bags")
    with Platform(tenants=("acme",)) as platform:
        made = bundles(platform.client("admin"))
        program = Program(platform)
        for kind, files in made.items():
            report.check(f"who made what is in a bundle can be asked offline: {kind}", "attest/provenance.sigstore.json" in files and program.passes(files), sorted(n for n in files if n.startswith("attest/")))
        outcome, said = program.integrity(made["eval"])
        report.check("a bundle packed again is whole: what is refused below is refused for its fault", outcome == "PASS", said)
        judged_by_bagit(report, platform.path("tmp", "bags"), made)
        suite(report, program, made["eval"])
    report.end()


if __name__ == "__main__":
    main()
