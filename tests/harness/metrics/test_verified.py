"""Verified content follows the picture, not the prompt."""

import numpy as np

from harness.metrics.verified import Verified
from harness.protocols import Extractor
from harness.records import Prompt, Request
from suites.proc.render import render
from suites.proc.scene import caption, draw_spec


def test_own_render_is_verified_and_another_spec_is_not():
    rng = np.random.default_rng(1)
    specs = [draw_spec(rng, "single", split="train") for _ in range(20)]
    other = next(s for s in specs if s != specs[0])
    prompts = [
        Prompt(id=str(i), text=caption(spec), category="single", spec=spec)
        for i, spec in enumerate((specs[0], other))
    ]
    requests = [Request(id=i, prompt=p, seed=0) for i, p in enumerate(prompts)]
    free = Request(id=2, prompt=Prompt(id="free", text="a lake", category="user"), seed=0)
    image = render(specs[0], rng)
    extractor = Verified()
    assert isinstance(extractor, Extractor)
    rows = extractor.rows([image, image, image], [*requests, free])
    assert rows.shape == (3, 1)
    assert rows[:2, 0].tolist() == [1.0, 0.0]
    assert np.isnan(rows[2, 0])
