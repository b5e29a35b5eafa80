"""A claim in words: what decides it, with which margins, from how much evidence."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator

from harness.records import Claim, Endpoint
from reports import numbers

__all__ = ["explained"]

QUANTITIES = {
    "energy": "energy per image, the baseline's over the candidate's, of the whole {boundary}",
    "processor_time": "processor time per image, the baseline's over the candidate's",
    "latency": "time of one image asked alone, its 95th percentile in seconds",
    "active_fraction": "share of parameter bytes that one image reads",
    "gate_share": "the gate's share of what an image costs",
    "size": "bytes of parameters, the baseline's over the candidate's",
    "served_energy": "joules an image served at half a baseline node's load, baseline's over ours",
    "told_apart": "share of pictures that a classifier gives to the system that drew them",
    "kwh_per_1000": "kilowatt-hours of the node for 1,000 images",
    "price": "electricity of an image in money, of the node",
    "above_landauer": "joules of the node over k T ln 2 for every bit operation",
}
EVIDENCE = {
    "energy": "{0.min_pairs} pairs of blocks",
    "processor_time": "{0.min_pairs} pairs of blocks",
    "latency": "{0.min_trials} images asked alone",
    "score": "{0.min_prompts:,} prompts",
}
METRICS = {
    "verified": "verified content",
    "clip": "agreement with the caption",
    "recall": "recall of the reference",
    "frechet": "Frechet distance at infinite n",
}
RULE = (
    "Supported where every part passes with 95% confidence; refuted where one lies wholly beyond "
    "its limit, corrected for their number (Holm). Otherwise inconclusive, with what would decide, "
    "or not measured, with what is missing."
)


def explained(claim: Claim, source: bytes) -> Iterator[str]:
    """Lines on a claim and the file it came from, margins' reasons included."""
    yield claim.id
    yield f"  {claim.statement}"
    if claim.threshold is not None:
        what = QUANTITIES[claim.quantity].format(boundary=claim.boundary)
        limit = numbers.significant(claim.threshold, 4)
        yield f"  - {what}: {(claim.direction or '').replace('_', ' ')} {limit}"
    for asked in claim.ranges:
        name = METRICS.get(asked.metric, asked.metric)
        yield f"  - the candidate's {name}: {asked.low:.10g} to {asked.high:.10g}"
    for endpoint in claim.endpoints:
        yield f"  - {_endpoint(endpoint)}"
    for metric, bar in claim.baseline_bar.items():
        side = "at least" if metric == "verified" else "at most"
        name = METRICS.get(metric, "Frechet share of the reference's variance")
        yield f"  - the baseline's own {name}: {side} {numbers.percent(bar)}"
    least = [EVIDENCE[claim.quantity].format(claim)] if claim.quantity in EVIDENCE else []
    least += [f"{claim.min_prompts:,} prompts to support equal quality"] if claim.endpoints else []
    if least:
        yield f"  Least evidence: {', '.join(least)}."
    yield f"  {RULE}"
    yield f"  Version {claim.version}, SHA-256 {hashlib.sha256(source).hexdigest()}:"
    yield ""
    for line in source.decode().rstrip().splitlines():
        yield f"    {line}".rstrip()


def _endpoint(endpoint: Endpoint) -> str:
    name = METRICS.get(endpoint.metric, endpoint.metric)
    if endpoint.category != "all":
        name += f" in {endpoint.category}"
    points = numbers.points(endpoint.margin)[1:]
    if endpoint.kind == "superiority":
        return f"{name}: better than the baseline's by at least {points}"
    if endpoint.kind == "frechet":
        return f"{name}: at most {1 + endpoint.margin:g} times the baseline's"
    if endpoint.kind == "relative":
        share = numbers.percent(endpoint.margin)
        return f"{name}: worse by at most {share} of what tells a caption from another's"
    return f"{name}: worse than the baseline's by at most {points}"
