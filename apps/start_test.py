#!/usr/bin/env python3
"""What our programs say before they serve: of themselves, and of settings that have no effect.

  start_test.py STELLA_RUNNER STELLA      ends with "N passed, N failed, 0 skipped"
"""
import json
import os
import subprocess
import sys
import tempfile
import traceback

RUNNER, STELLA = sys.argv[1:]


def lines(**settings):
    """The lines of a start that ends for want of a secret."""
    with tempfile.TemporaryDirectory() as data:
        variables = {"STELLA_DATA_DIR": data, "STELLA_TELEMETRY_DIR": data + "/rings", **{k: v.replace("DATA", data) for k, v in settings.items()}}
        done = subprocess.run([RUNNER], env={"PATH": os.environ["PATH"], **variables}, capture_output=True, text=True, timeout=60, check=False)
        assert done.returncode == 1, done
        return [json.loads(line) for line in done.stderr.splitlines() if line.startswith("{")]


def rotation_without_a_file_is_warned_of():
    for setting in ("LOG_ROTATE_BYTES", "LOG_ROTATE_AGE", "LOG_KEEP_FILES"):
        said = lines(**{"STELLA_" + setting: "5h" if setting.endswith("AGE") else "8192"})
        assert any(x["level"] == "warn" and x["details"]["text"] == setting.lower().replace("_", ".", 1) for x in said), (setting, said)
    assert not lines(STELLA_LOG_LEVEL="warn"), "without one of them nothing is said"
    assert not lines(STELLA_LOG_ROTATE_BYTES="8192", STELLA_LOG_PATH="DATA/here.log"), "nor with a file"


def the_first_line_says_who_speaks():
    # A spool that cannot be made is told before the backend is there.
    said = lines(STELLA_TELEMETRY_OTLP_ENDPOINT="http://127.0.0.1:9", STELLA_TELEMETRY_SPOOL_DIR="/proc/none", STELLA_ENV="here", STELLA_INSTANCE_ID="one")
    assert said and all((x["service"], x["env"], x["instance_id"]) == ("stella-runner", "here", "one") and x["version"] != "unknown" for x in said), said


def stella_witness_is_found_under_the_name_of_the_others():
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent"}
    bare = subprocess.run([STELLA, "witness"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert bare.returncode == 2 and "usage: stella-witness" in bare.stderr and "settings.md" in bare.stderr, bare
    missing = subprocess.run([STELLA, "witness", "--init", "--config", "/nonexistent/w.yaml"], env=env, capture_output=True, text=True, timeout=60, check=False)
    assert missing.returncode == 1 and missing.stderr.startswith("stella-witness: ") and "/nonexistent/w.yaml" in missing.stderr, missing


def main():
    failed = 0
    tests = (rotation_without_a_file_is_warned_of, the_first_line_says_who_speaks, stella_witness_is_found_under_the_name_of_the_others)
    for test in tests:
        try:
            test()
            print("ok   ", test.__name__)
        except Exception:  # the next one may still say something
            failed += 1
            print("FAIL ", test.__name__)
            traceback.print_exc()
    print(f"{len(tests) - failed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
