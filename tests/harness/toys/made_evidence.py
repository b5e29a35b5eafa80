"""Made-up bundles whose right verdict is known: rows with a given ratio and given quality."""

import math

import numpy as np

from harness.judge import derive
from harness.records import Boundary, Claim, Endpoint, Evidence, Prompt

D = 8
NODE = Boundary(name="node", patterns=("package|cpu", "dram|ram"))
DEVICE = Boundary(name="device", patterns=("package|cpu",))
ENDPOINTS = (
    Endpoint(metric="verified", kind="difference", margin=0.03),
    Endpoint(metric="clip", kind="relative", margin=0.05),
    Endpoint(metric="frechet", kind="frechet", margin=0.10),
    Endpoint(metric="recall", kind="difference", margin=0.05),
)
VERIFIED = (ENDPOINTS[0],)
QUIET = {
    "cpu_mhz": 2000.0,
    "steal_share": 0.0,
    "foreign_cpu_s": 0.05,
    "temperature_c": None,
    "throttled": None,
}


def claim(**changes):
    fields = {
        "id": "energy-1000x",
        "statement": "",
        "quantity": "energy",
        "direction": "at_least",
        "threshold": 1000.0,
        "boundary": "node",
        "min_prompts": 200,
    }
    return Claim(**{**fields, **changes})


def windows(*, ratio=1200.0, spread=0.01, pairs=6, method="counter", dram=True, **changes):
    """Block windows of 10 s: the baseline at 1 J and 1 s an image, the candidate at 1 / ratio."""
    rng = np.random.default_rng(1)
    rows = []
    for pair in range(pairs):
        noise = math.exp(rng.normal(0, spread))
        for order in ("AB", "BA"):
            for system in ("un0", "dense"):
                per_image = 1.0 if system == "dense" else 1.0 / (ratio * noise)
                requests = 100 if system == "dense" else 100_000
                for domain, share in (("package:0", 0.8), ("dram:0", 0.2)):
                    unread = domain == "dram:0" and not dram
                    rows.append(
                        {
                            "window": f"{pair}-{order}-{system}",
                            "kind": "block",
                            "system": system,
                            "pair": pair,
                            "order": order,
                            "batch": 16,
                            "requests": requests,
                            "failures": 0,
                            "duration_s": 10.0,
                            "cpu_s": per_image * requests,
                            "start_ns": len(rows),
                            "end_ns": len(rows) + 1,
                            "domain": domain,
                            "energy_j": None if unread else share * per_image * requests,
                            "method": None if unread else method,
                            "accuracy": 0.01,
                            "void": False,
                            "reason": "",
                            **QUIET,
                            **changes,
                        }
                    )
    return rows


def scored(system, prompts, window, *, rng, verified, shift=0.0, clip=0.7, width=1.0):
    """Requests, items and features of one system over all prompts."""
    requests, items = [], []
    for i, prompt in enumerate(prompts):
        requests.append(
            {
                "request": i,
                "window": window,
                "system": system,
                "prompt_id": prompt,
                "seed": 0,
                "core": True,
                "latency_ns": None,
                "image_sha256": "",
                "failure": None,
            }
        )
        values = {"verified": float(rng.random() < verified), "clip": clip + rng.normal(0, 0.05)}
        items += [
            {"request": i, "system": system, "metric": m, "value": v} for m, v in values.items()
        ]
    features = width * rng.normal(size=(len(prompts), D)) + shift
    return requests, items, features


def evidence(*, n=400, ours=0.9, theirs=0.9, shift=0.3, controls=True, blur=3.0, **ratio):
    """A bundle of both systems over n prompts; the baseline stands `0.3` from the reference."""
    rng = np.random.default_rng(7)
    names = [f"p{i}" for i in range(n)]
    categories = ("single", "counting", "emblem")
    prompts = {
        name: Prompt(id=name, text=name, category=categories[2 if i % 10 == 2 else i % 2])
        for i, name in enumerate(names)
    }
    systems = {
        "un0": scored("un0", names, "0-AB-un0", rng=rng, verified=ours, shift=shift),
        "dense": scored("dense", names, "0-AB-dense", rng=rng, verified=theirs, shift=0.3),
    }
    if controls:
        damage = {
            "control:reference": {"verified": 0.995},
            "control:blur": {"verified": 0.2, "shift": blur},
            "control:jpeg30": {"verified": 0.99, "shift": 1.0},
            "control:shuffled": {"verified": 0.1, "clip": 0.05},
            "control:dropped-modes": {"verified": 0.99, "width": 0.3},
        }
        for name, changes in damage.items():
            systems[name] = scored(name, names, "control", rng=rng, **changes)
    return Evidence(
        candidate="un0",
        baseline="dense",
        windows=windows(**ratio),
        requests=[row for s in systems.values() for row in s[0]],
        items=[row for s in systems.values() for row in s[1]],
        prompts=prompts,
        features={name: s[2] for name, s in systems.items()},
        reference=np.random.default_rng(8).normal(size=(1500, D)),
        cards={"un0": {"weights_sha256": {"a": "1"}, "active": {"parameter_bytes": 0.0009}}},
        boundaries=(NODE, DEVICE),
        settings={
            "suite": "proc",
            "size": "full",
            "reference": {"matched_clip": 0.7, "shuffled_clip": 0.1},
        },
    )


def judged(found, *claims):
    return derive(found, claims)[1]


def parts(verdict):
    return {part.name: part.outcome for part in verdict.evidence}
