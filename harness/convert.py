"""A bundle's figures in the words of other schemes; None for what they ask and nobody read.

ml-energy        a row of the ML.ENERGY benchmark's diffusion runs (version 3), of accelerators
ai-energy-score  the GPU watt-hours of 1,000 queries, as GPU_ENERGY_SUMMARY.json has them
sci              terms of the Software Carbon Intensity (ISO/IEC 21031:2024), the functional unit
                 an image; what making the hardware emitted is not known, so there is no score

The first two are of accelerators: modelled figures and those of processors alone are left out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from harness.attribute import mean_per_image, windows_of
from harness.footprint import IMAGES, J_PER_KWH
from harness.records import Evidence

__all__ = ["SCHEMAS", "convert"]

J_PER_WH = 3600.0


def convert(evidence: Evidence, machine: dict[str, Any], schema: str) -> list[dict[str, Any]]:
    """Candidate and baseline in a scheme's words; `machine` is the bundle's environment.json."""
    written = SCHEMAS[schema]
    return [written(evidence, machine, name) for name in (evidence.candidate, evidence.baseline)]


def _ml_energy(evidence: Evidence, machine: dict[str, Any], system: str) -> dict[str, Any]:
    card, boards = evidence.cards.get(system, {}), machine.get("accelerators") or []
    rows = [window[0] for window in windows_of(evidence, system, "block").values()]
    lasted_s = sum(r["duration_s"] for r in rows)
    images_per_s = sum(r["requests"] - r["failures"] for r in rows) / lasted_s if rows else 0.0
    joules, batch = _board_j(evidence, system), rows[0]["batch"] if rows else None
    return {
        "task": "text-to-image",
        "model_id": card.get("name"),
        "nickname": system,
        "gpu_model": boards[0] if boards else None,
        "num_gpus": len(boards),
        "batch_size": batch,
        "energy_per_generation_joules": joules,
        "height": card.get("height"),
        "width": card.get("width"),
        "batch_latency_s": batch / images_per_s if batch and images_per_s else None,
        "avg_power_watts": None if joules is None else joules * images_per_s,
    }


def _ai_energy_score(evidence: Evidence, machine: dict[str, Any], system: str) -> dict[str, Any]:
    joules = _board_j(evidence, system)
    return {
        "units": "Wh",
        "total": None if joules is None else round(joules * IMAGES / J_PER_WH, 2),
        "model": system,
        "queries": IMAGES,
    }


def _sci(evidence: Evidence, machine: dict[str, Any], system: str) -> dict[str, Any]:
    facility = next(b for b in evidence.boundaries if b.name == "facility")
    grid = (evidence.settings.get("tariff") or {}).get("co2e_g_per_kwh")
    joules, method = mean_per_image(evidence, system, facility)
    energy = None if joules is None else joules / J_PER_KWH
    return {
        "system": system,
        "functional-unit": "image",
        "energy": energy,
        "energy-method": method,
        "grid/carbon-intensity": grid,
        "carbon-operational": None if energy is None or grid is None else energy * grid,
        "carbon-embodied": None,
        "sci": None,
    }


def _board_j(evidence: Evidence, system: str) -> float | None:
    """Joules an image of the accelerators, where they were metered."""
    device = next(b for b in evidence.boundaries if b.name == "device")
    if not all(pattern.startswith("gpu") for pattern in device.patterns):
        return None
    joules, method = mean_per_image(evidence, system, device)
    return None if method == "modelled" else joules


SCHEMAS: dict[str, Callable[[Evidence, dict[str, Any], str], dict[str, Any]]] = {
    "ml-energy": _ml_energy,
    "ai-energy-score": _ai_energy_score,
    "sci": _sci,
}
