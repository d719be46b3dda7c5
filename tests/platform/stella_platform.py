"""A private platform for tests: PostgreSQL, nats-server, stellad and stella-runner on free ports in a temporary directory.

    with Platform() as p:
        acme = p.client("admin")          # logged in; see client.py
        p.kill("stellad"); p.start("stellad"); p.wait_ready()

Everything that was started is killed with the fixture, also after an exception, a signal or the death of this process (PR_SET_PDEATHSIG).
The file is not called platform.py because the standard library has a module of that name.
"""
import atexit
import ctypes
import glob
import json
import os
import pwd
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

from client import Client, Unreachable

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
SAMPLES = os.path.join(ROOT, "samples")
PG_BIN = next(iter(sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)), "/usr/bin")
NATS = shutil.which("nats-server") or "/usr/sbin/nats-server"
LOGINS = ["stella_owner", "stella_web", "stella_authority", "stella_orchestrator", "stella_indexer", "stella_locker", "stella_telemetry"]
BUS_USERS = ["orchestrator", "indexer", "web", "locker", "runner"]
PARTS = ["postgresql", "nats", "stellad", "runner"]
OPERATORS = {"acme": ["admin", "second"], "beta": ["beta-admin", "beta-second"]}
_libc = ctypes.CDLL(None, use_errno=True)


def shared(below=""):
    """Path in the optional data set beside the checkout, or None."""
    path = os.path.join(os.environ.get("STELLA_SHARED") or os.path.join(ROOT, "..", "shared"), below)
    return path if os.path.exists(path) else None


def binary(name, required=True):
    """STELLA_BIN_DIR first, then the newest build that has the program, then PATH."""
    chosen = os.environ.get("STELLA_BIN_DIR")
    found = [os.path.join(chosen, name)] if chosen else []
    found += sorted(glob.glob(os.path.join(ROOT, "build", "*", "bin", name)), key=os.path.getmtime, reverse=True)
    for path in found:
        if os.access(path, os.X_OK):
            return path
    path = shutil.which(name)
    if path is None and required:
        sys.exit(f"{name} is not built: run make, or set STELLA_BIN_DIR")
    return path


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def _die_with_parent():
    _libc.prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: nothing outlives a killed test


class StartError(Exception):
    pass


