"""Prompts as a team keeps them: read kindly, and told what was made of every row.

CSV     any delimiter (TSV too); the text in a column named text, prompt or caption, a category in
        one named category, group, domain, topic or class, an id in one named id
JSONL   objects with the same names
TXT     one prompt a line
folder  captioned pictures (suites/captioned.py)

Texts keep their language, their capitals and their emoji; spaces at the ends go, and so do texts
that were there before. What the suite proc could have written is checked as it checks its own.
"""

from __future__ import annotations

import contextlib
import csv
import io
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.errors import InputError
from harness.records import Prompt
from suites.captioned import captioned
from suites.proc.parse import parse
from suites.rows import decoded, lines, objects

__all__ = ["NAMES", "UNSORTED", "Own", "Row", "read_own", "read_rows"]

NAMES = {  # of columns, in the order they are looked for
    "text": ("text", "prompt", "caption"),
    "category": ("category", "group", "domain", "topic", "class"),
    "id": ("id", "prompt_id"),
}
DELIMITERS = ",;\t"
SHOWN = 5  # lines of one kind that a remark names
UNSORTED = "all prompts"  # the category of prompts that have none
Row = tuple[int, Mapping[str, Any]]  # its line, and its fields


@dataclass(frozen=True, slots=True, kw_only=True)
class Own:
    """What was read: prompts in their order, remarks in plain words, pictures where there are."""

    prompts: tuple[Prompt, ...]
    remarks: tuple[str, ...]
    pictures: tuple[Path, ...] = ()  # captioned ones, where a folder was read

    @property
    def checkable(self) -> bool:
        """Whether every prompt has a spec, so that content can be read back from pixels."""
        return all(prompt.spec is not None for prompt in self.prompts)


def read_own(path: Path, columns: Mapping[str, str] | None = None) -> Own:
    """Reads prompts; `columns` names a column for text, category or id.

    Raises InputError where nothing can be read: no file, another kind, not UTF-8, no such column.
    """
    if not path.exists():
        raise InputError(f"There is no {path}. Name a .csv, .jsonl or .txt file, or a folder.")
    if unknown := sorted(set(columns or ()) - set(NAMES)):
        raise InputError(f"columns: {unknown[0]} is none of {', '.join(NAMES)}.")
    if path.is_dir():
        pairs = list(captioned(path))
        rows: list[Row] = [(i, {"text": text}) for i, (_, text) in enumerate(pairs, 1)]
        return _made(path, "picture", rows, {"text": "text"}, tuple(file for file, _ in pairs))
    rows = read_rows(path, path.suffix.lower().removeprefix("."))
    names = list(dict.fromkeys(name for _, fields in rows for name in fields))
    return _made(path, "line", rows, _columns(path, names, columns or {}))


def read_rows(path: Path, kind: str, *, quoted: bool = True) -> list[Row]:
    """Rows of a file of kind csv, tsv, jsonl or txt; `quoted` false: a quotation mark is itself.

    Raises InputError naming file, line and remedy.
    """
    if kind not in ("csv", "tsv", "jsonl", "txt"):
        raise InputError(f"{path}: prompts are read from .csv, .jsonl or .txt files, or a folder.")
    text = decoded(path)
    if kind == "jsonl":
        rows: list[Row] = list(objects(path, text, 'Write {"text": "a red circle"}.'))
    elif kind == "txt":
        rows = [(number, {"text": line}) for number, line in lines(text)]
    else:
        rows = list(_csv(path, text, quoted))
    if not rows:
        raise InputError(f"{path} holds no prompts. Write one a line, or head a column `text`.")
    return rows


