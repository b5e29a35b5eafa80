import dataclasses
import math

import pytest
from made_evidence import evidence

from harness.traffic import traffic

TOLD = {
    "multiply_adds": {"gate": 10, "body": 90},
    "formats": {"gate": "float32", "body": "int8"},
    "parameter_bytes": {"gate": 40, "body": 90},
    "batch_bytes": 800,
}
COUNTED = {
    "operations": 3,
    "multiply_adds": {"float32": 4_000},
    "unique_bytes": 600,
    "moved_bytes": 9_000,
}
CEILINGS = {"cpu": {"multiply_adds_per_s": {"float32": 1e4, "int8": 4e4}, "bytes_per_s": 1e4}}


def of(*, told=None, counted=None, ceilings=CEILINGS, batch=4, **settings):
    """The candidate's, in a bundle whose candidate takes a second and a joule an image."""
    made = evidence(ratio=1.0)
    work = {"batch": batch, "told": told, "counted": counted, "reason": ""}
    return traffic(
        dataclasses.replace(
            made,
            work={"un0": work},
            settings={**made.settings, "ceilings": ceilings, **settings},
        )
    )[0]


def elapsed_s():
    rows = [row for row in evidence(ratio=1.0).windows if row["system"] == "un0"]
    blocks = {row["window"]: row for row in rows}.values()
    return sum(r["duration_s"] for r in blocks) / sum(r["requests"] for r in blocks)


def test_counted_work_is_spread_over_the_batch():
    one = of(counted=COUNTED)
    assert (one.source, one.multiply_adds) == ("counted", 1_000)
    assert (one.unique_bytes, one.moved_bytes) == (150, 2_250)
    assert one.rate == pytest.approx(1_000 / elapsed_s())


def test_a_system_cannot_tell_less_than_was_counted():
    both = of(told=TOLD, counted=COUNTED)
    assert (both.source, both.multiply_adds) == ("counted", 1_000)
    assert both.unique_bytes == 200  # of bytes the larger, too
    few = {**COUNTED, "multiply_adds": {"float32": 40}}
    assert (of(told=TOLD, counted=few).source, of(told=TOLD).multiply_adds) == ("told", 100)
    assert of(told=TOLD, counted=few).moved_bytes is None  # operations did not do the work


def test_more_of_narrower_numbers_is_not_more():
    narrow = {**TOLD, "multiply_adds": {"body": 1_001}, "formats": {"body": "int8"}}
    assert of(told=narrow, counted=COUNTED).source == "counted"
    part = of(counted={**COUNTED, "without": ["aten.lstm"]})
    assert (part.source, part.reason) == ("counted in part", "not counted: aten.lstm")


def test_the_ceiling_is_that_of_each_format_or_of_memory():
    multiplied_s = 10 / 1e4 + 90 / 4e4
    assert of(told=TOLD).of_ceiling == pytest.approx(max(multiplied_s, 200 / 1e4) / elapsed_s())
    slow = {"cpu": {**CEILINGS["cpu"], "bytes_per_s": 1e9}}
    assert of(told=TOLD, ceilings=slow).of_ceiling == pytest.approx(multiplied_s / elapsed_s())
    assert of(told=TOLD, ceilings={}).of_ceiling is None
    assert of(told=TOLD, devices={"un0": "cuda:1"}).of_ceiling is None  # not measured there
    only = {"cpu": {"multiply_adds_per_s": {"float32": 1e4}, "bytes_per_s": 1e4}}
    assert of(told=TOLD, ceilings=only).of_ceiling is None  # int8 was not


def test_the_floor_is_kt_ln_2_for_every_bit_operation():
    one = of(told=TOLD)
    bit_j = 1.380649e-23 * 300 * math.log(2)
    assert bit_j == pytest.approx(2.87e-21, rel=1e-3)
    assert one.floor_j == pytest.approx(bit_j * (10 * 24**2 + 90 * 8**2))
    assert one.above_floor == pytest.approx(1.0 / one.floor_j, rel=0.05)  # a joule an image
    assert of(told={**TOLD, "formats": {"gate": "float32", "body": "posit8"}}).floor_j is None


def test_what_was_not_counted_is_none_and_not_zero():
    one = of()
    told = (one.multiply_adds, one.unique_bytes, one.moved_bytes, one.rate, one.of_ceiling)
    assert told == (None,) * 5
    assert (one.floor_j, one.above_floor, one.source) == (None, None, "")
    assert of(batch=None).multiply_adds is None


def test_no_counting_no_row():
    assert traffic(evidence()) == []
