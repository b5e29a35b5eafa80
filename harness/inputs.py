"""What the user asked for, checked before anything runs: plan, systems, prompts, claims."""

from __future__ import annotations

import dataclasses
import difflib
import hashlib
import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import assets
from harness.errors import ConfigError
from harness.plan import Plan, SystemPlan
from harness.records import PromptSet
from suites.claims import METRICS, claims_bytes, load_claims_file
from suites.proc.sets import load_set, sealed_set, to_jsonl, unpublished
from suites.prompts import read_prompt_file
from suites.published import is_manifest, manifest, read_published

__all__ = [
    "challenged",
    "claims",
    "executor",
    "known",
    "pair",
    "pinned",
    "plan",
    "prompt_set",
    "pue",
    "sealed",
    "switch",
    "system",
]

OWN_KEYS = ("batch", "timeout_s", "network")  # of a system's YAML: the parent's, not the class's
RESERVED = ("reference", "bare", "loaded")  # rows of a bundle that are no system


def known(name: str, names: Iterable[str], what: str) -> str:
    """The name itself; ConfigError naming the nearest known one where it is unknown."""
    names = list(names)
    if name in names:
        return name
    near = difflib.get_close_matches(str(name), names, n=1, cutoff=0.0)
    hint = f" Did you mean '{near[0]}'?" if near else ""
    raise ConfigError(f"Unknown {what} '{name}'.{hint} Known: {', '.join(names)}.")


def plan(suite: Mapping[str, Any], seed: int) -> Plan:
    """The plan of the suite's size."""
    size = known(suite["size"], suite["sizes"], "suite.size")
    chosen = suite["sizes"][size]
    for key in chosen:
        known(key, (field.name for field in dataclasses.fields(Plan)), f"suite.sizes.{size} key")
    return Plan(**chosen, seed=seed)


def pair(config: Mapping[str, Any]) -> tuple[str, str]:
    """Names of candidate and baseline."""
    candidate, baseline = (
        known(config[role], config["systems"], role) for role in ("candidate", "baseline")
    )
    if candidate == baseline:
        raise ConfigError(f"candidate and baseline are both '{candidate}'; name two systems.")
    return candidate, baseline


def prompt_set(suite: Mapping[str, Any]) -> PromptSet:
    """The suite's own set, or the prompt file or published set that `suite.prompts` names."""
    if suite.get("prompts"):
        name = str(suite["prompts"])
        if is_manifest(name):
            return read_published(name, suite.get("sha256"))
        if suite.get("sha256"):
            raise ConfigError(
                f"suite.sha256 is of a published set; {name} is a file. Leave it out."
            )
        return read_prompt_file(Path(name))
    if known(suite["set"], ("val", "test", "sealed"), "suite.set") == "sealed":
        return sealed_set(suite["nonce"])
    return load_set(suite["set"])


