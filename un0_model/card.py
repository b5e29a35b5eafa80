"""The model card that the recipe writes beside the weights: every figure counted from the model."""

from __future__ import annotations

from un0_model.dictionary import TOKENS
from un0_model.pipeline import Un0

__all__ = ["model_card"]

BATCHES = (1, 16, 100)

DEFINITIONS = {
    "parameter_bytes": "bytes read for one image, of all bytes that can serve (decides)",
    "gated_neurons_of_pool": "gated neurons that serve, of the pool",
    "gated_neurons_of_chosen": "gated neurons that serve, of those ever chosen",
    "neurons_with_trunk": "neurons that serve, the always-on ones counted, of all",
    "gated_and_scored_bytes": "bytes of gated neurons and of the gate, of all such bytes",
    "multiply_adds_of_capacity_matched": "multiply-adds, of a model that evaluates every neuron",
    "pool_ever_chosen": "neurons chosen at least once in 20,000 requests, of the pool",
}


def model_card(model: Un0) -> str:
    """Markdown: what it is, what an image costs by part, every definition of active, training."""
    s, card = model.tokens.shape, model.card()
    work = model.profile(model.config["card_captions"])
    parts = dict(work.multiply_adds), dict(work.parameter_bytes)
    totals = [sum(part.values()) for part in parts]
    names = sorted({*parts[0], *parts[1]})
    rows = [f"| {n} | {parts[0].get(n, 0):,} | {parts[1].get(n, 0):,} |" for n in names]
    asked = model.words(model.config["card_captions"])
    union = [f"| {batch} | {model.union(asked[:batch]):,} |" for batch in BATCHES]
    active = [
        f"| {text} | {card.active[name]:.3%} |"
        for name, text in DEFINITIONS.items()
        if name in card.active
    ]
    weights = ", ".join(f"`{name}`: `{sha}`" for name, sha in card.weights_sha256.items())
    training = model.config.get("training", {})
    told = "\n".join(f"- {name}: {value}" for name, value in training.items())
    gate = (
        f"a gate chooses {s.keep} of\n{s.neurons:,} neurons in each of {s.layers} layers once per "
        f"image (`{s.gate}`)"
        if s.neurons
        else f"{s.layers} layers without\npool and gate, whose neurons all serve every image"
    )
    sketch = f"behind {s.sketch} of a smaller picture, " if s.sketch else ""
    arranged = (
        "\nHow two things joined by `and` or several equal ones are arranged is drawn by the seed."
        if model.config.get("arranged")
        else ""
    )
    return f"""# Un0{"" if s.neurons else " without its pool: thin and dense"}

Pictures of 64 x 64 pixels from captions in the suite's words: {gate}, {TOKENS} words of a
latent dictionary are written one after the other, {sketch}and decoded.
Synthetic scenes only: nothing here extrapolates to natural images.{arranged}

{card.parameters:,} parameters in {card.parameter_bytes:,} bytes; {card.precision}. Cache: none.
SHA-256 of {weights}. Written by `un0bench train un0`; counts are
means over 100 training captions.

| part | multiply-adds an image | parameter bytes read an image |
|---|---:|---:|
{chr(10).join(rows)}
| together | {totals[0]:,} | {totals[1]:,} |

Neurons that serve a token and an image: {s.layers * s.keep} gated (the same for all of its tokens)
and {s.layers * s.trunk} always on.

| images in a batch | gated neurons they touch together |
|---:|---:|
{chr(10).join(union)}

| definition of "active" | share |
|---|---:|
{chr(10).join(active)}

Training, all stages and legs together (joules by the methods named; None where one was not read):

{told}
"""
