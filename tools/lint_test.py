#!/usr/bin/env python3
"""The linter finds what it is there for: each case breaks one rule in a small tree and expects that rule's name, and no other."""
import pathlib
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent
EDGES = "a -> b: reason\n"

GOOD = {
    "base/src/good.cc": "// Does one thing, and says which.\n#include <string>\n",
    "base/src/good_test.cc": "// Tests one thing, and says which.\nTEST_F(Good, Name) {}\n",
    "base/include/stella/base/good.h": "// Declares one thing, and says which.\n#pragma once\n",
    "base/CMakeLists.txt": "stella_module(base RANK 0)\n",
    "base/README.md": "# base\n",
    "docs/page.md": "> **Imposed rule:** Work of this type …\n\n# Page\n",
    "cmake/edges.txt": EDGES * 4,
}
ROW = "| a lie | refused | `Good.Name`, `base/src/good_test.cc` |\n"
DEFECTS = GOOD["docs/page.md"] + "\n<!-- defects -->\n| defect | what we do | tests |\n| --- | --- | --- |\n" + ROW + "<!-- end of defects -->\n"


class Rules(unittest.TestCase):
    def lint(self, changes):
        with tempfile.TemporaryDirectory() as name:
            root = pathlib.Path(name)
            for path, text in {**GOOD, **changes}.items():
                if text is not None:
                    (root / path).parent.mkdir(parents=True, exist_ok=True)
                    (root / path).write_text(text, encoding="utf-8")
            subprocess.run(["git", "init", "-q", name], check=True)
            done = subprocess.run([sys.executable, ROOT / "tools/lint.py", name], capture_output=True, text=True, check=False)
            return done.returncode, [line.split(": ")[1] for line in done.stdout.splitlines()[:-1]]

    def test_good_tree(self):
        self.assertEqual(self.lint({}), (0, []))

    def test_each_rule(self):
        for rule, changes in {
            "one job": {"base/src/good.cc": "// Does far too many things at once.\n" * 801},
            "first line": {"base/src/good.cc": "#include <string>\n"},
            "guard": {"base/include/stella/base/good.h": "// Declares one thing, and says which.\nint x();\n"},
            "heavy header": {"base/src/good.cc": "// Does one thing, and says which.\n#include <regex>\n"},
            "thread": {"base/src/good.cc": "// Does one thing, and says which.\nauto t = std::thread([] { work(); });\n"},
            "error line": {"base/src/good.cc": '// Does one thing, and says which.\nvoid f() { kLog.error("broken", {f::count(1)}); }\n'},
            "unfinished": {"base/src/good.cc": "// Does one thing, and says which.\n// TO" + "DO later\n"},
            "machine path": {"base/README.md": "# base\nsee /wo" + "rk/main\n"},
            "glob": {"base/CMakeLists.txt": "stella_module(base RANK 0)\nfile(GLOB x *.cc)\n"},
            "readme": {"base/README.md": None},
            "banner": {"docs/page.md": "# Page\n"},
            "ratchet": {"cmake/edges.txt": EDGES * 5},
            "defects": {"docs/page.md": DEFECTS.replace("Good.Name", "Good.Nam")},
        }.items():
            with self.subTest(rule):
                self.assertEqual(self.lint(changes), (1, [rule]))


    def test_modules(self):
        known = {"telemetry/controls/include/stella/telemetry/modules.h": '// What a level can be set for.\n#pragma once\nkModules{"web"};\n',
                 "docs/observability/logging.md": GOOD["docs/page.md"] + "`web`\n"}
        web = {"base/src/good.cc": '// Does one thing, and says which.\nconstexpr Logger kLog{"web"};\n'}
        self.assertEqual(self.lint({**known, **web}), (0, []))
        self.assertEqual(self.lint(known), (1, ["module"]), "nobody logs so")
        self.assertEqual(self.lint({**known, "base/src/good.cc": web["base/src/good.cc"] + 'constexpr Logger kOther{"pg"};\n'}), (1, ["module"]))
        self.assertEqual(self.lint({**known, **web, "docs/observability/logging.md": GOOD["docs/page.md"]}), (1, ["module"]))

    def test_tables_of_defects(self):
        self.assertEqual(self.lint({"docs/page.md": DEFECTS}), (0, []))
        for page in (DEFECTS.replace(ROW, ""), DEFECTS.replace("`Good.Name`, `base/src/good_test.cc`", ""), DEFECTS.replace("base/src/good_test.cc", "base/src/bad_test.cc"), DEFECTS.replace("<!-- end", "<!-- no end")):
            self.assertEqual(self.lint({"docs/page.md": page}), (1, ["defects"]), page)
        self.assertEqual(self.lint({"docs/page.md": DEFECTS.replace("refused", "does not apply: none here").replace("`Good.Name`, `base/src/good_test.cc`", "")}), (0, []))


if __name__ == "__main__":
    unittest.main()
