"""Un0, ready to use: captions and seeds in, pictures out, and a card that counts what is active."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import AssetError, ConfigError
from harness.records import SystemCard, WorkProfile
from un0_model.arrangement import arranged_by_seed
from un0_model.decode import FusedDecoder
from un0_model.dictionary import LEVELS, Dictionary
from un0_model.integer import Integer
from un0_model.kernel import FusedTokens
from un0_model.replay import Noted
from un0_model.tokens import Sampling, Shape, TokenModel, uniforms
from un0_model.vnni import COLUMNS, DEPTH

__all__ = ["CHOSEN", "LEARNED", "WEIGHTS", "Un0", "numbered", "read_config", "word_index"]

WEIGHTS = "un0.safetensors"
CHOSEN = "chosen"  # bool [L, N]: the neurons that served one of 20,000 training captions
LEARNED = "learned"  # bool [L, N]: the neurons that write anything; of no other the file has a row
FLOAT = 4  # bytes of a number that is not an 8-bit integer


class Un0:
    """Generates pictures from captions: gate once, 64 dictionary words, decode from the table."""

    def __init__(self, folder: Path, config: dict, tensors: dict[str, Tensor], sha256: str) -> None:
        self.config, self.sha256, self.folder = config, sha256, folder
        self.index = word_index(config)
        self.tokens = TokenModel(Shape(**config["shape"]))
        if len(self.index) + 1 != self.tokens.shape.vocabulary:
            raise ValueError(f"{len(self.index)} words for {self.tokens.shape.vocabulary} rows")
        self.tokens.freeze()
        self.dictionary = Dictionary()
        self.dictionary.decoder.freeze()
        s, self.chosen = self.tokens.shape, tensors.get(CHOSEN)
        for name in (CHOSEN, LEARNED):
            if name in tensors and tensors[name].shape != (s.layers, s.neurons):
                raise ValueError(f"`{name}` is no [{s.layers}, {s.neurons}]")
        if LEARNED in tensors:
            tensors = _with_all_rows(tensors, s)
        for name, module in (("tokens", self.tokens), ("dictionary", self.dictionary)):
            own = {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(name + ".")}
            module.load_state_dict(
                {k: v if v.dtype == torch.int8 else v.float() for k, v in own.items()}
            )
        self.sampling = Sampling(**config.get("sampling", {}))

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str | torch.device = "cpu") -> Un0:
        """Reads config.json and un0.safetensors of a folder; AssetError says what is wrong.

        Raises ConfigError for a GPU that is not here.
        """
        folder = Path(path)
        config = read_config(folder, "un0bench train un0", WEIGHTS)
        kind = torch.device(device).type
        if kind == "cuda" and not torch.cuda.is_available():
            raise ConfigError(f"device={device}, but torch sees no GPU. Use device=cpu.")
        try:
            model = cls(folder, config, load_file(folder / WEIGHTS), _sha256(folder / WEIGHTS))
            if kind == "cpu":
                model.writer = FusedTokens(model.tokens)
                model.decoder = FusedDecoder(model.dictionary.decoder)
        except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise AssetError(
                f"the weights in {folder} cannot be read ({str(error).splitlines()[0]}): "
                "restore the file or train again with `un0bench train un0`"
            ) from error
        for module in (model.tokens, model.dictionary):
            module.to(device).eval()
        if kind != "cpu":
            model.writer, model.decoder = _graphed(model.tokens), model.dictionary.pictures
        model.device = str(device)
        return model

    device = "cpu"
    _noted: Noted | None = None
    writer: FusedTokens | TokenModel  # on a GPU a GraphedTokens, which stands for the latter
    decoder: Callable[[Tensor], np.ndarray]

    def evaluate_every_neuron(self) -> None:
        """From now on computes all neurons ever chosen, the gate's gains deciding what they count.

        Raises ConfigError off processors and for weights that do not say which those are.
        """
        if not isinstance(self.writer, FusedTokens):
            raise ConfigError(f"device={self.device}; every neuron runs on a processor alone.")
        if self.chosen is None or not self.chosen.any():
            raise ConfigError(
                f"every_neuron=true, but {self.folder} names no neurons that were ever chosen; "
                "train with `un0bench train un0` and a gate."
            )
        self.writer.evaluate(self.chosen.bool())

    @property
    def every(self) -> bool:
        """Whether all neurons are computed."""
        return isinstance(self.writer, FusedTokens) and self.writer.every is not None

    @property
    def served(self) -> int:
        """Gated neurons computed for a token, of all layers."""
        s = self.tokens.shape
        return self.writer.served if isinstance(self.writer, FusedTokens) else s.layers * s.keep

    def words(self, texts: Sequence[str], seeds: Sequence[int] | None = None) -> Tensor:
        """Captions to word numbers int64 [B, W]; unknown words are left out, long captions cut.

        The seeds say how things are arranged, where weights were trained to be told.
        """
        if seeds is not None and self.config.get("arranged"):
            texts = arranged_by_seed(texts, seeds)
        return torch.tensor(
            numbered(texts, self.index, self.tokens.shape.caption), device=self.device
        )

    def uniforms(self, seeds: Sequence[int]) -> Tensor:
        """What pictures are drawn from: uniform numbers [B, T, 5] of each seed."""
        return uniforms(seeds, self.tokens.shape.written).to(self.device)

    @torch.inference_mode()
    def generate(
        self, texts: Sequence[str], seeds: Sequence[int], temperature: float | None = None
    ) -> np.ndarray:
        """Generates uint8 images [B, 64, 64, 3], sRGB, on the host; one seed a caption.

        `temperature` None takes the one the weights were shipped with.
        """
        sampling = self.sampling
        if temperature is not None:
            sampling = sampling._replace(temperature=temperature)
        code = self.writer.generate(self.words(texts, seeds), self.uniforms(seeds), sampling)
        return self.decoder(code)

    @torch.inference_mode()
    def replay(self, texts: Sequence[str], seeds: Sequence[int], stage: str) -> np.ndarray:
        """The images of `generate` with parts of the gate's work left out (protocols.Replays).

        Raises ConfigError for captions whose `whole` was not asked for last, and off processors.
        """
        if self.every:
            raise ConfigError("every_neuron=true; no gate's work is left out where all serve.")
        if not isinstance(self.writer, FusedTokens):
            raise ConfigError(f"device={self.device}; the gate is replayed on a processor alone.")
        words = self.words(texts, seeds)
        known = self._noted is not None and torch.equal(self._noted.words, words)
        if stage == "whole":
            code = self.writer.generate(words, self.uniforms(seeds), self.sampling)
            self._noted = self._noted if known else Noted(self.writer, words)
        elif self._noted is None or not known:
            raise ConfigError(f"stage={stage} of captions whose stage `whole` was not the last.")
        else:
            code = self._noted.generate(stage, self.uniforms(seeds), self.sampling)
        return self.decoder(code)

    def profile(self, texts: Sequence[str], seeds: Sequence[int] | None = None) -> WorkProfile:
        """Counted work of one image, mean over captions: multiply-adds and bytes by part.

        Without seeds the captions are read as they are.
        """
        s = self.tokens.shape
        words = self.words(texts, seeds)
        decided, decided_by = self.tokens.gate.touched(words)
        read = float((words > 0).sum(-1).float().mean())
        places = read + s.written  # padding is never computed
        neuron = 2 * s.width
        decoder = self.dictionary.decoder
        # the first convolution counts as such, though it is read from a table, whose bytes count
        conv = {"first": 64, "mix": 64, "widen": 64, "fine": 256, "hidden": 256, "patch": 256}
        head = s.width * s.width + s.width * sum(LEVELS)
        trunk = s.layers * (4 * s.width**2 + 2 * s.width * s.trunk)
        always = self._always_on_bytes()
        decode = _bytes_of(decoder.state_dict().values()) + self._table_bytes()
        gate = sum(p.numel() for p in self.tokens.gate.parameters())
        batch_gate = int(min(decided_by * len(words), gate)) * FLOAT
        return WorkProfile(
            multiply_adds={
                "gate": int(decided),
                "trunk": int(places * trunk + self._attention(words) + s.written * head),
                "sparse": int(places * self.served * neuron),
                "decode": sum(getattr(decoder, k).weight.numel() * n for k, n in conv.items()),
            },
            formats={
                "gate": "float32",
                "trunk": "int8",
                "sparse": "int8" if self.every else "float32",
                "decode": "int8",
            },
            parameter_bytes={
                "gate": int(decided_by) * FLOAT,
                "trunk": always,
                "sparse": self.served * (neuron + FLOAT),
                "words": int(read * s.width * FLOAT),
                "decode": decode,
            },
            batch_bytes=always
            + decode
            + batch_gate
            + self.union(words) * (neuron + FLOAT)
            + int((words.unique() > 0).sum()) * s.width * FLOAT,
        )

    def union(self, words_BW: Tensor) -> int:
        """Different gated neurons, of all layers, that a batch of captions is served by."""
        if self.every:
            return self.served
        route, s = self.writer.route(words_BW), self.tokens.shape
        layer = torch.arange(s.layers, device=route.index.device)[None, :, None]
        return len((route.index + layer * s.neurons)[route.gain > 0].unique())

    def _attention(self, words_BW: Tensor) -> float:
        """Multiply-adds of queries with keys and weights with values, as the kernel rounds them."""
        s, total = self.tokens.shape, 0
        for length in (words_BW > 0).sum(1).tolist():
            counts = [length] * length + [length + t + 1 for t in range(s.written)]
            total += sum(-(-n // COLUMNS) * COLUMNS + -(-n // DEPTH) * DEPTH for n in counts)
        return s.layers * s.width * total / len(words_BW)

    def _table_bytes(self) -> int:
        """What the decode table holds beyond the convolution it was made from."""
        weight = self.dictionary.decoder.first.weight
        return 2 * 9 * sum(LEVELS) * len(weight) - weight.numel()

    def _always_on_bytes(self) -> int:
        """Bytes of what every image reads whole: all but pool, gate and the words' vectors."""
        tables = ("pool", "scale", "gate.", "word.")
        state = self.tokens.state_dict().items()
        read = _bytes_of(t for name, t in state if not any(part in name for part in tables))
        layers = (m for m in self.tokens.modules() if isinstance(m, Integer) and m.signed)
        return read + FLOAT * sum(len(m.step) for m in layers)  # what signed rows' zeros add

    def active(self, texts: Sequence[str]) -> dict[str, float]:
        """Every definition of "active", as shares of 1; `parameter_bytes` decides.

        Only neurons ever chosen are capacity, and the decode table's bytes count as read: neither
        padding nor a table makes the share smaller.
        """
        s, work = self.tokens.shape, self.profile(texts)
        neuron, always_on = 2 * s.width + FLOAT, s.layers * s.trunk
        chosen, gated = self.config["chosen_in_20000"], s.layers * s.neurons
        served = min(self.served, chosen)  # without those that fill up a tile
        if not gated:
            return {"parameter_bytes": 1.0}
        gate = FLOAT * sum(
            p.numel() * (chosen / gated if p.shape[:2] == (s.layers, s.neurons) else 1.0)
            for p in self.tokens.gate.parameters()
        )
        always = sum(work.parameter_bytes[part] for part in ("trunk", "words", "decode"))
        whole = chosen * neuron + gate + always
        multiply = sum(work.multiply_adds.values())
        places = float((self.words(texts) > 0).sum(-1).float().mean()) + s.written
        dense = multiply + places * (chosen - served) * 2 * s.width
        return {
            "parameter_bytes": sum(work.parameter_bytes.values()) / whole,
            "gated_neurons_of_pool": served / gated,
            "gated_neurons_of_chosen": served / chosen,
            "neurons_with_trunk": (served + always_on) / (chosen + always_on),
            "gated_and_scored_bytes": (
                work.parameter_bytes["sparse"] + work.parameter_bytes["gate"]
            )
            / (chosen * neuron + gate),
            "multiply_adds_of_capacity_matched": multiply / dense,
            "pool_ever_chosen": chosen / gated,
        }

    def card(self) -> SystemCard:
        """The model card's figures: sizes, hash, and every definition of active."""
        texts = self.config["card_captions"]
        parts = (self.tokens, self.dictionary.decoder)
        tensors = [t for m in parts for t in m.state_dict().values()]
        work = self.profile(texts)
        return SystemCard(
            name="un0",
            height=64,
            width=64,
            parameters=sum(t.numel() for t in tensors),
            parameter_bytes=_bytes_of(tensors),
            precision="int8 trunk, pool, head, attention and decoder; gate and draws float32"
            if self.every
            else "int8 trunk, head, attention and decoder; gate, gated inputs, draws float32",
            steps=1,
            evaluations=1,
            weights_sha256={WEIGHTS: self.sha256},
            active=self.active(texts),
            notes={
                "multiply_adds": dict(work.multiply_adds),
                "parameter_bytes_read": dict(work.parameter_bytes),
                "chosen_in_20000": self.config["chosen_in_20000"],
                "pool_neurons_evaluated": self.served,
                "tokens_in_sequence": self.tokens.shape.written,
                **self.sampling._asdict(),
                "training": self.config.get("training", {}),
            },
        )


