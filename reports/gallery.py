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

    @property
    def shown_by(self) -> str:
        """For each picture 1 where it shows what was asked, 0 where not, - where nobody checked."""
        marks = {True: "1", False: "0", None: "-"}
        return "".join(marks[picture.verified] for picture in self.pictures)


def gallery(root: Path, evidence: Evidence, systems: Sequence[str]) -> tuple[Exhibit, ...]:
    """Every core request of the candidate, side by side, in the order they were asked."""
    rows = {(r["system"], r["prompt_id"], r["seed"]): r for r in scored_core(evidence)}
    verified = verified_requests(evidence)
    return tuple(
        Exhibit(
            category=evidence.prompts[prompt].category,
            prompt=evidence.prompts[prompt].text,
            seed=seed,
            pictures=tuple(
                picture(root, other, rows[other, prompt, seed], verified)
                for other in systems
                if (other, prompt, seed) in rows
            ),
        )
        for system, prompt, seed in rows
        if system == evidence.candidate
    )


def verified_requests(evidence: Evidence) -> dict[tuple[str, int], bool]:
    """Whether an image shows what was asked, by system and request; without those not checked."""
    return {
        (i["system"], i["request"]): i["value"] == 1.0
        for i in evidence.items
        if i["metric"] == "verified"
    }


def picture(root: Path, system: str, row: Row, verified: Mapping[tuple[str, int], bool]) -> Picture:
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
