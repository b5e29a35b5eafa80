"""Which token models there can be: the shipped shape, others from nothing, others from a base."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from harness.errors import ConfigError
from suites.proc.words import VOCABULARY
from un0_model.dictionary import TOKENS
from un0_model.gate import GATES, proposals_for
from un0_model.tokens import Shape, TokenModel
from un0_model.vnni import COLUMNS

__all__ = ["SHAPE", "reshaped", "token_model"]

SHAPE = Shape(vocabulary=len(VOCABULARY) + 1)
GIVEN = ("gate", "layers", "sketch", "neurons", "keep", "proposals", "trunk")
POOL = ("gate.", ".pool")
NO_POOL = {"gate": "none", "neurons": 0, "keep": 0}
SKETCHES = (4, 16)  # words of a picture a quarter and half as wide
KINDS = ", ".join(GATES)


def reshaped(base: TokenModel, given: Mapping[str, int | str]) -> TokenModel:
    """A base with a wider trunk or more layers, what is new writing nothing as yet, or a sketch.

    Where anything of the gate or pool is given, both are new too, or left out (gate none). Raises
    ConfigError where a trunk or layers would be lost.
    """
    token_model(given)
    for key in ("trunk", "layers"):
        if int(given.get(key, getattr(base.shape, key))) < getattr(base.shape, key):
            raise ConfigError(
                f"shape.{key}={given[key]}, but the base has {getattr(base.shape, key)}; a base "
                "may grow, and have another gate and pool."
            )
    model = TokenModel(dataclasses.replace(base.shape, **_filled(given)))
    own, old = model.state_dict(), base.state_dict()
    for block in model.blocks:
        block.silence()
    new = POOL if given.keys() & {"gate", "neurons", "keep", "proposals"} else ()
    for name in own.keys() & old.keys():
        if not any(part in name for part in new):
            own[name][tuple(slice(n) for n in old[name].shape)] = old[name]
    own["place"][-TOKENS:] = old["place"][-TOKENS:]
    return model


def token_model(shape: Mapping[str, int | str]) -> TokenModel:
    """The shipped shape but for what is given. Raises ConfigError on what cannot be."""
    for key, value in shape.items():
        if key not in GIVEN:
            raise ConfigError(f"shape.{key} is not for change; {', '.join(GIVEN)} are.")
        if key == "gate":
            if not isinstance(value, str) or value not in GATES:
                raise ConfigError(f"shape.gate={value} is unknown; choose one of {KINDS}.")
        elif not isinstance(value, int) or value < 1:
            raise ConfigError(f"shape.{key}={value!r}; it is a whole number of at least 1.")
        elif key == "sketch" and value not in SKETCHES:
            raise ConfigError(f"shape.sketch={value}; a smaller picture has 4 or 16 words.")
        elif key == "trunk" and value % COLUMNS:
            raise ConfigError(f"shape.trunk={value}; the kernels read multiples of {COLUMNS}.")
    if shape.get("gate") == "none" and {"neurons", "keep"} & shape.keys():
        raise ConfigError("shape.gate=none has no pool; leave out shape.neurons and shape.keep.")
    wanted = dataclasses.replace(SHAPE, **_filled(shape))
    most = wanted.neurons
    if wanted.gate in ("hash-learned", "hash"):
        most = min(most, (2 * wanted.caption - 1) * wanted.proposals)
    if wanted.keep > most:
        raise ConfigError(f"shape.keep={wanted.keep}, and the gate has {most} to keep of.")
    try:
        return TokenModel(wanted)
    except ValueError as error:
        raise ConfigError(f"shape.gate={wanted.gate}: {error}; choose another size.") from None


def _filled(given: Mapping[str, int | str]) -> dict[str, Any]:
    """What is given, and what follows: no pool without a gate, more proposals for more neurons."""
    if given.get("gate") == "none":
        return {**given, **NO_POOL}
    if "keep" in given:
        return {"proposals": proposals_for(int(given["keep"])), **given}
    return dict(given)
