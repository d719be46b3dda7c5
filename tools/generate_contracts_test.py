#!/usr/bin/env python3
"""What must not build does not: each case spoils one row of a copied catalogue and expects the generator to fail with that row's name."""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile
import unittest

ROOT = pathlib.Path(__file__).resolve().parent.parent


class Refused(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.root = pathlib.Path(self.dir.name)
        (self.root / "tools").mkdir()
        shutil.copy(ROOT / "tools/generate_contracts.py", self.root / "tools")
        (self.root / "contracts").mkdir()
        for path in (ROOT / "contracts").iterdir():
            if path.suffix in (".json", ".yaml"):
                shutil.copy(path, self.root / "contracts")

    def tearDown(self):
        self.dir.cleanup()

    def run_generator(self, *arguments):
        done = subprocess.run([sys.executable, self.root / "tools/generate_contracts.py", *arguments], capture_output=True, text=True, check=False)
        return done.returncode, done.stderr

    def spoil(self, catalogue, change):
        path = self.root / "contracts" / f"{catalogue}.json"
        doc = json.loads(path.read_text(encoding="utf-8"))
        rows = doc[catalogue]
        change(rows)
        path.write_text(json.dumps(doc), encoding="utf-8")

    def refused(self, catalogue, change, name, mode="cpp"):
        self.spoil(catalogue, change)
        code, err = self.run_generator(mode, str(self.root / "out"))
        self.assertEqual(code, 1, err)
        self.assertIn(name, err)
        self.assertFalse(err.count("Traceback"), err)

    def test_the_catalogues_themselves_build(self):
        self.assertEqual(self.run_generator("cpp", str(self.root / "out")), (0, ""))
        self.assertEqual(self.run_generator("fields", str(self.root / "out")), (0, ""))

    def test_field_without_review(self):
        self.refused("fields", lambda rows: rows[-1].update(reviewed=""), "reviewed", "fields")

    def test_field_without_example(self):
        self.refused("fields", lambda rows: rows[40].pop("example"), "example", "fields")

    def test_secret_field(self):
        self.refused("fields", lambda rows: rows[40].update(pii="secret"), "pii class secret", "fields")

    def test_personal_field_that_is_not_masked(self):
        self.refused("fields", lambda rows: rows[40].update(pii="pii"), "go together", "fields")

    def test_label_without_bound(self):
        label = {"name": "user", "kind": "free"}
        self.refused("metrics", lambda rows: rows[0]["labels"].append(label), "label user is neither")

    def test_metric_without_its_unit(self):
        self.refused("metrics", lambda rows: rows[0].update(unit="seconds"), "must end with its unit")

    def test_error_number_twice(self):
        self.refused("errors", lambda rows: rows[3].update(number=1), "number 1")

    def test_event_kind_twice(self):
        self.refused("events", lambda rows: rows[1].update(kind=rows[0]["kind"]), "stands twice")

    def test_event_detail_of_unknown_type(self):
        self.refused("events", lambda rows: rows[0]["details"][0].update(type="text"), "type text")

    def test_scope_that_can_be_granted_nowhere(self):
        self.refused("scopes", lambda rows: rows[0].update(tenant=False, platform=False), "granted nowhere")

    def test_setting_default_out_of_range(self):
        def change(rows):
            next(r for r in rows if r["name"] == "http.port").update(default="70000")
        self.refused("settings", change, "http.port")

    def test_stale_docs_are_named(self):
        self.assertEqual(self.run_generator("docs")[0], 0)
        self.assertEqual(self.run_generator("check"), (0, ""))
        self.spoil("errors", lambda rows: rows[0].update(title="another title"))
        code, err = self.run_generator("check")
        self.assertEqual(code, 1)
        self.assertIn("docs/reference/errors.md", err)


if __name__ == "__main__":
    unittest.main()
