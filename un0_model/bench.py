"""Times Un0's kernels beside what this machine can do at best, and beside what they replace.

    un0bench bench kernels|gate

Every row is a ratio of two things timed in turns within one run; the least of the turns counts.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib import resources
from pathlib import Path

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from un0_model.compiled import compiled
from un0_model.dictionary import LEVELS, TOKENS, WORDS, Dictionary
from un0_model.fused_gate import gated, gather
from un0_model.gate import FEATURES, proposals_for
from un0_model.integer import Integer
from un0_model.kernel import FusedTokens
from un0_model.pipeline import Un0
from un0_model.replay import Noted
from un0_model.tokens import TokenModel
from un0_model.vnni import multiply, pack

__all__ = [
    "BATCH",
    "STAGES",
    "Row",
    "gate",
    "gate_stages",
    "in_turns",
    "kernels",
    "long_captions",
    "one_thread",
]

TURNS = 5
TURN_S = 0.05
NEURONS, WIDTH, KEPT = 65_536, 256, 64  # a layer of which 0.1% serves
KEEPS = (2, 8, 32, 128, 512, 819)  # of 8,192 neurons a layer: 0.02% to 10%
BATCH = 16
STAGES = ("whole", "decided", "gathered")


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One comparison: how many times faster `kernel` is than `beside`, and its seconds a call."""

    kernel: str
    beside: str
    ratio: float
    seconds: float
    note: str = ""


def kernels() -> Iterator[Row]:
    """Times every kernel on one thread; yields as it goes, the machine's own rates first."""
    with one_thread():
        rate, bandwidth = yield from _machine()
        yield from _products(rate)
        yield from _layer(bandwidth)
        yield from _model(rate)


def gate() -> Iterator[Row]:
    """What the gate costs a picture, from few neurons that serve to many; untrained weights.

    The shipped shape, with as many proposals a word as give candidates enough to the shortest
    caption. Every picture is drawn again and again here, so the gate's tables are in the caches;
    an audit's replay keeps them as they are in service.
    """
    model = Un0.from_pretrained(Path(str(resources.files("un0_model"))) / "weights" / "un0")
    words, noise = long_captions(model), model.uniforms(range(BATCH))
    for keep in KEEPS:
        with one_thread():
            torch.manual_seed(0)
            shipped = model.tokens.shape
            tokens = TokenModel(replace(shipped, keep=keep, proposals=proposals_for(keep)))
            tokens.freeze()
            found = in_turns(gate_stages(FusedTokens(tokens), model.decoder, words, noise))
        whole, decided, gathered = (found[stage] for stage in STAGES)
        yield Row(
            kernel=f"picture without gate, {keep / shipped.neurons:.2%} active",
            beside="the same with its gate",
            ratio=whole / gathered,
            seconds=gathered / BATCH,
            note=f"of the whole {(whole - decided) / whole:.1%} decides and "
            f"{(decided - gathered) / whole:.1%} fetches",
        )


def long_captions(model: Un0) -> Tensor:
    """A batch of the model's captions of at least 8 words, which propose neurons enough."""
    words = model.words(model.config["card_captions"])
    return words[(words > 0).sum(1) >= FEATURES // 2 + 1][:BATCH]


def gate_stages(
    writer: FusedTokens, decoder: Callable[[Tensor], np.ndarray], words_BW: Tensor, noise: Tensor
) -> dict[str, Callable[[], np.ndarray]]:
    """A batch drawn whole, with its gate's decision known beforehand, and with its neurons too."""
    noted = Noted(writer, words_BW)

    def picture(stage: str) -> np.ndarray:
        if stage == "whole":
            return decoder(writer.generate(words_BW, noise))
        return decoder(noted.generate(stage, noise))

    return {stage: partial(picture, stage) for stage in STAGES}


@contextmanager
def one_thread() -> Iterator[None]:
    """Both torch and the kernels on one thread."""
    before = torch.get_num_threads(), numba.get_num_threads()
    torch.set_num_threads(1)
    numba.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before[0])
        numba.set_num_threads(before[1])


