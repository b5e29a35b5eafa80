"""Un0, ready to use: captions and seeds in, pictures out, and a card that counts what is active."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from harness.errors import AssetError
from harness.records import SystemCard, WorkProfile
from un0_model.dictionary import LEVELS, TOKENS, DecodeTable, Dictionary
from un0_model.gate import propose
from un0_model.kernel import FusedTokens
from un0_model.tokens import Shape, TokenModel, uniforms

__all__ = ["Un0"]

WEIGHTS = "un0.safetensors"
FLOAT = 4  # bytes of a number in the trunk, the gate and the decoder at run time


class Un0:
    """Generates pictures from captions: gate once, 64 dictionary words, decode from the table."""

    def __init__(self, folder: Path, config: dict, tensors: dict[str, Tensor], sha256: str) -> None:
        self.config, self.sha256, self.folder = config, sha256, folder
        self.index = {word: i + 1 for i, word in enumerate(config["words"])}
        self.tokens = TokenModel(Shape(**config["shape"]))
        for block in self.tokens.blocks:
            block.freeze_pool()
        self.dictionary = Dictionary()
        for name, module in (("tokens", self.tokens), ("dictionary", self.dictionary)):
            own = {k[len(name) + 1 :]: v for k, v in tensors.items() if k.startswith(name + ".")}
            module.load_state_dict(
                {k: v if v.dtype == torch.int8 else v.float() for k, v in own.items()}
            )
        self.table = DecodeTable(self.dictionary)
        self.temperature = float(config.get("temperature", 1.0))

    @classmethod
    def from_pretrained(cls, path: str | Path, device: str = "cpu") -> Un0:
        """Reads config.json and un0.safetensors of a folder; AssetError says what is wrong."""
        folder = Path(path)
        for name in ("config.json", WEIGHTS):
            if not (folder / name).is_file():
                raise AssetError(
                    f"no {name} in {folder}: give a folder written by `un0bench train un0`"
                )
        try:
            config = json.loads((folder / "config.json").read_text())
            model = cls(folder, config, load_file(folder / WEIGHTS), _sha256(folder / WEIGHTS))
        except (SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as error:
            raise AssetError(
                f"the weights in {folder} cannot be read ({error}): "
                "restore the file or train again with `un0bench train un0`"
            ) from error
        for module in (model.tokens, model.dictionary, model.table):
            module.to(device).eval()
        model.device = device
        model.writer = FusedTokens(model.tokens) if device == "cpu" else model.tokens
        return model

    device = "cpu"
    writer: FusedTokens | TokenModel

    def words(self, texts: Sequence[str]) -> Tensor:
        """Captions to word numbers int64 [B, W]; unknown words are left out, long captions cut."""
        length = self.tokens.shape.caption
        rows = [[self.index[w] for w in t.lower().split() if w in self.index] for t in texts]
        padded = [(r or [1])[:length] + [0] * (length - len(r or [1])) for r in rows]
        return torch.tensor(padded, device=self.device)

    @torch.inference_mode()
    def generate(self, texts: Sequence[str], seeds: Sequence[int]) -> np.ndarray:
        """Generates uint8 images [B, 64, 64, 3], sRGB, on the host; one seed a caption."""
        code = self.writer.generate(
            self.words(texts), uniforms(seeds).to(self.device), self.temperature
        )
        images = self.table(code).clamp(0, 1).mul(255).round().byte()
        return images.permute(0, 2, 3, 1).cpu().numpy()

    def profile(self, texts: Sequence[str]) -> WorkProfile:
        """Counted work of one image, mean over captions: multiply-adds and bytes by part."""
        s = self.tokens.shape
        words = self.words(texts)
        scored = float(
            (propose(words, s.layers, s.neurons, s.proposals) >= 0).sum(-1).float().mean()
        )
        read = float((words > 0).sum(-1).float().mean())
        places = s.caption + TOKENS
        width_r = self.tokens.gate.query.out_features
        neuron = 2 * s.width
        decoder = self.table.decoder  # its first convolution is read as a table: adds only
        conv = {"mix": 64, "widen": 64, "fine": 256, "hidden": 256, "patch": 256}
        head = s.width * s.width + s.width * sum(LEVELS)
        trunk = s.layers * (4 * s.width**2 + 2 * s.width * s.trunk)
        return WorkProfile(
            multiply_adds={
                "gate": int(s.layers * scored * width_r + width_r * s.width),
                "trunk": int(places * trunk + s.layers * s.width * places**2 + TOKENS * head),
                "sparse": int(places * s.layers * s.keep * neuron),
                "decode": sum(getattr(decoder, k).weight.numel() * n for k, n in conv.items()),
            },
            parameter_bytes={
                "gate": int(s.layers * scored * (width_r + 1) + width_r * s.width) * FLOAT,
                "trunk": self._always_on_bytes(),
                "sparse": s.layers * s.keep * (neuron + FLOAT),
                "words": int((read + TOKENS) * s.width * FLOAT),
                "decode": sum(p.numel() for p in decoder.parameters()) * FLOAT,
            },
        )

    def _always_on_bytes(self) -> int:
        """Bytes of what every image reads whole: all but pool, gate keys and tables."""
        tables = ("pool", "gate.", "word.", "code.", "scale")
        return FLOAT * sum(
            p.numel() for n, p in self.tokens.named_parameters() if not any(t in n for t in tables)
        )

    def active(self, texts: Sequence[str]) -> dict[str, float]:
        """Every definition of "active", as shares of 1; `parameter_bytes` decides.

        Only neurons ever chosen are capacity, and the decode table counts as the convolution it was
        made from: neither padding nor a table of sums makes the share smaller.
        """
        s, work = self.tokens.shape, self.profile(texts)
        neuron = 2 * s.width + FLOAT
        key = (self.tokens.gate.query.out_features + 1) * FLOAT
        chosen = self.config["chosen_in_20000"]
        query = self.tokens.gate.query.weight.numel() * FLOAT
        always = query + sum(work.parameter_bytes[part] for part in ("trunk", "words", "decode"))
        whole = chosen * (neuron + key) + always
        multiply = sum(work.multiply_adds.values())
        places = s.caption + TOKENS
        dense = multiply + places * s.layers * (chosen / s.layers - s.keep) * 2 * s.width
        gated = s.layers * s.neurons
        return {
            "parameter_bytes": sum(work.parameter_bytes.values()) / whole,
            "gated_neurons_of_pool": s.layers * s.keep / gated,
            "gated_neurons_of_chosen": s.layers * s.keep / chosen,
            "neurons_with_trunk": s.layers * (s.keep + s.trunk) / (chosen + s.layers * s.trunk),
            "gated_and_scored_bytes": (
                work.parameter_bytes["sparse"] + work.parameter_bytes["gate"]
            )
            / (chosen * (neuron + key)),
            "multiply_adds_of_capacity_matched": multiply / dense,
            "pool_ever_chosen": chosen / gated,
        }

    def card(self) -> SystemCard:
        """The model card's figures: sizes, hash, and every definition of active."""
        texts = self.config["card_captions"]
        parts = (self.tokens, self.table.decoder)
        tensors = [t for m in parts for t in m.state_dict().values()]
        work = self.profile(texts)
        return SystemCard(
            name="un0",
            height=64,
            width=64,
            parameters=sum(t.numel() for t in tensors),
            parameter_bytes=sum(t.numel() * t.element_size() for t in tensors),
            precision="float32, pool int8",
            steps=1,
            evaluations=1,
            weights_sha256={WEIGHTS: self.sha256},
            active=self.active(texts),
            notes={
                "multiply_adds": dict(work.multiply_adds),
                "parameter_bytes_read": dict(work.parameter_bytes),
                "chosen_in_20000": self.config["chosen_in_20000"],
                "decode_table_bytes": self.table.rows.numel() * FLOAT,
                "tokens_in_sequence": TOKENS,
                "temperature": self.temperature,
                "training": self.config.get("training", {}),
            },
        )


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
