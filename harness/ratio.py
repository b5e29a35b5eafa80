"""The ratio baseline / candidate of a per-image quantity, from the block windows of a bundle."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from harness.attribute import PerImage, least_direct, per_image
from harness.records import Boundary, Evidence, Method
from harness.state import busy_elsewhere, uncharged, unlike_states
from harness.stats import FEWEST_PAIRS, PILOT_PAIRS, Pairs, Ratio, pairs_to_decide, ratio_interval

__all__ = ["MIN_WINDOW_S", "MeasuredRatio", "measured_ratio"]

MIN_WINDOW_S = 5.0
_SLACK = 0.99  # a window a hundredth short still counts


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasuredRatio:
    """A ratio and whether it may decide; `planned` is the number of pairs fixed by the audit."""

    ratio: Ratio | None
    pairs: int
    planned: int = 0
    admissible: bool = False
    too_few: bool = False
    method: Method | None = None
    reason: str = ""

    def sentence(self, what: str, threshold: float) -> str:
        """What was found, in a reader's words, with the number of pairs that would decide."""
        found = self.ratio
        assert found is not None  # asked only of a ratio that was found
        text = (
            f"The baseline spends at least {_x(found.low)} times the candidate's {what} per image, "
            f"with {found.pairs} pairs of blocks: {_x(found.estimate)} times, 95% interval "
            f"{_x(found.low)} to {_x(found.high)}, asked {_x(threshold)}."
        )
        if found.wanted > found.pairs:
            text += (
                f" {found.wanted} pairs were wanted for 5% precision; the budget gave "
                f"{found.pairs}, which leaves the interval wider and exact."
            )
        if found.low < threshold < found.high:
            needed = pairs_to_decide(found, threshold)
            text += (
                " No number of pairs would decide within the meters' stated accuracy."
                if needed is None
                else f" About {needed} pairs would decide."
            )
        if found.carry_over is not None:
            carry = found.carry_over
            text += (
                f" Carry-over between the two orders: factor {carry.estimate:.3f} "
                f"({carry.low:.3f} to {carry.high:.3f})."
            )
        if found.total_differs:
            text += f" Total over total is {_x(found.total)}, more than 1% from the estimate."
        return text


def measured_ratio(
    evidence: Evidence, boundary: Boundary | None, *, training_images: float | None = None
) -> MeasuredRatio:
    """Ratio of joules at a boundary, or of processor time, over complete pairs of blocks.

    With `training_images` the processor time of the candidate's training, as its card tells it, is
    spread over so many images and counted in; the baseline's is taken to have cost nothing.

    A void window leaves out its pair; a window without the quantity leaves the ratio without a
    value, because what a meter could not read is not missing at random.
    """
    slots = _slots(evidence)
    systems = (evidence.candidate, evidence.baseline)
    keys = [(system, order) for order in ("AB", "BA") for system in systems]
    numbers = sorted({pair for pair, _, _ in slots})
    complete = [p for p in numbers if all((p, s, o) in slots for s, o in keys)]
    planned = int(evidence.settings.get("pairs_planned") or 0)
    if not complete:
        void = (r for r in evidence.windows if r["kind"] == "block" and r["void"])
        told = next((f" Void: {row['system']}, {row['reason']}." for row in void), "")
        reason = f"No pair of blocks was completed by both systems.{told}"
        return MeasuredRatio(ratio=None, pairs=0, reason=reason)
    found = {(p, s, o): per_image(slots[p, s, o], boundary) for p in complete for s, o in keys}
    method = least_direct(one.method for one in found.values())
    missing = [one for one in found.values() if one.value is None]
    if missing:
        reason = (
            f"{len(missing)} of {len(found)} windows have no value ({missing[0].reason}); a "
            "missing reading is never taken as zero, and never left out."
        )
        return MeasuredRatio(ratio=None, pairs=len(complete), method=method, reason=reason)
    if len(complete) < FEWEST_PAIRS:
        reason = (
            f"Complete pairs of blocks: {len(complete)}. {FEWEST_PAIRS} give an interval, and at "
            f"least {PILOT_PAIRS} would decide."
        )
        return MeasuredRatio(
            ratio=None, pairs=len(complete), method=method, too_few=True, reason=reason
        )
    values = {key: np.array([found[p, *key].value for p in complete], float) for key in keys}
    if training_images:
        trained_s = _training_s(evidence, evidence.candidate)
        if trained_s is None:
            reason = f"The card of {evidence.candidate} does not tell what its training took."
            return MeasuredRatio(ratio=None, pairs=len(complete), method=method, reason=reason)
        for order in ("AB", "BA"):
            values[evidence.candidate, order] += trained_s / training_images
    if min(float(v.min()) for v in values.values()) <= 0:
        reason = "A window reads zero or less per image."
        return MeasuredRatio(ratio=None, pairs=len(complete), method=method, reason=reason)
    accuracy = {s: _accuracy([one for k, one in found.items() if k[1] == s]) for s in systems}
    pairs = Pairs(
        candidate_ab=values[systems[0], "AB"],
        candidate_ba=values[systems[0], "BA"],
        baseline_ab=values[systems[1], "AB"],
        baseline_ba=values[systems[1], "BA"],
    )
    ratio = ratio_interval(pairs, accuracy[systems[0]] or 0.0, accuracy[systems[1]] or 0.0)
    shortest = min(slots[p, s, o][0]["duration_s"] for p in complete for s, o in keys)
    reason = ""
    if method == "modelled":
        reason = "The energy is modelled, not metered, and cannot decide."
    elif None in accuracy.values():
        reason = "A meter states no accuracy, so its reading cannot decide."
    elif unlike := _unlike(slots, int(evidence.settings.get("processors") or 1)):
        reason = unlike
    elif boundary is None and (lost := _uncharged(slots)):
        reason = lost
    elif shortest < MIN_WINDOW_S * _SLACK:
        reason = (
            f"The shortest window lasted {shortest:.1f} s; at least {MIN_WINDOW_S:.0f} s decide."
        )
    return MeasuredRatio(
        ratio=ratio,
        pairs=len(complete),
        planned=planned,
        admissible=not reason,
        method=method,
        reason=reason,
    )


