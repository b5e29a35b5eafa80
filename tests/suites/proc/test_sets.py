import hashlib
from collections import Counter
from pathlib import Path

import pytest

import suites.proc.sets as sets
from harness.errors import AssetError
from suites.proc.scene import content, held_out
from suites.proc.sets import (
    build_set,
    load_set,
    request_seed,
    select,
    to_jsonl,
    unpublished,
    write_sets,
)
from suites.proc.words import CATEGORIES

COMMITTED = Path(sets.__file__).parent / "sets"


def test_the_committed_sets_regenerate_byte_for_byte(tmp_path):
    write_sets(tmp_path)
    for name in ("val.jsonl", "test.jsonl", "SHA256SUMS"):
        assert (tmp_path / name).read_bytes() == (COMMITTED / name).read_bytes()


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_committed_set_holds_145_different_prompts_a_category(split):
    loaded = load_set(split)
    prompts = loaded.prompts
    assert loaded.sha256 == hashlib.sha256((COMMITTED / f"{split}.jsonl").read_bytes()).hexdigest()
    assert Counter(p.category for p in prompts) == dict.fromkeys(CATEGORIES, 145)
    assert len({p.text for p in prompts}) == len({p.id for p in prompts}) == 1450
    assert to_jsonl(prompts) == (COMMITTED / f"{split}.jsonl").read_bytes()


def test_val_and_test_share_no_content():
    val, test = ({content(p.spec) for p in load_set(s).prompts} for s in ("val", "test"))
    assert not val & test


def test_tags_say_what_is_held_out_and_which_emblems_are_frequent():
    prompts = load_set("test").prompts
    assert all(("held-out" in p.tags) == held_out(p.spec) for p in prompts)
    emblems = Counter(p.tags for p in prompts if p.category == "emblem")
    assert set(emblems) == {("head",), ("tail",)}
    assert min(emblems.values()) >= 15


def test_mini_is_balanced_and_a_prefix_of_full():
    prompts = load_set("test").prompts
    mini, full = select(prompts, "mini"), select(prompts, "full")
    assert mini == full[:192]
    assert full == prompts
    assert set(Counter(p.category for p in mini).values()) == {19, 20}


def test_a_size_larger_than_the_set_is_refused():
    with pytest.raises(ValueError, match="needs 192 prompts, the set holds 20"):
        select(load_set("val").prompts[:20], "mini")
    with pytest.raises(ValueError, match="'huge'"):
        select(load_set("val").prompts, "huge")


def test_a_sealed_set_follows_its_nonce():
    first, again, other = (
        build_set("sealed", per_category=6, seed_or_nonce=n) for n in ("monday", "monday", "friday")
    )
    assert first == again
    assert [p.text for p in first] != [p.text for p in other]


def test_unpublished_prompts_are_in_no_committed_set_and_as_many_of_each_category():
    drawn = unpublished("5f1c")
    assert drawn == unpublished("5f1c") != unpublished("5f1d")
    published = {p.text for split in ("val", "test") for p in load_set(split).prompts}
    assert not published & {prompt.text for prompt in drawn}
    counts = Counter(prompt.category for prompt in drawn)
    assert set(counts) == set(CATEGORIES) and len(set(counts.values())) == 1
    assert len(drawn) >= 100


def test_more_prompts_than_a_category_has_is_an_error_that_says_so(monkeypatch):
    monkeypatch.setattr(sets, "_MAX_DRAWS", 3000)
    with pytest.raises(ValueError, match="different prompts found for single in test"):
        build_set("test", per_category=400, seed_or_nonce=0)


def test_an_edited_set_is_refused(tmp_path, monkeypatch):
    (tmp_path / "sets").mkdir()
    write_sets(tmp_path / "sets")
    edited = tmp_path / "sets" / "test.jsonl"
    edited.write_bytes(edited.read_bytes().replace(b"red", b"blue", 1))
    monkeypatch.setattr(sets.resources, "files", lambda package: tmp_path)
    with pytest.raises(AssetError, match="SHA256SUMS says"):
        load_set("test")
    load_set("val")


def test_request_seeds_are_63_bits_and_fixed():
    # sha256sum of "test-counting-0007|1", first eight bytes, shifted right by one
    assert request_seed("test-counting-0007", 1) == 0x90AA3B4AE41BC041 >> 1
    seeds = {request_seed(f"p{i}", j) for i in range(100) for j in range(10)}
    assert len(seeds) == 1000
    assert all(0 <= s < 2**63 for s in seeds)
