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
        for name in ("generate_contracts.py", "event_matrix.py"):
            shutil.copy(ROOT / "tools" / name, self.root / "tools")
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

    def spoil_workers(self, part, change, words):
        path = self.root / "contracts" / "workers.json"
        doc = json.loads(path.read_text(encoding="utf-8"))
        change(doc[part])
        path.write_text(json.dumps(doc), encoding="utf-8")
        code, err = self.run_generator("cpp", str(self.root / "out"))
        self.assertEqual(code, 1, err)
        self.assertIn(words, err)

    def test_a_thread_whose_name_the_kernel_would_cut(self):
        self.spoil_workers("threads", lambda rows: rows[0].update(name="sixteen-letters-"), "1 to 15 bytes")

    def test_a_thread_that_works_on_its_own_and_names_no_work(self):
        self.spoil_workers("threads", lambda rows: rows[0].update(work=[]), "say which")

    def test_work_that_no_thread_does(self):
        self.spoil_workers("work", lambda rows: rows.append({"name": "store.sweep", "description": "Sweeps.", "rare": ""}), "no thread does ['store.sweep']")

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

    def forgotten(self, name, change, expected):
        """`check` names what is missing in the matrix of who emits what."""
        self.assertEqual(self.run_generator("docs")[0], 0)
        path = self.root / "contracts" / name
        text = path.read_text(encoding="utf-8")
        changed = change(text)
        self.assertNotEqual(text, changed)
        path.write_text(changed, encoding="utf-8")
        code, err = self.run_generator("check")
        self.assertEqual(code, 1, err)
        self.assertIn(expected, err)
        self.assertFalse(err.count("Traceback"), err)

    def row(self, catalogue, key, value, **members):
        """A catalogue with members of one row replaced, or removed where None."""
        def change(text):
            doc = json.loads(text)
            row = next(r for r in doc[catalogue] if r[key] == value)
            for name, member in members.items():
                row.update({name: member})
                if member is None:
                    del row[name]
            return json.dumps(doc)
        return change

    def test_an_operation_that_declares_no_events(self):
        self.forgotten("openapi.yaml", lambda text: text.replace("      x-events: [sbom.received, job.scheduled]\n", ""), "create_sbom (POST /sboms) changes state")

    def test_an_operation_with_a_reason_and_events(self):
        self.forgotten("openapi.yaml", lambda text: text.replace("      x-events: [token.issued]", "      x-events-none: none\n      x-events: [token.issued]"), "a reason for having none")

    def test_a_kind_that_is_not_in_the_catalogue(self):
        self.forgotten("openapi.yaml", lambda text: text.replace("x-events: [token.issued]", "x-events: [token.forged]"), "token.forged is not in events.json")

    def test_a_kind_that_nobody_emits(self):
        self.forgotten("openapi.yaml", lambda text: text.replace("x-events: [policy.activated]", "x-events: [policy.published]"), "policy.activated: nobody emits it")

    def test_a_planned_kind_that_somebody_emits(self):
        self.forgotten("events.json", self.row("events", "kind", "token.issued", planned="later"), "token.issued is planned and has a producer")

    def test_an_event_kind_that_does_not_say_whether_it_has_objects(self):
        self.forgotten("events.json", self.row("events", "kind", "sbom.received", objects=None), "sbom.received: objects says")

    def test_a_kind_of_job_that_declares_no_events(self):
        self.forgotten("jobs.json", self.row("jobs", "kind", "vex.ingest", events=None), "vex.ingest: events is missing")

    def test_a_kind_of_job_that_nobody_schedules(self):
        self.forgotten("openapi.yaml", lambda text: text.replace("x-jobs: [vex.ingest]", "x-jobs: [advisory.ingest]"), "vex.ingest: nobody schedules it")

    def test_background_work_that_declares_no_events(self):
        self.forgotten("producers.json", self.row("producers", "name", "indexer, checkpointer and cosigner", none=None), "indexer, checkpointer and cosigner: declare events")

    def test_stale_docs_are_named(self):
        self.assertEqual(self.run_generator("docs")[0], 0)
        self.assertEqual(self.run_generator("check"), (0, ""))
        self.spoil("errors", lambda rows: rows[0].update(title="another title"))
        code, err = self.run_generator("check")
        self.assertEqual(code, 1)
        self.assertIn("docs/reference/errors.md", err)


if __name__ == "__main__":
    unittest.main()
