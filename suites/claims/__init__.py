"""Claim files: plain YAML whose margins are fixed before anything is measured."""

from __future__ import annotations

import dataclasses
import difflib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, get_args, get_type_hints

import yaml

from harness.errors import InputError
from harness.plain_yaml import PlainLoader
from harness.records import Claim, Endpoint, Range

__all__ = ["METRICS", "claim_ids", "claims_bytes", "load_claims", "load_claims_file"]

_FOLDER = Path(__file__).parent
_MAX_BYTES = 256 * 1024
METRICS = ("verified", "clip", "frechet", "recall")
_BARS = ("verified", "frechet_share")
_NESTED = ("endpoints", "ranges", "baseline_bar")


def claim_ids() -> tuple[str, ...]:
    """The shipped claims: every YAML file of this folder, by name."""
    return tuple(sorted(path.stem for path in _FOLDER.glob("*.yaml")))


def load_claims(ids: Sequence[str] | None = None) -> tuple[Claim, ...]:
    """Loads shipped claims by id, all of them by default. Raises InputError for an unknown id."""
    chosen = claim_ids() if ids is None else tuple(ids)
    return tuple(load_claims_file(_shipped(name))[0] for name in chosen)


def claims_bytes(ids: Sequence[str] | None = None) -> bytes:
    """The shipped claim files as one YAML stream, comments kept; `load_claims_file` reads it."""
    chosen = claim_ids() if ids is None else tuple(ids)
    return b"".join(b"---\n" + _shipped(name).read_bytes() for name in chosen)


def load_claims_file(path: str | Path) -> tuple[Claim, ...]:
    """Reads one claim or several, separated by ---.

    Raises InputError naming file, key and remedy: unreadable, not plain YAML, an unknown or
    missing key, a wrong type, or a claim that could never be decided.
    """
    path = Path(path)
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise InputError(f"{path} is larger than {_MAX_BYTES} bytes. A claim is a few lines.")
        text = path.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"Claims not readable at {path} ({error}). Name a UTF-8 file.") from error
    try:
        documents = list(yaml.load_all(text, Loader=PlainLoader))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        told = " ".join(str(error).split())
        raise InputError(
            f"{path} is not plain YAML: {told}. Tags and aliases are refused."
        ) from error
    documents = [document for document in documents if document is not None]
    if not documents:
        raise InputError(f"{path} holds no claim. See suites/claims for examples.")
    claims = tuple(_claim(document, path) for document in documents)
    names = [claim.id for claim in claims]
    for name in names:
        if names.count(name) > 1:
            raise InputError(f"{path}: the claim {name} stands twice. Keep one.")
    return claims


def _shipped(name: str) -> Path:
    if name not in claim_ids():
        raise InputError(f"Unknown claim {name!r}{_nearest(name, claim_ids())}.")
    return _FOLDER / f"{name}.yaml"


def _claim(document: Any, path: Path) -> Claim:
    values = _checked(document, Claim, f"{path}", ("id", "statement", "quantity"))
    endpoints, ranges = values.pop("endpoints", []), values.pop("ranges", [])
    bar = values.pop("baseline_bar", {})
    for key, listed in (("endpoints", endpoints), ("ranges", ranges)):
        if not isinstance(listed, list):
            raise InputError(f"{path}: {key} must be a list. Begin each with '- metric:'.")
    required = ("metric", "kind", "margin")
    claim = Claim(
        **values,
        endpoints=tuple(
            Endpoint(**_checked(item, Endpoint, f"{path}: endpoints[{i}]", required))
            for i, item in enumerate(endpoints)
        ),
        ranges=tuple(
            Range(**_checked(item, Range, f"{path}: ranges[{i}]", ("metric", "low", "high")))
            for i, item in enumerate(ranges)
        ),
        baseline_bar=_bar(bar, path),
    )
    _decidable(claim, path)
    return claim


def _bar(bar: Any, path: Path) -> Mapping[str, float]:
    if not isinstance(bar, dict):
        raise InputError(f"{path}: baseline_bar must map {' or '.join(_BARS)} to a number.")
    for key, value in bar.items():
        if key not in _BARS:
            raise InputError(f"{path}: unknown key baseline_bar.{key}{_nearest(key, _BARS)}.")
        if not _fits(value, float):
            raise InputError(f"{path}: baseline_bar.{key} is {value!r}; write a number.")
    return {key: float(value) for key, value in bar.items()}


