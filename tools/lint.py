#!/usr/bin/env python3
"""The repository's own rules, each checked and named. Prints one line per violation (`path:line: rule: text`) and `N files, N problems`.

What GCC, CMake and the tests already refuse (layers, warnings, drift of generated files) is not repeated here.
"""
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent
MAX_LINES = 800
EDGES = 4  # a ratchet: arrows between modules of one rank, cmake/edges.txt; it only shrinks

# Headers that cost seconds per file: each only where listed.
HEAVY = {
    "boost/": {"platform/http/src/"},
    "CLI/": {"cli/core/src/app.cc"},
    "simdjson.h": {"base/src/", "pipeline/conseiller/src/", "pipeline/sbom/src/"},
    "fmt/format.h": set(),
    "regex": set(),
    "iostream": {"telemetry/api/tests_compile/"},
    "filesystem": {"services/orchestrator/src/dispatch.cc", "services/orchestrator/src/results.cc", "tests/"},
}
SOURCES = {".cc", ".h"}
CODE_DIRS = ("apps", "base", "cli", "contracts", "crypto", "db", "evidence", "pipeline", "platform", "provenance", "services", "telemetry", "tenancy", "tests", "timeline", "web")
IMPOSED_RULE = "> **Imposed rule:**"  # the banner of every documentation page
DEFECTS = re.compile(r"<!-- defects -->\n(.*?)<!-- end of defects -->", re.S)  # a table whose last column names tests
TEST = re.compile(r"^TEST(?:_F|_P)?\((\w+), (\w+)\)", re.M)
# Threads without a name; tests and their helpers may.
THREAD = re.compile(r"std::j?thread(?:\s+\w+)?\s*[({]|threads?_?\.emplace_back\(|pthread_setname_np|pthread_create")
THREADS_ALLOWED = re.compile(r"^base/include/stella/base/thread\.h$|^(?:tests|bench)/|/test_\w+\.(?:h|cc)$|_?test_?(?:kit|_support)\.h$|_(?:test|bench|fuzz)\.cc$")
ERROR_LINE = re.compile(r"\bkLog\.error\((.*?)\);", re.S)  # a line of level error has the code of the error: tests/coverage holds the lines to the schema
LOGGER = re.compile(r'\bLogger \w+\{"([^"]+)"\}')
MODULES = "telemetry/controls/include/stella/telemetry/modules.h"  # what a level can be set for
MODULES_PAGE = "docs/observability/logging.md"
TODO = re.compile(r"\b(TODO|FIXME|XXX|HACK)\b")


