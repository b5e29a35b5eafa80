"""The factor taken apart: what it is a product of, and what is taken back of it.

Evaluations are as the cards tell them, multiply-adds as they were counted, and the rest follows
from what was metered. A step whose figures are not in the bundle is left out, and what it is worth
falls to the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from harness.footprint import Footprint, break_even
from harness.records import Evidence
from harness.traffic import Traffic
from reports.costs import Cost, Factor

__all__ = ["IMAGES", "Step", "taken_apart"]

IMAGES = 1_000_000  # that a training is spread over
SPARED = "multiply_adds_of_capacity_matched"  # of a card: the share that its network does of all


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A factor `times` and the `product` up to it; `total` is a product that was metered."""

    what: str
    source: str
    times: float
    product: float
    total: Factor | None = None
    method: str = ""


def taken_apart(
    evidence: Evidence,
    found: Sequence[Factor],
    spent: Sequence[Cost],
    moved: Sequence[Traffic],
    trained: Sequence[Footprint],
) -> tuple[Step, ...]:
    """Steps to the factor in processor time, to that of the node, and beyond it."""
    names = (evidence.candidate, evidence.baseline)
    factors = {one.what: one for one in found if one.estimate is not None}
    node = {one.system: one for one in spent if one.what == "node" and one.mean}
    steps: list[Step] = []
    if (time := factors.get("processor time")) is None:
        return ()
    work = {one.system: one for one in moved}
    for what, source, product in _work(evidence, names, work):
        _add(steps, what, source, product)
    if len(steps) > 1:
        source = "number format, kernels, the rest"
        _add(steps, "time for a multiply-add", source, time.estimate or 0.0)
    elif steps:
        _add(steps, "all else", "no multiply-adds were counted", time.estimate or 0.0)
    _add(steps, "processor time", "", time.estimate or 0.0, total=time)
    if (whole := factors.get("node")) is None or len(node) < len(names):
        return tuple(steps)
    ours, theirs = (node[name] for name in names)
    if all(one.idle is not None and one.idle < 1 for one in (ours, theirs)):
        alone = _alone(theirs) / _alone(ours)
        _add(steps, "joules of the work alone", "beside its processor time", alone, whole.method)
        source = "drawn anyway, while it takes"
        _add(steps, "idle power", source, whole.estimate or 0.0, whole.method)
    _add(steps, "energy of the node", "", whole.estimate or 0.0, whole.method, total=whole)
    if facility := factors.get("facility"):
        _add(steps, "cooling", facility.detail, facility.estimate or 0.0, facility.method)
    training = next((one.training_j for one in trained if one.system == evidence.candidate), None)
    if training:
        each = training / IMAGES / _mean(ours)
        source = f"over {IMAGES:,} images, by the card; the baseline's left out"
        method = break_even(evidence).method or ""  # of windows and training together
        _add(steps, "training", source, steps[-1].product / (1 + each), method)
    return tuple(steps)


def _alone(cost: Cost) -> float:
    """Joules of an image without what the machine would have drawn anyway."""
    return _mean(cost) * (1 - (cost.idle or 0.0))


def _work(
    evidence: Evidence, names: tuple[str, str], moved: Mapping[str, Traffic]
) -> Iterator[tuple[str, str, float]]:
    """(what, by whom it is told, product) of evaluations and multiply-adds."""
    told = [evidence.cards.get(name, {}).get("evaluations") for name in names]
    ours, theirs = (n if isinstance(n, int | float) and n > 0 else None for n in told)
    evaluations = theirs / ours if ours and theirs else 1.0
    if ours and theirs:
        yield "evaluations of a network", "by the cards", evaluations
    source = " and ".join(dict.fromkeys(moved[name].source for name in names if name in moved))
    done = [one.multiply_adds if (one := moved.get(name)) else None for name in names]
    if not done[0] or not done[1]:
        return
    product, source = done[1] / done[0], f"multiply-adds, {source}"
    share = (evidence.cards.get(names[0], {}).get("active") or {}).get(SPARED)
    if isinstance(share, int | float) and 0 < share < 1:
        yield "another size of network", f"{source}, with nothing skipped", product * share
        source = "by the candidate's card"
        yield "parts of it that are skipped", source, product
    else:
        yield "another size of network", source, product


def _add(
    steps: list[Step],
    what: str,
    source: str,
    product: float,
    method: str = "",
    *,
    total: Factor | None = None,
) -> None:
    before = steps[-1].product if steps else 1.0
    steps.append(
        Step(
            what=what,
            source=source,
            times=product / before,
            product=product,
            total=total,
            method=method,
        )
    )


def _mean(cost: Cost) -> float:
    assert cost.mean is not None  # asked only of costs that have one
    return cost.mean