def _checked(document: Any, record: type, where: str, required: Sequence[str]) -> dict[str, Any]:
    """Checks keys and types of a mapping against a record's fields."""
    if not isinstance(document, dict):
        raise InputError(f"{where} is a {type(document).__name__}; write keys and values.")
    hints = get_type_hints(record)
    names = [field.name for field in dataclasses.fields(record)]
    for key in document:
        if key not in names:
            raise InputError(f"{where}: unknown key {key!r}{_nearest(str(key), names)}.")
    for key in required:
        if key not in document:
            raise InputError(f"{where}: the key {key} is missing. Add it.")
    values: dict[str, Any] = {}
    for key, value in document.items():
        if key not in _NESTED and not _fits(value, hints[key]):
            raise InputError(f"{where}: {key} is {value!r}; write {_words(hints[key])}.")
        if key not in _NESTED and float in (
            hints[key],
            *get_args(hints[key]),
        ):
            value = None if value is None else float(value)
        values[key] = value
    return values


def _fits(value: Any, hint: Any) -> bool:
    options = get_args(hint)
    if options:
        return any(
            _fits(value, o) if isinstance(o, type) or get_args(o) else _is(value, o)
            for o in options
        )
    if hint is float:
        number = isinstance(value, int | float) and not isinstance(value, bool)
        return number and value == value and abs(value) < 1e300
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint)


def _is(value: Any, literal: Any) -> bool:
    return type(value) is type(literal) and value == literal


def _words(hint: Any) -> str:
    options = get_args(hint)
    if not options:
        return {float: "a number", int: "a whole number", str: "text"}.get(hint, str(hint))
    if any(get_args(o) for o in options):  # Literal[...] | None
        return " or ".join(_words(o) for o in options if o is not type(None))
    return " or ".join(
        _words(o) if isinstance(o, type) else str(o) for o in options if o is not type(None)
    )


def _decidable(claim: Claim, path: Path) -> None:
    """Refuses a claim whose numbers cannot decide anything."""
    ratio = claim.quantity in ("energy", "processor_time")
    most = 1.0 if claim.quantity in ("active_fraction", "gate_share", "told_apart") else math.inf
    problems = {
        "direction": (claim.quantity not in ("quality", "score") and claim.direction is None)
        or (claim.quantity in ("gate_share", "told_apart") and claim.direction != "at_most"),
        "threshold": claim.quantity not in ("quality", "score")
        and not 0 < (claim.threshold or 0) < most,
        "boundary": (claim.quantity == "energy") != (claim.boundary is not None),
        "endpoints": claim.quantity == "quality" and not claim.endpoints,
        "ranges": (claim.quantity == "score") != bool(claim.ranges)
        or any(asked.low >= asked.high for asked in claim.ranges),
        "training_images": claim.training_images is not None
        and (claim.quantity != "processor_time" or claim.training_images < 1),
        "min_pairs": ratio and claim.min_pairs < 3,
        "alpha": claim.alpha != 0.025,
    }
    for key, wrong in problems.items():
        if wrong:
            remedy = {
                "threshold": "write a number above 0" + (", and below 1" if most == 1 else ""),
                "direction": "write at_most"
                if claim.quantity in ("gate_share", "told_apart")
                else "write at_least or at_most",
                "boundary": "write device, node or facility"
                if claim.quantity == "energy"
                else "leave it out, joules alone have one",
                "training_images": "write 1 or more, for processor_time alone",
                "endpoints": "list at least one endpoint",
                "ranges": "list metrics with low below high, for score alone",
                "min_pairs": "write 3 or more; fewer give no interval",
                "alpha": "write 0.025, the one-sided level of every interval here",
            }[key]
            found = getattr(claim, key)
            raise InputError(f"{path}: a {claim.quantity} claim with {key} {found!r}; {remedy}.")
    for endpoint in claim.endpoints:
        if endpoint.metric not in METRICS and endpoint.kind != "difference":  # an extractor's own
            raise InputError(
                f"{path}: unknown metric {endpoint.metric!r}{_nearest(endpoint.metric, METRICS)}."
            )
        if not 0 < endpoint.margin < 1:
            raise InputError(
                f"{path}: the margin of {endpoint.metric} is {endpoint.margin:g}; "
                "write a share of 1, as in 0.03 for 3 points."
            )
        if (endpoint.kind == "frechet") != (endpoint.metric == "frechet"):
            raise InputError(
                f"{path}: {endpoint.metric} has kind {endpoint.kind}; "
                "kind frechet goes with the metric frechet, and only with it."
            )
        if endpoint.kind == "relative" and endpoint.metric != "clip":
            raise InputError(
                f"{path}: {endpoint.metric} has kind relative; only clip has a scale to share."
            )
        if endpoint.kind == "superiority" and endpoint.metric not in ("verified", "clip"):
            raise InputError(
                f"{path}: {endpoint.metric} has kind superiority; verified and clip can have it."
            )
        if endpoint.metric in ("frechet", "recall") and endpoint.category != "all":
            raise InputError(
                f"{path}: {endpoint.metric} in the category {endpoint.category}; it is pooled. "
                "Leave out category."
            )


def _nearest(name: str, known: Sequence[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
    return f". The nearest known is {close[0]}" if close else ""
