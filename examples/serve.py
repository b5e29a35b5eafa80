"""Serves any function that draws, as un0bench asks a served model: in 40 lines of http.server.

    python examples/serve.py 8000 &
    un0bench audit 'system=[renderer,http]' candidate=http baseline=renderer \
        systems.http.base_url=http://localhost:8000/v1 systems.http.model=colours \
        systems.http.seed=true
"""

import base64
import io
import json
import random
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from PIL import Image

LONGEST = 1 << 20  # bytes of a request


def draw(prompt: str, seed: int) -> Image.Image:
    """Put your model here. This one fills 64 x 64 pixels with a colour."""
    colour = random.Random(f"{prompt}|{seed}").randbytes(3)
    return Image.new("RGB", (64, 64), tuple(colour))


class Handler(BaseHTTPRequestHandler):
    """Answers POST /v1/images/generations with one PNG."""

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        try:
            asked = json.loads(self.rfile.read(min(length, LONGEST)))
            picture = draw(str(asked["prompt"]), int(asked.get("seed", 0)))
        except (ValueError, KeyError, TypeError) as error:
            self.send_error(400, f"{type(error).__name__}: {error}")
            return
        sink = io.BytesIO()
        picture.save(sink, "PNG")
        data = [{"b64_json": base64.b64encode(sink.getvalue()).decode()}]
        answer = json.dumps({"data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_: object) -> None:
        """Says nothing: an audit asks thousands of times."""


def serve(port: int) -> ThreadingHTTPServer:
    """A server of this machine alone; 0 takes any free port."""
    return ThreadingHTTPServer(("127.0.0.1", port), Handler)


if __name__ == "__main__":
    serve(int(sys.argv[1])).serve_forever()
