"""A bundle in the words of other schemes."""

import json
from dataclasses import replace

import pytest
from made_evidence import evidence

from harness import cli
from harness.convert import SCHEMAS, convert
from harness.records import Boundary

BOARDS = (
    Boundary(name="device", patterns=("gpu",)),
    Boundary(name="facility", patterns=("gpu",), pue=1.2),
)
MACHINE = {"accelerators": ["NVIDIA H1", "NVIDIA H1"]}


def on_boards(method="counter"):
    """The baseline at 0.8 J an image of its boards and ten images a second, and the candidate."""
    found = evidence(ratio=10.0, spread=0.0)
    read = [row for row in found.windows if row["domain"] == "package:0"]
    rows = [{**row, "domain": "gpu:0", "method": method} for row in read]
    settings = {**found.settings, "tariff": {"co2e_g_per_kwh": 400.0}}
    cards = {"dense": {"name": "Pipe", "height": 64, "width": 64}}
    return replace(found, windows=rows, boundaries=BOARDS, settings=settings, cards=cards)


def test_a_row_of_the_ml_energy_benchmark_is_of_the_boards():
    _, dense = convert(on_boards(), MACHINE, "ml-energy")
    assert dense == {
        "task": "text-to-image",
        "model_id": "Pipe",
        "nickname": "dense",
        "gpu_model": "NVIDIA H1",
        "num_gpus": 2,
        "batch_size": 16,
        "energy_per_generation_joules": pytest.approx(0.8),
        "height": 64,
        "width": 64,
        "batch_latency_s": pytest.approx(1.6),
        "avg_power_watts": pytest.approx(8.0),
    }


def test_the_energy_score_is_watt_hours_of_a_thousand_queries():
    un0, dense = convert(on_boards(), MACHINE, "ai-energy-score")
    assert dense["total"] == pytest.approx(0.8 * 1000 / 3600, abs=0.005)
    assert (un0["units"], un0["queries"]) == ("Wh", 1000)


def test_carbon_intensity_has_its_terms_and_no_score_without_what_is_embodied():
    _, dense = convert(on_boards(), MACHINE, "sci")
    assert dense["energy"] == pytest.approx(0.8 * 1.2 / 3.6e6)
    assert dense["carbon-operational"] == pytest.approx(0.8 * 1.2 / 3.6e6 * 400)
    assert dense["energy-method"] == "modelled" and dense["sci"] is dense["carbon-embodied"] is None


@pytest.mark.parametrize("schema", ("ml-energy", "ai-energy-score"))
def test_modelled_figures_and_processors_are_no_boards(schema):
    keys = {"ml-energy": "energy_per_generation_joules", "ai-energy-score": "total"}
    for found in (on_boards("modelled"), evidence()):
        boundaries = [b for b in found.boundaries if b.name == "device"]
        assert boundaries
        assert convert(found, {}, schema)[0][keys[schema]] is None


@pytest.mark.parametrize("schema", SCHEMAS)
def test_a_system_whose_windows_are_all_void_has_no_figures(schema):
    found = on_boards()
    rows = [{**row, "void": True} for row in found.windows]
    for row in convert(replace(found, windows=rows), MACHINE, schema):
        asked = ("energy_per_generation_joules", "batch_latency_s", "total", "energy")
        assert all(row.get(key) is None for key in asked)


def test_the_command_prints_what_a_program_can_read(finished, capsys):
    assert set(cli.SCHEMAS) == set(SCHEMAS)
    for schema in SCHEMAS:
        assert cli.main(["convert", str(finished), schema]) == 0
        rows = json.loads(capsys.readouterr().out)
        assert len(rows) == 2
    assert cli.main(["convert", str(finished / "none"), "sci"]) == 2
