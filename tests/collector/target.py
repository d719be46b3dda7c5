"""A backend that takes OTLP/HTTP: every request is a file before it is acknowledged, so that a killed target loses nothing it said it had.

  target.py PORT DIRECTORY        answers 200; 503 with Retry-After while the file DIRECTORY/refuse exists
"""
import gzip
import http.server
import os
import pathlib
import sys
import threading
import uuid

PORT, DIRECTORY = int(sys.argv[1]), pathlib.Path(sys.argv[2])


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        if (DIRECTORY / "refuse").exists():
            self.send_response(503)
            self.send_header("retry-after", "1")
            self.send_header("content-length", "0")
            self.end_headers()
            return
        name = f"{self.path.rsplit('/', 1)[-1]}-{uuid.uuid4().hex}"
        temporary = DIRECTORY / ("." + name)
        temporary.write_bytes(body)
        os.replace(temporary, DIRECTORY / (name + ".pb"))
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = True


threading.stack_size(256 << 10)
Server(("127.0.0.1", PORT), Handler).serve_forever()
