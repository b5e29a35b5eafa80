from dataclasses import replace

import pytest
from made_evidence import NODE, evidence

from harness.errors import ConfigError
from harness.footprint import break_even, footprints, tariff
from harness.records import Boundary
from reports import footprint, numbers

FACILITY = Boundary(name="facility", patterns=NODE.patterns, pue=1.5)
STATED = {
    "price_per_kwh": 0.2,
    "currency": "EUR",
    "country": "DEU",
    "co2e_g_per_kwh": 400.0,
    "co2e_year": 2023,
}


def bundle(**changes):
    """The baseline at 1 J and 1 s an image, the candidate at a hundredth, and one start of it."""
    found = evidence(ratio=100.0, spread=0.0)
    load = {**found.windows[0], "window": "l", "kind": "load", "system": "un0", "duration_s": 3.0}
    loads = [{**load, "domain": d, "energy_j": j} for d, j in (("package:0", 8.0), ("dram:0", 2.0))]
    training = {"energy_j": 1.485e6, "cpu_s": 990.0, "methods": ["modelled"]}
    cards = {"un0": {"notes": {"training": training}}}
    settings = {**found.settings, "tariff": STATED}
    given = {"boundaries": (NODE, FACILITY), "cards": cards, "settings": settings, **changes}
    return replace(found, windows=[*loads, *found.windows], **given)


def test_a_thousand_images_come_to_kilowatt_hours_money_and_carbon():
    ours, theirs = footprints(bundle())
    assert (ours.system, theirs.system) == ("un0", "dense")
    assert theirs.kwh == pytest.approx(1000 * 1.5 / 3.6e6)  # 1 J an image, and PUE 1.5
    assert theirs.price == pytest.approx(theirs.kwh * 0.2)
    assert theirs.co2e_g == pytest.approx(theirs.kwh * 400)
    assert theirs.kwh / ours.kwh == pytest.approx(100)
    assert ours.method == "modelled"  # by a PUE that is stated


def test_starting_and_training_are_told_and_paid_back_by_what_is_spared():
    ours, theirs = footprints(bundle())
    assert ours.cold_start_j == pytest.approx(15.0) and ours.cold_start_s == 3.0
    assert theirs.cold_start_j is None and theirs.training_j is None
    paid = break_even(bundle())
    assert paid.images == pytest.approx(1.485e6 / 0.99)  # of the node, without its PUE
    assert paid.cpu_images == pytest.approx(990 / 0.99)
    told = footprint.paid_back(bundle())
    assert "1,500,000 (modelled joules) or 1,000 (processor time) images" in told


def test_what_was_not_read_is_not_told():
    unread = bundle()
    for row in unread.windows:
        row["energy_j"] = None
    ours, _ = footprints(unread)
    assert (ours.kwh, ours.price, ours.co2e_g, ours.cold_start_j) == (None, None, None, None)
    paid = break_even(unread)
    assert paid.images is None and paid.cpu_images is not None
    assert footprint.row(ours, unread)["energy"] == numbers.MISSING
    nothing = bundle(settings={}, cards={})
    assert footprint.paid_back(nothing) == ""
    assert "no tariff" in footprint.tariff(nothing)
    assert footprints(nothing)[0].price is None


def test_a_candidate_that_spares_nothing_never_pays_back():
    worse = bundle()
    for row in worse.windows:
        if row["system"] == "un0":
            row["energy_j"], row["cpu_s"] = 1e9, 1e9
    assert (break_even(worse).images, break_even(worse).cpu_images) == (None, None)


def test_the_grid_of_a_country_is_codecarbons_and_an_unknown_one_is_refused():
    config = {"country": "DEU", "price_per_kwh": 0.3, "currency": "EUR"}
    found = tariff(config)
    assert 100 < found["co2e_g_per_kwh"] < 1000 and found["co2e_year"] >= 2020
    with pytest.raises(ConfigError, match="did you mean DEU"):
        tariff({**config, "country": "DEUT"})
    for price in (-1, "cheap", True):
        with pytest.raises(ConfigError, match="number of EUR"):
            tariff({**config, "price_per_kwh": price})


@pytest.mark.parametrize("told", ["three hours", 5, {"energy_j": "much", "cpu_s": -1}, {}, None])
def test_a_card_that_tells_no_numbers_of_its_training_tells_nothing(told):
    found = bundle(cards={"un0": {"notes": {"training": told}}})
    ours, _ = footprints(found)
    assert (ours.training_j, ours.training_cpu_s) == (None, None)
    assert break_even(found).images is None
