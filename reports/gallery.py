"""What the systems made of the same requests, side by side, in the order they were asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import bundle
from harness.records import Evidence
from reports.costs import scored_core

__all__ = ["Exhibit", "Picture", "gallery", "picture", "verified_requests"]

Row = dict[str, Any]
PER_CATEGORY = 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One image of the gallery; `path` is None where there is none, and `note` says why."""

    system: str
    path: Path | None
    relative: str
    verified: bool | None
    note: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Exhibit:
    """What the systems made of one request."""

    category: str
    prompt: str
    seed: int
    pictures: tuple[Picture, ...]


def gallery(
    root: Path, evidence: Evidence, systems: Sequence[str]
) -> tuple[tuple[tuple[str, tuple[Exhibit, ...]], ...], str]:
    """The first core requests of each category, prompts distinct, side by side."""
    rows = {(r["system"], r["prompt_id"], r["seed"]): r for r in scored_core(evidence)}
    verified = verified_requests(evidence)
    chosen: dict[str, dict[str, Exhibit]] = {}
    available = 0
    for (system, prompt_id, seed), row in rows.items():
        if system != evidence.candidate:
            continue
        available += 1
        prompt = evidence.prompts[prompt_id]
        kept = chosen.setdefault(prompt.category, {})
        if prompt_id in kept or len(kept) >= PER_CATEGORY:
            continue
        pictures = tuple(
            picture(root, other, rows[other, prompt_id, seed], verified)
            for other in systems
            if (other, prompt_id, seed) in rows
        )
        kept[prompt_id] = Exhibit(
            category=prompt.category, prompt=prompt.text, seed=row["seed"], pictures=pictures
        )
    shown = sum(len(kept) for kept in chosen.values())
    note = (
        f"{shown} of {available} core requests: the first of each category, in the order they "
        "were asked, nothing picked. All images are in the bundle's folder images/."
    )
    return tuple((name, tuple(kept.values())) for name, kept in chosen.items()), note


def verified_requests(evidence: Evidence) -> dict[tuple[str, int], bool]:
    """Whether an image shows what was asked, by system and request; without those not checked."""
    return {
        (i["system"], i["request"]): i["value"] == 1.0
        for i in evidence.items
        if i["metric"] == "verified"
    }


def picture(
    root: Path, system: str, row: Row, verified: Mapping[tuple[str, int], bool]
) -> Picture:
    """What a system made of one request."""
    path = bundle.image_path(root, system, row["request"])
    note = ""
    if row["failure"]:
        note = f"failed: {row['failure']}"
    elif not path.is_file():
        note = "image not kept"
    return Picture(
        system=system,
        path=None if note else path,
        relative=path.relative_to(root).as_posix(),
        verified=verified.get((system, row["request"])),
        note=note,
    )
