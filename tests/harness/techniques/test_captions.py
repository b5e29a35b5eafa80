from collections import Counter

import pytest

from harness.errors import AssetError
from harness.techniques.captions import captions
from suites.proc.sets import load_set


def test_captions_are_as_many_of_each_category():
    category = {prompt.text: prompt.category for prompt in load_set("val").prompts}
    chosen = captions(count=20)
    # val has ten categories of 145 prompts
    assert set(Counter(category[text] for text in chosen).values()) == {2}
    assert len(set(chosen)) == 20
    assert chosen == captions(count=20)


def test_a_short_file_gives_all_it_has(tmp_path):
    path = tmp_path / "own.txt"
    path.write_text("a red circle\ntwo stars\n")
    assert captions(str(path), 5) == ["a red circle", "two stars"]


def test_a_file_that_is_not_there_is_named():
    with pytest.raises(AssetError, match=r"nowhere\.jsonl"):
        captions("nowhere.jsonl")
