#!/usr/bin/env python3
"""Runs scenario files: steps of HTTP or CLI with expected reply and expected timeline rows, against a private platform.

  tests/scenario/run.py [FILE.json …]        all of them by default; needs-files in "needs" that are absent skip the scenario

A scenario (JSON; lines that start with // are comments):
  {"name", "fresh": true (a platform of its own), "needs": ["shared:data/…", "cli"], "services": {"reader": {"of": "admin", "scopes": ["sbom:read"]}}, "steps": [step…]}
A step is one of
  {"do": "POST /sboms?wait=60", "as": "admin", "headers", BODY, "status": 201, "expect": PATTERN, "expect_headers": {…}, "save": {"var": "path.in.reply"},
   "timeline": [kinds or patterns, exactly these rows of the reply's trace, in log order]}
     BODY: "json" | "text" | "hex" | "file" (in the tree, or shared:…) | "tar" (directory) | "documents": {name: text} | "make": generator of inputs.py
  {"cli": ["evaluate", "--sbom", "${sbom}"], "as": "admin", "exit": 0, "stdout": PATTERN, "save"}   (stdout is parsed where it is JSON)
  {"sql": "SELECT …", "expect": PATTERN}
  {"check": "function of checks.py", "with": {…}}
  {"part": "kill runner"} ("start runner", "restart postgresql", "wait ready")
PATTERN: objects match as subsets, arrays item by item (["…", x, y]: each of x, y matches some item), "~regex" by regular expression, "*" anything but
null, {"$min": n}, {"$len": n}, {"$not": PATTERN}, {"$has": "text"}; "${var}" anywhere is a saved variable, "${a.b}" a path into one.
"""
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "platform"), HERE]
import checks  # noqa: E402
import inputs  # noqa: E402
from client import tar_of  # noqa: E402
from report import Report, Skip  # noqa: E402
from stella_platform import ROOT, Platform, binary, shared  # noqa: E402


def pick(value, path):
    """"a.b.0.c" into objects and arrays; "" is the whole."""
    for part in path.split(".") if path else []:
        value = value[int(part)] if isinstance(value, list) else value[part]
    return value


def fill(value, variables):
    if isinstance(value, dict):
        return {fill(k, variables): fill(v, variables) for k, v in value.items()}
    if isinstance(value, list):
        return [fill(v, variables) for v in value]
    if not isinstance(value, str):
        return value
    whole = re.fullmatch(r"\$\{([\w.-]+)\}", value)
    if whole:
        return pick(variables, whole.group(1))
    return re.sub(r"\$\{([\w.-]+)\}", lambda m: str(pick(variables, m.group(1))), value)


def mismatch(pattern, actual, where="reply"):
    """What does not match, or None."""
    if isinstance(pattern, dict):
        if "$min" in pattern:
            return None if isinstance(actual, (int, float)) and actual >= pattern["$min"] else f"{where}: {actual!r} is not at least {pattern['$min']}"
        if "$len" in pattern:
            return None if len(actual) == pattern["$len"] else f"{where}: {len(actual)} items instead of {pattern['$len']}"
        if "$not" in pattern:
            return f"{where}: {actual!r} must not match {pattern['$not']!r}" if mismatch(pattern["$not"], actual) is None else None
        if "$has" in pattern:
            text = actual if isinstance(actual, str) else json.dumps(actual)
            return None if pattern["$has"] in text else f"{where}: {pattern['$has']!r} is not in {text[:400]!r}"
        if not isinstance(actual, dict):
            return f"{where}: {actual!r} is no object"
        for name, p in pattern.items():
            if p == {"$absent": True}:
                if name in actual:
                    return f"{where}.{name} is there: {actual[name]!r}"
                continue
            if name not in actual:
                return f"{where}.{name} is missing in {json.dumps(actual)[:400]}"
            problem = mismatch(p, actual[name], f"{where}.{name}")
            if problem:
                return problem
        return None
    if isinstance(pattern, list):
        if not isinstance(actual, list):
            return f"{where}: {actual!r} is no array"
        if pattern[:1] == ["…"]:
            for p in pattern[1:]:
                if all(mismatch(p, a) for a in actual):
                    return f"{where}: no item matches {json.dumps(p)} in {json.dumps(actual)[:600]}"
            return None
        if len(pattern) != len(actual):
            return f"{where}: {len(actual)} items instead of {len(pattern)}: {json.dumps(actual)[:600]}"
        return next((m for i, (p, a) in enumerate(zip(pattern, actual)) if (m := mismatch(p, a, f"{where}.{i}"))), None)
    if pattern == "*":
        return None if actual is not None else f"{where} is null"
    if isinstance(pattern, str) and pattern.startswith("~"):
        return None if re.search(pattern[1:], actual if isinstance(actual, str) else json.dumps(actual)) else f"{where}: {actual!r} does not match {pattern[1:]!r}"
    return None if pattern == actual and isinstance(pattern, bool) == isinstance(actual, bool) else f"{where}: {actual!r} instead of {pattern!r}"


