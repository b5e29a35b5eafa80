"""What the joules of an image come to: kilowatt-hours, money, carbon, starting, and training.

Everything follows from the boundary `facility` of a bundle, and from the price and the carbon of a
kilowatt-hour in its settings; none of it decides a claim.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from harness.attribute import boundary_energy, least_direct, mean_per_image, windows_of
from harness.errors import ConfigError
from harness.records import Boundary, Evidence, Method

__all__ = ["Footprint", "footprints", "tariff"]

J_PER_KWH = 3.6e6
IMAGES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Of one system: for 1,000 images at the facility, for a cold start, and to train it.

    `cold_start_j` is what loading takes, mean over starts; `break_even_images` after how many
    images what the candidate spares of the baseline's has paid for its training, in joules of the
    node, which trainings are told in, and (`cpu_`) in processor seconds. None is what was not read
    or not told.
    """

    system: str
    method: Method | None
    kwh: float | None
    price: float | None
    co2e_g: float | None
    cold_start_j: float | None
    cold_start_s: float | None
    training_j: float | None
    training_cpu_s: float | None
    break_even_images: float | None = None
    break_even_method: Method | None = None
    cpu_break_even_images: float | None = None


def footprints(evidence: Evidence) -> list[Footprint]:
    """Of the candidate and the baseline."""
    stated = evidence.settings.get("tariff") or {}
    node, facility = (
        next((b for b in evidence.boundaries if b.name == name), None)
        for name in ("node", "facility")
    )
    names = (evidence.candidate, evidence.baseline)
    spent_j = {name: mean_per_image(evidence, name, node)[0] for name in names}
    spent_cpu_s = {name: mean_per_image(evidence, name, None)[0] for name in names}
    found = []
    for name in names:
        joules, method = mean_per_image(evidence, name, facility)
        kwh = _times(joules, IMAGES / J_PER_KWH)
        training = (evidence.cards.get(name, {}).get("notes") or {}).get("training") or {}
        loads = windows_of(evidence, name, "load").values()
        ours = name == evidence.candidate
        found.append(
            Footprint(
                system=name,
                method=method,
                kwh=kwh,
                price=_times(kwh, stated.get("price_per_kwh")),
                co2e_g=_times(kwh, stated.get("co2e_g_per_kwh")),
                cold_start_j=_mean([_joules(rows, facility) for rows in loads]),
                cold_start_s=_mean([rows[0]["duration_s"] for rows in loads]),
                training_j=training.get("energy_j"),
                training_cpu_s=training.get("cpu_s"),
                break_even_images=_break_even(training.get("energy_j"), spent_j, names)
                if ours
                else None,
                break_even_method=least_direct(
                    (mean_per_image(evidence, name, node)[1], *training.get("methods", ()))
                ),
                cpu_break_even_images=_break_even(training.get("cpu_s"), spent_cpu_s, names)
                if ours
                else None,
            )
        )
    return found


def tariff(config: Mapping[str, Any]) -> dict[str, Any]:
    """Price and carbon of a kilowatt-hour, as stated and as codecarbon's data have it.

    Raises ConfigError for a country that they do not hold (ISO 3166, three letters), or a price
    that is none.
    """
    from codecarbon.input import DataSource

    country, price = config["country"], config["price_per_kwh"]
    if isinstance(price, bool) or not isinstance(price, int | float) or price < 0:
        raise ConfigError(f"price_per_kwh={price!r}; it is a number of {config['currency']}.")
    grids = DataSource().get_global_energy_mix_data()
    if country not in grids:
        near = difflib.get_close_matches(str(country).upper(), grids, n=1, cutoff=0.0)[0]
        raise ConfigError(f"country={country!r} has no grid here; did you mean {near}?")
    grid = grids[country]
    return {
        "price_per_kwh": float(price),
        "currency": str(config["currency"]),
        "country": country,
        "co2e_g_per_kwh": float(grid["carbon_intensity"]),
        "co2e_year": int(grid["year"]),
    }


def _joules(rows: Sequence[Mapping[str, Any]], boundary: Boundary | None) -> float | None:
    return boundary_energy(rows, boundary).energy_j if boundary else None


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _times(amount: float | None, each: float | None) -> float | None:
    return None if amount is None or each is None else amount * each


def _break_even(
    training: float | None, spent: Mapping[str, float | None], names: tuple[str, str]
) -> float | None:
    """Training over what an image spares; None where it spares nothing."""
    ours, theirs = (spent[name] for name in names)
    if training is None or ours is None or theirs is None or theirs <= ours:
        return None
    return training / (theirs - ours)