class Platform:
    def __init__(self, settings=None, tenants=("acme", "beta"), keep=False, telemetry_dir=False):
        self.keep = keep or bool(os.environ.get("STELLA_KEEP"))
        self.settings = settings or {}
        self.telemetry_dir = telemetry_dir  # rings and spool below the data directory instead of in memory: for those who look into them
        self.tenants = list(tenants)
        self.procs = {}
        self.passwords = {}
        self.secrets = {}       # name -> secret: what the canary test looks for
        self.dir = None
        self.superuser_password = secrets.token_urlsafe(18)
        self.ports = {}
        self._tokens = {}

    # ── life ──────────────────────────────────────────────────────────────────────────────────────────────────────
    def __enter__(self):
        atexit.register(self.stop)
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
        try:
            self._make()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(self, *_):
        self.stop()

    def stop(self):
        for part in reversed(PARTS):
            self.kill(part)
        if self.dir and not self.keep:
            shutil.rmtree(self.dir, ignore_errors=True)
        elif self.dir:
            print(f"kept: {self.dir}", file=sys.stderr)
        self.dir = None
        atexit.unregister(self.stop)

    def path(self, *below):
        return os.path.join(self.dir, *below)

    def _secret(self, name, text, mode=0o600):
        path = self.path("secrets", name)
        with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, mode), "w") as f:
            f.write(text + "\n")
        self.secrets[name] = text
        return path

    def _make(self):
        self.dir = tempfile.mkdtemp(prefix="stella-", dir="/tmp" if len(tempfile.gettempdir()) > 40 else None)
        os.chmod(self.dir, 0o711)
        for d in ("run", "secrets", "secrets/pg", "secrets/nats", "objects", "jobs", "log", "keys", "nats", "pg", "tmp"):
            os.mkdir(self.path(d), 0o755 if d == "run" else 0o700)
        for login in LOGINS:
            self._secret("pg/" + login, secrets.token_urlsafe(18))
        for user in BUS_USERS:
            self._secret("nats/" + user, secrets.token_hex(18))
        for name in ("key_passphrase", "salt_secret"):
            self._secret(name, secrets.token_urlsafe(24))
        self._secret("su", self.superuser_password)
        for tenant in self.tenants:
            entries = []
            for i, login in enumerate(OPERATORS.get(tenant, [tenant + "-admin"])):
                self.passwords[login] = secrets.token_urlsafe(18)
                entries.append({"login": login, "secret": self.passwords[login], "display_name": login.title(), "platform": tenant == "acme" and i == 0})
            with open(self.path(f"operators-{tenant}.json"), "w") as f:
                json.dump({"operators": entries}, f)
        self.ports = {name: free_port() for name in ("http", "pg", "nats")}
        lines = {"data_dir": self.dir, "http.port": self.ports["http"], "pg.port": self.ports["pg"], "nats.url": f"nats://127.0.0.1:{self.ports['nats']}",
                 "log.path": self.path("log", "stellad.log"), **self.settings}
        if self.telemetry_dir:
            os.mkdir(self.path("telemetry"), 0o700)
            lines["telemetry.dir"] = self.path("telemetry", "rings")
            lines["telemetry.spool_dir"] = self.path("telemetry", "spool")
        with open(self.path("stella.yaml"), "w") as f:
            f.writelines(f"{k}: {v}\n" for k, v in lines.items())
        self._initdb()
        self.run_tool("--nats-config", self.path("nats.conf"))
        self.start("postgresql")
        self.start("nats")
        self._wait_postgresql()
        su = ["--superuser-password-file", self.path("secrets", "su")]
        for tenant in self.tenants:
            self.init_report = self.run_tool("--init", *su, "--tenant", tenant, "--tenant-name", tenant.title(), "--operators", self.path(f"operators-{tenant}.json"))
            su = []
        self.start("stellad")
        self.start("runner")
        self.wait_ready()

    def run_tool(self, *arguments):
        done = subprocess.run([binary("stellad"), "--config", self.path("stella.yaml"), *arguments], capture_output=True, text=True, timeout=120)
        if done.returncode != 0:
            raise StartError(f"stellad {arguments[0]} failed: {done.stderr.strip()}")
        return json.loads(done.stdout) if done.stdout.strip().startswith("{") else done.stdout

    # ── parts ─────────────────────────────────────────────────────────────────────────────────────────────────────
    def _pg_user(self):
        """PostgreSQL refuses root."""
        if os.getuid() != 0:
            return {}
        user = pwd.getpwnam("postgres")
        return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": [], "cwd": "/"}

    def _initdb(self):
        who = self._pg_user()
        pwfile = self.path("run", "pw")
        with open(os.open(pwfile, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write(self.superuser_password + "\n")
        if who:
            for d in (self.path("pg"), self.path("run"), pwfile):
                os.chown(d, who["user"], who["group"])
        done = subprocess.run([PG_BIN + "/initdb", "-D", self.path("pg"), "-U", "postgres", "--auth=scram-sha-256", "--pwfile=" + pwfile, "-E", "UTF8",
                               "--locale=C", "--no-sync", "--no-instructions"], capture_output=True, text=True, timeout=120, **who)
        os.unlink(pwfile)
        if done.returncode != 0:
            raise StartError("initdb failed: " + done.stderr)
        # Nothing that a process wrote is lost with the process: fsync off saves the tests time. STELLA_TEST_FSYNC=on for the real thing.
        with open(self.path("pg", "postgresql.conf"), "a") as f:
            f.write(f"port={self.ports['pg']}\nlisten_addresses='127.0.0.1'\nunix_socket_directories='{self.path('run')}'\nshared_buffers=64MB\nmax_connections=150\n"
                    f"fsync={self.settings_pg_fsync()}\nlog_min_messages=warning\n")

    def settings_pg_fsync(self):
        return os.environ.get("STELLA_TEST_FSYNC", "off")

    def start(self, part):
        assert part not in self.procs or self.procs[part].poll() is not None, part + " runs already"
        extra = {}
        if part == "postgresql":
            argv, extra = [PG_BIN + "/postgres", "-D", self.path("pg")], self._pg_user()
        elif part == "nats":
            argv = [NATS, "-c", self.path("nats.conf")]
        elif part == "stellad":
            argv = [binary("stellad"), "--config", self.path("stella.yaml")]
        else:
            argv = [binary("stella-runner"), "--config", self.path("stella.yaml")]
            extra = {"env": {**os.environ, "STELLA_LOG_PATH": self.path("log", "runner.log")}}
        with open(self.path("log", part + ".err"), "ab") as err:
            self.procs[part] = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=err, stderr=err, preexec_fn=_die_with_parent, **extra)

    def kill(self, part, sig=signal.SIGKILL):
        """Kills exactly the process that start() made; waits for its end."""
        proc = self.procs.pop(part, None)
        if proc is None:
            return False
        alive = proc.poll() is None
        if alive:
            proc.send_signal(sig)
            try:
                proc.wait(20)
            except subprocess.TimeoutExpired:
                proc.kill()
                proc.wait(20)
        return alive

    def running(self, part):
        return part in self.procs and self.procs[part].poll() is None

    def restart(self, part, sig=signal.SIGKILL):
        self.kill(part, sig)
        self.start(part)

    def _wait_postgresql(self, seconds=60):
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.running("postgresql"):
                # After kill -9 the old backends hold the shared memory for a moment.
                self.procs.pop("postgresql", None)
                self.start("postgresql")
            done = subprocess.run([PG_BIN + "/pg_isready", "-q", "-h", self.path("run"), "-p", str(self.ports["pg"])])
            if done.returncode == 0:
                return
            time.sleep(0.05)
        raise StartError("PostgreSQL does not start: " + self.log_tail("postgresql"))

    def wait_ready(self, seconds=60):
        """Polls /readyz until it says ready; a part that ended by itself is an error."""
        deadline = time.monotonic() + seconds
        last = ""
        while time.monotonic() < deadline:
            if "postgresql" in self.procs:
                self._wait_postgresql()  # asked itself: what /readyz says may be a second old
            for part in ("nats", "stellad", "runner"):
                if part in self.procs and not self.running(part):
                    raise StartError(f"{part} ended with {self.procs[part].returncode}: " + self.log_tail(part))
            try:
                reply = Client(self.url).get("/readyz")
                if reply.status == 200:
                    return
                last = reply.text
            except Unreachable as e:
                last = str(e)
            time.sleep(0.05)
        raise StartError(f"not ready after {seconds} s: {last}\n" + self.log_tail("stellad"))

    def log_tail(self, part, lines=15):
        out = []
        for name in (part + ".err", part + ".log"):
            if os.path.exists(self.path("log", name)):
                with open(self.path("log", name), errors="replace") as f:
                    out += f.readlines()[-lines:]
        return "".join(out)

    # ── access ────────────────────────────────────────────────────────────────────────────────────────────────────
    @property
    def url(self):
        return f"http://127.0.0.1:{self.ports['http']}"

    def client(self, login="admin"):
        """A client that is logged in as an operator."""
        c = Client(self.url)
        c.login(login, self.passwords[login])
        return c

    def service(self, admin, scopes, platform_scopes=()):
        """A client with exactly these scopes: a new service account of the operator's tenant."""
        name, secret = "svc-" + secrets.token_hex(6), secrets.token_urlsafe(18)
        reply = admin.post("/principals", {"kind": "service", "login": name, "secret": secret, "display_name": "test", "scopes": list(scopes),
                                           "platform_scopes": list(platform_scopes)})
        assert reply.status == 201, reply
        c = Client(self.url)
        c.login(name, secret, grant="client_credentials")
        return c

    def sql(self, query):
        """Rows of a query as dicts, as superuser: the independent eye of the checkers."""
        return json.loads(self.execute(f"SELECT coalesce(json_agg(t), '[]'::json) FROM ({query}) t"))

    def execute(self, statement):
        """A statement as superuser, and what psql prints of it: for states that no user could bring about."""
        done = subprocess.run([PG_BIN + "/psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", self.path("run"), "-p", str(self.ports["pg"]), "-U", "postgres",
                               "-d", "stella", "-c", statement],
                              capture_output=True, text=True, timeout=120, env={**os.environ, "PGPASSWORD": self.superuser_password})
        if done.returncode != 0:
            raise RuntimeError("psql: " + done.stderr)
        return done.stdout

    def key_path(self):
        return self.path("keys", "evidence.pub")

    def object_path(self, tenant, digest):
        hits = glob.glob(self.path("objects", "**", tenant, "**", digest), recursive=True)
        return hits[0] if hits else None


if __name__ == "__main__":  # by hand: starts one, prints its URL and logins, waits for Ctrl-C
    began = time.monotonic()
    with Platform() as p:
        print(f"{p.url} ready after {time.monotonic() - began:.1f} s, data in {p.dir}")
        for login, password in p.passwords.items():
            print(f"  {login} {password}")
        try:
            signal.pause()
        except KeyboardInterrupt:
            pass
