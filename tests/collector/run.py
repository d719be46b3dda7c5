#!/usr/bin/env python3
"""Runs a suite of this folder in a venv with the pinned packages; where Collector or packages cannot be had it says so and counts one skip.

  tests/collector/run.py collector_test.py [CASE…]
"""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def skip(why):
    print(f"skip  {sys.argv[1] if len(sys.argv) > 1 else 'collector'}: {why}\n0 passed, 0 failed, 1 skipped")
    sys.exit(0)


def venv(cache):
    """The interpreter of the venv for these very requirements, made where it is missing."""
    wanted = (HERE / "requirements.txt").read_bytes()
    place = cache / ("tests-" + hashlib.sha256(wanted + sys.version.encode()).hexdigest()[:16])
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".tests.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            steps = [[sys.executable, "-m", "venv", place], [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", HERE / "requirements.txt"]]
            for step in steps:
                done = subprocess.run(step, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    return None, (done.stderr or done.stdout).strip().splitlines()[-1:]
            (place / "complete").touch()
    return place / "bin/python", None


def main():
    cache = pathlib.Path(subprocess.run([ROOT / "tools/toolchain", "cache"], capture_output=True, text=True, check=True).stdout.strip())
    built = subprocess.run([ROOT / "tools/build-collector"], capture_output=True, text=True, check=False)
    sys.stderr.write(built.stderr)
    if built.returncode != 0:
        skip("no Collector: " + " ".join(built.stderr.split())[-300:])
    python, trouble = venv(cache)
    if python is None:
        skip(f"no Python packages (python3-venv and PyPI are needed): {trouble}")
    os.environ["STELLA_COLLECTOR"] = built.stdout.strip()
    os.environ["PYTHONPATH"] = str(HERE)
    os.execv(python, [str(python), str(HERE / sys.argv[1]), *sys.argv[2:]])


main()
