"""The fixed prompt sets: hashed JSONL, drawn once and committed.

Contents (captions that ask for the same picture count as one) fall by hash into a half for
`val` and a half for `test`, so the two never share a prompt. `train` may ask for the same
contents with other seeds, except the held-out combinations, which it never yields; prompts
that ask for one carry the tag "held-out". `sealed` is drawn over both halves from a nonce.
Emblems are drawn by Zipf's law without replacement; their tag is "head" for the 64 most
frequent pairs (about half of all draws in training) and "tail" for the rest.

Regenerate the committed files with `python -m suites.proc.sets`.
"""

import hashlib
import json
from collections.abc import Iterable, Sequence
from importlib import resources
from itertools import zip_longest
from pathlib import Path
from typing import Any

import numpy as np

from harness.errors import AssetError
from harness.records import Prompt, PromptSet
from suites.proc import VERSION
from suites.proc.scene import (
    SPLITS,
    Spec,
    caption,
    content,
    digest,
    draw_spec,
    emblem_rank,
    held_out,
)
from suites.proc.words import CATEGORIES

__all__ = [
    "SIZES",
    "build_set",
    "load_set",
    "request_seed",
    "sealed_set",
    "select",
    "to_jsonl",
    "unpublished",
    "write_sets",
]

PER_CATEGORY = 145
SIZES = {"mini": 192, "full": PER_CATEGORY * len(CATEGORIES)}
_COMMITTED = ("val", "test")
_HEAD_RANKS = 64
_MAX_DRAWS = 200_000  # a category; far beyond what the committed sets need


def _belongs(spec: Spec, split: str) -> bool:
    """Say whether a content may appear in a split: val and test take one half each."""
    if split not in _COMMITTED:
        return True
    return _COMMITTED[digest("bucket", content(spec)) % 2] == split


def _tags(spec: Spec) -> tuple[str, ...]:
    if spec["category"] == "emblem":
        rank = emblem_rank(spec["adjective"], spec["noun"])
        return ("head" if rank <= _HEAD_RANKS else "tail",)
    return ("held-out",) if held_out(spec) else ()


def _draw_distinct(split: str, category: str, n: int, seed_or_nonce: int | str) -> list[Spec]:
    """Draw n specs of different content."""
    rng = np.random.Generator(np.random.PCG64(digest("set", split, category, seed_or_nonce)))
    specs: dict[tuple[Any, ...], Spec] = {}
    for _ in range(_MAX_DRAWS):
        if len(specs) == n:
            return list(specs.values())
        spec = draw_spec(rng, category, split=split)
        if _belongs(spec, split):
            specs.setdefault(content(spec), spec)
    raise ValueError(
        f"only {len(specs)} of {n} different prompts found for {category} in {split}; "
        f"ask for fewer per category (the committed sets hold {PER_CATEGORY})"
    )


def build_set(split: str, *, per_category: int, seed_or_nonce: int | str) -> tuple[Prompt, ...]:
    """Draw a prompt set, the categories interleaved; the same arguments give the same prompts."""
    if split not in SPLITS:
        raise ValueError(f"unknown split {split!r}; use one of {', '.join(SPLITS)}")
    columns = [_draw_distinct(split, c, per_category, seed_or_nonce) for c in CATEGORIES]
    return tuple(
        Prompt(
            id=f"{split}-{spec['category']}-{i:04d}",
            text=caption(spec),
            category=spec["category"],
            spec=spec,
            tags=_tags(spec),
        )
        for i, row in enumerate(zip(*columns, strict=True))
        for spec in row
    )


