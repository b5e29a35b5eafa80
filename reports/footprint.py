"""What a footprint says, written out for a table and two sentences."""

from __future__ import annotations

from typing import Any

from harness.footprint import Footprint, break_even
from harness.records import Evidence
from reports import numbers

__all__ = ["paid_back", "row", "tariff"]


def row(one: Footprint, evidence: Evidence) -> dict[str, Any]:
    """1,000 images, a start and the training of one system."""
    currency = (evidence.settings.get("tariff") or {}).get("currency", "")
    trained_s = one.training_cpu_s
    return {
        "system": one.system,
        "method": one.method,
        "energy": numbers.watt_hours(None if one.kwh is None else 1000 * one.kwh),
        "price": numbers.quantity(one.price, currency),
        "co2e": numbers.quantity(one.co2e_g, "g"),
        "cold_start": numbers.joules(one.cold_start_j),
        "cold_start_s": numbers.seconds(one.cold_start_s),
        "training": numbers.joules(one.training_j),
        "training_cpu": "" if trained_s is None else f"{trained_s:,.0f} s of processor",
    }


def tariff(evidence: Evidence) -> str:
    """What a kilowatt-hour was taken to cost and to emit."""
    stated = evidence.settings.get("tariff")
    if not stated:
        return "At the facility. This bundle states no tariff."
    return (
        f"At the facility, by a stated {stated['price_per_kwh']:g} {stated['currency']} a kWh and "
        f"{stated['co2e_g_per_kwh']:.0f} g of CO2e a kWh ({stated['country']} in "
        f"{stated['co2e_year']}, by codecarbon's data; operation alone, nothing embodied)."
    )


def paid_back(evidence: Evidence) -> str:
    """After how many images the candidate's training is paid for by what they spare, or ""."""
    found = break_even(evidence)
    counts = ((found.images, f"{found.method} joules"), (found.cpu_images, "processor time"))
    told = [f"{count:,.0f} ({by})" for count, by in counts if count is not None]
    if not told:
        return ""
    return (
        f"Training {evidence.candidate} is paid for after {' or '.join(told)} images not drawn by "
        f"{evidence.baseline}."
    )
