"""A small untrained pipeline, and systems that draw with it."""

import pytest
import torch

from harness.records import Prompt, Request
from harness.systems.diffusers_pipeline import DiffusersSystem
from suites.proc.words import VOCABULARY
from un0_model import dense

TEXTS = ("two red stars", "a blue circle on white", "the letter a in green")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Width 32, 4 layers, 2 heads."""
    path = tmp_path_factory.mktemp("pipeline") / "tiny"
    torch.manual_seed(0)
    words = dense.tokenizer(VOCABULARY)
    denoiser = dense.transformer(width=32, layers=4, heads=2, caption_width=32)
    encoder = dense.text_encoder(len(words), width=32, layers=1)
    dense.pipeline(dense.autoencoder(8), denoiser, encoder, words).save_pretrained(path)
    return path


@pytest.fixture
def loaded(folder):
    """Loads a system with techniques; further arguments are the system's."""

    def load(*techniques, **config):
        sizes = {"height": 64, "width": 64, "steps": 4, "guidance": 2.0, "threads": 1}
        config = {"model": str(folder), **sizes, "call": dense.CALL, **config}
        system = DiffusersSystem(techniques=techniques, **config)
        system.load()
        return system

    return load


@pytest.fixture
def asked():
    """Requests of a few captions, one a seed."""

    def ask(*seeds):
        return [
            Request(id=i, prompt=Prompt(id="", text=TEXTS[s % len(TEXTS)], category=""), seed=s)
            for i, s in enumerate(seeds)
        ]

    return ask
