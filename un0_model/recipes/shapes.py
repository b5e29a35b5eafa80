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

__all__ = ["SHAPE", "has_new_pool", "reshaped", "token_model"]

SHAPE = Shape(vocabulary=len(VOCABULARY) + 1, layers=6, trunk=448)  # of what is shipped
GIVEN = ("gate", "layers", "sketch", "neurons", "keep", "proposals", "trunk")
POOL = ("gate.", ".pool")
NO_POOL = {"gate": "none", "neurons": 0, "keep": 0}
SKETCHES = (4, 16)  # words of a picture a quarter and half as wide
KINDS = ", ".join(GATES)


def reshaped(base: TokenModel, given: Mapping[str, int | str]) -> TokenModel:
    """A base with a wider trunk, more layers or a sketch; what is new writes nothing as yet.

    Where anything of the gate or pool is given, both are new too, or left out (gate none). Raises
    ConfigError on what cannot be, and where a trunk, layers or a sketch would be lost.
    """
    for key in ("trunk", "layers", "sketch"):
        has, asked = getattr(base.shape, key), given.get(key)
        if isinstance(asked, int) and asked < has:
            raise ConfigError(
                f"shape.{key}={asked}, but the base has {has}; a base may grow, and have another "
                "gate and pool."
            )
    model = token_model(given, base.shape)
    own, old = model.state_dict(), base.state_dict()
    for block in model.blocks:
        block.silence()
    new = POOL if has_new_pool(given) else ()
    for name in own.keys() & old.keys() - {"place"}:
        if not any(part in name for part in new):
            own[name][tuple(slice(n) for n in old[name].shape)] = old[name]
    read = base.shape.caption + base.shape.sketch
    own["place"][:read], own["place"][-TOKENS:] = old["place"][:read], old["place"][-TOKENS:]
    return model


def has_new_pool(given: Mapping[str, int | str]) -> bool:
    """Whether a base so reshaped has another gate and pool than it had."""
    return bool(given.keys() & {"gate", "neurons", "keep", "proposals"})


def token_model(given: Mapping[str, int | str], of: Shape = SHAPE) -> TokenModel:
    """A shape, the shipped one, but for what is given. Raises ConfigError on what cannot be."""
    for key, value in given.items():
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
    if given.get("gate") == "none" and {"neurons", "keep"} & given.keys():
        raise ConfigError("shape.gate=none has no pool; leave out shape.neurons and shape.keep.")
    wanted = dataclasses.replace(of, **_filled(given, of))
    most = wanted.neurons
    if wanted.gate in ("hash-learned", "hash"):
        most = min(most, (2 * wanted.caption - 1) * wanted.proposals)
    if wanted.keep > most:
        raise ConfigError(f"shape.keep={wanted.keep}, and the gate has {most} to keep of.")
    try:
        return TokenModel(wanted)
    except ValueError as error:
        raise ConfigError(f"shape.gate={wanted.gate}: {error}; choose another size.") from None


def _filled(given: Mapping[str, int | str], of: Shape) -> dict[str, Any]:
    """What is given, and what follows: no pool without a gate, and with one, proposals enough."""
    if given.get("gate") == "none":
        return {**given, **NO_POOL}
    if not has_new_pool(given):
        return dict(given)
    whole = of if of.neurons else SHAPE  # a base may have no pool
    sizes = {**{key: getattr(whole, key) for key in ("gate", "neurons", "keep")}, **given}
    return {"proposals": proposals_for(sizes["keep"]), **sizes}
