"""Which token models there can be: the shipped shape, others from nothing, others from a base."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from harness.errors import ConfigError
from suites.proc.words import VOCABULARY
from un0_model.gate import GATES
from un0_model.tokens import Shape, TokenModel
from un0_model.vnni import COLUMNS

__all__ = ["SHAPE", "reshaped", "token_model"]

SHAPE = Shape(vocabulary=len(VOCABULARY) + 1)
GIVEN = ("gate", "layers", "neurons", "keep", "proposals", "trunk")
NO_POOL = {"gate": "none", "neurons": 0, "keep": 0}
KINDS = ", ".join(GATES)


def reshaped(base: TokenModel, given: Mapping[str, int | str]) -> TokenModel:
    """A base with a wider trunk or more layers, the new ones writing nothing as yet, and maybe
    without its pool.

    Raises ConfigError where anything else is asked of a base.
    """
    token_model(given)
    trunk, layers = (max(getattr(base.shape, k), int(given.get(k, 0))) for k in ("trunk", "layers"))
    pool = NO_POOL if given.get("gate", base.shape.gate) == "none" else {}
    wanted = dataclasses.replace(base.shape, trunk=trunk, layers=layers, **pool)  # type: ignore[arg-type]
    if any(getattr(wanted, key) != value for key, value in given.items()):
        raise ConfigError(
            "shape with base=: a base keeps its shape, but may lose its pool (shape.gate=none), "
            f"have a trunk of {base.shape.trunk} or more (shape.trunk), and {base.shape.layers} "
            "layers or more (shape.layers)."
        )
    model = TokenModel(wanted)
    own, old = model.state_dict(), base.state_dict()
    for block in model.blocks:
        block.silence()
    for name, value in own.items():
        if value.numel() and name in old:
            value[tuple(slice(n) for n in old[name].shape)] = old[name]
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
        elif key == "trunk" and value % COLUMNS:
            raise ConfigError(f"shape.trunk={value}; the kernels read multiples of {COLUMNS}.")
    pool = NO_POOL if shape.get("gate") == "none" else {}
    if {"neurons", "keep"} & pool.keys() & shape.keys():
        raise ConfigError("shape.gate=none has no pool; leave out shape.neurons and shape.keep.")
    wanted: Shape = dataclasses.replace(SHAPE, **{**shape, **pool})  # type: ignore[arg-type]
    most = wanted.neurons
    if wanted.gate in ("hash-learned", "hash"):
        most = min(most, (2 * wanted.caption - 1) * wanted.proposals)
    if wanted.keep > most:
        raise ConfigError(f"shape.keep={wanted.keep}, and the gate has {most} to keep of.")
    try:
        return TokenModel(wanted)
    except ValueError as error:
        raise ConfigError(f"shape.gate={wanted.gate}: {error}; choose another size.") from None