def _made(
    path: Path,
    unit: str,
    rows: Sequence[Row],
    columns: Mapping[str, str],
    pictures: tuple[Path, ...] = (),
) -> Own:
    """Prompts of rows; what was left out is told."""
    prompts: dict[str, Prompt] = {}
    ids: set[str] = set()
    empty: list[int] = []
    again: list[int] = []
    renamed: list[int] = []
    for line, fields in rows:
        text = _text(path, line, fields.get(columns["text"]))
        if not text:
            empty.append(line)
            continue
        if text in prompts:
            again.append(line)
            continue
        told = fields.get(columns.get("id", ""))
        name = f"{unit}-{line}" if told in (None, "") else str(told)
        if name in ids:
            renamed.append(line)
            name = f"{name}-{unit}-{line}"
        ids.add(name)
        spec = None
        with contextlib.suppress(ValueError):
            spec = parse(text)
        told = fields.get(columns.get("category", ""))
        sorted_as = "" if told is None else str(told).strip()
        category = sorted_as or str((spec or {}).get("category") or UNSORTED)
        prompts[text] = Prompt(id=name, text=text, category=category, spec=spec)
    if not prompts:
        raise InputError(f"{path} holds no prompts. Write one a line, or head a column `text`.")
    found = tuple(prompts.values())
    categories = len({prompt.category for prompt in found})
    used = ", ".join(f"{what} from {name}" for what, name in columns.items() if name != what)
    remarks = [
        f"{len(found)} prompts in {categories} categor{'y' if categories == 1 else 'ies'}"
        + (f" ({used})" if used else "")
        + "."
    ]
    remarks += _lines(empty, unit, "has no text and was left out", "have no text and were left out")
    remarks += _lines(again, unit, "repeats a text and is not asked", "repeat texts: not asked")
    remarks += _lines(renamed, unit, "repeats an id and got another", "repeat ids: got others")
    unread = {name for _, fields in rows for name in fields} - set(columns.values())
    if unread:
        remarks.append(f"Not read: {', '.join(sorted(map(str, unread)))}.")
    return Own(prompts=found, remarks=tuple(remarks), pictures=pictures)


def _text(path: Path, line: int, told: object) -> str:
    """A prompt as it is asked; raises InputError for one that is no text."""
    if not isinstance(told, str | None):
        raise InputError(f"{path}:{line}: its text is a {type(told).__name__}, not a string.")
    text = unicodedata.normalize("NFC", told or "").strip()
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InputError(
            f"{path}:{line}: its text holds half a character. Write it anew."
        ) from None
    return text


def _lines(found: Sequence[int], unit: str, one: str, many: str) -> list[str]:
    if not found:
        return []
    shown = ", ".join(map(str, found[:SHOWN])) + (" ..." if len(found) > SHOWN else "")
    if len(found) == 1:
        return [f"{unit.capitalize()} {shown} {one}."]
    return [f"{len(found)} {unit}s {many} ({shown})."]


def _columns(path: Path, names: Sequence[str], told: Mapping[str, str]) -> dict[str, str]:
    """Which column is which. Raises InputError naming those that are there."""
    found: dict[str, str] = {}
    for what, known in NAMES.items():
        if what in told and told[what] not in names:
            raise InputError(
                f"{path} has no column {told[what]!r} for {what}; it has {', '.join(names)}."
            )
        by_name = {name.strip().casefold(): name for name in names}
        match = told.get(what) or next((by_name[k] for k in known if k in by_name), None)
        if match is not None:
            found[what] = match
    if "text" not in found:
        raise InputError(
            f"{path} has no column named {', '.join(NAMES['text'])}; it has {', '.join(names)}. "
            f"Say which one holds the prompts: --column text={names[0] if names else '...'}"
        )
    return found


def _csv(path: Path, text: str, quoted: bool) -> Iterator[Row]:
    """Any delimiter that the head has; without one, a column of texts that may hold commas."""
    _, head = next(lines(text), (0, ""))
    delimiter = max(DELIMITERS, key=head.count) if any(d in head for d in DELIMITERS) else "\x1f"
    source = io.StringIO(text, newline="")
    form: dict[str, Any] = {} if quoted else {"quoting": csv.QUOTE_NONE}
    reader = csv.reader(source, delimiter=delimiter, strict=True, **form)
    try:
        names = next(reader, [])
        for row in reader:
            if len(row) > len(names) > 0:
                raise InputError(
                    f"{path}:{reader.line_num}: more fields than the header has. Quote a text "
                    f"that holds a {delimiter!r}."
                )
            if row:  # an empty line is no row
                yield reader.line_num, dict(zip(names, row, strict=False))
    except csv.Error as error:
        raise InputError(
            f"{path}:{reader.line_num}: no CSV ({error}). Is a quotation mark not closed?"
        ) from None
