"""Published prompt sets by manifest: where a set is, under which licence, and how it is read.

A manifest is a YAML of plain facts, here or anywhere; the prompts themselves are not shipped. They
are fetched once and checked by SHA-256. A manifest without one is refused until the user says which
hash is trusted: `un0bench fetch NAME` tells the hash of what came.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_type_hints

import yaml

from harness import assets
from harness.errors import InputError
from harness.plain_yaml import PlainLoader
from harness.records import Prompt, PromptSet
from suites.own import UNSORTED, Row, read_rows
from suites.proc.sets import to_jsonl

__all__ = ["Manifest", "is_manifest", "manifest", "names", "read_published", "read_set"]

_FOLDER = Path(__file__).parent
_KINDS = ("csv", "tsv", "jsonl", "coco")
_MAX_BYTES = 1 << 30  # of what is unpacked from a .zip


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """Facts of a set. `text`, `category` and `id` name columns or keys of its rows.

    kind: csv, tsv, jsonl, or coco (a JSON object whose `annotations` are the rows).
    quoted: whether a quotation mark at the start of a field quotes it. member: a file in a .zip.
    first_of: of rows that share this key the first alone.
    """

    name: str
    title: str
    url: str
    sha256: str | None
    licence: str
    source: str
    prompts: int
    kind: str
    text: str
    category: str | None = None
    id: str | None = None
    quoted: bool = True
    member: str | None = None
    first_of: str | None = None


def names() -> tuple[str, ...]:
    """The sets whose manifests are shipped."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def is_manifest(name: str) -> bool:
    """Whether a value of suite.prompts is a manifest's: a shipped name, or a path of a .yaml."""
    return name.endswith((".yaml", ".yml")) or (name in names() and not Path(name).exists())


def manifest(name: str) -> Manifest:
    """A shipped manifest by name, or one's own by path. Raises InputError naming key and remedy."""
    path = Path(name) if name.endswith((".yaml", ".yml")) else _FOLDER / f"{name}.yaml"
    try:
        told = yaml.load(path.read_text("utf-8"), Loader=PlainLoader)
    except FileNotFoundError:
        raise InputError(
            f"There is no set {name!r}. Known: {', '.join(names())}; or name a .yaml of your own."
        ) from None
    except (OSError, ValueError, yaml.YAMLError) as error:
        told = " ".join(str(error).split())
        raise InputError(f"{path} is no plain YAML: {told}. See suites/published.") from None
    if not isinstance(told, dict):
        raise InputError(f"{path} is a {type(told).__name__}; write keys and values.")
    hints = {key: hint for key, hint in get_type_hints(Manifest).items() if key != "name"}
    needed = {f.name for f in dataclasses.fields(Manifest) if f.default is dataclasses.MISSING}
    if unknown := sorted(map(str, set(told) - set(hints))):
        raise InputError(f"{path}: unknown key {unknown[0]!r}; known are {', '.join(hints)}.")
    if missing := sorted(needed - {"name"} - set(told)):
        raise InputError(f"{path}: the key {missing[0]} is missing. See suites/published.")
    for key, value in told.items():
        if not isinstance(value, hints[key]) or (isinstance(value, bool) != (hints[key] is bool)):
            raise InputError(f"{path}: {key} is {value!r}, a {type(value).__name__}.")
    found = Manifest(name=path.stem, **told)
    if found.kind not in _KINDS:
        raise InputError(f"{path}: kind is {found.kind!r}; write one of {', '.join(_KINDS)}.")
    _hash(f"{path}: sha256", found.sha256)
    return found


def read_published(name: str, sha256: str | None = None) -> PromptSet:
    """Fetches and reads a set, whose file has the hash given or else its manifest's.

    Raises InputError where neither says one, where both do and differ, or where the file does not
    hold what its manifest tells; AssetError where it cannot be had, or has another hash.
    """
    told = manifest(name)
    _hash("suite.sha256", sha256)
    if told.sha256 and sha256 and told.sha256 != sha256:
        raise InputError(
            f"suite.sha256={sha256}, but the manifest of {told.name} has {told.sha256}. Leave out "
            "suite.sha256, or write a manifest of your own."
        )
    trusted = sha256 or told.sha256
    if trusted is None:
        raise InputError(
            f"No SHA-256 of {told.name} is known. See what comes with: un0bench fetch {name}; then "
            "say what you trust with suite.sha256=<64 hex digits>."
        )
    return read_set(told, assets.fetch(told.url, trusted), trusted)


def read_set(told: Manifest, path: Path, sha256: str) -> PromptSet:
    """Prompts of a fetched file, in its order, repeats kept. Raises InputError, as above."""
    prompts: dict[str, Prompt] = {}
    for number, fields in _rows(told, path):
        if told.text not in fields:
            raise InputError(
                f"{path}:{number}: no {told.text}, which holds the prompts of {told.name}; there "
                f"is {', '.join(map(str, fields)) or 'nothing'}. Is it another file?"
            )
        text = fields[told.text]
        if not isinstance(text, str) or not text.strip():
            raise InputError(f"{path}:{number}: {told.text} is {text!r}, no prompt.")
        own = str(fields.get(told.id or "") or f"{told.name}-{number}")
        if own in prompts:
            raise InputError(f"{path}:{number}: {told.id} {own} stands twice. Is it another file?")
        category = str(fields.get(told.category or "") or UNSORTED)
        prompts[own] = Prompt(id=own, text=text.strip(), category=category)
    if len(prompts) != told.prompts:
        raise InputError(
            f"{path} holds {len(prompts)} prompts; {told.name} has {told.prompts}. It is another "
            "file than the manifest tells of; do not use it."
        )
    chosen = tuple(prompts.values())
    return PromptSet(
        name=told.name,
        version=sha256[:12],
        prompts=chosen,
        sha256=hashlib.sha256(to_jsonl(chosen)).hexdigest(),
        source={"url": told.url, "sha256": sha256, "licence": told.licence},
    )


def _hash(what: str, sha256: object) -> None:
    if sha256 is not None and not re.fullmatch("[0-9a-f]{64}", str(sha256)):
        raise InputError(f"{what} is {sha256!r}; it is 64 hex digits, in small letters.")


def _rows(told: Manifest, path: Path) -> Iterator[Row]:
    if told.member is not None:
        path = _unpacked(told.member, path)
    rows = (
        _annotations(path)
        if told.kind == "coco"
        else read_rows(path, told.kind, quoted=told.quoted)
    )
    seen: set[Any] = set()
    for number, fields in rows:
        shared = fields.get(told.first_of or "")
        if told.first_of is None or shared not in seen:
            seen.add(shared)
            yield number, fields


def _unpacked(member: str, path: Path) -> Path:
    """A file of an archive, beside it."""
    beside = path.with_name(f"{path.name}.{Path(member).name}")
    try:
        with zipfile.ZipFile(path) as archive:
            if archive.getinfo(member).file_size > _MAX_BYTES:
                raise InputError(f"{path}: {member} would unpack to more than {_MAX_BYTES} bytes.")
            beside.write_bytes(archive.read(member))
    except (zipfile.BadZipFile, KeyError, OSError) as error:
        raise InputError(f"{path}: no {member} in it ({error}). Is it another file?") from None
    return beside


def _annotations(path: Path) -> list[Row]:
    try:
        told = json.loads(path.read_bytes())
        rows = told["annotations"]
        return [(number, dict(row)) for number, row in enumerate(rows, start=1)]
    except (ValueError, LookupError, TypeError, RecursionError, OSError) as error:
        raise InputError(
            f"{path} is no JSON object with `annotations` ({type(error).__name__}: {error})."
        ) from None
