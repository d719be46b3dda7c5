"""HTTP client of the tests: one request, one reply, nothing hidden. Thread-safe (a connection per request)."""
import http.client
import json as jsonlib
import os
import time
import urllib.parse
import uuid


class Unreachable(Exception):
    """No reply: refused, cut, or too late. Whether the request was done is unknown."""


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def text(self):
        return self.body.decode("utf-8", "replace")

    @property
    def json(self):
        return jsonlib.loads(self.body)

    @property
    def trace(self):
        return self.headers.get("x-trace-id", "")

    def __getitem__(self, name):
        return self.json[name]

    def __repr__(self):
        return f"{self.status} {self.text[:600]}"


def first_message(response):
    """A stream of events has no end: its first message, or its first comment."""
    out = b""
    while not out.endswith(b"\n\n"):
        line = response.readline()
        if not line:
            break
        out += line
    return out


class Client:
    def __init__(self, url, token=None, timeout=150):
        self.host, self.port = urllib.parse.urlsplit(url).netloc.split(":")
        self.url, self.token, self.timeout = url, token, timeout
        self.scopes, self.tenant, self.actor, self.login_name = [], "", "", ""

    def request(self, method, path, body=None, headers=None, token=True, timeout=None):
        headers = {k.lower(): v for k, v in (headers or {}).items()}
        if isinstance(body, (dict, list)):
            body = jsonlib.dumps(body).encode()
            headers.setdefault("content-type", "application/json")
        elif isinstance(body, str):
            body = body.encode()
        if token is True:
            token = self.token
        if token:
            headers.setdefault("authorization", "Bearer " + token)
        connection = http.client.HTTPConnection(self.host, int(self.port), timeout=timeout or self.timeout)
        try:
            try:
                connection.request(method, path, body=body, headers=headers)
            except (BrokenPipeError, ConnectionResetError):
                # Refused before the body was read: the reply may be there all the same, unless the connection is gone with it.
                if connection.sock is None:
                    raise
            r = connection.getresponse()
            return Reply(r.status, {k.lower(): v for k, v in r.getheaders()}, first_message(r) if r.getheader("content-type") == "text/event-stream" else r.read())
        except (OSError, http.client.HTTPException) as e:
            raise Unreachable(f"{method} {path}: {type(e).__name__} {e}") from e
        finally:
            connection.close()

    def get(self, path, **kw):
        return self.request("GET", path, **kw)

    def post(self, path, body=None, **kw):
        return self.request("POST", path, {} if body is None else body, **kw)

    def delete(self, path, **kw):
        return self.request("DELETE", path, **kw)

    def login(self, name, secret, grant="password"):
        fields = {"grant_type": grant, "username" if grant == "password" else "client_id": name, "password" if grant == "password" else "client_secret": secret}
        reply = self.request("POST", "/tokens", urllib.parse.urlencode(fields), {"content-type": "application/x-www-form-urlencoded"}, token=None)
        if reply.status != 200:
            raise RuntimeError(f"login {name}: {reply}")
        self.token, self.scopes, self.tenant, self.actor, self.login_name = reply["access_token"], reply["scopes"], reply["tenant_id"], reply["actor"], name
        return reply

    def all(self, path):
        """Every item of a list, page by page."""
        items, cursor = [], None
        while True:
            page = self.get(path + (("&" if "?" in path else "?") + "cursor=" + urllib.parse.quote(cursor) if cursor else ""))
            assert page.status == 200, page
            items += page["items"]
            cursor = page.json.get("next_cursor")
            if not cursor:
                return items

    def events(self, trace, until=None, seconds=20):
        """Timeline events of a trace in log order; waits until `until(kinds)` holds, for the indexer works after the commit."""
        deadline = time.monotonic() + seconds
        while True:
            items = sorted(self.all(f"/timeline?trace={trace}"), key=lambda e: e["log_index"] if e.get("log_index") is not None else 1 << 60)
            if until is None or until([e["kind"] for e in items]) or time.monotonic() > deadline:
                return items
            time.sleep(0.05)


def uuid7():
    n = int(time.time() * 1000) << 80 | 7 << 76 | uuid.uuid4().int & ((1 << 76) - 1)
    return str(uuid.UUID(int=n & ~(3 << 62) | 2 << 62))


def tar_of(directory_or_files):
    """Bytes of a plain tar: of a directory's files, or of a list of (name, bytes)."""
    import io
    import tarfile
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        if isinstance(directory_or_files, str):
            directory_or_files = [(os.path.relpath(os.path.join(d, n), directory_or_files), open(os.path.join(d, n), "rb").read())
                                  for d, _, names in sorted(os.walk(directory_or_files)) for n in sorted(names)]
        for name, data in directory_or_files:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return out.getvalue()
