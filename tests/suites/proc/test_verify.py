"""Sensitivity and specificity on 1,000 renders a category, and pictures that must be rejected."""

import numpy as np
import pytest
from scipy import ndimage, stats

from suites.proc.render import render
from suites.proc.scene import content, draw_spec
from suites.proc.verify import verify
from suites.proc.words import CATEGORIES

N = 1000
BOUND = 0.98


def _lower_bound(successes: int, n: int) -> float:
    """Clopper-Pearson, one-sided alpha 0.025."""
    return 0.0 if successes == 0 else float(stats.beta.ppf(0.025, successes, n - successes + 1))


def _uint8(image: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(image), 0, 255).astype(np.uint8)


def _blur(image: np.ndarray, sigma: float) -> np.ndarray:
    return _uint8(ndimage.gaussian_filter(image.astype(float), (sigma, sigma, 0)))


def _degrade(image: np.ndarray, rng: np.random.Generator, *, blur: float = 0.5, noise: float = 6.0):
    """What a good autoencoder leaves: light blur and noise."""
    soft = ndimage.gaussian_filter(image.astype(float), (blur, blur, 0))
    return _uint8(soft + rng.normal(0, noise, image.shape))


def _draws(category: str, n: int, seed: int):
    rng = np.random.default_rng(seed)
    specs = [draw_spec(rng, category, split="test") for _ in range(n)]
    return specs, [render(spec, rng) for spec in specs], rng


def _near_miss(spec: dict, rng: np.random.Generator) -> dict:
    """A spec that differs from this one in a single attribute."""
    while True:
        other = draw_spec(rng, spec["category"], split="test")
        keys = [k for k in spec if k != "category"]
        key = keys[int(rng.integers(len(keys)))]
        changed = {**spec, key: other[key]}
        if key == "objects":
            first, second = (dict(o) for o in spec[key])
            attribute = list(first)[int(rng.integers(len(first)))]
            first[attribute], second[attribute] = second[attribute], first[attribute]
            changed[key] = [first, second]
        elif key == "letters":
            at = int(rng.integers(len(spec[key])))
            changed[key] = [*spec[key][:at], other[key][0], *spec[key][at + 1 :]]
        if content(changed) != content(spec):
            return changed


@pytest.mark.parametrize("category", CATEGORIES)
def test_renders_verify_also_under_noise_of_sigma_6_and_a_light_blur(category):
    specs, images, rng = _draws(category, N, seed=11)
    passed = sum(verify(s, _degrade(i, rng)) for s, i in zip(specs, images, strict=True))
    clean = sum(verify(s, i) for s, i in zip(specs[:200], images, strict=False))
    assert _lower_bound(passed, N) >= BOUND
    assert clean == 200


@pytest.mark.parametrize("category", CATEGORIES)
def test_pictures_of_another_caption_are_rejected(category):
    specs, images, _ = _draws(category, N, seed=12)
    shifted = [*images[1:], images[0]]
    others = [*specs[1:], specs[0]]
    wrong = [
        verify(s, i)
        for s, i, o in zip(specs, shifted, others, strict=True)
        if content(s) != content(o)
    ]
    assert len(wrong) >= 850  # the most frequent emblem meets itself
    assert _lower_bound(len(wrong) - sum(wrong), len(wrong)) >= BOUND


@pytest.mark.parametrize("category", CATEGORIES)
def test_pictures_that_miss_by_one_attribute_are_rejected(category):
    rng = np.random.default_rng(13)
    specs = [draw_spec(rng, category, split="test") for _ in range(200)]
    missed = [verify(s, _degrade(render(_near_miss(s, rng), rng), rng)) for s in specs]
    assert sum(missed) <= 1


@pytest.mark.parametrize("category", CATEGORIES)
def test_soft_pictures_of_an_autoencoder_still_verify(category):
    specs, images, rng = _draws(category, 60, seed=14)
    soft = [_degrade(i, rng, blur=0.9, noise=4.0) for i in images]
    assert sum(verify(s, i) for s, i in zip(specs, soft, strict=True)) >= 58


@pytest.mark.parametrize("category", CATEGORIES)
def test_a_blur_of_sigma_3_is_rejected(category):
    specs, images, _ = _draws(category, 60, seed=15)
    assert not any(verify(s, _blur(i, 3.0)) for s, i in zip(specs, images, strict=True))


