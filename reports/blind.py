"""A page that asks people which of two pictures they would choose, without saying whose they are.

Both pictures of a pair are of one request. Which stands on the left follows from the digest of the
bundle and the pair's number, so answers can be read by whoever has the bundle, and the page does
not tell. `read` says what the answers come to.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from PIL import Image

from harness import bundle
from harness.errors import InputError
from harness.evidence import read_evidence
from harness.metrics.summary import share_interval
from harness.records import Evidence
from harness.stats import Interval
from reports.costs import scored_core
from reports.gallery import Picture, picture
from reports.html import environment

__all__ = ["PAGE", "Answers", "read", "render"]

PAGE, PAIRS, LARGEST = "blind.html", 60, 512
FIELDS = ("pair", "choice", "bundle")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One request that both answered; `sides` are the pictures from left to right."""

    number: int
    prompt: str
    sides: tuple[Picture, Picture]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How often the candidate's picture was chosen, over pairs, with their interval."""

    candidate: str
    baseline: str
    chosen: Interval
    files: int


def render(run: Path, count: int = PAIRS) -> str:
    """The page. Raises InputError where the pictures were left out."""
    templates = environment(html=True)
    templates.globals["data_uri"] = _data_uri
    digest = bundle.manifest_digest(run)
    found = _pairs(run, read_evidence(run), digest)[:count]
    return templates.get_template("blind.html.j2").render(pairs=found, digest=digest)


def read(run: Path, files: Sequence[Path]) -> Answers:
    """What people chose. Raises InputError naming file and line of an answer that is none."""
    evidence, digest = read_evidence(bundle.unchanged(run)), bundle.manifest_digest(run)
    pairs = {pair.number: pair for pair in _pairs(run, evidence, digest)}
    told: dict[int, list[float]] = {}
    if len({path.read_bytes() for path in files if path.is_file()}) < len(files):
        raise InputError("A file of answers stands twice, or is missing. Name each once.")
    for path in files:
        for line, row in _rows(path):
            if row.get("bundle") != digest:
                raise InputError(f"{path}:{line}: an answer to another bundle's page.")
            number, choice = row.get("pair") or "", row.get("choice")
            if not number.isdecimal() or int(number) not in pairs or choice not in ("0", "1"):
                raise InputError(f"{path}:{line}: no answer; take the file as the page wrote it.")
            ours = pairs[int(number)].sides[int(choice)].system == evidence.candidate
            told.setdefault(int(number), []).append(float(ours))
    if not told:
        raise InputError(f"{', '.join(map(str, files))}: no answers in them.")
    return Answers(
        candidate=evidence.candidate,
        baseline=evidence.baseline,
        chosen=share_interval([sum(some) / len(some) for some in told.values()]),
        files=len(files),
    )


def _data_uri(drawn: Picture) -> str:
    """A picture as PNG, at most LARGEST px: of both systems alike."""
    assert drawn.path is not None
    with Image.open(drawn.path) as opened:
        whole = opened.convert("RGB")
    whole.thumbnail((LARGEST, LARGEST))
    sink = io.BytesIO()
    whole.save(sink, "PNG")
    return "data:image/png;base64," + base64.b64encode(sink.getvalue()).decode()


def _rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    try:
        text = path.read_text("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error}).") from None
    rows = csv.DictReader(io.StringIO(text))
    if not set(FIELDS) <= set(rows.fieldnames or ()):
        raise InputError(f"{path} has no columns {', '.join(FIELDS)}.")
    return [(rows.line_num, row) for row in rows]


def _pairs(run: Path, evidence: Evidence, digest: str) -> list[Pair]:
    """Requests that both drew, no two of one prompt, in an order that the digest draws."""
    both = (evidence.candidate, evidence.baseline)
    rows = {(r["system"], r["prompt_id"], r["seed"]): r for r in scored_core(evidence)}
    first: dict[str, tuple[str, int]] = {}
    for system, prompt, seed in rows:
        if system == both[0] and (both[1], prompt, seed) in rows:
            first.setdefault(prompt, (prompt, seed))
    made = []
    for key in sorted(first.values(), key=lambda key: _drawn(digest, key[0])):
        pictures = [picture(run, system, rows[system, *key], {}) for system in both]
        if all(one.path is not None for one in pictures):
            made.append((evidence.prompts[key[0]].text, pictures))
    if not made:
        raise InputError(f"{run} has no pictures of both systems; they may have been left out.")
    return [
        Pair(number=n, prompt=text, sides=tuple(two[::-1] if _turned(digest, n) else two))
        for n, (text, two) in enumerate(made)
    ]


def _drawn(digest: str, prompt: str) -> bytes:
    return hashlib.sha256(f"{digest}|{prompt}".encode()).digest()


def _turned(digest: str, number: int) -> bool:
    return bool(hashlib.sha256(f"{digest}|side|{number}".encode()).digest()[0] & 1)