def select(prompts: Sequence[Prompt], size: str) -> tuple[Prompt, ...]:
    """Return the "mini" or "full" part of a set: its first prompts, categories taking turns."""
    if size not in SIZES:
        raise ValueError(f"unknown size {size!r}; use one of {', '.join(SIZES)}")
    columns: dict[str, list[Prompt]] = {}
    for prompt in prompts:
        columns.setdefault(prompt.category, []).append(prompt)
    turns = (p for row in zip_longest(*columns.values()) for p in row if p is not None)
    chosen = tuple(turns)[: SIZES[size]]
    if len(chosen) < SIZES[size]:
        raise ValueError(
            f"size {size!r} needs {SIZES[size]} prompts, the set holds {len(chosen)}; "
            "take the set whole or use a smaller size"
        )
    return chosen


def request_seed(prompt_id: str, index: int) -> int:
    """Return the 63-bit seed of a prompt's index-th request, whatever its batch or worker."""
    return int.from_bytes(hashlib.sha256(f"{prompt_id}|{index}".encode()).digest()[:8], "big") >> 1


def to_jsonl(prompts: Iterable[Prompt]) -> bytes:
    """Return one line of JSON a prompt, keys sorted: the bytes that are hashed."""
    lines = (
        json.dumps(
            {"id": p.id, "text": p.text, "category": p.category, "spec": p.spec, "tags": p.tags},
            sort_keys=True,
            separators=(",", ":"),
        )
        for p in prompts
    )
    return "".join(line + "\n" for line in lines).encode()


def _prompt(line: str) -> Prompt:
    fields = json.loads(line)
    return Prompt(**{**fields, "tags": tuple(fields["tags"])})


def load_set(split: str) -> PromptSet:
    """Read a committed set, "val" or "test"; raise AssetError if its hash is not the one kept."""
    if split not in _COMMITTED:
        raise ValueError(
            f"no committed set {split!r}; load val or test, or draw one with build_set"
        )
    folder = resources.files("suites.proc") / "sets"
    data = (folder / f"{split}.jsonl").read_bytes()
    sums = (folder / "SHA256SUMS").read_text().split()
    expected = dict(zip(sums[1::2], sums[::2], strict=True)).get(f"{split}.jsonl")
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise AssetError(
            f"suites/proc/sets/{split}.jsonl has SHA-256 {found}, SHA256SUMS says {expected}; "
            "restore both from the repository or run python -m suites.proc.sets"
        )
    prompts = tuple(_prompt(line) for line in data.decode().splitlines())
    return PromptSet(name=f"proc-{split}", version=VERSION, prompts=prompts, sha256=found)


def sealed_set(nonce: str) -> PromptSet:
    """Draw the set that a nonce names: as large as the committed ones, over both their halves."""
    prompts = build_set("sealed", per_category=PER_CATEGORY, seed_or_nonce=nonce)
    digest_of = hashlib.sha256(to_jsonl(prompts)).hexdigest()
    return PromptSet(name="proc-sealed", version=VERSION, prompts=prompts, sha256=digest_of)


def unpublished(nonce: str) -> tuple[Prompt, ...]:
    """What a nonce draws, less the captions that a committed set holds too.

    As many of each category, as in those sets: categories differ in how hard they are.
    """
    known = {prompt.text for split in _COMMITTED for prompt in load_set(split).prompts}
    columns: dict[str, list[Prompt]] = {category: [] for category in CATEGORIES}
    for prompt in sealed_set(nonce).prompts:
        if prompt.text not in known:
            columns[prompt.category].append(prompt)
    return tuple(prompt for row in zip(*columns.values(), strict=False) for prompt in row)


def write_sets(folder: Path) -> None:
    """Write val.jsonl, test.jsonl and SHA256SUMS into a folder."""
    sums = []
    for split in _COMMITTED:
        data = to_jsonl(build_set(split, per_category=PER_CATEGORY, seed_or_nonce=VERSION))
        (folder / f"{split}.jsonl").write_bytes(data)
        sums.append(f"{hashlib.sha256(data).hexdigest()}  {split}.jsonl\n")
    (folder / "SHA256SUMS").write_text("".join(sums))


if __name__ == "__main__":
    write_sets(Path(__file__).parent / "sets")