@pytest.mark.parametrize("category", CATEGORIES)
def test_blank_noisy_and_blocky_pictures_are_rejected(category):
    rng = np.random.default_rng(16)
    noise = rng.integers(0, 256, (64, 64, 3))
    blocks = np.kron(rng.integers(0, 256, (8, 8, 3)), np.ones((8, 8, 1)))
    junk = [_uint8(noise), _blur(noise, 1.0), _blur(noise, 4.0), _uint8(blocks)]
    junk += [np.full((64, 64, 3), level, np.uint8) for level in (0, 128, 248, 255)]
    junk += [_uint8(200 + rng.normal(0, sigma, (64, 64, 3))) for sigma in (5, 20, 40)]
    for _ in range(10):
        spec = draw_spec(rng, category, split="test")
        assert not any(verify(spec, image) for image in junk)


@pytest.mark.parametrize(
    "category", ["single", "counting", "position", "binding", "size", "anatomy"]
)
def test_one_thing_too_many_is_rejected(category):
    rng = np.random.default_rng(17)
    rejected = 0
    for _ in range(40):
        spec = draw_spec(rng, category, split="test")
        image = render(spec, rng)
        free = np.argwhere(
            ndimage.minimum_filter(
                (image == image[0, 0]).all(axis=-1), size=13, mode="constant", cval=0
            )
        )
        if len(free) == 0:
            rejected += 1  # no room to spoil this one
            continue
        y, x = free[int(rng.integers(len(free)))]
        image[y - 3 : y + 4, x - 3 : x + 4] = (35, 150, 65)
        rejected += not verify(spec, image)
    assert rejected == 40


@pytest.mark.parametrize("wrong", [-1, 1])
def test_a_count_that_is_off_by_one_is_rejected(wrong):
    rng = np.random.default_rng(18)
    for _ in range(60):
        spec = {**draw_spec(rng, "counting", split="test"), "count": 2 + int(rng.integers(3))}
        assert not verify(spec, render({**spec, "count": spec["count"] + wrong}, rng))


def test_a_person_who_lost_a_limb_is_rejected():
    rng = np.random.default_rng(19)
    spec = {
        "category": "anatomy",
        "colour": "blue",
        "left": "out",
        "right": "out",
        "ground": "white",
    }
    for _ in range(10):
        whole = render(spec, rng)
        blue = np.argwhere((whole == (35, 70, 210)).all(axis=-1))
        top, bottom = int(blue[:, 0].min()), int(blue[:, 0].max())
        axis = int(np.median(blue[blue[:, 0] < top + 8, 1]))
        no_arm, no_leg, no_head = whole.copy(), whole.copy(), whole.copy()
        no_arm[: top + 30, axis + 6 :] = whole[0, 0]
        no_leg[bottom - 14 :, axis:] = whole[0, 0]
        no_head[: top + 11] = whole[0, 0]
        assert verify(spec, whole)
        assert not any(verify(spec, spoilt) for spoilt in (no_arm, no_leg, no_head))


def test_left_and_right_arms_are_as_seen_in_the_picture():
    spec = {"category": "anatomy", "colour": "red", "left": "up", "right": "down", "ground": "grey"}
    image = render(spec, np.random.default_rng(0))
    mirrored = {**spec, "left": "down", "right": "up"}
    assert verify(spec, image)
    assert not verify(mirrored, image)
    assert verify(mirrored, np.ascontiguousarray(image[:, ::-1]))


def test_a_relation_holds_whichever_way_it_is_said():
    first, second = {"colour": "red", "shape": "circle"}, {"colour": "blue", "shape": "square"}
    said = {"category": "position", "objects": [first, second], "relation": "above"}
    turned = {"category": "position", "objects": [second, first], "relation": "below"}
    image = render(said, np.random.default_rng(0))
    assert verify(said, image)
    assert verify(turned, image)
    assert not verify({**said, "relation": "below"}, image)


def test_an_image_of_another_shape_or_type_is_an_error():
    spec = {"category": "single", "colour": "red", "shape": "circle", "ground": "white"}
    with pytest.raises(ValueError, match=r"uint8 images \[64, 64, 3\]"):
        verify(spec, np.zeros((32, 32, 3), np.uint8))
