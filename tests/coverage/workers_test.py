#!/usr/bin/env python3
"""No thread works without a root span: every thread that the sources start is in workers.json, and every kind of work there is opened somewhere."""
import os
import sys
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path.insert(0, HERE)
import workers  # noqa: E402

GOOD = 'rounds_.start("sweeper", [this] { return round(); });\ntelemetry::in_work(contracts::work::kStoreSweep, {}, [&](telemetry::Work&) { return sweep(); });\n'
DOC = {"threads": [{"name": "sweeper", "for": "background", "work": ["store.sweep"]}], "work": [{"name": "store.sweep"}]}


class Workers(unittest.TestCase):
    def test_the_tree(self):
        self.assertEqual(workers.problems(workers.declared(ROOT), workers.sources(ROOT)), [])

    def refused(self, words, source=GOOD, doc=None):
        found = workers.problems({**DOC, **(doc or {})}, [("a.cc", source)])
        self.assertTrue(any(words in one for one in found), found)

    def test_what_is_forgotten(self):
        self.assertEqual(workers.problems(DOC, [("a.cc", GOOD)]), [])
        self.refused("starts the thread newcomer", GOOD + 'thread_ = start_thread("newcomer", [this] { run(); });\n')
        self.refused("starts the thread newcomer", GOOD + 'p.thread = start_jthread("newcomer", run);\n')
        self.refused("has no root span", GOOD.replace("kStoreSweep", "kStoreOther"))
        self.refused("which nobody starts", GOOD.replace('"sweeper"', "name"))
        self.refused("runs on no thread", doc={"work": [{"name": "store.sweep"}, {"name": "store.other"}]})
        self.refused("no work of it is named", doc={"threads": [{"name": "sweeper", "for": "background", "work": []}]})


if __name__ == "__main__":
    unittest.main()
