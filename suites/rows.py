"""Rows of text files, with the line of every mistake."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.errors import InputError

__all__ = ["decoded", "lines", "objects"]


def decoded(path: Path) -> str:
    """The file's text. Raises InputError for one that cannot be read or is not UTF-8."""
    try:
        return path.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError as error:
        raise InputError(
            f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8; in a spreadsheet choose "
            "CSV UTF-8."
        ) from None


def lines(text: str) -> Iterator[tuple[int, str]]:
    """Lines that are not blank, from 1; cut where editors cut them and nowhere else."""
    for number, line in enumerate(re.split(r"\r\n|\n|\r", text), start=1):
        if line.strip():
            yield number, line


def objects(path: Path, text: str, remedy: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """A JSON object a line. Raises InputError."""
    for number, line in lines(text):
        try:
            row = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise InputError(f"{path}:{number}: not JSON ({error}). {remedy}") from None
        if not isinstance(row, dict):
            raise InputError(f"{path}:{number}: a {type(row).__name__}, not an object. {remedy}")
        yield number, row