class Lint:
    def __init__(self, root=ROOT):
        self.root = root
        self.problems = []
        listed = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=root, capture_output=True, text=True, check=False)
        names = listed.stdout.splitlines() if listed.returncode == 0 else [str(p.relative_to(root)) for p in root.rglob("*") if "build" not in p.parts and ".git" not in p.parts]
        self.files = sorted({n for n in names if (root / n).is_file() and not n.startswith("build/")})

    def report(self, path, line, rule, text):
        self.problems.append(f"{path}:{line}: {rule}: {text}")

    def run(self):
        for name in self.files:
            path = pathlib.PurePosixPath(name)
            if path.suffix in SOURCES:
                self.source(name)
            if path.suffix in SOURCES | {".py", ".sh", ".cmake", ".sql", ".md", ".yaml"} or path.name == "CMakeLists.txt":
                self.text(name)
            if path.name == "CMakeLists.txt" or path.suffix == ".cmake":
                self.cmake(name)
        self.readmes()
        self.edges()
        self.docs()
        self.defects()
        self.modules()

    def read(self, name):
        return (self.root / name).read_text(encoding="utf-8", errors="replace")

    def source(self, name):
        text = self.read(name)
        lines = text.splitlines()
        if len(lines) > MAX_LINES:
            self.report(name, len(lines), "one job", f"{len(lines)} lines; a file has at most {MAX_LINES}")
        if not lines or not lines[0].startswith("//") or len(lines[0]) < 12:
            self.report(name, 1, "first line", "the first line is a comment that says the file's job")
        if name.endswith(".h") and "#pragma once" not in lines[:40]:
            self.report(name, 1, "guard", "headers begin with #pragma once")
        for call in ERROR_LINE.finditer(text):
            if "f::error(" not in call[1] and not name.endswith("_test.cc") and not re.search(r"\b(fields|told)\b", call[1]):
                self.report(name, text.count("\n", 0, call.start()) + 1, "error line", "a line of level error says which error: f::error(error)")
        for number, line in enumerate(lines, 1):
            if not THREADS_ALLOWED.search(name) and THREAD.search(line.split("//")[0]):
                self.report(name, number, "thread", "start_thread() of base/thread.h, with a name that stands in contracts/workers.json")
            match = re.match(r"\s*#\s*include\s*[<\"]([^>\"]+)[>\"]", line)
            if not match:
                continue
            for header, allowed in HEAVY.items():
                if match[1] == header or (header.endswith("/") and match[1].startswith(header)):
                    if not any(name.startswith(a) for a in allowed) and not name.endswith(("_test.cc", "_bench.cc")):
                        self.report(name, number, "heavy header", f"<{match[1]}> may be included by {', '.join(sorted(allowed)) or 'nobody'} only")

    def text(self, name):
        if name in ("tools/lint.py",):
            return
        for number, line in enumerate(self.read(name).splitlines(), 1):
            if TODO.search(line):
                self.report(name, number, "unfinished", "finish it, or file an issue")
            if "/work/" in line and not name.endswith("_test.cc"):
                self.report(name, number, "machine path", "paths of one machine do not belong here")

    def cmake(self, name):
        for number, line in enumerate(self.read(name).splitlines(), 1):
            if re.search(r"file\s*\(\s*GLOB", line, re.IGNORECASE) and not line.lstrip().startswith("#"):
                self.report(name, number, "glob", "sources are listed by name")

    def readmes(self):
        for name in self.files:
            path = pathlib.PurePosixPath(name)
            if path.name == "CMakeLists.txt" and path.parts[0] in CODE_DIRS and len(path.parts) > 1 and "stella_module(" in self.read(name):
                readme = str(path.parent / "README.md")
                if readme not in self.files:
                    self.report(name, 1, "readme", f"{readme} is missing: what the module is for, who may use it, what it must never do")

    def edges(self):
        lines = [line for line in self.read("cmake/edges.txt").splitlines() if line and not line.startswith("#")]
        if len(lines) > EDGES:
            self.report("cmake/edges.txt", len(lines), "ratchet", f"{len(lines)} arrows; the ratchet stands at {EDGES}")
        if len(lines) < EDGES:
            self.report("cmake/edges.txt", len(lines), "ratchet", f"only {len(lines)} arrows are left: lower EDGES in tools/lint.py")

    def docs(self):
        for name in self.files:
            path = pathlib.PurePosixPath(name)
            if path.parts[0] != "docs" or path.suffix != ".md" or path.parts[1] == "adr":
                continue
            if not any(line.startswith(IMPOSED_RULE) for line in self.read(name).splitlines()[:8]):
                self.report(name, 1, "banner", "a documentation page begins with the imposed rule")

    def modules(self):
        """Whoever logs can be turned up at run time: its module is known, and named to those who would do it."""
        if MODULES not in self.files:
            return
        known = set(re.findall(r'"([a-z0-9._]+)"', self.read(MODULES).split("kModules{", 1)[1].split("}", 1)[0]))
        page = self.read(MODULES_PAGE) if MODULES_PAGE in self.files else ""
        used = {}
        for name in self.files:
            path = pathlib.PurePosixPath(name)
            if path.suffix not in SOURCES or path.parts[0] in ("tests", "examples", "bench") or path.stem.endswith(("_test", "_bench", "_fuzz")) or path.name.startswith(("test_", "api_bench")) or "/tests" in name:
                continue
            text = self.read(name)
            for found in LOGGER.finditer(text):
                used.setdefault(found[1], (name, text.count("\n", 0, found.start()) + 1))
        for module in sorted(set(used) - known):
            self.report(*used[module], "module", f"{module} is missing in {MODULES}")
        for module in sorted(known - set(used)):
            self.report(MODULES, 1, "module", f"nobody logs as {module}")
        for module in sorted(m for m in known if f"`{m}`" not in page):
            self.report(MODULES_PAGE, 1, "module", f"`{module}` is not listed")

    def defects(self):
        pages = [(name, text) for name in self.files if name.startswith("docs/") and name.endswith(".md") for text in [self.read(name)] if "<!-- defects -->" in text]
        tests = {f"{suite}.{name}" for n in self.files if pages and n.endswith("_test.cc") for suite, name in TEST.findall(self.read(n))}
        for name, text in pages:
            table = DEFECTS.search(text)
            rows = [line for line in table[1].splitlines() if line.startswith("|")][2:] if table else []
            if not rows:
                self.report(name, 1, "defects", "the table between <!-- defects --> and <!-- end of defects --> is empty")
            for number, line in enumerate(text.splitlines(), 1):
                if line not in rows:
                    continue
                named = re.findall(r"`([^`]+)`", line.rstrip(" |").rsplit("|", 1)[1])
                for test in named:
                    if test not in tests and test not in self.files:
                        self.report(name, number, "defects", f"there is no test {test}")
                if not named and "does not apply" not in line:
                    self.report(name, number, "defects", "a row names its tests, or says why it does not apply")


def main():
    lint = Lint(pathlib.Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else ROOT)
    lint.run()
    for problem in lint.problems:
        print(problem)
    print(f"{len(lint.files)} files, {len(lint.problems)} problems")
    return 1 if lint.problems else 0


if __name__ == "__main__":
    sys.exit(main())
