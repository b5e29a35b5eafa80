"""A small bundle with every table of the format: invented rows, real renders, real judgement.

The rows are drawn from a seeded generator: nothing here was measured.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from harness import bundle
from harness.boundaries import boundaries_of
from harness.evidence import read_evidence
from harness.judge import derive
from suites.claims import claims_bytes, load_claims
from suites.proc import render, scene

CATEGORIES = (
    *("single", "counting", "position", "binding", "size"),
    *("text", "anatomy", "landscape", "texture", "emblem"),
)
EVIL = "<script>window.pwned = 1</script> | `a` **red** circle"
SYSTEMS = ("un0", "dense", "null")
CONTROLS = ("reference", "blur", "jpeg30", "shuffled", "dropped-modes")
_CPU_S = {"un0": 0.0016, "dense": 0.52, "null": 0.00004}
_QUALITY = {"un0": 0.71, "dense": 0.83, "null": 0.02}
_WINDOW_S = 5.2
_UNSTATED = {"resolution_j": 0.5, "accuracy": 0.2}

CLAIMS = ("energy-1000x", "time-1000x", "active-0.1pct", "no-quality-loss", "latency-100ms")


def _prompts(rng: np.random.Generator, per_category: int) -> list[dict[str, Any]]:
    rows = []
    for category in CATEGORIES:
        for i in range(per_category):
            spec = scene.draw_spec(rng, category, split="test")
            text = EVIL if (category, i) == ("single", 0) else scene.caption(spec)
            rows.append(
                {"id": f"{category}-{i:03d}", "text": text, "category": category, "spec": spec}
            )
    return rows


def _window(window: str, kind: str, system: str, start_s: float, **more: Any) -> dict[str, Any]:
    row = {
        "window": window,
        "kind": kind,
        "system": system,
        "pair": None,
        "order": "",
        "batch": 16,
        "requests": 0,
        "failures": 0,
        "duration_s": _WINDOW_S,
        "cpu_s": None,
        "void": False,
        "reason": "",
        "energy_j": None,
        "method": None,
        "accuracy": None,
        "resolution_j": None,
        "idle_w": None,
        "domain": "",
        **more,
    }
    row["start_ns"] = int(start_s * 1e9)
    row["end_ns"] = int((start_s + row["duration_s"]) * 1e9)
    return row


def _with_domains(row: dict[str, Any], rng: np.random.Generator, metered: bool) -> list[dict]:
    if not metered:
        return [{**row, "reason": "no meter: RAPL is not readable and there is no NVIDIA GPU"}]
    busy = {"idle": 0.0}.get(row["kind"], 1.0)
    rows = []
    for domain, idle_w, work_w in (("cpu", 9.0, 31.0), ("ram", 3.0, 0.6)):
        power = idle_w + busy * work_w * (1 + 0.02 * rng.standard_normal())
        rows.append(
            {
                **row,
                "domain": domain,
                "energy_j": power * row["duration_s"],
                "method": "modelled",
                "accuracy": 0.2,
                "resolution_j": 0.5,
                "idle_w": idle_w,
            }
        )
    return rows


def _windows(rng: np.random.Generator, metered: bool) -> list[dict[str, Any]]:
    plan: list[dict[str, Any]] = []
    for name in ("bare", "loaded"):
        plan.append(_window(f"idle-{name}", "idle", name, 10.0 * len(plan), cpu_s=0.01))
    for name in SYSTEMS:
        plan.append(
            _window(f"load-{name}", "load", name, 10.0 * len(plan), duration_s=1.4, cpu_s=1.9)
        )
    for pair in range(6):
        for order in ("AB", "BA"):
            for name in ("un0", "dense") if order == "AB" else ("dense", "un0"):
                per_image = _CPU_S[name] * (1 + 0.02 * rng.standard_normal())
                count = max(16, int(_WINDOW_S * 1.9 / per_image))
                plan.append(
                    _window(
                        f"b{pair}{order}-{name}",
                        "block",
                        name,
                        10.0 * len(plan),
                        pair=pair,
                        order=order,
                        requests=count,
                        cpu_s=per_image * count,
                    )
                )
    plan.append({**plan[-1], "window": "b5BA-void", "void": True, "reason": "foreign load of 41%"})
    for i in range(2):
        plan.append(
            _window(
                f"null-{i}",
                "null",
                "null",
                10.0 * len(plan),
                requests=130000,
                cpu_s=130000 * _CPU_S["null"],
            )
        )
    for name in ("un0",):
        start = 10.0 * len(plan)
        plan.append(
            _window(f"latency-{name}", "latency", name, start, batch=1, requests=20, cpu_s=4.0)
        )
    return [r for row in plan for r in _with_domains(row, rng, metered)]


def _traces(seconds: int = 320) -> list[dict[str, Any]]:
    watts = {"cpu": 40.0, "ram": 3.6}
    return [
        {"t_ns": int(t * 1e9), "meter": "codecarbon", "domain": domain, "quantity": "counter_j"}
        | {"value": power * t}
        for t in range(seconds)
        for domain, power in watts.items()
    ]


def _picture(name: str, prompt: dict[str, Any], rng: np.random.Generator) -> np.ndarray:
    if name == "null":
        return np.full((64, 64, 3), 128, np.uint8)
    image = render.render(prompt["spec"], rng).astype(float)
    noise = {"un0": 14.0, "dense": 6.0}.get(name, 0.0)
    return np.clip(image + noise * rng.standard_normal(image.shape), 0, 255).astype(np.uint8)


def _png(image: np.ndarray) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(image).save(sink, "PNG")
    return sink.getvalue()


def _requests(root: Path, prompts: list[dict], rng: np.random.Generator, pictures: bool):
    requests, items = [], []
    for name in ("un0", "dense", *(f"control:{c}" for c in CONTROLS)):
        control = name.startswith("control:")
        for index, prompt in enumerate(prompts):
            failed = name == "un0" and index == 7
            data = _png(_picture(name, prompt, rng))
            seconds = 0.002 if name == "un0" else 0.55
            requests.append(
                {
                    "request": index,
                    "system": name,
                    "prompt_id": prompt["id"],
                    "core": True,
                    "window": "control" if control else f"b{index % 6}AB-{name}",
                    "seed": 7000 + index,
                    "latency_ns": None if control else int(seconds * 1e9 * rng.uniform(0.9, 1.2)),
                    "image_sha256": "" if failed else hashlib.sha256(data).hexdigest(),
                    "failure": "returned a 32 x 32 image" if failed else None,
                }
            )
            right = not failed and rng.random() < _QUALITY.get(name, 0.97)
            items.append((index, name, "verified", float(right)))
            items.append(
                (
                    index,
                    name,
                    "clip",
                    0.0 if failed else (0.2 if "shuffled" in name else 0.6) + 0.1 * rng.random(),
                )
            )
            if pictures and not failed and not control:
                path = root / "images" / name / f"{index}.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(data)
    for index in range(100):
        row = {"request": 10_000 + index, "system": "un0", "prompt_id": prompts[0]["id"]}
        row |= {"window": "latency-un0", "core": False, "seed": index, "image_sha256": ""}
        requests.append({**row, "latency_ns": int(2.1e6 * rng.uniform(0.95, 1.2))})
    keys = ("request", "system", "metric", "value")
    return requests, [dict(zip(keys, row, strict=True)) for row in items]


_CONFIG = {
    "candidate": "un0",
    "baseline": "dense",
    "pue": 1.2,
    "suite": {"name": "proc", "size": "mini", "set": "test"},
}


_CEILINGS = {
    "cpu": {
        "multiply_adds_per_s": {"float32": 6e10, "bfloat16": 9e11, "int8": 1.5e12},
        "bytes_per_s": 2e10,
    }
}


def _write_work(root: Path) -> None:
    told = {
        "multiply_adds": {"gate": 1_000_000, "trunk": 40_000_000},
        "formats": {"gate": "float32", "trunk": "int8"},
        "parameter_bytes": {"gate": 60_000, "trunk": 900_000},
        "batch_bytes": 2_000_000,
    }
    counted = {
        "operations": 90_000,
        "multiply_adds": {"float32": 90_000_000_000},
        "unique_bytes": 16_000_000,
        "moved_bytes": 40_000_000_000,
    }
    seen = {**counted, "multiply_adds": {}, "unique_bytes": 4_000, "moved_bytes": 90_000}
    bundle.write_json(
        root / "work" / "un0.json", {"batch": 16, "told": told, "counted": seen, "reason": ""}
    )
    bundle.write_json(
        root / "work" / "dense.json", {"batch": 16, "told": None, "counted": counted, "reason": ""}
    )


def _write_cards(root: Path) -> None:
    for name in SYSTEMS:
        card: dict[str, Any] = {
            "name": name,
            "modality": "text-to-image",
            "height": 64,
            "width": 64,
        }
        card |= {"parameters": 6_200_000, "parameter_bytes": 12_400_000, "precision": "fp16"}
        card |= {
            "steps": 50 if name == "dense" else 1,
            "evaluations": 100 if name == "dense" else 1,
        }
        card |= {"weights_sha256": {"model.safetensors": "ab" * 32}, "active": {}, "notes": {}}
        if name == "un0":
            card["active"] = {
                "parameter_bytes": 0.0123,
                "gated_neurons_of_pool": 0.004,
            }
        bundle.write_json(root / "cards" / f"{name}.json", card)


def write_sample(
    root: Path, *, metered: bool = True, pictures: bool = True, per_category: int = 4
) -> Path:
    """Write the bundle into `root`, a new directory, and return it."""
    rng = np.random.default_rng(20261120)
    root.mkdir(parents=True)
    prompts = _prompts(rng, per_category)
    requests, items = _requests(root, prompts, rng, pictures)
    bundle.write_table(root, "windows", _windows(rng, metered))
    if metered:
        bundle.write_table(root, "traces", _traces())
    bundle.write_table(root, "requests", requests)
    bundle.write_table(root, "items", items)
    lines = "".join(json.dumps(p, ensure_ascii=False) + "\n" for p in prompts)
    bundle.write_bytes(root / "prompts.jsonl", lines.encode())
    bundle.write_bytes(root / "claims.yaml", claims_bytes(CLAIMS))
    bundle.write_yaml(root / "config.yaml", _CONFIG)
    settings = {"suite": "proc", "size": "mini", "pairs_planned": 6, "ceilings": _CEILINGS}
    bundle.write_json(root / "settings.json", settings)
    reason = "" if metered else "no meter reads it: RAPL is not readable here"
    domains = [
        {"domain": d, "method": "modelled" if metered else None, "tick_s": 1.0, **_UNSTATED}
        | {"reason": reason}
        for d in ("cpu", "ram")
    ]
    bundle.write_json(
        root / "environment.json",
        {
            "cpu_model": "an invented 2-core CPU",
            "cpu_logical": 2,
            "accelerators": [],
            "python": "3.11.9",
            "packages": {"numpy": "2.3.4", "torch": "2.9.0"},
            "meter": {"name": "all", "domains": domains, "notes": {}},
            "boundaries": [dataclasses.asdict(b) for b in boundaries_of(devices=["cpu"], pue=1.2)],
        },
    )
    _write_cards(root)
    if metered:
        _write_work(root)
    for name in dict.fromkeys(r["system"] for r in requests):
        count = sum(r["system"] == name for r in requests)
        shift = {"un0": 0.3, "dense": 0.1, "control:blur": 0.8}.get(name, 0.0)
        features = rng.standard_normal((count, 4)).astype(np.float32) + np.float32(shift)
        bundle.write_features(root, name, features)
    bundle.write_features(root, "reference", rng.standard_normal((500, 4)).astype(np.float16))
    scores, verdicts = derive(read_evidence(root), load_claims(CLAIMS))
    bundle.write_table(root, "scores", bundle.score_rows(scores))
    bundle.write_json(root / "verdicts.json", bundle.verdict_rows(verdicts))
    facts = {"created": "2026-11-20T12:00:00+00:00", "un0bench_version": "0.1.0"}
    facts |= {"systems": list(SYSTEMS), "candidate": "un0", "baseline": "dense"}
    bundle.write_manifest(root, {**facts, "suite": _CONFIG["suite"], "blocks": []})
    return root


@pytest.fixture(scope="session")
def sample(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle with modelled energy and pictures."""
    return write_sample(tmp_path_factory.mktemp("reports") / "sample")


@pytest.fixture(scope="session")
def unmetered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bundle without any joules, whose pictures were not kept."""
    root = tmp_path_factory.mktemp("reports") / "unmetered"
    return write_sample(root, metered=False, pictures=False)


@pytest.fixture
def evil() -> str:
    """The prompt with markup in it."""
    return EVIL