def pinned(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with the SHA-256 of a published set whose manifest tells it."""
    suite = config["suite"]
    name = str(suite.get("prompts") or "")
    if not is_manifest(name) or suite.get("sha256"):
        return config
    return {**config, "suite": {**suite, "sha256": manifest(name).sha256}}


def challenged(published: PromptSet, nonce: str | None) -> PromptSet:
    """The set, and after it the unpublished prompts that a challenge's nonce draws."""
    if nonce is None:
        return published
    prompts = published.prompts + unpublished(nonce)
    return PromptSet(
        name=f"{published.name}+challenge",
        version=published.version,
        prompts=prompts,
        sha256=hashlib.sha256(to_jsonl(prompts)).hexdigest(),
    )


def sealed(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The configuration with the nonces that draw unpublished prompts: those given, or new ones."""
    suite, challenge = config["suite"], config.get("challenge")
    if challenge in ("off", False, None):
        challenge = None
    elif challenge is True or challenge == "on":
        challenge = secrets.token_hex(16)
    if challenge and (suite.get("prompts") or suite["set"] == "sealed"):
        own = f"suite.prompts={suite['prompts']}" if suite.get("prompts") else "suite.set=sealed"
        raise ConfigError(f"challenge={challenge} with {own}; it is for a published set alone.")
    config = {**config, "challenge": None if challenge is None else str(challenge)}
    nonce = suite.get("nonce")
    if suite["set"] == "sealed" and suite.get("prompts"):
        raise ConfigError(
            f"suite.prompts={suite['prompts']} with suite.set=sealed, a drawn one. Leave out one."
        )
    if suite["set"] != "sealed":
        if nonce is not None:
            raise ConfigError(f"suite.nonce={nonce}; it draws suite.set=sealed and nothing else.")
        return config
    nonce = secrets.token_hex(16) if nonce is None else str(nonce)
    return {**config, "suite": {**suite, "nonce": nonce}}


def system(name: str, config: Mapping[str, Any]) -> SystemPlan:
    """What a worker instantiates, and the parent's own settings of it."""
    if not re.fullmatch(r"[A-Za-z0-9][\w.-]*", name) or name in RESERVED:
        raise ConfigError(
            f"'{name}' cannot name a system; use letters, digits, '.', '_' and '-', and none of "
            f"{', '.join(RESERVED)}."
        )
    batch, timeout_s = config.get("batch", 1), config.get("timeout_s", 600)
    if not isinstance(batch, int) or isinstance(batch, bool) or batch < 1:
        raise ConfigError(f"systems.{name}.batch is {batch!r}; it is a whole number of at least 1.")
    if not _number(timeout_s) or timeout_s <= 0:
        raise ConfigError(f"systems.{name}.timeout_s is {timeout_s!r}; it is a number of seconds.")
    inner = {key: value for key, value in config.items() if key not in OWN_KEYS}
    network = switch(f"systems.{name}.network", config.get("network", False))
    return SystemPlan(
        name=name, config=inner, batch=batch, timeout_s=float(timeout_s), network=network
    )


def claims(names: Sequence[str] | str | None, extractors: Iterable[str] = ()) -> bytes:
    """Claim files as one YAML stream: shipped ones by id, one's own by the path of a .yaml file.

    An endpoint's metric is built in, or one of the suite's extractors.
    """
    named = [names] if isinstance(names, str) else names
    if not isinstance(named, list | tuple) or not all(isinstance(name, str) for name in named):
        raise ConfigError(f"claims={names!r}; name claims, as in claims=[time-1000x].")
    chunks: list[bytes] = []
    ids: list[str] = []
    for name in named:
        if name.endswith((".yaml", ".yml")):
            path = assets.resolve(name) if name.startswith("package:") else Path(name)
            for claim in load_claims_file(path):
                ids.append(claim.id)
                for asked in claim.ranges:
                    known(asked.metric, ("verified", "clip", *extractors), f"{path}: metric")
                for endpoint in claim.endpoints:
                    known(endpoint.metric, (*METRICS, *extractors), f"{path}: metric")
            chunks.append(b"---\n" + path.read_bytes() + b"\n")
        else:
            ids.append(name)
            chunks.append(claims_bytes([name]))
    if not ids or len(ids) > len(set(ids)):
        raise ConfigError(f"claims=[{','.join(ids)}]; name at least one claim, and each once.")
    return b"".join(chunks)


def executor(config: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Where an audit is measured: `name` local, or ray with what conf/executor/ray.yaml has."""
    told = dict(config or {"name": "local"})  # bundles of before have none
    if known(told.get("name", ""), ("local", "ray"), "executor.name") == "ray":
        for key in told:
            known(key, ("name", "address", "nodes", "wait_s"), "executor key")
        told = {"address": "auto", "nodes": None, "wait_s": 120, **told}
        if not _number(told["wait_s"]) or told["wait_s"] <= 0:
            raise ConfigError(f"executor.wait_s is {told['wait_s']!r}; it is a number of seconds.")
    return told


def pue(value: Any) -> float:
    """Power usage effectiveness of the facility: what it draws over what the node draws."""
    if not _number(value) or not 1 <= value < 100:
        raise ConfigError(f"pue={value!r}; it is a number of at least 1, as in pue=1.2.")
    return float(value)


def switch(key: str, value: Any) -> bool:
    """A setting that is on or off."""
    if not isinstance(value, bool):
        raise ConfigError(f"{key}={value!r}; it is true or false.")
    return value


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)
