"""A model that is served elsewhere, asked as OpenAI's images interface is.

    POST {base_url}/images/generations  {"model", "prompt", "n": 1, "size", "seed", ...}
    answer  {"data": [{"b64_json": "..."}]}, or "url" where that is of the same server

Its joules and processor time are the server's: with `device: remote` none of this machine are taken
for them.
"""

from __future__ import annotations

import base64
import io
import json
import os
import re
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPException
from typing import Any
from urllib.parse import SplitResult, urljoin, urlsplit

import numpy as np
from PIL import Image

from harness.boundaries import REMOTE
from harness.errors import AssetError, ConfigError, one_line
from harness.records import Failure, Request, SystemCard

__all__ = ["HttpSystem"]

PROBE_S = 10.0  # for any answer, when it is loaded
LARGEST_BYTES = 64 << 20  # of one answer
SEED_BITS = 31  # of a request's 63: what every server's integer holds
TOLD = 300  # characters of a server's own words that a failure quotes


class HttpSystem:
    """Asks for one picture a request, `parallel` at once, each over a connection of its own.

    `size` is "WIDTHxHEIGHT"; None leaves it to the server. `key_env` names the environment variable
    that holds the bearer key, which is neither kept nor told. `seed` sends the request's seed.
    `call` holds further fields of the request. `request_timeout_s`: seconds without a byte after
    which a request has failed. No redirect is followed, so that the key stays with its server.
    """

    def __init__(
        self,
        *,
        base_url: str,
        model: str,
        size: str | None = None,
        response_format: str | None = "b64_json",
        seed: bool = False,
        call: Mapping[str, Any] | None = None,
        key_env: str | None = None,
        parallel: int = 1,
        request_timeout_s: float = 120.0,
        device: str | None = REMOTE,
    ) -> None:
        self.base_url = base_url.rstrip("/") + "/"
        parts = urlsplit(self.base_url)
        odd = "@" in parts.netloc or parts.query or parts.fragment
        if parts.scheme not in ("http", "https") or not parts.hostname or odd:
            raise ConfigError(
                f"base_url={parts.scheme}://{parts.hostname}...; it is http(s)://host/v1, without "
                "a name, password or query (key_env names where a key is)."
            )
        sides = re.fullmatch(r"([1-9]\d*)x([1-9]\d*)", size or "")
        if size is not None and sides is None:
            raise ConfigError(f"size={size!r}; it is WIDTHxHEIGHT, as in 512x512.")
        if isinstance(parallel, bool) or not isinstance(parallel, int) or parallel < 1:
            raise ConfigError(f"parallel={parallel!r}; it is a number of requests, from 1 on.")
        if not request_timeout_s > 0:
            raise ConfigError(f"request_timeout_s={request_timeout_s!r}; it is above 0.")
        self.width, self.height = map(int, sides.groups()) if sides else (0, 0)
        self.key_env, self.parallel, self.timeout_s = key_env, parallel, request_timeout_s
        self.model, self.seed, self.device = model, seed, device
        fields = {"size": size, "response_format": response_format, **dict(call or {})}
        self.fields = {name: value for name, value in fields.items() if value is not None}
        self._opener = urllib.request.build_opener(_NoRedirect)
        self._key = ""

    def load(self) -> None:
        """Raises ConfigError for a key that is not there, AssetError where no server lets us in."""
        if self.key_env:
            self._key = os.environ.get(self.key_env, "")
            if not self._key:
                raise ConfigError(
                    f"key_env={self.key_env}, but the environment has no {self.key_env}. Export it."
                )
        try:
            self._fetch("models", timeout_s=min(PROBE_S, self.timeout_s))
        except urllib.error.HTTPError as error:
            with error:
                if error.code in (401, 403):
                    raise AssetError(
                        f"{self.base_url} refuses the key (HTTP {error.code}). Name the variable "
                        "that holds it with key_env=..."
                    ) from None  # any other answer is one
        except (OSError, HTTPException, ValueError) as error:
            raise AssetError(
                f"No server answers at {self.base_url} ({self._told(error)}). Start it, or check "
                "base_url."
            ) from error

    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Fetches uint8 images [H, W, 3], sRGB; a request that the server fails is a failure."""
        with ThreadPoolExecutor(min(self.parallel, len(requests))) as threads:
            return list(threads.map(self._one, requests))

    def card(self) -> SystemCard:
        """What is asked for; of the model itself nothing is known."""
        return SystemCard(
            name=self.model,
            height=self.height,
            width=self.width,
            notes={
                "what": f"served by {urlsplit(self.base_url).netloc}, asked over HTTP",
                "model": self.model,
                "seeded": self.seed,
                "parallel": self.parallel,
                "device": self.device,
                **self.fields,
            },
        )

    def _one(self, request: Request) -> np.ndarray | Failure:
        asked = {"model": self.model, "prompt": request.prompt.text, "n": 1, **self.fields}
        if self.seed:
            asked["seed"] = request.seed % (1 << SEED_BITS)
        try:
            answer = json.loads(self._fetch("images/generations", json.dumps(asked).encode()))
            picture = self._picture(answer["data"][0])
        except urllib.error.HTTPError as error:
            with error:
                return Failure(reason=f"HTTP {error.code}: {self._told(error, _body(error))}")
        except TimeoutError:
            return Failure(reason=f"the server was silent for {self.timeout_s:g} s")
        except (OSError, HTTPException, Image.DecompressionBombError) as error:
            return Failure(reason=f"no picture came: {self._told(error)}")
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            return Failure(reason=f"the server answered otherwise: {self._told(error)}")
        if self.height and picture.shape != (self.height, self.width, 3):
            height, width, _ = picture.shape
            return Failure(reason=f"{width}x{height} came, {self.width}x{self.height} was asked")
        return picture

    def _picture(self, entry: Mapping[str, Any]) -> np.ndarray:
        if entry.get("b64_json"):
            data = base64.b64decode(entry["b64_json"], validate=True)
        else:
            url = urljoin(self.base_url, entry["url"])
            if _origin(urlsplit(url)) != _origin(urlsplit(self.base_url)):
                raise ValueError(f"a picture at {urlsplit(url).hostname}, which is not fetched")
            data = self._fetch(url)
        with Image.open(io.BytesIO(data)) as opened:
            return np.asarray(opened.convert("RGB"))

    def _fetch(
        self, path: str, body: bytes | None = None, *, timeout_s: float | None = None
    ) -> bytes:
        request = urllib.request.Request(urljoin(self.base_url, path), data=body)
        if body is not None:
            request.add_header("Content-Type", "application/json")
        if self._key:
            request.add_unredirected_header("Authorization", f"Bearer {self._key}")
        with self._opener.open(request, timeout=timeout_s or self.timeout_s) as answer:
            data: bytes = answer.read(LARGEST_BYTES + 1)
        if len(data) > LARGEST_BYTES:
            raise ValueError(f"more than {LARGEST_BYTES} bytes")
        return data

    def _told(self, error: Exception, text: str = "") -> str:
        """What went wrong, on one line and without the key, which a server may quote."""
        told = one_line(text or str(error) or type(error).__name__)
        return (told.replace(self._key, "***") if self._key else told)[:TOLD]


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *arguments: Any, **options: Any) -> None:
        """Follows none: what it answers with is then an HTTPError."""


def _body(error: urllib.error.HTTPError) -> str:
    """What an error's answer says, where it says it as OpenAI's does; else its text."""
    try:
        text = error.read(1 << 16).decode("utf-8", "replace")
    except (OSError, HTTPException):
        return ""
    try:
        return str(json.loads(text)["error"]["message"])
    except (ValueError, LookupError, TypeError):
        return text


def _origin(url: SplitResult) -> tuple[str, str | None, int | None]:
    return url.scheme, url.hostname, url.port or {"http": 80, "https": 443}.get(url.scheme)
