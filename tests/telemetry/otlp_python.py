"""An interpreter with the packages of requirements.txt (hashes checked): a venv in the cache of tools/toolchain, made once. A script calls
enter(name) before it imports them, and runs again in it; where it cannot be had, the script counts one skip."""
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent


def venv():
    """The interpreter of the venv for these very requirements, and why there is none."""
    found = subprocess.run([ROOT / "tools/toolchain", "cache"], capture_output=True, text=True, check=False)
    if found.returncode != 0:
        return None, found.stderr.strip()
    cache = pathlib.Path(found.stdout.strip())
    wanted = (HERE / "requirements.txt").read_bytes()
    place = cache / ("otlp-" + hashlib.sha256(wanted + sys.version.encode()).hexdigest()[:16])
    cache.mkdir(parents=True, exist_ok=True)
    with open(cache / ".otlp.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (place / "complete").exists():
            shutil.rmtree(place, ignore_errors=True)
            steps = [[sys.executable, "-m", "venv", place], [place / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", HERE / "requirements.txt"]]
            for step in steps:
                done = subprocess.run(step, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    return None, " ".join((done.stderr or done.stdout).split())[-300:]
            (place / "complete").touch()
    return place / "bin/python", ""


def enter(name):
    if "STELLA_OTLP_ORACLE" in os.environ:
        return
    python, trouble = venv()
    if python is None:
        print(f"skip  {name}: no Python packages (python3-venv and PyPI are needed): {trouble}\n0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    os.environ["STELLA_OTLP_ORACLE"] = "1"
    os.execv(python, [str(python), *sys.argv])
