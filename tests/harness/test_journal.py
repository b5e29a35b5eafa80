"""What an audit has done so far survives any instant of a kill."""

import dataclasses

from harness.bundle import write_json
from harness.journal import BlockRecord, Journal, WindowRecord
from harness.records import Window


def window(number):
    return Window(
        id=f"w{number:04d}",
        kind="block",
        system="a",
        pair=0,
        order="AB",
        batch=1,
        requests=10,
        start_ns=0,
        end_ns=10**9,
        cpu_s=1.0,
    )


def test_a_block_voided_half_way_is_void_whole_at_the_next_start(tmp_path):
    journal = Journal(tmp_path)
    block = BlockRecord(number=0, pair=0, order="AB", core=0, windows=("w0000", "w0001"))
    journal.put_block(block)
    journal.add(WindowRecord(window=window(0), facts={"block": 0}))
    # killed within the block; then again after the block was told void, before its window was
    told = dataclasses.replace(block, void=True, reason="stopped")
    write_json(tmp_path / "partial" / "b0000.json", dataclasses.asdict(told))
    again = Journal(tmp_path)
    assert again.windows("block") == []
    assert again.records[0].window.void and again.records[0].window.reason == "stopped"
    assert Journal(tmp_path).records[0].window.void
