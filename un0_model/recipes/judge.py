"""Trains the suite's judge network and writes the reference features.

    un0bench train judge budget=cpu out=runs/train/judge

A small open_clip model on renders of its own. A batch holds three categories at first, then one, so
that its negatives are near misses; captions that occur twice in a batch are both counted right.
The judge never trains, selects or tunes a system.
"""

from __future__ import annotations

import gzip
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import open_clip
import torch
from torch import Tensor
from torch.nn import functional as F

from harness.metrics.clip import Judge
from harness.metrics.reference import write_reference
from suites.proc.render import render
from suites.proc.scene import caption
from suites.proc.sets import load_set, request_seed, select
from suites.proc.train import draw_batch
from suites.proc.words import ADJECTIVES, CATEGORIES, NOUNS, VOCABULARY
from un0_model.recipes.leg import Leg
from un0_model.recipes.training import Stage, save_weights

__all__ = ["BUDGETS", "main"]

BUDGETS = {
    "cpu": {"steps": 7_000, "batch": 96, "reference": 20_000},
    "gpu": {"steps": 6_000, "batch": 256, "reference": 20_000},
    "smoke": {"steps": 4, "batch": 24, "reference": 200},
}
CONTEXT = 20
BROAD = 0.375  # of the steps; then batches of one category
MERGES = "merges.txt.gz"
PIXELS = {"size": 64, "mean": [0.5, 0.5, 0.5], "std": [0.5, 0.5, 0.5], "mode": "RGB"}


def main(budget: str, leg: Leg) -> bool:
    """Runs what is left of the recipe; True when judge and reference are written."""
    size = BUDGETS[budget]
    folder = leg.out / "judge"
    folder.mkdir(parents=True, exist_ok=True)
    merges = word_merges(VOCABULARY)
    with gzip.GzipFile(folder / MERGES, "wb", mtime=0) as f:
        f.write("\n".join(["#merges", *(" ".join(m) for m in merges)]).encode())
    config = _config(len(merges))
    torch.manual_seed(leg.seed)
    model = open_clip.CLIP(
        **{k: v for k, v in config.items() if k != "text_cfg"},
        text_cfg={k: v for k, v in config["text_cfg"].items() if k != "tokenizer_kwargs"},
    )
    tokenizer = open_clip.SimpleTokenizer(bpe_path=str(folder / MERGES), context_length=CONTEXT)

    def loss(rng: np.random.Generator, progress: float) -> Tensor:
        images, texts = own_batch(rng, size["batch"], kinds=3 if progress < BROAD else 1)
        pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float().to(leg.device)
        grain = torch.randn_like(pixels) * 6
        pixels = pixels + grain * torch.rand(len(pixels), 1, 1, 1).to(leg.device)
        with torch.autocast(leg.device, torch.bfloat16):
            seen = model.encode_image(pixels / 127.5 - 1, normalize=True)
            read = model.encode_text(tokenizer(texts).to(leg.device), normalize=True)
        logits = model.logit_scale.exp().clamp(max=100) * seen.float() @ read.float().T
        same = torch.tensor([[a == b for b in texts] for a in texts], device=leg.device).float()
        target = same / same.sum(1, keepdim=True)
        return (F.cross_entropy(logits, target) + F.cross_entropy(logits.T, target)) / 2

    done = Stage(
        name="contrastive",
        leg=leg,
        modules={"clip": model},
        loss=loss,
        steps=size["steps"],
        lr=1.5e-3,
        ema=0.99,
        log_every=50,
    ).run()
    if not done:
        return False
    save_weights(
        folder / "open_clip_model.safetensors",
        {k: v.half() if v.is_floating_point() else v for k, v in model.state_dict().items()},
    )
    (folder / "open_clip_config.json").write_text(
        json.dumps({"model_cfg": config, "preprocess_cfg": PIXELS}, indent=1)
    )
    judge = Judge(folder, device=leg.device)
    top1 = retrieval(judge, select(load_set("val").prompts, "full"))
    (leg.out / "retrieval.json").write_text(json.dumps(top1, indent=1))
    _reference(judge, leg.out / "reference", size["reference"])
    return True


