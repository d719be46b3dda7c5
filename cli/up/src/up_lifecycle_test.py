#!/usr/bin/env python3
"""The life of a platform on one machine, with the real programs: start, second start, chain, crash, recovery, stop.

  up_lifecycle_test.py STELLA SAMPLES      ends with "N passed, N failed, 0 skipped"
"""
import fcntl
import json
import os
import pathlib
import pty
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import traceback

STELLA, SAMPLES = sys.argv[1], sys.argv[2]


class Machine:
    """A data directory and a profile of their own; ports are the platform's choice."""

    def __init__(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="stella-life-", dir="/var/tmp"))
        self.root.chmod(0o755)
        self.data = self.root / "below/data"
        self.env = {"PATH": os.environ["PATH"], "HOME": str(self.root), "STELLA_DATA_DIR": str(self.data), "STELLA_CONFIG_DIR": str(self.root / "config")}

    def run(self, *words, expect=0):
        # As on a hardened machine: the parts are other users and must get through all the same.
        done = subprocess.run([STELLA, *words], env=self.env, capture_output=True, text=True, timeout=300, check=False, umask=0o077)
        assert expect is None or done.returncode == expect, f"stella {' '.join(words)}: {done.returncode}\n{done.stdout}{done.stderr}"
        return done

    def json(self, *words, expect=0):
        return json.loads(self.run("-o", "json", *words, expect=expect).stdout)

    def state(self):
        return json.loads((self.data / "run/state.json").read_text())

    def end(self):
        self.run("down", expect=None)
        shutil.rmtree(self.root, ignore_errors=True)


