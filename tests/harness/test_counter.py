"""What the counter sees of torch, against counts made by hand."""

import sys

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from harness.counter import work_of
from harness.records import Prompt, Request, WorkProfile

REQUESTS = [Request(id=i, prompt=Prompt(id="p", text="a", category=""), seed=i) for i in range(4)]


class Serves:
    """Answers by calling something."""

    def __init__(self, call):
        self.call = call

    @torch.inference_mode()
    def generate(self, requests):
        self.call()


def counted(call):
    return work_of(Serves(call), REQUESTS)["counted"]


def test_a_linear_layer_is_counted_by_hand():
    x, layer = torch.ones(4, 32), nn.Linear(32, 16)
    seen = counted(lambda: layer(x))
    assert seen["multiply_adds"] == {"float32": 4 * 32 * 16}
    parameters, given, made = 4 * (32 * 16 + 16), 4 * 4 * 32, 4 * 4 * 16
    assert seen["unique_bytes"] == parameters + given
    assert seen["moved_bytes"] == parameters + given + made


def test_weights_that_are_read_again_are_one_but_move_twice():
    x, layer = torch.ones(4, 32), nn.Linear(32, 32, bias=False)
    once, twice = counted(lambda: layer(x)), counted(lambda: layer(layer(x)))
    assert twice["unique_bytes"] == once["unique_bytes"]
    assert twice["moved_bytes"] == 2 * once["moved_bytes"]
    assert twice["multiply_adds"]["float32"] == 2 * once["multiply_adds"]["float32"]


def test_views_move_nothing_and_a_sum_reads_all():
    x = torch.ones(4, 32)
    assert counted(lambda: x.T.reshape(64, 2)[:, 1].view(-1).sum())["operations"] == 2  # copies
    assert counted(lambda: x.view(-1)[3:].unsqueeze(0)) is None
    seen = counted(lambda: x.sum())
    assert (seen["unique_bytes"], seen["moved_bytes"]) == (512, 512 + 4)


def test_a_table_is_read_as_far_as_rows_are_asked_for():
    table, rows = torch.ones(1000, 8), torch.tensor([1, 5])
    seen = counted(lambda: F.embedding(rows, table))
    assert seen["unique_bytes"] == 2 * 8 * 4 + 2 * 8  # two rows, and two numbers of rows
    again = counted(lambda: [F.embedding(rows, table) for _ in range(9)])
    assert again["unique_bytes"] == 9 * 2 * 8 * 4 + 9 * 2 * 8 - 8 * 16  # at most; numbers are one


def test_attention_and_convolution_are_counted_in_their_format():
    q = torch.ones(1, 2, 8, 16, dtype=torch.bfloat16)
    attention = counted(lambda: F.scaled_dot_product_attention(q, q, q))
    assert attention["multiply_adds"] == {"bfloat16": 2 * 2 * 8 * 8 * 16}
    image, kernel = torch.ones(1, 3, 8, 8), torch.ones(5, 3, 3, 3)
    convolution = counted(lambda: F.conv2d(image, kernel, padding=1))
    assert convolution["multiply_adds"] == {"float32": 8 * 8 * 5 * 3 * 9}


def test_what_has_no_formula_is_named_and_a_fast_path_is_not_taken():
    x = torch.ones(1, 8, 64)
    layer = nn.TransformerEncoderLayer(64, 4, dim_feedforward=128, batch_first=True).eval()
    seen = counted(lambda: layer(x))
    products = 8 * (4 * 64 * 64 + 2 * 64 * 128) + 2 * 8 * 8 * 64
    assert seen["multiply_adds"] == {"float32": products} and seen["without"] == []
    recurrent = nn.LSTM(64, 32)
    assert any("lstm" in name or "rnn" in name for name in counted(lambda: recurrent(x))["without"])
    whole = torch.ones(32, 32, dtype=torch.int8)
    assert counted(lambda: torch._int_mm(whole, whole))["without"] == ["aten._int_mm"]


def test_what_a_system_compiled_is_counted_as_if_it_had_not():
    layer, x = nn.Linear(32, 16), torch.ones(4, 32)
    compiled = torch.compile(layer)
    assert counted(lambda: compiled(x)) == counted(lambda: layer(x))


def test_without_torch_or_its_operations_there_is_a_reason(monkeypatch):
    nothing = work_of(Serves(lambda: None), REQUESTS)
    assert nothing["counted"] is None
    assert "no operation of torch was seen" in nothing["reason"]
    monkeypatch.delitem(sys.modules, "torch")
    without = work_of(Serves(pytest.fail), REQUESTS)  # is not even asked
    assert (without["counted"], without["reason"]) == (None, "the system does not run torch")


def test_what_the_system_tells_stands_beside():
    told = WorkProfile(
        multiply_adds={"gate": 5}, formats={"gate": "int8"}, parameter_bytes={}, batch_bytes=7
    )
    system = Serves(lambda: torch.ones(2).sum())
    system.profile = lambda requests: told
    work = work_of(system, REQUESTS)
    assert work["told"]["multiply_adds"] == {"gate": 5}
    assert work["batch"] == 4
    assert work["counted"]["operations"] == 2