class Scenario:
    def __init__(self, path, platform):
        with open(path, encoding="utf-8") as f:
            self.data = json.loads("\n".join("" if line.lstrip().startswith("//") else line for line in f.read().splitlines()))
        self.platform, self.clients, self.config_dirs = platform, {}, {}
        self.variables = {} if platform is None else {"url": platform.url, "tmp": platform.path("tmp"), "shared": shared() or ""}

    def client(self, name):
        if name not in self.clients:
            service = self.data.get("services", {}).get(name)
            if name == "-":
                c = self.platform.client("admin")
                c.token = None
            elif service:
                c = self.platform.service(self.client(service.get("of", "admin")), service["scopes"], service.get("platform_scopes", []))
            else:
                c = self.platform.client(name)
            self.clients[name] = c
            self.variables.setdefault("tokens", {})[name] = c.token
        return self.clients[name]

    def file(self, name):
        path = shared(name[7:]) if name.startswith("shared:") else os.path.join(ROOT, name)
        if path is None:
            raise Skip(name + " is not there")
        return path

    def body(self, step, headers):
        if "json" in step:
            return step["json"]
        if "text" in step:
            return step["text"].encode()
        if "hex" in step:
            return bytes.fromhex(step["hex"])
        if "file" in step:
            with open(self.file(step["file"]), "rb") as f:
                return f.read()
        if "tar" in step or "documents" in step:
            headers.setdefault("content-type", "application/x-tar")
            if "tar" in step:
                return tar_of(self.file(step["tar"]))
            return tar_of([(n, d.encode() if isinstance(d, str) else json.dumps(d).encode()) for n, d in step["documents"].items()])
        if "make" in step:
            name, *arguments = step["make"] if isinstance(step["make"], list) else [step["make"]]
            return getattr(inputs, name)(*arguments)
        return {} if step["do"].startswith("POST") else None

    def http(self, step):
        client = self.client(step.get("as", "admin"))
        method, path = step["do"].split(" ", 1)
        headers = dict(step.get("headers", {}))
        reply = client.request(method, path, self.body(step, headers), headers)
        wanted = step.get("status", 200)
        assert reply.status in (wanted if isinstance(wanted, list) else [wanted]), f"status {reply.status} instead of {wanted}: {reply.text[:800]}"
        if reply.status >= 400 and "content-type" in reply.headers:
            assert reply.headers["content-type"] == "application/problem+json", reply.headers
        assert re.fullmatch("[0-9a-f]{32}", reply.trace), "no trace id on the reply"
        is_json = "json" in reply.headers.get("content-type", "")
        if "expect" in step:
            problem = mismatch(step["expect"], reply.json if is_json else reply.text)
            assert not problem, f"{problem}\n      in {reply.text[:1200]}"
        if "expect_headers" in step:
            problem = mismatch(step["expect_headers"], reply.headers, "header")
            assert not problem, problem
        self.variables["trace"] = reply.trace
        for name, path in step.get("save", {}).items():
            self.variables[name] = reply.trace if path == "$trace" else reply.body if path == "$body" else reply.json if path == "$json" else pick(reply.json, path)
        if "timeline" in step:
            self.timeline(client, reply.trace, fill(step["timeline"], self.variables))

    @staticmethod
    def timeline(client, trace, wanted):
        kinds = [w if isinstance(w, str) else w["kind"] for w in wanted]
        rows = client.events(trace, lambda seen: len(seen) >= len(kinds))
        seen = [r["kind"] for r in rows]
        assert seen == kinds, f"timeline of {trace}:\n        {seen}\n      instead of\n        {kinds}"
        for w, row in zip(wanted, rows):
            if not isinstance(w, str):
                problem = mismatch(w, row, "event")
                assert not problem, problem
        indexes = [r["log_index"] for r in rows]
        assert indexes == sorted(set(indexes)), indexes

    def cli(self, step):
        program = binary("stella", required=False)
        if program is None:
            raise Skip("the stella program is not built")
        login = step.get("as", "admin")
        config = self.config_dirs.setdefault(login, tempfile.mkdtemp(prefix="cli-", dir=self.platform.dir))
        env = {**os.environ, "STELLA_CONFIG_DIR": config, "STELLA_URL": self.platform.url, "NO_COLOR": "1", "HOME": config, "STELLA_USERNAME": login,
               "STELLA_PASSWORD": self.platform.passwords.get(login, ""), "STELLA_DATA_DIR": self.platform.dir, **step.get("env", {})}
        done = subprocess.run([program, *step["cli"]], capture_output=True, text=True, timeout=300, env=env, cwd=step.get("cwd", ROOT))
        if step.get("optional") and done.returncode == 64:
            raise Skip(f"stella has no {step['cli'][0]} yet")
        assert done.returncode == step.get("exit", 0), f"exit {done.returncode}: {done.stdout[-600:]}{done.stderr[-600:]}"
        try:
            out = json.loads(done.stdout)
        except ValueError:
            out = done.stdout
        for stream, text in (("stdout", out), ("stderr", done.stderr)):
            if stream in step:
                problem = mismatch(step[stream], text, stream)
                assert not problem, problem
        for name, path in step.get("save", {}).items():
            self.variables[name] = re.search(path[1:], done.stdout + done.stderr).group(1) if path.startswith("~") else pick(out, path)
        if "timeline" in step:
            self.timeline(self.client(login), self.variables["trace"], fill(step["timeline"], self.variables))

    def rows(self, step):
        """What the database holds, once the indexer has caught up with the step before."""
        deadline = time.monotonic() + 20
        while True:
            problem = mismatch(step["expect"], self.platform.sql(step["sql"]), "rows")
            if not problem or time.monotonic() > deadline:
                assert not problem, problem
                return
            time.sleep(0.1)

    def run_step(self, step):
        step = {k: v if k in ("save", "name", "timeline") else fill(v, self.variables) for k, v in step.items()}
        if "do" in step:
            return self.http(step)
        if "cli" in step:
            return self.cli(step)
        if "part" in step:
            verb, part = step["part"].split()
            return {"kill": self.platform.kill, "start": self.platform.start, "restart": self.platform.restart, "wait": lambda _: self.platform.wait_ready()}[verb](part)
        if "sql" in step:
            return self.rows(step)
        return getattr(checks, step["check"])(self, **step.get("with", {}))

    def run(self, report):
        title = self.data["name"]
        for need in self.data.get("needs", []):
            if need.startswith("shared:") and shared(need[7:]) is None or need == "cli" and binary("stella", required=False) is None:
                report.skip(title, f"{need} is not there")
                return
        for i, step in enumerate(self.data["steps"]):
            name = step.get("name") or step.get("do") or step.get("check") or step.get("part") or " ".join(["stella", *step.get("cli", [])])
            before = report.failed
            report.run(f"{title}: {name}", self.run_step, step)
            if report.failed > before and step.get("save"):
                report.fail(title, f"{len(self.data['steps']) - i - 1} steps not run: they need what the failed one saves")
                return


def main():
    files = sys.argv[1:] or sorted(glob.glob(os.path.join(HERE, "*.json")))
    report = Report("scenario")

    def run(path, platform):
        try:
            Scenario(path, platform).run(report)
        except Exception as e:  # noqa: BLE001: a broken file must not hide the others
            report.fail(os.path.basename(path), f"{type(e).__name__}: {e}")

    fresh = [path for path in files if Scenario(path, None).data.get("fresh")]
    together = [path for path in files if path not in fresh]
    for group in ([together] if together else []) + [[path] for path in fresh]:
        with Platform() as platform:
            for path in group:
                run(path, platform)
    report.end()


if __name__ == "__main__":
    main()