def alive(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


def first_start_says_where_and_who(m):
    before = m.json("status", expect=1)
    assert before["state"] == "stopped", before
    # The usual port may be taken on this machine: the platform chooses.
    shown = m.run("up", "--detach").stdout
    operators = json.loads((m.data / "secrets/operators.json").read_text())["operators"]
    assert len(operators) == 2
    for o in operators:
        assert o["login"] in shown and o["secret"] in shown, shown
    assert m.state()["url"] in shown
    profile = json.loads((m.root / "config/config.json").read_text())
    assert profile["url"] == m.state()["url"] and profile["username"] == operators[0]["login"], profile
    assert m.json("status")["ready"] is True
    doctor = m.json("doctor")
    assert doctor["healthy"] and doctor["running"], doctor


def secrets_are_for_one_reader(m):
    for path in [*(m.data / "secrets").rglob("*"), *(m.data / "secrets-runner").rglob("*"), m.data / "secrets", m.data / "pg"]:
        # Root's, so that the server cannot make links there; the server's group passes.
        others = 0o027 if path.is_dir() and os.getuid() == 0 and "secrets" in path.parts else 0o077
        assert stat.S_IMODE(path.stat().st_mode) & others == 0, path
        assert not path.is_dir() or os.getuid() != 0 or "secrets" not in path.parts or path.stat().st_uid == 0, path
    # No part's log, and no file that others can read, holds a secret.
    secrets = [p.read_text().strip() for p in (m.data / "secrets/pg").iterdir()] + [p.read_text().strip() for p in (m.data / "secrets/nats").iterdir()]
    secrets += [o["secret"] for o in json.loads((m.data / "secrets/operators.json").read_text())["operators"]]
    for path in [*(p for p in (m.data / "log").rglob("*") if p.is_file()), m.data / "stella.yaml", m.data / "run/state.json", m.data / "run/runner.yaml"]:
        text = path.read_text(errors="replace")
        for secret in secrets:
            assert secret not in text, path


def under_root_three_users(m):
    if os.getuid() != 0:
        return
    owner = {p["name"]: os.stat(f"/proc/{p['pid']}").st_uid for p in m.state()["parts"]}
    assert 0 not in owner.values(), owner
    assert owner["stellad"] == owner["nats"], owner
    assert len({owner["stellad"], owner["postgresql"], owner["stella-runner"]}) == 3, owner


def second_start_says_so(m):
    again = m.run("up", "--detach")
    assert "already running" in again.stderr and m.state()["url"] in again.stdout, again
    for o in json.loads((m.data / "secrets/operators.json").read_text())["operators"]:
        assert o["secret"] not in again.stdout + again.stderr, "a password is shown once"


def the_chain_runs_on_the_samples(m):
    out = m.run("demo", "--samples", SAMPLES).stdout
    for part in ("DENY", "GHSA-jfh8-c2jp-5v3q", "INTEGRITY PASS, AUTHENTICITY PASS", "6 of 6 outputs identical"):
        assert part in out, out


def a_killed_part_comes_back(m):
    for name in ("stellad", "stella-runner", "nats", "postgresql"):
        pid = next(p["pid"] for p in m.state()["parts"] if p["name"] == name)
        os.kill(pid, signal.SIGKILL)
    wait(lambda: m.run("status", expect=None).returncode == 0 and all(p["running"] for p in m.json("status", expect=None)["parts"]), 90)
    the_chain_runs_on_the_samples(m)
    for name in ("stellad", "stella-runner", "nats", "postgresql"):
        for said in (f"{name}: ended of signal 9 (SIGKILL) at 20", f"{name}: started again (pid "):
            wait(lambda text=said: text in (m.data / "log/up.log").read_text(), 30)


def a_killed_supervisor_leaves_nothing_behind_and_can_start_again(m):
    state = m.state()
    os.kill(state["self"]["pid"], signal.SIGKILL)
    wait(lambda: not any(alive(p["pid"]) for p in state["parts"]), 30)
    assert m.run("status", expect=1)
    # A power cut: the pid in PostgreSQL's file now belongs to somebody else.
    pid_file = m.data / "pg/postmaster.pid"
    lines = pid_file.read_text().splitlines()
    pid_file.write_text("\n".join([str(os.getpid()), *lines[1:]]) + "\n")
    m.run("up", "--detach")
    out = m.json("evaluate", "--sbom", m.json("sbom", "list")["items"][0]["sbom_id"])
    assert out["decision_effect"] == "deny", out


def two_at_once_start_one(m):
    m.run("down")
    both = [subprocess.Popen([STELLA, "up", "--detach"], env=m.env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) for _ in range(2)]
    out = [p.communicate(timeout=300)[0] for p in both]
    codes = sorted(p.returncode for p in both)
    assert codes in ([0, 3], [0, 0]), (codes, out)
    assert m.json("status")["ready"] is True


def a_taken_port_is_named_with_its_holder(m):
    m.run("down")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        refused = m.run("up", "--detach", "--port", str(port), expect=1)
        assert f"port {port}" in refused.stderr and f"pid {os.getpid()}" in refused.stderr, refused.stderr
    assert m.json("status", expect=1)["state"] == "stopped"


def down_stops_everything_and_keeps_the_data(m):
    m.run("up", "--detach")
    parts = [p["pid"] for p in m.state()["parts"]]
    m.run("down")
    assert not any(alive(pid) for pid in parts)
    assert "does not run" in m.run("down").stdout
    log = m.data / "log/postgresql.log"
    before = log.stat().st_size
    m.run("up", "--detach")
    assert len(m.json("sbom", "list")["items"]) == 1
    assert "ERROR" not in log.read_text(errors="replace")[before:], "what is there already is asked for first"


def a_number_in_the_lock_is_nobody_to_stop(m):
    m.run("down")
    stranger = subprocess.Popen(["sleep", "600"])
    try:
        with open(m.data / "run/up.lock", "r+", encoding="ascii") as lock:
            assert stat.S_IMODE(os.fstat(lock.fileno()).st_mode) == 0o600
            assert lock.read() == "", "no number stays behind"
            lock.write(f"{stranger.pid}\n")
            lock.flush()
            fcntl.flock(lock, fcntl.LOCK_EX)
            refused = m.run("down", expect=None)
            assert refused.returncode != 0 and str(m.data / "run/up.lock") in refused.stderr, refused
            assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


def a_lost_secret_is_named_and_not_replaced(m):
    m.run("down")
    secret = m.data / "secrets/salt_secret"
    secret.rename(m.root / "salt_secret")
    refused = m.run("up", "--detach", expect=1)
    assert str(secret) in refused.stderr, refused.stderr
    assert not secret.exists()
    (m.root / "salt_secret").rename(secret)


def on_a_terminal(m, end, until="Ctrl-C stops it"):
    """`stella up` in the foreground of a terminal of its own until it says so, then `end(terminal)`. Its status, and PostgreSQL's log of that time."""
    m.run("down")
    log = m.data / "log/postgresql.log"
    before = log.stat().st_size
    child, terminal = pty.fork()
    if child == 0:
        for number in (signal.SIGHUP, signal.SIGINT):  # a test run in the background ignores them
            signal.signal(number, signal.SIG_DFL)
        os.execve(STELLA, [STELLA, "--no-color", "up"], m.env)
    shown = ""
    while until not in shown:
        shown += os.read(terminal, 4096).decode(errors="replace")
    terminal = end(terminal)
    while terminal is not None:
        try:
            shown += os.read(terminal, 4096).decode(errors="replace")
        except OSError:  # nobody has its other side any more
            os.close(terminal)
            terminal = None
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status), log.read_text(errors="replace")[before:], shown


