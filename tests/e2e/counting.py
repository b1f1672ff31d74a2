"""An upstream that counts: how often each path was asked for, and how many requests ran at once."""

from __future__ import annotations

import contextlib
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, urlsplit


class Counting(ThreadingHTTPServer):
    """GET /name?sleep=0.1 answers {"path": "/name", "n": 3} on the third time that it is asked, after the sleep.
    Order of arrival is in `order`; while `status` is not 200 it answers that; `delay` is slept by all."""

    daemon_threads = True
    request_queue_size = 256

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.lock = threading.Lock()
        self.count: Counter[str] = Counter()
        self.order: list[str] = []
        self.running = 0
        self.most = 0
        self.status = 200
        self.delay = 0.0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def handle_error(self, request: object, client_address: object) -> None:
        pass  # a client that left


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Counting

    def do_GET(self) -> None:
        url = urlsplit(self.path)
        words = parse_qs(url.query)
        with self.server.lock:
            self.server.count[url.path] += 1
            n = self.server.count[url.path]
            self.server.order.append(url.path)
            self.server.running += 1
            self.server.most = max(self.server.most, self.server.running)
            delay = self.server.delay
        time.sleep(float(words.get("sleep", ["0"])[0]) + delay)
        with self.server.lock:
            self.server.running -= 1
            status = self.server.status
        body = json.dumps({"path": url.path, "n": n}).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def counting() -> Iterator[Counting]:
    server = Counting()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
