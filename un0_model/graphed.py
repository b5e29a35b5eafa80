"""The token model on a GPU: all tokens of a batch in one CUDA graph, its gated neurons in Triton.

A picture is 64 tokens one after the other, each a few hundred small operations: launched one by one
they would wait for the processor. Letters as in `tokens`.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields
from functools import partial
from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

from un0_model.dictionary import code_of
from un0_model.gate import Route
from un0_model.integer import Integer
from un0_model.tokens import PLAIN, Block, Sampling, TokenModel

__all__ = ["GraphedTokens", "gated", "write"]

GRAPHS = 4  # batch sizes that are remembered


@triton.jit
def _gated(y, pool, step, index, gain, out, width: tl.constexpr, keep: tl.constexpr):
    """One program an image: reads the K chosen rows where they lie, 8 bits a number."""
    image, at = tl.program_id(0), tl.arange(0, width)
    seen, total = tl.load(y + image * width + at), tl.zeros([width], tl.float32)
    for k in range(keep):
        neuron = tl.load(index + image * keep + k)
        read, scale = pool + neuron * 2 * width + at, tl.load(step + neuron)
        active = tl.maximum(tl.sum(seen * tl.load(read).to(tl.float32)) * scale, 0.0)
        active *= tl.load(gain + image * keep + k) * scale
        total += active * tl.load(read + width).to(tl.float32)
    tl.store(out + image * width + at, total)


def gated(y_BD: Tensor, pool: Tensor, step: Tensor, index_BK: Tensor, gain_BK: Tensor) -> Tensor:
    """What the chosen neurons add [B, D], of a pool int8 [N, 2 D] with steps [N, 1].

    D is a power of two. The sums are those of `Block.body`, in another order.
    """
    out = torch.empty_like(y_BD)
    _gated[(len(y_BD),)](
        y_BD.contiguous(),
        pool,
        step,
        index_BK.contiguous(),
        gain_BK.contiguous(),
        out,
        width=y_BD.shape[1],
        keep=index_BK.shape[1],
    )
    return out


@dataclass(frozen=True, slots=True, kw_only=True)
class Given:
    """What a batch's words are drawn from: tensors, so that a graph can be replayed with others."""

    words: Tensor  # int64 [B, W]
    uniform: Tensor  # [B, T, 5]
    index: Tensor  # int64 [B, L, K]
    gain: Tensor  # [B, L, K]
    sampling: Tensor  # the four numbers of a Sampling

    def take(self, other: Given) -> None:
        for field in fields(self):
            getattr(self, field.name).copy_(getattr(other, field.name))


def write(model: TokenModel, given: Given) -> Tensor:
    """The words [B, T] that `TokenModel.generate` draws, sketch included, in tensors of fixed size.

    Keys and values have their places from the start; places not yet written are not looked at.
    """
    s, route = model.shape, Route(index=given.index, gain=given.gain)
    sampling = Sampling(*given.sampling)
    _, read = model.read(given.words, route)
    cache = [F.pad(kept, (0, 0, 0, s.written)) for kept in read]
    seen = F.pad(given.words > 0, (0, s.written))[:, None, None]
    before, code = model.start.expand(len(given.words), -1), []
    for t, place in enumerate(range(s.caption, s.caption + s.written)):
        x, seen[..., place] = (before + model.place[place])[:, None], True
        for i, block in enumerate(model.blocks):
            q, k, v = block.split(x)
            cache[i][:, :, :, place] = torch.stack([k, v])[:, :, :, 0]
            x = block.join(x, block.attend(q, *cache[i], seen))
            x = _body(block, x, given.index[:, i], given.gain[:, i])
        u = model.head(model.norm(x[:, 0]))
        digits = model.draw(u, given.uniform[:, t], sampling)
        before = model.seen(digits)
        code.append(code_of(digits))
    return torch.stack(code, dim=1)


def _body(block: Block, x: Tensor, index_BK: Tensor, gain_BK: Tensor) -> Tensor:
    """As `Block.body` of one place x [B, 1, D], its neurons read from the pool itself."""
    y = block.norm_b(x)
    x = x + block.down(F.relu(block.up(y)))
    if not index_BK.shape[1]:
        return x
    return x + gated(y[:, 0], block.pool, block.scale, index_BK, gain_BK)[:, None]


class GraphedTokens:
    """Stands for a frozen TokenModel on a GPU; a graph is captured once for each size of batch."""

    def __init__(self, model: TokenModel) -> None:
        self.model, self.shape = model, model.shape
        for layer in model.modules():
            if isinstance(layer, Integer):
                with suppress(ValueError):  # a layer too wide for float32 keeps its float64
                    layer.narrow()
        self._graphs: OrderedDict[int, tuple[Given, Callable[[], Any], Tensor]] = OrderedDict()

    def route(self, words_BW: Tensor) -> Route:
        """As `TokenModel.route`."""
        return self.model.route(words_BW)

    @torch.inference_mode()
    def generate(
        self,
        words_BW: Tensor,
        uniform_BTQ: Tensor,
        sampling: Sampling = PLAIN,
        route: Route | None = None,
    ) -> Tensor:
        """Words [B, 64], as `TokenModel.generate`."""
        route = self.route(words_BW) if route is None else route
        given = Given(
            words=words_BW,
            uniform=uniform_BTQ,
            index=route.index,
            gain=route.gain,
            sampling=torch.tensor(sampling, device=words_BW.device),
        )
        own, replay, code = self._graph(given)
        own.take(given)
        replay()
        return code[:, self.shape.sketch :].clone()

    def _graph(self, given: Given) -> tuple[Given, Callable[[], Any], Tensor]:
        """What to fill, how to run, and where the words will stand, for this size of batch."""
        batch = len(given.words)
        if batch not in self._graphs:
            self._graphs[batch] = self._captured(given)
            if len(self._graphs) > GRAPHS:
                self._graphs.popitem(last=False)
        self._graphs.move_to_end(batch)
        return self._graphs[batch]

    def _captured(self, given: Given) -> tuple[Given, Callable[[], Any], Tensor]:
        own = Given(**{f.name: getattr(given, f.name).clone() for f in fields(given)})
        run, side = partial(write, self.model, own), torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            run()  # compiles; nothing may be allocated by hand while a graph is captured
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            code = run()
        return own, graph.replay, code
