"""Weights that are stored small come back as near as int8 allows."""

import numpy as np
import pytest
import torch

from harness.techniques.packed import pack, unpack


def weight(share_of_zeros=0.0):
    torch.manual_seed(0)
    made = torch.randn(12, 7, 3, 3) * torch.logspace(-6, 1, 12).view(-1, 1, 1, 1)
    made[torch.rand(made.shape) < share_of_zeros] = 0
    return made


@pytest.mark.parametrize("zeros", [0.0, 0.5, 0.95])
def test_a_weight_comes_back_within_half_a_step_of_its_channel_and_zero_as_zero(zeros):
    whole = weight(zeros)
    again = unpack(pack({"a.weight": whole}))["a.weight"]
    half_a_step = whole.flatten(1).abs().amax(1) / 127 / 2
    error = (again - whole).flatten(1).abs().amax(1)
    assert (error <= half_a_step * (1 + 1e-5)).all()  # and float32's own rounding
    assert (again[whole == 0] == 0).all()


def test_only_weights_with_more_than_an_eighth_of_zeros_have_a_mask():
    """A bit for each value, against a byte for each that is zero."""
    assert "a.weight.mask" not in pack({"a.weight": weight(0.05)})
    half = pack({"a.weight": weight(0.5)})
    kept = int((unpack(half)["a.weight"] != 0).sum())
    assert len(half["a.weight"]) == kept < 0.6 * weight().numel()
    assert len(half["a.weight.mask"]) == -(-weight().numel() // 8)


def test_what_is_no_weight_is_float16_or_as_it_was():
    tensors = {"bias": torch.randn(3), "scale_shift_table": torch.randn(6, 4)}
    packed = pack({**tensors, "position": torch.arange(3)})
    assert {name: t.dtype for name, t in packed.items()} == {
        "bias": torch.float16,
        "scale_shift_table": torch.float16,
        "position": torch.int64,
    }
    assert torch.equal(unpack(packed)["bias"], tensors["bias"].half())


def test_a_channel_of_zeros_is_no_number_less():
    again = unpack(pack({"a.weight": torch.zeros(2, 9)}))["a.weight"]
    assert torch.equal(again, torch.zeros(2, 9))


@pytest.mark.parametrize("part", ["scale", "shape", "mask"])
def test_a_weight_whose_parts_do_not_fit_is_named(part):
    packed = pack({"a.weight": weight(0.5)})
    del packed[f"a.weight.{part}"]
    with pytest.raises(ValueError, match=r"packed weight a.weight"):
        unpack(packed)


def test_the_mask_is_numpys_own_bits():
    packed = pack({"a.weight": torch.tensor([[0.0, 1.0, 0.0, -1.0]])})
    assert packed["a.weight.mask"].tolist() == [0b01010000]
    assert np.array_equal(packed["a.weight"], [127, -127])


def test_a_difference_comes_back_in_five_levels_and_needs_its_base():
    base = weight()
    changed = base + 0.1 * base.abs().flatten(1).amax(1).view(-1, 1, 1, 1) * torch.randn_like(base)
    packed = pack({"a.weight": changed}, {"a.weight": base})
    assert len(packed["a.weight.fives"]) == -(-base.numel() // 3)
    again = unpack(packed, {"a.weight": base})["a.weight"]
    before, after = (
        (changed - base).flatten(1).norm(dim=1),
        (changed - again).flatten(1).norm(dim=1),
    )
    assert (after < 0.4 * before).all()  # five levels of a normal: 0.28 at best (Max 1960)
    with pytest.raises(ValueError, match="a.weight"):
        unpack(packed)


def test_a_weight_that_went_far_from_its_base_is_kept_whole():
    base = weight()
    assert "a.weight" in pack({"a.weight": -base}, {"a.weight": base})
