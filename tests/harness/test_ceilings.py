from harness import ceilings


def test_products_and_copies_are_timed(monkeypatch):
    monkeypatch.setattr(ceilings, "SIDE", {"cpu": 64})
    monkeypatch.setattr(ceilings, "COPIED", {"cpu": 2**16})
    found = ceilings._measured("cpu")
    assert set(found["multiply_adds_per_s"]) <= set(ceilings.FORMATS)
    assert found["multiply_adds_per_s"]["float32"] > 0 < found["bytes_per_s"]


def test_a_format_without_a_product_is_left_out(monkeypatch):
    import torch

    def refused(*arguments):
        raise RuntimeError("not implemented for 'BFloat16'")

    monkeypatch.setattr(ceilings, "SIDE", {"cpu": 64})
    monkeypatch.setattr(ceilings, "COPIED", {"cpu": 2**16})
    monkeypatch.setattr(torch, "_int_mm", refused)
    assert "int8" not in ceilings._measured("cpu")["multiply_adds_per_s"]


def test_a_machine_that_cannot_be_measured_has_none(monkeypatch):
    monkeypatch.setattr(ceilings.sys, "executable", "/bin/false")
    assert ceilings.ceilings() == {}
