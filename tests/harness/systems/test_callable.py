"""Any callable as a system: what it is asked, what of its answers is a picture, what is told."""

import dataclasses

import numpy as np
import pytest
import torch
from PIL import Image

from harness.errors import AssetError, ConfigError
from harness.protocols import System
from harness.records import Failure, Prompt, Request, SystemCard
from harness.systems.callable import CallableSystem
from harness.worker import Worker

MODULE = '''
import numpy as np

asked = []
picture = None


class Paint:
    """Fills pictures with a grey of its own."""

    card = {"height": 4, "width": 6, "parameters": 7, "notes": {"what": "paint"}}

    def __init__(self, grey, *, side=4):
        self.grey, self.side = grey, side

    def __call__(self, prompts, seeds):
        return np.full((len(prompts), self.side, 6, 3), self.grey, np.uint8)


class Deep:
    class Inner(Paint):
        def card(self):
            return {"hight": 4}


def draw(prompts, seeds, scale=1):
    asked.append((prompts, seeds, scale))
    return picture(len(prompts))


number = 3
'''


@pytest.fixture
def module(tmp_path, monkeypatch):
    """A module of the user's own, and the system that is made of what it holds."""
    (tmp_path / "own_paint.py").write_text(MODULE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_paint", raising=False)
    import own_paint

    return own_paint


def requests(*texts):
    return [
        Request(id=i, prompt=Prompt(id=str(i), text=text, category=""), seed=10 + i)
        for i, text in enumerate(texts)
    ]


def system(target, **config):
    made = CallableSystem(target=f"own_paint:{target}", **config)
    made.load()
    return made


def drawn(module, picture, *texts):
    module.picture = picture
    return system("draw").generate(requests(*(texts or ("a", "b"))))


def test_a_file_of_ones_own_is_found_by_its_folder_and_runs_shut_in(tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "far_paint.py").write_text(MODULE)
    config = {
        "_target_": "harness.systems.callable.CallableSystem",
        "_convert_": "all",
        "target": "far_paint:Paint",
        "path": str(tmp_path / "mine"),
        "arguments": {"grey": 9},
    }
    with Worker("own", config, log=tmp_path / "log", timeout_s=60, network=False) as worker:
        worker.load()
        (image,) = worker.generate(requests("a")).images
    assert (image == 9).all() and image.shape == (4, 6, 3)
    assert worker.card["parameters"] == 7


def test_a_class_is_made_with_its_arguments_and_tells_its_card(module):
    made = system("Paint", arguments={"grey": 3, "side": 5}, device="cpu")
    assert isinstance(made, System)
    assert made.generate(requests("a"))[0].shape == (5, 6, 3)
    card = made.card()
    assert (card.height, card.width, card.parameters) == (4, 6, 7)
    assert card.notes["what"] == "paint" and card.notes["target"] == "own_paint:Paint"
    assert len(card.notes["source_sha256"]) == 64 and card.notes["device"] == "cpu"


def test_a_function_is_called_with_prompts_seeds_and_its_arguments(module):
    module.picture = lambda n: np.zeros((n, 4, 4, 3), np.uint8)
    made = system("draw", arguments={"scale": 2})
    made.generate(requests("a", "b"))
    assert module.asked == [(["a", "b"], [10, 11], 2)]
    assert made.card() == dataclasses.replace(
        SystemCard(name="own_paint:draw", height=0, width=0), notes=made.card().notes
    )


def test_a_card_may_be_a_record(module):
    module.draw.card = SystemCard(name="mine", height=1, width=2)
    assert (system("draw").card().name, system("draw").card().width) == ("mine", 2)


LEVELS = np.arange(2 * 4 * 5 * 3).reshape(2, 4, 5, 3).astype(np.uint8)
SHARES = LEVELS / 255


@pytest.mark.parametrize(
    "answer",
    [
        LEVELS,
        list(LEVELS),
        SHARES,
        SHARES.astype(np.float32),
        tuple(SHARES),
        [Image.fromarray(one) for one in LEVELS],
        torch.from_numpy(SHARES),
        torch.from_numpy(SHARES).permute(0, 3, 1, 2).float().requires_grad_(),
        [*torch.from_numpy(LEVELS).permute(0, 3, 1, 2)],
        SHARES + 1e-4,  # a rounding, not another scale
    ],
)
def test_every_usual_form_of_pictures_is_the_same_levels(module, answer):
    pictures = drawn(module, lambda n: answer)
    assert all(one.dtype == np.uint8 for one in pictures)
    assert np.array_equal(np.stack(pictures), LEVELS)


def test_half_precision_of_torch_is_read(module):
    (one,) = drawn(module, lambda n: torch.full((n, 3, 4, 5), 0.5, dtype=torch.bfloat16), "a")
    assert (one == 128).all()


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("a picture", "returned a str"),
        (LEVELS[0], r"returned uint8 \[4, 5, 3\]"),
        (LEVELS[:1], "1 pictures for 2 prompts"),
        (LEVELS[..., :1], r"uint8 \[4, 5, 1\]"),
        (LEVELS.transpose(0, 3, 1, 2), r"uint8 \[3, 4, 5\]"),
        (LEVELS.astype(np.int64), "int64"),
        ([None, None], "a NoneType"),
        (SHARES * 255, "from 0 to 59"),
        (SHARES * 2 - 1, r"Return x / 2 \+ 0.5"),
        (torch.zeros(2, 3, 8, 3), "colours first or last"),
        (torch.zeros(2, 1, 8, 8), r"float32 \[1, 8, 8\]"),
    ],
)
def test_what_is_no_picture_is_told_with_a_remedy(module, answer, said):
    with pytest.raises(ConfigError, match=said):
        drawn(module, lambda n: answer)


