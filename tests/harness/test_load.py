"""Joules at a request rate, from windows at several batches; and requests at random times."""

from dataclasses import replace

import numpy as np
import pytest
from made_evidence import NODE, evidence
from toy_audits import toys

from harness import bundle, cli
from harness.evidence import read_evidence
from harness.load import UTILISED, at, checks, loads, points
from harness.verify import verify
from reports.rates import rates, rates_checked


def row(system, kind, batch, rate, joules, *, idle_w=50.0, seconds=10.0):
    """A window of one meter that reads the whole node: images a second and joules an image."""
    return {
        "window": f"{kind}-{system}-{batch}",
        "kind": kind,
        "system": system,
        "batch": batch,
        "requests": round(rate * seconds),
        "failures": 0,
        "duration_s": seconds,
        "cpu_s": None,
        "domain": "wall",
        "energy_j": round(rate * seconds) * joules,
        "idle_w": idle_w,
        "method": "wall",
        "accuracy": 0.01,
        "void": False,
        "reason": "",
    }


PLUG = replace(NODE, patterns=("wall",))
# alone 10 images a second at 15 J, of which 5 J are idle; sixteen at once 40 a second at 3 J
DENSE = [row("dense", "batch", 1, 10, 15.0), row("dense", "batch", 16, 40, 3.0)]
UN0 = [row("un0", "batch", 1, 500, 0.12), row("un0", "batch", 16, 1000, 0.06)]


def found(*more, rows=(*DENSE, *UN0)):
    return replace(evidence(), windows=[*rows, *more])


def test_a_point_parts_what_an_image_adds_from_what_idles_anyway():
    one, many = points(found(), "dense", PLUG)
    assert (one.batch, one.rate, one.idle_w) == (1, 10, pytest.approx(50))
    assert one.added_j == pytest.approx(10.0)
    assert many.added_j == pytest.approx(3.0 - 50 / 40)


def test_at_few_requests_idle_power_is_all_and_no_request_waits_for_others():
    known = points(found(), "dense", PLUG)
    hour = at("dense", known, 1 / 3600)
    assert (hour.batch, hour.nodes) == (1, 1)
    assert hour.joules == pytest.approx(50 * 3600 + 10.0)
    # sixteen come within a second from 16 a second on; they need no second node
    assert at("dense", known, 15.9).batch == 1
    some = at("dense", known, 20)
    assert (some.batch, some.nodes) == (16, 1)
    assert some.joules == pytest.approx(50 / 20 + 1.75)


def test_a_fleet_grows_with_the_rate_and_each_node_idles():
    many = at("dense", points(found(), "dense", PLUG), 1000 * UTILISED * 40)
    assert many.nodes == 1000
    assert many.joules == pytest.approx(50 / (UTILISED * 40) + 1.75)


def test_both_systems_serve_the_same_rates_and_the_factor_grows_from_one():
    pairs = loads(found(), PLUG)
    rates = [ours.rate for ours, _ in pairs]
    assert rates == sorted(rates) == [theirs.rate for _, theirs in pairs]
    factors = [theirs.joules / ours.joules for ours, theirs in pairs]
    assert factors[0] == pytest.approx(1.0, abs=0.001)  # an hour of idle power, whoever waits
    assert factors[-1] > 20
    half = next(theirs for _, theirs in pairs if theirs.what == "half a baseline node")
    assert half.rate == pytest.approx(20)


def test_without_joules_or_idle_power_there_is_no_curve():
    assert loads(found(rows=UN0), PLUG) == []
    unread = [{**one, "energy_j": None} for one in (*DENSE, *UN0)]
    assert loads(found(rows=unread), PLUG) == []
    unknown = [{**one, "idle_w": None} for one in (*DENSE, *UN0)]
    assert loads(found(rows=unknown), PLUG) == []


def test_a_load_that_is_neither_on_nor_off_is_refused(tmp_path, capsys):
    assert cli.main(toys(tmp_path, more=["name=n", "load=no"])) == 2
    assert "load='no'; it is true or false" in capsys.readouterr().err


def test_an_open_run_stands_beside_what_is_derived_for_it():
    # 2 a second, one at a time: 50 W of idle power over 2, and 10 J each
    right = row("dense", "open", 1, 2, 35.0)
    wrong = row("dense", "open", 16, 20, 5.0)
    one, many = checks(found(right, wrong), PLUG)
    assert one.derived_j == pytest.approx(35.0) and one.off == pytest.approx(0)
    assert many.derived_j == pytest.approx(50 / 20 + 1.75)
    assert many.off == pytest.approx(4.25 / 5 - 1)


def test_an_audit_with_a_load_curve_has_its_windows_and_goes_on_without_them_twice(
    tmp_path, monkeypatch
):
    monkeypatch.setattr("harness.measure.OPEN_S", 0.2)
    assert cli.main(toys(tmp_path, seconds=0.002, more=["name=l", "load=true"])) == 0
    rows = bundle.read_table(tmp_path / "l", "windows")
    met = [(r["system"], r["kind"], r["batch"]) for r in rows if r["kind"] in ("batch", "open")]
    assert met == [
        (system, kind, batch)
        for system in ("a", "b")
        for kind, batch in (("batch", 1), ("batch", 4), ("batch", 16), ("open", 1), ("open", 16))
    ]
    evidence_ = read_evidence(tmp_path / "l")
    node = next(b for b in evidence_.boundaries if b.name == "node")
    assert not loads(evidence_, node)  # the toy meter reads a processor and no memory
    device = replace(node, patterns=("cpu",))
    pairs = loads(evidence_, device)
    assert len(pairs) == 6 and all(np.isfinite(one.joules) for pair in pairs for one in pair)
    assert len(checks(evidence_, device)) == 4
    plugged = replace(evidence_, boundaries=(replace(node, patterns=("cpu",)),))
    rows, told = rates(plugged), rates_checked(plugged)
    assert [row["what"] for row in rows][0] == "one an hour" and len(rows) == 6
    assert len(told) == 4 and all("open-loop run" in text for text in told)
    assert "At a request rate" not in (tmp_path / "l" / "report.html").read_text()
    assert verify(tmp_path / "l") == []
