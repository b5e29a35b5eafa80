"""A folder of captioned pictures: each with a .txt of the same stem, or all named in one list."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from harness.errors import AssetError

__all__ = ["LISTS", "PICTURES", "captioned"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
LISTS = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")
FILE, TEXT = ("file", "file_name", "image"), ("text", "caption", "prompt")


def captioned(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each picture and its caption, in order of the list or of the names. Raises AssetError.

    Without a list, pictures that have no .txt are passed over.
    """
    listed = next((folder / name for name in LISTS if (folder / name).is_file()), None)
    if listed is None:
        for path in sorted(p for p in folder.rglob("*") if p.suffix.lower() in PICTURES):
            if (beside := path.with_suffix(".txt")).is_file():
                yield path, " ".join(_text(beside).split())
        return
    for number, row in enumerate(_rows(listed), start=1):
        file, text = (next((row[k] for k in keys if row.get(k)), None) for keys in (FILE, TEXT))
        if not isinstance(file, str) or not isinstance(text, str):
            raise AssetError(f"{listed}, row {number}: it has no file and text.")
        yield folder / file, text


def _rows(path: Path) -> list[Mapping[str, Any]]:
    text = _text(path)
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text)))
    try:
        rows = [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as error:
        raise AssetError(f"{path} is no JSONL ({error}).") from None
    return [row if isinstance(row, dict) else {} for row in rows]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise AssetError(f"{path} is not UTF-8 (byte {error.start}). Save it as UTF-8.") from None
