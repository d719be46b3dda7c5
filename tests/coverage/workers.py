"""Threads and background work as contracts/workers.json declares them, against what the sources start and do."""
import json
import os
import re
import subprocess

THREAD = re.compile(r'(?:start_j?thread|\bstart)\(\s*"([^"]+)"|\bThreadName\{"([^"]+)"\}|return "(otlp-[a-z]+)"')
USE = re.compile(r"contracts::work::k(\w+)")
TESTS = re.compile(r"_(?:test|bench|fuzz)\.cc$|^(?:tests|bench)/|test_\w+\.h$")
# A thread may be known by a program's own name: its main thread.
PROGRAMS = {"stellad"}


def declared(root):
    with open(os.path.join(root, "contracts", "workers.json"), encoding="utf-8") as f:
        return json.load(f)


def constant(name):
    return "".join(part.capitalize() for part in name.split("."))


def sources(root):
    """(path, text) of all product sources."""
    listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard", "*.cc", "*.h"], cwd=root, capture_output=True, text=True, check=False)
    if listed.returncode != 0:
        raise RuntimeError("the sources cannot be listed: " + listed.stderr)
    for name in listed.stdout.splitlines():
        path = os.path.join(root, name)
        if not TESTS.search(name) and not name.startswith("build/") and os.path.isfile(path):
            with open(path, encoding="utf-8") as f:
                yield name, f.read()


def problems(doc, files):
    """What does not fit: one sentence each."""
    started, used = {}, {}
    for name, text in files:
        for match in THREAD.finditer(text):
            started.setdefault(next(m for m in match.groups() if m), name)
        for match in USE.finditer(text):
            used.setdefault(match[1], name)
    threads = {row["name"]: row for row in doc["threads"]}
    work = {constant(row["name"]): row["name"] for row in doc["work"]}
    out = [f"{where} starts the thread {name}, of which workers.json does not say whose work it does" for name, where in started.items() if name not in threads]
    out += [f"workers.json names the thread {name}, which nobody starts" for name in threads if name not in started and name not in PROGRAMS]
    out += [f"{name} has no root span: nothing in the sources is contracts::work::k{k}" for k, name in work.items() if k not in used]
    on = {name for row in doc["threads"] for name in row["work"]}
    out += [f"{name} runs on no thread" for name in work.values() if name not in on]
    out += [f"the thread {row['name']} works on its own, and no work of it is named" for row in doc["threads"] if row["for"] == "background" and not row["work"]]
    return out