def _training_s(evidence: Evidence, system: str) -> float | None:
    """Processor seconds of a system's training, as its card tells them; None for no such number."""
    notes = evidence.cards.get(system, {}).get("notes") or {}
    training = notes.get("training")
    spent = training.get("cpu_s") if isinstance(training, Mapping) else None
    if isinstance(spent, bool) or not isinstance(spent, int | float):
        return None
    return float(spent) if 0 < spent < math.inf else None


def _slots(evidence: Evidence) -> dict[tuple[int, str, str], list[dict[str, Any]]]:
    """Rows of the first window that is not void, by pair, system and order."""
    windows: dict[str, list[dict[str, Any]]] = {}
    for row in evidence.windows:
        if row["kind"] == "block" and not row["void"] and row["pair"] is not None:
            windows.setdefault(row["window"], []).append(row)
    found: dict[tuple[int, str, str], list[dict[str, Any]]] = {}
    for rows in sorted(windows.values(), key=lambda r: (r[0]["start_ns"], r[0]["window"])):
        key = (int(rows[0]["pair"]), rows[0]["system"], rows[0]["order"])
        found.setdefault(key, rows)
    return found


def _unlike(slots: Mapping[tuple[int, str, str], list[dict[str, Any]]], processors: int) -> str:
    """What in the machine's state keeps the windows of a system from being compared, or ""."""
    for system in dict.fromkeys(system for _, system, _ in slots):
        rows = {(p, order): r[0] for (p, s, order), r in slots.items() if s == system}
        if told := busy_elsewhere(list(rows.values()), processors):
            return f"In the windows of {system} {told}. Leave the machine to the audit."
        for (pair, order), row in rows.items():
            others = [
                other
                for (p, _), other in rows.items()
                if p != pair and other.get("node") == row.get("node")
            ]
            if found := unlike_states(row, others):
                return f"In pair {pair + 1} {order} the machine was not the same for {system}: " + (
                    f"{'; '.join(found)}."
                )
    return ""


def _uncharged(slots: Mapping[tuple[int, str, str], list[dict[str, Any]]]) -> str:
    for system in dict.fromkeys(system for _, system, _ in slots):
        if told := uncharged([r[0] for (_, s, _), r in slots.items() if s == system]):
            return f"In the windows of {system} {told}."
    return ""


def _accuracy(readings: Sequence[PerImage]) -> float | None:
    """The largest stated accuracy of a system's windows; None where one states none."""
    stated = [one.accuracy for one in readings]
    return None if None in stated else max(a for a in stated if a is not None)


def _x(value: float) -> str:
    """Three significant digits, thousands separated."""
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"
