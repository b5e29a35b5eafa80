"""Cheats that show in a bundle's rows, each with the check that names it."""

from dataclasses import replace

import numpy as np
import pytest
from made_evidence import VERIFIED, claim, evidence, judged

from harness.metrics.conduct import repeats

TIME = claim(id="time-1000x", quantity="processor_time", boundary=None, endpoints=VERIFIED)
QUALITY = claim(
    id="no-quality-loss", quantity="quality", threshold=None, direction=None, endpoints=VERIFIED
)


def hashed(found, picture, spread=1.0):
    """Every request twice, its picture named by a function of system, prompt and repetition.

    Among features the second lies so far from the first.
    """
    rng = np.random.default_rng(5)
    rows = [
        {**row, "request": row["request"] + 1000 * i, "image_sha256": picture(row, i)}
        for row in found.requests
        for i in (0, 1)
    ]
    features = {
        name: np.repeat(one, 2, axis=0) + spread * rng.normal(size=(2 * len(one), one.shape[1]))
        for name, one in found.features.items()
    }
    return replace(found, requests=rows, features=features)


def honest(row, repetition):
    return f"{row['system']} {row['prompt_id']} {repetition}"


def ignores_the_seed(row, repetition):
    return f"{row['prompt_id']} {0 if row['system'] == 'un0' else repetition}"


def remembers_a_few(row, repetition):
    """One caption in twenty leaves nothing open."""
    same = row["system"] == "un0" and int(row["prompt_id"][1:]) % 20 == 0
    return f"{row['system']} {row['prompt_id']} {0 if same else repetition}"


def reasons(found, asked):
    (verdict,) = judged(found, asked)
    return verdict.outcome, " ".join(part.reason for part in verdict.evidence)


@pytest.mark.parametrize("asked", [QUALITY, TIME])
def test_a_seed_that_is_ignored_is_named_and_supports_nothing(asked):
    outcome, told = reasons(hashed(evidence(), ignores_the_seed), asked)
    assert "un0 ignores the seed: of 360 pairs of its pictures of one prompt" in told
    assert outcome == "not_measured"


@pytest.mark.parametrize("picture", [honest, remembers_a_few])
def test_pictures_that_seldom_repeat_are_no_cheat(picture):
    found = hashed(evidence(), picture)
    assert "ignores the seed" not in reasons(found, QUALITY)[1]
    assert repeats(found, "un0") == (0 if picture is honest else 20, 360)


def test_too_few_repeated_prompts_say_nothing():
    few = hashed(evidence(n=20), ignores_the_seed)
    assert "ignores the seed" not in reasons(few, QUALITY)[1]


def test_a_table_with_noise_of_the_seeds_is_named():
    assert "but for noise" in reasons(hashed(evidence(), honest, spread=0.01), QUALITY)[1]
    assert "ignores the seed" not in reasons(hashed(evidence(), honest), QUALITY)[1]
