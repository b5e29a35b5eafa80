"""Presets of published models, tried on tiny pipelines of the same classes."""

import numpy as np
import pytest
from hydra.utils import instantiate
from tiny_pipelines import CALL, written

from harness.compose import compose
from harness.records import Prompt, Request

# preset -> its class's likeness, scheduler, evaluations of the denoiser for one picture
PRESETS = {
    "sd15": ("sd15", "PNDMScheduler", 100),
    "sd21": ("sd15", "DPMSolverMultistepScheduler", 100),
    "sd35-medium": ("sd35-medium", "FlowMatchEulerDiscreteScheduler", 80),
    "sd35-large": ("sd35-medium", "FlowMatchEulerDiscreteScheduler", 56),
    "sdxl": ("sdxl", "EulerDiscreteScheduler", 100),
    "sdxl-mlperf": ("sdxl", "EulerDiscreteScheduler", 40),
    "sdxl-turbo": ("sdxl", "EulerDiscreteScheduler", 1),
    "pixart-sigma": ("pixart-sigma", "DPMSolverMultistepScheduler", 40),
    "sana": ("sana", "FlowMatchEulerDiscreteScheduler", 40),
    "flux-dev": ("flux", "FlowMatchEulerDiscreteScheduler", 50),
    "flux-schnell": ("flux", "FlowMatchEulerDiscreteScheduler", 4),
}
OF_THE_HARNESS = ("batch", "timeout_s", "network")


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_draws_with_its_class_and_says_its_evaluations(name, tmp_path):
    likeness, scheduler, evaluations = PRESETS[name]
    config = compose([f"system=[{name},null]", f"candidate={name}", "baseline=null"])
    preset = dict(config["systems"][name])
    assert preset["model"].count("/") == 1 and preset["network"] is True
    assert preset["device"] == "cuda" and preset["dtype"] in ("float16", "bfloat16")
    steps = preset["steps"]
    preset |= {"_target_": "harness.systems.random_weights.RandomWeights", "steps": min(steps, 2)}
    preset |= {"model": str(written(likeness, tmp_path)), "device": "cpu", "dtype": "float32"}
    preset |= {"height": 64, "width": 64, "call": {**preset["call"], **CALL.get(likeness, {})}}
    system = instantiate({k: v for k, v in preset.items() if k not in OF_THE_HARNESS})
    system.load()
    prompt = Prompt(id="", text="two red stars", category="")
    a, b = system.generate([Request(id=i, prompt=prompt, seed=i) for i in range(2)])
    assert a.shape == (64, 64, 3) and a.dtype == np.uint8 and not np.array_equal(a, b)
    system.steps = steps
    card = system.card()
    assert (card.evaluations, card.notes["scheduler"]) == (evaluations, scheduler)
