"""The factor taken apart, of the invented bundle."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import pytest

from harness import bundle
from reports.figures import waterfall
from reports.view import read_view


def _changed(sample: Path, to: Path, name: str, **more: object) -> Path:
    root = Path(shutil.copytree(sample, to))
    card = bundle.read_json(root / "cards" / f"{name}.json")
    bundle.write_json(root / "cards" / f"{name}.json", {**card, **more})
    return root


def test_steps_multiply_to_what_was_metered(sample: Path) -> None:
    view = read_view(sample)
    product = 1.0
    for step in view.apart:
        product *= step.times
        assert step.product == pytest.approx(product)
    metered = {one.what: one.estimate for one in view.factors}
    totals = {step.what: step.product for step in view.apart if step.total}
    assert totals["processor time"] == metered["processor time"]
    assert totals["energy of the node"] == metered["node"]


def test_evaluations_are_the_cards_and_multiply_adds_what_was_counted(sample: Path) -> None:
    steps = {step.what: step for step in read_view(sample).apart}
    assert steps["evaluations of a network"].times == 100
    each = 90e9 / 16 / 41e6
    assert steps["another size of network"].product == pytest.approx(each)
    assert "parts of it that are skipped" not in steps  # the card does not tell
    assert steps["idle power"].product == steps["energy of the node"].product


def test_what_is_skipped_and_training_are_told_where_the_card_tells_them(
    sample: Path, tmp_path: Path
) -> None:
    root = _changed(
        sample,
        tmp_path / "told",
        "un0",
        active={"multiply_adds_of_capacity_matched": 0.25},
        notes={"training": {"energy_j": 1e6, "cpu_s": 1e5, "methods": ["modelled"]}},
    )
    steps = {step.what: step for step in read_view(root).apart}
    assert steps["parts of it that are skipped"].times == pytest.approx(4)
    ours = next(c for c in read_view(root).costs if (c.system, c.what) == ("un0", "node")).mean
    assert ours is not None
    assert steps["training"].times == pytest.approx(ours / (ours + 1))  # 1 MJ over a million


@pytest.mark.parametrize("joules", ["much", -1.0, 0, None])
def test_a_training_that_tells_no_joules_is_left_out(
    sample: Path, tmp_path: Path, joules: object
) -> None:
    notes = {"training": {"energy_j": joules}}
    view = read_view(_changed(sample, tmp_path / "told", "un0", notes=notes))
    assert "training" not in [step.what for step in view.apart]


def test_without_cards_joules_or_work_there_is_less_to_tell(
    unmetered: Path, tmp_path: Path
) -> None:
    assert [step.what for step in read_view(unmetered).apart] == [
        "evaluations of a network",
        "all else",
        "processor time",
    ]
    bare = _changed(unmetered, tmp_path / "bare", "un0", evaluations=None)
    steps = read_view(bare).apart
    assert [step.what for step in steps] == ["processor time"]
    assert waterfall(steps) is None


def test_a_system_that_waits_has_no_work_alone(sample: Path, monkeypatch) -> None:
    view = read_view(sample)
    waits = [dataclasses.replace(c, idle=1.0) if c.system == "dense" else c for c in view.costs]
    monkeypatch.setattr("reports.view.costs.costs", lambda *_: waits)
    steps = [step.what for step in read_view(sample).apart]
    assert "energy of the node" in steps and "joules of the work alone" not in steps


def test_bars_begin_where_the_one_before_ended(sample: Path) -> None:
    view = read_view(sample)
    plot = waterfall(view.apart)
    assert plot is not None
    ends = [lane.marks[0].x for lane in plot.lanes]
    for lane, step, before in zip(plot.lanes[1:], view.apart[1:], ends, strict=False):
        start = plot.axis.place(1.0) if step.total else before
        mark = lane.marks[0]
        assert {mark.low, mark.high} == {start, mark.x}
        assert mark.series == (2 if step.total else 0 if step.times >= 1 else 1)