def own_batch(rng: np.random.Generator, count: int, kinds: int) -> tuple[np.ndarray, list[str]]:
    """Renders uint8 [n, 64, 64, 3] of some categories; every emblem pair equally often."""
    names = [CATEGORIES[i] for i in rng.permutation(len(CATEGORIES))[:kinds]]
    specs, _ = draw_batch(rng, count, categories=names)
    for spec in specs:
        if spec["category"] == "emblem":
            spec["adjective"] = ADJECTIVES[rng.integers(len(ADJECTIVES))]
            spec["noun"] = NOUNS[rng.integers(len(NOUNS))]
    return np.stack([render(s, rng) for s in specs]), [caption(s) for s in specs]


def word_merges(words: Sequence[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, most frequent first, that make every word of a vocabulary one token."""
    split = [[*w[:-1], w[-1] + "</w>"] for w in words]
    merges: list[tuple[str, str]] = []
    while True:
        pairs = Counter(p for w in split for p in zip(w, w[1:], strict=False))
        if not pairs:
            return merges
        best = min(pairs, key=lambda p: (-pairs[p], p))
        merges.append(best)
        for w in split:
            i = 0
            while i < len(w) - 1:
                if (w[i], w[i + 1]) == best:
                    w[i : i + 2] = ["".join(best)]
                i += 1


def retrieval(judge: Judge, prompts: Sequence, count: int = 1000) -> dict[str, float]:
    """Caption-to-image top-1 over renders of distinct captions, and by category."""
    prompts = [*prompts][:count]
    images = [
        render(dict(p.spec or {}), np.random.default_rng(request_seed(p.id, 7))) for p in prompts
    ]
    seen = np.concatenate([judge.features(images[i : i + 200]) for i in range(0, len(images), 200)])
    best = (judge.captions([p.text for p in prompts]) @ seen.T).argmax(1)
    right = best == np.arange(len(prompts))
    by = {
        c: float(np.mean([r for r, p in zip(right, prompts, strict=True) if p.category == c]))
        for c in CATEGORIES
    }
    return {"top1": float(right.mean()), "n": len(prompts), **by}


def _reference(judge: Judge, folder: Path, count: int) -> None:
    """Features float16 of renders of the test captions, seeds of their own, and statistics.

    The nine pooled categories in equal shares; emblems are scored apart and stay out.
    """
    prompts = [p for p in load_set("test").prompts if p.category != "emblem"]
    rows, matched, shuffled = [], [], []
    texts = judge.captions([p.text for p in prompts])
    for first in range(0, count, 500):
        which = [i % len(prompts) for i in range(first, min(first + 500, count))]
        images = [
            render(
                dict(prompts[i].spec or {}),
                np.random.default_rng(
                    request_seed(prompts[i].id, 1000 + (first + k) // len(prompts))
                ),
            )
            for k, i in enumerate(which)
        ]
        seen = judge.features(images)
        rows.append(seen)
        matched.append((seen * texts[which]).sum(1))
        shuffled.append((seen * texts[np.roll(which, 1)]).sum(1))
    features = np.concatenate(rows).astype(np.float16)
    facts = {
        "prompts": "every caption of the set test but emblems in turn, seeds of their own",
        "matched_clip": float(np.concatenate(matched).mean()),
        "shuffled_clip": float(np.concatenate(shuffled).mean()),
        "mean": features.astype(np.float64).mean(0).tolist(),
        "covariance_trace": float(np.trace(np.cov(features.astype(np.float64).T))),
    }
    write_reference(folder, features, judge.path, facts)


def _config(merges: int) -> dict:
    return {
        "embed_dim": 64,
        "vision_cfg": {
            "image_size": 64,
            "layers": 4,
            "width": 128,
            "head_width": 32,
            "patch_size": 8,
        },
        "text_cfg": {
            "context_length": CONTEXT,
            "vocab_size": 512 + merges + 2,
            "width": 128,
            "heads": 4,
            "layers": 2,
            "tokenizer_kwargs": {"bpe_path": MERGES},
        },
    }
