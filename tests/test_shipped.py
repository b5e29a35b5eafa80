"""What is shipped: weights that load, follow prompt and seed, and a judge that can see."""

import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import torch
from diffusers import PixArtAlphaPipeline

from harness.child import build
from harness.metrics.clip import Judge
from harness.metrics.reference import load_reference
from harness.records import Prompt, Request
from harness.systems.diffusers_pipeline import DiffusersSystem
from harness.systems.un0 import Un0System
from suites.proc.sets import load_set, select
from un0_model.recipes.judge import retrieval

ROOT = Path(__file__).parents[1]
WEIGHTS = ROOT / "un0_model" / "weights"
PROC = ROOT / "suites" / "proc"


def ask(*pairs: tuple[str, int]) -> list[Request]:
    return [
        Request(id=i, prompt=Prompt(id=str(i), text=text, category=""), seed=seed)
        for i, (text, seed) in enumerate(pairs)
    ]


def test_the_judge_finds_a_render_among_a_thousand_by_its_caption():
    """Caption-to-image top-1 over 1,000 renders of distinct captions."""
    found = retrieval(Judge(PROC / "judge"), select(load_set("val").prompts, "full"))
    assert found["n"] == 1000
    assert found["top1"] >= 0.9


def test_the_reference_was_made_by_the_judge_that_is_shipped():
    reference = load_reference(PROC / "reference", PROC / "judge")
    assert reference.features.shape == (20_000, 64)
    assert np.allclose(np.linalg.norm(reference.features, axis=1), 1, atol=2e-3)


@pytest.mark.parametrize("name", ["dense", "un0"])
def test_a_system_follows_prompt_and_seed_whatever_the_batch(name):
    from harness.compose import compose

    config = {
        k: v
        for k, v in compose([f"system=[{name}]"])["systems"][name].items()
        if k not in ("batch", "timeout_s")
    }
    if name == "dense":
        config["steps"] = 8
    system = build(config)
    assert isinstance(system, DiffusersSystem | Un0System)
    system.load()
    requests = ask(
        ("a red circle on white", 1), ("a red circle on white", 2), ("two blue stars", 1)
    )
    images = system.generate(requests)
    assert all(i.shape == (64, 64, 3) and i.dtype == np.uint8 for i in images)
    assert not np.array_equal(images[0], images[1])
    assert not np.array_equal(images[0], images[2])
    alone = system.generate(requests[2:])[0].astype(int)
    # other batch, other order of float sums: a level or two, never another picture
    assert np.abs(alone - images[2]).mean() < 1.0


def test_cards_name_every_weight_file_by_its_hash():
    system = build({"_target_": "harness.systems.un0.Un0System", "threads": 1})
    system.load()
    card = system.card()
    for name, digest in card.weights_sha256.items():
        assert hashlib.sha256((WEIGHTS / "un0" / name).read_bytes()).hexdigest() == digest
    assert card.active["gated_neurons_of_pool"] < 0.001


def test_weights_are_safetensors_and_small():
    files = [p for p in [*WEIGHTS.rglob("*"), *(PROC / "judge").rglob("*")] if p.is_file()]
    kinds = {p.suffix for p in files if "__pycache__" not in p.parts}
    assert kinds <= {".safetensors", ".json", ".gz", ".jsonl", ".png", ".md", ".py"}
    assert max(p.stat().st_size for p in files) <= 16 * 2**20


def test_training_records_say_what_the_weights_cost():
    for name in ("dense", "un0", "judge"):
        record = json.loads((WEIGHTS / "training" / f"{name}.json").read_text())
        assert record["duration_s"] > 0
        assert record["stages"]


def probed(captions, asked, answers):
    """Share of answers that a linear probe reads off the encoder's vector of one word, held out."""
    pipe = PixArtAlphaPipeline.from_pretrained(WEIGHTS / "dense")
    text = pipe.tokenizer(captions, padding="max_length", max_length=20, return_tensors="pt")
    with torch.inference_mode():
        told = pipe.text_encoder.float()(text.input_ids, attention_mask=text.attention_mask)[0]
    x = told[torch.arange(len(captions)), torch.tensor(asked)].double()
    x = torch.cat([(x - x.mean(0)) / (x.std(0) + 1e-6), torch.ones(len(x), 1)], dim=1)
    y, half = torch.tensor(answers), len(x) // 2
    known = torch.nn.functional.one_hot(y[:half]).double()
    ridge = torch.linalg.solve(x[:half].T @ x[:half] + torch.eye(x.shape[1]), x[:half].T @ known)
    return ((x[half:] @ ridge).argmax(1) == y[half:]).double().mean().item()


def test_the_text_encoder_of_dense_passes_on_the_order_of_letters():
    rng = np.random.default_rng(3)
    rank = rng.integers(4, size=1000)
    texts = [f"the letters {' '.join(rng.choice([*'abcdefgh'], 4))} in red" for _ in rank]
    assert probed(texts, 2 + rank, rank) > 0.9


def test_the_text_encoder_of_dense_passes_on_which_object_is_named_first():
    rng = np.random.default_rng(4)
    second = rng.integers(2, size=1000)
    shapes, colours = ["circle", "square", "triangle", "cross"], ["red", "blue", "green", "black"]
    texts = []
    for _ in second:
        (a, b), (c, d) = rng.choice(colours, 2), rng.choice(shapes, 2)
        texts.append(f"a {a} {c} above a {b} {d}")
    assert probed(texts, 2 + 4 * second, second) > 0.9
