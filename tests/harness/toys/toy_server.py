"""A small server of pictures with OpenAI's images interface, in a thread of the test."""

import base64
import contextlib
import io
import json
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
from PIL import Image

KEY = "secret-key"


def png(width, height, value):
    sink = io.BytesIO()
    Image.fromarray(np.full((height, width, 3), value, np.uint8)).save(sink, "PNG")
    return sink.getvalue()


class Handler(BaseHTTPRequestHandler):
    """Does what the prompt says: "grey 7" answers well, other words in ways of their own."""

    def do_GET(self):
        if self.path == "/v1/models":
            allowed = self.headers.get("Authorization") in self.server.keys
            return self.answer(404 if allowed else 401, b"no list")
        return self.answer(200, png(6, 4, 99))

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.asked.append((self.path, asked, self.headers.get("Authorization")))
        word, _, rest = asked["prompt"].partition(" ")
        if word == "grey":
            width, height = map(int, asked.get("size", "6x4").split("x"))
            return self.entry(b64_json=base64.b64encode(png(width, height, int(rest))).decode())
        if word == "url":
            return self.entry(url=rest)
        if word == "moved":
            return self.answer(302, b"", Location="/elsewhere")
        if word == "slow":
            time.sleep(1.0)
        said = {"error": {"message": f"no {word}\nfor {self.headers.get('Authorization')}"}}
        status = {"denied": 400, "full": 429}.get(word, 500)
        if word == "html":
            return self.answer(200, b"<html>")
        if word == "empty":
            return self.answer(200, b'{"data": []}')
        if word == "broken":
            return self.entry(b64_json=base64.b64encode(b"no picture").decode())
        return self.answer(status, json.dumps(said).encode())

    def entry(self, **fields):
        self.answer(200, json.dumps({"created": 1, "data": [fields]}).encode())

    def answer(self, status, body, **headers):
        with contextlib.suppress(OSError):  # who asked may have gone
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

    def log_message(self, *arguments):
        """Stays quiet."""


@contextlib.contextmanager
def serving(keys=(None,)):
    """The server, and `base_url` of it; `keys` are the values of Authorization that it takes."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.asked, server.keys = [], keys
    server.base_url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
