"""Books, as a team writes them: no health checks, no correlation ids. Python's standard library only.

Shows two metrics of its own on /metrics, one of them a business KPI.
"""

import json
import os
import signal
import threading
import time
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from urllib.parse import parse_qs, urlsplit

PORT = int(os.environ.get("PORT", "8000"))
books = {"1": {"id": "1", "title": "Candide"}, "2": {"id": "2", "title": "Nadja"}}
lock = threading.Lock()
created = 0


class Books(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    # One write an answer: headers and body apart would wait for each other's acknowledgement.
    wbufsize = -1
    disable_nagle_algorithm = True

    def do_GET(self):
        url = urlsplit(self.path)
        if url.path == "/api/v1/books":
            return self.answer(200, list(books.values()))
        if url.path.startswith("/api/v1/books/"):
            book = books.get(url.path.removeprefix("/api/v1/books/"))
            return self.answer(200, book) if book else self.answer(404, {"detail": "no such book"})
        if url.path == "/api/v1/slow":
            time.sleep(float(parse_qs(url.query).get("ms", ["1500"])[0]) / 1000)
            return self.answer(200, {"slept": True})
        if url.path == "/api/v1/events":
            return self.events()
        if url.path == "/api/v1/fail":
            return self.answer(500, {"detail": "password=hunter2 at db.internal"})
        if url.path == "/api/v1/echo":
            headers = {name.lower(): value for name, value in self.headers.items()}
            return self.answer(200, {"method": self.command, "headers": headers})
        if url.path == "/metrics":
            return self.metrics()
        return self.answer(404, {"detail": "Not Found"})

    do_HEAD = do_GET

    def do_POST(self):
        global created
        text = self.rfile.read(int(self.headers.get("Content-Length", "0")))
        if self.path != "/api/v1/books":
            return self.answer(404, {"detail": "Not Found"})
        try:
            title = json.loads(text)["title"]
        except (ValueError, KeyError, TypeError):
            return self.answer(422, {"detail": "title is missing"})
        with lock:
            created += 1
            book = {"id": str(len(books) + 1), "title": title}
            books[book["id"]] = book
        return self.answer(201, book)

    def answer(self, status, body):
        self.send(status, "application/json", json.dumps(body).encode())

    def metrics(self):
        text = f"# TYPE active_users gauge\nactive_users {len(books)}\n# TYPE books_created_total counter\nbooks_created_total {created}\n"
        self.send(200, "text/plain; version=0.0.4", text.encode())

    def send(self, status, media, body):
        self.send_response(status)
        self.send_header("Content-Type", media)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def events(self):
        """Five events, one every 100 ms."""
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Cache-Control", "no-cache")
        self.send_header("Connection", "close")
        self.end_headers()
        for number in range(1, 6):
            self.wfile.write(f'data: {{"number":{number}}}\n\n'.encode())
            self.wfile.flush()
            time.sleep(0.1)

    def log_message(self, *_):
        pass


# Not HTTPServer: that asks DNS for its own name before it listens.
class Server(ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    request_queue_size = 128


signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
print(f"python books on {PORT}", flush=True)
Server(("", PORT), Books).serve_forever()