def _machine() -> Generator[Row, None, tuple[float, float]]:
    """Multiply-adds a second of float32 matrices, and bytes a second read from memory."""
    a, b = torch.randn(1024, 1024), torch.randn(1024, 1024)
    large = torch.ones(64 * 1024 * 1024 // 4)  # 64 MiB: beyond the caches
    found = in_turns({"matrix": partial(torch.matmul, a, b), "read": large.sum})
    rate, bandwidth = 1024**3 / found["matrix"], large.nbytes / found["read"]
    for name, kernel, note in (
        ("matrix", "float32 matrix product 1024^3", f"{rate / 1e9:.0f} G multiply-adds/s"),
        ("read", "sum of 64 MiB", f"{bandwidth / 1e9:.1f} GB/s"),
    ):
        yield Row(kernel=kernel, beside="itself", ratio=1.0, seconds=found[name], note=note)
    return rate, bandwidth


def _products(rate: float) -> Iterator[Row]:
    """8-bit products of the shapes that the model has, against the float32 product of each."""
    rng = np.random.default_rng(0)
    for rows, depth, width in ((8, 128, 384), (8, 256, 128), (256, 576, 64)):
        x = rng.integers(0, 256, (rows, depth)).astype(np.uint8)
        tiles = pack(rng.integers(-127, 128, (depth, width)).astype(np.int8))
        out = np.empty((rows, width), np.int32)
        a, b = torch.randn(rows, depth), torch.randn(depth, width)
        found = in_turns(
            {
                "ours": partial(_repeat, x, tiles, out, 100),
                "torch": partial(torch.matmul, a, b),
            }
        )
        seconds = found["ours"] / 100
        share = rows * depth * width / seconds / rate
        yield Row(
            kernel=f"8-bit product {rows} x {depth} x {width}",
            beside="torch, float32",
            ratio=found["torch"] / seconds,
            seconds=seconds,
            note=f"{share:.2f} of the matrix rate",
        )


@compiled
def _repeat(x, tiles, out, times):
    for _ in range(times):
        multiply(x, x.shape[0], tiles, out)


def _layer(bandwidth: float) -> Iterator[Row]:
    """A layer of 65,536 neurons: those chosen for the picture against all of them."""
    torch.manual_seed(0)
    up, down = torch.randn(NEURONS, WIDTH) * WIDTH**-0.5, torch.randn(NEURONS, WIDTH)
    pool = torch.randint(-127, 128, (NEURONS, 2, WIDTH), dtype=torch.int8).numpy()
    scale = np.full(NEURONS, 0.01, np.float32)
    gain = np.ones(KEPT, np.float32)
    for tokens in (1, 16, 256):
        x = torch.randn(tokens, WIDTH)
        routes = itertools.cycle(torch.randint(0, NEURONS, (1000, KEPT)))  # always others
        found = in_turns(
            {
                "dense": partial(_dense, x, up, down),
                "portable": partial(_portable, x, up, down, routes),
                "fused": partial(_fused, x, pool, scale, routes, gain),
            }
        )
        moved = KEPT * (2 * WIDTH + 4) / found["fused"] / bandwidth
        for name in ("fused", "portable"):
            yield Row(
                kernel=f"gated layer, {tokens} tokens, {name}",
                beside="all 65,536 in torch, float32",
                ratio=found["dense"] / found[name],
                seconds=found[name],
                note=f"weights at {moved:.3f} of the bandwidth" if name == "fused" else "",
            )


def _dense(x: Tensor, up: Tensor, down: Tensor) -> Tensor:
    return F.relu(x @ up.T) @ down


def _portable(x: Tensor, up: Tensor, down: Tensor, routes: Iterator[Tensor]) -> Tensor:
    """The gated layer by torch's own operations, as it runs on any machine."""
    index = next(routes)
    active = F.relu(x @ F.embedding(index, up).T)
    return F.embedding_bag(index.expand(len(x), -1), down, per_sample_weights=active, mode="sum")


def _fused(
    x: Tensor, pool: np.ndarray, scale: np.ndarray, routes: Iterator[Tensor], gain: np.ndarray
) -> np.ndarray:
    return _serve(x.numpy(), pool, scale, next(routes).numpy(), gain)


@compiled
def _serve(x, pool, scale, index, gain):
    """One picture's tokens through its neurons: gathered once, read for every token."""
    rows = np.empty((index.shape[0], 2, pool.shape[2]), np.float32)
    gather(pool, scale, index, rows)
    out = np.zeros_like(x)
    for t in range(x.shape[0]):
        gated(x[t], rows, gain, out[t])
    return out


def _model(rate: float) -> Iterator[Row]:
    """The shipped model's gate, token loop and decoder against the same in torch, in float32."""
    model = Un0.from_pretrained(Path(str(resources.files("un0_model"))) / "weights" / "un0")
    tokens, dictionary = _in_floats(model)
    texts = model.config["card_captions"]
    work = model.profile(texts).multiply_adds
    parts = {
        "gate": work["gate"],
        "tokens": work["trunk"] + work["sparse"],
        "decode": work["decode"],
    }
    for batch in (1, 16):
        words = model.words(texts[:batch])
        noise, code = model.uniforms(range(batch)), torch.randint(0, WORDS, (batch, TOKENS))
        route = model.writer.route(words)
        calls: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
            "gate": (partial(model.writer.route, words), partial(tokens.route, words)),
            "tokens": (
                partial(model.writer.generate, words, noise, route=route),
                partial(tokens.generate, words, noise, route=route),
            ),
            "decode": (partial(model.decoder, code), partial(dictionary.pictures, code)),
        }
        for name, (ours, floats) in calls.items():
            with torch.inference_mode():
                found = in_turns({"ours": ours, "torch": floats})
            share = parts[name] * batch / found["ours"] / rate
            yield Row(
                kernel=f"{name}, batch {batch}",
                beside="torch, float32",
                ratio=found["torch"] / found["ours"],
                seconds=found["ours"],
                note=f"{share:.2f} of the matrix rate",
            )


