from collections import Counter
from itertools import islice

from harness.draw import Draws
from suites.proc.sets import load_set


def draws(core=16, seed=0, salt=""):
    return Draws(load_set("test").prompts, core=core, seed=seed, salt=salt)


def test_cores_differ_from_block_to_block_and_repeat_with_the_seed():
    cores = [draws().core(index) for index in range(12)]
    asked = [(prompt.id, seed) for core in cores for prompt, seed in core]
    assert len(set(asked)) == 192
    assert draws().core(3) == cores[3]
    assert draws(seed=1).core(3) != cores[3]


def test_order_and_seeds_of_the_core_cannot_be_computed_without_the_salt():
    open_, secret = draws().core(0), draws(salt="5f1c").core(0)
    assert not {seed for _, seed in open_} & {seed for _, seed in secret}
    assert [p.id for p, _ in open_] != [p.id for p, _ in secret]
    assert draws(salt="5f1c").core(0) == secret
    assert draws().rng(3).integers(2**31) != draws(salt="5f1c").rng(3).integers(2**31)


def test_every_stretch_of_a_stream_holds_the_categories_in_equal_parts():
    counts = Counter(prompt.category for prompt, _ in draws(core=200).core(0))
    assert set(counts.values()) <= {19, 20, 21}
    assert len(counts) == 10


def test_fillers_of_all_windows_and_all_cores_share_no_request():
    asked = [r for index in range(12) for r in draws().core(index)]
    asked += [r for window in range(5) for r in islice(draws().filler(window), 3000)]
    keys = [(prompt.id, seed) for prompt, seed in asked]
    assert len(set(keys)) == len(keys)


def test_fillers_come_from_the_same_prompts_as_the_core():
    filler = Counter(prompt.id for prompt, _ in islice(draws().filler(7), 1450))
    assert set(filler.values()) == {1}
    assert set(filler) == {prompt.id for prompt in load_set("test").prompts}
