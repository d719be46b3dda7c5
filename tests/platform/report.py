"""One line per case, a count at the end, exit code 1 where something failed: the same for every script of the suite."""
import sys
import time
import traceback


class Skip(Exception):
    pass


class Report:
    def __init__(self, name):
        self.name, self.passed, self.failed, self.skipped = name, 0, 0, 0

    def ok(self, case, note=""):
        self.passed += 1
        print(f"ok    {case}" + (f"  ({note})" if note else ""), flush=True)

    def fail(self, case, why):
        self.failed += 1
        print(f"FAIL  {case}: {why}", flush=True)

    def skip(self, case, why):
        self.skipped += 1
        print(f"skip  {case}: {why}", flush=True)

    def check(self, case, condition, why=""):
        if condition:
            self.ok(case)
        else:
            self.fail(case, why if not callable(why) else why())
        return bool(condition)

    def run(self, case, function, *arguments):
        """A case that passes by returning; an assertion is a failure, Skip is a skip."""
        began = time.monotonic()
        try:
            note = function(*arguments)
        except Skip as s:
            self.skip(case, str(s))
        except AssertionError as e:
            where = traceback.extract_tb(e.__traceback__)[-1]
            self.fail(case, f"{str(e)[:1500] or where.line} [{where.name}:{where.lineno}]")
        except Exception as e:  # noqa: BLE001: whatever goes wrong is this case's failure
            where = traceback.extract_tb(e.__traceback__)[-1]
            self.fail(case, f"{type(e).__name__}: {str(e)[:1500]} [{where.name}:{where.lineno}]")
        else:
            self.ok(case, (f"{note}, " if note else "") + f"{time.monotonic() - began:.1f} s")

    def end(self):
        print(f"{self.passed} passed, {self.failed} failed, {self.skipped} skipped", flush=True)
        sys.exit(1 if self.failed else 0)
