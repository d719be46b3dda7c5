"""An OTLP/HTTP receiver that misbehaves on demand. Its own process, so that its work is not the load generator's.

  otlp_target.py DIR    prints its port; takes modes on standard input, a line each, and answers each with "ok" once it is in force

What it acknowledged lies in DIR, a file a request: <number>-<signal>. Modes:
  up            200
  slow          200 after two seconds
  throttled     429 with Retry-After: 1
  unavailable   503 with Retry-After: 1
  half-closed   reads the request, then closes its half without an answer
  garbage       answers bytes that are no HTTP
  silent        accepts, never reads, never answers
  down          the port is closed
"""
import gzip
import os
import socket
import sys
import threading
import time


class Target:
    def __init__(self, directory):
        self.directory, self.mode, self.requests, self.lock = directory, "up", 0, threading.Lock()
        self.listener, self.connections = None, set()
        self.port = 0
        self._listen()

    def _listen(self):
        self.listener = socket.socket()
        self.listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.listener.bind(("127.0.0.1", self.port))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        threading.Thread(target=self._accept, args=(self.listener,), daemon=True).start()

    def change(self, mode):
        """Connections of the mode before are cut, so that nobody waits for an answer of then."""
        with self.lock:
            self.mode = mode
            cut, self.connections = self.connections, set()
        if mode == "down" and self.listener is not None:
            self.listener.shutdown(socket.SHUT_RDWR)
            self.listener.close()
            self.listener = None
        for connection in cut:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        if mode != "down" and self.listener is None:
            self._listen()

    def _accept(self, listener):
        while True:
            try:
                connection = listener.accept()[0]
            except OSError:
                return
            with self.lock:
                self.connections.add(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        try:
            stream = connection.makefile("rb")
            while self.mode != "silent" and self._one(connection, stream):
                pass
            if self.mode == "silent":
                return  # stays open and unread until the mode changes
        except (OSError, ValueError):
            pass
        with self.lock:
            self.connections.discard(connection)
        connection.close()

    def _one(self, connection, stream):
        line = stream.readline()
        if not line:
            return False
        path = line.split()[1].decode()
        headers = {}
        while (line := stream.readline().strip()):
            name, _, value = line.partition(b":")
            headers[name.strip().lower().decode()] = value.strip().decode()
        if headers.get("expect", "").lower() == "100-continue":
            connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
        body = stream.read(int(headers.get("content-length", 0)))
        mode = self.mode
        if mode == "half-closed":
            connection.shutdown(socket.SHUT_WR)
            time.sleep(0.2)
            return False
        if mode == "garbage":
            connection.sendall(bytes(range(256)) * 4)
            return False
        if mode in ("throttled", "unavailable"):
            status = b"429 Too Many Requests" if mode == "throttled" else b"503 Service Unavailable"
            connection.sendall(b"HTTP/1.1 " + status + b"\r\nretry-after: 1\r\ncontent-length: 0\r\n\r\n")
            return True
        if mode == "silent":
            return False
        if mode == "slow":
            time.sleep(2)
        if headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        with self.lock:  # written before it is acknowledged
            self.requests += 1
            name = os.path.join(self.directory, f"{self.requests:06}-{path.rsplit('/', 1)[1]}")
            with open(name + ".part", "wb") as file:
                file.write(body)
            os.rename(name + ".part", name)
        connection.sendall(b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n")
        return True


def main():
    target = Target(sys.argv[1])
    print(target.port, flush=True)
    for line in sys.stdin:
        target.change(line.strip())
        print("ok", flush=True)


if __name__ == "__main__":
    main()
