#!/usr/bin/env python3
"""A whole log as a CASE/UCO graph: case_validate (with its own ontology) calls it conformant, the program verifies it offline against the signed
checkpoint, and finds what somebody changes in it."""
import json
import os
import pathlib
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", part) for part in ("platform", "tamper", "keys", "telemetry")]

import otlp_python  # noqa: E402
from keys_test import decided  # noqa: E402
from report import Report  # noqa: E402
from stella_platform import Platform  # noqa: E402
from timeline_tamper_test import Log  # noqa: E402


def judge(report, file):
    python, trouble = otlp_python.interpreter(pathlib.Path(HERE, "requirements.txt"), "case")
    if python is None:
        return report.skip("case_validate", trouble)
    validate = [os.path.join(os.path.dirname(python), "case_validate"), "--built-version", "case-1.4.0"]
    done = subprocess.run([*validate, file], capture_output=True, text=True, check=False)
    report.check("case_validate calls the graph conformant", done.returncode == 0 and "Conforms: True" in done.stdout, (done.stdout + done.stderr)[:1500])
    wrong = file + ".wrong.jsonld"
    with open(file, encoding="utf-8") as f, open(wrong, "w", encoding="utf-8") as out:
        out.write(f.read().replace('"uco-types:hashMethod":"SHA256",', ""))
    done = subprocess.run([*validate, wrong], capture_output=True, text=True, check=False)
    return report.check("and not one without the method of a hash", done.returncode != 0 and "Conforms: False" in done.stdout, done.stdout[:500])


def changed(file, change):
    """A copy of the graph whose lines went through `change`."""
    name = file + ".changed.jsonld"
    with open(file, encoding="utf-8") as f, open(name, "w", encoding="utf-8") as out:
        out.writelines(change(f.readlines()))
    return name


def is_record(line):
    return '"@type":"uco-observable:EventRecord"' in line


def swap(lines):
    first, second = [i for i, line in enumerate(lines) if is_record(line)][3:5]
    lines[first], lines[second] = lines[second], lines[first]
    return lines


CASES = [
    ("a record's bytes are changed", lambda lines: [line.replace("policy.activated", "policy.deactivated") if is_record(line) else line for line in lines], "FAIL"),
    ("a kind that other tools read is changed", lambda lines: [line.replace('eventType":"policy.activated"', 'eventType":"policy.published"') for line in lines], "INVALID"),
    ("a performer is changed", lambda lines: [line.replace('"uco-core:name":"system:', '"uco-core:name":"user:') for line in lines], "the nodes of an entry"),
    ("a record is left out", lambda lines: [line for i, line in enumerate(lines) if not (is_record(line) and '\\"policy.activated\\"' in line)], "INVALID"),
    ("two records change places", swap, "INVALID"),
    ("the checkpoint is left out", lambda lines: [line for line in lines if "kb:Checkpoint-" not in line], "the end with the checkpoint"),
    ("the checkpoint is changed", lambda lines: [line.replace("dataPayload\":\"stellaops", "dataPayload\":\"stellaopz") for line in lines], ""),
]


def main():
    report = Report("case")
    with Platform(tenants=("acme",)) as platform:
        decided(platform.client("admin"))
        log = Log(platform, platform.path("tmp"))
        size = log.signed()
        file = platform.path("tmp", "log.jsonld")
        code, text = log.stella("timeline", "export", "--trust", log.trust, "--format", "case", "--out", file)
        report.check("a log is exported as a graph", code == 0, text)
        with open(file, encoding="utf-8") as f:
            graph = json.load(f)["@graph"]
        kinds = [node["@type"] for node in graph]
        report.check("with a record and an action for each entry", kinds.count("uco-observable:EventRecord") == kinds.count("case-investigation:InvestigativeAction") == size, (size, kinds))
        code, text = log.stella("timeline", "verify", "--trust", log.trust, "--file", file)
        report.check("the program verifies it without a server", code == 0 and "lead to the signed root" in text, text)
        for name, change, words in CASES:
            code, text = log.stella("timeline", "verify", "--trust", log.trust, "--file", changed(file, change))
            report.check(f"{name}: found", code != 0 and words in text, f"{code} {text}")
        code, text = log.stella("timeline", "export", "--format", "xml", "--out", file + ".xml")
        report.check("an unknown format is refused", code != 0 and "ndjson or case" in text, text)
        judge(report, file)
    report.end()


if __name__ == "__main__":
    main()
