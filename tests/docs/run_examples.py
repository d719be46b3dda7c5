#!/usr/bin/env python3
"""The documentation is true: every page has its banner, its links lead somewhere, its diagrams have a known form, and every `sh` block under
`<!-- run -->` works as written.

  tests/docs/run_examples.py [PAGE.md …]      all pages by default

A page's blocks run in order in one bash (`set -e`), in an empty directory with `samples/`, as a user who has just run `make up`: STELLA_URL,
STELLA_USERNAME and STELLA_PASSWORD are set, `stella login` has been run, and the sample chain has gone through once. `<!-- run fails N -->`:
the block must end with exit code N. `<!-- run until shown -->`: a block that only reads, run again for as long as what it shows is on its way to the
timeline. A following ```text block under `<!-- shows -->` holds lines that the output must contain, `…` standing
for anything.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests", "platform")]

from report import Report  # noqa: E402
from stella_platform import OPERATORS, SAMPLES, Platform, binary  # noqa: E402

BANNER = "> **Imposed rule:** Work of this type or tasks of this type on this component must also be applied everywhere else it should be applied."
DIAGRAMS = ("flowchart", "sequenceDiagram", "stateDiagram-v2", "erDiagram", "classDiagram")
SETUP = """
stella login -q
stella advisory ingest --global samples/advisories -q
stella vex ingest samples/vex.openvex.json -q
stella policy activate "$(stella policy publish samples/policy.yaml -o json -q | jq -r .policy_version)" -q
stella evaluate --sbom "$(stella sbom ingest samples/sbom.cdx.json -o json -q | jq -r .sbom_id)" -q
"""


def blocks(text):
    """(what the comment above says, language, first line, body) of every fenced block."""
    out, lines, at = [], text.splitlines(), 0
    while at < len(lines):
        fence = re.match(r"```(\w*)\s*$", lines[at])
        if fence:
            begin = at + 1
            at += 1
            while at < len(lines) and lines[at].rstrip() != "```":
                at += 1
            above = next((l.strip() for l in reversed(lines[:begin - 1]) if l.strip()), "")
            comment = re.fullmatch(r"<!-- (.+) -->", above)
            out.append((comment[1] if comment else "", fence[1], begin, "\n".join(lines[begin:at])))
        at += 1
    return out


def anchor(heading):
    return re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-")


def check_page(report, page, text):
    name = os.path.relpath(page, ROOT)
    # Decisions (docs/adr) are short records of their own form, without it.
    if not name.startswith("docs/adr/"):
        report.check(f"{name}: banner", text.startswith(BANNER + "\n"), "the page does not begin with the imposed rule")
    for target, fragment in re.findall(r"\]\((?!https?:)([^)#\s]*)(#[^)\s]+)?\)", re.sub(r"```.*?```", "", text, flags=re.S)):
        path = os.path.normpath(os.path.join(os.path.dirname(page), target)) if target else page
        if not os.path.exists(path):
            report.fail(f"{name}: link {target}", "leads nowhere")
        elif fragment and path.endswith(".md"):
            with open(path, encoding="utf-8") as f:
                headings = {anchor(h) for h in re.findall(r"^#+ (.+)$", f.read(), re.M)}
            if fragment[1:] not in headings:
                report.fail(f"{name}: link {target}{fragment}", f"no such heading; there are {sorted(headings)}")
    for _, language, line, body in blocks(text):
        if language == "mermaid":
            first = body.strip().split()[0] if body.strip() else ""
            report.check(f"{name}:{line}: diagram", first in DIAGRAMS and body.count("[") == body.count("]") and body.count("(") == body.count(")"),
                         f"begins with {first!r}, or brackets do not pair")


def examples(text):
    """[(line, command, exit code, seconds to try, [lines that its output shows])]"""
    out = []
    for comment, language, line, body in blocks(text):
        if language == "sh" and (comment in ("run", "run until shown") or comment.startswith("run fails ")):
            out.append((line, body, int(comment.split()[-1]) if "fails" in comment else 0, 30 if "until" in comment else 0, []))
        elif comment == "shows" and out:
            out[-1][4].extend(l for l in body.splitlines() if l.strip())
        elif comment in ("run", "shows") or comment.startswith("run "):
            out.append((line, "", -1, 0, []))
    return out


def shown(pattern, output):
    parts = [re.escape(part) for part in re.split(r"\s*…\s*", " ".join(pattern.split()))]
    return re.search(".*".join(parts), output) is not None


def run_page(report, page, text, environment):
    name = os.path.relpath(page, ROOT)
    todo = examples(text)
    if not todo:
        return
    with tempfile.TemporaryDirectory(prefix="stella-docs-") as directory:
        os.symlink(SAMPLES, os.path.join(directory, "samples"))
        state = os.path.join(directory, ".state")
        for line, command, expected, seconds, wanted in todo:
            # Each block in a bash of its own, with the variables of the one before: so that the exit code of each is known.
            script = f"[ -f {state} ] && . {state}\nset -eo pipefail\ntrap 'code=$?; declare -p | grep -v -- \"^declare -[a-zA-Z]*[rxaA]\" > {state}; exit $code' EXIT\n{command}\n"
            deadline = time.monotonic() + seconds
            while True:
                try:
                    done = subprocess.run(["bash", "-c", script], cwd=directory, env=environment, capture_output=True, text=True, timeout=180, stdin=subprocess.DEVNULL)
                except subprocess.TimeoutExpired:
                    report.fail(f"{name}:{line}", "does not end")
                    return
                output = "\n".join(" ".join(l.split()) for l in (done.stdout + done.stderr).splitlines())
                missing = [w for w in wanted if not shown(w, output)]
                if done.returncode != expected or not missing or time.monotonic() > deadline:
                    break
                time.sleep(0.2)
            if done.returncode != expected:
                report.fail(f"{name}:{line}", f"exit code {done.returncode}, expected {expected}: {command!r}: {done.stdout[-600:]} {done.stderr[-900:]}")
                return
            report.check(f"{name}:{line}", not missing, f"the output does not show {missing}: {output[:1500]}")


def main():
    report = Report("docs")
    pages = [os.path.abspath(p) for p in sys.argv[1:]] or sorted(glob.glob(os.path.join(ROOT, "docs", "**", "*.md"), recursive=True))
    texts = {}
    for page in pages:
        with open(page, encoding="utf-8") as f:
            texts[page] = f.read()
        check_page(report, page, texts[page])
    missing = [n for n in ("stella", "stellad", "stella-runner") if binary(n, required=False) is None] + [n for n in ("jq", "curl", "bash") if shutil.which(n) is None]
    if missing:
        report.skip("examples", "not there: " + ", ".join(missing))
        report.end()
    OPERATORS["acme"] = ["admin", "grace"]
    with Platform(tenants=("acme",)) as p, tempfile.TemporaryDirectory(prefix="stella-docs-") as home:
        environment = {"PATH": os.path.dirname(binary("stella")) + ":" + os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8", "NO_COLOR": "1",
                       "STELLA_URL": p.url, "STELLA_USERNAME": "admin", "STELLA_PASSWORD": p.passwords["admin"]}
        os.symlink(SAMPLES, os.path.join(home, "samples"))
        with open(os.path.join(home, "grace.secret"), "w", encoding="utf-8") as f:
            f.write(p.passwords["grace"])
        setup = subprocess.run(["bash", "-ec", SETUP], cwd=home, env=environment, capture_output=True, text=True, timeout=180)
        if report.check("setup: what `make up` leaves", setup.returncode == 0, setup.stdout + setup.stderr):
            for page in pages:
                run_page(report, page, texts[page], environment)
    report.end()


if __name__ == "__main__":
    main()