def press(terminal):
    os.write(terminal, b"\x03")
    return terminal


def ctrl_c_ends_a_start_too(m):
    status, log, shown = on_a_terminal(m, press, until="database: migrated")
    assert status != 0, shown
    assert "a stop was asked for" in shown and "stella-runner: ready" not in shown, shown
    assert log.count("database system is shut down") == 1, log


def ctrl_c_stops_the_newest_first(m):
    status, log, shown = on_a_terminal(m, press)
    assert status == 0, (status, shown)
    assert log.count("database system is shut down") == 1, log
    order = [shown.index(f"{part}: stopped") for part in ("stella-runner", "stellad", "nats", "postgresql")]
    assert order == sorted(order), shown


def a_terminal_that_goes_stops_it_too(m):
    status, log, _ = on_a_terminal(m, os.close)
    assert status == 0, status
    assert log.count("database system is shut down") == 1, log


def lines_rotate(m):
    m.run("down")
    settings = m.data / "stella.yaml"
    before = settings.read_text()
    settings.write_text(before + "log.rotate_bytes: 4096\nlog.keep_files: 3\n")
    m.run("up", "--detach")
    try:
        def files(program):
            return list((m.data / "log" / program).glob(program + ".log.*"))

        def busy():
            m.run("demo", "--samples", SAMPLES)
            return len(files("stellad")) == 3 and files("stella-runner")

        wait(busy, 120)
        for program in ("stellad", "stella-runner"):
            lines = (m.data / "log" / f"{program}.log").read_text().splitlines()
            assert all(json.loads(line)["service"] == program for line in lines), lines[-3:]
            assert (m.data / "log" / f"{program}.err").read_text() == "", "nothing but what has no log yet"
    finally:
        m.run("down")
        settings.write_text(before)


def otel_variables_reach_the_parts_and_no_file(m):
    m.run("down")
    said = {"OTEL_RESOURCE_ATTRIBUTES": "team=blue", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9", "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Bearer%20zQ9dNoFileHoldsThis"}
    m.env.update(said)
    try:
        m.run("up", "--detach")
    finally:
        for name in said:
            del m.env[name]
    for part in m.state()["parts"]:
        environment = pathlib.Path(f"/proc/{part['pid']}/environ").read_text().split("\0")
        for name, value in said.items():
            assert (f"{name}={value}" in environment) == (part["name"] in ("stellad", "stella-runner")), (part["name"], name)
    wait(lambda: not m.run("status", expect=None).returncode, 30)
    m.run("down")
    for path in m.data.rglob("*"):
        assert not path.is_file() or b"zQ9dNoFileHoldsThis" not in path.read_bytes(), path


def wait(condition, seconds):
    """Until it holds; a bound on a hang, no measure of speed."""
    import time
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it never came true"
        time.sleep(0.1)


def main():
    m = Machine()
    passed = failed = 0
    failures = []
    try:
        for test in (first_start_says_where_and_who, secrets_are_for_one_reader, under_root_three_users, second_start_says_so, the_chain_runs_on_the_samples, a_killed_part_comes_back,
                     a_killed_supervisor_leaves_nothing_behind_and_can_start_again, two_at_once_start_one, a_taken_port_is_named_with_its_holder, a_number_in_the_lock_is_nobody_to_stop,
                     a_lost_secret_is_named_and_not_replaced, ctrl_c_ends_a_start_too, ctrl_c_stops_the_newest_first, a_terminal_that_goes_stops_it_too, lines_rotate, otel_variables_reach_the_parts_and_no_file, down_stops_everything_and_keeps_the_data):
            try:
                test(m)
                passed += 1
                print("ok   ", test.__name__, flush=True)
            except Exception:  # the next step may still say something
                failed += 1
                print("FAIL ", test.__name__, flush=True)
                failures.append(f"FAIL  {test.__name__}\n{traceback.format_exc()[-1500:]}")
    finally:
        if failed:
            for log in sorted((m.data / "log").glob("*.log")):
                print(f"== {log}\n" + "\n".join(log.read_text(errors="replace").splitlines()[-15:]))
        m.end()
    # Last, where whoever shows only the end of the output shows them.
    for failure in failures:
        print(failure)
    print(f"{passed} passed, {failed} failed, 0 skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
