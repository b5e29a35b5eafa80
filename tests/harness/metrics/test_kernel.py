"""The kernel distance against torchmetrics and by hand."""

import numpy as np
import pytest

from harness.metrics import kernel
from harness.metrics.kernel import Kernel, kernel_sums
from harness.protocols import Statistic


def kernel_distance(a, b):
    return kernel.kernel_distance(kernel_sums(a), kernel_sums(b))


def test_agrees_with_torchmetrics_poly_mmd():
    torch = pytest.importorskip("torch")
    kid = pytest.importorskip("torchmetrics.image.kid")
    rng = np.random.default_rng(1)
    a, b = rng.normal(size=(150, 16)), rng.normal(0.3, 1.2, size=(150, 16))
    theirs = kid.poly_mmd(torch.tensor(a), torch.tensor(b))
    assert kernel_distance(a, b) == pytest.approx(float(theirs), rel=1e-9)


def test_worked_example_in_one_dimension():
    # k(x, y) = (xy + 1)^3. Within {0, 1}: 1. Within {1, 2}: 27. Across: 1, 1, 8, 27 -> 37 / 4.
    found = kernel_distance(np.array([[0.0], [1.0]]), np.array([[1.0], [2.0]]))
    assert found == pytest.approx(1 + 27 - 2 * 37 / 4)


def test_pairs_in_blocks_give_what_sums_of_powers_give(monkeypatch):
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(101, 4)), rng.normal(size=(40, 4))
    by_powers = kernel_distance(a, b)
    monkeypatch.setattr(kernel, "_BLOCK", 10)
    assert kernel_distance(a, b) == pytest.approx(by_powers, rel=1e-9)
    monkeypatch.setattr(kernel, "_WIDEST", 3)
    assert kernel_sums(a).powers == ()
    assert kernel_distance(a, b) == pytest.approx(by_powers, rel=1e-9)


def test_the_statistic_is_unbiased_between_samples_of_one_distribution():
    rng = np.random.default_rng(4)
    values = [
        kernel_distance(rng.normal(size=(60, 4)), rng.normal(size=(60, 4))) for _ in range(300)
    ]
    assert abs(np.mean(values)) < 3 * np.std(values) / np.sqrt(300)
    assert min(values) < 0


def test_satisfies_the_seam():
    rows = np.random.default_rng(5).normal(size=(30, 4))
    assert isinstance(Kernel(), Statistic)
    assert Kernel().compute(rows, None, rows + 1).n == 30
    with pytest.raises(ValueError, match="two rows"):
        kernel_sums(rows[:1])
