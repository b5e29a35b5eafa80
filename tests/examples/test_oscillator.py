"""Oscillators: the sum that they follow, a case solved by hand, and a system of them."""

import math
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from harness import inputs
from harness.child import build
from harness.compose import compose
from harness.records import Prompt, Request
from harness.systems.callable import CallableSystem
from suites.prompts import read_prompt_file

EXAMPLES = Path(__file__).parents[2] / "examples"
sys.path.insert(0, str(EXAMPLES))

from oscillator import Oscillators  # noqa: E402

SMALL = {"oscillators": 128, "drivers": 3, "classes": 2, "side": 16, "convs": 1}


def test_a_step_is_the_sum_over_every_pair():
    made = Oscillators(**SMALL, steps=1, time=0.1)
    theta, phi = torch.rand(2, 128), torch.rand(2, 3)
    drive = made.drive[[1, 0]]
    after, turned = made.settle(theta, phi, drive)
    for b in range(2):
        pulls = torch.sin(theta[b][:, None] - theta[b][None, :])  # [from, to]
        driven = torch.sin(phi[b][:, None] - theta[b][None, :])
        speed = made.omega + (made.coupling * pulls).sum(0) + (drive[b] * driven).sum(0)
        assert after[b] == pytest.approx(theta[b] + 0.1 * speed, abs=1e-4)
        pulls = torch.sin(phi[b][:, None] - phi[b][None, :])
        speed = made.omega_drivers + (made.among * pulls).sum(0)
        assert turned[b] == pytest.approx(phi[b] + 0.1 * speed, abs=1e-5)


@pytest.mark.parametrize(("method", "off"), [("rk4", 1e-5), ("euler", 3e-2)])
def test_two_that_pull_each_other_meet_as_the_equation_is_solved_by_hand(method, off):
    made = Oscillators(**SMALL, steps=20, method=method)
    for part in (made.coupling, made.omega, made.drive):
        part.zero_()
    made.coupling[0, 1] = made.coupling[1, 0] = 1.0
    theta = torch.zeros(1, 128)
    theta[0, 1] = 2.0
    after, _ = made.settle(theta, torch.zeros(1, 3), made.drive[[0]])
    # d = theta_1 - theta_0 obeys d' = -2 sin d, so tan(d / 2) falls as exp(-2 t)
    wanted = 2 * math.atan(math.tan(1.0) * math.exp(-2.0))
    assert float(after[0, 1] - after[0, 0]) == pytest.approx(wanted, abs=off)


def test_a_class_conditional_system_follows_class_and_seed_and_not_the_batch():
    made = CallableSystem(
        target="oscillator:Oscillators",
        path=str(EXAMPLES),
        arguments=SMALL,
        condition="class",
        classes={"airplane": 0, "ship": 1},
    )
    made.load()
    texts, seeds = ("airplane", "ship", "airplane", "ship"), (1, 1, 2, 1)
    asked = [
        Request(id=i, prompt=Prompt(id="", text=text, category=""), seed=seed)
        for i, (text, seed) in enumerate(zip(texts, seeds, strict=True))
    ]
    images = made.generate(asked)
    assert images[0].shape == (16, 16, 3) and images[0].dtype == np.uint8
    assert not any(np.array_equal(images[0], other) for other in images[1:3])
    assert np.array_equal(images[1], images[3])
    (alone,) = made.generate(asked[2:3])
    assert np.abs(alone.astype(int) - images[2]).max() <= 1
    card = made.card()
    assert (card.height, card.evaluations) == (16, 10)
    assert "energy" in card.notes["what"] and "random weights" in card.name


@pytest.mark.parametrize(
    ("sizes", "announced"),
    [  # in millions, from the table of the announcement of 25 June 2026
        ({"oscillators": 1024}, 1.29),
        ({"oscillators": 2048}, 4.94),
        ({"oscillators": 4096}, 19.43),
        ({"oscillators": 6656, "drivers": 1, "classes": 1000, "side": 64, "convs": 4}, 57.17),
        ({"oscillators": 10240, "drivers": 1, "classes": 1000, "side": 64, "convs": 4}, 129.80),
        ({"oscillators": 16384, "drivers": 1, "classes": 1000, "side": 64, "convs": 4}, 322.44),
    ],
)
def test_the_documented_sizes_have_about_the_announced_parameters(sizes, announced):
    card = Oscillators(**sizes, device="meta").card()
    assert card["parameters"] / 1e6 == pytest.approx(announced, rel=0.02)
    assert card["notes"]["decoder_parameters"] < 0.13 * card["parameters"]


def test_the_oscillators_part_of_a_thousand_has_the_parameters_that_a_fork_counts():
    card = Oscillators(device="meta").card()
    # "Kuramoto dynamics params = 1,131,592": README of unixpickle/Un-0, 1,024 oscillators
    assert card["parameters"] - card["notes"]["decoder_parameters"] == 1_131_592


@pytest.mark.parametrize("wrong", [{"method": "heun"}, {"side": 48}, {"oscillators": 100}])
def test_a_size_that_does_not_fit_is_refused(wrong):
    with pytest.raises(ValueError, match=str(next(iter(wrong)))):
        Oscillators(**{**SMALL, **wrong})


def test_the_yaml_that_the_docs_name_is_a_system():
    asked = ["hydra.searchpath=[file://examples/yaml]", "system=[oscillator,null]"]
    small = ["systems.oscillator.arguments.oscillators=128", "systems.oscillator.arguments.side=16"]
    config = compose([*asked, *small, "candidate=oscillator", "baseline=null"])["systems"]
    plan = inputs.system("oscillator", config["oscillator"])
    assert plan.device == "cpu" and plan.batch == 16
    made = build(plan.config)
    made.load()
    prompts = read_prompt_file(EXAMPLES / "cifar10.txt").prompts
    assert [prompt.text for prompt in prompts] == list(config["oscillator"]["classes"])
    images = made.generate([Request(id=i, prompt=p, seed=i) for i, p in enumerate(prompts)])
    assert np.stack(images).shape == (10, 16, 16, 3)
