import numpy as np
import pytest

from suites.proc.parse import parse
from suites.proc.scene import caption, draw_spec
from suites.proc.words import CATEGORIES


@pytest.mark.parametrize("category", CATEGORIES)
def test_parsing_a_caption_gives_its_spec_back(category):
    rng = np.random.default_rng(5)
    for _ in range(300):
        spec = draw_spec(rng, category, split="test")
        assert parse(caption(spec)) == spec


@pytest.mark.parametrize("text", ["a photo of a cat", "", "a red circle on white please"])
def test_a_text_outside_the_suite_is_refused(text):
    with pytest.raises(ValueError, match="no caption"):
        parse(text)
