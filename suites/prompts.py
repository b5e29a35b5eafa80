"""Prompts of one's own: JSONL, CSV or plain text, read with the line of every mistake.

JSONL  {"id": "p1", "text": "a red circle", "category": "shapes", "spec": {...}}
CSV    a header with at least `text`; `id` and `category` are optional
TXT    one prompt a line
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import InputError
from harness.records import Prompt, PromptSet
from suites.proc.sets import to_jsonl
from suites.proc.verify import verify
from suites.rows import decoded, lines, objects

__all__ = ["read_prompt_file"]

FIELDS = ("id", "text", "category", "spec", "tags")
BLANK = np.zeros((64, 64, 3), np.uint8)
REMEDY = 'Write each row as {"id": "p1", "text": "a red circle", "category": "shapes"}.'


def read_prompt_file(path: Path) -> PromptSet:
    """Reads a prompt file. Raises InputError naming file, line and remedy."""
    readers = {".jsonl": _jsonl, ".csv": _csv, ".txt": _txt}
    reader = readers.get(path.suffix)
    if reader is None:
        raise InputError(f"{path}: prompts are read from .jsonl, .csv or .txt files.")
    text = decoded(path)
    prompts: dict[str, Prompt] = {}
    for line, row in reader(path, text):
        prompt = _prompt(path, line, row)
        if prompt.id in prompts:
            raise InputError(f"{path}:{line}: id {prompt.id!r} appears twice. Make ids unique.")
        prompts[prompt.id] = prompt
    if not prompts:
        raise InputError(f"{path} holds no prompts. {REMEDY}")
    chosen = tuple(prompts.values())
    digest = hashlib.sha256(to_jsonl(chosen)).hexdigest()
    return PromptSet(name=path.stem, version=digest[:12], prompts=chosen, sha256=digest)


def _prompt(path: Path, line: int, row: dict[str, Any]) -> Prompt:
    where = f"{path}:{line}"
    if unknown := sorted(set(row) - set(FIELDS)):
        raise InputError(f"{where}: unknown field {unknown[0]!r}; known are {', '.join(FIELDS)}.")
    text = row.get("text")
    if not isinstance(text, str) or not text.strip():
        raise InputError(f"{where}: the row has no text. {REMEDY}")
    spec = row.get("spec")
    if spec is not None and not isinstance(spec, dict):
        raise InputError(f"{where}: spec is a {type(spec).__name__}, not an object. Leave it out.")
    if spec is not None:
        try:
            verify(spec, BLANK)
        except (LookupError, ValueError, TypeError, AttributeError) as error:
            raise InputError(
                f"{where}: spec is no scene of the suite proc ({type(error).__name__}: {error}). "
                "Copy one from suites/proc/sets, or leave it out."
            ) from None
    tags = row.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, str) for tag in tags):
        raise InputError(f"{where}: tags is no list of strings. Leave it out.")
    return Prompt(
        id=str(row.get("id") or f"line-{line}"),
        text=text,
        category=str(row.get("category") or "own"),
        spec=spec,
        tags=tuple(tags),
    )


def _jsonl(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    yield from objects(path, text, REMEDY)


def _csv(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    reader = csv.DictReader(io.StringIO(text))
    if "text" not in (reader.fieldnames or ()):
        raise InputError(f"{path}:1: no column named text. Head the file with: id,text,category")
    for row in reader:
        if None in row or None in row.values():
            raise InputError(
                f"{path}:{reader.line_num}: not as many fields as the header has. "
                "Quote a text that holds a comma."
            )
        yield reader.line_num, dict(row)


def _txt(path: Path, text: str) -> Iterator[tuple[int, dict[str, Any]]]:
    yield from ((number, {"text": line.strip()}) for number, line in lines(text))
