#!/usr/bin/env python3
"""Statements and seals of this product before cosign, and the Python packages securesystemslib, in-toto-attestation and sigstore.

    judges.py ATTEST_TOOL

A judge that cannot be had is one skip, said in plain words; the others go on. The packages judge in an interpreter of their own (python_judge.py)."""
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(ROOT / "tests/telemetry"))
import otlp_python  # noqa: E402

KINDS = {  # name: (predicate type, the file that it is about)
    "provenance": ("https://slsa.dev/provenance/v1", "decision.json"),
    "vsa": ("https://slsa.dev/verification_summary/v1", "sbom.json"),
    "svr": ("https://in-toto.io/attestation/svr/v0.2", "sbom.json"),
    "vulns": ("https://in-toto.io/attestation/vulns/v0.2", "sbom.json"),
}


class Count:
    def __init__(self):
        self.passed = self.failed = self.skipped = 0

    def check(self, what, good, detail=""):
        if good:
            self.passed += 1
            print(f"ok    {what}")
        else:
            self.failed += 1
            print(f"FAIL  {what}: {detail}")

    def skip(self, what, why):
        self.skipped += 1
        print(f"skip  {what}: {why}")


BUILD_SECONDS = 1500  # 3 to 10 minutes, once: then it lies in the cache of tools/toolchain


def cosign_program():
    """The program and "", or None and why not."""
    if "COSIGN" in os.environ:
        return os.environ["COSIGN"], ""
    try:
        built = subprocess.run([ROOT / "tools/build-cosign"], capture_output=True, text=True, check=False, timeout=BUILD_SECONDS)
    except subprocess.TimeoutExpired:
        return None, f"it was not built within {BUILD_SECONDS} s: run tools/build-cosign once, or set COSIGN to a program that is here"
    if built.returncode == 0:
        return built.stdout.strip().splitlines()[-1], ""
    return None, "it could not be built (set COSIGN to a program that is here): " + " ".join(built.stderr.split())[-300:]


def judge_with_cosign(count, directory):
    program, why = cosign_program()
    if program is None:
        return count.skip("cosign", why)

    def accepts(bundle, kind, file, key="KEY.pub"):
        done = subprocess.run([program, "verify-blob-attestation", "--insecure-ignore-tlog=true", "--key", key, "--bundle", bundle, "--type", kind, file],
                              cwd=directory, env={**os.environ, "HOME": str(directory)}, capture_output=True, text=True, check=False)
        return done.returncode == 0 and "Verified OK" in done.stderr + done.stdout, done.stderr[-400:]

    seal = next((directory / "bundle/attest").glob("seal.*.sigstore.json"))
    rows = [(name, f"{name}.sigstore.json", kind, file) for name, (kind, file) in KINDS.items()]
    rows.append(("seal", str(seal), "https://stellaops.dev/evidence-seal/v1", "bundle/evidence/root.merkle"))
    for name, bundle, kind, file in rows:
        good, said = accepts(bundle, kind, file)
        count.check(f"cosign accepts {name}", good, said)
        wrong = "sbom.json" if file != "sbom.json" else "decision.json"
        count.check(f"cosign refuses {name} for another file", not accepts(bundle, kind, wrong)[0])
        count.check(f"cosign refuses {name} by another key", not accepts(bundle, kind, file, "other.pub")[0])
        count.check(f"cosign refuses {name} as another type", not accepts(bundle, "https://example.com/other/v1", file)[0])
    return None


def judge_with_python(count, directory):
    python, trouble = otlp_python.interpreter(HERE / "requirements.txt", "attest")
    if python is None:
        return count.skip("in-toto-attestation, securesystemslib, sigstore", trouble)
    done = subprocess.run([python, HERE / "python_judge.py", directory], capture_output=True, text=True, check=False)
    lines = [line for line in done.stdout.splitlines() if line.startswith(("ok    ", "FAIL  "))]
    for line in lines:
        count.check(line[6:], line.startswith("ok"), "")
    count.check("the packages judged to the end", done.returncode == 0 and lines, done.stderr[-1500:])
    return None


def main():
    count = Count()
    with tempfile.TemporaryDirectory(prefix="stella-judges-") as name:
        directory = pathlib.Path(name)
        subprocess.run([sys.argv[1], name], check=True)
        (directory / "bundle").mkdir()
        subprocess.run(["tar", "-xzf", directory / "bundle.tgz", "-C", directory / "bundle"], check=True)
        judge_with_cosign(count, directory)
        judge_with_python(count, directory)
    print(f"{count.passed} passed, {count.failed} failed, {count.skipped} skipped")
    return 1 if count.failed else 0


if __name__ == "__main__":
    sys.exit(main())