def test_values_that_are_no_numbers_fail_their_own_request_alone(module):
    broken = SHARES.copy()
    broken[1, 0, 0, 0] = np.nan
    good, bad = drawn(module, lambda n: broken)
    assert np.array_equal(good, LEVELS[0]) and isinstance(bad, Failure)


CLASSES = {"cat": 3, "Dog": 5, "a red truck": 9}


def test_a_class_is_asked_for_by_the_prompt_or_by_the_one_name_in_it(module):
    module.picture = lambda n: np.zeros((n, 4, 4, 3), np.uint8)
    made = system("draw", condition="class", classes=CLASSES)
    texts = ("A red truck", "a photo of a dog", "a hotdog", "a cat and a dog", "cat.")
    answers = made.generate(requests(*texts))
    assert module.asked == [([9, 5, 3], [10, 11, 14], 1)]
    assert [isinstance(one, Failure) for one in answers] == [False, False, True, True, False]
    assert answers[2].reason == "no class is named in 'a hotdog'; exactly one is asked for"
    assert "cat and dog" in answers[3].reason
    assert made.card().modality == "class-to-image"


def test_nothing_is_asked_where_no_prompt_has_a_class(module):
    made = system("draw", condition="class", classes=CLASSES)
    assert isinstance(made.generate(requests("a tree"))[0], Failure)
    assert module.asked == []


@pytest.mark.parametrize(
    ("config", "said"),
    [
        ({"target": "own_paint"}, "write module:object"),
        ({"target": "no_such_module:draw"}, "cannot be imported"),
        ({"target": "own_paint:Pain"}, "Did you mean own_paint:Paint"),
        ({"target": "own_paint:number"}, "cannot be called"),
        ({"target": "own_paint:Paint"}, "missing a required argument: 'grey'"),
        ({"target": "own_paint:Paint", "arguments": {"gray": 1}}, "arguments gray"),
        ({"target": "own_paint:draw", "condition": "klass"}, "text or class"),
        ({"target": "own_paint:draw", "condition": "class"}, "Name the classes"),
        ({"target": "own_paint:draw", "classes": CLASSES}, "Name the classes"),
        (
            {"target": "own_paint:draw", "condition": "class", "classes": {"cat": "3"}},
            "a number from 0 on",
        ),
    ],
)
def test_a_mistake_is_told_with_a_remedy(module, config, said):
    with pytest.raises(ConfigError, match=said):
        CallableSystem(**config).load()


def test_a_folder_that_is_not_there_is_told():
    with pytest.raises(AssetError, match="No file or folder at"):
        CallableSystem(target="own_paint:draw", path="/nowhere").load()


def test_an_unknown_field_of_a_card_is_told(module):
    with pytest.raises(ConfigError, match="nearest is 'height'"):
        system("Deep.Inner", arguments={"grey": 1}).card()
