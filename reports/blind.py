"""A page that asks people which of two pictures they would choose, without saying whose they are.

Both pictures of a pair are of one request. Which stands on the left follows from the digest of the
bundle and the pair's number. The page holds neither the digest nor what it could be found from, so
whoever has the bundle can read the answers, and who has the page alone cannot tell.
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
from harness.paired import FEWEST_SHARES
from harness.records import Evidence
from harness.stats import Interval
from reports.costs import scored_core
from reports.gallery import Picture, picture
from reports.html import environment

__all__ = ["PAGE", "Answers", "pairs_on", "read", "render"]

PAGE, PAIRS, LARGEST = "blind.html", 60, 512
FIELDS = ("pair", "choice", "page")


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """One request that both answered; `sides` are the pictures from left to right."""

    number: int
    prompt: str
    sides: tuple[Picture, ...]

    @property
    def size(self) -> int:
        """Pixels that both are shown at: no more than the smaller one has."""
        return min(LARGEST, *(min(_size(side)) for side in self.sides))


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """How often the candidate's picture was chosen, over pairs, with their interval.

    `answers` of all who were asked; `left_out` requests that one of both had no picture for.
    """

    candidate: str
    baseline: str
    chosen: Interval
    answers: int
    files: int
    left_out: int


def render(run: Path, count: int = PAIRS) -> str:
    """The page. Raises InputError where the pictures were left out."""
    if count < 1:
        raise InputError(f"--pairs {count}; it is at least 1.")
    templates = environment(html=True)
    templates.globals["data_uri"] = _data_uri
    digest = bundle.manifest_digest(run)
    pairs, _ = _pairs(run, read_evidence(run), digest)
    page = templates.get_template("blind.html.j2")
    return page.render(pairs=pairs[:count], page=_page(digest))


def pairs_on(run: Path) -> int | None:
    """How many pairs the page that was written shows; None where none was."""
    page = run / PAGE
    if not page.is_file():
        return None
    return max(1, page.read_bytes().count(b'<section class="pair"'))  # of another page, any number


def read(run: Path, files: Sequence[Path]) -> Answers:
    """What people chose. Raises InputError naming file and line of an answer that is none."""
    evidence, digest = read_evidence(bundle.unchanged(run)), bundle.manifest_digest(run)
    found, left_out = _pairs(run, evidence, digest)
    pairs = {pair.number: pair for pair in found}
    told: dict[int, list[float]] = {}
    if len({path.read_bytes() for path in files if path.is_file()}) < len(files):
        raise InputError("A file of answers stands twice, or is missing. Name each once.")
    for path in files:
        for line, row in _rows(path):
            if row.get("page") != _page(digest):
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
        chosen=_interval([sum(some) / len(some) for some in told.values()]),
        answers=sum(map(len, told.values())),
        files=len(files),
        left_out=left_out,
    )


def _interval(shares: Sequence[float]) -> Interval:
    """Over pairs; of whole choices exact, and none where people of a pair differ and it is few."""
    if set(shares) <= {0.0, 1.0} or len(shares) >= FEWEST_SHARES:
        return share_interval(shares)
    return Interval(estimate=sum(shares) / len(shares), low=None, high=None, n=len(shares))


def _size(drawn: Picture) -> tuple[int, int]:
    assert drawn.path is not None
    with Image.open(drawn.path) as opened:
        return opened.size


def _data_uri(drawn: Picture, size: int) -> str:
    """A picture as PNG whose shorter side has at most so many pixels."""
    assert drawn.path is not None
    with Image.open(drawn.path) as opened:
        whole = opened.convert("RGB")
    scale = size / min(whole.size)
    if scale < 1:
        whole = whole.resize([max(1, round(side * scale)) for side in whole.size])
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


def _pairs(run: Path, evidence: Evidence, digest: str) -> tuple[list[Pair], int]:
    """Requests that both drew, no two of one prompt, in an order that the digest draws.

    And how many prompts were left out, because one of both has no picture.
    """
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
    pairs = [
        Pair(number=n, prompt=text, sides=tuple(two[::-1] if _turned(digest, n) else two))
        for n, (text, two) in enumerate(made)
    ]
    return pairs, len(first) - len(made)


def _page(digest: str) -> str:
    """What the page calls itself, from which the digest cannot be found."""
    return hashlib.sha256(f"{digest}|page".encode()).hexdigest()


def _drawn(digest: str, prompt: str) -> bytes:
    return hashlib.sha256(f"{digest}|{prompt}".encode()).digest()


def _turned(digest: str, number: int) -> bool:
    return bool(hashlib.sha256(f"{digest}|side|{number}".encode()).digest()[0] & 1)
