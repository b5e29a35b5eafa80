"""What the joules of an image come to: kilowatt-hours, money, carbon, starting, and training.

Everything follows from the boundary `facility` of a bundle, and from the price and the carbon of a
kilowatt-hour in its settings; none of it decides a claim.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any, get_args

from harness.attribute import boundary_energy, least_direct, mean_per_image, windows_of
from harness.errors import ConfigError
from harness.records import Boundary, Evidence, Method

__all__ = ["BreakEven", "Footprint", "break_even", "footprints", "tariff"]

J_PER_KWH = 3.6e6
IMAGES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Footprint:
    """Of one system: 1,000 images and a cold start at the facility, and what its training took.

    `cold_start_j` is what loading takes, mean over starts. None is what was not read or not told.
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


@dataclass(frozen=True, slots=True, kw_only=True)
class BreakEven:
    """After how many images what the candidate spares of the baseline's pays for its training.

    In joules of the node, which trainings are told in, and in processor seconds; None where
    nothing is spared, or something is not told.
    """

    images: float | None
    method: Method | None
    cpu_images: float | None


def footprints(evidence: Evidence) -> list[Footprint]:
    """Of the candidate and the baseline."""
    stated, facility = evidence.settings.get("tariff") or {}, _boundary(evidence, "facility")
    found = []
    for name in (evidence.candidate, evidence.baseline):
        joules, method = mean_per_image(evidence, name, facility)
        kwh = _times(joules, IMAGES / J_PER_KWH)
        loads = windows_of(evidence, name, "load").values()
        training = _training(evidence, name)
        found.append(
            Footprint(
                system=name,
                method=method,
                kwh=kwh,
                price=_times(kwh, stated.get("price_per_kwh")),
                co2e_g=_times(kwh, stated.get("co2e_g_per_kwh")),
                cold_start_j=_mean([boundary_energy(rows, facility).energy_j for rows in loads]),
                cold_start_s=_mean([rows[0]["duration_s"] for rows in loads]),
                training_j=training.get("energy_j"),
                training_cpu_s=training.get("cpu_s"),
            )
        )
    return found


def break_even(evidence: Evidence) -> BreakEven:
    """Of the candidate against the baseline."""
    training = _training(evidence, evidence.candidate)

    def images(spent: float | None, boundary: Boundary | None) -> float | None:
        names = (evidence.candidate, evidence.baseline)
        ours, theirs = (mean_per_image(evidence, name, boundary)[0] for name in names)
        if spent is None or ours is None or theirs is None or theirs <= ours:
            return None
        return spent / (theirs - ours)

    node = _boundary(evidence, "node")
    _, method = mean_per_image(evidence, evidence.candidate, node)
    return BreakEven(
        images=images(training.get("energy_j"), node),
        method=least_direct((method, *training.get("methods", ()))),
        cpu_images=images(training.get("cpu_s"), None),
    )


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


def _boundary(evidence: Evidence, name: str) -> Boundary:
    return next(boundary for boundary in evidence.boundaries if boundary.name == name)


def _training(evidence: Evidence, system: str) -> Mapping[str, Any]:
    """What a system's card tells of its training, as far as these are numbers above nothing."""
    told = (evidence.cards.get(system, {}).get("notes") or {}).get("training")
    if not isinstance(told, Mapping):
        return {}
    amounts = {key: told.get(key) for key in ("energy_j", "cpu_s")}
    found: dict[str, Any] = {
        key: float(value)
        for key, value in amounts.items()
        if isinstance(value, int | float) and not isinstance(value, bool) and 0 < value < math.inf
    }
    methods = told.get("methods")
    known = [one for one in get_args(Method) if isinstance(methods, list) and one in methods]
    return {**found, "methods": known}


def _mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return fmean(known) if known and len(known) == len(values) else None


def _times(amount: float | None, each: float | None) -> float | None:
    return None if amount is None or each is None else amount * each