def read_config(folder: Path, command: str, *needed: str) -> dict[str, Any]:
    """config.json of a folder that a command wrote; AssetError where it or what else is needed is
    missing or no JSON.
    """
    for name in ("config.json", *needed):
        if not (folder / name).is_file():
            raise AssetError(f"no {name} in {folder}: give a folder written by `{command}`")
    try:
        config: dict[str, Any] = json.loads((folder / "config.json").read_text())
    except ValueError as error:
        raise AssetError(
            f"the weights in {folder} cannot be read ({str(error).splitlines()[0]}): "
            f"restore config.json or write it again with `{command}`"
        ) from error
    return config


def word_index(config: dict[str, Any]) -> dict[str, int]:
    """The number of each word that a model knows; 0 pads."""
    return {word: i + 1 for i, word in enumerate(config["words"])}


def numbered(texts: Sequence[str], index: Mapping[str, int], length: int) -> list[list[int]]:
    """Captions to word numbers, padded with 0; unknown words are left out, long captions cut."""
    rows = [[index[w] for w in t.lower().split() if w in index] for t in texts]
    return [(r or [1])[:length] + [0] * (length - len(r or [1])) for r in rows]


def _graphed(tokens: TokenModel) -> Any:
    """What writes on a GPU: one CUDA graph a batch, or where no Triton is, the reference."""
    try:
        from un0_model.graphed import GraphedTokens
    except ModuleNotFoundError:
        return tokens
    return GraphedTokens(tokens)


def _with_all_rows(tensors: Mapping[str, Tensor], s: Shape) -> dict[str, Tensor]:
    """Pools with a row of nothing for each neuron that has learned nothing."""
    whole = dict(tensors)
    for layer, some in enumerate(tensors[LEARNED]):
        for name in ("pool", "scale"):
            rows = tensors[key := f"tokens.blocks.{layer}.{name}"]
            whole[key] = rows.new_zeros(s.neurons, *rows.shape[1:])
            whole[key][some.nonzero()[:, 0]] = rows
    return whole


def _bytes_of(tensors: Iterable[Tensor]) -> int:
    return sum(t.numel() * t.element_size() for t in tensors)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
