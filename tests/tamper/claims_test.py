#!/usr/bin/env python3
"""report.html of a bundle prints claims, each with the command that checks it: here every one is run as it is printed, on a bundle of each kind, by
somebody who has nothing but the keys and a checkpoint that was kept. A claim whose command fails must not be printed."""
import html
import json
import os
import re
import shutil
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform"), HERE]
from report import Report  # noqa: E402
from stella_platform import SAMPLES, Platform, binary  # noqa: E402
from bundle_files import make_bundle, other_bundles, unpack  # noqa: E402

ROW = re.compile(r"<tr><td>(.*?)</td><td><code>(.*?)</code></td><td class=\"soft\">(.*?)</td></tr>")
PROOF = re.compile(r"stella timeline proof --from (\d+|SIZE) --to (\d+|SIZE) --out PROOF\.json")
# How often each kind of bundle says that it can be replayed: its own, or that of a bundle inside.
REPLAYS = {"of a job": 0, "of an export": 0}


def claims_of(files):
    page = files["report.html"].decode()
    return [tuple(html.unescape(cell) for cell in row) for row in ROW.findall(page[page.index("Do not believe this page"):])]


class Reader:
    """Whoever was given a bundle. `nobody`: without anything that a login would have left."""

    def __init__(self, platform):
        self.dir, self.platform = platform.path("tmp", "reader"), platform
        for name in ("", "nobody", "user"):
            os.mkdir(os.path.join(self.dir, name))
        shutil.copy(platform.key_path(), self.path("KEY.pub"))
        shutil.copy(platform.path("keys", "log.pub"), self.path("LOG.pub"))
        self.run("stella -q login -u admin", "user")
        with open(self.path("verify.sh"), "w") as f:
            f.write(self.run("stella -q forensic verify-script")[1])

    def path(self, name):
        return os.path.join(self.dir, name)

    def run(self, command, who="nobody"):
        env = {"PATH": os.path.dirname(binary("stella")) + ":" + os.environ["PATH"], "HOME": self.path(who), "STELLA_CONFIG_DIR": self.path(who)}
        if who == "user":
            env.update(STELLA_URL=self.platform.url, STELLA_PASSWORD=self.platform.passwords["admin"])
        done = subprocess.run(["sh", "-c", command], cwd=self.dir, env=env, capture_output=True, text=True, timeout=180)
        return done.returncode, done.stdout, done.stderr

    def take(self, tgz):
        for name in ("PROOF.json", "evaluation.tgz"):
            if os.path.exists(self.path(name)):
                os.remove(self.path(name))
        with open(self.path("bundle.tgz"), "wb") as f:
            f.write(tgz)


def check_bundle(report, reader, name, tgz):
    files = unpack(tgz)
    claims = claims_of(files)
    report.check(f"{name}: claims are printed", len(claims) >= 6, claims)
    kind = json.loads(files["evidence/seal.json"])["predicate"]["kind"]
    replays = sum("forensic replay" in command for _, command, _ in claims)
    report.check(f"{name}: says that it can be replayed where it can", replays == REPLAYS.get(name, 1), (kind, replays))
    report.check(f"{name}: no claim of a time that nobody stamped", not any("TIME" in command for _, command, _ in claims), claims)
    reader.take(tgz)

    # The proof of consistency, by the command that the page names, and by the one that the verdict names.
    size = lambda note: int(note.split("\n")[1])
    with open(reader.path("CHECKPOINT")) as f:
        sizes = sorted((size(f.read()), size(files["custody/checkpoint"].decode())))
    consistency = next(c for c in claims if "CONSISTENCY" in c[1])
    printed = PROOF.search(consistency[2])
    report.check(f"{name}: the page says where the proof comes from", printed is not None, consistency)
    code, _, err = reader.run(printed.group(0).replace("SIZE", str(sizes[0]), 1).replace("SIZE", str(sizes[1])), "user")
    report.check(f"{name}: the proof is fetched as printed", code == 0, err)

    for claim, command, rests_on in claims:
        code, out, err = reader.run(command)
        withheld = "as long as no input and no output is withheld" in rests_on and "withheld" in err
        report.check(f"{name}: {claim} ({command})", code == 0 or (withheld and "copy" in name and code == 2), f"exit {code}: {out}{err}")

    if sizes[0] != sizes[1]:
        os.remove(reader.path("PROOF.json"))
        verify = "stella forensic verify bundle.tgz --trust KEY.pub --trust-log LOG.pub --checkpoint CHECKPOINT --require CONSISTENCY"
        code, out, _ = reader.run(verify)
        hint = PROOF.search(out)
        report.check(f"{name}: the verdict names the command that gets the proof", code == 2 and hint is not None and "--consistency PROOF.json" in out, out)
        code, _, err = reader.run(hint.group(0), "user")
        report.check(f"{name}: which does", code == 0, err)
        code, out, _ = reader.run(verify + " --consistency PROOF.json")
        report.check(f"{name}: and the verdict passes with it", code == 0, out)


def main():
    report = Report("claims")
    with Platform(tenants=("acme",)) as platform:
        client = platform.client("admin")
        first = make_bundle(client)
        reader = Reader(platform)
        code, _, err = reader.run("stella timeline checkpoint --out CHECKPOINT", "user")
        report.check("a checkpoint is kept", code == 0, err)
        with open(SAMPLES + "/policy.yaml", "rb") as f:  # the log grows, so that sizes differ
            client.post("/policies", f.read() + b"\n# later\n")
        bundles = {"of an evaluation": first, **other_bundles(client, json.loads(unpack(first)["evidence/seal.json"])["predicate"]["resource_id"])}
        for name, tgz in bundles.items():
            check_bundle(report, reader, name, tgz)
    report.end()


if __name__ == "__main__":
    main()