def _in_floats(model: Un0) -> tuple[TokenModel, Dictionary]:
    """The same model before its rounding to whole numbers, as torch computes it."""
    tokens, dictionary = TokenModel(model.tokens.shape), Dictionary()
    top = torch.tensor([n - 1.0 for n in LEVELS]).view(1, -1, 1, 1)
    for plain, rounded in ((tokens, model.tokens), (dictionary, model.dictionary)):
        state = rounded.state_dict()
        for name, module in rounded.named_modules():
            if isinstance(module, Integer):
                step = module.step.view(-1, *[1] * (module.weight.ndim - 1))
                state[f"{name}.weight"] = module.weight * step * (top if module.whole else 1)
        for name in [n for n in state if n.endswith(".scale")]:
            pool = name.replace("scale", "pool")
            state[pool] = state[pool] * state.pop(name)
        plain.load_state_dict({name: state[name] for name in plain.state_dict()})
    return tokens.eval(), dictionary.eval()


def in_turns(calls: Mapping[str, Callable[[], object]]) -> dict[str, float]:
    """Seconds of one call of each: the least of TURNS, the calls taking turns."""
    least = {}
    for name, call in calls.items():
        call()  # compiles, and fills the caches
        began = time.perf_counter()
        call()
        least[name] = time.perf_counter() - began
    times = {name: max(1, int(TURN_S / max(s, 1e-7))) for name, s in least.items()}
    for _ in range(TURNS):
        for name, call in calls.items():
            began = time.perf_counter()
            for _ in range(times[name]):
                call()
            least[name] = min(least[name], (time.perf_counter() - began) / times[name])
    return least
