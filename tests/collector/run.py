#!/usr/bin/env python3
"""Runs a suite of this folder in a venv with the pinned packages; where Collector or packages cannot be had it says so and counts one skip.

  tests/collector/run.py collector_test.py [CASE…]
"""
import os
import pathlib
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
sys.path.insert(0, str(HERE.parent / "telemetry"))
import otlp_python  # noqa: E402


def skip(why):
    print(f"skip  {sys.argv[1] if len(sys.argv) > 1 else 'collector'}: {why}\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def main():
    built = subprocess.run([ROOT / "tools/build-collector"], capture_output=True, text=True, check=False)
    sys.stderr.write(built.stderr)
    if built.returncode != 0:
        skip("no Collector: " + " ".join(built.stderr.split())[-300:])
    python, trouble = otlp_python.interpreter(HERE / "requirements.txt", "tests")
    if python is None:
        skip(trouble)
    os.environ["STELLA_COLLECTOR"] = built.stdout.strip()
    os.environ["PYTHONPATH"] = str(HERE)
    os.execv(python, [str(python), str(HERE / sys.argv[1]), *sys.argv[2:]])


main()
