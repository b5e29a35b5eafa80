"""A folder of captioned pictures: each with a .txt of the same stem, or all named in one list."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from harness.errors import AssetError, InputError
from suites.rows import decoded, objects

__all__ = ["LISTS", "PICTURES", "captioned", "pictures_in", "read_picture"]

PICTURES = (".png", ".jpg", ".jpeg", ".webp")
LISTS = ("captions.jsonl", "captions.csv", "metadata.jsonl", "metadata.csv")
FILE, TEXT = ("file", "file_name", "image"), ("text", "caption", "prompt")


def pictures_in(folder: Path) -> list[Path]:
    """The pictures of a folder and of those in it, by name."""
    return sorted(path for path in folder.rglob("*") if path.suffix.lower() in PICTURES)


def read_picture(path: Path) -> np.ndarray:
    """uint8 [H, W, 3]. Raises AssetError."""
    try:
        with Image.open(path) as opened:
            return np.asarray(opened.convert("RGB"))
    except (OSError, Image.DecompressionBombError) as error:
        raise AssetError(f"{path} cannot be read as a picture ({error}).") from error


def captioned(folder: Path) -> Iterator[tuple[Path, str]]:
    """Each picture and its caption, in order of the list or of the names. Raises AssetError.

    Without a list, pictures that have no .txt are passed over.
    """
    try:
        yield from _captioned(folder)
    except InputError as error:  # of a row, whose file is an asset here
        raise AssetError(str(error)) from None


def _captioned(folder: Path) -> Iterator[tuple[Path, str]]:
    listed = next((folder / name for name in LISTS if (folder / name).is_file()), None)
    if listed is None:
        for path in pictures_in(folder):
            if (beside := path.with_suffix(".txt")).is_file():
                yield path, " ".join(decoded(beside).split())
        return
    for number, row in enumerate(_rows(listed), start=1):
        file, text = (next((row[k] for k in keys if row.get(k)), None) for keys in (FILE, TEXT))
        if not isinstance(file, str) or not isinstance(text, str):
            raise AssetError(f"{listed}, row {number}: it has no file and text.")
        yield folder / file, text


def _rows(path: Path) -> list[Mapping[str, Any]]:
    text = decoded(path)
    if path.suffix == ".csv":
        return list(csv.DictReader(io.StringIO(text, newline="")))
    return [row for _, row in objects(path, text, 'Write {"file": "a.png", "text": "a cat"}.')]
