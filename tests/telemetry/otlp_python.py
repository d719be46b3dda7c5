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


def cache():
    """The cache of tools/toolchain; None and why where there is none."""
    found = subprocess.run([ROOT / "tools/toolchain", "cache"], capture_output=True, text=True, check=False)
    return (pathlib.Path(found.stdout.strip()), "") if found.returncode == 0 else (None, found.stderr.strip())


def venv(place, requirements, name):
    """The interpreter of the venv `name` in `place` for these very requirements, made where it is missing; None and why there is none."""
    wanted = requirements.read_bytes()
    made = place / (name + "-" + hashlib.sha256(wanted + sys.version.encode()).hexdigest()[:16])
    place.mkdir(parents=True, exist_ok=True)
    with open(place / f".{name}.lock", "w", encoding="utf-8") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (made / "complete").exists():
            shutil.rmtree(made, ignore_errors=True)
            steps = [[sys.executable, "-m", "venv", made], [made / "bin/python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes", "-r", requirements]]
            for step in steps:
                done = subprocess.run(step, capture_output=True, text=True, check=False)
                if done.returncode != 0:
                    return None, " ".join((done.stderr or done.stdout).split())[-300:]
            (made / "complete").touch()
    return made / "bin/python", ""


def interpreter(requirements, name):
    """The same in the cache of tools/toolchain, with what to say where there is none."""
    place, trouble = cache()
    python = None
    if place is not None:
        python, trouble = venv(place, requirements, name)
    return python, "" if python else f"no Python packages (python3-venv and PyPI are needed): {trouble}"


def enter(name):
    if "STELLA_OTLP_ORACLE" in os.environ:
        return
    python, trouble = interpreter(HERE / "requirements.txt", "otlp")
    if python is None:
        print(f"skip  {name}: {trouble}\n0 passed, 0 failed, 1 skipped")
        sys.exit(0)
    os.environ["STELLA_OTLP_ORACLE"] = "1"
    os.execv(python, [str(python), *sys.argv])
