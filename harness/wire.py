"""The frames between the harness and a worker, on two dedicated pipes; never pickles.

8 bytes   length of the header, length of the payload (big-endian uint32 each)
header    JSON
payload   raw bytes: the images of one batch, uint8, one after the other
"""

from __future__ import annotations

import json
import os
import select
import struct
import time
from collections.abc import Mapping
from typing import Any

__all__ = ["read_frame", "write_frame"]

LENGTHS = struct.Struct(">II")
MAX_HEADER_BYTES = 1 << 26


def write_frame(
    fd: int, header: Mapping[str, Any], payload: bytes = b"", *, deadline: float | None = None
) -> None:
    """Writes one frame. Raises OSError when the other end is gone, TimeoutError past the deadline.

    The deadline (s) is kept where the pipe does not block.
    """
    head = json.dumps(header, allow_nan=False).encode()
    view = memoryview(LENGTHS.pack(len(head), len(payload)) + head + payload)
    while view:
        try:
            view = view[os.write(fd, view) :]
        except BlockingIOError:
            wait_s = None if deadline is None else max(0.0, deadline - time.monotonic())
            if not select.select([], [fd], [], wait_s)[1]:
                raise TimeoutError from None


def read_frame(fd: int, deadline: float | None = None) -> tuple[dict[str, Any], bytes]:
    """Reads one frame. Raises EOFError, ValueError, and TimeoutError past the deadline (s)."""
    head_bytes, payload_bytes = LENGTHS.unpack(_read(fd, LENGTHS.size, deadline))
    if head_bytes > MAX_HEADER_BYTES:
        raise ValueError(f"a header of {head_bytes} bytes")
    header = json.loads(_read(fd, head_bytes, deadline))
    if not isinstance(header, dict):
        raise ValueError("the header is no JSON object")
    return header, _read(fd, payload_bytes, deadline)


def _read(fd: int, count: int, deadline: float | None) -> bytes:
    chunks, left = [], count
    while left:
        if deadline is not None:
            wait_s = deadline - time.monotonic()
            if wait_s <= 0 or not select.select([fd], [], [], wait_s)[0]:
                raise TimeoutError
        chunk = os.read(fd, left)
        if not chunk:
            raise EOFError
        chunks.append(chunk)
        left -= len(chunk)
    return chunks[0] if len(chunks) == 1 else b"".join(chunks)
