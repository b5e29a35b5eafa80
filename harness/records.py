"""The nouns of an audit, as frozen records. Units stand in the names: _j, _w, _s, _ns.

History of `SCHEMA_VERSION`
    1  2026-11-20  first bundle format
    2  2026-11-21  windows.parquet counts `failures`; a figure per image is one per valid image
    3  2026-11-23  features of scored images alone; one entry of the manifest for all pictures
    4  2026-11-23  windows.parquet and traces.parquet name the `node`; environment.json lists nodes
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np

__all__ = [
    "SCHEMA_VERSION",
    "Boundary",
    "Claim",
    "DomainCard",
    "Endpoint",
    "EnergyReading",
    "Evidence",
    "Failure",
    "GATE_STAGES",
    "MachineState",
    "MeterCard",
    "Part",
    "Range",
    "Prompt",
    "PromptSet",
    "Request",
    "Score",
    "Span",
    "SystemCard",
    "TraceRow",
    "Verdict",
    "Window",
    "WorkProfile",
]

SCHEMA_VERSION = 4
GATE_STAGES = ("whole", "decided", "gathered", "resident")  # of protocols.Replays

Method = Literal["wall", "counter", "integrated", "modelled"]
Outcome = Literal["supported", "refuted", "inconclusive", "not_measured"]


# What is asked ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A condition; `spec` is what a verifier can check, where the suite knows it."""

    id: str
    text: str
    category: str
    spec: Mapping[str, Any] | None = None
    tags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptSet:
    """A versioned list of prompts; `sha256` is over its JSONL bytes.

    source: of a published set, its url, licence and the SHA-256 of the file that was fetched.
    """

    name: str
    version: str
    prompts: tuple[Prompt, ...]
    sha256: str
    source: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """The unit that is generated, charged and scored. `id` is opaque to the system."""

    id: int
    prompt: Prompt
    seed: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """What a system answers in place of an image it could not make; it counts as a failure."""

    reason: str


# What answers ----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemCard:
    """What a system says of itself; `active` holds shares of 1, each under its definition."""

    name: str
    modality: str = "text-to-image"
    height: int
    width: int
    parameters: int | None = None
    parameter_bytes: int | None = None
    precision: str = ""
    steps: int | None = None
    evaluations: int | None = None
    weights_sha256: Mapping[str, str] = field(default_factory=dict)
    active: Mapping[str, float] = field(default_factory=dict)
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkProfile:
    """Work of one image as a system tells it, mean over a batch, by part (gate, body, decode).

    `formats`: what numbers each part multiplies ("int8"); `parameter_bytes` are read for an image
    that comes alone, `batch_bytes` for the whole batch, each byte once.
    """

    multiply_adds: Mapping[str, int]
    formats: Mapping[str, str]
    parameter_bytes: Mapping[str, int]
    batch_bytes: int


# What is metered -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class DomainCard:
    """One domain of a meter (`gpu:0`, `package:0`, `dram:0`, `cpu`, `ram`).

    `accuracy` is relative (0.05 = 5%); a `reason` says why a domain is missing, and the remedy.
    """

    domain: str
    method: Method | None
    tick_s: float | None = None
    resolution_j: float | None = None
    accuracy: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class MeterCard:
    name: str
    domains: tuple[DomainCard, ...]
    notes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """A stretch of time to be metered, on the monotonic clock (`time.perf_counter_ns`)."""

    id: str
    start_ns: int
    end_ns: int

    @property
    def duration_s(self) -> float:
        return (self.end_ns - self.start_ns) / 1e9


@dataclass(frozen=True, slots=True, kw_only=True)
class EnergyReading:
    """Joules of one domain over one span, or None with a reason. Never 0 for missing."""

    span: str
    domain: str
    energy_j: float | None
    method: Method | None
    resolution_j: float | None = None
    accuracy: float | None = None
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRow:
    """One sample of a meter: joules of a counter since it began, or watts at an instant."""

    t_ns: int
    domain: str
    quantity: Literal["counter_j", "power_w"]
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class MachineState:
    """State beside a window, by which unlike windows are told apart; None = unseen."""

    cpu_mhz: float | None = None
    steal_share: float | None = None
    foreign_cpu_s: float | None = None
    temperature_c: float | None = None
    throttled: bool | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """One metered stretch of one system. `kind`: block, idle, load, warmup, latency, null, gate,
    batch (at another batch) or open (requests at random times).

    A gate window is one stage of a round of replays (harness.replay): `order` names the stage,
    `pair` the pair whose start it shares; stages take turns between `start_ns` and `end_ns`.

    `cpu_s` is processor time of the worker's whole process tree, read by the parent (of a gate
    window: of the worker process alone); `failures` are the requests that gave no image. `node` is
    the machine of a cluster that it was measured on, "" where the audit measured by itself.
    """

    id: str
    kind: str
    system: str
    pair: int | None
    order: str
    batch: int
    requests: int
    start_ns: int
    end_ns: int
    cpu_s: float | None
    state: MachineState = field(default_factory=MachineState)
    failures: int = 0
    void: bool = False
    reason: str = ""
    node: str = ""

    @property
    def span(self) -> Span:
        return Span(id=self.id, start_ns=self.start_ns, end_ns=self.end_ns)


