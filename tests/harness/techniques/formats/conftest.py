"""A tiny untrained pipeline for techniques to change."""

import subprocess
import sys

import pytest

from harness.systems.diffusers_pipeline import DiffusersSystem

SAVE = """
import sys, torch
from un0_model.dense import autoencoder, pipeline, text_encoder, tokenizer, transformer
from suites.proc.words import VOCABULARY
torch.manual_seed(0)
words = tokenizer(VOCABULARY)
denoiser = transformer(width=64, layers=2, heads=2, caption_width=32)
encoder = text_encoder(len(words), width=32, layers=1)
pipeline(autoencoder(8), denoiser, encoder, words).save_pretrained(sys.argv[1])
"""
CALL = {"use_resolution_binning": False, "clean_caption": False, "max_sequence_length": 20}


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("pipeline") / "tiny"
    subprocess.run([sys.executable, "-c", SAVE, str(path)], check=True, capture_output=True)
    return path


@pytest.fixture(scope="session")
def loaded(folder):
    """Loads the pipeline with techniques: 64 x 64 pictures in two steps."""

    def load(*techniques, **config):
        sizes = {"height": 64, "width": 64, "steps": 2, "threads": 1, "call": CALL}
        system = DiffusersSystem(
            **{"model": str(folder), **sizes, **config, "techniques": techniques}
        )
        system.load()
        return system

    return load
