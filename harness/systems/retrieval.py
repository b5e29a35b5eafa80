"""Lookup instead of generation: each prompt gets a picture of the caption nearest to it.

What a library holds it shows as it was drawn; it draws nothing new. So what it lacks is content
that no caption of it has, and diversity: the seed picks among the pictures of equally near
captions, and where there is one, every seed gives that one.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from PIL import Image
from scipy import sparse

from harness import assets
from harness.errors import AssetError, ConfigError
from harness.records import Failure, Request, SystemCard
from suites.captioned import LISTS, captioned, read_picture
from suites.proc.render import render
from suites.proc.train import draw_batch

__all__ = ["Embedding", "RetrievalSystem", "Words"]

TIE = 1e-6  # of a cosine: what float32 leaves between equal ones
CHUNK = 1000  # captions that are embedded at once


class Embedding(Protocol):
    """Places texts so that near ones mean the same; harness.metrics.clip.Judge is one."""

    def captions(self, texts: Sequence[str]) -> Any:
        """Rows [n, d], dense or sparse, of length 1."""


class Words:
    """Words and pairs of neighbouring words, each weighed by how few captions have it (TF-IDF).

    Weight of a term is its count times 1 + ln((1 + n) / (1 + captions that have it)), the smoothed
    inverse document frequency (Salton and Buckley 1988); a term of no caption has none.
    """

    def __init__(self, library: Sequence[str]) -> None:
        found = Counter(term for text in library for term in set(_terms(text)))
        self._column = {term: at for at, term in enumerate(sorted(found))}
        seen = np.array([found[term] for term in self._column], np.float64)
        self._weight = (1 + np.log((1 + len(library)) / (1 + seen))).astype(np.float32)

    def captions(self, texts: Sequence[str]) -> sparse.csr_array:
        """Sparse float32 [n, terms], L2-normalised; a row of nothing known is zero."""
        counted = [Counter(t for t in _terms(text) if t in self._column) for text in texts]
        columns = [self._column[term] for one in counted for term in one]
        values = np.array([n for one in counted for n in one.values()], np.float32)
        starts = np.cumsum([0, *map(len, counted)])
        values *= self._weight[columns] if columns else 1
        lengths = np.sqrt([(values[a:b] ** 2).sum() for a, b in itertools.pairwise(starts)])
        values /= np.repeat(lengths, np.diff(starts)).astype(np.float32)
        shape = (len(texts), len(self._column))
        return sparse.csr_array((values, columns, starts), shape=shape)


class RetrievalSystem:
    """Builds a library of captioned pictures, then answers with what is nearest by cosine.

    `library`: a folder of pictures, each with a .txt of the same stem or all named in
    captions.jsonl or captions.csv (`file`, `text`); brought to `height` x `width` where they are
    given, else all of one size. `render`: instead, so many pictures of the suite's training split,
    drawn from `seed`. `embedding`: "words", or an object that embeds captions; the audit's own
    judge would score what it has chosen itself.
    """

    def __init__(
        self,
        *,
        library: str | None = None,
        render: int | None = None,
        seed: int = 0,
        embedding: str | Embedding = "words",
        height: int | None = None,
        width: int | None = None,
        threads: int | None = None,
    ) -> None:
        if (library is None) == (render is None):
            raise ConfigError("Give either library=<folder> or render=<number of pictures>.")
        if render is not None and (not isinstance(render, int) or render < 1):
            raise ConfigError(f"render={render!r}; it is a number of pictures, from 1 on.")
        if (height is None) != (width is None):
            raise ConfigError(f"height={height}, width={width}; give both or neither.")
        if isinstance(embedding, str) and embedding != "words":
            raise ConfigError(
                f"embedding={embedding!r}; it is words, or an object as in retrieval-clip.yaml."
            )
        self.library, self.render, self.seed = library, render, seed
        self.embedding, self.threads = embedding, threads
        self.size = (height, width) if height and width else None

    def load(self) -> None:
        """Raises AssetError where the library cannot be read, or its pictures differ in size."""
        if self.library is None:
            texts, self._pictures = _rendered(self.render or 0, self.seed)
        else:
            texts, self._pictures = _read(assets.resolve(self.library), self.size)
        captions = list(dict.fromkeys(texts))
        if self.threads and not isinstance(self.embedding, str):
            import torch  # what embeds is a network

            torch.set_num_threads(self.threads)
        self._embedding = Words(captions) if isinstance(self.embedding, str) else self.embedding
        firsts = range(0, len(captions), CHUNK)
        parts = [self._embedding.captions(captions[at : at + CHUNK]) for at in firsts]
        thin = sparse.issparse(parts[0])
        self._table = sparse.vstack(parts).T.tocsr() if thin else np.concatenate(parts).T
        numbers = {text: i for i, text in enumerate(captions)}
        of = np.array([numbers[text] for text in texts])
        self._entries = np.argsort(of, kind="stable")
        self._starts = np.searchsorted(of[self._entries], np.arange(len(captions) + 1))
        digest = hashlib.sha256(json.dumps(texts).encode())
        digest.update(self._pictures.data)
        self._sha256 = {"library": digest.hexdigest()}
        if isinstance(known := getattr(self._embedding, "sha256", None), str):
            self._sha256["embedding"] = known

    def generate(self, requests: Sequence[Request]) -> list[np.ndarray | Failure]:
        """Finds uint8 images [H, W, 3], sRGB; the seed picks among those of equal distance."""
        near = self._embedding.captions([one.prompt.text for one in requests]) @ self._table
        rows = near.toarray() if sparse.issparse(near) else near
        return [self._pick(row, one) for row, one in zip(rows, requests, strict=True)]

    def card(self) -> SystemCard:
        table_bytes = _nbytes(self._table)
        return SystemCard(
            name="retrieval",
            height=self._pictures.shape[1],
            width=self._pictures.shape[2],
            parameters=0,
            parameter_bytes=table_bytes + self._pictures.nbytes,
            precision="uint8 pictures, float32 table",
            steps=0,
            evaluations=0,
            weights_sha256=self._sha256,
            notes={
                "what": "pictures of a library, found by caption; none is generated",
                "library": self.library or f"{self.render} renders of the training split",
                "pictures": len(self._pictures),
                "captions": len(self._starts) - 1,
                "embedding": type(self._embedding).__name__,
                "table_bytes": table_bytes,
            },
        )

    def _pick(self, cosines: np.ndarray, request: Request) -> np.ndarray | Failure:
        best = cosines.max()
        if best <= 0:
            return Failure(reason=f"nothing in the library is near {request.prompt.text!r}")
        equal = np.flatnonzero(cosines >= best - TIE)
        found = [self._entries[self._starts[i] : self._starts[i + 1]] for i in equal]
        picked = np.random.default_rng(request.seed).choice(np.concatenate(found))
        return np.asarray(self._pictures[picked])


def _terms(text: str) -> list[str]:
    words = re.findall(r"\w+", text.casefold())
    return [*words, *(" ".join(pair) for pair in itertools.pairwise(words))]


def _nbytes(table: Any) -> int:
    if sparse.issparse(table):
        return int(table.data.nbytes + table.indices.nbytes + table.indptr.nbytes)
    return int(table.nbytes)


# Libraries -------------------------------------------------------------------------------------


def _rendered(count: int, seed: int) -> tuple[list[str], np.ndarray]:
    rng = np.random.default_rng(seed)
    specs, texts = draw_batch(rng, count)
    return texts, np.stack([render(spec, rng) for spec in specs])


def _read(folder: Path, size: tuple[int, int] | None) -> tuple[list[str], np.ndarray]:
    """Captions and pictures uint8 [n, H, W, 3] of a folder. Raises AssetError."""
    texts: list[str] = []
    pictures: list[np.ndarray] = []
    for path, text in captioned(folder):
        picture = Image.fromarray(read_picture(path))
        if size:
            picture = picture.resize((size[1], size[0]), Image.Resampling.LANCZOS)
        pictures.append(np.asarray(picture))
        texts.append(text)
        if pictures[-1].shape != pictures[0].shape:
            raise AssetError(
                f"{path} is {picture.height} x {picture.width}, those before it are "
                f"{pictures[0].shape[0]} x {pictures[0].shape[1]}. Give height=... and width=..."
            )
    if not pictures:
        raise AssetError(
            f"{folder} holds no captioned pictures: .png or .jpg, each with a .txt of the same "
            f"stem, or all named in {' or '.join(LISTS)}."
        )
    return texts, np.stack(pictures)