@dataclass(frozen=True, slots=True, kw_only=True)
class Boundary:
    """A named set of domains; `patterns` are domain prefixes, all of which must be read."""

    name: Literal["device", "node", "facility"]
    patterns: tuple[str, ...]
    pue: float = 1.0


# What is decided -------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """A quality endpoint with its margin, fixed before anything is measured.

    kind `difference`: candidate - baseline >= -margin, in the metric's own unit (points of 1).
    kind `superiority`: candidate - baseline >= margin, likewise.
    kind `relative`: the same with the margin a share of (matched - shuffled) on reference renders.
    kind `frechet`: FDinf(candidate) - (1 + margin) FDinf(baseline) <= 0.
    """

    metric: str
    kind: Literal["difference", "superiority", "relative", "frechet"]
    margin: float
    category: str = "all"


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Where a score of the candidate alone has to lie, ends included, in the metric's own unit."""

    metric: str
    low: float
    high: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Claim:
    """Plain data read from YAML before the run; never instantiated, never changed after.

    quantity: energy, processor_time, size, served_energy (ratios baseline / candidate), latency (s,
    p95 at batch 1), active_fraction, gate_share, told_apart (shares of 1), kwh_per_1000, price (of
    an image), above_landauer (times) of the candidate's node, quality (endpoints alone), or score
    (ranges alone).
    training_images: over so many the candidate's training is spread, and counted in.
    baseline_bar: what the baseline itself must reach, or equal quality means nothing: `verified` at
    least, `frechet_share` (FDinf over the reference's total variance) at most.
    """

    id: str
    statement: str
    quantity: Literal[
        "energy",
        "processor_time",
        "size",
        "served_energy",
        "latency",
        "active_fraction",
        "gate_share",
        "told_apart",
        "kwh_per_1000",
        "price",
        "above_landauer",
        "quality",
        "score",
    ]
    direction: Literal["at_least", "at_most"] | None = None
    threshold: float | None = None
    boundary: Literal["device", "node", "facility"] | None = None
    training_images: float | None = None
    endpoints: tuple[Endpoint, ...] = ()
    ranges: tuple[Range, ...] = ()
    baseline_bar: Mapping[str, float] = field(default_factory=dict)
    min_pairs: int = 6
    min_prompts: int = 1300
    min_trials: int = 100
    alpha: float = 0.025
    version: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Part:
    """One part of a verdict: an estimate against its threshold."""

    name: str
    outcome: Outcome
    estimate: float | None = None
    low: float | None = None
    high: float | None = None
    threshold: float | None = None
    n: int | None = None
    unit: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """`estimate` and its 95% interval are the deciding part's; `reasons` are for a reader."""

    claim: str
    scope: str
    outcome: Outcome
    estimate: float | None
    low: float | None
    high: float | None
    threshold: float | None
    evidence: tuple[Part, ...]
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A statistic of one system in one category, with its 95% interval where one is defined."""

    system: str
    metric: str
    category: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """All rows of a bundle that statistics and verdicts are computed from.

    windows, requests, items: lists of plain dicts, the bundle's rows (see docs/bundle.md).
    prompts: prompt id -> category. features: system -> float array [rows of that system, d] in the
    order of `requests`; `reference` float array [n, d]. whole: extractor -> the same of it, and
    under `reference` its mean and covariance [d + 1, d]. cards: system -> SystemCard as a dict.
    work: system -> what a batch took it (harness.counter), where it was counted.
    """

    candidate: str
    baseline: str
    windows: list[dict[str, Any]]
    requests: list[dict[str, Any]]
    items: list[dict[str, Any]]
    prompts: Mapping[str, Prompt]
    features: Mapping[str, np.ndarray]
    reference: np.ndarray | None
    cards: Mapping[str, Mapping[str, Any]]
    boundaries: tuple[Boundary, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    work: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    whole: Mapping[str, Mapping[str, np.ndarray]] = field(default_factory=dict)
